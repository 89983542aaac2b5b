"""The portal's dialogs of our chats: which there are, and how far their histories were compared."""

from collections.abc import Sequence

from store.database import Connection, Group, transaction
from store.records import Dialog
from store.rows import chat_of, know_dialog, next_message_id, next_revision
from turns import Turns

CHATS_AT_ONCE = 200  # in one read of all that were active


class DialogTables(Group):
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
        chat = db.execute("select * from living_chats where id = ?", (chat_id,)).fetchone()
        if chat is None or (chat["session_id"] or 0) > session_id:  # late: a newer one is known
            return
        if closed_at is not None and chat["closed_at"] is None:
            db.execute(
                "insert into messages (id, revision, position, chat_id, author, text, html,"
                " renderer, sent_at, state, ends_dialog)"
                " values (:id, :revision, :revision, :chat, 'system', '', '', 0, :at, 'stored', 1)",
                {
                    "id": next_message_id(db, closed_at),
                    "revision": next_revision(db),
                    "chat": chat_id,
                    "at": closed_at,
                },
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

    def in_conversation(self, since: float) -> list[int]:
        """The portal's numbers of dialogs whose chats were active after `since`, latest first."""
        # Read from the oldest on: a chat that becomes active meanwhile is still to come, once more.
        found: dict[int, None] = {}
        turns, last = Turns(), (since, "")
        while rows := self._database.rows(
            "select c.active_at, c.id, d.portal_chat_id"
            " from (select active_at, id from living_chats where (active_at, id) > (?, ?)"
            " order by active_at, id limit ?) c left join dialogs d on d.chat_id = c.id"
            " order by c.active_at, c.id",
            *last, CHATS_AT_ONCE,
        ):  # fmt: skip
            for row in rows:
                if row["portal_chat_id"] is not None:
                    found.pop(row["portal_chat_id"], None)
                    found[row["portal_chat_id"]] = None
            last = (rows[-1]["active_at"], rows[-1]["id"])
            turns.give_way()
        return list(reversed(found))

    def find(self, portal_chat_ids: Sequence[int]) -> dict[int, Dialog]:
        """Those dialogs by the portal's numbers, without those of chats that are deleted."""
        places = ", ".join("?" * len(portal_chat_ids))
        rows = self._database.rows(
            "select c.*, d.portal_chat_id as of_dialog, d.line as line_of_dialog, d.checked_im_id"  # noqa: S608
            " from dialogs d join living_chats c on c.id = d.chat_id"
            f" where d.portal_chat_id in ({places})",
            *portal_chat_ids,
        )
        return {
            row["of_dialog"]: Dialog(
                row["of_dialog"], row["line_of_dialog"], row["checked_im_id"], chat_of(row)
            )
            for row in rows
        }

    @transaction
    def note_checked(self, db: Connection, dialog: Dialog, im_message_id: int) -> None:
        """Note that a recovery has compared the portal's history with ours up to this message."""
        db.execute(
            "update dialogs set checked_im_id = ? where portal_chat_id = ?",
            (im_message_id, dialog.portal_chat_id),
        )
