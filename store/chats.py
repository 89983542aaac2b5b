"""Chats, each of one visitor on one site: their parts, their dialogs at the portal, deletion.

A chat that a customer began before they logged in becomes a part of the customer's chat.
"""

import contextlib

from store.database import Connection, Group, StoreUnavailable, transaction
from store.records import Chat, Dialog
from store.rows import chat_of, know_dialog, next_revision


class ChatTables(Group):
    def find(self, chat_id: str) -> Chat | None:
        row = self._database.row("select * from chats where id = ?", chat_id)
        return chat_of(row) if row else None

    def find_open(self, chat_id: str) -> Chat | None:
        """The chat that new messages of this visitor go to: the chat itself, else its latest part.

        None if there is neither, and for a chat that is a part of another chat.
        """
        row = self._database.row(
            "select * from chats where (id = :chat and owner is null) or owner = :chat"
            " order by id = :chat desc, created_at desc",
            chat=chat_id,
        )
        return chat_of(row) if row else None

    @transaction
    def make_part(self, db: Connection, chat_id: str, owner: str) -> None:
        """Make a chat that a customer began before they logged in a part of their chat `owner`."""
        db.execute(
            "update chats set owner = :owner where id = :chat and owner is null"
            " and not exists (select 1 from chats where owner = :chat)"
            " and not exists (select 1 from deletions where id = :owner)",
            {"owner": owner, "chat": chat_id},
        )
        # With new revisions the streams of both chats send these messages again.
        for row in db.execute("select id from messages where chat_id = ?", (chat_id,)).fetchall():
            db.execute(
                "update messages set revision = ? where id = ?", (next_revision(db), row["id"])
            )

    # -- deletion

    def delete(self, chat_id: str, now: float) -> list[str]:
        """Remove a chat with its parts, messages and deliveries for good; returns the chats' ids.

        Only the ids stay, digests of random tokens: by them we turn away what the portal still
        sends for a deleted chat.
        """
        parts = self._delete(chat_id, now)
        with contextlib.suppress(StoreUnavailable):  # the chat is deleted; its traces go later
            self._database.settle(at_once=True)
        return parts

    @transaction
    def _delete(self, db: Connection, chat_id: str, now: float) -> list[str]:
        owned = db.execute("select id from chats where owner = ?", (chat_id,)).fetchall()
        parts = [chat_id, *(row["id"] for row in owned)]
        for part in parts:
            db.execute("delete from chats where id = ?", (part,))  # and, by cascade, all it has
            db.execute("delete from hits where who = ?", (part,))
            db.execute(
                "insert into deletions (id, deleted_at) values (?, ?) on conflict (id) do nothing",
                (part, now),
            )
        return parts

    def was_deleted(self, chat_id: str) -> bool:
        return self._database.row("select 1 from deletions where id = ?", chat_id) is not None

    def deleted_after(self, number: int) -> tuple[int, set[str]]:
        """The number of the latest deletion, and the chats deleted after deletion `number`."""
        rows = self._database.rows("select number, id from deletions where number > ?", number)
        latest = max((row["number"] for row in rows), default=number)
        return latest, {row["id"] for row in rows}

    def is_over(self, chat_id: str) -> bool:
        """Whether the chat was deleted or is a part of another: its visitor needs another chat."""
        row = self._database.row("select owner from chats where id = ?", chat_id)
        return row["owner"] is not None if row else self.was_deleted(chat_id)

    # -- visitors' files

    def file_keys(self, chat_id: str) -> set[str] | None:
        """The keys of a chat's files; None for a chat that this store has never had."""
        if self.find(chat_id) is None and not self.was_deleted(chat_id):
            return None
        rows = self._database.rows(
            "select f.key from files f join messages m on m.id = f.message_id where m.chat_id = ?",
            chat_id,
        )
        return {row["key"] for row in rows}

    # -- dialogs at the portal

    @transaction
    def note_dialog(
        self,
        db: Connection,
        chat_id: str,
        line: int,
        portal_chat_id: int,
        portal_user_id: int,
        session_id: int,
        closed_at: float | None,
    ) -> None:
        """Note the portal's ids of a chat's dialog and session, and when the dialog was closed.

        The end becomes a system message with an empty text: the page words it in its language.
        """
        chat = db.execute("select * from chats where id = ?", (chat_id,)).fetchone()
        if chat is None or (chat["session_id"] or 0) > session_id:  # late: a newer one is known
            return
        if closed_at is not None and chat["closed_at"] is None:
            db.execute(
                "insert into messages (revision, position, chat_id, author, text, html, renderer,"
                " sent_at, state, ends_dialog)"
                " values (:revision, :revision, :chat, 'system', '', '', 0, :at, 'stored', 1)",
                {"revision": next_revision(db), "chat": chat_id, "at": closed_at},
            )
        db.execute(
            "update chats set dialog_line = ?, portal_chat_id = ?, portal_user_id = ?,"
            " session_id = ?, closed_at = ? where id = ?",
            (line, portal_chat_id, portal_user_id, session_id, closed_at, chat_id),
        )
        # A lookup can find messages in doubt now that their dialog is known: they are due at once.
        db.execute(
            "update deliveries set due = 0 where chat_id = ? and state = 'in doubt'", (chat_id,)
        )
        know_dialog(db, chat_id, portal_chat_id, line)

    def dialogs_in_conversation(self, since: float) -> list[Dialog]:
        """The dialogs of chats that were active after `since`, the one active last first."""
        rows = self._database.rows(
            "select c.*, d.portal_chat_id as of_dialog, d.line as line_of_dialog, d.checked_im_id"
            " from dialogs d join chats c on c.id = d.chat_id where c.active_at >= ?"
            " order by c.active_at desc",
            since,
        )
        return [
            Dialog(row["of_dialog"], row["line_of_dialog"], row["checked_im_id"], chat_of(row))
            for row in rows
        ]

    @transaction
    def note_checked(self, db: Connection, dialog: Dialog, im_message_id: int) -> None:
        """Note that a recovery has compared the portal's history with ours up to this message."""
        db.execute(
            "update dialogs set checked_im_id = ? where portal_chat_id = ?",
            (im_message_id, dialog.portal_chat_id),
        )
