"""SQLite: one file for all processes of one machine, in WAL with synchronous=FULL.

What a transaction has committed is on the disk. Has connections, transactions, locks and hints;
knows no table.
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

from store.database import (
    DISK_FULL,
    DiskFull,
    Hints,
    Lock,
    LockHeld,
    Row,
    StoreUnavailable,
    is_disk_full,
)

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0  # the longest wait for another process that opens or writes the file
FOLDER_LIMIT = 64  # bytes of its path; the path of a socket in it may have 103 (macOS)
DESCRIPTORS = Path("/proc/self/fd")  # on Linux each open folder has a short path in here


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
        # Two connections, so that a thread that waits for the write lock holds up no reader.
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
        """The open connection; opened again if the path names another file than it did before."""
        if connection.db is not None and _inode(self.path) == connection.inode:
            return connection.db
        connection.close()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # We create the file ourselves, so that other users can never read tokens and texts. We do
        # not open an existing file: closing it would release all SQLite locks of our process.
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
        """Hold the connection. An error closes it, for the next use to open it again."""
        if not connection.lock.acquire(timeout=PATIENCE_SECONDS):
            raise StoreUnavailable("another thread uses the connection for too long")
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except (sqlite3.DatabaseError, OSError) as error:
            connection.close()
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY:
                self._close_idle()
            raise self._unavailable(error) from error
        finally:
            connection.lock.release()

    def _unavailable(self, error: sqlite3.DatabaseError | OSError) -> StoreUnavailable:
        """The error as our own, with its reason."""
        reason = f"{type(error).__name__}: {error}"
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        # SQLite calls only some of what happens on a full disk so.
        full = code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in DISK_FULL
        vague = code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
        if full or (vague and is_disk_full(self.path.parent)):
            return DiskFull(reason)
        return StoreUnavailable(reason)

    def _close_idle(self) -> None:
        """Close the connections that nobody uses: the file stays read-only until all are closed."""
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


class Datagrams:
    """Hints as datagrams: each process has a socket of its own in the store's folder."""

    def __init__(self, folder: Path, on_close: Callable[[], None]) -> None:
        self._on_close = on_close
        self._opened = contextlib.ExitStack()
        # Not named by the process id: in a container a restarted process often has the same id.
        self._path = Path(os.path.relpath(folder)) / f"live-{secrets.token_hex(8)}.sock"
        # Two sockets: while one greenlet waits for a datagram, no other may use that socket.
        self._receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender.setblocking(False)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if len(os.fsencode(self._path.parent)) > FOLDER_LIMIT:
                self._path = self._shortened(folder) / self._path.name
            self._receiver.bind(str(self._path))
        except OSError as error:
            log.warning("answers appear up to 1 s later: no socket at %s: %s", self._path, error)

    def _shortened(self, folder: Path) -> Path:
        """A short path to the folder, however long its own is; OSError where there is none."""
        if not DESCRIPTORS.is_dir():
            raise OSError("the folder's path is too long")
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._opened.callback(os.close, number)
        return DESCRIPTORS / str(number)

    def wait(self, seconds: float) -> None:
        """Return at the next hint, or after `seconds`; hints that wait together count as one."""
        try:
            self._receiver.settimeout(seconds)
            self._receiver.recv(1)
            self._receiver.settimeout(0)
            while True:
                self._receiver.recv(1)
        except OSError:  # no hint came, or no further one waits
            return

    def send(self) -> None:
        """Send a hint to every process, this one included."""
        for path in self._path.parent.glob("live-*.sock"):
            try:
                self._sender.sendto(b"!", str(path))
            except ConnectionRefusedError:  # the socket's process has died
                with contextlib.suppress(OSError):  # the folder may not be writable now
                    path.unlink(missing_ok=True)
            except OSError:
                continue  # the socket's buffer is full: its process has hints to read

    def close(self) -> None:
        self._on_close()
        self._receiver.close()
        self._sender.close()
        with contextlib.suppress(OSError):  # the folder may not be writable now
            self._path.unlink(missing_ok=True)
        self._opened.close()


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


def _inode(path: Path) -> int | None:
    """The number of the file that a path names now; None if there is no file."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _patiently(execute: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
    """Repeat while another process locks the file; SQLite's own wait would stop all greenlets."""
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
    # Read outside a transaction, so that a new connection need not wait for a writer.
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
        if db.in_transaction:  # SQLite ends it itself where the disk is full
            db.execute("rollback")
        raise
