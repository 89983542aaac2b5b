"""What the processes of one PostgreSQL store tell one another: who has written.

Each listens in a session of its own. Knows no tables.
"""

import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg

from store.database import StoreUnavailable
from store.postgresql_link import Session

ASK_SECONDS = 5.0  # without a hint; then the server is asked whether it hears us
ANSWER_SECONDS = 3.0  # to that; whoever is silent for longer is taken to be cut off


class Listening:
    """Hints by the server's own notifications. Any may be lost while the server is not there.

    Whoever only listens never learns that the network has dropped the connection: so it asks now
    and then, and does not wait for the answer.
    """

    def __init__(self, opened: Callable[[], Session], channel: Callable[[], str]) -> None:
        self._open = opened
        self._channel = channel
        self._session: Session | None = None
        self._heard_at = 0.0  # on the monotonic clock
        self._asked_at: float | None = None  # while the answer is awaited
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)

    def wait(self, seconds: float) -> None:
        """Return at the next hint, or after `seconds`; hints that wait together count as one."""
        ends_at = time.monotonic() + seconds
        while not self._has_come(ends_at) and time.monotonic() < ends_at:
            pass  # what has come was an answer alone

    def _has_come(self, ends_at: float) -> bool:
        """Wait until something comes; whether it may be a hint."""
        poll = select.poll()  # gevent's, where it serves: others go on meanwhile
        poll.register(self._woken, select.POLLIN)
        try:
            session = self._listening()
            poll.register(session.pgconn.socket, select.POLLIN)
            self._ask_at_times(session)
        except (psycopg.Error, StoreUnavailable):  # who looks hears it from the store
            self._end()
        poll.poll(max(0.0, ends_at - time.monotonic()) * 1000)
        is_hint = False
        with suppress(BlockingIOError):
            while self._woken.recv(100):
                is_hint = True
        if self._session is not None:
            try:
                is_hint = self._hear(self._session) or is_hint
            except psycopg.Error:
                self._end()
                return True
        return is_hint

    def _listening(self) -> Session:
        if self._session is None or self._session.closed:
            self._session, self._asked_at = self._open(), None
            self._session.execute(f"listen {self._channel()}", prepare=False)
            self._heard_at = time.monotonic()
        return self._session

    def _ask_at_times(self, session: Session) -> None:
        now = time.monotonic()
        if self._asked_at is None and now - self._heard_at > ASK_SECONDS:
            session.pgconn.send_query(b"select 1")
            session.pgconn.flush()
            self._asked_at = now

    def _hear(self, session: Session) -> bool:
        """Take all that has come, and say whether there is a hint.

        Raises psycopg.Error where nothing comes any more.
        """
        pgconn, now, is_hint = session.pgconn, time.monotonic(), False
        pgconn.consume_input()
        while self._asked_at is not None and not pgconn.is_busy():
            if pgconn.get_result() is None:  # the answer is complete
                self._asked_at, self._heard_at = None, now
        while pgconn.notifies():
            self._heard_at, is_hint = now, True
        if self._asked_at is not None and now - self._asked_at > ANSWER_SECONDS:
            raise psycopg.OperationalError("the server does not answer")
        return is_hint

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
