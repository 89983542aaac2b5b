"""Each request has an id, by which its lines are found in our log and in the log of a proxy.

A proxy may give one in X-Request-Id (nginx: `proxy_set_header X-Request-Id $request_id`). One that
is long or has other characters than ids have is replaced by one of ours. The answer names it.
"""

import re
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from logs import begin_request

SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,99}")  # no "=": `message=1` is another thing
BYTES = 8  # of an id of ours: no two are alike in one log


class RequestIds:
    """The outermost WSGI layer."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        request_id = given if SANE.fullmatch(given) else secrets.token_hex(BYTES)
        begin_request(request_id)

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            return start_response(status, [*headers, ("X-Request-Id", request_id)], *error)

        return self._app(environ, start)
