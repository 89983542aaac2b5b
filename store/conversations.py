"""A visitor's conversation: the messages of its chat and of the chat's parts, as one.

Each method reads as many messages as it gives, wherever in a long conversation they stand.
"""

from operator import itemgetter

from store.database import Group, Row
from store.records import Message, Version, Words
from store.rows import message_of

# The columns of a Version.
VERSION = "id, revision, renderer, position, edited <> 0 as edited, im_message_id"
values_of = itemgetter(*Version._fields)
place_of = itemgetter("position", "id")


class ConversationTables(Group):
    def latest(self, chat_id: str, before: int | None, limit: int) -> list[Message]:
        """The last `limit` messages (before the message `before`), oldest first."""
        return [message_of(row) for row in reversed(self._latest(chat_id, before, limit))]

    def latest_versions(self, chat_id: str, before: int | None, limit: int) -> list[Version]:
        """The versions of the last `limit` messages (before the message `before`), latest first.

        No text is read, however long the messages are.
        """
        rows = self._latest(chat_id, before, limit, VERSION)
        return [Version._make(values_of(row)) for row in rows]

    def read(self, ids: list[int]) -> list[Message]:
        """Those of a few messages that are still there, in any order."""
        places = ", ".join("?" * len(ids))
        rows = self._database.rows(f"select * from messages where id in ({places})", *ids)  # noqa: S608
        return [message_of(row) for row in rows]

    def _latest(
        self, chat_id: str, before: int | None, limit: int, columns: str = "*"
    ) -> list[Row]:
        """The last `limit` messages (before the message `before`), the latest first."""
        # Two parts may have messages at the same position: then the ids decide.
        earlier = "" if before is None else (
            "and (position, id) < (select position, id from messages where id = :before)"
        )  # fmt: skip
        rows = self._of_each_part(
            chat_id,
            f"{earlier} order by position desc, id desc limit :limit",
            columns,
            before=before,
            limit=limit,
        )
        rows.sort(key=place_of, reverse=True)
        return rows[:limit]

    def following(self, chat_id: str, after: Message | None, limit: int) -> list[Message]:
        """The first `limit` messages (after the message `after`), oldest first."""
        position, number = (after.position, after.id) if after else (float("-inf"), 0)
        rows = self._of_each_part(
            chat_id,
            "and (position, id) > (:position, :number) order by position, id limit :limit",
            position=position,
            number=number,
            limit=limit,
        )
        rows.sort(key=place_of)
        return [message_of(row) for row in rows[:limit]]

    def changed_after(self, chat_id: str, revision: int, limit: int) -> list[Message]:
        """The first `limit` messages changed after this revision, in the order of the changes."""
        rows = self._of_each_part(
            chat_id,
            "and revision > :revision order by revision limit :limit",
            revision=revision,
            limit=limit,
        )
        rows.sort(key=lambda row: row["revision"])
        return [message_of(row) for row in rows[:limit]]

    def before_latest(self, chat_id: str, limit: int) -> int:
        """A revision after which all of the last `limit` messages have changed."""
        rows = self._of_each_part(
            chat_id,
            "order by position desc, id desc limit :limit",
            columns="position, id, revision",
            limit=limit,
        )
        rows.sort(key=place_of, reverse=True)
        return min((row["revision"] for row in rows[:limit]), default=1) - 1

    def words_before(self, message: Message, limit: int) -> list[Words]:
        """What the last `limit` messages of its part before this one say; the latest first."""
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

    def _of_each_part(
        self, chat_id: str, which: str, columns: str = "*", **values: object
    ) -> list[Row]:
        """The messages that the end `which` of the query names, of one part after another.

        Few chats have parts, and each row of the chat's own says whether this one has.
        """
        lives = "exists (select 1 from living_chats where id = :part)"
        parts = "(select count(*) from chats where owner = :part) as parts"
        query = f"select {columns}, {parts} from messages where chat_id = :part and {lives} {which}"  # noqa: S608
        rows = self._database.rows(query, part=chat_id, **values)
        if not rows or rows[0]["parts"]:
            for part in self.parts(chat_id)[1:]:
                rows += self._database.rows(query, part=part, **values)
        return rows
