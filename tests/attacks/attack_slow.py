"""Uploads that trickle and saves that nobody reads, from few addresses: does a newcomer wait?

    python tests/attacks/attack_slow.py

64 uploads, 16 from each of four addresses, of which 4 KiB come every second after their first 32;
and 50 saves, five from each of ten addresses, whose answers are not read. Meanwhile newcomers send
a file and save their conversations, once behind a proxy that names visitors (the slow ones have
addresses of their own) and once behind one that names nobody. Prints how long each newcomer took
and how they were answered, and what became of the slow ones. Exit status 1 if an upload or a save
of a newcomer was refused or took over two seconds.
"""

import select
import socket
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import requests
from attack_parts import part
from bystander import Bystander

from stage import Stage, Visitor  # isort: skip

UPLOADS, UPLOADERS, SAVES = 64, 4, 50
PICTURE = b"\x89PNG\r\n\x1a\n".ljust(3 << 20, b"x")  # a save with it fills all buffers
BEGUN, TRICKLE, TRICKLE_SECONDS = b"x" * 32_768, b"x" * 4_096, 1.0
SOON_SECONDS = 2.0
ROUNDS = 5


def connect(stage: Stage, left_open: ExitStack) -> socket.socket:
    connection = left_open.enter_context(socket.socket())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", int(stage.chat.rpartition(":")[2])))
    return connection


def begin_upload(stage: Stage, left_open: ExitStack, address: str) -> socket.socket:
    connection = connect(stage, left_open)
    connection.sendall(
        b"POST /ajax HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nX-Forwarded-For: "
        + f"{address}\r\nContent-Length: {20 << 20}\r\n".encode()
        + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        + part("type", "upload_file")
        + part("file", "x", "a.pdf")[:-2]
        + BEGUN
    )
    return connection


def begin_save(stage: Stage, left_open: ExitStack, visitor: Visitor, address: str) -> socket.socket:
    connection = connect(stage, left_open)
    cookies = "; ".join(f"{one.name}={one.value}" for one in visitor.http.cookies)
    body = b"type=save_conversation"
    connection.sendall(
        f"POST /ajax HTTP/1.1\r\nHost: a\r\nCookie: {cookies}\r\nX-Forwarded-For: "
        f"{address}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\n".encode()
        + body
    )
    return connection


def visitor_of(stage: Stage, address: str) -> Visitor:
    visitor = stage.visitor()
    visitor.http.headers["X-Forwarded-For"] = address
    return visitor


def upload(visitor: Visitor) -> requests.Response:
    file = {"file": ("a.png", PICTURE)}
    url = f"{visitor.chat}/ajax"
    return visitor.http.post(url, {"type": "upload_file"}, files=file, timeout=30)


def ask(visitor: Visitor, kind: str) -> tuple[float, str]:
    """How long an upload or a save took, and how it was answered."""
    begun = time.monotonic()
    try:
        answer = upload(visitor) if kind == "upload" else visitor.post(type="save_conversation")
    except requests.RequestException as error:
        return time.monotonic() - begun, type(error).__name__
    whole = kind == "upload" or not answer.ok or answer.text.endswith("</html>")
    return time.monotonic() - begun, str(answer.status_code) if whole else "cut"


def became_of(slow: socket.socket) -> str:
    """How it was answered, or that it has no answer yet; "cut" if the answer has no end."""
    said = b""
    slow.settimeout(1.0)
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)  # from now on it reads quickly
    try:
        while piece := slow.recv(1 << 20):
            said += piece
            if said.endswith(b"0\r\n\r\n"):
                break
    except TimeoutError:
        return "goes on"
    except OSError:
        pass
    status = said[9:12].decode()
    return "cut" if status == "200" and b"</html>" not in said else status


def attack(stage: Stage, kind: str, slow: list[socket.socket]) -> bool:
    """Whether newcomers were served, while these go on slowly."""
    good = True
    with Bystander(stage.chat) as bystander:
        for number in range(ROUNDS):
            beat = time.monotonic() + TRICKLE_SECONDS
            if kind == "upload":
                for connection in select.select([], slow, [], 0)[1]:
                    with suppress(OSError):
                        connection.send(TRICKLE, socket.MSG_DONTWAIT)
            newcomer = visitor_of(stage, f"198.51.100.{number}")
            if kind == "save":
                newcomer.send("hello")
            seconds, answer = ask(newcomer, kind)
            print(f"  a newcomer's {kind}: {answer} after {seconds:.2f} s")
            good = good and answer == "200" and seconds < SOON_SECONDS
            time.sleep(max(0.0, beat - time.monotonic()))
    with ThreadPoolExecutor(len(slow)) as all_at_once:
        print(f"  the slow ones: {dict(Counter(all_at_once.map(became_of, slow)))}")
    print("  " + bystander.report())
    return good and not bystander.failures


def proxied(proxies: int) -> bool:
    good = True
    with (
        tempfile.TemporaryDirectory() as folder,
        Stage(Path(folder), SITECHAT_SERVER__PROXIES=f"{proxies}") as stage,
    ):
        print(f"server.proxies = {proxies}: {UPLOADS} trickling uploads")
        with ExitStack() as left_open:
            addresses = [f"203.0.113.{number % UPLOADERS}" for number in range(UPLOADS)]
            slow = [begin_upload(stage, left_open, address) for address in addresses]
            time.sleep(1)
            good = attack(stage, "upload", slow) and good
        print(f"server.proxies = {proxies}: {SAVES} unread saves")
        with ExitStack() as left_open:
            slow = []
            for number in range(SAVES):
                address = f"203.0.113.{number // 5}"
                if number % 5 % 2 == 0:  # a visitor may have two, an address five
                    visitor = visitor_of(stage, address)
                    assert upload(visitor).ok
                slow.append(begin_save(stage, left_open, visitor, address))
            time.sleep(1)
            good = attack(stage, "save", slow) and good
    return good


def main() -> int:
    return 0 if all([proxied(1), proxied(0)]) else 1


if __name__ == "__main__":
    sys.exit(main())
