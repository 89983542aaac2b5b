"""How an HTTP answer goes missing: no answer, a proxy's page in its place, or a late one."""

import socket
import time

from flask import Response, request

from .http_server import SOCKET
from .portal import Portal

MIXED_SLOW_SECONDS = 1.5
PROXY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


class NoAnswer(Exception):
    """The connection ends without an answer."""


class ProxyFault(Exception):
    """A proxy's page comes instead of an answer; nothing was done."""


def no_answer() -> Response:
    """Close the caller's connection; what the server writes to it afterwards goes nowhere."""
    connection = request.environ.get(SOCKET)
    if isinstance(connection, socket.socket):
        connection.shutdown(socket.SHUT_RDWR)
    return Response()


def proxy_page() -> Response:
    return Response(PROXY_PAGE, 502, content_type="text/html")


def hold_back_answer(portal: Portal, method: str, mixed: str) -> None:
    """The troubles in which everything is done, but the caller hears of it late, or never.

    `mixed` is what the dice chose for this call; "" if nothing.
    """
    troubles = portal.troubles
    slow_seconds = troubles.slow_seconds if troubles.slow_method in ("", method) else 0.0
    time.sleep(MIXED_SLOW_SECONDS if mixed == "slow" else slow_seconds)
    with portal.lock:
        drop = troubles.drop_answers > 0 and troubles.drop_method in ("", method)
        if drop:
            troubles.drop_answers -= 1
    if drop or mixed == "drop":
        raise NoAnswer
