"""Who the visitor is, by the session's cookie or by the token that an embedding page keeps.

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

RENEW_SECONDS = 3600.0  # between two renewals of a cookie, because not every answer need set it
EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")


@dataclass(frozen=True)
class Visitor:
    """Whoever holds a session's cookie or a token; a browser gets one with its first message."""

    chat_id: str
    chat: Chat | None  # for new messages: their own, else its latest part, else None
    token: str = field(repr=False)  # the cookie holds it, and the chat's id is made of it


def current_visitor() -> Visitor | None:
    """The visitor whom the token of the site's page names, or else the session's cookie.

    If their chat was deleted, in any tab or on any device, they get a new one, the same everywhere.
    So does a visitor with an anonymous token whose chat became a part of a customer's chat.
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
    token = request.headers.get("X-Chat-Token")
    days = services().settings.chat.session_days
    key = str(current_app.secret_key)
    return identity.visitor_of(key, visitors_site(), token, days) if token else None


def identify(form: Form) -> ResponseReturnValue:
    """Check the site's signature for its customer, and answer with the customer's token.

    What they wrote in this browser before they logged in becomes a part of the customer's chat.
    Nothing else is stored until the customer writes.
    """
    site, email = visitors_site(), text_of(form, "email", "")
    secret = services().settings.chat.identity_secret.get_secret_value()
    if not secret:
        raise Problem("errors.identify_off", 403)
    expected = identity.signature(secret, site, email)
    signature = text_of(form, "signature", "")
    if not EMAIL.fullmatch(email) or not hmac.compare_digest(expected.encode(), signature.encode()):
        note_refusal("reasons.signature")
        raise Problem("errors.signature", 403)
    key = str(current_app.secret_key)
    former = current_visitor()
    customer = identity.customer(key, site, email)
    visitor = visitor_with(customer)
    another = former and identity.is_customer(former.token) and former.chat_id != visitor.chat_id
    if former and former.chat and not identity.is_customer(former.token):
        services().store.chats.make_part(former.chat.id, visitor.chat_id)
    # The page tells customers apart by this digest, which stays when they delete their chat.
    result = {
        "token": identity.issue(key, site, customer),
        "customer": digest(customer),
        "goes_on": not another,  # unsent texts of no named customer are this customer's
    }
    return {"chat": visitor.chat_id, "post": None, "result": result}


def forget(form: Form) -> ResponseReturnValue:
    """Clear the session: the site's customer has logged out."""
    session.clear()
    return {"chat": None, "post": form, "result": {}}


def begin_session(client_id: str) -> Visitor:
    """Begin the session of a new visitor, with a token that cannot be guessed.

    A first message whose answer was lost is posted again, without the cookie of that answer. The
    token is made of the message's random UUID, so the repeat comes from the same visitor.
    """
    token = secrets.token_hex(16)
    if client_id and uuid.UUID(client_id).version == 4:
        key = str(current_app.secret_key).encode()
        token = hmac.new(key, f"visitor {client_id}".encode(), "sha256").hexdigest()[:32]
    visitor = visitor_with(token)  # another one, if the conversation was deleted meanwhile
    remember(visitor)
    return visitor


def remember(visitor: Visitor) -> None:
    """Give the browser a cookie for the visitor; embedded, also a token for the site's page."""
    if session.get("visitor") != visitor.token:
        session.permanent = True
        session["visitor"] = visitor.token
    renew(None)
    if "X-Chat-Site" in request.headers:
        g.token = identity.issue(str(current_app.secret_key), visitors_site(), visitor.token)


def renew(reader: Visitor | None) -> None:
    """Renew cookie and token, which end `session_days` after the last visit."""
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
    """The id of a visitor's chat on one site. Bitrix24 sees it, so it must not reveal the token."""
    return f"chat{digest(origin)}{digest(token)}"


def check_origin() -> None:
    """Raise Problem for a page of another site, which may not use the visitor's cookie."""
    settings = services().settings
    origin = request.headers.get("Origin")
    allowed = (settings.origin, *settings.chat.sites)
    if origin is not None and origin not in allowed:
        note_refusal("reasons.other_site")
        raise Problem("errors.origin", 403, url=f"{settings.public_url}/")
    if request.headers.get("X-Chat-Site", settings.origin) not in allowed:
        note_refusal("reasons.embedded")
        raise Problem("errors.origin", 403, url=f"{settings.public_url}/")
