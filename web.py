"""What all doors share: the services, sessions, forms, languages and headers.

Knows neither the chat nor Bitrix24's requests.
"""

import hashlib
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import IO, Any, cast

from flask import (
    Flask,
    Request,
    Response,
    current_app,
    g,
    request,
)
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from itsdangerous import URLSafeTimedSerializer
from werkzeug.exceptions import RequestEntityTooLarge

import identity
from bitrix import Bitrix
from delivery.worker import Worker
from files import Files
from live import Live
from portal import forms
from portal.connector import Connector
from portal.forms import BadRequest, Form
from portal.inbox import render_outdated
from portal.proof import Proof
from settings import Settings, origin_of
from storage import Store
from store.database import StoreUnavailable
from texts import DEFAULT, languages, text

log = logging.getLogger(__name__)


NOTE_SECONDS = 2.0
ABANDONED_SECONDS = 86_400.0  # after so long a file without a message is one that a crash left


@dataclass(frozen=True)
class Services:
    """The parts of one application."""

    settings: Settings
    store: Store
    bitrix: Bitrix
    connector: Connector
    proof: Proof
    sender: Worker
    live: Live
    files: Files
    refused: Counter[str] = field(default_factory=Counter)  # since the last note
    lost: threading.Event = field(default_factory=threading.Event)  # an event, perhaps

    def store_is_new(self) -> bool:
        """Whether the store could not be used so far; an install makes it or says why not."""
        try:
            self.store.open()
        except StoreUnavailable:
            return True
        return False

    def note_refusals(self, stop: threading.Event) -> None:
        """Take the counts to the store now and then: a flood of forgeries is no flood of writes."""
        while not stop.wait(NOTE_SECONDS):
            counts, lost = dict(self.refused), self.lost.is_set()
            self.refused.clear()
            self.lost.clear()
            try:
                if counts:
                    self.store.limits.add_refusals(counts, time.time())
                if lost:  # the sender looks for it in the portal's history
                    self.store.notes.events_lost_at.set(time.time())
            except StoreUnavailable as error:
                log.error("the store cannot be used: %s", error)
                if lost:
                    self.lost.set()

    def work(self, stop: threading.Event) -> None:
        """What a server does beside answering: it ends soon after `stop` is set."""
        try:
            count = render_outdated(self.store)
        except StoreUnavailable as error:
            log.error("the store cannot be used: %s", error)
        else:
            if count:
                log.info("%d messages rendered again", count)
        try:
            swept = self.files.sweep(self.store.chats.file_keys, time.time() - ABANDONED_SECONDS)
        except StoreUnavailable as error:
            log.error("the files cannot be looked through: %s", error)
        else:
            if swept:
                log.info("%d abandoned files removed", swept)
        for beside in (self.note_refusals, self.live.run):
            threading.Thread(target=beside, args=(stop,), daemon=True).start()
        self.sender.run(stop)


def services() -> Services:
    return cast(Services, current_app.extensions["sitechat"])


class BelowPrefix:
    """Puts the application below the path of `public_url`, whether or not a proxy strips it."""

    def __init__(self, app: Callable[..., Iterable[bytes]], prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if self._prefix and f"{path}/".startswith(f"{self._prefix}/"):
            environ["PATH_INFO"] = path.removeprefix(self._prefix)
        environ["SCRIPT_NAME"] = self._prefix
        return self._app(environ, start_response)


class FileRequest(Request):
    """Receives files where they will stay: never in memory, nor on a second disk."""

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        file = services().files.arriving()
        self.__dict__.setdefault("arriving", []).append(file)
        return file

    def close(self) -> None:
        for file in self.__dict__.get("arriving", ()):
            services().files.discard(file)
        super().close()


class Sessions(SecureCookieSessionInterface):
    """Signed cookies, as Flask's own; the key comes from the store, the same for every worker.

    Embedded, a visitor has a cookie for each site, which browsers keep apart from all others:
    cross-site they take it only so, and only under HTTPS.
    """

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        serializer = super().get_signing_serializer(app)
        if serializer is not None:
            serializer.signer = identity.Signer
        return serializer

    def get_cookie_name(self, app: Flask) -> str:
        site = embedding_site()
        name = super().get_cookie_name(app)
        return f"{name}_{digest(site)[:8]}" if site else name

    def get_cookie_samesite(self, app: Flask) -> str | None:
        return "None" if self.get_cookie_partitioned(app) else super().get_cookie_samesite(app)

    def get_cookie_partitioned(self, app: Flask) -> bool:
        return bool(embedding_site()) and self.get_cookie_secure(app)

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        try:
            take_secret_key(app)
        except StoreUnavailable:
            return None  # before_request meets it again, where it is explained
        return super().open_session(app, request)


def take_secret_key(app: Flask) -> None:
    if app.secret_key is None:
        app.secret_key = cast(Services, app.extensions["sitechat"]).store.portal.secret_key()


def prepare() -> None:
    """Without the key no visitor is known: say so rather than begin a second chat."""
    if request.endpoint in ("index", "ajax"):
        take_secret_key(current_app)


def address() -> str:
    """Whoever asks, as a digest: the store need not know more."""
    return digest(f"{request.remote_addr} {current_app.secret_key!r}")


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:32]


def embedding_site() -> str:
    """The origin of the other site that embeds the chat; "" for our own page.

    Our frame says it, having heard it from the browser, in a header that no other site's page can
    send; a page that asks us past the frame is named by the browser itself.
    """
    settings = services().settings
    own = ("", settings.origin)
    origin = request.headers.get("Origin", "")
    said = request.headers.get("X-Chat-Site", "") if origin in own else origin
    return said if said not in own and said in settings.chat.sites else ""


def language() -> str:
    """The language of whoever asks: an admin's from the portal, a visitor's from the browser.

    A page that embeds the chat may have one of its own.
    """
    setting = services().settings.chat.language
    if asked := asked_language():
        return asked
    if request.endpoint in ("install", "handler"):
        asked = request.args.get("LANG", "")[:2].lower()
        if asked in languages():
            return asked
        return request.accept_languages.best_match(languages()) or DEFAULT
    asked = request.headers.get("X-Chat-Language") or request.args.get("lang", "")
    if asked in languages():
        return asked
    if setting != "auto":
        return setting
    return request.accept_languages.best_match(languages()) or DEFAULT


def asked_language() -> str | None:
    """The one that the site around the chat asks for by `?lang=`, if we have it."""
    asked = request.args.get("lang", "")[:2].lower()
    return asked if request.endpoint in ("index", "ajax") and asked in languages() else None


def posted_form() -> Form:
    """The fields of the body, from a form as browsers, jQuery and PHP send it."""
    if request.mimetype == "multipart/form-data":
        if any("\ufffd" in value for value in request.form.values()):
            raise BadRequest("not_utf8")
        return forms.nested(request.form.items(multi=True))
    if request.mimetype not in ("application/x-www-form-urlencoded", ""):
        raise Problem("errors.form_expected", 415)
    body = request.get_data()
    if request.content_length is None and len(body) >= (request.max_content_length or 0):
        raise RequestEntityTooLarge  # werkzeug cuts what does not say how long it is
    return forms.decode_form(body)


def any_form() -> Form:
    """Fields of the query and the body; the body's count where both have them, as in PHP."""
    body = posted_form() if request.method == "POST" else {}
    return forms.decode_form(request.query_string) | body


class Problem(Exception):
    """A request that gets no further; `key` names the text that says why."""

    def __init__(self, key: str, status: int, **values: object) -> None:
        super().__init__(key)
        self.key = key
        self.status = status
        self.values = values


def note_refusal(key: str, **values: object) -> None:
    """Count a request that was turned away; `work` takes the counts to the store.

    `key` and its values name the text that tells an admin why, in whatever language.
    """
    told = {name: str(value)[:200] for name, value in values.items()}
    services().refused[json.dumps([f"/{request.endpoint or ''}", key, told])] += 1
    log.warning("refused: %s: %s", request.endpoint, text(DEFAULT, key, **values))


def secure(response: Response) -> Response:
    """Headers that keep the pages to themselves; only the portal and named sites frame them."""
    settings = services().settings
    scripts, styles, ancestors = "'self'", "'self'", ""
    if request.endpoint in ("install", "handler"):
        portal = settings.bitrix24.portal
        ancestors = g.get("frame_ancestors") or (origin_of(portal) if portal else "'self'")
        if "nonce" in g:
            origin = g.script_origin
            scripts = f"'nonce-{g.nonce}'" + (f" {origin}" if origin else "")
    elif "style_nonce" in g:
        styles += f" 'nonce-{g.style_nonce}'"
    for name, value in strict_headers(settings, scripts, styles, ancestors).items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def strict_headers(
    settings: Settings, scripts: str = "'self'", styles: str = "'self'", ancestors: str = ""
) -> dict[str, str]:
    """What goes with every answer; without `ancestors` only we and the named sites may frame it."""
    ancestors = ancestors or " ".join(["'self'", *settings.chat.sites])
    # A portal on plain HTTP is one on this very machine; its pictures are still an operator's.
    images = origin_of(settings.bitrix24.portal) if settings.bitrix24.portal else ""
    headers = {
        "Content-Security-Policy": f"default-src 'none'; script-src {scripts}; style-src {styles};"
        f" img-src 'self' https: data: blob: {images}; connect-src 'self'; form-action 'self';"
        f" base-uri 'none'; frame-ancestors {ancestors}",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "strict-origin-when-cross-origin",
    }
    if settings.public_url.startswith("https:"):
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return headers
