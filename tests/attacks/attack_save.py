"""Twenty visitors save their conversations and do not read the answers.

Each conversation is a file of 44 MB. It prints the memory of the application before and
while the answers wait, whether a normal visitor's sends were slowed, and how a twenty-first save
of one of the visitors is answered. Exit status 1 if the saves take more than 100 MB together.
"""

import secrets
import socket
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

import requests
from parts import Normal, Watched, memory_mb

from bbcode import RENDERER, to_html  # isort: skip
from files import files_html  # isort: skip
from stage import ROOT  # isort: skip
from storage import Store  # isort: skip
from store.records import File, Limits, VisitorMessage  # isort: skip

SAVERS, PICTURE_BYTES, PICTURES, TEXTS = 20, 8 << 20, 4, 5
MOST_MB, P95_MS = 100.0, 50.0


def fill(stage: Watched, store: Store) -> requests.Session:
    """A visitor whose conversation is long: it is written into the store, which takes less time."""
    visitor = stage.visitor()
    chat = store.chats.find(visitor.send("Hello")["chat"])
    assert chat is not None
    folder = stage.folder / "chats" / "files" / chat.id
    folder.mkdir(parents=True)
    text, limits = "http://a " * 2_200, Limits("nobody", 10**6, 10**6)
    messages = [VisitorMessage(chat, text, str(to_html(text)), None)] * TEXTS
    for _ in range(PICTURES):
        key = secrets.token_hex(24)
        (folder / key).write_bytes(b"\x89PNG\r\n\x1a\n".ljust(PICTURE_BYTES, b"x"))
        link = f"{stage.chat}/ajax?type=file&key={key}"
        picture = File("a.png", "image", link, PICTURE_BYTES, key, "image/png")
        messages.append(VisitorMessage(chat, "", "", None, picture, files_html((picture,))))
    for message in messages:
        stored = store.messages.add_from_visitor(message, limits, time.time())
        with store.database.write() as db:  # the portal need not have it
            db.execute("delete from deliveries where message_id = ?", (stored.id,))
    return visitor.http


def begin_save(stage: Watched, http: requests.Session, left_open: ExitStack) -> None:
    """Ask, and read nothing of the answer."""
    host, _, port = stage.chat.removeprefix("http://").partition(":")
    connection = left_open.enter_context(socket.socket())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host, int(port)))
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in http.cookies)
    body = b"type=save_conversation"
    connection.sendall(
        f"POST /ajax HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {cookies}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


def main() -> int:
    with (
        tempfile.TemporaryDirectory() as folder,
        Watched(Path(folder)) as stage,
        ExitStack() as left_open,
    ):
        stage.install()
        assert stage.app is not None
        with closing(Store(f"sqlite:///{folder}/chats/chats.db", ROOT, RENDERER)) as store:
            savers = [fill(stage, store) for _ in range(SAVERS)]
        before = memory_mb(stage.app.pid)
        stage.forget_holds()
        with Normal(stage) as normal:
            for http in savers:
                begin_save(stage, http, left_open)
            time.sleep(5)
            during = memory_mb(stage.app.pid)
            for _ in range(4):  # one visitor's further saves
                begin_save(stage, savers[0], left_open)
            fields = {"type": "save_conversation"}
            more = savers[0].post(f"{stage.chat}/ajax", fields, timeout=60, stream=True)
            status, later = more.status_code, more.headers.get("Retry-After")
            more.close()
        worked, passed = stage.longest_hold()
    taken = during - before
    print(
        f"{SAVERS} unread saves: {before:.0f} MB before, {during:.0f} MB meanwhile: {taken:.0f} MB"
    )
    print(f"the longest hold of the worker: {worked:.1f} ms ({passed:.1f} by the clock)")
    print(f"a normal visitor's sends: p95 {normal.p95:.1f} ms, {normal.failed} failed")
    print(f"one visitor's save beside others of their own: {status}, Retry-After {later}")
    return int(taken > MOST_MB or status != 429 or worked > P95_MS)


if __name__ == "__main__":
    sys.exit(main())
