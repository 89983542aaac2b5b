"""Visitors' files in a folder, which hosts may share: a folder for each chat, in it a file a key.

A reserve of the disk is left to messages, also while many files arrive at once. A file survives
power loss once `keep` has returned. Its name is its key, which cannot be guessed; the store knows
to which message it belongs.
"""

import contextlib
import errno
import io
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

from store.copies import sync_folder
from store.database import DISK_FULL, DiskFull, StoreUnavailable, may_write
from store.kept import KeptFile
from turns import Turns, apart_for

log = logging.getLogger(__name__)

RESERVE_BYTES = 256 << 20  # with less free space no file is taken: messages need the rest
SLACK_BYTES = 1 << 20  # other processes may write between our look at the free space and our write
ANSWER_SECONDS = 15.0  # of the disk; a proxy waits for 25 (docs/deployment.md)
REMOVAL_SECONDS = 60.0  # of a chat's files: there may be thousands
HEAD_BYTES = 64  # of a file, which tell what picture it is
WRITTEN_BYTES = 256 << 10  # at least, at once, of a file that is received
READ_BYTES = 256 << 10  # at once, from a file that is given away
NOT_WHOLE = "the file could not be read to its end"
TRIES = 3  # where another process makes or removes the same folder
FILES = "storage.files"  # what a fault is about
OPEN = ".nfs"  # how NFS names a file that was removed while somebody reads it
ARRIVING = "arriving"  # the folder of uploads under way; no chat id is the same

P = ParamSpec("P")
T = TypeVar("T")


class Arrival:
    """A file that an upload fills. Raises DiskFull before it would use the disk's reserve."""

    def __init__(self, file: IO[bytes], name: str, expected: int) -> None:
        self._file = file
        self.name = name
        self.expected = expected  # bytes that may still come
        self.size = 0
        self.head = b""  # its first bytes
        self._pieces: list[bytes] = []  # that are not on the disk yet
        self._waiting = 0  # bytes of them

    def write(self, data: bytes) -> int:
        """Add a piece; several go to the disk together."""
        self.head += data[: HEAD_BYTES - len(self.head)]
        self.size += len(data)
        self.expected = max(0, self.expected - len(data))
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting >= WRITTEN_BYTES:
            with file_errors():
                on_disk(self._put)
        return len(data)

    def _put(self) -> None:
        """Write what waits; in a thread."""
        pieces, self._pieces, waiting, self._waiting = self._pieces, [], self._waiting, 0
        # Each time, because other uploads and processes use the same disk.
        check_room(Path(self.name).parent, waiting)
        self._file.writelines(pieces)

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        def go() -> int:
            self._put()
            return self._file.seek(place, whence)

        with file_errors():
            return on_disk(go)

    def read(self, size: int = -1) -> bytes:
        with file_errors():
            return on_disk(self._file.read, size)

    def sync(self) -> None:
        """Bring all of it onto the disk; in a thread."""
        self._put()
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what is not yet written is not needed
            on_disk(self._file.close)

    def discard(self) -> None:
        """Close it, and remove it unless it was kept."""

        def end() -> None:
            with contextlib.suppress(OSError):
                self._file.close()
            os.unlink(self.name)

        with contextlib.suppress(OSError):
            on_disk(end)


class FileFolder:
    """The folder of all files. Every method raises StoreUnavailable when it cannot be used.

    Whatever touches the disk does so in a thread, for it may be another machine's, and hang.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder

    def exists(self) -> bool:
        with file_errors():
            return on_disk(self.path.exists)

    def is_writable(self) -> bool:
        """Whether we may write into it, or into the nearest folder above it that is there."""

        def look() -> bool:
            there = next(one for one in (self.path, *self.path.parents) if one.exists())
            return there.is_dir() and may_write(there)

        with file_errors():
            return on_disk(look)

    def make(self) -> None:
        """Make the folder, if it is not there."""
        with file_errors():
            on_disk(self.path.mkdir, mode=0o700, parents=True, exist_ok=True)

    def arriving(self, promised: int, expected: int) -> Arrival:
        """A new file for `expected` bytes; others were promised `promised` bytes."""

        def begin(folder: Path) -> Arrival:
            check_room(folder, promised + expected)
            # The file has a name, so that `keep` can rename it and need not copy it.
            number, name = tempfile.mkstemp(dir=folder, prefix="")
            return Arrival(os.fdopen(number, "w+b"), name, expected)

        with file_errors():
            return on_disk(self._within, ARRIVING, begin)

    def keep(self, file: Arrival, chat_id: str, key: str) -> None:
        def put() -> None:
            file.sync()
            try:
                self._within(chat_id, lambda folder: os.replace(file.name, folder / key))
                for folder in (self.path / chat_id, self.path, self.path.parent):
                    sync_folder(folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    (self.path / chat_id / key).unlink()
                raise

        with file_errors():  # a file that is kept later, by a disk that hung, is swept
            on_disk(put)

    def _within(self, name: str, act: Callable[[Path], T]) -> T:
        """Do something in a folder; another process may remove it while it is empty."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(FileNotFoundError):
                return act(self._made_folder(name))
        return act(self._made_folder(name))

    def open(self, chat_id: str, key: str) -> KeptFile | None:
        """A file, open to be read; None if it is not here."""

        def look() -> tuple[IO[bytes], os.stat_result] | None:
            try:
                file = (self.path / chat_id / key).open("rb", buffering=0)
            except (FileNotFoundError, NotADirectoryError):
                return None
            return file, os.fstat(file.fileno())

        with file_errors():
            found = on_disk(look)
        if found is None:
            return None
        file, info = found
        read = io.BufferedReader(_Distant(file), READ_BYTES)
        return KeptFile(read, info.st_size, info.st_mtime, lambda: _is_gone(file))

    def remove(self, chat_id: str, key: str) -> None:
        with file_errors():
            on_disk((self.path / chat_id / key).unlink, missing_ok=True)
        with contextlib.suppress(OSError):  # others are in it
            on_disk((self.path / chat_id).rmdir)

    def remove_chat(self, chat_id: str) -> None:
        folder = self.path / chat_id
        with file_errors():
            for tries_left in range(TRIES - 1, -1, -1):
                if not on_disk(folder.exists):
                    return
                try:
                    apart_for(REMOVAL_SECONDS, shutil.rmtree, str(folder))
                    return
                except TimeoutError:
                    raise
                except OSError as error:  # another process adds a file, or removes the folder, too
                    if on_disk(_has_only_open, folder):
                        return
                    if error.errno not in (errno.ENOTEMPTY, errno.ENOENT) or not tries_left:
                        raise

    def sweep(self, keys_of: Callable[[str], set[str] | None], seconds: float) -> int:
        """Remove files that are older and belong to no message; returns how many.

        A crash leaves such files. `keys_of` gives the keys of a chat's files, or None for a chat
        that the store has never had: its files stay, because they may belong to another store.
        """
        if not self.exists():
            return 0
        with file_errors():
            before, count, turns = on_disk(self._now) - seconds, 0, Turns()
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


class _Distant(io.RawIOBase):
    """A file that is read in a thread."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hangs = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(place, whence)  # asks no disk

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:  # into memory of its own: a read that comes too late must not write into another's
            piece = on_disk(self._file.read, len(buffer))
        except OSError as error:
            self._hangs = isinstance(error, TimeoutError)
            log.error("a file cannot be read on: %s", error.strerror)
            raise ConnectionResetError(errno.ECONNRESET, NOT_WHOLE) from None
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            with contextlib.suppress(OSError):
                # At once, unless its disk hangs: the next file may need the descriptor.
                on_disk(self._file.close) if self._hangs else self._file.close()
        super().close()


def on_disk(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call it in a thread; TimeoutError, which is an OSError, if the disk hangs."""
    return apart_for(ANSWER_SECONDS, function, *arguments, **named)


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
        return on_disk(os.fstat, file.fileno()).st_nlink == 0
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
