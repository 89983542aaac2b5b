"""Visitors' files on the disk, a folder for each chat; and rules for their names and types.

A reserve of the disk is left to messages, also while many files arrive at once. A file survives
power loss once `keep` has returned. Its name on the disk is its key, which cannot be guessed; the
store knows to which message it belongs. Knows nothing of HTTP.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bbcode import file_html
from store.database import DISK_FULL, DiskFull, StoreUnavailable
from store.records import File
from turns import Turns, apart
from visible import is_visible

KEY_BYTES = 24
NAME_LIMIT = 100  # characters
TYPED_LIMIT = 1000  # characters of a name that are looked at; systems allow 255
RESERVE_BYTES = 256 << 20  # with less free space no file is taken: messages need the rest
SLACK_BYTES = 1 << 20  # other processes may write between our look at the free space and our write
REMOVALS = 3  # tries to remove a folder into which another process may put a file
ARRIVING = "arriving"  # the folder of uploads under way; no chat id is the same
JOINERS = "\u200c\u200d"  # Persian and emoji are written with them

HEAD_BYTES = 64  # the first bytes of a file, which tell what picture it is

# Pictures, which a browser shows in a page and never runs, by their first bytes.
PICTURES = {
    "image/png": rb"\x89PNG\r\n\x1a\n",
    "image/jpeg": rb"\xff\xd8\xff",
    "image/gif": rb"GIF8[79]a",
    "image/webp": rb"(?s:RIFF....WEBP)",
    "image/avif": rb"(?s:....ftyp(?:avi[fs]|m[is]f1(?:.{4})+?avif))",
    "image/heic": rb"(?s:....ftyp(?:he[iv][cmsx]|m[is]f1))",  # few browsers show it
}
BEGINNINGS = b"\x89\xffGR\0"  # of all of them
ENDINGS = {  # the first one is given to a picture whose name has another
    "image/png": ("png",),
    "image/jpeg": ("jpg", "jpeg", "jpe", "jfif"),
    "image/gif": ("gif",),
    "image/webp": ("webp",),
    "image/avif": ("avif",),
    "image/heic": ("heic", "heif"),
}
PICTURE_ENDINGS = {ending for endings in ENDINGS.values() for ending in endings}
OTHERS = {  # other types by the file's ending; they are only downloaded
    "pdf": "application/pdf",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
    "ogg": "audio/ogg",
    "wav": "audio/wav",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
}


class Arrival:
    """A file that an upload fills. Raises DiskFull before it would use the disk's reserve."""

    def __init__(self, file: IO[bytes], name: str, expected: int) -> None:
        self._file = file
        self.name = name
        self.expected = expected  # bytes that may still come
        self.size = 0

    def write(self, data: bytes) -> int:
        with _errors():
            # At each piece, because other uploads and processes use the same disk.
            check_room(Path(self.name).parent, len(data))
            self.size += len(data)
            self.expected = max(0, self.expected - len(data))
            return self._file.write(data)

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        with _errors():
            return self._file.seek(place, whence)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def sync(self) -> None:
        self._file.flush()
        _sync(self._file.fileno())

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what is not yet written is not needed
            self._file.close()


class Files:
    """The folder of all files. Every method raises StoreUnavailable when it cannot be used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._arrivals: set[Arrival] = set()

    def arriving(self, expected: int = 0) -> Arrival:
        """A new file for an upload of `expected` bytes; `discard` ends it, kept or not."""
        with _errors():
            folder = self._made_folder(ARRIVING)
            promised = sum(arrival.expected for arrival in self._arrivals)
            check_room(folder, promised + expected)
            # The file has a name, so that `keep` can rename it and need not copy it.
            number, name = tempfile.mkstemp(dir=folder, prefix="")
            arrival = Arrival(os.fdopen(number, "w+b"), name, expected)
        self._arrivals.add(arrival)
        return arrival

    def under_way(self) -> int:
        """How many files this process receives now."""
        return len(self._arrivals)

    def discard(self, file: Arrival) -> None:
        """Close a received file, and remove it unless it was kept."""
        self._arrivals.discard(file)
        file.close()
        with contextlib.suppress(OSError):
            os.unlink(file.name)

    def keep(self, file: Arrival, chat_id: str) -> str:
        """Make a received file the chat's; returns its key."""
        key = secrets.token_hex(KEY_BYTES)
        with _errors():
            file.sync()
            path = self._made_folder(chat_id) / key
            try:
                os.replace(file.name, path)
                for folder in (self._folder / chat_id, self._folder, self._folder.parent):
                    descriptor = os.open(folder, os.O_RDONLY)
                    try:
                        _sync(descriptor)
                    finally:
                        os.close(descriptor)
            except BaseException:
                with contextlib.suppress(OSError):
                    path.unlink()
                raise
        return key

    def path(self, chat_id: str, key: str) -> Path:
        return self._folder / chat_id / key

    def remove(self, chat_id: str, key: str) -> None:
        with _errors():
            self.path(chat_id, key).unlink(missing_ok=True)

    def remove_chat(self, chat_id: str) -> None:
        """Remove all files of a chat; call it after the store has deleted the chat."""
        folder = self._folder / chat_id
        with _errors():
            for tries_left in range(REMOVALS - 1, -1, -1):
                if not folder.exists():
                    return
                try:
                    apart(shutil.rmtree, str(folder))  # there may be thousands
                    return
                except OSError as error:  # another process adds a file, or removes the folder, too
                    if error.errno not in (errno.ENOTEMPTY, errno.ENOENT) or not tries_left:
                        raise

    def sweep(self, keys_of: Callable[[str], set[str] | None], before: float) -> int:
        """Remove files that are older than `before` and belong to no message; returns how many.

        A crash leaves such files. `keys_of` gives the keys of a chat's files, or None for a chat
        that the store has never had: its files stay, because they may belong to another store.
        """
        count, turns = 0, Turns()
        with _errors(), contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as folders:
            for folder in folders:  # read little by little: there may be very many
                keys = set() if folder.name == ARRIVING else keys_of(folder.name)
                count += 0 if keys is None else _sweep_folder(folder.path, keys, before, turns)
                with contextlib.suppress(OSError):
                    os.rmdir(folder.path)  # if it is empty
                turns.give_way()
        return count

    def _made_folder(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder


def check_room(folder: Path, wanted: int) -> None:
    """Raise DiskFull if the disk's reserve would be used by so many more bytes."""
    if shutil.disk_usage(folder).free - wanted - SLACK_BYTES < RESERVE_BYTES:
        raise DiskFull("storage.files: no room on the disk beside its reserve")


def safe_name(name: str) -> str:
    """A visitor's name for a file, without folders and invisible characters, and shortened."""
    name = re.split(r"[/\\]", name)[-1]
    # Shortened first: the time to normalise grows with the square of the number of marks in a row.
    name = unicodedata.normalize("NFC", short_name(name, TYPED_LIMIT))
    name = "".join(
        letter
        for letter in name
        if unicodedata.category(letter)[0] != "C" or letter in JOINERS + "\t\n"
    )
    name = " ".join(name.split()).lstrip(". ")
    if name and not is_visible(name.rpartition(".")[0] or name):
        name = f"file.{ending(name)}" if "." in name else "file"
    return short_name(name, NAME_LIMIT)


def short_name(name: str, limit: int) -> str:
    """The name in at most `limit` characters; it keeps its ending."""
    if len(name) <= limit:
        return name
    end = f".{ending(name)}"
    end = f"…{name[-len(end) :]}" if 1 < len(end) <= limit // 2 else "…"
    return name[: limit - len(end)] + end


def ending(name: str) -> str:
    """What follows the last dot, in lower case; "" for none."""
    return name.rpartition(".")[2].lower() if "." in name else ""


def picture_type(head: bytes) -> str:
    """The type of a picture by its first bytes; "" for anything else."""
    return next((media for media, start in PICTURES.items() if re.match(start, head)), "")


def may_become_picture(head: bytes) -> bool:
    """Whether these first bytes, fewer than HEAD_BYTES, may be those of a picture."""
    return not head or head[0] in BEGINNINGS


def is_allowed(media: str, types: Collection[str]) -> bool:
    """Whether a picture of this type is among the allowed endings, under any of its names."""
    return any(end in types for end in ENDINGS.get(media, ()))


def name_of_picture(name: str, media: str) -> str:
    """The name with an ending that fits: phones and programs give pictures the wrong ones."""
    if ending(name) in ENDINGS[media]:
        return name
    stem = name.rpartition(".")[0] if ending(name) in PICTURE_ENDINGS else name
    return short_name(f"{stem}.{ENDINGS[media][0]}", NAME_LIMIT)


def media_type(name: str, head: bytes) -> str:
    """The type as which a file is served; `head` is its first bytes, which a picture must match."""
    if ending(name) not in PICTURE_ENDINGS:
        return OTHERS.get(ending(name), "application/octet-stream")
    return picture_type(head) or "application/octet-stream"


def _sweep_folder(folder: str, keys: set[str], before: float, turns: Turns) -> int:
    """Remove the old files that have none of these keys; returns how many."""
    count = 0
    gone = contextlib.suppress(FileNotFoundError)  # another process deletes the chat
    with gone, os.scandir(folder) as files:
        for file in files:
            turns.give_way()
            with gone:
                if file.name not in keys and file.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(file.path)
                    count += 1
    return count


def _sync(descriptor: int) -> None:
    """fsync in a thread, so that a slow disk holds up no other request of this process."""
    apart(os.fsync, descriptor)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__  # without the path: it holds the key
        kind = DiskFull if error.errno in DISK_FULL else StoreUnavailable
        raise kind(f"storage.files: {reason}") from None


def files_html(files: tuple[File, ...]) -> str:
    """The HTML of a message's files."""
    return "<br>".join(file_html(file.name, file.type, file.link, file.size) for file in files)
