"""Each request has an id, by which its lines are found in our log and in the log of a proxy.

A proxy may give one in X-Request-Id (nginx: `proxy_set_header X-Request-Id $request_id`). One that
is long or has other characters than ids have is replaced by one of ours. The answer names it.
"""

import logging
import re
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from flask import Response, g, request

from logs import begin_request, facts, request_ms
from tally import process as tally

log = logging.getLogger(__name__)

SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,99}")  # no "=": `message=1` is another thing
TYPE_LENGTH = 30  # characters of what a request to /ajax says that it wants
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


def tell_answer(response: Response) -> Response:
    """Count the answer, and with LOG_LEVEL=DEBUG write a line of it; a stream until it begins.

    The line has no address: those of Bitrix24's requests hold tokens.
    """
    if tally.on or log.isEnabledFor(logging.DEBUG):
        route, ms = request.endpoint or "other", request_ms() or 0.0
        tally.add("requests", route, str(response.status_code))
        tally.time("request_seconds", route, seconds=ms / 1000)
        what = str(g.get("form", request.args).get("type", ""))[:TYPE_LENGTH] or None
        status = {"method": request.method, "code": response.status_code, "ms": ms}
        log.debug("request", extra=facts(always=True, route=route, type=what, **status))
    return response
