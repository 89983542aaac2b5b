"""The heaviest requests that an anonymous client may send, each beside a normal visitor.

For each it prints the longest time that it held the worker at once (milliseconds of the processor,
and of the clock), and the 95th percentile of the normal visitor's sends meanwhile. Exit status 1 if
a request held the worker for over 50 ms of the processor, or if the 95th percentile over all
requests is above 50 ms. `attack_busy.py save` runs only those whose name holds "save".
"""

import contextlib
import socket
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import requests
from parts import Normal, Watched

from hostile import LONG  # isort: skip

HOLD_MS = P95_MS = 50.0
LENGTH = 20_000
ROUNDS, SECONDS = 6, 4.0  # of each request: so often, but no longer than that
MORE = {
    "addresses that grow": "http://a ",
    "codes that stay open": "[i]a",
    "codes on lines": "[b]\n",
    "moments": "[timestamp=1]",
    "pictures": "[img]https://a.b/c.png[/img]",
    "what is typed as code": "[x]",
    "ten codes": "[b]x[/b][i]y[/i][u]z[/u]",
}
FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"
MIB = (1 << 20) - 200
LINES = 45  # of a head: 360 KB, of which the server reads 64; gunicorn alone would read all


def repeated(piece: str, length: int = LENGTH) -> str:
    return (piece * (length // len(piece) + 1))[:length]


TEXTS = {name: repeated(piece) for name, piece in (LONG | MORE).items()}


def times(piece: bytes, size: int = MIB) -> bytes:
    return piece * (size // len(piece))


BODIES = {  # to all three doors
    "fields in brackets": b"&".join(b"a%d[b][c][d][e][f][g][h]=1" % n for n in range(4_990)),
    "fields in lists": b"&".join([b"a[][][][][][][][][]=1"] * 4_990),
    "one deep name": b"a" + times(b"[]"),
    "one name of brackets": times(b"["),
    "two deep names": b"a" + times(b"[b]", MIB // 2) + b"=1&c" + times(b"[]", MIB // 2),
    "percent signs": b"type=send_message&message=" + times(b"%41"),
    "plus signs": b"type=send_message&message=" + times(b"+"),
    "ampersands": times(b"&"),
    "long fields": b"&".join(b"%d=%s" % (n, b"%D1%84" * 34) for n in range(4_990)),
    "a long name": b"type=send_message&message=x&name=" + times(b"x "),
    "a long e-mail": b"type=send_message&message=x&email=a@" + times(b"b."),
    "a long telephone": b"type=send_message&message=x&phone=" + times(b"1 "),
    "a long page": b"type=send_message&message=x&page=https://" + times(b"a/"),
    "a long id": b"type=send_message&message=x&client_id=" + times(b"{urn:uuid:-"),
    "a long number": b"type=chat_history&before=" + times(b"1"),
    "a long limit": b"type=chat_history&limit=" + times(b"1"),
    "a long signature": b"type=identify&email=a@b.c&signature=" + times(b"a"),
    "options of brackets": b"PLACEMENT=SETTING_CONNECTOR&PLACEMENT_OPTIONS=" + times(b"["),
    "options of lists": b"PLACEMENT=SETTING_CONNECTOR&PLACEMENT_OPTIONS=["
    + times(b"[],", MIB - 100)
    + b"1]",
    "options of digits": b"PLACEMENT=SETTING_CONNECTOR&PLACEMENT_OPTIONS=" + times(b"1"),
    "an event of many messages": b"event=ONIMCONNECTORMESSAGEADD&auth[application_token]=x&"
    + b"&".join(b"data[MESSAGES][%d][message][text]=x" % n for n in range(4_900)),
    "an event of one text": b"event=ONIMCONNECTORMESSAGEADD&data[MESSAGES][0][message][text]="
    + times(b"[b]"),
}
HEADERS = {  # on the page: each name, and a value that is sent as often as a server takes it
    "languages": ("Accept-Language", "en-a,en;q=0.1,"),
    "one language": ("Accept-Language", "a-"),
    "odd languages": ("Accept-Language", ';q="'),
    "media types": ("Accept", "text/a;q=0.1,a/b,"),
    "odd media types": ("Accept", 'a/b;c="\\'),
    "cookies": ("Cookie", "a=b;"),
    "sessions": ("Cookie", "sitechat=a.b.c;"),
    "quoted cookies": ("Cookie", 'a="\\123\\123";'),
    "a token": ("X-Chat-Token", "a.b."),
    "forwarded for": ("X-Forwarded-For", "1.1.1.1,"),
    "ranges": ("Range", "bytes=0-1,"),
    "tags": ("If-None-Match", '"a",'),
    "no cache": ("Cache-Control", "a=b,"),
}


def head(name: str, piece: str) -> str:
    return "".join(f"{name}: {repeated(piece, 8_000)}\r\n" for _ in range(LINES))


def raw(stage: Watched, head_lines: str, method: str = "GET /", body: bytes = b"") -> None:
    """One request with any headers, which no library would send."""

    host, _, port = stage.chat.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        request = f"{method} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n{length}"
        with contextlib.suppress(ConnectionError):  # the server may not read on
            connection.sendall(f"{request}{head_lines}\r\n".encode() + body)
            while connection.recv(1 << 16):
                pass


def send(stage: Watched, text: str) -> None:
    identity = str(uuid.uuid4())
    stage.visitor().post(type="send_message", name="A", message=text, client_id=identity)


def post(stage: Watched, door: str, body: bytes, kind: str) -> None:
    with contextlib.suppress(requests.ConnectionError):  # the server may not read on
        headers = {"Content-Type": kind}
        requests.post(f"{stage.chat}/{door}", body, headers=headers, timeout=60)


def requests_of(stage: Watched) -> dict[str, Callable[[], object]]:
    """All heavy requests by name."""
    found: dict[str, Callable[[], object]] = {}
    for name, text in TEXTS.items():
        found[f"text: {name}"] = partial(send, stage, text)
    for door in ("ajax", "handler", "install"):
        for name, body in BODIES.items():
            found[f"{door}: {name}"] = partial(post, stage, door, body, FORM)
    for name, (header, piece) in HEADERS.items():
        lines = head(header, piece)
        found[f"header: {name}"] = partial(raw, stage, lines)
        found[f"header at ajax: {name}"] = partial(
            raw, stage, lines + "Content-Type: x/y\r\n", "POST /ajax", b"x"
        )
    return found | multiparts(stage) | readers(stage)


def multiparts(stage: Watched) -> dict[str, Callable[[], object]]:
    def part(name: bytes, value: bytes, more: bytes = b"") -> bytes:
        return (
            b'--b\r\nContent-Disposition: form-data; name="' + name + b'"' + more
            + b"\r\n\r\n" + value + b"\r\n"
        )  # fmt: skip

    end, upload = b"--b--\r\n", part(b"type", b"upload_file")
    marks = ("\u0315\u0300" * 100_000).encode()
    own = {
        "a thousand fields": b"".join(part(b"a%d" % n, b"x") for n in range(990)),
        "thirty thousand fields": b"".join(part(b"%d" % n, b"") for n in range(17_000)),
        "empty files": b"".join(part(b"f", b"", b'; filename="a.png"') for _ in range(900)),
        "a name of marks": upload + part(b"file", b"x", b'; filename="' + marks + b'.png"'),
        "a name of dots": upload + part(b"file", b"x", b'; filename="' + b"." * 400_000 + b'png"'),
        "line breaks": upload + part(b"file", b"\r\n" * 9_000_000, b'; filename="a.png"'),
        "boundaries": upload + part(b"file", b"\r\n--c" * 3_000_000, b'; filename="a.png"'),
        "carriage returns": upload + part(b"file", b"\r" * 18_000_000, b'; filename="a.png"'),
        "a field of 400 KB": part(b"message", "\u0315\u0300".encode() * 100_000),
        "a header of colons": b"--b\r\n" + b"a:b\r\n" * 80_000 + b"\r\nx\r\n",
    }
    return {
        f"multipart at {door}: {name}": partial(post, stage, door, body + end, MULTIPART)
        for name, body in own.items()
        for door in ("ajax", "handler")
    }


def readers(stage: Watched) -> dict[str, Callable[[], object]]:
    """A chat of large messages and many votes, which all reading requests then show."""
    reader = stage.visitor()
    for _ in range(60):
        reader.send(TEXTS["addresses that grow"])
    voter = stage.visitor()
    for number in range(100):
        voter.send(TEXTS["addresses that grow"] if number % 2 else "1")
    found: dict[str, Callable[[], object]] = {}
    for name, who in (("large messages", reader), ("votes", voter)):
        stream = f"{stage.chat}/ajax?type=chat_stream&once=1"
        anew = {"Last-Event-ID": "0"}
        found |= {
            f"history: {name}": who.history,
            f"stream: {name}": partial(who.http.get, stream, headers=anew, timeout=60),
            f"page: {name}": partial(who.http.get, f"{stage.chat}/", timeout=60),
            f"save: {name}": partial(who.post, type="save_conversation"),
        }
    return found


def main() -> int:
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    too_long, all_sends = [], []
    with tempfile.TemporaryDirectory() as folder, Watched(Path(folder)) as stage:
        stage.install()
        for name, ask in requests_of(stage).items():
            if only not in name:
                continue
            time.sleep(0.2)
            stage.forget_holds()
            until = time.monotonic() + SECONDS
            with Normal(stage) as normal:
                for _ in range(ROUNDS):
                    ask()
                    if time.monotonic() > until:
                        break
                time.sleep(0.25)
            worked, passed = stage.longest_hold()
            all_sends += normal.milliseconds
            if worked > HOLD_MS:
                too_long.append(name)
            mark = "  TOO LONG" if worked > HOLD_MS else ""
            print(
                f"{name:40} held {worked:7.1f} ms ({passed:7.1f} by the clock),"
                f" a normal visitor's slowest send {max(normal.milliseconds):7.1f} ms"
                f"{f', {normal.failed} failed' if normal.failed else ''}{mark}",
                flush=True,
            )
    p95 = statistics.quantiles(all_sends, n=20)[-1]
    print(f"{len(too_long)} requests held the worker for over {HOLD_MS:.0f} ms: {too_long}")
    print(f"a normal visitor's sends beside all of them: p95 {p95:.1f} ms of {len(all_sends)}")
    return int(bool(too_long) or p95 > P95_MS)


if __name__ == "__main__":
    sys.exit(main())
