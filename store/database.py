"""What the store needs of a database: transactions, rows, locks, and hints to other processes."""

import errno
import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

# What the system says of a full disk, of a used-up quota, and of a file as large as it may get.
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
PROBE_BYTES = 64 << 10

P = ParamSpec("P")
R = TypeVar("R")


class StoreUnavailable(Exception):
    """The store cannot be read or written now; nothing of the call was kept.

    The text is for the log. `said` is what SQLite or the system says, where it was asked: a reader
    of any language gets that alone, as a quotation. `place` names what cannot be used, where that
    is not the store of `storage.url`.
    """

    place = ""
    place_on_server = False

    def __init__(self, text: str = "", said: str = "") -> None:
        super().__init__(text)
        self.said = said

    def of(self, place: str, on_server: bool = False) -> Self:
        """The same, of another place."""
        self.place, self.place_on_server = place, on_server
        return self


class DiskFull(StoreUnavailable):
    """There is no room on the disk; nothing of the call was kept."""


class StoreReadOnly(StoreUnavailable):
    """The file may only be read, or the whole disk may."""


class StoreLocked(StoreUnavailable):
    """Somebody else holds the file, so that nothing can be written; it can be read."""


class LockHeld(StoreUnavailable):
    """Another process holds the lock for longer than we wait."""


class StoreMissing(StoreUnavailable):
    """There is no store yet: the service has never run with these settings."""


class StoreGone(StoreMissing):
    """There was a store and is no file any more; the service makes no other one by itself."""


class StoreOlder(StoreUnavailable):
    """An earlier release wrote the file; the service brings it up to date when it starts."""


class StoreNewer(StoreUnavailable):
    """A newer release wrote the file: this one must leave it alone."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} was written by a newer release of this program: use that release, or put back"
            " the copy that it made before it changed the file"
        )


class StoreNoFile(StoreUnavailable):
    """A folder, say, or a pipe has the name of one of the store's files."""


class ServerUnusable(StoreUnavailable):
    """The server of the store cannot be used until it or `storage.url` is changed.

    `reason` is a key of `store.postgresql_faults.REASONS`.
    """

    def __init__(self, reason: str, text: str, said: str = "") -> None:
        super().__init__(text, said)
        self.reason = reason


class OnlyReading(StoreUnavailable):
    """Somebody tried to write; the store was opened to be read."""

    def __init__(self) -> None:
        super().__init__("the store was opened to be read only")


def quoted(error: Exception) -> str:
    """What the system or SQLite says of an error, without our names of paths and classes."""
    if isinstance(error, OSError):
        return error.strerror or ""
    return str(error)


def is_disk_full(folder: Path) -> bool:
    """Whether the disk of a folder takes nothing more, by trying: a library may not say why."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE_BYTES))
    except OSError as error:
        return error.errno in DISK_FULL
    return False


def is_read_only(folder: Path) -> bool:
    """Whether the whole disk of a folder may only be read."""
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def may_write(path: Path) -> bool:
    """Whether this process, as the user that it is now, may write a file, or into a folder."""
    effective = os.access in os.supports_effective_ids
    return os.access(path, os.W_OK | (os.X_OK if path.is_dir() else 0), effective_ids=effective)


def may_only_be_read(file: Path) -> bool:
    """Whether this process may read a file, and may not write it or beside it."""
    if is_read_only(file.parent):
        return True
    may_read = file.exists() and os.access(file, os.R_OK)
    return may_read and not (may_write(file) and may_write(file.parent))


class Row(Protocol):
    """A row of a result: the values by the names of the columns."""

    def __getitem__(self, key: str, /) -> Any: ...
    def keys(self) -> list[str]: ...


class Cursor(Protocol):
    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """A connection within a transaction. `values` replace each `?`, or by name each `:name`."""

    def execute(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = (), /) -> Cursor: ...


class Waiting(Protocol):
    """How long one caller waits for others."""

    @property
    def seconds(self) -> float:
        """Until it is worth looking whether the wait is over."""
        ...

    def is_over(self) -> bool: ...


class Lock(Protocol):
    """A lock that this process holds across all processes of all hosts."""

    def is_held(self) -> bool:
        """Whether we still hold it, as far as this process can tell without asking anybody.

        An administrator may have removed the file behind the lock; a lease may be over.
        """
        ...

    def is_held_now(self) -> bool:
        """Whether we still hold it, by asking whoever gave it."""
        ...


class NobodysLock:
    """What a look at a lock gives when nobody holds it."""

    def is_held(self) -> bool:
        return False

    def is_held_now(self) -> bool:
        return False


class Hints(Protocol):
    """Hints between the processes of one store: "read the store now". Any hint may be lost."""

    def wait(self, seconds: float) -> None:
        """Return at the next hint, or after `seconds`."""
        ...

    def wake(self) -> None:
        """Let this process's `wait` return at once."""
        ...

    def close(self) -> None: ...


class Database(Protocol):
    """Safe to share between threads and greenlets. Every method raises StoreUnavailable while the
    database cannot be used, and works again once it can."""

    @property
    def place(self) -> str:
        """Where the database is, for the administrator who has to mend it; without secrets."""
        ...

    @property
    def folder(self) -> Path:
        """Where copies of the store are kept, beside it."""
        ...

    def open(self) -> None:
        """Make what is missing and bring the schema up to date."""
        ...

    def close(self) -> None: ...

    def write(self) -> AbstractContextManager[Connection]:
        """One write transaction: all that is done with the connection, or nothing of it."""
        ...

    def briefly(self, seconds: float) -> AbstractContextManager[None]:
        """Within it whoever writes waits about so long for others, unless these get on."""
        ...

    def hurry(self) -> None:
        """The process is about to end: from now on nobody waits long for others."""
        ...

    def check_room(self) -> None:
        """Raise DiskFull where a few bytes may still find room, and no message would."""
        ...

    def write_fault(self) -> StoreUnavailable | None:
        """What would keep a service from writing, as far as that can be seen; None if nothing.

        For whoever only reads: a service finds out by writing.
        """
        ...

    def now(self) -> float:
        """Unix seconds by the one clock of all hosts that use the store; asks nobody."""
        ...

    def clock_ahead(self) -> float:
        """Seconds that this host's clock is ahead of that of the database."""
        ...

    def back_up(self, target: Path) -> None:
        """Write the whole store, as it is at one moment, into the new file `target`.

        Its epoch is empty: whoever works with it later knows that it is a copy.
        """
        ...

    def settle(self, at_once: bool = False) -> None:
        """Called every second: bring the files into a state in which they can be copied.

        `at_once`: also while others write, because something was deleted for good.
        """
        ...

    def rows(self, sql: str, *values: object, **named: object) -> list[Row]: ...

    def row(self, sql: str, *values: object, **named: object) -> Row | None: ...

    def try_lock(self, name: str) -> AbstractContextManager[Lock | None]:
        """Hold the lock `name` across all processes; None when another process has it now.

        A process that dies loses the lock at once. One that hangs, or no longer reaches a server,
        loses a server's lock some seconds later, and keeps the lock of a file.
        """
        ...

    def lock(self, name: str, patience: float) -> AbstractContextManager[Lock]:
        """As `try_lock`, but waits for `patience` seconds at most, then raises LockHeld."""
        ...

    def hints(self) -> Hints:
        """From now on get a hint for each write of any process, and send one for each of ours."""
        ...


@contextmanager
def patient_lock(
    try_lock: Callable[[str], AbstractContextManager[Lock | None]], name: str, patience: float
) -> Iterator[Lock]:
    """Hold a lock; raises LockHeld if somebody else holds it for `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        with try_lock(name) as held:
            if held is not None:
                yield held
                return
        if time.monotonic() > until:
            raise LockHeld(f"the lock {name} is held by another process")
        time.sleep(0.05)


class Group:
    """A group of tables of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def database(self) -> Database:
        return self._database


G = TypeVar("G", bound=Group)


def transaction(
    method: Callable[Concatenate[G, Connection, P], R],
) -> Callable[Concatenate[G, P], R]:
    """Run the method in one write transaction, given its connection: all of it or nothing."""

    @functools.wraps(method)
    def wrapper(self: G, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.database.write() as db:
            return method(self, db, *args, **kwargs)

    return wrapper
