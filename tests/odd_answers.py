"""Answers that no portal should give, and a server that gives them byte by byte.

For the fuzz, for the attacks and for the tests of the REST client.
"""

import contextlib
import functools
import gzip
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

BOMB_BYTES = 400 << 20
DRIP_SECONDS = 120.0  # "for ever": longer than any limit
FLOOD_BYTES = 64 << 20  # of an answer that does not end: far more than any limit
Answer = Iterable[bytes]


@dataclass(frozen=True)
class Heard:
    path: str
    body: bytes

    @property
    def method(self) -> str:
        return self.path.removeprefix("/rest/").removesuffix(".json").strip("/")


def answer(
    body: bytes, status: str = "200 OK", length: int | None = None, **headers: str
) -> list[bytes]:
    """A whole answer; a `length` may lie."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ["\r\n".join([*head, "Connection: close", "", ""]).encode("latin-1"), body]


def said(value: Any, status: str = "200 OK") -> list[bytes]:
    return answer(json.dumps(value).encode(), status, Content_Type="application/json")


def dripping(whole: bytes, pause: float = 1.0) -> Iterator[bytes]:
    until = time.monotonic() + DRIP_SECONDS
    for number in range(len(whole)):
        yield whole[number : number + 1]
        if time.monotonic() > until:
            return
        time.sleep(pause)


def for_ever(head: bytes, part: bytes) -> Iterator[bytes]:
    yield head
    for _ in range(FLOOD_BYTES // len(part)):
        yield part


def deep(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return b'{"result":' + opening * levels + closing * levels + b"}"


@functools.cache
def bomb() -> bytes:
    """400 MB of JSON text as gzip, 400 KB: one packed part, 400 times."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    begin = packer.compress(b'{"result":1') + packer.flush(zlib.Z_FULL_FLUSH)
    part = packer.compress(b" " * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = packer.compress(b"}") + packer.flush()
    head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    body = begin + part * (BOMB_BYTES >> 20) + end
    return head + body + b"\0" * 8  # with a wrong sum, which stands too late to be seen


GOOD = b'{"result": true}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
DIGITS = b"9" * 10_000
# By name, each made anew for an exchange.
ODD: dict[str, Callable[[], Answer]] = {
    # what JSON can say
    "deep lists": lambda: answer(deep(100_000)),
    "deep objects": lambda: answer(deep(50_000, b'{"a":', b"}").replace(b":}", b":1}")),
    "not too deep": lambda: answer(deep(700)),
    "Infinity": lambda: answer(b'{"result": Infinity}'),
    "NaN in time": lambda: answer(b'{"result": null, "time": {"finish": NaN}}'),
    "1e999": lambda: answer(b'{"result": {"DATA": {"RESULT": [1e999]}}}'),
    "10,000 digits": lambda: answer(b'{"result": ' + DIGITS + b"}"),
    "10,000 digits as text": lambda: answer(b'{"result": {"ID": "' + DIGITS + b'"}}'),
    "a result of null": lambda: said({"result": None}),
    "a result of text": lambda: said({"result": "x"}),
    "a result of lists": lambda: said({"result": [[], {}, [[]], None]}),
    "items of null": lambda: said({"result": {"SUCCESS": True, "DATA": {"RESULT": [None]}}}),
    "no result": lambda: said({"time": {}}),
    "half a surrogate pair": lambda: answer(b'{"result": {"\\ud800": "\\udfff"}}'),
    "many values": lambda: answer(b'{"result": [' + b"[]," * 2_600_000 + b"1]}"),
    "an error of lists": lambda: said({"error": [[1]], "error_description": {}}, "400 Bad"),
    "an error of null": lambda: said({"error": None}),
    "an error of lines": lambda: said({"error": "A\r\nB: \x1b[31m" + "C" * 5_000}, "500 Oh"),
    "an unknown error 403": lambda: said({"error": "no_access_here"}, "403 Forbidden"),
    "an unknown error 401": lambda: said({"error": "WAF"}, "401 Unauthorized"),
    "a batch of nonsense": lambda: said({"result": {"result": 7, "result_error": {"0": []}}}),
    "a list": lambda: said([1, 2]),
    # where it leads
    "a redirect to no address": lambda: answer(b"", "302 Found", Location="http://[::1"),
    "a redirect to garbage": lambda: answer(b"", "307 Moved", Location="\xff\xfe http:///\x01"),
    "a redirect to nowhere": lambda: answer(b"", "301 Moved"),
    "a redirect": lambda: answer(b"", "302 Found", Location="https://elsewhere.example/blocked"),
    # how it is packed
    "400 MB gzipped": lambda: answer(bomb(), Content_Encoding="gzip"),
    "gzip that is none": lambda: answer(GOOD, Content_Encoding="gzip"),
    "gzip cut": lambda: answer(gzip.compress(GOOD)[:-9], Content_Encoding="gzip"),
    "an unknown encoding": lambda: answer(GOOD, Content_Encoding="br"),
    "gzip without a word": lambda: answer(gzip.compress(GOOD)),
    "UTF-16": lambda: answer(GOOD.decode().encode("utf-16"), Content_Type="text/json;charset=x"),
    "broken UTF-8": lambda: answer(b'{"result": "\xff\xfe"}'),
    # what HTTP allows, and does not
    "cut": lambda: answer(GOOD[:5], length=len(GOOD)),
    "too long a length": lambda: answer(GOOD, length=10**12),
    "too short a length": lambda: answer(GOOD, length=7),
    "a length of words": lambda: [HEAD + b"Content-Length: many\r\n\r\n" + GOOD],
    "two lengths": lambda: [HEAD + b"Content-Length: 3\r\nContent-Length: 16\r\n\r\n" + GOOD],
    "chunks of garbage": lambda: [CHUNKED + b"zz\r\n" + GOOD],
    "a negative chunk": lambda: [CHUNKED + b"-5\r\n" + GOOD],
    "a chunk of a size that is none": lambda: [CHUNKED + b"-" + b"f" * 30 + b"\r\n" + GOOD],
    "a chunk that is cut": lambda: [CHUNKED + b"ffff\r\n" + GOOD],
    "an endless chunk size": lambda: for_ever(CHUNKED, b"0" * 65_536),
    "an endless body": lambda: for_ever(HEAD + b"\r\n", b" " * 65_536),
    "too many headers": lambda: [HEAD, *(b"X-%d: y\r\n" % n for n in range(5_000)), b"\r\n" + GOOD],
    "too long a header": lambda: [HEAD + b"X: " + b"y" * 200_000 + b"\r\n\r\n" + GOOD],
    "headers without end": lambda: for_ever(HEAD, b"X: " + b"y" * 60_000 + b"\r\n"),
    "headers of garbage": lambda: [HEAD + b"\xff\xff\r\n: :\r\n no\r\n\r\n" + GOOD],
    "100 Continue for ever": lambda: for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "101": lambda: [b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n" + GOOD],
    "204": lambda: [b"HTTP/1.1 204 No Content\r\n\r\n"],
    "status 999": lambda: answer(GOOD, "999 What"),
    "no HTTP": lambda: [b"\x15\x03\x01\x00\x02\x02\x46" * 9],
    "a status line alone": lambda: [b"HTTP/1.1\r\n\r\n"],
    "nothing": lambda: [],
    "a page": lambda: answer(b"<html>Under construction</html>"),
    "a page 403": lambda: answer(b"<html>Blocked</html>", "403 Forbidden"),
    "a page 500": lambda: answer(b"<html>Oh</html>", "500 Oh"),
    # how slow it is
    "a byte a second": lambda: dripping(b"".join(answer(GOOD * 90))),
    "a body, a byte a second": lambda: (
        part for parts in ([HEAD + b"\r\n"], dripping(GOOD * 90)) for part in parts
    ),
}  # fmt: skip


class OddServer:
    """A TCP server that reads one request of HTTP a connection and sends what `reply` gives.

    Use as a context. Where the client closes, the rest is not sent.
    """

    def __init__(self, reply: Callable[[Heard], Answer]) -> None:
        self.reply = reply
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(30)
            heard = _request(connection)
            if heard is None:
                return
            for part in self.reply(heard):
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)


def _request(connection: socket.socket) -> Heard | None:
    with connection.makefile("rb") as stream:
        words = stream.readline().decode("latin-1").split()
        length = 0
        while line := stream.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return Heard(words[1], stream.read(length)) if len(words) > 1 else None
