"""Refuses or shortens what would take long to read in the head of a request.

A server joins a header that is sent several times, so a header may be as long as the whole head.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

HEADER_LIMIT = 8190  # characters; gunicorn takes as many in one line
ACCEPT_LIMIT = 1000  # characters of what the browser accepts; a real one sends a few hundred
ACCEPT = ("HTTP_ACCEPT", "HTTP_ACCEPT_LANGUAGE")


class ShortHeads:
    """Answers 431 to a head with a longer header than HEADER_LIMIT; hands on all others."""

    def __init__(
        self, app: Callable[..., Iterable[bytes]], headers: Callable[[], Mapping[str, str]]
    ) -> None:
        """What `headers` gives now goes with every answer of its own."""
        self._app = app
        self._headers = headers

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        for name, value in environ.items():
            if name.startswith("HTTP_") and len(value) > HEADER_LIMIT:
                headers = dict(self._headers()) | {"Content-Type": "text/plain; charset=utf-8"}
                start_response("431 Request Header Fields Too Large", [*headers.items()])
                return [b"A header of this request is too long."]
        for name in ACCEPT:
            if len(environ.get(name, "")) > ACCEPT_LIMIT:
                environ[name] = environ[name][:ACCEPT_LIMIT].rpartition(",")[0]
        return self._app(environ, start_response)
