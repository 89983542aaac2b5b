"""SQLite: one file for all processes of one machine, in WAL with synchronous=FULL.

What a transaction has committed is on the disk. Has connections, transactions, locks and hints;
knows no table but `generations`.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from store import marks
from store.connections import Connections, Opened, unavailable
from store.copies import write_copy
from store.database import Hints, Lock, Row, StoreUnavailable, Waiting, patient_lock
from store.datagrams import Datagrams
from store.fence import fences_of
from store.in_turn import in_turn
from store.log import (
    PATIENCE_SECONDS,
    Patience,
    begin_generation,
    inode_of,
    log_bytes,
    move_log,
    patiently,
)
from store.together import Together
from turns import apart, has_greenlets

LOG_BYTES = 8 << 20  # a longer log is moved into the file even while others write
CLOSING_TRIES = 10  # to move the log


class FileLock:
    """The file behind a lock, as it was when the lock was taken."""

    def __init__(self, path: Path, file: int) -> None:
        self._path = path
        self._inode = os.fstat(file).st_ino

    def is_held(self) -> bool:
        return inode_of(self._path) == self._inode

    def is_held_now(self) -> bool:
        return self.is_held()


class SQLite:
    """A `store.database.Database` in one file."""

    def __init__(self, path: Path, migrations: list[str]) -> None:
        self.path = path
        self._patience = Patience(path)
        self._connections = Connections(path, migrations, self._patience, self.lock)
        self._transactions = FileTransactions(path, self._connections)
        self._together = Together(self._transactions)
        self._log_bytes = 0
        self._must_move = False
        self._moves_begun = 0
        self._moved = 0  # the latest move that came to its end

    @property
    def place(self) -> str:
        return self.path.parent.name

    @property
    def folder(self) -> Path:
        return self.path.parent

    def open(self) -> None:
        with self.write():
            pass

    def close(self) -> None:
        writer = self._connections.writer
        with writer.lock, suppress(sqlite3.Error, OSError):  # without a mark it is only slower
            self._move_log_and_mark(writer)
        self._connections.close()

    def briefly(self, seconds: float) -> AbstractContextManager[None]:
        return self._patience.briefly(seconds)

    def hurry(self) -> None:
        self._patience.hurry()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        writer = self._connections.writer
        with (
            fences_of(self) as begin,
            self._together.write(self._patience.begin()) as db,
            self._connections.errors_of(writer),
        ):
            begin(db)
            yield db

    def check_room(self) -> None:
        """Nothing: whatever is written needs new pages in the log."""

    def write_fault(self) -> StoreUnavailable | None:
        """Nothing: whoever writes finds out."""
        return None

    def now(self) -> float:
        return time.time()

    def clock_ahead(self) -> float:
        return 0.0  # the file has none of its own

    def settle(self, at_once: bool = False) -> None:
        size, former = log_bytes(self.path), self._log_bytes
        self._log_bytes = size
        self._must_move = self._must_move or at_once
        is_quiet = size == former
        if size == 0 or not (is_quiet or self._must_move or size > LOG_BYTES):
            return
        if self._move_log():
            self._must_move = False

    def _move_log(self) -> bool:
        begun_before = self._moves_begun
        with self._connections.use(self._connections.mover) as db:
            if self._moved > begun_before:
                # A move that began while we waited for the connection has moved our part, too.
                return True
            with self.try_lock("move") as held:
                if held is None:  # another process moves it, or makes a backup
                    return False
                self._moves_begun += 1
                # In a thread of its own: a slow disk must not hold up the other greenlets.
                moved = apart(move_log, db, self.path)
            if moved:
                self._moved = self._moves_begun
            return moved

    def _move_log_and_mark(self, writer: Opened) -> None:
        """Before a marked file is closed: what SQLite would move then would leave it unmarked."""
        for _ in range(CLOSING_TRIES):
            db = writer.db if writer.inode == inode_of(self.path) else None
            if db is None or not log_bytes(self.path) or not marks.marked_state(self.path):
                return
            with suppress(StoreUnavailable), self.try_lock("move") as held:
                if held is not None:
                    apart(move_log, db, self.path)
                    return
            time.sleep(0.02)  # another process moves it, or makes a backup

    def back_up(self, target: Path) -> None:
        with (
            self.lock("move", PATIENCE_SECONDS),
            self._connections.use(self._connections.mover) as db,
        ):
            os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            apart(write_copy, db, target)

    def rows(self, sql: str, *values: object, **named: object) -> list[Row]:
        # Writers do not hold it up.
        return self._connections.ask(self._connections.reader, sql, named or values)

    def row(self, sql: str, *values: object, **named: object) -> Row | None:
        rows = self.rows(sql, *values, **named)
        return rows[0] if rows else None

    def lock_path(self, name: str) -> Path:
        return self.path.parent / f"{name}.lock"

    @contextmanager
    def try_lock(self, name: str) -> Iterator[Lock | None]:
        path = self.lock_path(name)
        if not path.parent.exists():
            # A new folder would be in the way of whoever puts the former one back.
            self._connections.check_not_gone()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise unavailable(error, self.path) from error
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield FileLock(path, file)
        finally:
            os.close(file)

    def lock(self, name: str, patience: float) -> AbstractContextManager[Lock]:
        return patient_lock(self.try_lock, name, patience)

    def hints(self) -> Hints:
        hints = Datagrams(self.path.parent, self._stop_hints)
        self._transactions.hints = hints
        return hints

    def _stop_hints(self) -> None:
        self._transactions.hints = None


class FileTransactions:
    """The write transactions of the file, for `Together`; the log's generations begin with them."""

    def __init__(self, path: Path, connections: Connections) -> None:
        self._path = path
        self._connections = connections
        self._writer = connections.writer
        self.hints: Datagrams | None = None  # to send one for each transaction

    def begin(self, wait: Waiting) -> sqlite3.Connection:
        self._connections.take(self._writer, wait)
        try:
            with self._connections.errors_of(self._writer):
                db = self._connections.connect(self._writer)
                with in_turn(self._path.parent):
                    patiently(lambda: db.execute("begin immediate"), wait)
                if log_bytes(self._path) == 0:
                    begin_generation(db)
        except BaseException:
            self._let_go()
            raise
        return db

    def commit(self) -> None:
        """Its wait for the disk is in a thread of its own, so that others are served meanwhile."""
        try:
            with self._connections.errors_of(self._writer):
                if self._writer.db is None:
                    raise sqlite3.OperationalError("the connection was closed")
                if has_greenlets():
                    apart(self._writer.db.execute, "commit")
                else:
                    self._writer.db.execute("commit")
        finally:
            self._let_go()
        if self.hints is not None:
            self.hints.send()

    def rollback(self) -> None:
        with self._connections.errors_of(self._writer):
            self._let_go()

    def _let_go(self) -> None:
        db = self._writer.db
        try:
            if db is not None and db.in_transaction and not self._writer.is_faulty:
                db.execute("rollback")
        finally:
            self._connections.let_go(self._writer)
