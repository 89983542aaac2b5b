"""The file behind the store: connections, transactions, locks and the schema's versions.

SQLite in WAL with synchronous=FULL: what a transaction has committed is on the disk. All that
differs from one database to another has its home here. Knows no table.
"""

import contextlib
import fcntl
import functools
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
D = TypeVar("D", bound="Database")

PATIENCE_SECONDS = 5.0  # with another process that is opening or writing


class StoreUnavailable(Exception):
    """The store cannot be read or written now; nothing of the call was kept."""


class LockHeld(StoreUnavailable):
    """Another process holds the lock for longer than we wait."""


def transaction(
    method: Callable[Concatenate[D, sqlite3.Connection, P], R],
) -> Callable[Concatenate[D, P], R]:
    """Run the method in one write transaction, given its connection: all of it or nothing."""

    @functools.wraps(method)
    def wrapper(self: D, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.write() as db:
            return method(self, db, *args, **kwargs)

    return wrapper


class Database:
    """One file, for threads and greenlets alike. Every method raises StoreUnavailable when the
    file cannot be used now, and works again once it can."""

    def __init__(self, path: Path, migrations: list[str]) -> None:
        self.path = path
        self._migrations = migrations
        # Two connections: whoever waits for the write lock holds up no reader.
        self._writer = _Connection()
        self._reader = _Connection()
        self.after_commit: Callable[[], None] | None = None  # told of each write

    def open(self) -> None:
        """Make the folder and the file where they are missing and bring the schema up to date."""
        with self.write():
            pass

    def close(self) -> None:
        for connection in (self._writer, self._reader):
            with connection.lock:
                connection.close()

    def _connect(self, connection: "_Connection") -> sqlite3.Connection:
        """The open connection, made anew when the file is not the one that was opened."""
        if connection.db is not None and _inode(self.path) == connection.inode:
            return connection.db
        connection.close()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made here so that tokens and texts are never readable to other users. A file that is
        # there is not opened past SQLite: closing it again would drop all our locks on it.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        db = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            db.row_factory = sqlite3.Row
            _patiently(lambda: db.execute("pragma journal_mode = wal"))
            db.execute("pragma synchronous = full")
            db.execute("pragma foreign_keys = on")
            _migrate(db, self._migrations)
        except BaseException:
            db.close()
            raise
        connection.db, connection.inode = db, _inode(self.path)
        return db

    @contextmanager
    def _errors(self, connection: "_Connection") -> Iterator[None]:
        """Hold the connection and translate its faults; it is made anew, the cause may pass."""
        if not connection.lock.acquire(timeout=PATIENCE_SECONDS):
            raise StoreUnavailable("others have waited too long for the file")
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except (sqlite3.DatabaseError, OSError) as error:
            connection.close()
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY:
                self._close_idle()
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
        finally:
            connection.lock.release()

    def _close_idle(self) -> None:
        """Let go of the file whole: what one connection found read-only stays so for the other."""
        for connection in (self._writer, self._reader):
            if connection.lock.acquire(blocking=False):
                connection.close()
                connection.lock.release()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One write transaction: all that is done with the connection, or nothing."""
        with self._errors(self._writer):
            db = self._connect(self._writer)
            _patiently(lambda: db.execute("begin immediate"))
            try:
                yield db
                db.execute("commit")
            except BaseException:
                if db.in_transaction:
                    db.execute("rollback")
                raise
        if self.after_commit is not None:
            self.after_commit()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with; writers do not hold it up."""
        with self._errors(self._reader):
            yield self._connect(self._reader)

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self.read() as db:
            return _patiently(lambda: db.execute(sql, values)).fetchall()

    def row(self, sql: str, *values: object) -> sqlite3.Row | None:
        rows = self.rows(sql, *values)
        return rows[0] if rows else None

    def lock_path(self, name: str) -> Path:
        return self.path.parent / f"{name}.lock"

    def lock_inode(self, name: str) -> int | None:
        """Which file the lock is now: another than before means that anybody may hold it."""
        return _inode(self.lock_path(name))

    @contextmanager
    def try_lock(self, name: str) -> Iterator[bool]:
        """Hold the lock `name` across all processes; False when another has it now.

        A holder that dies loses it at once; one that stalls keeps it.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self.lock_path(name), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(file)

    @contextmanager
    def lock(self, name: str, patience: float) -> Iterator[None]:
        """As `try_lock`, waiting `patience` seconds at most; StoreUnavailable after that."""
        until = time.monotonic() + patience
        while True:
            with self.try_lock(name) as held:
                if held:
                    yield
                    return
            if time.monotonic() > until:
                raise LockHeld(f"the lock {name} is held by another process")
            time.sleep(0.05)


class _Connection:
    """A connection that may have to be made anew, and who uses it now."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.db: sqlite3.Connection | None = None
        self.inode: int | None = None

    def close(self) -> None:
        if self.db is not None:
            self.db.close()
            self.db = None


def _inode(path: Path) -> int | None:
    """Which file a path names now; None for no file."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _patiently(execute: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
    """Try again while others hold the file; SQLite's own waiting would hold up all greenlets."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return execute()
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > until:
                raise
        time.sleep(0.002)


def _migrate(db: sqlite3.Connection, migrations: list[str]) -> None:
    """Bring the schema to the newest version; several processes may try at once."""
    _patiently(lambda: db.execute("begin immediate"))
    try:
        version = db.execute("pragma user_version").fetchone()[0]
        if version > len(migrations):
            raise sqlite3.DatabaseError("the file was written by a newer release of this program")
        for number, script in enumerate(migrations[version:], start=version + 1):
            for statement in script.split(";"):
                db.execute(statement)
            db.execute(f"pragma user_version = {number}")
        db.execute("commit")
    except BaseException:
        db.execute("rollback")
        raise
