"""Messages that are older than the settings let them be: found and removed, little by little.

What still waits for Bitrix24 stays, however old it is. A chat of which nothing is left goes, with
the name and the e-mail of its visitor; one in which something is written later begins anew under
the same id, so neither visitor nor operator loses the way to it.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from store.database import Connection, Group, StoreUnavailable, transaction
from turns import TURN_SECONDS, Turns

CHATS_AT_ONCE = 200  # in one read
REMOVED_TOGETHER = 5  # messages, in up to 4 ms where they are long

OLD = (
    "chat_id = :chat and sent_at < :before"
    " and not exists (select 1 from deliveries where message_id = messages.id)"
)


# A chat that is being deleted has the owner '', and goes in its own way.
LEFT_OVER = (
    "id = :chat and active_at < :before and coalesce(owner, id) <> ''"
    " and not exists (select 1 from messages where chat_id = :chat)"
)
# A part stays while the chat lives that owns it: answers to the part are that visitor's.
IS_PART = "owner in (select id from chats)"


@dataclass(frozen=True)
class Removed:
    """How much a purge has removed, or would remove."""

    messages: int = 0
    files: int = 0
    chats: int = 0

    def __add__(self, other: "Removed") -> "Removed":
        return Removed(
            self.messages + other.messages, self.files + other.files, self.chats + other.chats
        )


class RetentionTables(Group):
    def count(self, before: float) -> Removed:
        """How many messages, files and whole chats a purge would remove."""
        row = self._database.row(
            "with old as (select id, chat_id from messages where sent_at < :before"
            " and not exists (select 1 from deliveries where message_id = messages.id))"
            " select (select count(*) from old) as messages, (select count(*) from files"
            " where message_id in (select id from old)) as files, (select count(*) from chats"
            " where active_at < :before and owner is null and not exists (select 1 from messages"
            " where chat_id = chats.id and id not in (select id from old))) as chats",
            before=before,
        )
        return Removed(row["messages"], row["files"], row["chats"]) if row else Removed()

    def purge(
        self,
        before: float,
        remove_file: Callable[[str, str], None],
        remove_files: Callable[[str], None],
        stopped: Callable[[], bool] = lambda: False,
    ) -> Removed:
        """Remove what is older than `before`, its files and its traces; returns how much.

        `remove_file` is given a chat and a key, `remove_files` a chat of which nothing is left.
        """
        removed, turns, last = Removed(), Turns(), ""
        try:
            while rows := self._database.rows(
                "select id from chats where created_at < ? and id > ? order by id limit ?",
                before, last, CHATS_AT_ONCE,
            ):  # fmt: skip
                for row in rows:
                    if stopped():
                        return removed
                    removed += self._purge_chat(row["id"], before, remove_file, remove_files)
                    turns.give_way()
                last = rows[-1]["id"]
        finally:
            if removed != Removed():
                with contextlib.suppress(StoreUnavailable):  # what is in the log goes later
                    self._database.settle(at_once=True)
        return removed

    def _purge_chat(
        self,
        chat_id: str,
        before: float,
        remove_file: Callable[[str, str], None],
        remove_files: Callable[[str], None],
    ) -> Removed:
        removed, turns = Removed(), Turns()
        while self._has_old(chat_id, before):
            messages, keys = self._remove_messages(chat_id, before)
            for key in keys:  # a crash before this leaves files that are swept later
                remove_file(chat_id, key)
            removed += Removed(messages, len(keys))
            turns.rest()
        empty = self._database.row(
            f"select {IS_PART} as is_part, name || email || phone || page as told from chats"  # noqa: S608
            f" where {LEFT_OVER}",
            chat=chat_id, before=before,
        )  # fmt: skip
        if empty and empty["is_part"] and empty["told"]:
            self._forget_visitor(chat_id, before)
        elif empty and not empty["is_part"]:
            remove_files(chat_id)
            removed += Removed(chats=self._remove_chat(chat_id, before))
        return removed

    def _has_old(self, chat_id: str, before: float) -> bool:
        old = f"select 1 from messages where {OLD} limit 1"  # noqa: S608
        return self._database.row(old, chat=chat_id, before=before) is not None

    @transaction
    def _remove_messages(
        self, db: Connection, chat_id: str, before: float
    ) -> tuple[int, list[str]]:
        """Remove as many as a turn allows; returns how many, and the keys of their files."""
        values = {"chat": chat_id, "before": before, "limit": REMOVED_TOGETHER}
        oldest = f"select id from messages where {OLD} order by position limit :limit"  # noqa: S608
        until, count, keys = time.perf_counter() + TURN_SECONDS, 0, list[str]()
        # The portal's history must not be taken for lost answers where ours has been removed.
        db.execute(
            "update dialogs set checked_im_id = coalesce((select max(im_message_id) from"  # noqa: S608
            f" messages where {OLD} and im_chat_id = dialogs.portal_chat_id"
            " and im_message_id > dialogs.checked_im_id), checked_im_id) where chat_id = :chat",
            values,
        )
        while time.perf_counter() < until:
            found = db.execute(
                f"select key from files where message_id in ({oldest})",  # noqa: S608
                values,
            )
            keys += [row["key"] for row in found.fetchall()]
            removed = db.execute(f"delete from messages where id in ({oldest})", values).rowcount  # noqa: S608
            count += removed
            if removed < REMOVED_TOGETHER:
                break
        return count, keys

    @transaction
    def _forget_visitor(self, db: Connection, chat_id: str, before: float) -> None:
        forgotten = "name = '', email = '', phone = '', page = '', refused_contacts = ''"
        db.execute(
            f"update chats set {forgotten}, consent = null where {LEFT_OVER}",  # noqa: S608
            {"chat": chat_id, "before": before},
        )

    @transaction
    def _remove_chat(self, db: Connection, chat_id: str, before: float) -> int:
        return db.execute(
            f"delete from chats where {LEFT_OVER}",  # noqa: S608
            {"chat": chat_id, "before": before},
        ).rowcount
