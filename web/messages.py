"""A visitor's message: stored, and queued for Bitrix24, before we answer.

Rendering a text takes up to 400 ms, and a file up to 20 MB. So what is cheap comes first: whether
the message is stored already, and whether its visitor may send another one now. The store finds out
both again with the message itself; a plain text, which takes nothing to render, leaves it at that.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from flask.typing import ResponseReturnValue

import way
from bbcode import is_plain, to_html
from logs import request_ms
from portal.forms import Form, number_of
from store.records import Chat, Limits, Message, VisitorMessage
from web.asking import Problem, address, known_address, services, wants_page
from web.page import back_to_page
from web.submission import Submission, consent_of, contacts_in, read_submission
from web.visitor import current_visitor, turn_away_blocked


def send_message(form: Form) -> ResponseReturnValue:
    """Accept one message. It is stored, and queued for Bitrix24, before we answer."""
    message = read_submission(form)
    if is_plain(message.text):
        stored, is_repeat = add(message)
        if is_repeat:
            services().repeats.take(message.chat.id)
    else:
        stored = find_repeated(message.chat, message.client_id) or store_message(message)
    return accepted(message.chat, stored, form)


def store_message(message: VisitorMessage) -> Message:
    """Render and store, if its visitor may send one now; raises TooMany."""
    with allowed(message.chat):
        stored, _ = add(message)
    return stored


def add(message: VisitorMessage) -> tuple[Message, bool]:
    """Render and store; whether it was stored before, and this is a repeat. Raises TooMany."""
    rendered = replace(message, text_html=to_html(message.text) if message.text else "")
    now = services().store.now()
    stored = services().store.messages.add_from_visitor(rendered, limits(), now)
    is_repeat = stored.sent_at != now
    if not is_repeat:
        tell_taken(stored)
    return stored, is_repeat


def tell_taken(message: Message, again: bool | None = None) -> None:
    way.step(
        "taken",
        message.id,
        message.chat_id,
        author=message.author,
        again=again,
        files=len(message.files) or None,
        ms=request_ms(),
    )


def find_repeated(chat: Chat, client_id: str | None) -> Message | None:
    """The message that this one repeats, because its answer was lost; raises TooOften."""
    found = services().store.messages.find_sent(chat, client_id)
    if found:
        services().repeats.take(chat.id)
    return found


@contextmanager
def allowed(chat: Chat) -> Iterator[None]:
    """Raises TooMany before a message is made ready that would not be stored afterwards.

    Those that are being made ready count, too: of many at once only so many are let through as can
    be stored. Other processes do not see them.
    """
    unstored = services().unstored
    table = services().store.limits
    counted = Counter(table.check_message(chat.id, limits(), services().store.now(), unstored))
    unstored.update(counted)
    try:
        yield
    finally:
        unstored.subtract(counted)
        for who in counted:
            if not unstored[who]:
                del unstored[who]


def check_before_file(form: Form) -> None:
    """Check the fields that came before a file, and whether its visitor may send a message now.

    Raises Problem and TooMany; begins no session. All is checked again when the file has come.
    """
    submission = Submission.of(form, needs_text=False)
    visitor = current_visitor()
    turn_away_blocked(visitor)
    if "consent" in form:
        consent_of(submission, visitor)
    if visitor is None or not find_repeated(submission.chat(visitor, None), submission.client_id):
        chat_id = visitor.chat_id if visitor else None
        services().store.limits.check_message(
            chat_id, limits(), services().store.now(), services().unstored
        )


def retry_message(form: Form) -> ResponseReturnValue:
    """Queue again a message that Bitrix24 refused; all tabs and devices of the visitor show it."""
    number = number_of(form, "id")
    visitor = current_visitor()
    turn_away_blocked(visitor)
    message = (
        services().store.queue.retry(visitor.chat_id, number, limits(), services().store.now())
        if visitor
        else None
    )
    if visitor is None or message is None:
        raise Problem("errors.no_message", 404)
    tell_taken(message, again=True)
    services().worker.wake()
    result = {"id": message.id, "state": message.state}
    return {"chat": visitor.chat_id, "post": form, "result": result}


def accepted(chat: Chat, stored: Message, form: Form) -> ResponseReturnValue:
    services().worker.wake()
    if wants_page():
        return back_to_page()
    result: dict[str, object] = {"id": stored.id, "state": stored.state}
    if left_out := contacts_in(form)[1]:
        result["left_out"] = left_out
    return {"chat": chat.id, "post": form, "result": result}


def limits() -> Limits:
    """What the visitor who asks may send. An address that names nobody has no limits of its own."""
    limit = services().settings.limits
    common = Limits(address(), limit.visitor_per_minute, limit.address_per_minute)
    if known_address() is None:
        return common
    return replace(
        common, chats_per_minute=limit.address_chats_per_minute, waiting=limit.address_waiting
    )
