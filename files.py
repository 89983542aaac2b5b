"""Visitors' files on the disk, a folder for each chat; and rules for their names and types.

A file survives power loss once `keep` has returned. Its name on the disk is its key, which cannot
be guessed; the store knows to which message it belongs. Knows nothing of HTTP.
"""

import contextlib
import os
import re
import secrets
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import gevent  # type: ignore[import-untyped]

from bbcode import file_html
from store.database import StoreUnavailable
from store.records import File

KEY_BYTES = 24
NAME_LIMIT = 100  # characters
TYPED_LIMIT = 1000  # characters of a name that are looked at; systems allow 255
RESERVE_BYTES = 256 << 20  # with less free space no file is taken: messages need the rest
ARRIVING = "arriving"  # the folder of uploads under way; no chat id is the same
JOINERS = "\u200c\u200d"  # Persian and emoji are written with them

# Pictures, which a browser shows in a page and never runs, by their first bytes.
PICTURES = {
    "image/png": rb"\x89PNG\r\n\x1a\n",
    "image/jpeg": rb"\xff\xd8\xff",
    "image/gif": rb"GIF8[79]a",
    "image/webp": rb"(?s:RIFF....WEBP)",
}
PICTURE_ENDINGS = {"png", "jpg", "jpeg", "gif", "webp"}
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


class Files:
    """The folder of all files. Every method raises StoreUnavailable when it cannot be used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def arriving(self) -> IO[bytes]:
        """A new file for an upload; the caller ends it with `keep` or `discard`."""
        with _errors():
            folder = self._made_folder(ARRIVING)
            if shutil.disk_usage(folder).free < RESERVE_BYTES:
                raise StoreUnavailable("the disk of storage.files is full")
            # The file has a name, so that `keep` can rename it and need not copy it.
            return tempfile.NamedTemporaryFile(dir=folder, prefix="", delete=False)

    def discard(self, file: IO[bytes]) -> None:
        """Close a received file, and remove it unless it was kept."""
        file.close()
        with contextlib.suppress(OSError):
            os.unlink(file.name)

    def keep(self, file: IO[bytes], chat_id: str) -> str:
        """Make a received file the chat's; returns its key."""
        key = secrets.token_hex(KEY_BYTES)
        with _errors():
            file.flush()
            _sync(file.fileno())
            os.replace(file.name, self._made_folder(chat_id) / key)
            for folder in (self._folder / chat_id, self._folder, self._folder.parent):
                descriptor = os.open(folder, os.O_RDONLY)
                try:
                    _sync(descriptor)
                finally:
                    os.close(descriptor)
        return key

    def path(self, chat_id: str, key: str) -> Path:
        return self._folder / chat_id / key

    def remove(self, chat_id: str, key: str) -> None:
        with _errors():
            self.path(chat_id, key).unlink(missing_ok=True)

    def remove_chat(self, chat_id: str) -> None:
        """Remove all files of a chat; call it after the store has deleted the chat."""
        with _errors(), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._folder / chat_id)

    def sweep(self, keys_of: Callable[[str], set[str] | None], before: float) -> int:
        """Remove files that are older than `before` and belong to no message; returns how many.

        A crash leaves such files. `keys_of` gives the keys of a chat's files, or None for a chat
        that the store has never had: its files stay, because they may belong to another store.
        """
        count = 0
        with _errors():
            for folder in self._folder.iterdir() if self._folder.is_dir() else ():
                old = [path for path in folder.iterdir() if path.lstat().st_mtime < before]
                keys = set() if folder.name == ARRIVING else keys_of(folder.name)
                for path in old:
                    if keys is not None and path.name not in keys:
                        path.unlink(missing_ok=True)
                        count += 1
                with contextlib.suppress(OSError):
                    folder.rmdir()  # if it is empty
        return count

    def _made_folder(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder


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
    return short_name(" ".join(name.split()).lstrip(". "), NAME_LIMIT)


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


def media_type(name: str, head: bytes) -> str:
    """The type as which a file is served; `head` is its first bytes, which a picture must match."""
    if ending(name) not in PICTURE_ENDINGS:
        return OTHERS.get(ending(name), "application/octet-stream")
    types = (media for media, start in PICTURES.items() if re.match(start, head))
    return next(types, "application/octet-stream")


def _sync(descriptor: int) -> None:
    """fsync in a thread, so that a slow disk holds up no other request of this process."""
    gevent.get_hub().threadpool.apply(os.fsync, (descriptor,))


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__  # without the path: it holds the key
        raise StoreUnavailable(f"storage.files: {reason}") from None


def files_html(files: tuple[File, ...]) -> str:
    """The HTML of a message's files."""
    return "<br>".join(file_html(file.name, file.type, file.link, file.size) for file in files)
