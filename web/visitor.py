"""Who the visitor is, by the session's cookie or by the token that an embedding page keeps.

A chat belongs to one visitor on one site. Knows nothing of messages.
"""

import hmac
import itertools
import re
import secrets
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from flask import (
    Response,
    current_app,
    g,
    request,
    session,
)
from flask.typing import ResponseReturnValue

from addresses import readable
from portal.forms import Form, text_of
from store.chats import SITE_LENGTH
from store.records import Chat, Writer
from web import identity
from web.asking import (
    Problem,
    address,
    digest,
    embedding_site,
    known_address,
    note_refusal,
    services,
    visitors_sites,
)
from web.former import former_visitor
from web.itself import itself
from web.reached import visitor_reached_us
from web.seen import saw_foreign_site, saw_visitor

OLDER_AT_ONCE = 100  # names of ended conversations that are looked up together, in about 1 ms
LOGINS_KEPT_DAYS = 400  # at least: `session_days` may be raised, and older tokens live again
CHAT_IDS_KEPT = 4_000  # of about 500 bytes each
RENEW_SECONDS = 3600.0  # between two renewals of a cookie, because not every answer need set it
EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")


@dataclass(frozen=True)
class Visitor:
    """Whoever holds a session's cookie or a token; a browser gets one with its first message."""

    chat_id: str
    bearer: (
        identity.Bearer
    )  # their name, by which cookies and tokens name them as long as they live
    writer: Writer

    @property
    def chat(self) -> Chat | None:
        """For new messages: their own, else its latest part, else None."""
        return self.writer.chat

    @property
    def is_blocked(self) -> bool:
        """Whether an administrator has turned them away."""
        return self.writer.is_blocked

    def has_news(self, after: int) -> bool:
        """Whether a message may have changed after this revision; of parts nothing is known."""
        return self.writer.has_parts or self.writer.latest > after


def current_visitor() -> Visitor | None:
    """The visitor whom the token of the site's page names, or else the session's cookie.

    If their chat was deleted, in any tab or on any device, they get a new one, the same everywhere.
    So does a visitor with an anonymous token whose chat became a part of a customer's chat. Who has
    logged out is nobody. A visitor of the example that we have taken over is known by its cookie,
    and from then on by ours.
    """
    bearer = token_bearer() or cookie_bearer()
    if bearer is None:
        return taken_over()
    return visitor_of(bearer) if not has_ended(bearer) else None


def taken_over() -> Visitor | None:
    """The visitor of a chat of Bitrix24's own example, who goes on in it."""
    former = former_visitor()
    if former is None:
        return None
    bearer, chat_id = former
    services().store.chats.give_heir(chat_id_of(visitors_sites()[0], bearer.visitor), chat_id)
    visitor = visitor_of(bearer)
    remember(visitor)
    return visitor


def turn_away_blocked(visitor: Visitor | None) -> None:
    """Raise Problem for a visitor whom an administrator has turned away; they may still read."""
    if visitor and visitor.is_blocked:
        raise Problem("errors.blocked", 403)


def visitor_of(bearer: identity.Bearer) -> Visitor:
    store, first = services().store, chat_id_of(visitors_sites()[0], bearer.visitor)
    chat_id = first
    writer = store.chats.find_writer(first)
    if writer.chat is None:
        chat_id = store.chats.latest_heir(first)
        if not stays_with_site(first, chat_id):
            chat_id = store.chats.part(first)
        if chat_id == first:
            chat_id = heir_of_former_site(first, bearer.visitor)
        if chat_id == first and store.chats.is_over(first):
            chat_id = heir_of_older(first, bearer.visitor)
        writer = store.chats.find_writer(chat_id)
    return Visitor(chat_id, bearer, writer)


def heir_of_former_site(first: str, name: str) -> str:
    """Where a visitor goes on who wrote before `chat.share_visitors` was switched, and note it."""
    chats = services().store.chats
    for site in visitors_sites()[1:]:
        former = chat_id_of(site, name)
        heir = chats.latest_heir(former)
        if (chats.find_open(former) or heir != former) and stays_with_site(first, heir):
            chats.give_heir(first, former)
            return chats.latest_heir(first)
    return first


def stays_with_site(first: str, chat_id: str) -> bool:
    """Whether a visitor, whose own chat here is `first`, goes on in this one.

    When the sites of a domain are parted, a chat of the whole domain stays with the first of them
    on which its visitor is seen, and a chat of one site with that site.
    """
    site, sites = first[:SITE_LENGTH], visitors_sites()
    if chat_id.startswith(site) or services().chat.share_visitors:
        return True
    is_domains = len(sites) == 1 or chat_id.startswith(f"chat{digest(sites[1])}")
    return is_domains and services().store.chats.is_taken_by(site, chat_id)


def heir_of_older(first: str, name: str) -> str:
    """Where the visitor goes on whose conversation ended under an earlier release, and note it.

    That release may have ended further conversations after it, each under a name of its own.
    """
    store, site = services().store, visitors_sites()[0]
    names = identity.older_successors(str(current_app.secret_key), name)
    while True:
        chat_ids = [chat_id_of(site, name) for name in itertools.islice(names, OLDER_AT_ONCE)]
        ended = store.chats.over_without_heir(chat_ids)
        if found := next((chat_id for chat_id in chat_ids if chat_id not in ended), None):
            store.chats.give_heir(first, found)
            return store.chats.latest_heir(first)
        time.sleep(0)  # others go first


def has_ended(bearer: identity.Bearer) -> bool:
    """Whether the customer has logged out where they got this token or cookie."""
    return bool(bearer.login) and services().store.logins.has_ended(bearer.login)


def token_bearer() -> identity.Bearer | None:
    token = itself(request).environ.get("HTTP_X_CHAT_TOKEN")
    if not token:
        return None
    key, days = str(current_app.secret_key), services().chat.session_days
    return identity.bearer_of(key, visitors_sites(), token, days)


def cookie_bearer() -> identity.Bearer | None:
    holds = itself(session)
    name = holds.get("visitor")
    if not isinstance(name, str):
        return None
    return identity.bearer(name, holds.get("login", ""), f"{name} {holds.get('renewed')}")


def identify(form: Form) -> ResponseReturnValue:
    """Check the site's signature for its customer, and answer with the customer's token.

    What they wrote in this browser before they logged in becomes a part of the customer's chat.
    Nothing else is stored until the customer writes.
    """
    key, site = str(current_app.secret_key), visitors_sites()[0]
    email = check_signature(form, embedding_site() or services().settings.origin)
    bearer = identity.Bearer(identity.customer(key, site, email), secrets.token_hex(16))
    visitor = visitor_of(bearer)
    join_older_spellings(visitor, email, text_of(form, "email", "").strip())
    former = current_visitor()
    is_known = former is not None and identity.is_customer(former.bearer.visitor)
    another = former and is_known and former.chat_id != visitor.chat_id
    if former and is_known and not another:  # the log-in goes on, and one log-out ends all of it
        bearer = identity.Bearer(bearer.visitor, former.bearer.login)
    if former and former.chat and not is_known:
        while not services().store.chats.make_part(former.chat.id, visitor.chat_id):
            visitor = visitor_of(bearer)  # the customer's chat was deleted during this request
    # The page tells customers apart by this digest, which stays when they delete their chat.
    result = {
        "token": identity.issue(key, site, bearer),
        "customer": digest(bearer.visitor),
        "goes_on": not another,  # unsent texts of no named customer are this customer's
    }
    return {"chat": visitor.chat_id, "post": None, "result": result}


def check_signature(form: Form, site: str) -> str:
    """The normal form of the e-mail that the site vouches for; raises Problem if it does not."""
    secret = services().chat.identity_secret.get_secret_value()
    if not secret:
        raise Problem("errors.identify_off", 403)
    given, signature = text_of(form, "email", ""), text_of(form, "signature", "")
    until = text_of(form, "until", "").strip()
    if not re.fullmatch("[0-9]{0,15}", until):
        raise Problem("errors.signature_until", 400)
    email = identity.normal_email(given) if len(given) <= identity.EMAIL_LENGTH else ""
    emails, sites = (given, given.strip(), email), (site, readable(site))
    right = [identity.signature(secret, *one, until) for one in itertools.product(sites, emails)]
    is_signed = any(hmac.compare_digest(one.encode(), signature.encode()) for one in right)
    if not EMAIL.fullmatch(email) or not is_signed:
        note_refusal("reasons.signature")
        raise Problem("errors.signature", 403)
    if until and int(until) < services().store.now() - identity.GRACE_SECONDS:
        note_refusal("reasons.signature_ended")
        ended = datetime.fromtimestamp(int(until), UTC)
        raise Problem("errors.signature_ended", 403, ended=f"{ended:%Y-%m-%d %H:%M:%S} UTC")
    return email


def join_older_spellings(visitor: Visitor, email: str, given: str) -> None:
    """Make the chats one that this customer has under other spellings of the e-mail.

    Earlier releases took each spelling for a customer of its own. A chat proves that the site has
    signed the spelling: its id is made of it with our key. `given` is signed now, and its tokens of
    earlier releases lead to this chat from now on. The same is done with the chats of before
    `chat.share_visitors` was switched.
    """
    store, key, sites = services().store, str(current_app.secret_key), visitors_sites()
    spellings = {email, given, *store.chats.spellings(email)}
    for site, spelling in itertools.product(sites, spellings):
        if (site, spelling) == (sites[0], email):
            continue
        older = visitor_of(identity.Bearer(identity.customer(key, site, spelling), ""))
        if (older.chat or email != spelling == given) and older.chat_id != visitor.chat_id:
            store.chats.join(older.chat_id, visitor.chat_id)


def forget(form: Form) -> ResponseReturnValue:
    """The site's customer has logged out: clear the session, and end their log-in.

    From now on no token and no cookie of this log-in is accepted. Those of others are.
    """
    bearers = (token_bearer(), cookie_bearer())
    if logins := {bearer.login for bearer in bearers if bearer and bearer.login}:
        days = max(services().chat.session_days + 1, LOGINS_KEPT_DAYS)
        services().store.logins.end(logins, services().store.now(), days * 86_400.0)
    session.clear()
    return {"chat": None, "post": form, "result": {}}


def begin_session(client_id: str) -> Visitor:
    """Begin the session of a new visitor, with a name that cannot be guessed.

    A first message whose answer was lost is posted again, without the cookie of that answer. The
    name is made of the message's random UUID, so the repeat comes from the same visitor. Waits
    where many conversations begin from one address; raises TooOften.
    """
    if token_bearer():  # it has ended, or we would know the visitor
        raise Problem("errors.logged_out", 403)
    if known_address() is not None:
        services().beginnings.wait(address())
    name = secrets.token_hex(16)
    if client_id and uuid.UUID(client_id).version == 4:
        key = str(current_app.secret_key).encode()
        name = hmac.new(key, f"visitor {client_id}".encode(), "sha256").hexdigest()[:32]
    visitor = visitor_of(identity.Bearer(name, ""))  # in another chat, if this one was deleted
    remember(visitor)
    return visitor


def remember(visitor: Visitor) -> None:
    """Give the browser a cookie for the visitor; embedded, also a token for the site's page."""
    bearer = visitor.bearer
    # With the first message of a chat always: a deletion in another tab may just have removed it.
    if visitor.chat is None or session.get("visitor") != bearer.visitor:
        session.permanent = True
        session["visitor"] = bearer.visitor
    if bearer.login and session.get("login") != bearer.login:
        session["login"] = bearer.login
    renew(None)
    if "X-Chat-Site" in request.headers:
        g.token = identity.issue(str(current_app.secret_key), visitors_sites()[0], bearer)


def renew(reader: Visitor | None) -> None:
    """Renew cookie and token, which end `session_days` after the last visit."""
    if reader and reader.chat and "HTTP_X_CHAT_TOKEN" in itself(request).environ:
        g.token = identity.issue(str(current_app.secret_key), visitors_sites()[0], reader.bearer)
    holds, now = itself(session), services().store.now()
    bearer, age = cookie_bearer(), now - holds.get("renewed", 0)
    if bearer and not 0 <= age < RENEW_SECONDS:
        holds["renewed"] = now
        if bearer.login:
            holds["login"] = bearer.login


def hand_token(response: Response) -> Response:
    kept = itself(g)
    if "token" in kept and response.status_code < 400:
        response.headers["X-Chat-Token"] = kept.token
    return response


@lru_cache(CHAT_IDS_KEPT)
def chat_id_of(origin: str, token: str) -> str:
    """The id of a visitor's chat on one site. Bitrix24 sees it, so it must not reveal the token."""
    return f"chat{digest(origin)}{digest(token)}"


def check_origin() -> None:
    """Raise Problem for a page of another site, which may not use the visitor's cookie."""
    parts, headers = services(), itself(request).environ
    origin, site = headers.get("HTTP_ORIGIN"), headers.get("HTTP_X_CHAT_SITE")
    fetched, own = headers.get("HTTP_SEC_FETCH_SITE"), parts.settings.origin

    def is_allowed(origin: str) -> bool:
        return origin == own or parts.chat.lists(origin)

    if fetched == "same-origin":  # else nothing is known of where they are
        saw_visitor()
        visitor_reached_us()
    if origin is not None and not is_allowed(origin):
        ours = readable(parts.settings.public_url)
        if fetched != "same-origin":  # else a page of ours
            saw_foreign_site(origin)
        note_refusal("reasons.other_site")
        raise Problem("errors.origin", 403, url=f"{ours}/")
    if site is not None and not is_allowed(site):
        ours = readable(parts.settings.public_url)
        saw_foreign_site(site)
        note_refusal("reasons.embedded")
        raise Problem("errors.origin", 403, url=f"{ours}/")
