"""Puts a backup in the place of the store; what was there before is kept beside it.

The service must not run. A step that fails, or a crash, leaves either the former store or the
restored one, never a part of one; the command can be repeated.
"""

import contextlib
import os
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from operations.archive import FILE, STORE, Stopped, contents_of, copy_file, counted, files_in
from store.copies import free_name, sync_folder
from store.database import StoreMissing, StoreUnavailable
from store.datagrams import is_heard
from store.log import index_of_log, log_of
from store.reading import ReadOnlySQLite
from store.schema import MIGRATIONS
from store.sqlite import SQLite

SQLITE = b"SQLite format 3\0"
BROKEN_ZIP = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error)
UNFINISHED = ".restoring-"  # how the names of folders begin in which a backup is taken out
SPARE_BYTES = 64 << 20  # left free on the disk


@dataclass(frozen=True)
class Place:
    """Where a store lives."""

    store: Path
    files: Path


@dataclass(frozen=True)
class Restored:
    chats: int
    messages: int
    files: int
    former: Path | None  # the folder in which the former store is kept


@dataclass(frozen=True)
class Backup:
    """A backup that is open: whoever reads on need not have the right to open it again."""

    path: Path
    file: IO[bytes]
    log: IO[bytes] | None  # beside a bare copy of the store's file, and a part of it


@contextmanager
def open_backup(path: Path) -> Iterator[Backup]:
    """Raises OSError."""
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(path.open("rb"))
        log = None
        if log_of(path).is_file():
            log = opened.enter_context(log_of(path).open("rb"))
        yield Backup(path, file, log)


def restore(backup: Backup, place: Place, replace: bool) -> Restored:
    """Put a backup (or a bare copy of the store's file) in place.

    Raises Stopped, StoreUnavailable and OSError; then the former store is as it was.
    """
    place.store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with nobody_works(place), _beside(place.store) as new, _beside(place.files) as new_files:
        kept = _take_out(backup, new / STORE, new_files)
        numbers = counted(new / STORE)
        if numbers["schema"] > len(MIGRATIONS):
            raise Stopped("store_newer", path=backup.path)
        in_store = files_in(new / STORE, lambda _chat, _key: None)
        former = None
        if _has_content(place.store):
            if not replace:
                raise Stopped("has_messages", path=place.store)
            former = _keep_former(place, with_files=kept is not None)
        _put_files(kept, new_files, place.files)
        _put_store(new / STORE, place.store)
        if kept is not None and former is not None:
            _remove_others(kept, place.files)
        files = len(kept or ()) + in_store
    return Restored(numbers["chats"], numbers["messages"], files, former)


@contextmanager
def nobody_works(place: Place) -> Iterator[None]:
    """Keep the service from working with the store; Stopped if it does now."""
    database = SQLite(place.store, MIGRATIONS)
    with database.try_lock("restore") as ours, database.try_lock("sender") as held:
        if ours is None:
            raise Stopped("restore_runs")
        if held is None or is_heard(place.store.parent):
            raise Stopped("service_runs")
        for left in place.store.parent.glob(f"{UNFINISHED}*"):  # by a restore that was killed
            shutil.rmtree(left, ignore_errors=True)
        yield


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A folder on the same disk as `path`, for as long as it is needed."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=path.parent) as folder:
        yield Path(folder)


def _take_out(backup: Backup, store: Path, files: Path) -> set[Path] | None:
    """Take the store and the files out; the files' paths, or None where there are none to take."""
    head = backup.file.read(len(SQLITE))
    backup.file.seek(0)
    if head == SQLITE:
        _take_copy(backup, store)
        return None
    try:
        with zipfile.ZipFile(backup.file) as archive:
            contents_of(archive)
            check_space(store.parent, sum(one.file_size for one in archive.infolist()))
            _extract(archive, STORE, store)
            kept = set()
            for member in archive.namelist():
                if match := FILE.fullmatch(member):
                    path = Path(*match.groups())
                    (files / path.parent).mkdir(mode=0o700, exist_ok=True)
                    _extract(archive, member, files / path)
                    kept.add(path)
            return kept
    except (*BROKEN_ZIP, EOFError, RuntimeError, NotImplementedError):
        raise Stopped("no_backup") from None


def _take_copy(backup: Backup, store: Path) -> None:
    """Take a bare copy of the store's file, with the log beside it, for what SQLite can read."""
    parts = {log_of: backup.log, _same: backup.file}
    before = [_state(part) for part in parts.values()]
    check_space(store.parent, 2 * sum(state[0] for state in before))
    copy = store.with_name("copy.db")
    for name_of, part in parts.items():
        if part is not None:
            descriptor = os.open(name_of(copy), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as target:
                copy_file(part, target)
    if [_state(part) for part in parts.values()] != before:
        raise Stopped("copy_changes", path=backup.path)
    if backup.log is not None:
        index_of_log(copy).touch()
    database = ReadOnlySQLite(copy, None)
    try:
        database.back_up(store)
    finally:
        database.close()


def _same(path: Path) -> Path:
    return path


def _state(file: IO[bytes] | None) -> tuple[int, int]:
    """What changes when somebody writes a file: its size and its time."""
    if file is None:
        return 0, 0
    info = os.fstat(file.fileno())
    return info.st_size, info.st_mtime_ns


def _extract(archive: zipfile.ZipFile, member: str, path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as target, archive.open(member) as source:
        copy_file(source, target)  # checks the member's sum at its end
        target.flush()
        os.fsync(descriptor)


def check_space(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted + SPARE_BYTES:
        raise Stopped("no_space", wanted=wanted >> 20, free=free >> 20)


def _has_content(store: Path) -> bool:
    """Whether anything would be lost; what cannot be read counts as content."""
    database = ReadOnlySQLite(store, None)
    kept = "exists (select 1 from messages) or exists (select 1 from portal)"
    try:
        found = database.row(f"select {kept} as content")
        return bool(found and found["content"])
    except StoreMissing:
        return False
    except StoreUnavailable:
        return True
    finally:
        database.close()


def _keep_former(place: Place, with_files: bool) -> Path:
    """A folder with the former store's files beside it; those of visitors are there twice."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime())
    former = free_name(place.store.parent / f"before-restore-{stamp}")
    former.mkdir(mode=0o700)
    if with_files and place.files.is_dir():
        shutil.copytree(place.files, former / "files", copy_function=_link_or_copy)
    _link_or_copy(str(place.store), str(former / STORE))
    if log_of(place.store).exists():
        _link_or_copy(str(log_of(place.store)), str(log_of(former / STORE)))
    sync_folder(former)
    sync_folder(former.parent)
    return former


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _put_files(kept: set[Path] | None, new: Path, files: Path) -> None:
    """The folder is made, too: the restored store may name files that nobody has any more."""
    files.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in kept or ():
        (files / path.parent).mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.move(new / path, files / path)  # the folder may be a disk of its own


def _put_store(new: Path, store: Path) -> None:
    """The new file has no log, so that of the former must not lie beside it."""
    for beside in (log_of, index_of_log):
        with contextlib.suppress(FileNotFoundError):
            beside(store).unlink()
    os.replace(new, store)
    sync_folder(store.parent)


def _remove_others(kept: set[Path], files: Path) -> None:
    """Remove the former store's files from among the restored ones; they are kept beside it.

    Where no former store was kept they are left: a store on a server may name them, say.
    """
    if not files.is_dir():
        return
    for path in files.glob("*/*"):
        if path.relative_to(files) not in kept:
            path.unlink()
    for folder in files.iterdir():
        with contextlib.suppress(OSError):
            folder.rmdir()
