"""Visitors' messages that a restored store has lost: the portal has them, under our own ids.

They come back under these ids, so that a page which still shows them knows them again.
"""

from collections.abc import Collection
from dataclasses import dataclass

from store.database import Connection, Database, Group, transaction
from store.records import File
from store.rows import give_up_claim, next_revision, stored_files


@dataclass(frozen=True)
class LostMessage:
    id: int  # ours
    im_message_id: int
    im_chat_id: int
    text: str
    text_html: str
    files: tuple[File, ...]  # their names alone: what was in them is lost
    files_html: str
    sent_at: float


class LostTables(Group):
    def __init__(self, database: Database, renderer: int) -> None:
        super().__init__(database)
        self._renderer = renderer

    def unknown(self, ids: Collection[int]) -> set[int]:
        """Those of some hundred ids that no message here has."""
        places = ", ".join("?" * len(ids))
        rows = self._database.rows(f"select id from messages where id in ({places})", *ids)  # noqa: S608
        return {*ids} - {row["id"] for row in rows}

    @transaction
    def add(self, db: Connection, chat_id: str, messages: list[LostMessage]) -> int:
        """Put lost messages of a chat back, each before what its visitor wrote later; how many."""
        living = "select name from living_chats where id = ?"
        chat = db.execute(living, (chat_id,)).fetchone()
        if chat is None:
            return 0
        count = 0
        for message in messages:
            revision = next_revision(db)
            give_up_claim(db, chat_id, message.im_message_id)
            count += db.execute(
                "insert into messages (id, revision, position, chat_id, author, name, text, html,"
                " renderer, sent_at, state, files, files_html, im_message_id, im_chat_id)"
                " values (?, ?, ?, ?, 'visitor', ?, ?, ?, ?, ?, 'delivered', ?, ?, ?, ?)"
                " on conflict do nothing",
                (message.id, revision, _position(db, chat_id, message.id, revision), chat_id,
                 chat["name"], message.text, message.text_html, self._renderer, message.sent_at,
                 stored_files(message.files), message.files_html, message.im_message_id,
                 message.im_chat_id),
            ).rowcount  # fmt: skip
        return count


def _position(db: Connection, chat_id: str, message_id: int, revision: int) -> float:
    """The place before the visitor's next message: our ids rise as they wrote."""
    following = db.execute(
        "select min(position) as position from messages"
        " where chat_id = ? and id > ? and author = 'visitor'",
        (chat_id, message_id),
    ).fetchone()["position"]
    if following is None:
        return revision
    before = db.execute(
        "select max(position) as position from messages where chat_id = ? and position < ?",
        (chat_id, following),
    ).fetchone()["position"]
    return float((following - 1 if before is None else before) + following) / 2
