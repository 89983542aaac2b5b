"""Requests that would take long to read: their heads refused or shortened, bodies read in turns.

A server joins a header that is sent several times, so a header may be as long as the whole head.
"""

import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from werkzeug.wsgi import ClosingIterator

from turns import TURN_SECONDS, Turns

HEADER_LIMIT = 8190  # characters; gunicorn takes as many in one line
ACCEPT_LIMIT = 1000  # characters of what the browser accepts; a real one sends a few hundred
READ_AT_ONCE = 16 << 10  # bytes of a body
REST_SECONDS = 5.0  # in which what is left of a body must have come
ACCEPT = ("HTTP_ACCEPT", "HTTP_ACCEPT_LANGUAGE")


class QuickToRead:
    """Answers 431 to a head with a longer header than HEADER_LIMIT; hands on all others."""

    def __init__(self, app: Callable[..., Iterable[bytes]], headers: Mapping[str, str]) -> None:
        """`headers` go with every answer of its own."""
        self._app = app
        self._headers = [*headers.items(), ("Content-Type", "text/plain; charset=utf-8")]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        values = (value for name, value in environ.items() if name.startswith("HTTP_"))
        if any(len(value) > HEADER_LIMIT for value in values):
            start_response("431 Request Header Fields Too Large", self._headers)
            return [b"A header of this request is too long."]
        for name in ACCEPT:
            if len(environ.get(name, "")) > ACCEPT_LIMIT:
                environ[name] = environ[name][:ACCEPT_LIMIT].rpartition(",")[0]
        if not environ.get("CONTENT_LENGTH") and "HTTP_TRANSFER_ENCODING" not in environ:
            return self._app(environ, start_response)
        body = environ["wsgi.input"] = ShortReads(environ["wsgi.input"])
        return ClosingIterator(
            self._app(environ, start_response),
            partial(read_the_rest, body, environ.get("gunicorn.socket")),
        )


def read_the_rest(body: "ShortReads", connection: socket.socket | None) -> None:
    """Read what nobody wanted of a body; a longer one ends the connection.

    The server would read it before the next request, and serve nobody else meanwhile.
    """
    until = time.monotonic() + REST_SECONDS
    while body.read():
        if time.monotonic() > until:
            with suppress(OSError):
                if connection is not None:
                    connection.shutdown(socket.SHUT_RDWR)
            return


class ShortReads:
    """A body that is read in small pieces; others are served in between."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self._turns = Turns()

    def read(self, size: int = READ_AT_ONCE) -> bytes:
        """Up to `size` bytes, and less than that also before the end; b"" at the end."""
        self._turns.give_way()
        began = time.perf_counter()
        data: bytes = self._body.read(READ_AT_ONCE if size < 0 else min(size, READ_AT_ONCE))
        if time.perf_counter() - began > TURN_SECONDS:  # it has waited, and others were served
            self._turns = Turns()
        return data
