"""What changes in a visitor's chat, as Server-Sent Events."""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, takewhile
from typing import Any

from flask import Response, request
from flask.typing import ResponseReturnValue

from live import Crowded
from store.records import Message
from turns import Turns
from web.asking import Problem, known_address, services
from web.bubbles import HISTORY, Bubbles, Votes, looks_like_vote
from web.connections import GIVEN_LATER, connection_of
from web.history import changed_messages, count_reading
from web.itself import itself
from web.visitor import Visitor, check_origin, current_visitor

LAST_ID = re.compile(r"((?P<epoch>[0-9a-z]{0,40})\.)?(?P<revision>[0-9]{1,18})")
WAIT_SECONDS = 30  # until a stream may be asked for again, if there are too many
REST_SECONDS = 0.02  # a stream that had nothing to give for so long has held up nobody


def chat_stream() -> ResponseReturnValue:
    """What changes in the visitor's chat, as Server-Sent Events, each a message's HTML.

    `Last-Event-ID` tells after which change to begin. With `once` the answer ends with what is
    there, for pages behind a proxy that holds an endless answer back. X-Chat-Id names the chat; if
    it is another than before, the former chat was deleted.
    """
    check_origin()
    visitor = current_visitor()
    if visitor is None:
        return "", 204
    count_reading(visitor)
    after = last_revision(visitor)
    login = visitor.bearer.login
    # The answer to HEAD is never read, so the server would not say when such a stream ends.
    here = itself(request)
    if here.args.get("once") or here.method == "HEAD":
        response = Response(events_until_now(visitor, after or 0), mimetype="text/event-stream")
    else:
        response = endless_stream(visitor, after, login)
    response.headers["X-Accel-Buffering"] = "no"
    response.headers["X-Chat-Id"] = visitor.chat_id
    return response


def events_until_now(visitor: Visitor, after: int) -> Iterator[bytes] | bytes:
    """What changed after this revision; of most polls nothing, which the look at who asks tells."""
    if not visitor.has_news(after):
        return b""
    there = changed_messages(services().store, visitor.chat_id, after)
    first = list(islice(there, 1))
    return event_stream(beginning_with(first, there), visitor.writer.epoch) if first else b""


def beginning_with(first: list[Message], others: Iterator[Message]) -> Iterator[Message]:
    """The one message of `first`, which is taken from there, and then the others."""
    yield first.pop()
    yield from others


def last_revision(visitor: Visitor) -> int | None:
    """The revision after which the page wants changes, by its `Last-Event-ID`; None without one.

    The revision counts in the store's present epoch only, and only up to the latest one: the store
    may be another one, or a backup. Then the page gets the chat's last messages once more; so does
    one with an id of a form that a newer release gives.
    """
    last_id = itself(request).headers.get("Last-Event-ID", "")
    if not last_id:
        return None
    if match := LAST_ID.fullmatch(last_id):
        revision = int(match["revision"])
        # None: a page of before the update
        is_ours = match["epoch"] in (None, visitor.writer.epoch)
        if is_ours and revision <= visitor.writer.revision:
            return revision
    return services().store.conversations.before_latest(visitor.chat_id, HISTORY)


def until_log_out(changes: Iterator[Message | None], login: str) -> Iterator[Message | None]:
    """The changes, as long as the customer has not logged out where this stream was opened."""
    logins = services().store.logins
    return takewhile(lambda _: not logins.has_ended(login), changes)


def endless_stream(visitor: Visitor, after: int | None, login: str) -> Response:
    """Raises Problem if too many streams are open; the page then polls with `once` for a while."""
    live, address = services().live, known_address()
    connection = connection_of(request.environ)
    following = live.follow(visitor.chat_id, after, connection.hang_up if connection else None)
    changes = until_log_out(following, login) if login else following
    events = event_stream(changes, visitor.writer.epoch)
    # The last step: if another one failed after it, nobody would leave the place.
    try:
        live.take_place(address, services().settings.limits.address_streams)
    except Crowded:
        raise Problem("errors.many_streams", 429, seconds=WAIT_SECONDS) from None

    def leave() -> None:
        following.close()
        live.leave_place(address)

    return Endless(events, leave)


class Endless(Response):
    """Its connection gives the events when the request is over.

    Else the request and the answer, with all of their headers, and the calls of the server and of
    Flask would be in memory as long as the stream is.
    """

    def __init__(self, events: Iterator[bytes], leave: Callable[[], None]) -> None:
        """`leave` is called at the end."""
        super().__init__(events, mimetype="text/event-stream")
        self.call_on_close(leave)
        self._events, self._leave = events, leave

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        connection = connection_of(environ)
        has_body = environ.get("CONTENT_LENGTH") or "HTTP_TRANSFER_ENCODING" in environ
        if connection is None or has_body:  # whose rest is read when the answer ends
            return super().__call__(environ, start_response)
        write = start_response(self.status, self.get_wsgi_headers(environ).to_wsgi_list())
        is_chunked = environ["SERVER_PROTOCOL"] == "HTTP/1.1"
        connection.begin_stream(self._events, self._leave, is_chunked)
        write(b"")
        nothing: Iterable[bytes] = GIVEN_LATER
        return nothing


def event_stream(changes: Iterator[Message | None], epoch: str) -> Iterator[bytes]:
    """Messages as Server-Sent Events, None as a heartbeat.

    Only the event that is being sent is in memory, until the client has read it.
    """
    parts, bubbles = services(), Bubbles.of_request(epoch)
    store = parts.store

    def event(message: Message | None) -> bytes:
        if message is None:
            return b":\n\n"
        votes = Votes()
        if looks_like_vote(message):  # a vote, if one was asked for
            earlier = store.conversations.words_before(message, HISTORY)
            last = next((one for one in earlier if one.asks_vote or looks_like_vote(one)), None)
            votes = Votes(asked=last is not None and last.asks_vote)
        html = bubbles.of(message).shown(votes)
        parts.shown.note(message)
        number = f"{bubbles.epoch}.{message.revision}".encode()
        return b"id: %b\ndata: %b\n\n" % (number, html.replace(b"\n", b"\ndata: "))

    return map(event, in_turns(changes))  # `map` keeps neither what it takes nor what it gives


def in_turns(changes: Iterator[Message | None]) -> Iterator[Message | None]:
    """The changes; if many come at once, others are served before the next one is read."""
    turns = Turns()
    while True:
        turns.give_way()
        asked_at = time.perf_counter()
        following = list(islice(changes, 1))
        if not following:
            return
        if time.perf_counter() - asked_at > REST_SECONDS:
            turns = Turns()  # the stream has waited: an event alone is given without a pause
        yield following.pop()
