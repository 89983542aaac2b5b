"""Makes a store's file, and brings the schema of one that is there to the newest version.

Several processes may try at once: one of them does it, and says so in the log.
"""

import contextlib
import logging
import os
import sqlite3
import time
from pathlib import Path

from store.copies import keep_copy
from store.database import StoreNewer
from store.log import Wait, address_of, begin_generation, log_bytes, patiently
from store.schema import statements
from turns import apart

log = logging.getLogger(__name__)

BEFORE = "before-schema-"  # how the names of copies begin that are made before an update
JUST_MADE_SECONDS = 10.0  # an empty file that is younger may be of another process that begins


def is_empty(path: Path) -> bool:
    """Whether the file is there and has nothing, not even in a log beside it."""
    return path.stat().st_size == log_bytes(path) == 0


def make_file(path: Path) -> bool:
    """Make the file where there is none; whether an empty one has lain there before.

    We create it ourselves, so that other users can never read tokens and texts. We do not open an
    existing file: closing it would release all SQLite locks of our process.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return is_empty(path) and time.time() - path.stat().st_mtime > JUST_MADE_SECONDS
    return False


def migrate(
    db: sqlite3.Connection, path: Path, migrations: list[str], wait: Wait, was_empty: bool = False
) -> None:
    """Bring the schema to the newest version.

    `was_empty`: the file had lain there without content, which may be a mistake.
    """
    # Read outside a transaction, so that a new connection need not wait for a writer.
    version = patiently(lambda: db.execute("pragma user_version"), wait).fetchone()[0]
    if version == len(migrations):
        return
    patiently(lambda: db.execute("begin immediate"))
    former: Path | None = None
    try:
        version = db.execute("pragma user_version").fetchone()[0]
        if version > len(migrations):
            raise StoreNewer(path.name)
        if version < len(migrations) and _has_content(db, version):
            former = _keep_former(path, len(migrations))
        for number, script in enumerate(migrations[version:], start=version + 1):
            for statement in statements(script):
                db.execute(statement)
            db.execute(f"pragma user_version = {number}")
        if log_bytes(path) == 0 and migrations[version:]:
            begin_generation(db)
        db.execute("commit")
    except BaseException:
        if db.in_transaction:  # SQLite ends it itself where the disk is full
            db.execute("rollback")
        if former is not None:  # every further try would leave one more
            former.unlink()
        raise
    if former is not None:
        schemas = version, len(migrations), former.name
        log.warning("the store was brought up to date, schema %d to %d; before: %s", *schemas)
    if version == 0:
        _tell_new(path, was_empty)


def _tell_new(path: Path, was_empty: bool) -> None:
    if not was_empty:
        log.info("a new store was begun: %s", path)
        return
    log.warning(
        "%s was empty: a new store was begun in it, without any conversation. If there was a store"
        " before, stop the service and restore a backup (sitechat restore FILE --replace)",
        path,
    )


def _has_content(db: sqlite3.Connection, version: int) -> bool:
    """Whether anything in a store would be missed; the very first version made all these tables."""
    if version == 0:
        return False
    kept = "exists (select 1 from messages) or exists (select 1 from portal)"
    return bool(db.execute(f"select {kept}").fetchone()[0])


def _keep_former(path: Path, newer: int) -> Path:
    """Copy the store before it is brought up to date: an earlier release cannot read it then.

    By a connection of its own, because SQLite copies nothing by one that writes.
    """
    address = address_of(path, "mode=ro")
    with contextlib.closing(sqlite3.connect(address, uri=True, check_same_thread=False)) as db:
        return apart(keep_copy, db, path.parent, f"{BEFORE}{newer}")
