"""What deleted chats leave behind, removed in pieces: others write and are served in between.

A chat is over from the moment of its deletion: it is none of `living_chats`. What it had goes after
that: its messages with their deliveries, the visitor's files, in the end the chat itself. So what a
crash interrupts can be found, and goes on.
"""

import contextlib
import time
from collections.abc import Callable

from store.database import Connection, Group, StoreUnavailable, transaction
from turns import TURN_SECONDS, Turns

REMOVED_TOGETHER = 5  # messages, in up to 4 ms where they are long


class Removal(Group):
    def unfinished(self, before: float) -> list[str]:
        """Chats that were deleted before this time, and of which something is left."""
        rows = self._database.rows(
            "select c.id from chats c join deletions d on d.id = c.id"
            " where c.owner = '' and d.deleted_at < ?",
            before,
        )
        return [row["id"] for row in rows]

    def living(self, limit: int) -> list[str]:
        """Chats that can be deleted, some of them; a part goes with the chat it belongs to."""
        rows = self._database.rows("select id from chats where owner is null limit ?", limit)
        return [row["id"] for row in rows]

    def remove(self, chat_ids: list[str], remove_files: Callable[[str], None]) -> None:
        """Remove all that deleted chats had, from the log of the store, too."""
        turns = Turns()
        try:
            for chat_id in chat_ids:
                while self._remove_messages(chat_id):
                    turns.rest()
            for chat_id in chat_ids:
                remove_files(chat_id)
                self._remove_chat(chat_id)
        finally:
            with contextlib.suppress(StoreUnavailable):  # what is still in the log goes later
                self._database.settle(at_once=True)

    @transaction
    def _remove_messages(self, db: Connection, chat_id: str) -> bool:
        """Remove as many messages as a turn allows; returns whether there may be more."""
        until = time.perf_counter() + TURN_SECONDS
        while time.perf_counter() < until:
            removed = db.execute(
                "delete from messages where id in"
                " (select id from messages where chat_id = ? limit ?)",
                (chat_id, REMOVED_TOGETHER),
            ).rowcount
            if removed < REMOVED_TOGETHER:
                return False
        return True

    @transaction
    def _remove_chat(self, db: Connection, chat_id: str) -> None:
        db.execute("delete from chats where id = ?", (chat_id,))
