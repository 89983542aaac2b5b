"""Visitors of Bitrix24's own example in PHP, whose chats were taken over: known by its cookie.

The example named a chat by digests of the page's origin and of PHP's session. Whoever comes with
that session's cookie to the same host, and is not known to us yet, goes on in that chat.
"""

import hashlib
import hmac
import re

from flask import current_app, request

from web import identity
from web.asking import embedding_site, services

COOKIE = "PHPSESSID"
SESSION = re.compile(r"[0-9A-Za-z,-]{22,256}")


def former_visitor() -> tuple[identity.Bearer, str] | None:
    """The visitor whom PHP's cookie names, and the chat that they have from the example."""
    session = request.cookies.get(COOKIE, "")
    store = services().store
    if not SESSION.fullmatch(session) or embedding_site():
        return None
    if store.notes.former_visitors.get() is None:
        return None
    for origin in (services().settings.origin, ""):  # older browsers named none
        chat_id = f"chat{_md5(origin)}{_md5(session)}"
        if store.chats.find(chat_id) or store.chats.is_over(chat_id):
            key = str(current_app.secret_key).encode()
            name = hmac.new(key, f"former {session}".encode(), "sha256").hexdigest()[:32]
            return identity.Bearer(name, ""), chat_id
    return None


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
