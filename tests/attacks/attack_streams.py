"""A hundred streams of one chat, some of which never read, and many streams of one address.

    python tests/attacks/attack_streams.py

One visitor opens 100 streams, 50 of them by clients that do not read. Meanwhile 60 long messages
are written into the chat, so that a stream which nobody reads fills its buffers. Then 1,300 streams
of as many chats come from one address, named by a proxy. Prints how many streams stayed, and what a
normal visitor had to wait. Exit status 1 where more than 10 of the chat or 1,000 of the address
stayed.
"""

import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import requests
from bystander import Bystander
from stage import Stage

STREAMS, ALLOWED = 100, 10
MESSAGES = 60
OF_ADDRESS, ADDRESS_ALLOWED = 1_300, 1_000


def address_of(stage: Stage) -> tuple[str, int]:
    return "127.0.0.1", int(stage.chat.rpartition(":")[2])


def ask(stage: Stage, cookie: str, last_id: str = "0", buffer: int = 0) -> socket.socket:
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(5)
    connection.connect(address_of(stage))
    connection.sendall(
        f"GET /ajax?type=chat_stream HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n"
        f"X-Forwarded-For: 203.0.113.7\r\nLast-Event-ID: {last_id}\r\n\r\n".encode()
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
    cookie = "; ".join(f"{one.name}={one.value}" for one in visitor.http.cookies)
    before = held(stage)
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


def attack(stage: Stage) -> bool:
    with Bystander(stage.chat) as bystander:
        stayed = streams_of_a_chat(stage)
    print(f"streams of one chat: {stayed} of {STREAMS} stayed, {ALLOWED} are allowed")
    print(bystander.report())
    with Bystander(stage.chat) as beside:
        statuses, polls = streams_of_an_address(stage)
    print(f"streams of one address: {dict(statuses)}; polls instead: {polls}")
    print(beside.report())
    return (
        stayed <= ALLOWED + 2  # and connections of the normal visitor
        and statuses["200"] <= ADDRESS_ALLOWED
        and polls
        and bystander.is_served
        and beside.is_served
    )


def main() -> int:
    with (
        tempfile.TemporaryDirectory() as folder,
        Stage(Path(folder), SITECHAT_SERVER__PROXIES="1") as stage,
    ):
        return 0 if attack(stage) else 1


if __name__ == "__main__":
    sys.exit(main())
