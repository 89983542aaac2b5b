"""How the store does as a whole: what waits, what was refused, when something last came or went."""

from dataclasses import dataclass

from store.database import Group

MOST_REFUSED = 50  # of refused messages, among which one that is not over is looked for
NEWEST = 2_000  # messages among which the last ones are looked for: a look costs 1 ms


@dataclass(frozen=True)
class Waiting:
    """Visitors' messages that wait for Bitrix24."""

    count: int  # at most as many as were asked for
    since: float  # when the one that waits longest was sent


@dataclass(frozen=True)
class RefusedMessages:
    """Visitors' messages that Bitrix24 did not take."""

    count: int
    last_at: float  # when the latest of them was sent
    last_reason: str


@dataclass(frozen=True)
class LastMessages:
    """When the last messages were sent; None where the newest ones hold none of the kind."""

    from_visitor: float | None = None
    delivered: float | None = None  # of a visitor, and Bitrix24 has taken it
    from_operator: float | None = None


class Overview(Group):
    def waiting(self, most: int) -> Waiting | None:
        """What waits; None where nothing does. Counts up to `most`."""
        row = self._database.row(
            "select count(*) as n, min(id) as first from"
            " (select id from deliveries where kind = 'message' order by id limit ?)",
            most,
        )
        if row is None or not row["n"]:
            return None
        first = self._database.row(
            "select sent_at from messages where id ="
            " (select message_id from deliveries where id = ?)",
            row["first"],
        )
        return Waiting(row["n"], first["sent_at"]) if first else None

    def refused(self, since: float) -> RefusedMessages | None:
        """Messages sent after `since` that were refused and not sent again; None without any."""
        row = self._database.row(
            "select count(*) as n, max(sent_at) as at from messages"
            " where state = 'refused' and sent_at > ?",
            since,
        )
        if row is None or not row["n"]:
            return None
        last = self._database.row(
            "select error from messages where state = 'refused' and sent_at = ?", row["at"]
        )
        return RefusedMessages(row["n"], row["at"], str(last["error"] or "") if last else "")

    def last_messages(self) -> LastMessages:
        """When a message last came and went, among the newest ones."""
        rows = self._database.rows(
            "select author, state, max(sent_at) as at from"
            " (select author, state, sent_at from messages order by id desc limit ?)"
            " group by author, state",
            NEWEST,
        )
        at = {(row["author"], row["state"]): float(row["at"]) for row in rows}
        visitors = [moment for (author, _), moment in at.items() if author == "visitor"]
        operators = [moment for (author, _), moment in at.items() if author == "operator"]
        return LastMessages(
            max(visitors, default=None),
            at.get(("visitor", "delivered")),
            max(operators, default=None),
        )

    def refusal_to_tell(self, since: float) -> int | None:
        """The id of the last message that was refused after `since`, unless that seems to be over.

        It is over when a later message of the same chat, or of the same line, was delivered.
        """
        rows = self._database.rows(
            "select m.id, m.chat_id, c.line from messages m join chats c on c.id = m.chat_id"
            " where m.state = 'refused' and m.sent_at > ? order by m.sent_at desc limit ?",
            since, MOST_REFUSED,
        )  # fmt: skip
        lines = self._last_delivered_of_lines() if rows else {}
        for row in rows:
            if lines.get(row["line"], 0) < row["id"] and not self._went_on(
                row["chat_id"], row["id"]
            ):
                return int(row["id"])
        return None

    def _last_delivered_of_lines(self) -> dict[int | None, int]:
        """By line the id of the last visitor's message that was taken, among the newest ones."""
        rows = self._database.rows(
            "select c.line, max(m.id) as id from"
            " (select id, chat_id, author, state from messages order by id desc limit ?) m"
            " join chats c on c.id = m.chat_id"
            " where m.author = 'visitor' and m.state = 'delivered' and c.line is not null"
            " group by c.line",
            NEWEST,
        )
        return {row["line"]: int(row["id"]) for row in rows}

    def _went_on(self, chat_id: str, message_id: int) -> bool:
        row = self._database.row(
            "select 1 from messages where chat_id = ? and id > ? and author = 'visitor'"
            " and state = 'delivered' limit 1",
            chat_id, message_id,
        )  # fmt: skip
        return row is not None
