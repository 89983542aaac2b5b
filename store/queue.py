"""The queue: what waits for delivery to Bitrix24, and what became of each call."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any

from store.database import Connection, Database, Group, Row, transaction
from store.limits import count_message
from store.outcomes import note_outcome
from store.places import enqueue, note_served
from store.records import Delivery, DeliveryState, Limits, Message, Outcome
from store.rows import chat_of, message_of, next_revision
from turns import Turns

MANY = 1_000_000_000
RUN_LIMIT = 10  # messages of one chat in one call or in one lookup
NEWEST_OF = 4  # of so many chats, one is that of the newest message
FEW = 500  # deliveries: to put so many in order takes less than a millisecond
DELIVERY = "select * from deliveries"
HEAD = "place is not null and state = ?"
HEADS = f"select chat_id, chat_line, place, id from deliveries where {HEAD}"  # noqa: S608
CONFIRMATION = "kind = 'confirmation' and line is not null"
NO_LINE = -1
TOGETHER = 40  # deliveries, or a few more, whose messages are read with one question
PIECE = 200  # deliveries in one transaction that goes through the whole queue


def heads(order: str, line: str = "?") -> str:
    """The query for a line's chats whose oldest unfinished message is in a state and due, in order.

    `+due` keeps the database from reading all that is due: the index of the order gives the first.
    """
    return f"{HEADS} and chat_line = {line} and +due <= ? order by {order} limit ?"


def confirmations(line: str) -> str:
    """The query for a line's oldest confirmations that are due."""
    return (
        f"select id from deliveries where {CONFIRMATION} and line = {line} and +due <= ?"  # noqa: S608
        " order by id limit ?"
    )


def lines_of(which: str, line: str) -> str:
    """The query for all lines of such deliveries: one look into the index for each line."""
    least = f"select min({line}) as line from deliveries where {which}"  # noqa: S608
    return (
        f"with recursive lines_of (line) as ({least} union all"  # noqa: S608
        f" select ({least} and {line} > lines_of.line) from lines_of where lines_of.line"
        " is not null) select line from lines_of where line is not null"
    )


def of_all(lines: str, first: str, order: str, held: Collection[int]) -> str:
    """The query for the first deliveries of all lines but the held ones, in an order.

    `lines` is the query for the lines, and `first` that for the first of `one.line`: so of each
    line only so many are read. Its values are those of both, and how many.
    """
    numbers = ", ".join(f"{int(line)}" for line in sorted(held))
    return (
        f"select d.* from ({lines}) as one join deliveries d"  # noqa: S608
        f" on d.id in (select id from ({first}) as first)"
        f" where one.line not in ({numbers or NO_LINE})"
        f" order by {order} limit ?"
    )


def pieces_of_queue(database: Database) -> Iterator[tuple[int, int]]:
    """The first and last id of each piece of what is queued now; others go on in between."""
    turns, last = Turns(), 0
    newest = database.row("select coalesce(max(id), 0) as id from deliveries")
    while newest and last < newest["id"]:
        piece = database.row(
            "select min(id) as first, max(id) as last from"
            " (select id from deliveries where id > ? order by id limit ?) as piece",
            last, PIECE,
        )  # fmt: skip
        if piece is None or piece["last"] is None:
            return
        yield piece["first"], piece["last"]
        last = piece["last"]
        turns.give_way()


class QueueTables(Group):
    def due_confirmations(
        self, now: float, limit: int, held: Collection[int] = ()
    ) -> list[Delivery]:
        """Confirmations that are due, the oldest first, without those of the held lines."""
        rows = self._if_few(CONFIRMATION, now)
        if rows is None:
            lines = lines_of(CONFIRMATION, "line")
            query = of_all(lines, confirmations("one.line"), "id", held)
            rows = self._database.rows(query, now, limit, limit)
        in_turn = sorted(
            (row for row in rows if row["line"] not in held), key=lambda row: int(row["id"])
        )
        return self._deliveries(in_turn[:limit])

    def due_messages(
        self, now: float, chats: int, run: int = 1, held: Collection[int] = (), enough: int = MANY
    ) -> list[Delivery]:
        """Messages that may be sent now, of at most `chats` chats, in the order of their places.

        Without the chats that began on the held lines; 0 stands for those that have no line yet.

        Of each chat at most `run` messages, beginning with its oldest unfinished one. If that one
        is not due or is in doubt, its whole chat waits; other chats do not. Every fourth chat is
        the one that began to wait last: who writes while a long backlog is sent is heard soon.

        A call is of one line: more than one message is read only of the chats that began on the
        same line as the first, and only as many as it takes to have `enough` messages of that line.
        """
        heads = self._next_heads(now, chats, held)
        return self._together(self._runs_of(heads, run, enough))

    def messages_in_doubt(self, now: float, chats: int) -> list[Delivery]:
        """Messages in doubt that are due, of at most `chats` chats, each chat's oldest first."""
        rows = self._database.rows(
            f"{HEADS} and due <= ? order by due, id limit ?", "in doubt", now, chats
        )
        return self._together(self._run_of(row["chat_id"], RUN_LIMIT, "in doubt") for row in rows)

    def _next_heads(self, now: float, limit: int, held: Collection[int]) -> list[Row]:
        few = self._if_few(HEAD, now, "queued")

        def first(number: int, order: str, key: Callable[[Row], Any]) -> list[Row]:
            if few is None:
                lines = lines_of(HEAD, "chat_line")
                query = of_all(lines, heads(order, "one.line"), order, held)
                values = ("queued", "queued", "queued", now, number, number)
                rows = self._database.rows(query, *values)
            else:
                rows = sorted((row for row in few if row["chat_line"] not in held), key=key)
            return rows[:number]

        in_turn = first(limit, "place, id", lambda row: (row["place"], row["id"]))
        if len(in_turn) < limit:
            return in_turn  # no others wait
        newest = first(limit // NEWEST_OF, "id desc", lambda row: -row["id"])
        for place, head in enumerate(newest, start=1):
            in_turn.insert(place * NEWEST_OF - 1, head)
        return list({head["id"]: head for head in in_turn}.values())[:limit]

    def _if_few(self, which: str, now: float, *values: object) -> list[Row] | None:
        """All such deliveries that are due, by the index of that time; None if they are many.

        Else a step would read all that is not due, to find the few among them.
        """
        due = f"from deliveries where {which} and due <= ? order by due limit ?"
        number = self._database.row(
            f"select count(*) as n from (select 1 {due}) as found",  # noqa: S608
            *values, now, FEW + 1,
        )  # fmt: skip
        if number is None or number["n"] > FEW:
            return None
        return self._database.rows(f"select * {due}", *values, now, FEW)

    def _runs_of(self, heads: list[Row], run: int, enough: int) -> Iterator[list[Row]]:
        line = heads[0]["chat_line"] if heads else None
        left = sum(head["chat_line"] == line for head in heads)
        for head in heads:
            is_of_line = head["chat_line"] == line
            most = min(run, max(1, -(-enough // left))) if is_of_line else 1
            rows = [head] if most == 1 else self._run_of(head["chat_id"], most, "queued")
            if is_of_line:
                left, enough = left - 1, enough - len(rows)
            yield rows

    def _together(self, runs: Iterable[list[Row]]) -> list[Delivery]:
        """The deliveries of these rows, of which many share a question for what else they have."""
        found: list[Delivery] = []
        rows, turns = [], Turns()
        for run in runs:
            turns.give_way()
            rows += run
            if len(rows) >= TOGETHER:
                found += self._deliveries(rows)
                rows = []
        return found + self._deliveries(rows)

    def _run_of(self, chat_id: str, limit: int, state: DeliveryState) -> list[Row]:
        """A chat's oldest unfinished messages, up to the first one in another state."""
        rows = self._database.rows(
            f"{DELIVERY} where kind = 'message' and chat_id = ? order by id limit ?",
            chat_id, limit,
        )  # fmt: skip
        in_state = [row["state"] == state for row in rows]
        return rows[: (*in_state, False).index(False)]

    def _deliveries(self, rows: list[Row]) -> list[Delivery]:
        messages = self._by_id("messages", {row["message_id"] for row in rows})
        chats = self._by_id("living_chats", {row["chat_id"] for row in rows})
        return [
            Delivery(
                row["id"], row["kind"], row["line"], row["attempts"], row["called_at"],
                row["error"], message_of(messages[row["message_id"]]),
                chat_of(chats[row["chat_id"]]), row["state"], bool(row["file_as_link"]),
            )
            for row in rows
            # Else the visitor has just deleted it.
            if row["message_id"] in messages and row["chat_id"] in chats
        ]  # fmt: skip

    def _by_id(self, table: str, ids: set[Any]) -> dict[Any, Row]:
        if not ids:
            return {}
        places = ", ".join("?" * len(ids))
        rows = self._database.rows(
            f"select * from {table} where id in ({places})",  # noqa: S608
            *ids,
        )
        return {row["id"]: row for row in rows}

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
                "update deliveries set state = 'sending', called_at = ?, line = ?, error = null,"
                " chat_line = case when chat_line = 0 then ? else chat_line end"
                " where id = ? and state = 'queued'"
                " and exists (select 1 from living_chats c where c.id = deliveries.chat_id)"
                " returning place, set_back",
                (now, line, line, delivery.id),
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

    def doubt_interrupted(self, db: Connection, error: str, now: float) -> None:
        """Put in doubt what a process was sending when it died or hung: the portal may have it.

        In the caller's transaction. The call may have been under way until now: when it began,
        that process has noted by the clock of its own host.
        """
        db.execute(
            "update deliveries set state = 'in doubt', error = ?, called_at = ?"
            " where state <> 'queued' and state = 'sending'",
            (error, now),
        )

    def doubt_times(self, db: Connection, now: float) -> None:
        """Count anew what all messages in doubt have to wait for.

        In the caller's transaction, because the times of their calls are of another host's clock.
        """
        db.execute(
            "update deliveries set called_at = ? where state <> 'queued' and state = 'in doubt'",
            (now,),
        )

    def make_due(self, now: float) -> None:
        """Make every delivery due now: after a restart, or when the clock was set back."""
        for first, last in pieces_of_queue(self._database):
            self._make_due(first, last, now)

    @transaction
    def _make_due(self, db: Connection, first: int, last: int, now: float) -> None:
        piece = (now, first, last, now)
        db.execute("update deliveries set due = ? where id between ? and ? and due > ?", piece)
        db.execute(
            "update deliveries set called_at = ? where id between ? and ? and called_at > ?", piece
        )

    @transaction
    def record(self, db: Connection, outcomes: list[Outcome], now: float) -> None:
        """Note what became of deliveries: delivered and failed ones leave the queue."""
        for outcome in outcomes:
            note_outcome(db, outcome, now)

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
        count_message(db, row["chat_id"], limits, now)
        enqueue(db, message_id, row["chat_id"], limits.address, is_new=False)
        row = db.execute(
            "update messages set state = 'stored', error = null, revision = ? where id = ?"
            " returning *",
            (next_revision(db), message_id),
        ).fetchone()
        return message_of(row)

    def is_in_doubt(self) -> bool:
        """Whether any message is in doubt."""
        # SQLite takes the index only if its whole condition is named.
        row = self._database.row(
            "select 1 from deliveries where state <> 'queued' and state = 'in doubt' limit 1"
        )
        return row is not None

    def newest(self) -> int:
        """The id of the delivery that was queued last, of those that wait; 0 if none does."""
        row = self._database.row("select coalesce(max(id), 0) as id from deliveries")
        return int(row["id"]) if row else 0

    def waiting(self, most: int = MANY) -> int:
        """How many deliveries of either kind are in the queue, in any state; `most` at most."""
        row = self._database.row(
            "select count(*) as n from (select 1 from deliveries order by id limit ?) as counted",
            most,
        )
        return int(row["n"]) if row else 0
