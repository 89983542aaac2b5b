"""Reads visitors' files to copy them, also for root, who must not be led out of their folder.

The folder is the service's user's own, and so is the store that names the files: neither a link nor
a name with a slash leads elsewhere, and a pipe stops nobody.
"""

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

from operations.archive import copy_file
from store.contents import ContentTables
from store.transfer import CHAT_ID, KEY

NEVER_WAITS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class FilesToCopy:
    """Visitors' files of a store with which others work on meanwhile."""

    def __init__(self, folder: Path, contents: ContentTables | None, made_in: Path) -> None:
        """`contents` are those of the store itself; None for a release that had none.

        `made_in` is a folder for what is on its way.
        """
        self._folder = folder
        self._contents = contents
        self._made_in = made_in
        self.gone = 0  # files that were asked for, are nowhere, and have a message

    def open(self, chat_id: str, key: str) -> IO[bytes] | None:
        """A file, open to be read to its end; None where it is gone."""
        # Twice: it may be moved just now, from either place to the other.
        for look in (self._in_folder, self._in_database) * 2:
            if found := look(chat_id, key):
                return found
        if self._contents is None or self._contents.is_named(key):
            self.gone += 1  # else it was deleted meanwhile
        return None

    def _in_folder(self, chat_id: str, key: str) -> IO[bytes] | None:
        return open_kept(self._folder, chat_id, key)

    def _in_database(self, chat_id: str, key: str) -> IO[bytes] | None:
        """The file from its first byte to its last, whatever becomes of it there afterwards."""
        found = self._contents.open(chat_id, key) if self._contents else None
        if found is None:
            return None
        whole: IO[bytes] = tempfile.TemporaryFile(dir=self._made_in)  # noqa: SIM115
        try:
            with found.file as file:
                copy_file(file, whole)
            whole.seek(0)
        except BaseException as error:
            whole.close()
            if isinstance(error, ConnectionResetError):  # it was removed while we read
                return None
            raise
        return whole


def open_kept(files: Path, chat_id: str, key: str) -> IO[bytes] | None:
    """A visitor's file, open to be read; None where it is gone, or is no ordinary file."""
    if not (CHAT_ID.fullmatch(chat_id) and key and KEY.fullmatch(key)):
        return None
    # Root must not follow a link here: the service's user could have made it. Any other user may:
    # it leads only where that user may go.
    follows = 0 if os.geteuid() == 0 else os.O_NOFOLLOW
    folders: list[int] = []
    try:
        folders.append(os.open(files, (NEVER_WAITS | os.O_DIRECTORY) & ~follows))
        folders.append(os.open(chat_id, NEVER_WAITS | os.O_DIRECTORY, dir_fd=folders[0]))
        descriptor = os.open(key, NEVER_WAITS, dir_fd=folders[1])
    except OSError as error:
        if _is_none(error):
            return None
        raise
    finally:
        for folder in folders:
            os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")


def open_plain(path: Path) -> IO[bytes] | None:
    """A file of a folder that others may write, open to be read; None for what is no such file."""
    descriptor = None
    try:
        descriptor = os.open(path, NEVER_WAITS)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            file, descriptor = os.fdopen(descriptor, "rb"), None
            return file
    except OSError as error:
        if not _is_none(error):
            raise
    finally:
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)
    return None


def _is_none(error: OSError) -> bool:
    """Whether there is no such file, or something else in its place: a link, say, or a socket."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
