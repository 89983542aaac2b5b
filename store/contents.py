"""Visitors' files in the database, in pieces: any host gives out what another one has received.

A file is whole before its first piece is written. Each piece has a transaction of its own, so that
others write in between, and the last transaction makes the file visible. No file is in memory as a
whole. Times are those of the database's machine, whatever the clocks of the hosts say.
"""

import errno
import io
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from store.database import Connection, Database, Group, StoreUnavailable, transaction
from store.file_folder import check_room
from store.kept import KeptFile
from turns import Turns

log = logging.getLogger(__name__)

PIECE_BYTES = 256 << 10  # of each piece but the last; those that are kept are as large
REMOVED_TOGETHER = 4  # pieces in one transaction: a file is overwritten where they were
READ_BYTES = 64 << 10  # that a reader hands on at once, at least
NAMED = "select f.key, m.chat_id from files f join messages m on m.id = f.message_id"
NOT_HERE = "f.key not in (select key from kept_files where is_whole = 1)"
OURS = "select 1 from kept_files where key = ? and begun_at = ?"
TAKEN = "a file was removed, or begun anew, while it was written"
LEAST_SECONDS = 0.001  # between two moments that differ, however coarse the clock is
NAMES = 500  # of files, in one read


class Received(Protocol):
    """A file that was received as a whole."""

    def seek(self, place: int, /) -> int: ...
    def read(self, size: int, /) -> bytes: ...


class ContentTables(Group):
    def __init__(self, database: Database, disk: Path | None) -> None:
        """`disk` is the folder of a database that is a file, whose disk keeps a reserve."""
        super().__init__(database)
        self._disk = disk

    # -- keeping

    def keep(self, file: Received, chat_id: str, key: str) -> None:
        """Keep a file; it is there as a whole when this returns, and else not at all.

        What another process has finished under this key stays, whatever happens here.
        """
        turns, size = Turns(), 0
        file.seek(0)
        begun, is_empty = self._begin(chat_id, key)
        try:
            while not is_empty:  # a move that was broken off has left a part
                is_empty = self._remove_pieces(key, begun)
                turns.give_way()
            while piece := file.read(PIECE_BYTES):
                if self._disk is not None:
                    check_room(self._disk, len(piece))
                self._add(key, begun, size // PIECE_BYTES, piece)
                size += len(piece)
                turns.give_way()
            self._finish(key, begun, size)
        except BaseException:
            with suppress(StoreUnavailable):  # else it is swept
                while self._remove_some(key, begun):
                    turns.give_way()
            raise

    @transaction
    def _begin(self, db: Connection, chat_id: str, key: str) -> tuple[float, bool]:
        """Begin a file, or take over one that is not whole; its moment, and whether it is empty.

        Whoever had begun it before finds another moment there, and writes no more.
        """
        now = float(db.execute("select now from clock").fetchone()["now"])
        former = db.execute("select * from kept_files where key = ?", (key,)).fetchone()
        if former is None:
            new = "insert into kept_files (key, chat_id, begun_at) values (?, ?, ?)"
            db.execute(new, (key, chat_id, now))
            return now, True
        if former["is_whole"] or former["chat_id"] != chat_id:
            raise StoreUnavailable("another file has this key")
        now = max(now, float(former["begun_at"]) + LEAST_SECONDS)
        db.execute("update kept_files set begun_at = ? where key = ?", (now, key))
        return now, False

    @transaction
    def _add(self, db: Connection, key: str, begun: float, number: int, piece: bytes) -> None:
        if not db.execute(OURS, (key, begun)).fetchone():
            raise StoreUnavailable(TAKEN)
        db.execute("insert into pieces values (?, ?, ?)", (key, number, piece))

    @transaction
    def _finish(self, db: Connection, key: str, begun: float, size: int) -> None:
        whole = "update kept_files set size = ?, is_whole = 1 where key = ? and begun_at = ?"
        if not db.execute(whole, (size, key, begun)).rowcount:
            raise StoreUnavailable(TAKEN)

    @transaction
    def _remove_pieces(self, db: Connection, key: str, begun: float) -> bool:
        """Remove some pieces of a file that we have begun; whether no more are there."""
        if not db.execute(OURS, (key, begun)).fetchone():
            raise StoreUnavailable(TAKEN)
        return _removed_all(db, key)

    # -- reading

    def open(self, chat_id: str, key: str) -> KeptFile | None:
        """A file, open to be read piece by piece; None if it is not here.

        Reading it raises ConnectionResetError once it is deleted, or while the database cannot be
        used: whoever is given the file has then not got all of it.
        """
        row = self._database.row(
            "select size, begun_at from kept_files"
            " where key = ? and chat_id = ? and is_whole = 1",
            key, chat_id,
        )  # fmt: skip
        if row is None:
            return None
        pieces = _Pieces(lambda number: self._piece(key, number), row["size"])
        return KeptFile(io.BufferedReader(pieces, READ_BYTES), row["size"], row["begun_at"])

    def _piece(self, key: str, number: int) -> bytes | None:
        row = self._database.row(
            "select content from pieces where key = ? and number = ?", key, number
        )
        return bytes(row["content"]) if row else None

    def are_elsewhere(self) -> bool:
        """Whether the store names a file that is not here."""
        return bool(self._database.rows(f"{NAMED} where {NOT_HERE} limit 1"))

    def is_named(self, key: str) -> bool:
        """Whether a message that is not deleted has this file."""
        living = "m.chat_id in (select id from living_chats)"
        return bool(self._database.rows(f"{NAMED} where f.key = ? and {living}", key))

    def newest(self) -> tuple[str, str] | None:
        """Chat and key of the newest file that the store names, wherever it is."""
        row = self._database.row(f"{NAMED} order by f.message_id desc limit 1")
        return (row["chat_id"], row["key"]) if row else None

    def named_after(self, key: str) -> list[tuple[str, str]]:
        """Chats and keys of files that the store names, by their keys, after this one."""
        rows = self._database.rows(f"{NAMED} where f.key > ? order by f.key limit ?", key, NAMES)
        return [(row["chat_id"], row["key"]) for row in rows]

    # -- removing

    def remove(self, chat_id: str, key: str) -> None:
        turns = Turns()
        while row := self._database.row(
            "select begun_at from kept_files where key = ? and chat_id = ?", key, chat_id
        ):
            self._remove_some(key, row["begun_at"])
            turns.give_way()

    def remove_chat(self, chat_id: str) -> None:
        for row in self._database.rows("select key from kept_files where chat_id = ?", chat_id):
            self.remove(chat_id, row["key"])

    @transaction
    def _remove_some(self, db: Connection, key: str, begun: float) -> bool:
        """Remove some pieces, and the file with the last of them; whether there is more of it.

        Nobody finds it any more. One that was begun at another moment is another one.
        """
        if not db.execute(OURS, (key, begun)).fetchone():
            return False
        if _removed_all(db, key):
            db.execute("delete from kept_files where key = ?", (key,))
            return False
        db.execute("update kept_files set is_whole = 0 where key = ?", (key,))
        return True

    def sweep(self, _: Callable[[str], set[str] | None], seconds: float) -> int:
        """Remove files that are older and belong to no message; returns how many.

        Those are of uploads that a crash broke off. All files here are this store's.
        """
        rows = self._database.rows(
            "select key, chat_id from kept_files"
            " where begun_at < (select now from clock) - ?"
            " and not exists (select 1 from files where files.key = kept_files.key)",
            seconds,
        )
        for row in rows:
            self.remove(row["chat_id"], row["key"])
        return len(rows)


def _removed_all(db: Connection, key: str) -> bool:
    """Remove some pieces of a file; whether no more are there."""
    removed = db.execute(
        "delete from pieces where key = ? and number in"
        " (select number from pieces where key = ? order by number limit ?)",
        (key, key, REMOVED_TOGETHER),
    ).rowcount
    return removed < REMOVED_TOGETHER


class _Pieces(io.RawIOBase):
    """A file of pieces, one of which is in memory."""

    def __init__(self, piece: Callable[[int], bytes | None], size: int) -> None:
        self._ask = piece
        self._size = size
        self._place = 0
        self._number, self._piece = -1, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, start + place)
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._place >= self._size:
            return 0
        number, start = divmod(self._place, PIECE_BYTES)
        if number != self._number:
            self._number, self._piece = number, self._asked(number)
        part = self._piece[start : start + len(buffer)]
        buffer[: len(part)] = part
        self._place += len(part)
        return len(part)

    def _asked(self, number: int) -> bytes:
        try:
            piece = self._ask(number)
        except StoreUnavailable as error:
            log.error("a file cannot be read on: %s", error)
            piece = None
        expected = min(PIECE_BYTES, self._size - number * PIECE_BYTES)
        if piece is None or len(piece) != expected:
            raise ConnectionResetError(errno.ECONNRESET, "the file could not be read to its end")
        return piece
