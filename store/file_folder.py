"""Visitors' files in a folder, which hosts may share: a folder for each chat, in it a file a key.

A reserve of the disk is left to messages, also while many files arrive at once. A file survives
power loss once `keep` has returned. Its name is its key, which cannot be guessed; the store knows
to which message it belongs.
"""

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from store.copies import sync_folder
from store.database import DISK_FULL, DiskFull, StoreUnavailable
from store.kept import KeptFile
from turns import Turns, apart

RESERVE_BYTES = 256 << 20  # with less free space no file is taken: messages need the rest
SLACK_BYTES = 1 << 20  # other processes may write between our look at the free space and our write
TRIES = 3  # where another process makes or removes the same folder
FILES = "storage.files"  # what a fault is about
OPEN = ".nfs"  # how NFS names a file that was removed while somebody reads it
ARRIVING = "arriving"  # the folder of uploads under way; no chat id is the same

T = TypeVar("T")


class Arrival:
    """A file that an upload fills. Raises DiskFull before it would use the disk's reserve."""

    def __init__(self, file: IO[bytes], name: str, expected: int) -> None:
        self._file = file
        self.name = name
        self.expected = expected  # bytes that may still come
        self.size = 0

    def write(self, data: bytes) -> int:
        with file_errors():
            # At each piece, because other uploads and processes use the same disk.
            check_room(Path(self.name).parent, len(data))
            self.size += len(data)
            self.expected = max(0, self.expected - len(data))
            return self._file.write(data)

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        with file_errors():
            return self._file.seek(place, whence)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def sync(self) -> None:
        self._file.flush()
        apart(os.fsync, self._file.fileno())  # a slow disk holds up no other request

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what is not yet written is not needed
            self._file.close()


class FileFolder:
    """The folder of all files. Every method raises StoreUnavailable when it cannot be used."""

    def __init__(self, folder: Path) -> None:
        self.path = folder

    def make(self) -> None:
        """Make the folder, if it is not there."""
        with file_errors():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def arriving(self, promised: int, expected: int) -> Arrival:
        """A new file for `expected` bytes; others were promised `promised` bytes."""

        def begin(folder: Path) -> Arrival:
            check_room(folder, promised + expected)
            # The file has a name, so that `keep` can rename it and need not copy it.
            number, name = tempfile.mkstemp(dir=folder, prefix="")
            return Arrival(os.fdopen(number, "w+b"), name, expected)

        with file_errors():
            return self._within(ARRIVING, begin)

    def keep(self, file: Arrival, chat_id: str, key: str) -> None:
        with file_errors():
            file.sync()
            try:
                self._within(chat_id, lambda folder: os.replace(file.name, folder / key))
                for folder in (self.path / chat_id, self.path, self.path.parent):
                    apart(sync_folder, folder)  # a slow disk holds up no other request
            except BaseException:
                with contextlib.suppress(OSError):
                    (self.path / chat_id / key).unlink()
                raise

    def _within(self, name: str, act: Callable[[Path], T]) -> T:
        """Do something in a folder; another process may remove it while it is empty."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(FileNotFoundError):
                return act(self._made_folder(name))
        return act(self._made_folder(name))

    def open(self, chat_id: str, key: str) -> KeptFile | None:
        """A file, open to be read; None if it is not here."""
        with file_errors():
            try:
                file = (self.path / chat_id / key).open("rb")
            except (FileNotFoundError, NotADirectoryError):
                return None
            info = os.fstat(file.fileno())
        return KeptFile(file, info.st_size, info.st_mtime, lambda: _is_gone(file))

    def remove(self, chat_id: str, key: str) -> None:
        with file_errors():
            (self.path / chat_id / key).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others are in it
            (self.path / chat_id).rmdir()

    def remove_chat(self, chat_id: str) -> None:
        folder = self.path / chat_id
        with file_errors():
            for tries_left in range(TRIES - 1, -1, -1):
                if not folder.exists():
                    return
                try:
                    apart(shutil.rmtree, str(folder))  # there may be thousands
                    return
                except OSError as error:  # another process adds a file, or removes the folder, too
                    if _has_only_open(folder):
                        return
                    if error.errno not in (errno.ENOTEMPTY, errno.ENOENT) or not tries_left:
                        raise

    def sweep(self, keys_of: Callable[[str], set[str] | None], seconds: float) -> int:
        """Remove files that are older and belong to no message; returns how many.

        A crash leaves such files. `keys_of` gives the keys of a chat's files, or None for a chat
        that the store has never had: its files stay, because they may belong to another store.
        """
        if not self.path.exists():
            return 0
        before, count, turns = self._now() - seconds, 0, Turns()
        with file_errors(), os.scandir(self.path) as folders:
            for folder in folders:  # read little by little: there may be very many
                keys = set() if folder.name == ARRIVING else keys_of(folder.name)
                count += 0 if keys is None else _sweep_folder(folder.path, keys, before, turns)
                with contextlib.suppress(OSError):
                    os.rmdir(folder.path)  # if it is empty
                turns.give_way()
        return count

    def _now(self) -> float:
        """The time by the clock that gives the files theirs: a shared folder is another machine's.

        So a host whose clock is wrong does not remove what another one is receiving.
        """
        with contextlib.suppress(OSError):  # the disk may be full
            folder = self._made_folder(ARRIVING)
            with tempfile.NamedTemporaryFile(dir=folder, prefix="") as probe:
                return os.fstat(probe.fileno()).st_mtime
        return time.time()

    def _made_folder(self, name: str) -> Path:
        folder = self.path / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder


def check_room(folder: Path, wanted: int) -> None:
    """Raise DiskFull if the disk's reserve would be used by so many more bytes."""
    if shutil.disk_usage(folder).free - wanted - SLACK_BYTES < RESERVE_BYTES:
        raise DiskFull("storage.files: no room on the disk beside its reserve").of(FILES)


def _sweep_folder(folder: str, keys: set[str], before: float, turns: Turns) -> int:
    """Remove the old files that have none of these keys; returns how many."""
    count = 0
    gone = contextlib.suppress(FileNotFoundError, NotADirectoryError)  # another process deletes it
    with gone, os.scandir(folder) as files:
        for file in files:
            turns.give_way()
            with gone:
                if file.name in keys or file.name.startswith(OPEN):
                    continue
                if file.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(file.path)
                    count += 1
    return count


def _has_only_open(folder: Path) -> bool:
    """Whether all that is left in a folder was removed, and goes when it is closed."""
    try:
        return all(name.startswith(OPEN) for name in os.listdir(folder))
    except OSError:
        return False


def _is_gone(file: IO[bytes]) -> bool:
    """Whether the file has no name any more; a shared folder may say so by an error."""
    try:
        return os.fstat(file.fileno()).st_nlink == 0
    except OSError:
        return True


@contextmanager
def file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__  # without the path: it holds the key
        kind = DiskFull if error.errno in DISK_FULL else StoreUnavailable
        raise kind(f"storage.files: {reason}", reason).of(FILES) from None
