"""SQLite: one file for all processes of one machine, in WAL with synchronous=FULL.

What a transaction has committed is on the disk. Connections, transactions, locks and hints; knows
no table.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from store.database import Hints, Lock, LockHeld, Row, StoreUnavailable

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0  # with another process that is opening or writing
FOLDER_LIMIT = 64  # bytes of its path: leaves a socket's name room in any system's address
DESCRIPTORS = Path("/proc/self/fd")  # where Linux knows an open folder by its number


class FileLock:
    """The file behind a lock, as it was when the lock was taken."""

    def __init__(self, path: Path, file: int) -> None:
        self._path = path
        self._inode = os.fstat(file).st_ino

    def is_held(self) -> bool:
        return _inode(self._path) == self._inode


class SQLite:
    """A `store.database.Database` in one file."""

    def __init__(self, path: Path, migrations: list[str]) -> None:
        self.path = path
        self._migrations = migrations
        # Two connections: whoever waits for the write lock holds up no reader.
        self._writer = _Connection()
        self._reader = _Connection()
        self._hints: Datagrams | None = None

    @property
    def place(self) -> str:
        return self.path.parent.name

    def open(self) -> None:
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
        if self._hints is not None:
            self._hints.send()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with; writers do not hold it up."""
        with self._errors(self._reader):
            yield self._connect(self._reader)

    def rows(self, sql: str, *values: object, **named: object) -> list[Row]:
        with self.read() as db:
            return _patiently(lambda: db.execute(sql, named or values)).fetchall()

    def row(self, sql: str, *values: object, **named: object) -> Row | None:
        rows = self.rows(sql, *values, **named)
        return rows[0] if rows else None

    def lock_path(self, name: str) -> Path:
        return self.path.parent / f"{name}.lock"

    @contextmanager
    def try_lock(self, name: str) -> Iterator[Lock | None]:
        path = self.lock_path(name)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
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


class Datagrams:
    """Hints as datagrams, each process with a socket of its own in the folder of the store."""

    def __init__(self, folder: Path, at_end: Callable[[], None]) -> None:
        self._at_end = at_end
        self._opened = contextlib.ExitStack()
        # Not by process number: a container's next process has the number of the one killed.
        self._path = Path(os.path.relpath(folder)) / f"live-{secrets.token_hex(8)}.sock"
        # Not one for both: while a greenlet waits on a socket, no other may use it.
        self._inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._outbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._outbox.setblocking(False)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if len(os.fsencode(self._path.parent)) > FOLDER_LIMIT:
                self._path = self._shortened(folder) / self._path.name
            self._inbox.bind(str(self._path))
        except OSError as error:
            log.warning("replies take a second longer, no socket at %s: %s", self._path, error)

    def _shortened(self, folder: Path) -> Path:
        """Another way to the folder, however deep it lies; OSError where the system has none."""
        if not DESCRIPTORS.is_dir():
            raise OSError("its path is too long")
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._opened.callback(os.close, number)
        return DESCRIPTORS / str(number)

    def wait(self, seconds: float) -> None:
        """Return at the next hint, or after `seconds`; all that have come are taken together."""
        try:
            self._inbox.settimeout(seconds)
            self._inbox.recv(1)
            self._inbox.settimeout(0)
            while True:
                self._inbox.recv(1)
        except OSError:  # nothing (more) came
            return

    def send(self) -> None:
        """Tell every process, this one too."""
        for path in self._path.parent.glob("live-*.sock"):
            try:
                self._outbox.sendto(b"!", str(path))
            except ConnectionRefusedError:  # its process has died
                with contextlib.suppress(OSError):  # the folder may not be writable now
                    path.unlink(missing_ok=True)
            except OSError:
                continue  # its inbox is full: it looks soon enough

    def close(self) -> None:
        self._at_end()
        self._inbox.close()
        self._outbox.close()
        with contextlib.suppress(OSError):  # the folder may not be writable now
            self._path.unlink(missing_ok=True)
        self._opened.close()


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
    # Outside a transaction: a new connection need not wait while another one writes.
    version = _patiently(lambda: db.execute("pragma user_version")).fetchone()[0]
    if version == len(migrations):
        return
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
