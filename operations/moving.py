"""Moves a store into another database: all rows, proved to be there, or nothing.

The service must not run meanwhile. The former store stays as it is, but for a note that it was
moved. Visitors' files are moved by themselves, also while it runs.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bbcode import RENDERER
from files import Files
from operations.archive import Stopped
from operations.restore import Place, nobody_works
from storage import Store, database_of, file_of, is_of_server
from store.copies import sync_folder
from store.database import DiskFull, Lock, StoreUnavailable
from store.log import address_of, patiently
from store.moving import FileRows, Source, Target, file_errors, move_rows, new_file, remove_file
from store.reading import ReadOnlySQLite
from store.records import Moved
from store.schema import MIGRATIONS


@dataclass(frozen=True)
class Table:
    """A table that was moved."""

    name: str
    rows: int


def move(
    source: str,
    target: str,
    root: Path,
    files: Path,
    tell: Callable[[Table], None],
    tell_not_noted: Callable[[StoreUnavailable], None],
) -> list[Table]:
    """Move the store of one `storage.url` into that of another; `files` is visitors' folder.

    One of both is a file, and the other is on a server. `tell` hears of each table, and
    `tell_not_noted` why the former store could not be marked as moved, if so. Raises Stopped and
    StoreUnavailable, whose `place` names the target where it is the target's; then the target holds
    nothing.
    """
    if is_of_server(source) == is_of_server(target):
        raise Stopped("move_kinds")
    reading = _on_server(source, root) if is_of_server(source) else _in_file(
        file_of(source, root), files
    )  # fmt: skip
    filling = _into_server(target, root) if is_of_server(target) else _into_file(
        file_of(target, root)
    )  # fmt: skip
    moved = []
    with reading as rows, filling as room:
        if not room.is_empty():
            raise Stopped("move_not_empty")
        for name, there, here in move_rows(rows, room):
            if there != here:
                raise Stopped("move_differs", table=name)
            moved.append(Table(name, here.rows))
            tell(moved[-1])
    try:
        _note_move(source, target, root)
    except StoreUnavailable as error:  # all is moved: no reason to fail
        tell_not_noted(error)
    return moved


def _note_move(source: str, target: str, root: Path) -> None:
    """Let the doctor know a service that goes on with the former store."""
    to = database_of(target, root).place if is_of_server(target) else str(file_of(target, root))
    with closing(Store(source, root, RENDERER)) as store:
        store.open()
        store.notes.moved.set(Moved(to, store.now()))


def move_files(store: Store, files: Files) -> tuple[int, int]:
    """Move visitors' files to where new ones are kept; how many were moved, and are nowhere.

    Raises Stopped and StoreUnavailable; each file is then where it was, or is moved.
    """
    with store.database.try_lock("move-files") as held:
        if held is None:  # two in opposite directions would remove what the other one has moved
            raise Stopped("move_files_runs")
        return _move_files(store, files, held)


def _move_files(store: Store, files: Files, held: Lock) -> tuple[int, int]:
    moved, lost, last = 0, 0, ""
    while named := store.contents.named_after(last):
        for chat_id, key in named:
            if not held.is_held():
                raise StoreUnavailable("another process may move files now")
            was_moved = files.bring(chat_id, key)
            moved += was_moved is True
            if store.messages.find_with_file(key) is None:  # it was deleted meanwhile
                files.remove(chat_id, key)
            else:
                lost += was_moved is None
        last = named[-1][1]
    return moved, lost


@contextmanager
def _in_file(path: Path, files: Path) -> Iterator[Source]:
    """Nobody writes into the file meanwhile, not even a service that somebody starts."""
    with closing(ReadOnlySQLite(path, len(MIGRATIONS))) as looked_at:
        looked_at.open()  # or it is missing, damaged, or of another release
    address = address_of(path, "mode=rw")
    with (
        nobody_works(Place(path, files)),
        file_errors(path),
        closing(sqlite3.connect(address, uri=True, isolation_level=None)) as db,
    ):
        patiently(lambda: db.execute("begin immediate"))
        yield FileRows(db)


@contextmanager
def _into_file(path: Path) -> Iterator[Target]:
    """The file has its name only when all is in it."""
    if path.exists():
        raise Stopped("move_not_empty")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")
    remove_file(unfinished)  # of a move that was killed
    try:
        with new_file(unfinished) as db:
            yield FileRows(db)
    except DiskFull:
        raise Stopped("disk_full", path=path.parent) from None
    unfinished.rename(path)
    sync_folder(path.parent)


@contextmanager
def _into_server(url: str, root: Path) -> Iterator[Target]:
    """Every error of a server in here is one of the target: name the target's place in it."""
    try:
        with _on_server(url, root) as rows:
            yield rows
    except StoreUnavailable as error:
        raise error.of(database_of(url, root).place, on_server=True) from None


@contextmanager
def _on_server(url: str, root: Path) -> Iterator[Target]:
    # Imported where it is needed: what it needs is installed only for those who use it.
    from store.postgresql import PostgreSQL  # noqa: PLC0415

    database = database_of(url, root)
    assert isinstance(database, PostgreSQL)  # noqa: S101
    with (
        closing(database),
        database.try_lock("restore") as ours,
        database.try_lock("sender") as held,
    ):
        if ours is None:
            raise Stopped("restore_runs")
        if held is None:
            raise Stopped("service_runs")
        with database.alone() as rows:
            yield rows
