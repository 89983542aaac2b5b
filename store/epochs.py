"""The store's epoch: a new one begins when the store may have gone back to an earlier state.

That is so when it was restored from a backup. Pages name the epoch of what they have seen.
"""

import secrets

from store.database import Connection, Group, transaction


class EpochTables(Group):
    def current(self) -> str:
        """The present epoch; "" in a backup, until somebody works with it."""
        row = self._database.row("select value from meta where key = 'epoch'")
        return str(row["value"]) if row else ""

    @transaction
    def begin(self, db: Connection, written_until: float, error: str) -> None:
        """Begin a new epoch: the state of this store is that of the time `written_until`.

        Queued messages may have reached the portal since: they are in doubt because of `error`, if
        the portal can be asked for them.
        """
        db.execute("update meta set value = ? where key = 'epoch'", (secrets.token_hex(8),))
        db.execute(
            "update deliveries set state = 'in doubt', called_at = ?, error = ?"
            " where state = 'queued' and kind = 'message' and chat_id in (select id from chats"
            " where coalesce(portal_chat_id, portal_user_id, session_id) is not null)",
            (written_until, error),
        )
