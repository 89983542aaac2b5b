"""Who asks, in which language, and with which form."""

import hashlib
import ipaddress
import json
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, wraps
from typing import TypeVar, cast

from flask import Request, current_app, g, request
from werkzeug.datastructures import LanguageAccept, MIMEAccept
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_accept_header

from logs import facts, of_kind
from operations.turned_away import REASON_BYTES
from portal import forms
from portal.forms import BadRequest, Form
from rates import TooOften
from services import Services
from texts import DEFAULT, languages, text
from turns import Turns
from web.itself import itself

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1 << 20  # of a request that is no upload
WITH_PORT = re.compile(r"\[([^]]*)\](?::\d+)?|([\d.]+):\d+")  # as some proxies give an address
BEHIND_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # all of IPv4, seen from a network without it
VISITORS_FIELDS = 200  # of a form; the chat page sends about ten
VALUE_LETTERS = 200  # of a value that is told of a request that was turned away
KEPT = 500  # answers of a function, by headers of which each has up to some thousand characters

T = TypeVar("T")


def once_a_request(find: Callable[[], T]) -> Callable[[], T]:
    """Find it once: what a request says does not change while it is answered."""
    name = f"found_{find.__name__}"

    @wraps(find)
    def found() -> T:
        kept = itself(request).__dict__
        if name not in kept:
            kept[name] = find()
        return cast(T, kept[name])

    return found


def services() -> Services:
    return cast(Services, itself(current_app).extensions["sitechat"])


def address() -> str:
    """A digest of the IP address of whoever asks; the store need not know the address itself.

    One subscriber has 2^64 addresses of IPv6, so such a network counts as one address.
    """
    return _digests(itself(request).remote_addr, itself(current_app).secret_key)[0]


def known_address() -> str | None:
    """A digest of the visitor's address; None for one that does not tell visitors apart.

    A loopback address is that of a proxy which does not name its visitors (`server.proxies`).
    """
    return _digests(itself(request).remote_addr, itself(current_app).secret_key)[1]


@lru_cache(KEPT)
def _digests(given: str | None, key: str | bytes | None) -> tuple[str, str | None]:
    """`address` and `known_address` of what the server or a proxy gives as the address."""
    asker = _ip_address((given or "").strip())
    network = asker
    if asker is not None and asker.version == 6:
        network = ipaddress.ip_network((asker, 64), strict=False).network_address
    found = digest(f"{network or given} {key!r}")
    return found, None if asker is None or asker.is_loopback else found


def _ip_address(given: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address of whoever asks; None where the server or a proxy gives something else."""
    if match := WITH_PORT.fullmatch(given):
        given = match[1] or match[2]
    try:
        asker = ipaddress.ip_address(given)
    except ValueError:
        return None
    if isinstance(asker, ipaddress.IPv6Address):
        if asker in BEHIND_NAT64:
            return ipaddress.IPv4Address(asker.packed[-4:])
        return asker.ipv4_mapped or asker
    return asker


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:32]


@once_a_request
def embedding_site() -> str:
    """The origin of the other site that embeds the chat; "" for our own page.

    Our frame knows the site from the browser and names it in X-Chat-Site, a header that pages of
    other sites cannot send. If such a page asks us itself, the browser names the site in Origin.
    """
    # Each that is not there costs five times as much to look up in `request.headers`.
    headers = itself(request).environ
    ours = ("", services().settings.origin)
    origin = headers.get("HTTP_ORIGIN", "")
    site = headers.get("HTTP_X_CHAT_SITE", "") if origin in ours else origin
    return site if site not in ours and services().chat.lists(site) else ""


@once_a_request
def visitors_sites() -> tuple[str, ...]:
    """The sites to which a visitor may belong here: that of new visitors first.

    It is the origin of the page that shows the chat, or the entry of `chat.sites` for its domain.
    Visitors of the other one go on after `chat.share_visitors` was switched.
    """
    site, chat = embedding_site(), services().chat
    if not site:
        return (services().settings.origin,)
    domain = chat.domain_of(site)
    if not domain:
        return (site,)
    return (domain, site) if chat.share_visitors else (site, domain)


@once_a_request
def language() -> str:
    """The language to answer in: for an admin the portal's, for a visitor the browser's.

    The setting `chat.language` and a site that embeds the chat may name another for visitors.
    """
    here, setting = itself(request), services().chat.language
    if asked := asked_language():
        return asked
    if here.endpoint in ("install", "handler"):
        asked = here.args.get("LANG", "")[:2].lower()
        if asked in languages():
            return asked
        return accepted_language(here.headers.get("Accept-Language"))
    asked = here.environ.get("HTTP_X_CHAT_LANGUAGE") or here.args.get("lang", "")
    if asked in languages():
        return asked
    if setting != "auto":
        return setting
    return accepted_language(here.headers.get("Accept-Language"))


@lru_cache(KEPT)
def accepted_language(header: str | None) -> str:
    """The one of our languages that a browser would rather have, by its Accept-Language."""
    accepted = parse_accept_header(header, LanguageAccept)
    return accepted.best_match(languages()) or DEFAULT


def asked_language() -> str | None:
    """The language that the embedding site asks for by `?lang=`; None if we do not have it."""
    here = itself(request)
    asked = here.args.get("lang", "")[:2].lower()
    return asked if here.endpoint in ("index", "ajax") and asked in languages() else None


def posted_form() -> Form:
    """The fields of the body, a form as browsers, jQuery or PHP send it; decoded once."""
    kept = itself(g)
    if "form" not in kept:
        kept.form = _decoded_form()
    return cast(Form, kept.form)


def _decoded_form() -> Form:
    here = itself(request)
    if here.mimetype == "multipart/form-data":
        if any("\ufffd" in value for value in here.form.values()):
            raise BadRequest("not_utf8")
        return forms.nested(here.form.items(multi=True), Turns())
    if here.mimetype not in ("application/x-www-form-urlencoded", ""):
        raise Problem("errors.form_expected", 415)
    body = whole_body(here)
    if here.content_length is None and len(body) >= (here.max_content_length or 0):
        raise RequestEntityTooLarge  # without Content-Length werkzeug cuts the body at the limit
    from_portal = here.endpoint in ("handler", "install")
    return forms.decode_form(body, forms.MAX_FIELDS if from_portal else VISITORS_FIELDS)


def whole_body(here: Request) -> bytes:
    """As `get_data` gives it, which takes several layers for each piece; none is kept."""
    length, most = here.content_length, here.max_content_length
    if length is None:
        return here.get_data()
    if most is not None and length > most:
        raise RequestEntityTooLarge
    body, pieces = here.environ["wsgi.input"], list[bytes]()  # a web.bodies.Body
    while length > 0 and (piece := body.read(length)):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def any_form() -> Form:
    """The fields of query and body; if both have a field, the body's value counts, as in PHP."""
    body = posted_form() if request.method == "POST" else {}
    return forms.decode_form(request.query_string) | body


def wants_page() -> bool:
    """Whether the request comes from a plain HTML form, without our script."""
    return prefers_html(itself(request).headers.get("Accept"))


@lru_cache(KEPT)
def prefers_html(header: str | None) -> bool:
    """Whether a client would rather have HTML than JSON, by its Accept."""
    accepted = parse_accept_header(header, MIMEAccept)
    return accepted.best_match(["application/json", "text/html"]) == "text/html"


class Problem(Exception):
    """A request that we turn away; `key` names the text that says why."""

    def __init__(self, key: str, status: int, **values: object) -> None:
        super().__init__(key)
        self.key = key
        self.status = status
        self.values = values


def reason_of(place: str, key: str, values: dict[str, str]) -> str:
    """Why a request was turned away, as the store keeps it; the values shorter if it is long."""
    letters = VALUE_LETTERS
    while len(reason := json.dumps([place, key, values])) > REASON_BYTES and letters:
        letters //= 2
        values = {name: value[:letters] for name, value in values.items()}
    return reason


def note_refusal(key: str, **values: object) -> None:
    """Count a request that was turned away; `operations/turned_away.py` stores the counts.

    The answer waits if many requests of the same address were turned away lately.

    `key` and `values` make the text that tells an admin why, in the admin's language.
    """
    place = request.endpoint or ""
    shortened = {name: str(value)[:VALUE_LETTERS] for name, value in values.items()}
    services().turned_away.count(reason_of(f"/{place}", key, shortened))
    why = text(DEFAULT, key, **shortened)
    what = facts(route=place, why=why)
    log.warning("a request was refused", extra=of_kind(f"{place} {key}") | what)
    with suppress(TooOften):  # it has been refused already
        services().refusals.wait(address())
