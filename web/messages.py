"""A visitor's message: stored, and queued for Bitrix24, before we answer."""

import time
from dataclasses import replace

from flask.typing import ResponseReturnValue

from portal.forms import Form, number_of
from store.records import Chat, Limits, Message
from web.asking import Problem, address, known_address, services
from web.page import back_to_page, wants_page
from web.submission import read_submission
from web.visitor import current_visitor


def send_message(form: Form) -> ResponseReturnValue:
    """Accept one message. It is stored, and queued for Bitrix24, before we answer."""
    message = read_submission(form)
    stored = services().store.messages.add_from_visitor(message, limits(), time.time())
    return accepted(message.chat, stored, form)


def retry_message(form: Form) -> ResponseReturnValue:
    """Queue again a message that Bitrix24 refused; all tabs and devices of the visitor show it."""
    number = number_of(form, "id")
    visitor = current_visitor()
    message = (
        services().store.queue.retry(visitor.chat_id, number, limits(), time.time())
        if visitor
        else None
    )
    if visitor is None or message is None:
        raise Problem("errors.no_message", 404)
    services().worker.wake()
    result = {"id": message.id, "state": message.state}
    return {"chat": visitor.chat_id, "post": form, "result": result}


def accepted(chat: Chat, stored: Message, form: Form) -> ResponseReturnValue:
    services().worker.wake()
    if wants_page():
        return back_to_page()
    return {
        "chat": chat.id,
        "post": form,
        "result": {"id": stored.id, "state": stored.state},
    }


def limits() -> Limits:
    """What the visitor who asks may send. An address that names nobody has no limits of its own."""
    limit = services().settings.limits
    common = Limits(address(), limit.visitor_per_minute, limit.address_per_minute)
    if known_address() is None:
        return common
    return replace(
        common, chats_per_minute=limit.address_chats_per_minute, waiting=limit.address_waiting
    )
