"""All rows of a store, from one database into another, and the proof that they are all there.

Tables and columns are those of `schema.py`. What belongs to SQLite's file alone stays behind: its
generations and its sums.
"""

import functools
import hashlib
import os
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from store.connections import unavailable
from store.log import begin_generation
from store.schema import MIGRATIONS, statements

PIECE = 500  # rows in memory at once
LARGE = {"pieces": 8}  # the same of tables with large rows
OF_THE_FILE = {"generations", "sqlite_sequence"}
OWN_KEYS = "key not like 'sum.%'"  # of `meta`: the others are kept by the file itself
MOVED = "moved"  # the note that a store was moved away: it stays with that store
# What a store has that nobody has used yet: it is replaced when the store is filled.
OF_A_NEW_STORE = {"meta": f"delete from meta where {OWN_KEYS}", "releases": "delete from releases"}  # noqa: S608


@dataclass(frozen=True)
class Column:
    name: str
    type: str  # "text", "integer", "real" or "blob"
    is_needed: bool  # it may not be null
    has_default: bool
    is_key: bool


@functools.cache
def tables() -> dict[str, list[Column]]:
    """All tables in an order in which what a row refers to comes before it, with their columns."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        make_schema(db)
        names = [
            name
            for (name,) in db.execute("select name from sqlite_master where type = 'table'")
            if name not in OF_THE_FILE
        ]
        return {
            name: [
                Column(column, kind.lower(), bool(needed), default is not None, bool(key))
                for _, column, kind, needed, default, key in db.execute(
                    f"pragma table_info({name})"
                )
            ]
            for name in names
        }


def make_schema(db: sqlite3.Connection) -> None:
    for script in MIGRATIONS:
        for statement in statements(script):
            db.execute(statement)
    db.execute(f"pragma user_version = {len(MIGRATIONS)}")


def columns_of(table: str) -> dict[str, Column]:
    return {column.name: column for column in tables()[table]}


def select(table: str) -> str:
    names = ", ".join(columns_of(table))
    where = f" where {OWN_KEYS} and key <> 'note.{MOVED}'" if table == "meta" else ""
    return f"select {names} from {table}{where}"  # noqa: S608


Row = tuple[Any, ...]
NUMBERED = {"deliveries": "id", "deletions": "number"}  # tables whose numbers the database gives


def at_once(table: str) -> int:
    """How many rows of a table are in memory at once."""
    return LARGE.get(table, PIECE)


class Source(Protocol):
    """The rows of a store at one moment."""

    def read(self, table: str) -> Iterator[Row]: ...

    def latest(self, table: str) -> int:
        """The latest number that was given in a table of NUMBERED."""
        ...


class Target(Source, Protocol):
    """The rows of a store that is to be filled, in one transaction."""

    def is_empty(self) -> bool: ...

    def fill(self, table: str, rows: Iterable[Row]) -> None: ...

    def go_on_after(self, table: str, number: int) -> None:
        """Give no number up to this one in a table of NUMBERED."""
        ...


@dataclass
class Sum:
    """How many rows a table has, and a digest of all that is in them, in whatever order."""

    rows: int = 0
    digest: int = 0

    def of(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            digest = hashlib.blake2b(repr(row).encode(), digest_size=16).digest()
            self.digest = (self.digest + int.from_bytes(digest)) % 2**128
            self.rows += 1
            yield row


def move_rows(source: Source, target: Target) -> Iterator[tuple[str, Sum, Sum]]:
    """Move table after table; gives each one's sum in the source, and read again in the target."""
    for table in tables():
        there, here = Sum(), Sum()
        target.fill(table, there.of(source.read(table)))
        deque(here.of(target.read(table)), maxlen=0)
        yield table, there, here
    for table in NUMBERED:
        target.go_on_after(table, source.latest(table))


# What a store holds that somebody has used.
CONTENT = "select 1 from chats union all select 1 from portal union all select 1 from deletions"


class FileRows:
    """The rows of an SQLite file."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def read(self, table: str) -> Iterator[Row]:
        cursor = self._db.execute(select(table))
        while rows := cursor.fetchmany(at_once(table)):
            yield from (fit(row) for row in rows)

    def latest(self, table: str) -> int:
        found = self._db.execute("select seq from sqlite_sequence where name = ?", (table,))
        row = found.fetchone()
        return int(row[0]) if row else 0

    def is_empty(self) -> bool:
        return self._db.execute(CONTENT).fetchone() is None

    def fill(self, table: str, rows: Iterable[Row]) -> None:
        if table in OF_A_NEW_STORE:
            self._db.execute(OF_A_NEW_STORE[table])
        places = ", ".join("?" * len(tables()[table]))
        self._db.executemany(f"insert into {table} values ({places})", rows)  # noqa: S608

    def go_on_after(self, table: str, number: int) -> None:
        self._db.execute("delete from sqlite_sequence where name = ?", (table,))
        self._db.execute("insert into sqlite_sequence values (?, ?)", (table, number))


def fit(row: Row) -> Row:
    """A row without the one letter that not every database can keep."""
    return tuple(without_nul(value) if isinstance(value, str) else value for value in row)


def without_nul(text: str) -> str:
    return text.replace("\0", "\ufffd") if "\0" in text else text


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Tell SQLite's errors in the use of a file as our own."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.DatabaseError as error:
        raise unavailable(error, path) from error


@contextmanager
def new_file(path: Path) -> Iterator[sqlite3.Connection]:
    """A new file with the schema and nothing else, to be filled; it belongs to no log then.

    After an error nothing of it is there. Raises StoreUnavailable and OSError.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        # The error is told before the file is closed, which may make room on a full disk again.
        with closing(sqlite3.connect(path, isolation_level=None)) as db, file_errors(path):
            db.execute("begin")
            make_schema(db)
            yield db
            begin_generation(db)
            db.execute("update generations set previous = ''")
            db.execute("commit")
    except BaseException:
        remove_file(path)
        raise


def remove_file(path: Path) -> None:
    """Remove what `new_file` has made, with the journal that SQLite may leave beside it."""
    for one in (path, path.with_name(f"{path.name}-journal")):
        one.unlink(missing_ok=True)


def write_copy_of(source: Source, target: Path) -> None:
    """Write all rows into the new file `target`, as a copy, which has no epoch."""
    with new_file(target) as db:
        deque(move_rows(source, FileRows(db)), maxlen=0)
        db.execute("update meta set value = '' where key = 'epoch'")
