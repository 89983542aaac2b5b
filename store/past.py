"""Conversations that were held through another program, taken in from what it has written down.

Nothing of them waits for Bitrix24: it has had all of it. That program may have let strangers write
anything down, so the portal's numbers in it are not believed: which dialog is whose, the portal
says, in its answer to the next message or in its next event. An operator's message keeps its number
as a claim, without a dialog: it tells what is known already within its own chat, and gives way to
what the portal itself says of another chat.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from store.database import Connection, Database, Group, transaction
from store.order import places_for
from store.records import Author, Chat, File
from store.rows import (
    give_up_claim,
    next_message_id,
    next_revision,
    stored_files,
    was_deleted,
)


@dataclass(frozen=True)
class PastMessage:
    """A visitor's message of long ago."""

    client_id: str  # the same at each import, so that none comes twice
    name: str
    text: str
    text_html: str
    sent_at: float


@dataclass(frozen=True)
class PastAnswer:
    """An operator's message of long ago, or the portal's own."""

    client_id: str  # as above
    author: Author
    name: str | None
    text: str
    text_html: str
    files: tuple[File, ...]
    files_html: str
    attached: str
    sent_at: float
    claimed_number: int | None  # which the portal is said to have given it


Past = PastMessage | PastAnswer


class PastTables(Group):
    def __init__(self, database: Database, renderer: int) -> None:
        super().__init__(database)
        self._renderer = renderer

    @transaction
    def add(self, db: Connection, chat: Chat, messages: Sequence[Past], now: float) -> int | None:
        """Take in messages of a chat in their order; how many are new, None if it was deleted.

        Each comes before the first message of the chat here that was sent later.
        """
        if was_deleted(db, chat.id):
            return None
        _add_chat(db, chat, now)
        messages = _unknown(db, chat.id, messages)
        sent = [now if one.sent_at is None else one.sent_at for one in messages]
        count = 0
        for message, position in zip(messages, places_for(db, chat.id, sent), strict=True):
            count += self._add(db, chat, message, position, now)
        return count

    def _add(
        self, db: Connection, chat: Chat, message: Past, position: float | None, now: float
    ) -> int:
        revision = next_revision(db)
        values = {
            "id": next_message_id(db, now), "revision": revision, "chat": chat.id,
            "position": revision if position is None else position, "text": message.text,
            "html": message.text_html, "renderer": self._renderer, "name": message.name,
            "sent": now if message.sent_at is None else message.sent_at,
            "client": message.client_id,
        }  # fmt: skip
        columns = "id, revision, position, chat_id, name, text, html, renderer, sent_at, client_id"
        given = ":id, :revision, :position, :chat, :name, :text, :html, :renderer, :sent, :client"
        if isinstance(message, PastAnswer):
            columns += ", author, state, im_message_id, files, files_html, attached"
            given += ", :author, 'stored', :im, :files, :files_html, :attached"
            values |= {
                "author": message.author, "im": _claimed(db, chat.id, message.claimed_number),
                "files": stored_files(message.files), "files_html": message.files_html,
                "attached": message.attached,
            }  # fmt: skip
        else:
            columns, given = f"{columns}, author, state", f"{given}, 'visitor', 'delivered'"
        return db.execute(
            f"insert into messages ({columns}) values ({given}) on conflict do nothing",  # noqa: S608
            values,
        ).rowcount


def _unknown(db: Connection, chat_id: str, messages: Sequence[Past]) -> list[Past]:
    """Those that the chat does not have yet."""
    rows = db.execute(
        "select client_id, im_message_id from messages where chat_id = ?", (chat_id,)
    ).fetchall()
    own, portals = ({row[name] for row in rows} for name in ("client_id", "im_message_id"))

    def is_known(one: Past) -> bool:
        number = one.claimed_number if isinstance(one, PastAnswer) else None
        return one.client_id in own or (number is not None and number in portals)

    return [one for one in messages if not is_known(one)]


def _claimed(db: Connection, chat_id: str, number: int | None) -> int | None:
    """The number that a message of this chat may have; of two chats that claim one neither has it.

    A message that came from the portal itself keeps its own.
    """
    if number is None:
        return None
    give_up_claim(db, chat_id, number)
    taken = "select 1 from messages where im_message_id = ? and chat_id <> ?"
    return None if db.execute(taken, (number, chat_id)).fetchone() else number


def _add_chat(db: Connection, chat: Chat, now: float) -> None:
    """The chat, or what it lacks here of what was known there.

    What the portal's history has of before now is not looked for: it came with the other program.
    """
    db.execute(
        "insert into chats (id, name, page, line, created_at, active_at, dialog_line,"
        " taken_over_at) values (?, ?, ?, ?, ?, ?, ?, ?) on conflict (id) do update set"
        " line = coalesce(chats.line, excluded.line),"
        " taken_over_at = coalesce(chats.taken_over_at, chats.created_at),"
        " created_at = case when chats.created_at < excluded.created_at"
        " then chats.created_at else excluded.created_at end,"
        " active_at = case when chats.active_at > excluded.active_at"
        " then chats.active_at else excluded.active_at end,"
        " dialog_line = coalesce(chats.dialog_line, excluded.dialog_line)",
        (chat.id, chat.name, chat.page, chat.line, chat.created_at, chat.active_at,
         chat.dialog_line, now),
    )  # fmt: skip
