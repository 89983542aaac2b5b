"""The connections to one SQLite file: opened when they are needed, and again after an error.

A file is proved before it is used, and is never replaced by an empty one. Errors of SQLite and of
the system are told as our own, with their reasons.
"""

import errno
import logging
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from store.database import (
    DISK_FULL,
    DiskFull,
    StoreGone,
    StoreLocked,
    StoreReadOnly,
    StoreUnavailable,
    Waiting,
    is_disk_full,
    may_only_be_read,
    quoted,
)
from store.log import PATIENCE_SECONDS, Patience, StoreDamaged, inode_of, is_busy, patiently
from store.migrate import is_empty, make_file, migrate
from store.proof import LockFor, Proof

log = logging.getLogger("store.sqlite")

GONE = (
    "the store is gone: there is no %s any more, or an empty file, and with it all conversations"
    " and tokens. Put it back (is its disk mounted?), or restore a backup (sitechat restore FILE);"
    " to begin anew with an empty store, restart the service"
)


class Opened:
    """A connection that may have to be opened again, and the lock of whoever uses it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # one greenlet may take it, and another one let it go
        self.db: sqlite3.Connection | None = None
        self.inode: int | None = None
        self.is_faulty = False  # it has to be closed when it is no longer used

    def close(self) -> None:
        self.is_faulty = False
        if self.db is not None:
            self.db.close()
            self.db = None


class Connections:
    """All connections that this process has to the file."""

    def __init__(
        self, path: Path, migrations: list[str], patience: Patience, lock: LockFor
    ) -> None:
        self._path = path
        self._migrations = migrations
        self._patience = patience
        # Several, so that whoever waits for the write lock holds up no reader.
        self.writer, self.reader = Opened(), Opened()
        self.mover = Opened()  # moves the log into the file
        self._proof = Proof(path, patience, lock)
        self._had_file = False  # this process has used one, which was whole
        self._is_gone = False  # this is told already

    def close(self) -> None:
        # The last process that closes the file moves the log into it: SQLite does so.
        for connection in (self.writer, self.reader, self.mover):
            with connection.lock:
                connection.close()
        self._had_file = False  # whoever opens it again begins as if it were the first time

    def take(self, connection: Opened, wait: Waiting) -> None:
        """Take the connection's lock, which the caller has to let go."""
        while not connection.lock.acquire(timeout=min(wait.seconds, PATIENCE_SECONDS)):
            if wait.seconds >= PATIENCE_SECONDS or wait.is_over():
                raise StoreLocked("others hold it for too long")

    @contextmanager
    def use(self, connection: Opened) -> Iterator[sqlite3.Connection]:
        """Use the open connection alone. An error closes it, for the next use to open it again."""
        self.take(connection, self._patience.begin())
        try:
            with self.errors_of(connection):
                yield self.connect(connection)
        finally:
            self.let_go(connection)

    def let_go(self, connection: Opened) -> None:
        try:
            if connection.is_faulty:
                connection.close()
        finally:
            connection.lock.release()

    def connect(self, connection: Opened) -> sqlite3.Connection:
        """The open connection; opened again if the path names another file than it did before."""
        if connection.db is not None and inode_of(self._path) == connection.inode:
            return connection.db
        connection.close()
        self.check_not_gone()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        was_empty = make_file(self._path)
        try:
            with self._proof.of_file():
                connection.db = self._open(was_empty)
        except StoreDamaged:
            self._had_file = False  # it may be removed
            raise
        if connection is self.writer:
            # A savepoint keeps the pages that it changes; in a file that takes twice the time.
            connection.db.execute("pragma temp_store = memory")
        connection.inode = inode_of(self._path)
        self._had_file, self._is_gone = True, False
        return connection.db

    def _open(self, was_empty: bool) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            db.row_factory = sqlite3.Row
            wait = self._patience.begin()
            patiently(lambda: db.execute("pragma journal_mode = wal"), wait)
            db.execute("pragma synchronous = full")
            db.execute("pragma foreign_keys = on")
            db.execute("pragma secure_delete = on")  # what was deleted is not left in the file
            db.execute("pragma wal_autocheckpoint = 0")  # `settle` moves the log
            migrate(db, self._path, self._migrations, wait, was_empty)
        except BaseException:
            db.close()
            raise
        return db

    def check_not_gone(self) -> None:
        """Raise StoreGone if there is no file any more: an empty one would hide what was lost."""
        if not self._had_file or (inode_of(self._path) is not None and not is_empty(self._path)):
            return
        if not self._is_gone:
            log.error(GONE, self._path)
        self._is_gone = True
        raise StoreGone(f"{self._path.name} is gone")

    def ask(
        self, connection: Opened, sql: str, values: Sequence[Any] | Mapping[str, Any]
    ) -> list[Any]:
        """The rows that answer a question: as within `use`, at a third of its price."""
        if not connection.lock.acquire(blocking=False):
            self.take(connection, self._patience.begin())
        try:
            db = self.connect(connection)
            try:
                return db.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
            return patiently(lambda: db.execute(sql, values), self._patience.begin()).fetchall()
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except (sqlite3.DatabaseError, OSError) as error:
            raise self._told(connection, error) from error
        finally:
            self.let_go(connection)

    @contextmanager
    def errors_of(self, connection: Opened) -> Iterator[None]:
        """Tell errors in the use of a connection that was taken, as our own."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except (sqlite3.DatabaseError, OSError) as error:
            raise self._told(connection, error) from error

    def _told(self, connection: Opened, error: sqlite3.DatabaseError | OSError) -> StoreUnavailable:
        """The error as our own; the connection is closed when it is let go."""
        connection.is_faulty = True
        code = _code(error)
        if code == sqlite3.SQLITE_READONLY:
            self._close_idle()
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            self._had_file = False  # it may be removed
        return unavailable(error, self._path)

    def _close_idle(self) -> None:
        """Close the connections that nobody uses: the file stays read-only until all are closed."""
        for connection in (self.writer, self.reader, self.mover):
            if connection.lock.acquire(blocking=False):
                connection.close()
                connection.lock.release()


def unavailable(error: sqlite3.DatabaseError | OSError, path: Path) -> StoreUnavailable:
    """An error in the use of a file as our own, with its reason."""
    reason, said, code = f"{type(error).__name__}: {error}", quoted(error), _code(error)
    # SQLite calls only some of what happens on a full disk so.
    full = code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in DISK_FULL
    vague = code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
    if full or (vague and is_disk_full(path.parent)):
        return DiskFull(reason, said)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreLocked(reason, said)
    vague = vague or getattr(error, "errno", None) in (errno.EROFS, errno.EACCES)
    if code == sqlite3.SQLITE_READONLY or (vague and may_only_be_read(path)):
        return StoreReadOnly(reason, said)
    return StoreUnavailable(reason, said)


def _code(error: sqlite3.DatabaseError | OSError) -> int:
    """SQLite's code, without its details; 0 if the error is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
