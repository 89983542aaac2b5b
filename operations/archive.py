"""What a backup is: one zip archive with the store's file, visitors' files, and a list of contents.

The list is written last, so a part of an archive is never taken for the whole.
"""

import json
import re
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from store.log import address_of
from texts import Wrong

STORE, CONTENTS = "chats.db", "contents.json"
FILE = re.compile(r"files/([A-Za-z0-9_-]{1,200})/([0-9a-f]{48})")
FORMAT = 1
PIECE = 1 << 20
LONGEST_CONTENTS = 1 << 16  # bytes of the list of contents
# How we pack; of the other ways a piece may unpack to any size.
PACKED = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


class Stopped(Exception):
    """A command could not do what was asked, and has changed nothing. `why` says why."""

    def __init__(self, key: str, /, **values: object) -> None:
        self.why = Wrong(f"commands.{key}", **values)
        super().__init__(str(self.why))


@dataclass(frozen=True)
class Contents:
    """What is in an archive, as its list says."""

    made_at: float  # Unix seconds
    schema: int
    chats: int
    messages: int
    files: int
    gone: int  # files that messages name, and that are nowhere
    program: str  # the version that made it
    format: int = FORMAT

    def write(self, archive: zipfile.ZipFile) -> None:
        archive.writestr(CONTENTS, json.dumps(asdict(self), indent=2))


def contents_of(archive: zipfile.ZipFile) -> Contents:
    """Raises Stopped for what is no backup of ours.

    Nothing that a few bytes may unpack to by the GB is read: of what we pack none is so dense.
    """
    try:
        if {one.compress_type for one in archive.infolist()} - PACKED:
            raise Stopped("no_backup")
        with archive.open(CONTENTS) as member:
            text = member.read(LONGEST_CONTENTS + 1)
        if len(text) > LONGEST_CONTENTS:
            raise Stopped("no_backup")
        values: dict[str, Any] = json.loads(text)
        if values["format"] > FORMAT:
            raise Stopped("archive_newer", program=str(values["program"])[:50])
        contents = Contents(**{name: values[name] for name in Contents.__dataclass_fields__})
        archive.getinfo(STORE)
    except (KeyError, TypeError, ValueError, RecursionError, zipfile.BadZipFile):
        raise Stopped("no_backup") from None
    return contents


def copy_file(source: IO[bytes], target: IO[bytes]) -> None:
    while piece := source.read(PIECE):
        target.write(piece)


def counted(store: Path) -> dict[str, int]:
    """How much is in a copy of the store, and its schema; raises Stopped if it is damaged."""
    try:
        with closing(sqlite3.connect(address_of(store, "immutable=1"), uri=True)) as db:
            if db.execute("pragma integrity_check(1)").fetchone()[0] != "ok":
                raise Stopped("copy_damaged")

            def count(table: str) -> int:
                return int(db.execute(f"select count(*) from {table}").fetchone()[0])  # noqa: S608

            return {
                "schema": int(db.execute("pragma user_version").fetchone()[0]),
                "chats": count("chats"),
                "messages": count("messages"),
            }
    except sqlite3.DatabaseError:
        raise Stopped("copy_damaged") from None


def keeps_files(store: Path) -> bool:
    """Whether a copy of the store is of a release that can keep visitors' files in it."""
    with closing(sqlite3.connect(address_of(store, "immutable=1"), uri=True)) as db:
        return "kept_files" in _tables(db)


def _tables(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("select name from sqlite_master")}


def files_in(store: Path, note: Callable[[str, str], None]) -> int:
    """Name each visitor's file that a copy of the store names and has not: its chat and its key.

    Returns how many files the copy itself has.
    """
    named = "select m.chat_id, f.key from files f join messages m on m.id = f.message_id"
    whole = "f.key in (select key from kept_files where is_whole = 1)"
    with closing(sqlite3.connect(address_of(store, "immutable=1"), uri=True)) as db:
        tables = _tables(db)
        if "files" not in tables:  # a very early release had none
            return 0
        if "kept_files" not in tables:
            whole = "false"
        for chat_id, key in db.execute(f"{named} where not {whole}"):
            note(chat_id, key)
        kept = db.execute(f"select count(*) from ({named} where {whole})")  # noqa: S608
        return int(kept.fetchone()[0])
