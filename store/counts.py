"""Numbers for monitoring: what all processes have counted, and what waits now.

A count only grows; where the store goes back to a backup, so do they, which monitoring takes for a
restart. Messages are counted in the transaction that changes them, so those counts are exact;
they stand in the table `meta`. What processes count of themselves comes every few seconds.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from store.database import Connection, Group, transaction
from turns import Turns

COUNT = (
    "insert into counts (name, value, at) values (?, ?, ?) on conflict (name) do update"
    " set value = counts.value + excluded.value, at = excluded.at"
)
COUNT_ONE = (
    "insert into meta values (?, '1') on conflict (key) do update"
    " set value = cast(meta.value as bigint) + 1"
)
AT_ONCE = 2_000  # deliveries that are counted at once: 1 ms
PIECE = (
    "select kind, state, count(*) as n, min(message_id) as oldest, max(id) as last from"
    " (select kind, state, message_id, id from deliveries where id > ? order by id limit ?)"
    " as piece group by kind, state"
)
BETWEEN = "|"  # the parts of a name
OPEN = f"open{BETWEEN}"  # what is open in one process, which forgets it at its end
FRESH_SECONDS = 90.0  # a process that has not said for so long how much it has open, is gone


@dataclass(frozen=True)
class Waiting:
    """Deliveries of one kind in one state, and when the message of the oldest was sent."""

    kind: str
    state: str
    number: int
    since: float


class CountTables(Group):
    def all(self) -> dict[str, float]:
        rows = self._database.rows(
            "select name, value from counts where name not like 'open|%' union all"
            " select substr(key, 7), cast(value as double precision) from meta"
            " where key like 'count.%'"
        )
        return {row["name"]: row["value"] for row in rows}

    @transaction
    def add(self, db: Connection, counts: Mapping[str, float], now: float) -> None:
        for name, number in counts.items():
            db.execute(COUNT, (name, number, now))

    @transaction
    def note_open(self, db: Connection, host: str, pid: int, number: int) -> None:
        """How many pages a process has open now; what processes have left that died is removed.

        The time is that of the database's machine, as hosts may have clocks that differ.
        """
        name = f"{OPEN}{host}{BETWEEN}{pid}"
        db.execute(
            "delete from counts where name = ?"
            " or (name like 'open|%' and at < (select now from clock) - ?)",
            (name, FRESH_SECONDS),
        )
        if number:
            db.execute("insert into counts select ?, ?, now from clock", (name, number))

    def open(self) -> int:
        """How many pages all processes have open."""
        row = self._database.row(
            "select coalesce(sum(value), 0) as n from counts"
            " where name like 'open|%' and at > (select now from clock) - ?",
            FRESH_SECONDS,
        )
        return int(row["n"]) if row else 0

    def waiting(self) -> list[Waiting]:
        """What waits now, by kind and state. However much it is, others go on meanwhile."""
        number: Counter[tuple[str, str]] = Counter()
        oldest: dict[tuple[str, str], int] = {}  # ids of messages
        read, last, turns = AT_ONCE, 0, Turns()
        while read == AT_ONCE:
            rows = self._database.rows(PIECE, last, AT_ONCE)
            for row in rows:
                key = row["kind"], row["state"]
                number[key] += row["n"]
                oldest[key] = min(row["oldest"], oldest.get(key, row["oldest"]))
            read, last = (
                sum(row["n"] for row in rows),
                max((row["last"] for row in rows), default=0),
            )
            turns.give_way()
        waiting = (self._waiting(*key, number[key], oldest[key]) for key in sorted(number))
        return [one for one in waiting if one is not None]

    def _waiting(self, kind: str, state: str, number: int, oldest: int) -> Waiting | None:
        row = self._database.row("select sent_at from messages where id = ?", oldest)
        return Waiting(kind, state, number, row["sent_at"]) if row else None  # it was deleted


def count(db: Connection, *name: str) -> None:
    """Count one of what is named so, in the caller's transaction, which changes messages.

    It changes the row of the revision, too, so a count beside it costs no further page of the log.
    """
    db.execute(COUNT_ONE, (f"count.{BETWEEN.join(name)}",))
