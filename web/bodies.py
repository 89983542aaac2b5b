"""How posted bodies are read: in small pieces and in turns, and none that does not come."""

import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import gevent  # type: ignore[import-untyped]
from gunicorn.http.errors import NoMoreData, ParseException  # type: ignore[import-untyped]
from werkzeug.exceptions import RequestTimeout
from werkzeug.wsgi import ClosingIterator

from turns import TURN_SECONDS, Turns
from web.connections import connection_of

BROKEN_BODY = (ParseException, NoMoreData)  # gunicorn's, when it reads a chunked body for us
SILENCE_SECONDS = 15.0  # the longest wait for the next piece
GRACE_SECONDS = 30.0  # before the rate counts: a phone may just be changing its network
BYTES_A_SECOND = 4 << 10  # the least rate of a whole body; the slowest phones reach twice as much
PIECE_BYTES = 16 << 10  # of one read
REST_SECONDS = 5.0  # in which what nobody wanted of a body must have come


class Bodies:
    """The WSGI layer that reads bodies; raises RequestTimeout (408) to who reads a late one."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not environ.get("CONTENT_LENGTH") and "HTTP_TRANSFER_ENCODING" not in environ:
            return self._app(environ, start_response)
        body = environ["wsgi.input"] = Body(environ["wsgi.input"], environ)
        return ClosingIterator(self._app(environ, start_response), body.end)


def length_of(environ: dict[str, Any]) -> int | None:
    """How many bytes the body has; None where only its end tells."""
    length = environ.get("CONTENT_LENGTH", "")
    return None if "HTTP_TRANSFER_ENCODING" in environ or not length else int(length)


class Body:
    """The body of one request: all of `wsgi.input` that werkzeug uses."""

    def __init__(self, body: Any, environ: dict[str, Any]) -> None:
        self._body = body
        self._environ = environ
        self._turns = Turns()
        self._begun = time.monotonic()
        self._end = float("inf")
        self._received = 0
        self._length = length_of(environ)
        self._given_up = False
        self._failure: Exception | None = None  # what whoever reads it gets
        self._reader: gevent.Greenlet | None = None  # while it waits

    def read(self, size: int = PIECE_BYTES) -> bytes:
        """Up to `size` bytes, and less than that also before the end; b"" at the end."""
        if self._received == self._length and not self._failure:
            return b""
        size = PIECE_BYTES if size < 0 else min(size, PIECE_BYTES)
        self._turns.give_way()
        began = time.perf_counter()
        data = self._receive(size)
        if time.perf_counter() - began > TURN_SECONDS:  # it has waited, and others were served
            self._turns = Turns()
        self._received += len(data)
        return data

    def _receive(self, size: int) -> bytes:
        if self._failure:
            raise self._failure
        due = self._begun + GRACE_SECONDS + (self._received + size) / BYTES_A_SECOND
        left = min(SILENCE_SECONDS, min(due, self._end) - time.monotonic())
        if self._given_up or left <= 0:
            self._give_up()
        timeout = gevent.Timeout.start_new(left)
        if connection := connection_of(self._environ):
            connection.connections.waits(connection)
        self._reader = gevent.getcurrent()
        try:
            data: bytes = self._body.read(size)
        except gevent.Timeout as expired:
            if expired is not timeout:
                raise
            self._give_up()
        finally:
            self._reader = None
            timeout.close()
            if connection:
                connection.connections.goes_on(connection)
        if self._failure:  # it came to this while the piece came
            raise self._failure
        return data

    def fail(self, failure: Exception) -> None:
        """Another request ends this one: whoever reads this body gets `failure`, at once."""
        self._failure = failure
        if connection := connection_of(self._environ):
            connection.is_last = True  # what a read had received is lost
        gevent.get_hub().loop.run_callback(self._wake)

    def _wake(self) -> None:
        if self._reader and self._failure:
            self._reader.throw(self._failure)

    def _give_up(self) -> None:
        self._given_up = True
        if connection := connection_of(self._environ):
            connection.is_last = True  # nobody can tell where the next request begins
        raise RequestTimeout

    def end(self) -> None:
        """Read what nobody wanted of the body; a longer one ends the connection.

        The server would read it before the next request, and serve nobody else meanwhile.
        """
        if self._given_up:
            return
        self._failure = None
        self._turns = Turns()  # what the request did meanwhile was no reading
        self._end = time.monotonic() + REST_SECONDS
        try:
            while self.read():
                pass
        except (RequestTimeout, *BROKEN_BODY):  # nobody can tell where the next request begins
            connection: socket.socket | None = self._environ.get("gunicorn.socket")
            if connection is not None:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
