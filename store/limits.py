"""Counts the requests of each asker within a minute, and those turned away, by reason."""

from collections.abc import Mapping

from store.database import Connection, Group, transaction
from store.records import Limits, Refusals, TooMany

REMOVED_AT_ONCE = 200  # counts of past minutes
FULL_SECONDS = 10  # until an address with too many waiting messages may try again

WAITING = (
    "select count(*) as n from (select 1 from deliveries"
    " where address = ? and kind = 'message' limit ?) as counted"
)
# All that decides about a visitor's next message, in one row.
NEXT_MESSAGE = (
    "select exists (select 1 from chats where id = :chat) as known,"
    " (select count from hits where who = :address and minute = :minute) as by_address,"
    " (select count from hits where who = :chat and minute = :minute) as by_chat,"
    " (select count from hits where who = :begins and minute = :minute) as beginnings,"
    " (select count(*) from (select 1 from deliveries"
    " where address = :address and kind = 'message' limit :most) as waits) as waiting"
)


class LimitTables(Group):
    @transaction
    def count_hit(self, db: Connection, who: str, per_minute: int, now: float) -> None:
        """Count one request of `who`; raises TooMany above `per_minute`."""
        count_hits(db, {who: per_minute}, now)

    def check_message(
        self, chat_id: str | None, limits: Limits, now: float, uncounted: Mapping[str, int]
    ) -> list[str]:
        """Raise TooMany if a visitor's next message would be refused; counts nothing.

        Returns for whom that message would be counted. `uncounted` has, for each of them, messages
        that will be counted soon. `chat_id` is None for a visitor who has no chat yet.
        """
        begins = f"chats {limits.address}"
        (found,) = self._database.rows(
            NEXT_MESSAGE, chat=chat_id, address=limits.address, begins=begins,
            minute=int(now // 60), most=limits.waiting or 0,
        )  # fmt: skip
        most = {limits.address: (limits.address_per_minute, found["by_address"])}
        if chat_id is not None:
            most[chat_id] = limits.visitor_per_minute, found["by_chat"]
        if not found["known"] and limits.chats_per_minute is not None:
            most[begins] = limits.chats_per_minute, found["beginnings"]
        for who, (per_minute, hits) in most.items():
            if uncounted.get(who, 0) + (hits or 0) >= per_minute:
                raise TooMany(_seconds_left(now))
        waiting = uncounted.get(limits.address, 0) + int(found["waiting"])
        if limits.waiting is not None and waiting >= limits.waiting:
            raise TooMany(FULL_SECONDS)
        return list(most)

    @transaction
    def count_hits(self, db: Connection, per_minute: dict[str, int], now: float) -> None:
        """Count one request of each asker, who has so many a minute; raises TooMany."""
        count_hits(db, per_minute, now)

    @transaction
    def uncount_hit(self, db: Connection, who: str, now: float) -> None:
        """Take back one request that was counted at the time `now`."""
        db.execute(
            "update hits set count = count - 1 where who = ? and minute = ?", (who, int(now // 60))
        )

    @transaction
    def add_refusals(
        self, db: Connection, reasons: dict[str, int], now: float, most: int, others: str
    ) -> None:
        """Count requests that were turned away, by reason; from `most` reasons on as `others`."""
        known = {row["reason"] for row in db.execute("select reason from refusals").fetchall()}
        for given, count in reasons.items():
            reason = given if given in known or len(known) < most else others
            known.add(reason)
            db.execute(
                "insert into refusals values (?, ?, ?) on conflict (reason) do update"
                " set count = refusals.count + excluded.count, last_at = excluded.last_at",
                (reason, count, now),
            )

    def refusals(self) -> list[Refusals]:
        rows = self._database.rows("select reason, count, last_at from refusals order by reason")
        return [Refusals(row["reason"], row["count"], row["last_at"]) for row in rows]


def count_message(
    db: Connection, chat_id: str, limits: Limits, now: float, begins_chat: bool = False
) -> None:
    """Count one more message of a visitor in the caller's transaction; raises TooMany."""
    most = {chat_id: limits.visitor_per_minute, limits.address: limits.address_per_minute}
    if begins_chat and limits.chats_per_minute is not None:
        most[f"chats {limits.address}"] = limits.chats_per_minute
    waiting = None
    if limits.waiting is not None:
        waiting = db.execute(WAITING, (limits.address, limits.waiting))
    count_hits(db, most, now)
    if waiting and limits.waiting is not None and waiting.fetchone()["n"] >= limits.waiting:
        raise TooMany(FULL_SECONDS)


def count_hits(db: Connection, per_minute: Mapping[str, int], now: float) -> None:
    """Count one request of each in the caller's transaction, which TooMany undoes as a whole."""
    minute = int(now // 60)
    places = ", ".join(["(?, ?, 1)"] * len(per_minute))
    counted = db.execute(
        f"insert into hits (who, minute, count) values {places}"  # noqa: S608
        " on conflict (minute, who) do update set count = hits.count + 1 returning who, count",
        [value for who in per_minute for value in (who, minute)],
    ).fetchall()
    if any(row["count"] > per_minute[row["who"]] for row in counted):
        raise TooMany(_seconds_left(now))
    if any(row["count"] == 1 for row in counted):
        # Remove past minutes, and future ones that a clock showed before it was set back. The last
        # minute stays: a request of its last moment may be counted only now. For each new row some
        # old ones go, so that a flood in the minute before costs no request much.
        db.execute(
            "delete from hits where (minute, who) in"
            " (select minute, who from hits where minute < ? or minute > ? limit ?)",
            (minute - 1, minute + 1, REMOVED_AT_ONCE),
        )


def forget_hits(db: Connection, who: str) -> None:
    """Forget how often somebody asked, by one look into the index for each minute there is."""
    db.execute(
        "with recursive minutes (minute) as (select min(minute) from hits union all"
        " select (select min(minute) from hits where minute > minutes.minute)"
        " from minutes where minute is not null)"
        " delete from hits where who = ? and minute in"
        " (select minute from minutes where minute is not null)",
        (who,),
    )


def _seconds_left(now: float) -> int:
    """Until the minute ends."""
    return max(1, int(60 - now % 60))
