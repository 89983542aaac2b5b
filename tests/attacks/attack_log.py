"""Forgeries of every kind, to fill the log and the table of refusals, and to break their lines.

For some seconds four strangers post forged events, installs, connects, signatures and origins, with
values, names and methods of their own, also with newlines and escapes in them, and send what is no
HTTP. Prints the bytes of log a second, the rows of refusals, and log lines that strangers made.

Broken, and exit status 1: more than 1 KB of log a second besides the lines of a normal visitor's
messages, more than five of those for each message, more than 300 rows, a line of theirs, or that
visitor waited.
"""

import itertools
import re
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import requests
from bystander import Bystander
from stage import Stage

SECONDS = 10.0
STRANGERS = 4
BYTES_A_SECOND = 1_000
ROWS = 300
LINES = 5  # of one message
FAKE = "2026-01-01 00:00:00,000 ERROR store: all is lost"
WAY = re.compile(r"\S+ \S+ \w+ way: (message|conversation) ")
LINE = re.compile(r"\d{4}-\d\d-\d\d |\[\d{4}-|\s|Traceback|[\w.]+(Error|Exception)\b")


def forgeries(stage: Stage) -> list[Callable[[int], None]]:
    """Each sends one request, another one for each number."""
    web = requests.Session()

    def post(path: str, form: dict[str, str], **headers: str) -> None:
        web.post(f"{stage.chat}{path}", form, headers=headers, timeout=30)

    def raw(data: bytes) -> None:
        host, port = stage.chat.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 10) as connection, suppress(OSError):
            connection.sendall(data)
            connection.settimeout(2)
            connection.recv(4096)

    def options(number: int) -> str:
        return f'{{"LINE":1,"ACTIVE_STATUS":"{number}\\n{FAKE}","CONNECTOR":"c{number}"}}'

    token = {"auth[application_token]": "0" * 32}
    return [
        lambda n: post("/handler", token | {"event": f"E{n}\n{FAKE}", "data[x]": "1"}),
        lambda n: post("/handler", {"event": f"E{n}", f"x{n}\n{FAKE}": FAKE}),
        lambda n: post("/handler", {"PLACEMENT": f"P{n}\n{FAKE}"}),
        lambda n: post("/handler", {"PLACEMENT": "SETTING_CONNECTOR", "PLACEMENT_OPTIONS": FAKE}),
        lambda n: post(
            "/handler",
            {"PLACEMENT": "SETTING_CONNECTOR", "AUTH_ID": "x", "PLACEMENT_OPTIONS": options(n)},
        ),
        lambda n: post("/install", {"PLACEMENT": FAKE, "AUTH_ID": f"f{n}", "REFRESH_ID": "r"}),
        lambda n: post("/install", token | {"event": f"\n{FAKE}{n}", "auth[access_token]": "x"}),
        lambda n: post("/ajax", {"type": "chat_history"}, Origin=f"https://e{n}.example"),
        lambda n: post("/ajax", {"type": "chat_history"}, **{"X-Chat-Site": f"https://e{n}"}),
        lambda n: post("/ajax", {"type": "identify", "email": f"a{n}@x.de", "signature": FAKE}),
        lambda n: raw(f"G{n}\x1b[2J{FAKE}\r\n\r\n".encode()),
        lambda n: raw(f"GET /{n} HTTP/1.1\r\nHost: x\r\nbad {FAKE}: {n}\r\n\r\n".encode()),
        lambda n: raw(f"POST /ajax HTTP/1.1\r\nHost: x\r\nContent-Length: {n}x\r\n\r\n".encode()),
        lambda n: raw(
            b"POST /ajax HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + f"{n}zz;{FAKE}\r\n".encode()
        ),
        lambda n: raw(f"GET / HTTP/9.{n}\r\n\r\n".encode()),
        lambda n: raw(f"GET /%0a{FAKE.replace(' ', '%20')} HTTP/1.1\r\n\r\n".encode()),
        lambda n: raw(f"GET / HTTP/1.1\r\nHost: x\r\nSCRIPT_NAME: /{n}\r\n\r\n".encode()),
    ]


def flood(stage: Stage, seconds: float) -> int:
    """How many forgeries were sent in so many seconds."""
    numbers, until = itertools.count(), time.monotonic() + seconds

    def forge() -> None:
        kinds = forgeries(stage)
        while time.monotonic() < until:
            number = next(numbers)
            with suppress(requests.RequestException, OSError):
                kinds[number % len(kinds)](number)

    threads = [threading.Thread(target=forge) for _ in range(STRANGERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return next(numbers)


def read_lines(stage: Stage) -> list[str]:
    return stage.log.read_text(errors="replace").split("\n")[:-1]


def main() -> int:
    settings = {
        "SITECHAT_CHAT__IDENTITY_SECRET": "x" * 40,
        "SITECHAT_LIMITS__INSTALLS_PER_MINUTE": "100000",
    }
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder), 1, **settings) as stage:
        stage.trouble(placement_token=False, limit=False)
        stage.install()
        time.sleep(2)
        before, began = len(read_lines(stage)), time.monotonic()
        with Bystander(stage.chat) as bystander:
            sent = flood(stage, SECONDS)
        time.sleep(3)  # the refusals are written every two seconds
        seconds = time.monotonic() - began
        lines = read_lines(stage)
        # The visitor's own messages are told one by one; what is stored is limited elsewhere.
        of_messages = [line for line in lines[before:] if WAY.match(line)]
        written = sum(len(line) + 1 for line in lines[before:] if not WAY.match(line))
        a_second = written / seconds
        theirs = [line for line in lines if line.startswith(FAKE) or not LINE.match(line)]
        theirs += [line for line in lines if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", line)]
        with closing(sqlite3.connect(stage.folder / "chats" / "chats.db")) as db:
            (rows,) = db.execute("select count(*) from refusals").fetchone()
        print(
            f"{sent} forgeries in {SECONDS:.0f} s: {a_second:.0f} bytes of log a second,"
            f" {rows} rows of refusals, {len(theirs)} lines of theirs {theirs[:1]!r:.200}"
        )
        print(f"{len(of_messages)} lines of the visitor's messages")
        print(bystander.report())
        if "-v" in sys.argv:
            print("\n".join(lines[-60:]))
    held = a_second <= BYTES_A_SECOND and len(of_messages) <= LINES * len(bystander.times)
    held = held and rows <= ROWS and not theirs and bystander.is_served
    print("held" if held else "BROKEN")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
