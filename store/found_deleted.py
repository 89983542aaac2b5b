"""Messages of ours that the portal's history shows, or may show, as deleted."""

from store.database import Connection, Group, transaction
from store.records import Delivery, Message
from store.rows import delete_message, message_of

EARLIER_LIMIT = 50  # as many messages as the portal gives of a dialog at once


class FoundDeleted(Group):
    def take_back_known(self, chat_id: str, im_message_ids: list[int]) -> int:
        """Delete those of the operators' messages that we have; returns how many there were."""
        known = self.known(chat_id, im_message_ids)
        return self._take_back_all(known) if known else 0

    def known(self, chat_id: str, im_message_ids: list[int]) -> list[int]:
        """Our ids of those of the operators' messages that we have and that are not deleted."""
        stored = self._database.rows(
            "select id, im_message_id from messages where chat_id = ? and deleted = 0"
            " and im_message_id is not null",
            chat_id,
        )
        return [row["id"] for row in stored if row["im_message_id"] in im_message_ids]

    @transaction
    def _take_back_all(self, db: Connection, ids: list[int]) -> int:
        for message_id in ids:
            delete_message(db, message_id)
        return len(ids)

    def earlier_of_visitor(self, delivery: Delivery) -> list[Message]:
        """The visitor's last messages before the delivery's in its chat, newest first."""
        rows = self._database.rows(
            "select * from messages where chat_id = ? and author = 'visitor' and id < ?"
            " order by id desc limit ?",
            delivery.message.chat_id, delivery.message.id, EARLIER_LIMIT,
        )  # fmt: skip
        return [message_of(row) for row in rows]
