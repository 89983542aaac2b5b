"""One exchange with Bitrix24: a form is posted, a JSON object comes back, or an error says why not.

Whatever answers, an exchange is limited in its whole time and in size, and raises nothing but
BitrixError. No other module imports requests or urllib3.
"""

import http.client
import io
import json
import logging
import re
import socket
import ssl
import threading
import time
import traceback
import zlib
from contextlib import closing
from typing import Any, NoReturn
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from addresses import origin_of, scheme_and_host, web_address
from logs import facts, of_kind
from rest.deadline import counts_late, left
from rest.errors import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_NOT_YET_VALID,
    CERTIFICATE_OF_ANOTHER_HOST,
    CERTIFICATE_REFUSED,
    CERTIFICATE_SELF_SIGNED,
    CERTIFICATE_UNKNOWN,
    CONNECTION_LOST,
    LOCK_LOST,
    NO_REPLY,
    BitrixError,
    OutcomeUnknown,
    TryLater,
    error_of_answer,
    error_of_page,
)
from rest.form_body import FORM_TYPE, form_body
from rest.lease import may_send
from tally import process as tally

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
RECEIVE_SECONDS = 5.0  # of an answer, from its first byte on: the portal sends what is ready
IDLE_SECONDS = 5.0  # a connection that was idle for longer is not used: it may be closed already
ANSWER_BYTES = 8 << 20  # 50 messages of 20,000 Cyrillic letters are 6 MB of JSON
HEAD_BYTES = 1 << 18  # of status lines and headers
WIRE_BYTES = ANSWER_BYTES + (1 << 20)  # of the rest, with the lengths of chunks
ANSWER_VALUES = 1_000_000  # of an answer's JSON, at most; 2,500 messages of 60 fields are 150,000
PART_BYTES = 1 << 16
REDIRECTS = (301, 302, 303, 307, 308)
HEADERS = {**requests.utils.default_headers(), "Accept-Encoding": "gzip"}
# What OpenSSL says of a certificate (X509_V_ERR_..., x509_vfy.h).
CERTIFICATE_FAULTS = {
    **dict.fromkeys((2, 19, 20, 21), CERTIFICATE_UNKNOWN),
    9: CERTIFICATE_NOT_YET_VALID,
    10: CERTIFICATE_EXPIRED,
    18: CERTIFICATE_SELF_SIGNED,
    **dict.fromkeys((62, 64), CERTIFICATE_OF_ANOTHER_HOST),
}
# What an exchange may raise besides the errors of requests, which do not cover all odd bytes.
FOREIGN = (
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
    OverflowError,
)


class Http:
    """Posts forms; keeps connections open between them."""

    def __init__(self, ca_file: str = "") -> None:
        """`ca_file` has certificates that are trusted besides the well-known authorities."""
        # Not a Session, which reads the environment's proxies and .netrc (they could send tokens
        # somewhere else), keeps cookies, and reads addresses of redirects that nobody follows.
        self._adapter = _Adapter(ca_file)
        self._last_used = 0.0
        self._lock = threading.Lock()

    def post(self, url: str, form: dict[str, str], method: str, seconds: float) -> dict[str, Any]:
        """POST a form; returns the JSON object of the answer, or raises what its error means.

        `seconds` limits the whole exchange. `method` is the name for errors and the log.
        """
        began = time.monotonic()
        outcome = "answered"
        try:
            return self._exchange(url, form, method, seconds)
        except BitrixError as error:
            outcome = type(error).__name__
            raise
        finally:
            took = time.monotonic() - began
            tally.add("calls", method, outcome)
            tally.time("call_seconds", method, seconds=took)
            log.debug("call", extra=facts(method=method, code=outcome, ms=round(took * 1000, 1)))

    def _exchange(
        self, url: str, form: dict[str, str], method: str, seconds: float
    ) -> dict[str, Any]:
        seconds = left(seconds)
        if seconds <= 0:
            raise TryLater("NOT_CONNECTED", method)
        self._drop_idle_connections()
        began = time.monotonic()
        try:
            request = requests.Request(
                "POST", url, HEADERS | FORM_TYPE, data=form_body(form)
            ).prepare()
            timeout = urllib3.Timeout(total=seconds, connect=CONNECT_SECONDS)
            response = self._adapter.send(request, stream=True, timeout=timeout)  # type: ignore[arg-type]
        except requests.RequestException as error:
            _no_answer(error, url, method, time.monotonic() - began < seconds)
        except _TooLate:
            raise TryLater(LOCK_LOST, method) from None
        except FOREIGN:  # their texts may hold tokens, as those of requests
            raise OutcomeUnknown(CONNECTION_LOST, method) from None
        with closing(response):
            body = _body(response, method)
        return _meaning(response, body, url, method)

    def _drop_idle_connections(self) -> None:
        """Use no connection that was idle for long: a message sent on a closed one is in doubt."""
        with self._lock:
            if time.monotonic() - self._last_used > IDLE_SECONDS:
                self._adapter.close()
            self._last_used = time.monotonic()


# -- what an answer says


def _meaning(response: requests.Response, body: bytes, url: str, method: str) -> dict[str, Any]:
    status = response.status_code
    try:
        answer = json_of(_unpacked(body, response.headers.get("Content-Encoding", "")))
    except (ValueError, RecursionError, zlib.error):
        answer = None
    if isinstance(answer, dict) and "error" in answer:
        raise error_of_answer(answer, method, status)
    if isinstance(answer, dict) and 200 <= status < 300:
        return answer
    location = _location(response)
    redirects = status in REDIRECTS and _leads_somewhere(location)
    raise error_of_page(method, status, redirects, _new_address(url, location) if redirects else "")


def json_of(body: bytes) -> Any:
    """What JSON in UTF-8 says; ValueError or RecursionError where it cannot be or is too much.

    PHP writes no NaN and no Infinity, and a half of a surrogate pair could not be stored.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > ANSWER_VALUES:
        raise ValueError("too many values")
    value = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse)
    if re.search(rb"\\u[dD]", body):
        text = json.dumps(value, ensure_ascii=False)
        value = json.loads(text.encode(errors="replace"))
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _unpacked(body: bytes, encoding: str) -> bytes:
    """The body as it was before it was compressed; a few KB may mean hundreds of MB."""
    if encoding.lower() in ("", "identity"):
        return body
    if encoding.lower() not in ("gzip", "x-gzip"):
        raise ValueError("this encoding was not asked for")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    unpacked = unpacker.decompress(body, ANSWER_BYTES)
    if not unpacker.eof:
        raise ValueError("cut, or too large")
    return unpacked


def _location(response: requests.Response) -> str:
    """Where a redirect leads, also where its address is in letters: headers come as Latin-1."""
    location = response.headers.get("Location", "")
    try:
        return location.encode("latin-1").decode()
    except UnicodeError:
        return location


def _leads_somewhere(location: str) -> bool:
    """Whether a redirect names an address, absolute or not."""
    try:
        url = urlsplit(location)
        url.port  # noqa: B018  reading it is what checks it
    except ValueError:
        return False
    absolute = url.scheme in ("http", "https") and bool(url.hostname)
    return location.isprintable() and (absolute or (not url.scheme and location.startswith("/")))


def _new_address(url: str, location: str) -> str:
    """The address of a portal that has moved; "" for any other redirect.

    A renamed portal sends a call to the same path at its new address (bitrix24.md 8.16). A page to
    log in or of a firewall has another path; the same host with HTTPS is no other address.
    """
    try:
        new = web_address(location)
    except ValueError:
        return ""
    before, after = origin_of(url), origin_of(new)
    path = url.removeprefix(before)
    base, rest, method = path.rpartition("/rest/")
    if not rest or "/" in method or new.removeprefix(after) != path or before == after:
        return ""
    (scheme, host), (new_scheme, new_host) = scheme_and_host(before), scheme_and_host(after)
    return "" if host == new_host and scheme != new_scheme else after + base


# -- what comes instead of an answer


def _no_answer(error: requests.RequestException, url: str, method: str, early: bool) -> NoReturn:
    """Raise what it means that no answer came; `early`: before the exchange's time was over."""
    if fault := _certificate_fault(error):
        code = CERTIFICATE_FAULTS.get(fault.verify_code, CERTIFICATE_REFUSED)
        log.error(
            "no safe connection to %s: %s: %s",
            origin_of(url),
            code,
            fault.verify_message,
            extra=of_kind(f"certificate {origin_of(url)} {code}"),
        )
        raise TryLater(code, method) from None
    if _nothing_was_sent(error):
        raise TryLater("NOT_CONNECTED", method) from None
    broke = early or isinstance(error, requests.ConnectionError)
    raise OutcomeUnknown(CONNECTION_LOST if broke else NO_REPLY, method) from None


def _certificate_fault(error: requests.RequestException) -> ssl.SSLCertVerificationError | None:
    """Why the server's certificate was not accepted, if that is why no answer came."""
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    cause = reason.args[0] if isinstance(reason, urllib3.exceptions.SSLError) else None
    return cause if isinstance(cause, ssl.SSLCertVerificationError) else None


def _nothing_was_sent(error: requests.RequestException) -> bool:
    """Whether the request certainly never reached the server: there was no connection."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", None)
    if isinstance(reason, urllib3.exceptions.SSLError):  # of the handshake, or later in a call
        steps = traceback.walk_tb(reason.args[0].__traceback__)
        return any(frame.f_code.co_name == "do_handshake" for frame, _ in steps)
    return isinstance(
        reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError
    )


def _body(response: requests.Response, method: str) -> bytes:
    """All that was sent; OutcomeUnknown where it is cut, endless or too large."""
    parts, size = [], 0
    try:
        while part := response.raw.read(PART_BYTES, decode_content=False):
            parts.append(part)
            size += len(part)
            if size > ANSWER_BYTES:
                break
    except FOREIGN:
        raise OutcomeUnknown(NO_REPLY, method) from None
    if size > ANSWER_BYTES:
        raise error_of_page(method, response.status_code, redirects=False)
    return b"".join(parts)


class _TooLate(Exception):
    """Nothing was sent, because the call may not be made any more."""


# -- the limits, where the bytes come in: a silence alone would limit neither time nor size


class _Received(io.RawIOBase):
    """The bytes of one answer, from its first header on; OSError beyond its time or size."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._raw = connection.makefile("rb", buffering=0)  # keeps the socket open until we close
        self._until = time.monotonic() + (connection.gettimeout() or RECEIVE_SECONDS)
        self._has_begun = False
        self.bytes_left = HEAD_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            count = self._receive(buffer, self._until - time.monotonic())
        except TimeoutError:
            if not counts_late():
                raise
            count = self._receive(buffer, seconds=0.0)
        if not self._has_begun:
            self._has_begun = True
            self._until = min(self._until, time.monotonic() + left(RECEIVE_SECONDS))
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise OSError("the answer is too large")
        return count

    def _receive(self, buffer: Any, seconds: float) -> int:
        """At least a byte, or 0 at the end. In 0 seconds: what is there already."""
        if seconds < 0:
            raise TimeoutError("the answer takes too long")
        self._socket.settimeout(seconds)
        time.sleep(0)  # others have their turn, too, however fast the bytes come
        return self._socket.recv_into(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **values: Any) -> None:
        super().__init__(sock, *args, **values)
        self.fp.close()
        self._received = _Received(sock)
        self.fp = io.BufferedReader(self._received)

    def begin(self) -> None:
        """Read the headers."""
        super().begin()
        self._received.bytes_left = WIRE_BYTES


class _LastMoment(urllib3.connection.HTTPConnection):
    """Asks before each piece of a request goes out whether the call may still be made."""

    _has_begun = False  # of this request something was sent

    def putrequest(self, *args: Any, **values: Any) -> None:
        self._has_begun = False
        super().putrequest(*args, **values)

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        for start in range(0, len(data), PART_BYTES):
            if not may_send():
                raise ConnectionAbortedError if self._has_begun else _TooLate
            self._has_begun = True
            super().send(data[start : start + PART_BYTES])


class _Connection(_LastMoment):
    response_class = _Response


class _SecureConnection(_LastMoment, urllib3.connection.HTTPSConnection):
    response_class = _Response


class _Connections(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecureConnections(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    def __init__(self, ca_file: str) -> None:
        self._ca_file = ca_file
        super().__init__()

    def init_poolmanager(self, *args: Any, **values: Any) -> None:
        if self._ca_file:
            # The adapter adds the well-known authorities to it, as to any context.
            context = values["ssl_context"] = urllib3.util.ssl_.create_urllib3_context()
            context.load_verify_locations(self._ca_file)
            # Also an authority below another one, or the server's own certificate, may be named;
            # and companies' own authorities seldom keep all rules of RFC 5280.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        super().init_poolmanager(*args, **values)
        self.poolmanager.pool_classes_by_scheme = {
            "http": _Connections,
            "https": _SecureConnections,
        }
