"""Connections that say nothing, too little or too slowly, against a server with few descriptors.

    python tests/attacks/attack_idle.py

With 1,024 descriptors as the hard limit, for each kind: 1,100 connections that (1) stay idle, (2)
send their headers a byte a second, (3) announce a body that does not come, (4) ask for a file and
read it a byte a second. They come evenly, 120 a second, also those that the server has closed.
Prints what a normal visitor had to wait during each. Exit status 1 where one message failed or the
95th percentile is over 50 ms.
"""

import os
import select
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from attack_parts import FEW_DESCRIPTORS
from bystander import Bystander
from stage import Stage, Visitor

CONNECTIONS = 1_100
SECONDS = 14.0
NEW_A_SECOND = 120  # connections, those that come again included


class Attacker:
    """Holds CONNECTIONS connections, each begun with `first`; adds `drop` to each every second."""

    def __init__(self, port: int, first: bytes, drop: bytes, reads: bool) -> None:
        self._port, self._first, self._drop, self._reads = port, first, drop, reads
        self._open: dict[int, socket.socket] = {}
        self._poll = select.poll()
        self.closed = 0

    def _add(self) -> None:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        with suppress(BlockingIOError):
            connection.connect(("127.0.0.1", self._port))
        self._open[connection.fileno()] = connection
        self._poll.register(connection, select.POLLOUT)

    def _step(self, number: int, event: int, beat: bool) -> bool:
        """Whether the connection is still open."""
        connection = self._open[number]
        try:
            if event & (select.POLLERR | select.POLLHUP):
                return False
            if event & select.POLLOUT:
                if self._first:
                    connection.send(self._first)
                self._poll.modify(connection, select.POLLIN)
            elif event & select.POLLIN and (not self._reads or beat):
                return bool(connection.recv(1 if self._reads else 4096))
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def hold(self, seconds: float) -> None:
        now = next_beat = time.monotonic()
        until, fresh = now + seconds, 0.0
        while now < until:
            before, now = now, time.monotonic()
            fresh = min(4.0, fresh + (now - before) * NEW_A_SECOND)
            beat = now > next_beat
            if beat:
                next_beat += 1
                for connection in self._open.values() if self._drop else ():
                    with suppress(OSError):
                        connection.send(self._drop)
            for _ in range(min(int(fresh), CONNECTIONS - len(self._open))):
                self._add()
                fresh -= 1
            for number, event in self._poll.poll(20):
                if not self._step(number, event, beat):
                    self.closed += 1
                    self._poll.unregister(number)
                    self._open.pop(number).close()
            time.sleep(0.02)

    def close(self) -> None:
        for connection in self._open.values():
            connection.close()


def file_request(visitor: Visitor) -> bytes:
    """The request of a large file that the visitor has sent."""
    answer = visitor.http.post(
        f"{visitor.chat}/ajax",
        data={"type": "upload_file"},
        files={"file": ("a.pdf", os.urandom(5 << 20))},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    key = visitor.history().partition("key=")[2].partition('"')[0]
    return f"GET /ajax?type=file&key={key} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def attack(stage: Stage) -> bool:
    start = b"POST /ajax HTTP/1.1\r\nHost: a\r\n"
    form = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 500\r\n\r\n"
    kinds = {
        "idle": (b"", b"", False),
        "slow headers": (start, b"a", False),
        "missing bodies": (start + form, b"a", False),
        "slow readers of a file": (file_request(stage.visitor()), b"", True),
    }
    good = True
    for name, (first, drop, reads) in kinds.items():
        attacker = Attacker(int(stage.chat.rpartition(":")[2]), first, drop, reads)
        with Bystander(stage.chat) as bystander:
            attacker.hold(SECONDS)
        attacker.close()
        print(f"{name}: {CONNECTIONS} connections, {attacker.closed} closed by the server")
        print("  " + bystander.report())
        good = good and bystander.is_served
        time.sleep(2)
    return good


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        stage.through = FEW_DESCRIPTORS
        with stage:
            return 0 if attack(stage) else 1


if __name__ == "__main__":
    sys.exit(main())
