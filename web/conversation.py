"""The whole conversation, deleted for good."""

import time

from flask import session
from flask.typing import ResponseReturnValue

from portal.forms import Form
from web.asking import services
from web.page import back_to_page, chat_page, wants_page
from web.visitor import current_visitor


def delete_conversation(form: Form) -> ResponseReturnValue:
    """Remove the conversation for good; a plain form without `sure` gets the question first."""
    visitor = current_visitor()
    if wants_page() and form.get("sure") != "yes":
        return chat_page(deleting=visitor is not None)
    for part in services().store.chats.delete(visitor.chat_id, time.time()) if visitor else ():
        services().files.remove_chat(part)
    session.clear()
    if wants_page():
        return back_to_page()
    chat_id = visitor.chat_id if visitor else None
    return {"chat": chat_id, "post": form, "result": {"deleted": visitor is not None}}
