"""Who the visitor is: known by the session's cookie, or by the token that an embedding page keeps.

A chat belongs to one visitor on one site. Knows nothing of messages.
"""

import hmac
import re
import secrets
import time
import uuid
from dataclasses import dataclass, field

from flask import (
    Response,
    current_app,
    g,
    request,
    session,
)
from flask.typing import ResponseReturnValue

from portal.forms import Form, text_of
from store.records import Chat
from web import identity
from web.asking import (
    Problem,
    digest,
    embedding_site,
    note_refusal,
    services,
)

RENEW_SECONDS = 3600.0  # writing the cookie costs more than reading it: not with every request
EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")


@dataclass(frozen=True)
class Visitor:
    """Whoever holds the session's cookie; there is none before the first message."""

    chat_id: str
    chat: Chat | None  # where they write: their own, or what they began before they logged in
    token: str = field(repr=False)  # what the cookie holds and the chat's id is made of


def current_visitor() -> Visitor | None:
    """Whoever the token of the site's page names, or else the session's cookie.

    Whose chat was deleted, in another tab or on another device, begins anew: everywhere the same.
    So does who holds an anonymous token of what is a customer's now.
    """
    token = token_visitor() or session.get("visitor")
    return visitor_with(token) if isinstance(token, str) else None


def visitor_with(token: str) -> Visitor:
    store, site = services().store, visitors_site()
    while not (chat := store.chats.find_open(chat_id := chat_id_of(site, token))):
        if not store.chats.is_over(chat_id):
            break
        token = identity.successor(str(current_app.secret_key), token)
    return Visitor(chat_id, chat, token)


def visitors_site() -> str:
    return embedding_site() or services().settings.origin


def token_visitor() -> str | None:
    given = request.headers.get("X-Chat-Token")
    days = services().settings.chat.session_days
    key = str(current_app.secret_key)
    return identity.visitor_of(key, visitors_site(), given, days) if given else None


def identify(form: Form) -> ResponseReturnValue:
    """Take the site's word, signed, for who its customer is; the answer's token is the customer's.

    What they wrote in this browser before they logged in is theirs from now on, on every device.
    Else nothing is kept until the customer writes.
    """
    site, email = visitors_site(), text_of(form, "email", "")
    secret = services().settings.chat.identity_secret.get_secret_value()
    if not secret:
        raise Problem("errors.identify_off", 403)
    right = identity.signature(secret, site, email)
    given = text_of(form, "signature", "")
    if not EMAIL.fullmatch(email) or not hmac.compare_digest(right.encode(), given.encode()):
        note_refusal("reasons.signature")
        raise Problem("errors.signature", 403)
    key = str(current_app.secret_key)
    before = current_visitor()
    customer = identity.customer(key, site, email)
    visitor = visitor_with(customer)
    another = before and identity.is_customer(before.token) and before.chat_id != visitor.chat_id
    if before and before.chat and not identity.is_customer(before.token):
        services().store.chats.make_part(before.chat.id, visitor.chat_id)
    # By its digest the page knows another customer, even when this one has deleted the chat.
    result = {
        "token": identity.issue(key, site, customer),
        "customer": digest(customer),
        "goes_on": not another,  # what the browser keeps without a name is this customer's
    }
    return {"chat": visitor.chat_id, "post": None, "result": result}


def forget(form: Form) -> ResponseReturnValue:
    """Know nobody any more: the site's customer has logged out."""
    session.clear()
    return {"chat": None, "post": form, "result": {}}


def begin_session(client_id: str) -> Visitor:
    """A new visitor's session, by a random token.

    A first message whose answer was lost is posted again, without the cookie that was lost with
    it. It has the same random UUID, of which the token is made: so its visitor is known again.
    """
    token = secrets.token_hex(16)
    if client_id and uuid.UUID(client_id).version == 4:
        key = str(current_app.secret_key).encode()
        token = hmac.new(key, f"visitor {client_id}".encode(), "sha256").hexdigest()[:32]
    visitor = visitor_with(token)  # another one, if the conversation was deleted meanwhile
    remember(visitor)
    return visitor


def remember(visitor: Visitor) -> None:
    """Know the visitor again: by the cookie, and embedded by a token that the site's page keeps."""
    if session.get("visitor") != visitor.token:
        session.permanent = True
        session["visitor"] = visitor.token
    renew(None)
    if "X-Chat-Site" in request.headers:
        g.token = identity.issue(str(current_app.secret_key), visitors_site(), visitor.token)


def renew(reader: Visitor | None) -> None:
    """Let cookie and token live on from now: they end `session_days` after the last visit."""
    if reader and reader.chat and "X-Chat-Token" in request.headers:
        g.token = identity.issue(str(current_app.secret_key), visitors_site(), reader.token)
    age = time.time() - session.get("renewed", 0)
    if "visitor" in session and not 0 <= age < RENEW_SECONDS:
        session["renewed"] = time.time()


def hand_token(response: Response) -> Response:
    if "token" in g and response.status_code < 400:
        response.headers["X-Chat-Token"] = g.token
    return response


def chat_id_of(origin: str, token: str) -> str:
    """The chat of one visitor on one site. Bitrix24 sees it, so it must not give the token away."""
    return f"chat{digest(origin)}{digest(token)}"


def check_origin() -> None:
    """Other sites' pages may not use the visitor's cookie."""
    settings = services().settings
    origin = request.headers.get("Origin")
    allowed = (settings.origin, *settings.chat.sites)
    if origin is not None and origin not in allowed:
        note_refusal("reasons.other_site")
        raise Problem("errors.origin", 403, url=f"{settings.public_url}/")
    if request.headers.get("X-Chat-Site", settings.origin) not in allowed:
        note_refusal("reasons.embedded")
        raise Problem("errors.origin", 403, url=f"{settings.public_url}/")
