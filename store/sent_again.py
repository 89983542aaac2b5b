"""The messages of chats that have got another owner, sent once more to the pages that are open."""

from store.database import Connection, Group, transaction
from store.rows import next_revision
from turns import Turns

SENT_TOGETHER = 50  # messages of one transaction, which takes up to 4 ms


class SentAgain(Group):
    def send(self, chat_ids: list[str]) -> None:
        """Give the chats' messages new revisions: streams of the old and the new owner send them.

        In pieces, because a chat may have very many. If a crash interrupts it, the open pages show
        the others as soon as they are loaded again.
        """
        turns = Turns()
        row = self._database.row("select value from meta where key = 'revision'")
        before = int(row["value"]) if row else 0
        for chat_id in chat_ids:
            while self._send_some(chat_id, before):
                turns.rest()

    @transaction
    def _send_some(self, db: Connection, chat_id: str, before: int) -> bool:
        """Send the first messages that did not change after `before`; False if these are all."""
        rows = db.execute(
            "select id from messages where chat_id = ? and revision <= ? order by revision limit ?",
            (chat_id, before, SENT_TOGETHER),
        ).fetchall()
        for row in rows:
            db.execute(
                "update messages set revision = ? where id = ?", (next_revision(db), row["id"])
            )
        return len(rows) == SENT_TOGETHER
