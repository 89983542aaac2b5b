"""A hundred streams of one chat, streams and polls that never read, many streams of one address.

    python tests/attacks/attack_streams.py

One visitor opens 100 streams, 50 of them by clients that do not read. Meanwhile 60 long messages
are written into the chat, so that a stream which nobody reads fills its buffers. Then a visitor
with 50 messages of 20,000 letters, each of 165,000 letters of HTML, asks for all of them by ten
streams and by fifty polls that are not read; prints what each of them costs in memory. At last
1,300 streams of as many chats come from one address, named by a proxy. Prints how many streams
stayed, and what a normal visitor had to wait. Exit status 1 where more than 10 of the chat or 1,000
of the address stayed, where an unread answer costs more than 2 MB, or where one held the worker for
over 50 ms.
"""

import socket
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import requests
from bystander import Bystander
from parts import Watched, memory_mb

from stage import Stage, Visitor  # isort: skip

STREAMS, ALLOWED = 100, 10
MESSAGES = 60
OF_ADDRESS, ADDRESS_ALLOWED = 1_300, 1_000
# An emoji makes each letter of a Python string take 4 bytes.
LONG, LONG_MESSAGES = "\U0001f600" + "http://a.b " * 1_818, 50
UNREAD_STREAMS, UNREAD_POLLS = 10, 50
MOST_MB, MOST_HELD_MS = 2.0, 50.0


def address_of(stage: Stage) -> tuple[str, int]:
    return "127.0.0.1", int(stage.chat.rpartition(":")[2])


def cookie_of(visitor: Visitor) -> str:
    return "; ".join(f"{one.name}={one.value}" for one in visitor.http.cookies)


def ask(stage: Stage, cookie: str, buffer: int = 0, once: str = "") -> socket.socket:
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(5)
    connection.connect(address_of(stage))
    connection.sendall(
        f"GET /ajax?type=chat_stream{once} HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n"
        "X-Forwarded-For: 203.0.113.7\r\nLast-Event-ID: 0\r\n\r\n".encode()
    )
    return connection


def held(stage: Stage) -> int:
    """The connections that the server holds open: those of streams, and a few idle ones."""
    assert stage.app is not None
    pid = Path(f"/proc/{stage.app.pid}/task/{stage.app.pid}/children").read_text().split()[0]
    return sum("socket:" in str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir())


def streams_of_a_chat(stage: Stage) -> int:
    visitor = stage.visitor()
    visitor.send("x" * 15_000)
    cookie, before = cookie_of(visitor), held(stage)
    connections = []
    for number in range(STREAMS):
        connections.append(ask(stage, cookie, buffer=4096 if number % 2 else 0))
        time.sleep(0.01)
    for _ in range(MESSAGES):
        visitor.send("y" * 15_000)
        for connection in connections[::2]:  # the others do not read
            connection.setblocking(False)
            try:
                while connection.recv(1 << 20):
                    pass
            except OSError:
                continue
    time.sleep(1)
    stayed = held(stage) - before
    for connection in connections:
        connection.close()
    return stayed


def long_conversation(stage: Stage) -> str:
    """The cookie of a visitor with LONG_MESSAGES."""
    visitor = stage.visitor()
    for _ in range(LONG_MESSAGES):
        visitor.send(LONG)
    # Read once, so that what the worker needs for one of them at a time is not counted later.
    visitor.http.get(
        f"{stage.chat}/ajax?type=chat_stream&once=1", headers={"Last-Event-ID": "0"}, timeout=60
    )
    return cookie_of(visitor)


def cost_of_unread(
    stage: Watched, cookie: str, number: int, once: str, left_open: ExitStack
) -> float:
    """The memory that each of so many answers takes, which ask for all and are not read."""
    assert stage.app is not None
    before = memory_mb(stage.app.pid)
    for _ in range(number):
        left_open.enter_context(ask(stage, cookie, 4096, once))
    time.sleep(5)
    return max(0.0, memory_mb(stage.app.pid) - before) / number


def unread(stage: Watched) -> bool:
    """Whether unread answers cost little."""
    cookie = long_conversation(stage)
    stage.forget_holds()
    with ExitStack() as left_open:  # what was freed before would be taken again
        streams = cost_of_unread(stage, cookie, UNREAD_STREAMS, "", left_open)
        polls = cost_of_unread(stage, cookie, UNREAD_POLLS, "&once=1", left_open)
    worked, passed = stage.longest_hold()
    print(f"an unread stream takes {streams:.1f} MB, an unread poll {polls:.1f} MB")
    print(f"the longest hold of the worker: {worked:.1f} ms ({passed:.1f} by the clock)")
    return max(streams, polls) <= MOST_MB and worked <= MOST_HELD_MS


def streams_of_an_address(stage: Stage) -> tuple[Counter[str], bool]:
    """The statuses of the answers, and whether the page could poll instead."""
    statuses: Counter[str] = Counter()
    connections = []
    for _ in range(OF_ADDRESS):
        form = {"type": "send_message", "message": "hello"}
        answer = requests.post(f"{stage.chat}/ajax", form, timeout=10)
        cookie = "; ".join(f"{one.name}={one.value}" for one in answer.cookies)
        connection = ask(stage, cookie)
        connections.append(connection)
        statuses[connection.recv(4096)[9:12].decode()] += 1
    poll = requests.get(
        f"{stage.chat}/ajax?type=chat_stream&once=1",
        headers={"Cookie": cookie, "X-Forwarded-For": "203.0.113.7", "Last-Event-ID": "0"},
        timeout=10,
    )
    for connection in connections:
        connection.close()
    return statuses, poll.status_code == 200


def attack(stage: Watched) -> bool:
    with Bystander(stage.chat) as bystander:
        stayed = streams_of_a_chat(stage)
    print(f"streams of one chat: {stayed} of {STREAMS} stayed, {ALLOWED} are allowed")
    print(bystander.report())
    is_cheap = unread(stage)
    with Bystander(stage.chat) as beside:
        statuses, polls = streams_of_an_address(stage)
    print(f"streams of one address: {dict(statuses)}; polls instead: {polls}")
    print(beside.report())
    return (
        stayed <= ALLOWED + 2  # and connections of the normal visitor
        and statuses["200"] <= ADDRESS_ALLOWED
        and polls
        and is_cheap
        and bystander.is_served
        and beside.is_served
    )


def main() -> int:
    with (
        tempfile.TemporaryDirectory() as folder,
        Watched(Path(folder), SITECHAT_SERVER__PROXIES="1") as stage,
    ):
        return 0 if attack(stage) else 1


if __name__ == "__main__":
    sys.exit(main())
