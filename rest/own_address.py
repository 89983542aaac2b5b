"""Asks our own address, as a visitor would: how an answer comes back through what stands in front.

Every exchange is limited in time and size, and raises nothing but FrontError.
"""

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import certifi

from rest.errors import CERTIFICATE_REFUSED
from rest.http import CERTIFICATE_FAULTS

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 10.0  # the longest wait for the next bytes
HEAD_BYTES = 4 << 10  # of an answer; ours are shorter
PIECE = bytes(64 << 10)
OUR_HEADER = "X-Chat-Server"
# Of our own codes, besides those of a certificate.
NOT_RESOLVED, NOT_REACHED, NO_ANSWER = "NOT_RESOLVED", "NOT_REACHED", "NO_ANSWER"


class FrontError(Exception):
    """There was no answer; `code` says why: one of a certificate, or one of our own."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class FrontAnswer:
    """What came back; `parts` have when each piece of the body came, in seconds."""

    status: int
    is_ours: bool  # the header tells; anybody who wants to can send it, too
    location: str
    body: bytes
    seconds_between: float  # from the first piece of the body to the last


def ask(
    url: str, headers: dict[str, str], seconds: float, ca_file: str = "", body_bytes: int = 0
) -> FrontAnswer:
    """POST so many bytes to an address of ours; raises FrontError."""
    with _connection(url, ca_file) as (connection, path):
        try:
            _send(connection, path, headers, body_bytes, time.monotonic() + seconds)
            response = connection.getresponse()
            parts: list[tuple[float, bytes]] = []
            while len(parts) < HEAD_BYTES and (piece := response.read1(HEAD_BYTES)):
                parts.append((time.monotonic(), piece))
        except (OSError, http.client.HTTPException, ValueError):
            raise FrontError(NO_ANSWER) from None
        return FrontAnswer(
            response.status,
            response.headers.get(OUR_HEADER) is not None,
            response.headers.get("Location", "")[:300],
            b"".join(piece for _, piece in parts),
            parts[-1][0] - parts[0][0] if parts else 0.0,
        )


@contextmanager
def _connection(url: str, ca_file: str) -> Iterator[tuple[http.client.HTTPConnection, str]]:
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=CONNECT_SECONDS, context=_context(ca_file)
        )
    else:
        connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=CONNECT_SECONDS
        )
    try:
        connection.connect()
        connection.sock.settimeout(SILENCE_SECONDS)
    except ssl.SSLCertVerificationError as error:
        raise FrontError(CERTIFICATE_FAULTS.get(error.verify_code, CERTIFICATE_REFUSED)) from None
    except socket.gaierror:  # the DNS has no such name, or does not answer
        raise FrontError(NOT_RESOLVED) from None
    except (OSError, http.client.HTTPException, ValueError):
        raise FrontError(NOT_REACHED) from None
    with contextlib.closing(connection):
        yield connection, f"{parts.path}?{parts.query}"


def _context(ca_file: str) -> ssl.SSLContext:
    """What browsers and Bitrix24 trust, and the company's own authority, if there is one."""
    context = ssl.create_default_context()
    for file in (certifi.where(), ca_file):
        if file:
            context.load_verify_locations(file)
    return context


def _send(
    connection: http.client.HTTPConnection,
    path: str,
    headers: dict[str, str],
    body_bytes: int,
    until: float,
) -> None:
    connection.putrequest("POST", path, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.putheader("Content-Type", "application/octet-stream")
    connection.putheader("Content-Length", str(body_bytes))
    connection.endheaders()
    left = body_bytes
    with contextlib.suppress(ConnectionError):  # who refuses a body may answer before its end
        while left > 0:
            if time.monotonic() > until:
                raise FrontError(NO_ANSWER)
            connection.send(PIECE[: min(left, len(PIECE))])
            left -= len(PIECE)
