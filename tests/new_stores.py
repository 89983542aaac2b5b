"""New SQLite stores of the tests: one script makes what all migrations together have made.

That takes a quarter of the time, and the tests make some two thousand of them. test_schema.py
compares both. A store that has a schema is brought up to date as ever.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from store import connections
from store.log import Wait, patiently
from store.migrate import migrate
from store.schema import MIGRATIONS, statements

EPOCH = re.compile(r"(?<='epoch',)'\w+'")  # each store has its own


def one_script() -> str:
    """What makes a store whose schema is the newest."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        for script in MIGRATIONS:
            for statement in statements(script):
                db.execute(statement)
        _begin, *lines, _commit = db.iterdump()
    return EPOCH.sub("lower(hex(randomblob(8)))", "\n".join(lines))


def make_by_one_script() -> None:
    """Let each new store of this process, and of its forks, be made so."""
    at_once = [one_script(), *[""] * (len(MIGRATIONS) - 1)]

    def migrate_new(
        db: sqlite3.Connection,
        path: Path,
        migrations: list[str],
        wait: Wait,
        was_empty: bool = False,
    ) -> None:
        version = patiently(lambda: db.execute("pragma user_version"), wait).fetchone()[0]
        is_new = version == 0 and migrations == MIGRATIONS
        migrate(db, path, at_once if is_new else migrations, wait, was_empty)

    connections.migrate = migrate_new  # type: ignore[attr-defined]
