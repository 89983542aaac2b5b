"""The whole conversation: saved as a file, or deleted for good."""

import re
import time
from base64 import b64encode
from datetime import UTC, datetime

from flask import Response, session
from flask import render_template as render
from flask.typing import ResponseReturnValue
from markupsafe import escape

from portal.forms import Form
from store.records import File, Message
from web.asking import Problem, digest, language, services
from web.bubbles import chat_texts, message_rows
from web.page import back_to_page, chat_page, wants_page
from web.visitor import Visitor, current_visitor, visitor_of

DELETIONS_A_MINUTE = 10  # of one visitor; each one leaves the ids of its chats in the store
SAVED_AT_ONCE = 500  # messages in one read of the store
SAVED_PICTURES_BYTES = 32 << 20  # in one saved conversation; further pictures are only linked


def save_conversation(_: Form) -> ResponseReturnValue:
    """The whole conversation as a file that can be read without our server."""
    visitor = current_visitor()
    messages = whole_history(visitor.chat_id) if visitor else []
    if not messages:
        raise Problem("errors.no_conversation", 404)
    texts = chat_texts()
    html = render(
        "saved.html",
        messages=message_rows(messages, texts),
        texts=texts,
        lang=language(),
        title=services().settings.chat.title,
    )
    response = Response(with_pictures(html, messages), mimetype="text/html")
    name = f"conversation-{datetime.now(UTC):%Y-%m-%d}.html"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def with_pictures(html: str, messages: list[Message]) -> str:
    """A saved conversation with the visitor's own pictures in it, up to SAVED_PICTURES_BYTES."""
    pictures = {
        str(escape(file.link)): (services().files.path(message.chat_id, file.key), file)
        for message in messages
        for file in message.files
        if file.key and file.media_type.startswith("image/")
    }
    bytes_left = SAVED_PICTURES_BYTES

    def embedded(source: re.Match[str]) -> str:
        nonlocal bytes_left
        path, file = pictures.get(source[1], (None, File()))
        bytes_left -= file.size or 0
        if path is None or bytes_left < 0 or not path.exists():
            return source[0]
        return f'src="data:{file.media_type};base64,{b64encode(path.read_bytes()).decode()}"'

    return re.sub(r'src="([^"]*)"', embedded, html)


def whole_history(chat_id: str) -> list[Message]:
    pages: list[list[Message]] = []
    while page := services().store.messages.latest(
        chat_id, pages[-1][0].id if pages else None, SAVED_AT_ONCE
    ):
        pages.append(page)
    return [message for page in reversed(pages) for message in page]


def delete_conversation(form: Form) -> ResponseReturnValue:
    """Remove the conversation for good; a plain form without `sure` gets the question first."""
    visitor = current_visitor()
    if wants_page() and form.get("sure") != "yes":
        return chat_page(deleting=visitor is not None)
    if visitor:
        delete_chat_of(visitor)
    # A message in another tab may have begun a new conversation by now. It needs the cookie.
    if visitor is None or visitor_of(visitor.bearer).chat is None:
        session.clear()
    if wants_page():
        return back_to_page()
    chat_id = visitor.chat_id if visitor else None
    return {"chat": chat_id, "post": form, "result": {"deleted": visitor is not None}}


def delete_chat_of(visitor: Visitor) -> None:
    """Raises TooMany above DELETIONS_A_MINUTE."""
    store, now = services().store, time.time()
    store.limits.count_hit(digest(f"deletes {visitor.bearer.visitor}"), DELETIONS_A_MINUTE, now)
    for part in store.chats.delete(visitor.chat_id, now):
        services().files.remove_chat(part)
