"""What the processes of one PostgreSQL store tell one another: who has written.

Each listens in a session of its own. Knows no tables.
"""

import select
import socket
from collections.abc import Callable
from contextlib import suppress

import psycopg

from store.postgresql_link import Session


class Listening:
    """Hints by the server's own notifications. Any may be lost while the server is not there."""

    def __init__(self, opened: Callable[[], Session], channel: Callable[[], str]) -> None:
        self._open = opened
        self._channel = channel
        self._session: Session | None = None
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)

    def wait(self, seconds: float) -> None:
        """Return at the next hint, or after `seconds`; hints that wait together count as one."""
        poll = select.poll()  # gevent's, where it serves: others go on meanwhile
        poll.register(self._woken, select.POLLIN)
        try:
            if self._session is None or self._session.closed:
                self._session = self._open()
                self._session.execute(f"listen {self._channel()}", prepare=False)
            poll.register(self._session.pgconn.socket, select.POLLIN)
        except psycopg.Error:
            self._end()
        poll.poll(seconds * 1000)
        with suppress(BlockingIOError):
            while self._woken.recv(100):
                pass
        if self._session is not None:
            try:
                self._session.pgconn.consume_input()
                while self._session.pgconn.notifies():
                    pass
            except psycopg.Error:
                self._end()

    def wake(self) -> None:
        with suppress(OSError):  # its buffer is full: the hint is there already
            self._waker.send(b"!")

    def _end(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def close(self) -> None:
        self._end()
        self._waker.close()
        self._woken.close()
