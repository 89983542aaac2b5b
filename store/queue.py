"""The queue: what waits for delivery to Bitrix24, and what became of each call."""

from dataclasses import replace

from store.database import Connection, Group, Row, transaction
from store.limits import count_hit, count_message
from store.places import enqueue, note_served, renew_head, set_back
from store.records import Delivery, DeliveryState, Limits, Message, Outcome
from store.rows import chat_of, know_dialog, message_of, next_revision

RUN_LIMIT = 10  # messages of one chat in one call or in one lookup
NEWEST_OF = 4  # of so many chats, one is that of the newest message
DELIVERY = "select d.* from deliveries d"
HEADS = "select chat_id from deliveries where place is not null"


def heads(order: str) -> str:
    """The query for chats whose oldest unfinished message is in a state and due, in this order.

    `+due` keeps the database from reading all that is due: the index of the order gives the first.
    """
    due = "due" if order == "due" else "+due"
    return f"{HEADS} and state = ? and {due} <= ? order by {order}, id limit ?"


class QueueTables(Group):
    def due_confirmations(self, now: float, limit: int) -> list[Delivery]:
        rows = self._database.rows(
            f"{DELIVERY} join living_chats c on c.id = d.chat_id"
            " where d.kind = 'confirmation' and d.due <= ? order by d.id limit ?",
            now, limit,
        )  # fmt: skip
        return self._deliveries(rows)

    def due_messages(self, now: float, chats: int, run: int = 1) -> list[Delivery]:
        """Messages that may be sent now, of at most `chats` chats, in the order of their places.

        Of each chat at most `run` messages, beginning with its oldest unfinished one. If that one
        is not due or is in doubt, its whole chat waits; other chats do not. Every fourth chat is
        the one that began to wait last: who writes while a long backlog is sent is heard soon.
        """
        return [
            delivery
            for chat_id in self._next_chats(now, chats)
            for delivery in self._run_of(chat_id, run, "queued")
        ]

    def messages_in_doubt(self, now: float, chats: int) -> list[Delivery]:
        """Messages in doubt that are due, of at most `chats` chats, each chat's oldest first."""
        return [
            delivery
            for chat_id in self._heads("in doubt", now, chats, "due")
            for delivery in self._run_of(chat_id, RUN_LIMIT, "in doubt")
        ]

    def _next_chats(self, now: float, limit: int) -> list[str]:
        in_turn = self._heads("queued", now, limit, "place")
        if len(in_turn) < limit:
            return in_turn  # no others wait
        newest = self._heads("queued", now, limit // NEWEST_OF, "id desc")
        for place, chat_id in enumerate(newest, start=1):
            in_turn.insert(place * NEWEST_OF - 1, chat_id)
        return list(dict.fromkeys(in_turn))[:limit]

    def _heads(self, state: DeliveryState, now: float, limit: int, order: str) -> list[str]:
        """Chats whose oldest unfinished message is in this state and due."""
        rows = self._database.rows(heads(order), state, now, limit)
        return [row["chat_id"] for row in rows]

    def _run_of(self, chat_id: str, limit: int, state: DeliveryState) -> list[Delivery]:
        """A chat's oldest unfinished messages, up to the first one in another state."""
        rows = self._database.rows(
            f"{DELIVERY} where d.kind = 'message' and d.chat_id = ? order by d.id limit ?",
            chat_id, limit,
        )  # fmt: skip
        in_state = [row["state"] == state for row in rows]
        return self._deliveries(rows[: (*in_state, False).index(False)])

    def _deliveries(self, rows: list[Row]) -> list[Delivery]:
        deliveries = []
        for row in rows:
            message = self._database.row("select * from messages where id = ?", row["message_id"])
            chat = self._database.row("select * from living_chats where id = ?", row["chat_id"])
            if message is None or chat is None:  # the visitor has just deleted it
                continue
            deliveries.append(Delivery(
                row["id"], row["kind"], row["line"], row["attempts"], row["called_at"],
                row["error"], message_of(message), chat_of(chat), row["state"],
                bool(row["file_as_link"]),
            ))  # fmt: skip
        return deliveries

    @transaction
    def claim(
        self, db: Connection, deliveries: list[Delivery], line: int, now: float
    ) -> list[Delivery]:
        """Note that a call with these messages begins: if our process dies now, they are in doubt.

        Returns those that were claimed. The others were deleted with their chat, or another
        process has claimed them. Each chat keeps the line of its first call.
        """
        claimed, places = [], []
        for delivery in deliveries:
            row = db.execute(
                "update deliveries set state = 'sending', called_at = ?, line = ?, error = null"
                " where id = ? and state = 'queued'"
                " and exists (select 1 from living_chats c where c.id = deliveries.chat_id)"
                " returning place, set_back",
                (now, line, delivery.id),
            ).fetchone()
            if row is not None:
                db.execute(
                    "update chats set line = coalesce(line, ?) where id = ?",
                    (line, delivery.chat.id),
                )
                claimed.append(
                    replace(delivery, state="sending", line=line, called_at=now, error=None)
                )
                if row["place"] is not None and not row["set_back"]:
                    places.append(row["place"])
        if places:
            note_served(db, places)
        return claimed

    @transaction
    def doubt_interrupted(self, db: Connection, error: str) -> None:
        """Put in doubt what a process was sending when it died: the portal may have it."""
        db.execute(
            "update deliveries set state = 'in doubt', error = ? where state = 'sending'", (error,)
        )

    @transaction
    def make_due(self, db: Connection, now: float) -> None:
        """Make every delivery due now: after a restart, or when the clock was set back."""
        db.execute("update deliveries set due = ? where due > ?", (now, now))
        db.execute("update deliveries set called_at = ? where called_at > ?", (now, now))

    @transaction
    def record(self, db: Connection, outcomes: list[Outcome], now: float) -> None:
        """Note what became of deliveries: delivered and failed ones leave the queue."""
        for outcome in outcomes:
            delivery = outcome.delivery
            if outcome.state in ("delivered", "failed"):
                self._finish(db, outcome)
            else:
                in_doubt = outcome.state == "in doubt"
                if not in_doubt and delivery.state != "queued":  # it was in a call
                    set_back(db, delivery.id)
                call_ended_at = now if outcome.attempted else None  # None: no call, as noted before
                db.execute(
                    "update deliveries set state = ?, due = ?, error = ?,"
                    " called_at = case when ? then coalesce(?, called_at, ?) end,"
                    " attempts = attempts + ?,"
                    " file_as_link = case when ? then 1 else file_as_link end where id = ?",
                    (outcome.state, outcome.due, outcome.error, in_doubt, call_ended_at, now,
                     int(outcome.attempted), outcome.file_as_link, delivery.id),
                )  # fmt: skip
            self._know_dialog_of(db, outcome)

    def _finish(self, db: Connection, outcome: Outcome) -> None:
        delivery = outcome.delivery
        ended = db.execute("delete from deliveries where id = ?", (delivery.id,)).rowcount
        if ended and delivery.kind == "message":
            renew_head(db, delivery.chat.id)
        if not ended and outcome.state == "failed":
            return  # noted late: another process has finished this delivery since
        # A failed delivery makes its message "refused", a word that open pages know.
        state = "delivered" if outcome.state == "delivered" else "refused"
        db.execute(
            "update messages set state = ?, error = ? where id = ?",
            (state, outcome.error, delivery.message.id),
        )
        if delivery.kind == "message":  # a confirmation changes nothing that the visitor sees
            db.execute(
                "update messages set revision = ? where id = ?",
                (next_revision(db), delivery.message.id),
            )

    def _know_dialog_of(self, db: Connection, outcome: Outcome) -> None:
        dialog, delivery = outcome.dialog, outcome.delivery
        if dialog.portal_user_id is not None:
            db.execute(
                "update chats set portal_user_id = ? where id = ?",
                (dialog.portal_user_id, delivery.chat.id),
            )
        if dialog.portal_chat_id is not None:
            db.execute(
                "update chats set dialog_line = ?, portal_chat_id = ?, session_id = ? where id = ?",
                (delivery.line, dialog.portal_chat_id, dialog.session_id, delivery.chat.id),
            )
            know_dialog(db, delivery.chat.id, dialog.portal_chat_id, delivery.line)

    @transaction
    def retry(
        self, db: Connection, chat_id: str, message_id: int, limits: Limits, now: float
    ) -> Message | None:
        """Queue a visitor's refused message once more; a message in another state stays as it is.

        Returns the message after that; None if neither the chat nor one of its parts has it.
        Counts as one more message towards the limits: raises TooMany.
        """
        row = db.execute(
            "select * from messages where id = :message and author = 'visitor' and chat_id in"
            " (select id from living_chats where id = :chat or owner = :chat)",
            {"message": message_id, "chat": chat_id},
        ).fetchone()
        if row is None or row["state"] != "refused":
            return message_of(row) if row else None
        count_hit(db, row["chat_id"], limits.visitor_per_minute, now)
        count_message(db, limits, now)
        enqueue(db, message_id, row["chat_id"], limits.address, is_new=False, now=now)
        row = db.execute(
            "update messages set state = 'stored', error = null, revision = ? where id = ?"
            " returning *",
            (next_revision(db), message_id),
        ).fetchone()
        return message_of(row)

    def is_in_doubt(self) -> bool:
        """Whether any message is in doubt."""
        row = self._database.row("select 1 from deliveries where state = 'in doubt' limit 1")
        return row is not None

    def waiting(self, most: int = 1_000_000_000) -> int:
        """How many deliveries of either kind are in the queue, in any state; `most` at most."""
        row = self._database.row(
            "select count(*) as n from (select 1 from deliveries limit ?)", most
        )
        return int(row["n"]) if row else 0
