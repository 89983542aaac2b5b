"""All rows of a store, from one database into another, and the proof that they are all there.

Tables and columns are those of `schema.py`. What belongs to SQLite's file alone stays behind: its
generations and its sums.
"""

import functools
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.log import begin_generation
from store.schema import MIGRATIONS, statements

if TYPE_CHECKING:
    from store.postgresql_link import Session

PIECE = 500  # rows in memory at once
OF_THE_FILE = {"generations", "sqlite_sequence"}
OWN_KEYS = "key not like 'sum.%'"  # of `meta`: the others are kept by the file itself


@dataclass(frozen=True)
class Column:
    name: str
    type: str  # "text", "integer" or "real"
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
    where = f" where {OWN_KEYS}" if table == "meta" else ""
    return f"select {names} from {table}{where}"  # noqa: S608


Rows = Iterator[tuple[Any, ...]]
Reader = Callable[[str], Rows]


@dataclass
class Sum:
    """How many rows a table has, and a digest of all that is in them, in whatever order."""

    rows: int = 0
    digest: int = 0

    def of(self, rows: Iterable[tuple[Any, ...]]) -> Rows:
        for row in rows:
            digest = hashlib.blake2b(repr(row).encode(), digest_size=16).digest()
            self.digest = (self.digest + int.from_bytes(digest)) % 2**128
            self.rows += 1
            yield row


def sums_of(read: Reader) -> dict[str, Sum]:
    found = {}
    for table in tables():
        found[table] = Sum()
        for _ in found[table].of(read(table)):
            pass
    return found


# -- SQLite


def rows_of_file(db: sqlite3.Connection, table: str) -> Rows:
    cursor = db.execute(select(table))
    while rows := cursor.fetchmany(PIECE):
        yield from rows


def fill_file(db: sqlite3.Connection, read: Reader) -> dict[str, Sum]:
    """Put all rows into a file that has the schema and nothing else; returns what was read."""
    db.execute(f"delete from meta where {OWN_KEYS}")  # noqa: S608
    found = {}
    for table, columns in tables().items():
        places = ", ".join("?" * len(columns))
        found[table] = Sum()
        db.executemany(f"insert into {table} values ({places})", found[table].of(read(table)))  # noqa: S608
    return found


def write_copy_of(session: "Session", target: Path) -> None:
    """Write what a session sees into the new SQLite file `target`, as a copy without an epoch."""
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(target, isolation_level=None)) as db:
        db.execute("begin")
        make_schema(db)
        fill_file(db, lambda table: rows_of_session(session, table))
        begin_generation(db)
        db.execute("update generations set previous = ''")
        db.execute("update meta set value = '' where key = 'epoch'")
        db.execute("commit")


# -- PostgreSQL


def rows_of_session(session: "Session", table: str) -> Rows:
    """Within a transaction: the server keeps the result, and gives it in pieces."""
    with session.cursor(f"all_{table}") as cursor:
        cursor.itersize = PIECE
        cursor.execute(select(table).encode())
        for row in cursor:
            yield tuple(row.values())
