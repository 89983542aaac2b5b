"""Visitors' files, in a folder or in the database; and rules for their names and types.

A file survives power loss once `keep` has returned. Its name is its key, which cannot be guessed;
the store knows to which message it belongs. Knows nothing of HTTP.
"""

import re
import secrets
import shutil
import unicodedata
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from bbcode import file_html
from settings import ROOT, StorageSettings
from storage import Store
from store.contents import ContentTables
from store.database import StoreUnavailable
from store.file_folder import Arrival, FileFolder
from store.kept import KeptFile
from store.records import File
from visible import is_visible

KEY_BYTES = 24
COPIED_BYTES = 1 << 20  # in memory at once
NAME_LIMIT = 100  # characters
TYPED_LIMIT = 1000  # characters of a name that are looked at; systems allow 255
JOINERS = "\u200c\u200d"  # Persian and emoji are written with them

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


class Place(Protocol):
    """Where files are kept. Every method raises StoreUnavailable when it cannot be used."""

    def keep(self, file: Arrival, chat_id: str, key: str) -> None: ...

    def open(self, chat_id: str, key: str) -> KeptFile | None:
        """A file, open to be read; None if it is not here."""
        ...

    def remove(self, chat_id: str, key: str) -> None: ...
    def remove_chat(self, chat_id: str) -> None: ...

    def sweep(self, keys_of: Callable[[str], set[str] | None], seconds: float) -> int:
        """Remove files that are older and belong to no message; returns how many."""
        ...


class Files:
    """All files. Every method raises StoreUnavailable when they cannot be used.

    New ones are kept where the settings say. Those of before are found and removed wherever they
    are, so the setting can be changed at any time.
    """

    def __init__(
        self, folder: Path, contents: ContentTables | None = None, in_database: bool = False
    ):
        """`folder` also receives what goes into the database, which `contents` are."""
        self._folder = FileFolder(folder)
        places: list[Place] = [self._folder] if contents is None else [self._folder, contents]
        self._contents = contents
        self._in_database = in_database
        self._first, *self._others = reversed(places) if in_database else places
        self._arrivals: set[Arrival] = set()

    @property
    def _places(self) -> list[Place]:
        return [self._first, *self._others]

    def arriving(self, expected: int = 0) -> Arrival:
        """A new file for an upload of `expected` bytes; `discard` ends it, kept or not."""
        if self.is_lost():
            raise StoreUnavailable("storage.files: the folder is gone")
        promised = sum(arrival.expected for arrival in self._arrivals)
        arrival = self._folder.arriving(promised, expected)
        self._arrivals.add(arrival)
        return arrival

    def make_folder(self) -> None:
        """Make the folder, for an administrator who knows that no other one is missing."""
        self._folder.make()

    def is_lost(self) -> bool:
        """Whether the folder that should have files is not there: its disk is not mounted, say.

        A new one in its place would be hidden by the disk later.
        """
        if self._in_database or self._contents is None or self._folder.exists():
            return False
        return self._contents.are_elsewhere()

    def fault(self) -> StoreUnavailable | None:
        """What would keep us from taking files, as far as that can be seen; None if nothing."""
        folder = self._folder.path
        try:
            if self.is_lost():
                gone = f"storage.files: {folder} is gone, and visitors' files with it"
                return StoreUnavailable(gone)
            is_writable = self._folder.is_writable()
        except StoreUnavailable as error:
            return error
        if not is_writable:
            return StoreUnavailable(f"storage.files: nothing can be written to {folder}")
        return None

    def under_way(self) -> int:
        """How many files this process receives now."""
        return len(self._arrivals)

    def discard(self, file: Arrival) -> None:
        """Close a received file, and remove it unless it was kept."""
        self._arrivals.discard(file)
        file.discard()

    def keep(self, file: Arrival, chat_id: str, key: str | None = None) -> str:
        """Make a received file the chat's; returns its key, a new one unless it is given."""
        key = key or secrets.token_hex(KEY_BYTES)
        self._first.keep(file, chat_id, key)
        return key

    def open(self, chat_id: str, key: str) -> KeptFile | None:
        """A file, open to be read; None if there is none."""
        # The first place again: the file may be moved there just now.
        looks = (place.open(chat_id, key) for place in (*self._places, self._first))
        return next((found for found in looks if found), None)

    def bring(self, chat_id: str, key: str) -> bool | None:
        """Move a file to where new ones are kept; False if it was there, None if it is nowhere."""
        if found := self._first.open(chat_id, key):
            found.file.close()
            self._remove_elsewhere(chat_id, key)  # of a move that was broken off
            return False
        found = self.open(chat_id, key)
        if found is None:
            return None
        with found.file:
            arrival = self.arriving(found.size)
            try:
                shutil.copyfileobj(found.file, arrival, COPIED_BYTES)
                self.keep(arrival, chat_id, key)
            except ConnectionResetError:  # it was deleted meanwhile
                if found := self.open(chat_id, key):  # or not: the place cannot be read
                    found.file.close()
                    raise StoreUnavailable("a file could not be read to its end") from None
                return None
            finally:
                self.discard(arrival)
        self._remove_elsewhere(chat_id, key)
        return True

    def _remove_elsewhere(self, chat_id: str, key: str) -> None:
        for place in self._others:
            place.remove(chat_id, key)

    def remove(self, chat_id: str, key: str) -> None:
        for place in self._places:
            place.remove(chat_id, key)

    def remove_chat(self, chat_id: str) -> None:
        """Remove all files of a chat; call it after the store has deleted the chat."""
        for place in self._places:
            place.remove_chat(chat_id)

    def sweep(self, keys_of: Callable[[str], set[str] | None], seconds: float) -> int:
        """Remove files that are older and belong to no message; returns how many.

        A crash leaves such files. `keys_of` gives the keys of a chat's files, or None for a chat
        that the store has never had.
        """
        return sum(place.sweep(keys_of, seconds) for place in self._places)


def files_of(settings: StorageSettings, store: Store) -> Files:
    """The files of a store, as the settings say."""
    return Files(ROOT / settings.files, store.contents, settings.files_in == "database")


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


def files_html(files: tuple[File, ...]) -> str:
    """The HTML of a message's files."""
    return "<br>".join(file_html(file.name, file.type, file.link, file.size) for file in files)
