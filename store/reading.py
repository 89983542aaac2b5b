"""SQLite for commands that only look: not one file of the store's folder is made or changed.

The service may run and write meanwhile, or may have been killed. Knows nothing of tables.
"""

import contextlib
import fcntl
import os
import shutil
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

from store.copies import replacing
from store.database import (
    Hints,
    Lock,
    LockHeld,
    NobodysLock,
    OnlyReading,
    Row,
    StoreGone,
    StoreLocked,
    StoreMissing,
    StoreNewer,
    StoreNoFile,
    StoreOlder,
    StoreReadOnly,
    StoreUnavailable,
    is_read_only,
    may_write,
    quoted,
)
from store.log import Patience, address_of, index_of_log, log_bytes, log_of, patiently, prove

T = TypeVar("T")

TRIES = 3
WITH_LOG = "mode=ro&readonly_shm=1"  # somebody has the store open, or was killed
ALONE = "immutable=1"  # nobody has it open: there is no log
WRITERS_BYTE = 120  # of the log's index, which SQLite locks for whoever writes
LOOK_SECONDS = 0.005  # between two looks at that lock
HELD_SECONDS = 1.0  # a lock that is held for so long, and nothing is written


class ReadOnlySQLite:
    """A `store.database.Database` that never writes."""

    def __init__(self, path: Path, version: int | None) -> None:
        """`version` is that of the schema which the callers know; None: they ask of any."""
        self.path = path
        self._version = version
        self._proved: int | None = None  # the file that was proved, by its inode
        self._copy: tempfile.TemporaryDirectory[str] | None = None

    @property
    def place(self) -> str:
        return self.path.parent.name

    @property
    def folder(self) -> Path:
        return self.path.parent

    def open(self) -> None:
        self.rows("select 1")

    def now(self) -> float:
        return time.time()

    def clock_ahead(self) -> float:
        return 0.0  # the file has none of its own

    def check_room(self) -> None:
        """Nothing: the system says what is free."""

    def write_fault(self) -> StoreUnavailable | None:
        """What would keep a service from writing, as far as that can be seen; None if nothing.

        Nothing is written: a short look is taken at the lock that whoever writes must have.
        """
        try:
            if is_read_only(self.path.parent) or not all(
                _owner_may_write(path) for path in (self.path, self.path.parent)
            ):
                return StoreReadOnly(f"{self.path.name} may only be read")
            if self._is_held():
                return StoreLocked(f"another program holds {self.path.name}")
        except OSError as error:
            return StoreUnavailable(f"{type(error).__name__}: {error}", quoted(error))
        return None

    def _is_held(self) -> bool:
        """Whether somebody keeps the lock of writers and does not get on."""
        try:
            # Not through SQLite, which writes into this file as soon as it may. Closing it frees
            # the locks that this process has on it, and it has none: it only reads.
            file = os.open(index_of_log(self.path), os.O_RDONLY)
        except (FileNotFoundError, PermissionError):
            return False  # nobody has the store open; or it is not ours to look at
        with contextlib.closing(os.fdopen(file)):
            wait = Patience(self.path).begin(HELD_SECONDS)
            while True:
                try:
                    fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, WRITERS_BYTE)
                except (BlockingIOError, PermissionError):
                    if wait.is_over():
                        return True
                    time.sleep(LOOK_SECONDS)
                    continue
                fcntl.lockf(file, fcntl.LOCK_UN, 1, WRITERS_BYTE)
                return False

    def close(self) -> None:
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    def rows(self, sql: str, *values: object, **named: object) -> list[Row]:
        def question(db: sqlite3.Connection) -> list[Row]:
            self._compare(_version(db))
            return patiently(lambda: db.execute(sql, named or values)).fetchall()

        return self._ask(question)

    def row(self, sql: str, *values: object, **named: object) -> Row | None:
        rows = self.rows(sql, *values, **named)
        return rows[0] if rows else None

    def _compare(self, version: int) -> None:
        if version == 0:  # SQLite's own first page alone
            raise self._missing()
        if self._version is None:
            return
        if version > self._version:
            raise StoreNewer(self.path.name)
        if version < self._version:
            raise StoreOlder(
                f"{self.path.name} was written by an earlier release: start the service once, it"
                " brings the file up to date"
            )

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask on a connection of its own: what lies beside the file says how it is read."""
        for tries_left in range(TRIES - 1, -1, -1):
            how = ""
            try:
                path, how = self._way()
                answer = self._ask_once(question, path, how)
            except (sqlite3.Error, OSError, StoreUnavailable) as error:
                if tries_left and self._has_changed(how):
                    continue
                if isinstance(error, StoreUnavailable):
                    raise
                text = f"{type(error).__name__}: {error}"
                raise StoreUnavailable(text, quoted(error)) from error
            if not (tries_left and self._has_changed(how)):
                return answer
        raise AssertionError("the last try returns or raises")

    def _way(self) -> tuple[Path, str]:
        """The file that SQLite can read without making another one beside it, and how."""
        if not self.path.exists() or self.path.stat().st_size == log_bytes(self.path) == 0:
            raise self._missing()
        for file in (self.path, log_of(self.path), index_of_log(self.path)):
            if file.exists() and not file.is_file():  # a pipe would never end
                raise StoreNoFile(f"{file.name} is no ordinary file")
        if log_of(self.path).exists() and index_of_log(self.path).exists():
            return self.path, WITH_LOG
        if log_bytes(self.path) == 0:
            return self.path, ALONE
        # A log without its index was left by a crash of the machine, or copied from elsewhere.
        if self._copy is None:
            self._copy = tempfile.TemporaryDirectory(prefix="sitechat-")
            for file in (self.path, log_of(self.path)):
                shutil.copy(file, self._copy.name)
            index_of_log(Path(self._copy.name, self.path.name)).touch()
        return Path(self._copy.name, self.path.name), WITH_LOG

    def _missing(self) -> StoreMissing:
        """That there is no file, or one that holds nothing: a service may have had one."""
        if any(self.path.parent.glob("*.lock")):
            return StoreGone(f"{self.path.name} is gone: a service has run with it before")
        return StoreMissing(f"there is no store at {self.path}")

    def _has_changed(self, how: str) -> bool:
        """Whether somebody has begun to write while the file was read as if nobody did."""
        return how == ALONE and log_of(self.path).exists()

    def _ask_once(self, question: Callable[[sqlite3.Connection], T], path: Path, how: str) -> T:
        inode = path.stat().st_ino
        if self._proved != inode:
            patiently(lambda: prove(path, how))
            self._proved = inode
        address = address_of(path, how)
        with closing(sqlite3.connect(address, uri=True, timeout=0, isolation_level=None)) as db:
            db.row_factory = sqlite3.Row
            return question(db)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        raise OnlyReading
        yield  # the protocol's shape

    def settle(self, at_once: bool = False) -> None:
        """Nothing: the service does it."""

    def briefly(self, seconds: float) -> AbstractContextManager[None]:
        """Nothing: nobody writes."""
        return nullcontext()

    def hurry(self) -> None:
        """Nothing: a look is short."""

    def back_up(self, target: Path) -> None:
        """Write the store, as it is at one moment, into the new file `target`, of any release."""
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        self._ask(replacing(target))

    @contextmanager
    def try_lock(self, name: str) -> Iterator[Lock | None]:
        """Look whether another process holds the lock (None); it is not taken from anybody."""
        try:
            how = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            file = os.open(self.path.parent / f"{name}.lock", how)
        except OSError:
            yield NobodysLock()  # nobody has ever held it, or nobody but others may look
            return
        with contextlib.closing(os.fdopen(file)):
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            fcntl.flock(file, fcntl.LOCK_UN)
            yield NobodysLock()

    @contextmanager
    def lock(self, name: str, patience: float) -> Iterator[Lock]:
        with self.try_lock(name) as free:
            if free is None:
                raise LockHeld(f"the lock {name} is held by another process")
            yield free

    def hints(self) -> Hints:
        raise OnlyReading


def _owner_may_write(path: Path) -> bool:
    """Whether the user to whom the file belongs, who runs the service, may write it."""
    owner = path.stat()
    if owner.st_uid == os.geteuid():
        return may_write(path)
    return owner.st_uid == 0 or bool(owner.st_mode & stat.S_IWUSR)


def _version(db: sqlite3.Connection) -> int:
    return int(patiently(lambda: db.execute("pragma user_version")).fetchone()[0])


def schema_of(path: Path) -> int | None:
    """The version of the schema in a file that a service has open; None if it cannot be read."""
    try:
        with closing(sqlite3.connect(address_of(path, "mode=ro"), uri=True, timeout=0)) as db:
            return _version(db)
    except sqlite3.Error:
        return None
