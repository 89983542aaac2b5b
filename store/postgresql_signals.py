"""What the processes of one PostgreSQL store tell one another: who holds a lock, who has written.

Each has a session of its own, so that the server takes the locks of a process that dies at once.
Knows no tables.
"""

import hashlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg

from store.database import Lock
from store.postgresql_link import Session, our_errors

LOOK_SECONDS = 1.0  # between two looks whether the session of the locks still stands

HELD = (
    "select 1 from pg_locks where locktype = 'advisory' and granted and objsubid = 1"
    " and database = (select oid from pg_database where datname = current_database())"
    " and (classid::bigint << 32) | objid::bigint = %s::bigint"
)


def number_of(schema: str, name: str) -> int:
    """The number of a lock: the server knows them by numbers, all programs of a database alike."""
    digest = hashlib.blake2b(f"sitechat/{schema}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


class _Held:
    """A lock that was taken in a session; it is held as long as the session stands."""

    def __init__(self, locks: "Locks", session: Session) -> None:
        self._locks = locks
        self._session = session

    def is_held(self) -> bool:
        return self._locks.stands(self._session)


class Locks:
    """All locks of one process, in one session."""

    def __init__(self, opened: Callable[[], Session]) -> None:
        self._open = opened
        self._turn = threading.Lock()
        self._session: Session | None = None
        self._looked_at = 0.0
        self._ours: set[str] = set()  # the server gives a session its own locks again

    @contextmanager
    def try_lock(self, name: str, number: int) -> Iterator[Lock | None]:
        session = self._take(name, number)
        if session is None:
            yield None
            return
        try:
            yield _Held(self, session)
        finally:
            self._release(name, number, session)

    def _take(self, name: str, number: int) -> Session | None:
        with self._turn, our_errors():
            for first in (True, False):
                if self._session is None or self._session.closed:
                    self._session, self._ours = self._open(), set()
                if name in self._ours:
                    return None
                try:
                    row = self._session.execute(
                        "select pg_try_advisory_lock(%s) as taken", [number]
                    )
                    taken = row.fetchone()
                except psycopg.OperationalError:
                    self._session.close()
                    if first:  # the server was restarted since the last look
                        continue
                    raise
                if not (taken and taken["taken"]):
                    return None
                self._ours.add(name)
                return self._session
        raise AssertionError("the second try returns or raises")

    def _release(self, name: str, number: int, session: Session) -> None:
        with self._turn:
            if session is not self._session:
                return
            self._ours.discard(name)
            try:
                session.execute("select pg_advisory_unlock(%s)", [number])
            except psycopg.Error:  # then the server has released all of them
                session.close()

    def stands(self, session: Session) -> bool:
        """Whether the session still stands, by asking the server now and then."""
        with self._turn:
            if session is not self._session or session.closed:
                return False
            if time.monotonic() - self._looked_at < LOOK_SECONDS:
                return True
            try:
                session.execute("select 1")
            except psycopg.Error:
                session.close()
                return False
            self._looked_at = time.monotonic()
            return True

    def close(self) -> None:
        with self._turn:
            if self._session is not None:
                self._session.close()


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
