"""Conversations that were held through another program, taken in with their portal's ids.

Nothing of them waits for Bitrix24: it has had all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from store.database import Connection, Database, Group, transaction
from store.order import places_for
from store.records import Chat, OperatorMessage
from store.rows import know_dialog, next_message_id, next_revision, stored_files, was_deleted


@dataclass(frozen=True)
class PastMessage:
    """A visitor's message of long ago."""

    client_id: str  # the same at each import, so that none comes twice
    name: str
    text: str
    text_html: str
    sent_at: float


Past = PastMessage | OperatorMessage  # an operator's has a `sent_at`


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
        _add_chat(db, chat)
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
        }  # fmt: skip
        columns = "id, revision, position, chat_id, name, text, html, renderer, sent_at"
        given = ":id, :revision, :position, :chat, :name, :text, :html, :renderer, :sent"
        if isinstance(message, PastMessage):
            columns, given = f"{columns}, author, state, client_id", f"{given}, :author, :state, :c"
            values |= {"author": "visitor", "state": "delivered", "c": message.client_id}
        else:
            columns += ", author, state, im_message_id, im_chat_id, files, files_html, attached"
            given += ", :author, 'stored', :im, :dialog, :files, :files_html, :attached"
            values |= {
                "author": message.author, "im": message.im_message_id,
                "dialog": message.im_chat_id, "files": stored_files(message.files),
                "files_html": message.files_html, "attached": message.attached,
            }  # fmt: skip
            know_dialog(db, chat.id, message.im_chat_id, chat.line)
            db.execute(  # a recovery looks for answers after this one
                "update dialogs set checked_im_id = max(checked_im_id, ?)"
                " where portal_chat_id = ? and chat_id = ?",
                (message.im_message_id, message.im_chat_id, chat.id),
            )
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
    return [
        one
        for one in messages
        if (
            one.client_id not in own
            if isinstance(one, PastMessage)
            else one.im_message_id not in portals
        )
    ]


def _add_chat(db: Connection, chat: Chat) -> None:
    """The chat, or what it lacks here of what was known there."""
    db.execute(
        "insert into chats (id, name, page, line, created_at, active_at, portal_chat_id,"
        " dialog_line) values (?, ?, ?, ?, ?, ?, ?, ?) on conflict (id) do update set"
        " line = coalesce(chats.line, excluded.line),"
        " created_at = min(chats.created_at, excluded.created_at),"
        " active_at = max(chats.active_at, excluded.active_at),"
        " portal_chat_id = coalesce(chats.portal_chat_id, excluded.portal_chat_id),"
        " dialog_line = coalesce(chats.dialog_line, excluded.dialog_line)",
        (chat.id, chat.name, chat.page, chat.line, chat.created_at, chat.active_at,
         chat.portal_chat_id, chat.dialog_line),
    )  # fmt: skip
