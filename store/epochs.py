"""The store's epoch: a new one begins when the store may have gone back to an earlier state.

That is so when it was restored from a backup. Pages name the epoch of what they have seen.
"""

import secrets

from store.database import Connection, Group, transaction
from store.queue import pieces_of_queue


class EpochTables(Group):
    def current(self) -> str:
        """The present epoch; "" in a backup, until somebody works with it."""
        row = self._database.row("select value from meta where key = 'epoch'")
        return str(row["value"]) if row else ""

    def begin(self, written_until: float, error: str) -> None:
        """Begin a new epoch: the state of this store is that of the time `written_until`.

        Queued messages may have reached the portal since: they are in doubt because of `error`, if
        the portal can be asked for them. The epoch begins when all of them are in doubt: if our
        process dies before, the next one begins it.
        """
        for first, last in pieces_of_queue(self._database):
            self._doubt(first, last, written_until, error)
        self._begin()

    @transaction
    def _doubt(
        self, db: Connection, first: int, last: int, written_until: float, error: str
    ) -> None:
        db.execute(
            "update deliveries set state = 'in doubt', called_at = ?, error = ?"
            " where id between ? and ? and state = 'queued' and kind = 'message'"
            " and exists (select 1 from chats where chats.id = deliveries.chat_id"
            " and coalesce(portal_chat_id, portal_user_id, session_id) is not null)",
            (written_until, error, first, last),
        )

    @transaction
    def _begin(self, db: Connection) -> None:
        db.execute("update meta set value = ? where key = 'epoch'", (secrets.token_hex(8),))
