"""A conversation in the order of its messages: forwards, backwards, and what a vote needs of it.

Each method reads as many messages as it gives, wherever in a long conversation they stand.
"""

from store.database import Group
from store.records import Message, Words
from store.rows import message_of


class ConversationReading(Group):
    def latest(self, chat_id: str, before: int | None, limit: int) -> list[Message]:
        """The last `limit` messages (before the message `before`) of all parts, oldest first."""
        # Two parts may have messages at the same position: then the ids decide.
        earlier = "" if before is None else (
            " and (position, id) < (select position, id from messages where id = :before)"
        )  # fmt: skip
        rows = [
            row
            for part in self.parts(chat_id)
            for row in self._database.rows(
                f"select * from messages where chat_id = :chat{earlier}"  # noqa: S608  ours alone
                " order by position desc, id desc limit :limit",
                chat=part, before=before, limit=limit,
            )
        ]  # fmt: skip
        rows.sort(key=lambda row: (row["position"], row["id"]), reverse=True)
        return [message_of(row) for row in reversed(rows[:limit])]

    def following(self, chat_id: str, after: Message | None, limit: int) -> list[Message]:
        """The first `limit` messages (after the message `after`) of all parts, oldest first."""
        position, number = (after.position, after.id) if after else (float("-inf"), 0)
        rows = [
            row
            for part in self.parts(chat_id)
            for row in self._database.rows(
                "select * from messages where chat_id = ? and (position, id) > (?, ?)"
                " order by position, id limit ?",
                part, position, number, limit,
            )
        ]  # fmt: skip
        rows.sort(key=lambda row: (row["position"], row["id"]))
        return [message_of(row) for row in rows[:limit]]

    def words_before(self, message: Message, limit: int) -> list[Words]:
        """What the last `limit` messages of the chat before this one say; the latest first."""
        rows = self._database.rows(
            "select author, text, asks_vote from messages where chat_id = ? and position < ?"
            " order by position desc limit ?",
            message.chat_id, message.position, limit,
        )  # fmt: skip
        return [Words(row["author"], row["text"], bool(row["asks_vote"])) for row in rows]

    def parts(self, chat_id: str) -> list[str]:
        """The ids of the chat and of its parts; each of them has a dialog of its own."""
        owned = self._database.rows("select id from chats where owner = ?", chat_id)
        return [chat_id, *(row["id"] for row in owned)]
