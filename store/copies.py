"""Copies of an SQLite file: of one moment, also while others write; whole, or not there at all."""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from store.log import begin_generation

NOT_FOR_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def write_copy(db: sqlite3.Connection, target: Path) -> None:
    """Copy the database into a file that belongs to no log and has no epoch.

    So whoever works with the copy later knows that it is one (store/epochs.py). The file may be of
    an earlier release, which had neither generations nor epochs.
    """
    with closing(sqlite3.connect(target)) as copy:
        db.backup(copy)
        tables = {name for (name,) in copy.execute("select name from sqlite_master")}
        if "generations" in tables:
            begin_generation(copy)
            copy.execute("update generations set previous = ''")
            copy.execute("update meta set value = '' where key = 'epoch'")
        copy.commit()
        copy.execute("pragma journal_mode = delete")  # no log beside a copy, whoever reads it


def keep_copy(db: sqlite3.Connection, folder: Path, name: str) -> Path:
    """Write a copy into the folder, on the disk when this returns; its path.

    Its name has a number where there is such a file already.
    """
    unfinished = folder / f"{name}.unfinished"
    with contextlib.suppress(FileNotFoundError):
        unfinished.unlink()  # of a process that was killed
    try:
        os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        write_copy(db, unfinished)
        target = free_name(folder / f"{name}.db")
        os.rename(unfinished, target)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
    sync_folder(folder)
    return target


def free_name(path: Path) -> Path:
    """The path, or the first with a number before its ending that nobody has taken."""
    taken, number = path, 1
    while taken.exists():
        number += 1
        taken = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return taken


def sync_folder(folder: Path) -> None:
    """Bring the names of a folder onto the disk; some disks of other machines cannot be asked."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_FOR_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def replacing(target: Path) -> Callable[[sqlite3.Connection], None]:
    """`write_copy` to a file that a former try may have begun."""

    def copy(db: sqlite3.Connection) -> None:
        target.unlink(missing_ok=True)
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        write_copy(db, target)

    return copy
