"""A backup while the service runs: the store as it is at one moment, and visitors' files with it.

The archive has its name only once it is whole and on the disk.
"""

import logging
import os
import tempfile
import time
import zipfile
from pathlib import Path

from operations.archive import STORE, Contents, Stopped, copy_file, counted, files_in, keeps_files
from operations.kept_files import FilesToCopy
from store.contents import ContentTables
from store.copies import sync_folder
from store.database import Database, DiskFull, StoreUnavailable, is_disk_full

log = logging.getLogger(__name__)

# A zip archive wants a time of each file; these need none.
ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def back_up(
    database: Database, files: Path, target: Path, program: str, replace: bool = False
) -> Contents:
    """Write the archive `target`; `files` is the folder of visitors' files, if they are in one.

    What is moved between it and the database meanwhile is found wherever it is.

    Raises Stopped, StoreUnavailable and OSError; then there is no archive, and what had its name
    is as it was.
    """
    if target.is_dir():
        raise Stopped("is_folder", path=target)
    if os.path.lexists(target) and not replace:
        raise Stopped("file_exists", path=target)
    if not target.parent.is_dir():
        raise Stopped("no_folder", path=target.parent)
    with tempfile.TemporaryDirectory(prefix=".sitechat-", dir=target.parent) as made_in:
        copy, archive = Path(made_in) / STORE, Path(made_in) / "archive"
        copy_store(database, copy)
        kept = ContentTables(database, None) if keeps_files(copy) else None
        contents = _write(archive, copy, FilesToCopy(files, kept, Path(made_in)), program)
        copy.unlink()
        _give_name(archive, target, replace)
    sync_folder(target.parent)
    return contents


def copy_store(database: Database, copy: Path) -> None:
    """Copy the store into a new file, in a folder that was made for it."""
    try:
        database.back_up(copy)
    except StoreUnavailable as error:
        if isinstance(error, DiskFull) or is_disk_full(copy.parent):  # SQLite does not always say
            raise Stopped("disk_full", path=copy.parent.parent) from None
        raise


def _write(path: Path, copy: Path, files: FilesToCopy, program: str) -> Contents:
    taken = 0
    made_at = time.time()
    numbers = counted(copy)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.write(copy, STORE)

            def add(chat_id: str, key: str) -> None:
                nonlocal taken
                taken += _add_file(archive, files, chat_id, key)

            in_copy = files_in(copy, add)
            contents = Contents(
                made_at, **numbers, files=taken + in_copy, gone=files.gone, program=program
            )
            contents.write(archive)
        file.flush()
        os.fsync(file.fileno())
    return contents


def _add_file(archive: zipfile.ZipFile, files: FilesToCopy, chat_id: str, key: str) -> bool:
    """Add a visitor's file as it is: pictures and films are small already. False if it is gone."""
    source = files.open(chat_id, key)
    if source is None:
        return False
    info = zipfile.ZipInfo(f"files/{chat_id}/{key}", ZIP_TIME)
    info.external_attr = 0o600 << 16
    with source, archive.open(info, "w", force_zip64=True) as member:
        copy_file(source, member)
    return True


def _give_name(archive: Path, target: Path, replace: bool) -> None:
    """The archive's name, in one step; another file that has come by it meanwhile stays."""
    if not replace:
        try:
            os.link(archive, target)
            return
        except FileExistsError:
            pass
        except OSError:  # no links on this disk; how vfat, SMB and FUSE say so differs
            log.debug("no link to %s", target, exc_info=True)
        if os.path.lexists(target):
            raise Stopped("file_exists", path=target)
    os.replace(archive, target)
