"""The whole conversation, deleted for good."""

from flask import session
from flask.typing import ResponseReturnValue

import way
from logs import request_ms
from portal.forms import Form
from web.asking import digest, known_address, services, wants_page
from web.page import back_to_page, chat_page
from web.visitor import Visitor, current_visitor, visitor_of

# Of one visitor, and of one address. Each one leaves the ids of its chats in the store.
DELETIONS_A_MINUTE, ADDRESS_DELETIONS_A_MINUTE = 10, 30


def delete_conversation(form: Form) -> ResponseReturnValue:
    """Remove the conversation for good; a plain form without `sure` gets the question first."""
    visitor = current_visitor()
    if wants_page() and form.get("sure") != "yes":
        return chat_page(deleting=visitor is not None)
    if visitor:
        delete_chat_of(visitor)
    # A message in another tab may have begun a new conversation by now. It needs the cookie; and a
    # visitor whom an administrator has turned away does not become another one by this.
    next_chat = visitor_of(visitor.bearer) if visitor else None
    if next_chat is None or not (next_chat.chat or next_chat.is_blocked):
        session.clear()
    if wants_page():
        return back_to_page()
    chat_id = visitor.chat_id if visitor else None
    return {"chat": chat_id, "post": form, "result": {"deleted": visitor is not None}}


def delete_chat_of(visitor: Visitor) -> None:
    """Raises TooMany, for one visitor or for one known address."""
    store = services().store
    now = store.now()
    limits = {digest(f"deletes {visitor.bearer.visitor}"): DELETIONS_A_MINUTE}
    if address := known_address():
        limits[f"deletes {address}"] = ADDRESS_DELETIONS_A_MINUTE
    store.limits.count_hits(limits, now)
    store.chats.delete(visitor.chat_id, now, services().files.remove_chat)
    way.chat_step("deleted by the visitor", visitor.chat_id, ms=request_ms())
