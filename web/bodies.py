"""Gives up a posted body that does not come, whatever its size and wherever it is posted."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import gevent  # type: ignore[import-untyped]
from werkzeug.exceptions import RequestTimeout

from web.connections import connection_of

SILENCE_SECONDS = 15.0  # the longest wait for the next piece
GRACE_SECONDS = 30.0  # before the rate counts: a phone may just be changing its network
BYTES_A_SECOND = 4 << 10  # the least rate of a whole body; the slowest phones reach twice as much
PIECE_BYTES = 16 << 10  # of one read


class TimedBodies:
    """The WSGI layer that watches how bodies come; raises RequestTimeout (408) to who reads one."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("CONTENT_LENGTH") or "HTTP_TRANSFER_ENCODING" in environ:
            environ["wsgi.input"] = _Body(environ["wsgi.input"], environ)
        return self._app(environ, start_response)


class _Body:
    """The body of one request: all of `wsgi.input` that werkzeug uses."""

    def __init__(self, body: Any, environ: dict[str, Any]) -> None:
        self._body = body
        self._environ = environ
        self._begun = time.monotonic()
        self._received = 0
        self._given_up = False

    def read(self, size: int = PIECE_BYTES) -> bytes:
        """Up to `size` bytes, and less than that also before the end; b"" at the end."""
        size = PIECE_BYTES if size < 0 else min(size, PIECE_BYTES)
        due = GRACE_SECONDS + (self._received + size) / BYTES_A_SECOND
        left = min(SILENCE_SECONDS, self._begun + due - time.monotonic())
        if self._given_up or left <= 0:
            self._give_up()
        timeout = gevent.Timeout.start_new(left)
        if connection := connection_of(self._environ):
            connection.connections.waits(connection)
        try:
            data: bytes = self._body.read(size)
        except gevent.Timeout as expired:
            if expired is not timeout:
                raise
            self._give_up()
        finally:
            timeout.close()
            if connection:
                connection.connections.goes_on(connection)
        self._received += len(data)
        return data

    def _give_up(self) -> None:
        self._given_up = True
        if connection := connection_of(self._environ):
            connection.is_last = True  # nobody can tell where the next request begins
        raise RequestTimeout
