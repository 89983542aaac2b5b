"""Requests that would take long to read: their heads refused or shortened, bodies read in turns.

A server joins a header that is sent several times, so a header may be as long as the whole head.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from turns import Turns

HEADER_LIMIT = 8190  # characters; gunicorn takes as many in one line
ACCEPT_LIMIT = 1000  # characters of what the browser accepts; a real one sends a few hundred
READ_AT_ONCE = 16 << 10  # bytes of a body
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
        environ["wsgi.input"] = ShortReads(environ["wsgi.input"])
        return self._app(environ, start_response)


class ShortReads:
    """A body that is read in small pieces; others are served in between."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self._turns = Turns()

    def read(self, size: int = READ_AT_ONCE) -> bytes:
        """Up to `size` bytes, and less than that also before the end; b"" at the end."""
        self._turns.give_way()
        data: bytes = self._body.read(READ_AT_ONCE if size < 0 else min(size, READ_AT_ONCE))
        return data
