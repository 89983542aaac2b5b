"""The write-ahead log of an SQLite file: proved to belong to it, and moved into it in time.

SQLite reads whatever log lies beside a file, even that of another copy of the file. So the file
has a generation, and whoever begins a log begins a new one that names the former: a log belongs to
the file in which the former generation is the present one. The file has the log's own generation
where a crash stopped the move; then the file cannot hold later messages than the log. A file that
was copied while the log was moved has pages of two times: sums tell what it lacks. To find
that out is to read all of the file, which is not done where a mark says that nobody else has
changed it since (store/marks.py).
"""

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from store import marks
from store.database import StoreUnavailable, Waiting
from store.in_turn import in_turn
from store.schema import OF_EACH_RELEASE

PROOF_SECONDS = 10.0  # the longest that the proof of a large file may take; the rest is believed
STEPS = 10_000  # of SQLite's machine, between two looks at the clock
HURRY_SECONDS = 0.3  # of patience that are left when the process is about to end
WRITER_SECONDS = 1.0  # with whoever holds the file and does not write, before the log's next move
READERS_MILLISECONDS = 50  # what we read or write takes less
PATIENCE_SECONDS = 5.0  # the longest wait for another process that opens or writes the file

_SUMS = {
    "sum.messages": "select coalesce(sum(revision % 1000003), 0) from messages",
    "sum.deliveries": "select coalesce(sum(id % 1000003), 0) from deliveries",
}

T = TypeVar("T")


class StoreDamaged(StoreUnavailable):
    """The file must not be used: a person has to decide what to do with it."""


class StoreMixed(StoreDamaged):
    """The file and the log beside it are of different times."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path.name} and {log_of(path).name} are of different times: put back both as they"
            f" were together, or only {path.name}, without the other files of that name"
        )


class StoreForeign(StoreDamaged):
    """An SQLite file of another program: whatever is in it is not ours to change."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path.name} is no store of this program: put the store, or a backup, in its place"
        )


@dataclass(frozen=True)
class Generation:
    current: str
    previous: str
    revision: int  # of the latest change of any message


def is_busy(error: sqlite3.OperationalError) -> bool:
    """Whether another process reads or writes the file just now."""
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def index_of_log(path: Path) -> Path:
    """The file by which all who have the store open find their way in the log."""
    return path.with_name(f"{path.name}-shm")


def inode_of(path: Path) -> int | None:
    """The number of the file that a path names now; None if there is no file."""
    try:
        return path.stat().st_ino
    except (FileNotFoundError, NotADirectoryError):
        return None


def log_bytes(path: Path) -> int:
    try:
        return log_of(path).stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0


def prove(path: Path, how: str = "mode=ro") -> bool:
    """Raise StoreDamaged if the file is damaged, or if the log beside it is that of another.

    Returns whether the file had to be read as a whole: it is not where it is as it was marked.

    Writes nothing, so that whatever is found can still be mended. `how` SQLite opens the file.
    """
    try:
        return _prove(path, how)
    except sqlite3.OperationalError:
        raise  # locked, say, or no rights
    except sqlite3.DatabaseError as error:
        if log_bytes(path) and _is_whole(path):
            raise StoreMixed(path) from None
        text = f"{path.name} is damaged ({error}): put a backup in its place"
        said = "" if isinstance(error, _Incomplete) else str(error)
        raise StoreDamaged(text, said) from None


def _is_whole(path: Path) -> bool:
    """Whether the file is, without the log beside it."""
    try:
        with closing(sqlite3.connect(address_of(path, "immutable=1"), uri=True)) as file:
            return bool(file.execute("pragma quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.DatabaseError:
        return False


def address_of(path: Path, how: str) -> str:
    """The address of a file for SQLite, with how it is opened."""
    return f"file:{quote(str(path))}?{how}"


def _prove(path: Path, how: str) -> bool:
    # The log first: whoever makes a new file writes the file before the log.
    if log_bytes(path) and path.stat().st_size == 0:  # SQLite would remove the log
        raise StoreMixed(path)
    with closing(sqlite3.connect(address_of(path, how), uri=True, isolation_level=None)) as db:
        if _fits_its_mark(db, path):
            return False
        until = time.monotonic() + PROOF_SECONDS
        db.set_progress_handler(lambda: time.monotonic() > until, STEPS)
        try:
            # What a mixture lacks is sometimes missing in an index alone.
            [first] = db.execute("pragma integrity_check(1)").fetchone()
            if first == "ok" and not _has_everything(db):
                raise _Incomplete("messages are missing")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            return True
        if first != "ok":
            raise sqlite3.DatabaseError(first.splitlines()[-1])
        return True


class _Incomplete(sqlite3.DatabaseError):
    """SQLite finds the file whole, and messages are missing in it."""


def _is_foreign(db: sqlite3.Connection) -> bool:
    """Whether the file holds something, and no release of this program has made it."""
    version = db.execute("pragma user_version").fetchone()[0]
    names = {name for (name,) in db.execute("select name from sqlite_master")}
    if not names:  # a new store; or an empty file that another program has marked as its own
        return bool(version)
    return version == 0 or not names >= OF_EACH_RELEASE


def _belong_together(in_file: Generation | None, with_log: Generation | None) -> bool:
    """Whether the log was written after this file; None: a file of an earlier release."""
    if in_file is None or with_log is None:
        return with_log is None or not with_log.previous
    if in_file.current == with_log.current:
        return in_file.revision <= with_log.revision
    return in_file.current == with_log.previous


def _has_everything(db: sqlite3.Connection) -> bool:
    """Whether all messages and deliveries are there, in their latest state.

    A file that was copied while the log was moved has pages of two times; SQLite sees that only
    where one of them refers to the other. The sums are kept by the schema's triggers.
    """
    sums = _rows(db, "select key, value from meta where key like 'sum.%'")
    return all(int(value) == db.execute(_SUMS[key]).fetchone()[0] for key, value in sums)


def _generation_alone(path: Path) -> Generation | None:
    """The generation in the file, without its log.

    Where the log was moved in part, because the disk was full or the machine stopped, the file's
    first page may count pages that are still in the log alone. SQLite reads such a file only where
    it may also write the schema, which nobody does here.
    """
    with closing(sqlite3.connect(address_of(path, "immutable=1"), uri=True)) as file:
        file.execute("pragma writable_schema = on")
        return _generation(file)


def _generation(db: sqlite3.Connection) -> Generation | None:
    rows = _rows(
        db, "select current, previous, value from generations, meta where key = 'revision'"
    )
    return Generation(rows[0][0], rows[0][1], int(rows[0][2])) if rows else None


def _rows(db: sqlite3.Connection, sql: str) -> list[Any]:
    """What is found; nothing in an empty file, or in one of an earlier release."""
    try:
        return db.execute(sql).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return []


def _fits_its_mark(db: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is as marked; if it is not, the transaction in which we looked is open.

    Others may move the log and begin the next one while we look: what we have read, the mark and
    the log are of different times then, so we look again.
    """
    log, until = log_of(path), time.monotonic() + marks.LATE_SECONDS
    while True:
        before = marks.seen(path, log)
        generation = _begin_proof(db, path)
        if generation is not None and marks.fits(path, log, generation.current):
            return True
        is_late = marks.state_of(path) is None or time.monotonic() > until
        if is_late or not (marks.is_awaited(path) or before != marks.seen(path, log)):
            return False
        db.execute("rollback")
        time.sleep(marks.TICK_SECONDS)


def _begin_proof(db: sqlite3.Connection, path: Path) -> Generation | None:
    """Begin to read; the generation that the file has together with its log."""
    db.execute("begin")
    db.execute("pragma user_version")  # while we read, nobody can end the log and begin another
    with_log = _generation(db)
    if log_bytes(path) and not _belong_together(_generation_alone(path), with_log):
        raise StoreMixed(path)
    if _is_foreign(db):
        raise StoreForeign(path)
    return with_log


def begin_generation(db: sqlite3.Connection) -> None:
    """Begin a new generation, in the first transaction of a log."""
    path = Path(db.execute("pragma database_list").fetchone()[2])
    name = f"{marks.name_of(path)}{secrets.token_hex(8)}"
    db.execute("update generations set previous = current, current = ?", (name,))


def move_log(db: sqlite3.Connection, path: Path) -> bool:
    """Move the log into the file and empty it; False if somebody reads or writes for longer.

    SQLite moves a part where somebody reads an earlier state. A file with a part of the log fits an
    earlier copy of that log badly, and nothing in it tells; so SQLite waits for the readers first.
    Call it in a thread of its own: that wait is not gevent's.
    """
    try:
        marked = marks.marked_state(path)
        db.execute(f"pragma busy_timeout = {READERS_MILLISECONDS}")
        try:
            busy, pages, moved = db.execute("pragma wal_checkpoint(truncate)").fetchone()
        finally:
            db.execute("pragma busy_timeout = 0")
        if busy and moved == pages:
            # Somebody still reads the log. Who writes next may begin it anew, and cannot know it.
            _begin_to_write(db, path)
            begin_generation(db)
            db.execute("commit")
        if marked and marked[:2] == (marks.state_of(path) or [])[:2] and moved >= 0:
            is_whole = not busy or moved == pages
            marks.set_mark(path, log_of(path), moved, is_whole, _nobody_writes(db, path))
    except sqlite3.OperationalError as error:
        if not is_busy(error):
            raise
        return False
    return not busy


def _begin_to_write(db: sqlite3.Connection, path: Path) -> None:
    with in_turn(path.parent):
        patiently(lambda: db.execute("begin immediate"), Patience(path).begin(WRITER_SECONDS))


@contextmanager
def _nobody_writes(db: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Within it nobody writes, unless somebody holds the file for too long."""
    try:
        _begin_to_write(db, path)
    except sqlite3.OperationalError as error:
        if not is_busy(error):
            raise
    try:
        yield
    finally:
        if db.in_transaction:
            db.execute("rollback")


class Patience:
    """How long those who use one file wait for others who hold it: PATIENCE_SECONDS at most."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.ends_at = float("inf")  # on the monotonic clock: the process is about to end
        # Each greenlet, and each thread, has its own.
        self._brief: ContextVar[float | None] = ContextVar("brief", default=None)

    @contextmanager
    def briefly(self, seconds: float) -> Iterator[None]:
        """Wait only so long, unless the others get on: a store in heavy use is not held."""
        former = self._brief.set(seconds)
        try:
            yield
        finally:
            self._brief.reset(former)

    def hurry(self) -> None:
        self.ends_at = min(self.ends_at, time.monotonic() + HURRY_SECONDS)

    def begin(self, brief: float | None = None) -> "Wait":
        return Wait(self, self._brief.get() if brief is None else brief)

    def written(self) -> tuple[int, int] | None:
        """What changes when anybody writes."""
        try:
            log = log_of(self._path).stat()
        except OSError:
            return None
        return log.st_size, log.st_mtime_ns


class Wait:
    """One wait for others."""

    def __init__(self, patience: Patience, brief: float | None) -> None:
        self._patience = patience
        self.seconds = PATIENCE_SECONDS if brief is None else min(brief, PATIENCE_SECONDS)
        self._until = time.monotonic() + PATIENCE_SECONDS
        self._look_at = time.monotonic() + self.seconds
        self._written = patience.written() if self._look_at < self._until else None

    def is_over(self) -> bool:
        now = time.monotonic()
        if now > min(self._until, self._patience.ends_at):
            return True
        if now < self._look_at:
            return False
        before, self._written = self._written, self._patience.written()
        self._look_at = now + self.seconds
        return before == self._written  # else somebody has written meanwhile


def patiently(execute: Callable[[], T], wait: Waiting | None = None) -> T:
    """Repeat while another process locks the file; SQLite's own wait would stop all greenlets."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return execute()
        except sqlite3.OperationalError as error:
            is_over = wait.is_over() if wait is not None else time.monotonic() > until
            if is_over or not is_busy(error):
                raise
        time.sleep(0.002)
