"""How the store does as a whole: what waits, what was refused, when something last came or went."""

from dataclasses import dataclass
from typing import get_args

from store.database import Group
from store.queue import HEAD, lines_of
from store.records import DeliveryState

MOST_REFUSED = 50  # of refused messages, among which one that is not over is looked for
NEWEST = 2_000  # messages among which the last ones are looked for: a look costs 1 ms
OLDEST = 200  # waiting deliveries among which the last error is looked for
MOST_DIALOGS = 100  # of more without an event nobody needs the number


@dataclass(frozen=True)
class Waiting:
    """Visitors' messages that wait for Bitrix24."""

    count: int  # at most as many as were asked for
    since: float  # when the one that waits longest was sent
    error: str = ""  # the code of the last call that failed, as far as one is noted


@dataclass(frozen=True)
class RefusedMessages:
    """Visitors' messages that Bitrix24 did not take."""

    count: int
    last_at: float  # when the latest of them was sent
    last_reason: str
    in_a_row: int = 0  # those sent since the last one that was taken


@dataclass(frozen=True)
class LastMessages:
    """When the last messages were sent; None where the newest ones hold none of the kind."""

    from_visitor: float | None = None
    delivered: float | None = None  # of a visitor, and Bitrix24 has taken it
    from_operator: float | None = None


@dataclass(frozen=True)
class Unannounced:
    """What an event of the portal should have told us, and none has."""

    answers: int = 0  # operators' messages that a recovery found
    dialogs: int = 0  # new chats of which a message was taken, so that a dialog began
    first_at: float = 0.0  # when the oldest of it began


class Overview(Group):
    def waiting(self, most: int) -> Waiting | None:
        """What waits; None where nothing does. Counts up to `most`."""
        row = self._database.row(
            "select count(*) as n, min(id) as first from"
            " (select id from deliveries where kind = 'message' order by id limit ?) as first_ones",
            most,
        )
        if row is None or not row["n"]:
            return None
        first = self._database.row(
            "select sent_at from messages where id ="
            " (select message_id from deliveries where id = ?)",
            row["first"],
        )
        return Waiting(row["n"], first["sent_at"], self._last_error()) if first else None

    def _last_error(self) -> str:
        """The code of the last failed call with a message that waits; "" where none is noted."""
        row = self._database.row(
            "select error from (select error, called_at, id from deliveries"
            " where kind = 'message' order by id limit ?) as oldest"
            " where error is not null order by coalesce(called_at, 0) desc, id desc limit 1",
            OLDEST,
        )
        return str(row["error"]) if row else ""

    def waiting_lines(self) -> frozenset[int]:
        """The lines for which any chat's messages wait."""
        return frozenset(
            row["line"]
            for state in get_args(DeliveryState)
            for row in self._database.rows(lines_of(HEAD, "chat_line"), state, state)
        )

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
        run = self._database.row(
            "select count(*) as n from messages where state = 'refused' and sent_at > ?",
            max(since, self.last_messages().delivered or 0.0),
        )
        reason = str(last["error"] or "") if last else ""
        return RefusedMessages(row["n"], row["at"], reason, run["n"] if run else 0)

    def unannounced(self, since: float) -> Unannounced:
        """What has been sent or begun since, and of which no event has told us."""
        answers = self._database.row(
            "select count(*) as n, min(sent_at) as first from"
            " (select author, incomplete, deleted, sent_at from messages order by id desc limit ?)"
            " as newest where author <> 'visitor' and incomplete = 1 and deleted = 0"
            " and sent_at >= ?",
            NEWEST, since,
        )  # fmt: skip
        dialogs = self._database.row(
            "select count(*) as n, min(created_at) as first from"
            " (select created_at from living_chats c"
            " where active_at >= ? and created_at >= ? and exists"
            " (select 1 from messages m"
            " where m.chat_id = c.id and m.author = 'visitor' and m.state = 'delivered') limit ?)"
            " as begun",
            since, since, MOST_DIALOGS,
        )  # fmt: skip
        if answers is None or dialogs is None:
            return Unannounced()
        moments = [row["first"] for row in (answers, dialogs) if row["n"]]
        return Unannounced(answers["n"], dialogs["n"], min(moments, default=0.0))

    def last_messages(self) -> LastMessages:
        """When a message last came and went, among the newest ones."""
        rows = self._database.rows(
            "select author, state, max(sent_at) as at from"
            " (select author, state, sent_at from messages order by id desc limit ?) as newest"
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
