"""SQLite: one file for all processes of one machine, in WAL with synchronous=FULL.

What a transaction has committed is on the disk. Has connections, transactions, locks and hints;
knows no table but `generations`.
"""

import errno
import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from store import marks
from store.copies import write_copy
from store.database import (
    DISK_FULL,
    DiskFull,
    Hints,
    Lock,
    LockHeld,
    Row,
    StoreGone,
    StoreLocked,
    StoreReadOnly,
    StoreUnavailable,
    is_disk_full,
    may_only_be_read,
    quoted,
)
from store.datagrams import Datagrams
from store.log import (
    PATIENCE_SECONDS,
    Patience,
    StoreDamaged,
    begin_generation,
    inode_of,
    log_bytes,
    move_log,
    patiently,
)
from store.migrate import is_empty, make_file, migrate
from store.proof import Proof
from turns import apart

log = logging.getLogger(__name__)

GONE = (
    "the store is gone: there is no %s any more, or an empty file, and with it all conversations"
    " and tokens. Put it back (is its disk mounted?), or restore a backup (sitechat restore FILE);"
    " to begin anew with an empty store, restart the service"
)
CLOSING_TRIES = 10  # to move the log
LOG_BYTES = 8 << 20  # a longer log is moved into the file even while others write


class FileLock:
    """The file behind a lock, as it was when the lock was taken."""

    def __init__(self, path: Path, file: int) -> None:
        self._path = path
        self._inode = os.fstat(file).st_ino

    def is_held(self) -> bool:
        return inode_of(self._path) == self._inode


class SQLite:
    """A `store.database.Database` in one file."""

    def __init__(self, path: Path, migrations: list[str]) -> None:
        self.path = path
        self._migrations = migrations
        # Two connections, so that a thread that waits for the write lock holds up no reader.
        self._writer = _Connection()
        self._reader = _Connection()
        self._mover = _Connection()  # moves the log into the file
        self._patience = Patience(path)
        self._proof = Proof(path, self._patience, self.lock)
        self._had_file = False  # this process has used one, which was whole
        self._is_gone = False  # this is told already
        self._log_bytes = 0
        self._must_move = False
        self._moves_begun = 0
        self._moved = 0  # the latest move that came to its end
        self._hints: Datagrams | None = None

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
        with self._writer.lock, suppress(sqlite3.Error):
            self._move_log_and_mark()
        # The last process that closes the file moves the log into it: SQLite does so.
        for connection in (self._writer, self._reader, self._mover):
            with connection.lock:
                connection.close()
        self._had_file = False  # whoever opens it again begins as if it were the first time

    def briefly(self, seconds: float) -> AbstractContextManager[None]:
        return self._patience.briefly(seconds)

    def hurry(self) -> None:
        self._patience.hurry()

    def _connect(self, connection: "_Connection") -> sqlite3.Connection:
        """The open connection; opened again if the path names another file than it did before."""
        if connection.db is not None and inode_of(self.path) == connection.inode:
            return connection.db
        connection.close()
        self._check_not_gone()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        was_empty = make_file(self.path)
        try:
            with self._proof.of_file():
                connection.db = self._open(was_empty)
        except StoreDamaged:
            self._had_file = False  # it may be removed
            raise
        connection.inode = inode_of(self.path)
        self._had_file, self._is_gone = True, False
        return connection.db

    def _open(self, was_empty: bool) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            db.row_factory = sqlite3.Row
            wait = self._patience.begin()
            patiently(lambda: db.execute("pragma journal_mode = wal"), wait)
            db.execute("pragma synchronous = full")
            db.execute("pragma foreign_keys = on")
            db.execute("pragma secure_delete = on")  # what was deleted is not left in the file
            db.execute("pragma wal_autocheckpoint = 0")  # `settle` moves the log
            migrate(db, self.path, self._migrations, wait, was_empty)
        except BaseException:
            db.close()
            raise
        return db

    def _check_not_gone(self) -> None:
        """Raise StoreGone if there is no file any more: an empty one would hide what was lost."""
        if not self._had_file or (inode_of(self.path) is not None and not is_empty(self.path)):
            return
        if not self._is_gone:
            log.error(GONE, self.path)
        self._is_gone = True
        raise StoreGone(f"{self.path.name} is gone")

    @contextmanager
    def _errors(self, connection: "_Connection") -> Iterator[None]:
        """Hold the connection. An error closes it, for the next use to open it again."""
        wait = self._patience.begin()
        while not connection.lock.acquire(timeout=min(wait.seconds, PATIENCE_SECONDS)):
            if wait.seconds >= PATIENCE_SECONDS or wait.is_over():
                raise StoreLocked("others hold it for too long")
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except (sqlite3.DatabaseError, OSError) as error:
            connection.close()
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_READONLY:
                self._close_idle()
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                self._had_file = False  # it may be removed
            raise self._unavailable(error) from error
        finally:
            connection.lock.release()

    def _unavailable(self, error: sqlite3.DatabaseError | OSError) -> StoreUnavailable:
        """The error as our own, with its reason."""
        reason, said = f"{type(error).__name__}: {error}", quoted(error)
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        # SQLite calls only some of what happens on a full disk so.
        full = code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in DISK_FULL
        vague = code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
        if full or (vague and is_disk_full(self.path.parent)):
            return DiskFull(reason, said)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreLocked(reason, said)
        vague = vague or getattr(error, "errno", None) in (errno.EROFS, errno.EACCES)
        if code == sqlite3.SQLITE_READONLY or (vague and may_only_be_read(self.path)):
            return StoreReadOnly(reason, said)
        return StoreUnavailable(reason, said)

    def _close_idle(self) -> None:
        """Close the connections that nobody uses: the file stays read-only until all are closed."""
        for connection in (self._writer, self._reader, self._mover):
            if connection.lock.acquire(blocking=False):
                connection.close()
                connection.lock.release()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        with self._errors(self._writer):
            db = self._connect(self._writer)
            patiently(lambda: db.execute("begin immediate"), self._patience.begin())
            try:
                if log_bytes(self.path) == 0:
                    begin_generation(db)
                yield db
                db.execute("commit")
            except BaseException:
                if db.in_transaction:
                    db.execute("rollback")
                raise
        if self._hints is not None:
            self._hints.send()

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
        with self._errors(self._mover):
            if self._moved > begun_before:  # it began while we waited: of many one moves for all
                return True
            db = self._connect(self._mover)
            with self.try_lock("move") as held:
                if held is None:  # another process moves it, or makes a backup
                    return False
                self._moves_begun += 1
                # In a thread of its own: a slow disk must not hold up the other greenlets.
                moved = apart(move_log, db, self.path)
            if moved:
                self._moved = self._moves_begun
            return moved

    def _move_log_and_mark(self) -> None:
        """Before a marked file is closed: what SQLite would move then would leave it unmarked."""
        for _ in range(CLOSING_TRIES):
            db = self._writer.db if self._writer.inode == inode_of(self.path) else None
            if db is None or not log_bytes(self.path) or not marks.marked_state(self.path):
                return
            with suppress(StoreUnavailable), self.try_lock("move") as held:
                if held is not None:
                    apart(move_log, db, self.path)
                    return
            time.sleep(0.02)  # another process moves it, or makes a backup

    def back_up(self, target: Path) -> None:
        with self.lock("move", PATIENCE_SECONDS), self._errors(self._mover):
            os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            db = self._connect(self._mover)
            apart(write_copy, db, target)

    def rows(self, sql: str, *values: object, **named: object) -> list[Row]:
        with self._errors(self._reader):  # writers do not hold it up
            db = self._connect(self._reader)
            wait = self._patience.begin()
            return patiently(lambda: db.execute(sql, named or values), wait).fetchall()

    def row(self, sql: str, *values: object, **named: object) -> Row | None:
        rows = self.rows(sql, *values, **named)
        return rows[0] if rows else None

    def lock_path(self, name: str) -> Path:
        return self.path.parent / f"{name}.lock"

    @contextmanager
    def try_lock(self, name: str) -> Iterator[Lock | None]:
        path = self.lock_path(name)
        if not path.parent.exists():
            self._check_not_gone()  # a new folder would be in the way of whoever puts it back
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise self._unavailable(error) from error
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield FileLock(path, file)
        finally:
            os.close(file)

    @contextmanager
    def lock(self, name: str, patience: float) -> Iterator[None]:
        until = time.monotonic() + patience
        while True:
            with self.try_lock(name) as held:
                if held is not None:
                    yield
                    return
            if time.monotonic() > until:
                raise LockHeld(f"the lock {name} is held by another process")
            time.sleep(0.05)

    def hints(self) -> Hints:
        self._hints = Datagrams(self.path.parent, self._stop_hints)
        return self._hints

    def _stop_hints(self) -> None:
        self._hints = None


class _Connection:
    """A connection that may have to be opened again, and the lock of the thread that uses it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.db: sqlite3.Connection | None = None
        self.inode: int | None = None

    def close(self) -> None:
        if self.db is not None:
            self.db.close()
            self.db = None
