"""What changes in a visitor's chat, as Server-Sent Events."""

import re
import time
from collections.abc import Iterator

from flask import Response, current_app, request
from flask.typing import ResponseReturnValue

from store.records import Message
from turns import Turns
from web.asking import services
from web.bubbles import HISTORY, Votes, chat_texts, looks_like_vote, message_row
from web.history import changed_messages, count_reading
from web.visitor import check_origin, current_visitor

REST_SECONDS = 0.02  # a stream that had nothing to give for so long has held up nobody


def chat_stream() -> ResponseReturnValue:
    """What changes in the visitor's chat, as Server-Sent Events, each a message's HTML.

    `Last-Event-ID` is the revision after which to begin. With `once` the answer ends with what is
    there, for pages behind a proxy that holds an endless answer back. X-Chat-Id names the chat; if
    it is another than before, the former chat was deleted.
    """
    check_origin()
    visitor = current_visitor()
    if visitor is None:
        return "", 204
    count_reading(visitor)
    last_id = request.headers.get("Last-Event-ID", "")
    after = int(last_id) if re.fullmatch("[0-9]{1,18}", last_id) else None
    if request.args.get("once"):
        store = services().store
        changes: Iterator[Message | None] = changed_messages(store, visitor.chat_id, after or 0)
    else:
        changes = services().live.follow(visitor.chat_id, after)
    response = Response(event_stream(changes), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store, no-transform"
    response.headers["X-Accel-Buffering"] = "no"
    response.headers["X-Chat-Id"] = visitor.chat_id
    return response


def event_stream(changes: Iterator[Message | None]) -> Iterator[str]:
    """Messages as Server-Sent Events, None as a heartbeat."""
    template, texts = current_app.jinja_env.get_template("messages.html"), chat_texts()
    store = services().store

    def event(message: Message | None) -> str:
        if message is None:
            return ":\n\n"
        votes = Votes()
        if looks_like_vote(message):  # a vote, if one was asked for
            earlier = store.messages.words_before(message, HISTORY)
            last = next((one for one in earlier if one.asks_vote or looks_like_vote(one)), None)
            votes = Votes(asked=last is not None and last.asks_vote)
        row = message_row(message, texts) | {"voted": votes.is_vote(message)}
        html = template.render(messages=[row], texts=texts)
        data = "".join(f"data: {line}\n" for line in html.split("\n"))
        return f"id: {message.revision}\n{data}\n"

    return in_turns(event(message) for message in changes)


def in_turns(events: Iterator[str]) -> Iterator[str]:
    """The events; if many come at once, others are served in between."""
    turns, paused_at = Turns(), time.perf_counter()
    for event in events:
        if time.perf_counter() - paused_at > REST_SECONDS:
            turns = Turns()  # the stream has waited: an event alone is given without a pause
        yield event
        turns.give_way()
        paused_at = time.perf_counter()
