"""The locks of one process in all hosts: each is a lease, which the server itself ends.

They are locks of a session. The server ends a session of which it hears nothing for LEASE_SECONDS,
so whoever hangs, or is cut off, loses its locks as whoever dies; only later. No clocks of hosts are
compared: the holder counts the seconds since it last spoke, the server those since it last heard.
Knows no tables.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from store.database import Lock, StoreUnavailable
from store.postgresql_link import Session, our_errors

LEASE_SECONDS = 9.0  # within one more second another host takes the lock
SPEAK_SECONDS = 1.0  # between two times that a holder speaks; some answers may be lost or late
MARGIN_SECONDS = 1.0  # by which the holder stops before the server lets another one begin

HELD = (
    "select 1 from pg_locks where locktype = 'advisory' and granted and objsubid = 1"
    " and database = (select oid from pg_database where datname = current_database())"
    " and (classid::bigint << 32) | objid::bigint = %s::bigint"
)


def number_of(schema: str, name: str) -> int:
    """The number of a lock: the server knows them by numbers, all programs of a database alike."""
    digest = hashlib.blake2b(f"sitechat/{schema}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


class _Lease:
    """A session in which the server keeps locks for us as long as it hears of us."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._turn = threading.Lock()  # one statement at a time
        self._ends_at = 0.0  # on the monotonic clock; the server's end of it comes later
        self.names: set[str] = set()  # the server gives a session its own locks again
        self.is_kept = False  # somebody speaks in it now and then
        session.patience = LEASE_SECONDS
        milliseconds = f"{LEASE_SECONDS * 1000:.0f}"
        self.ask("select set_config('idle_session_timeout', %s, false)", milliseconds)

    def ask(self, sql: str, *values: object) -> dict[str, Any]:
        """Raises psycopg.Error; the session and all of its locks have ended then."""
        with self._turn:
            asked_at = time.monotonic()
            try:
                row = self._session.execute(sql.encode(), values).fetchone()
            except BaseException:
                self._session.close()
                raise
            self._ends_at = asked_at + LEASE_SECONDS - MARGIN_SECONDS
        return row or {}

    @property
    def is_over(self) -> bool:
        return self._session.closed or time.monotonic() > self._ends_at

    @property
    def is_lost(self) -> bool:
        """Whether it is over for good: nobody may speak in it again."""
        return self._session.closed

    def close(self) -> None:
        self._session.close()


class _Held:
    """A lock that was taken in a session; it is held as long as the session stands."""

    def __init__(self, lease: _Lease) -> None:
        self._lease = lease

    def is_held(self) -> bool:
        return not self._lease.is_over

    def is_held_now(self) -> bool:
        if self._lease.is_over:
            return False
        try:
            self._lease.ask("select 1")
        except psycopg.Error:
            return False
        return not self._lease.is_over


class Locks:
    """All locks of one process, in one session."""

    def __init__(self, opened: Callable[[], Session]) -> None:
        self._open = opened
        self._turn = threading.Lock()
        self._lease: _Lease | None = None

    @contextmanager
    def try_lock(self, name: str, number: int) -> Iterator[Lock | None]:
        lease = self._take(name, number)
        if lease is None:
            yield None
            return
        try:
            yield _Held(lease)
        finally:
            self._release(name, number, lease)

    def _take(self, name: str, number: int) -> _Lease | None:
        with self._turn, our_errors():
            for may_repeat in (True, False):
                is_new = self._lease is None or self._lease.is_lost
                if self._lease is None or is_new:
                    self._lease = _Lease(self._open())
                if name in self._lease.names:
                    return None
                try:
                    found = self._lease.ask("select pg_try_advisory_lock(%s) as taken", number)
                except psycopg.OperationalError:
                    if may_repeat and not is_new:  # the server has ended the session meanwhile
                        continue
                    raise
                if not found["taken"]:
                    return None
                self._lease.names.add(name)
                self._keep(self._lease)
                return self._lease
        raise AssertionError("the second try returns or raises")

    def _release(self, name: str, number: int, lease: _Lease) -> None:
        with self._turn:
            lease.names.discard(name)
            if lease.is_lost:
                return
            try:
                lease.ask("select pg_advisory_unlock(%s)", number)
            except psycopg.Error:  # then the server has released all of them
                return

    def _keep(self, lease: _Lease) -> None:
        """Speak in the session as long as there is a lock in it, in a greenlet or a thread."""
        if not lease.is_kept:
            lease.is_kept = True
            keeper = threading.Thread(target=self._speak, args=(lease,), name="lease", daemon=True)
            keeper.start()

    def _speak(self, lease: _Lease) -> None:
        while True:
            time.sleep(SPEAK_SECONDS)
            with self._turn:
                if lease.is_lost or not lease.names:
                    lease.is_kept = False
                    return
            try:
                lease.ask("select 1")
            except (psycopg.Error, StoreUnavailable):
                return

    def close(self) -> None:
        with self._turn:
            if self._lease is not None:
                self._lease.close()
                self._lease = None
