"""Reads visitors' files for root, who must not be led out of their folder.

The folder is the service's user's own, and so is the store that names the files: neither a link nor
a name with a slash leads elsewhere, and a pipe stops nobody.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import IO

from store.transfer import CHAT_ID, KEY

NEVER_WAITS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


def open_kept(files: Path, chat_id: str, key: str) -> IO[bytes] | None:
    """A visitor's file, open to be read; None where it is gone, or is no ordinary file."""
    if not (CHAT_ID.fullmatch(chat_id) and key and KEY.fullmatch(key)):
        return None
    # The folder of all files may be a link for whom it leads nowhere they may not go themselves.
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
