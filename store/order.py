"""Where a message of earlier goes in its chat: before the first one there that was sent later.

Positions are real numbers, so there is room between two of them, until there is none: then the
messages above the place move up together.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, groupby, pairwise

from store.database import Connection


def places_for(db: Connection, chat_id: str, sent: Sequence[float]) -> list[float | None]:
    """A position for each message that was sent at these times; None for those that come last.

    Messages that are given in their order keep it, also among those of a former call.
    """
    rows = db.execute(
        "select sent_at, position from messages where chat_id = ? order by position", (chat_id,)
    ).fetchall()
    # The latest time up to each message: it rises, so the first later message can be bisected.
    latest = [*accumulate((row["sent_at"] for row in rows), max)]
    places: list[float | None] = []
    for following, group in groupby(bisect_right(latest, moment) for moment in sent):
        count = len([*group])
        if following == len(rows):
            places += [None] * count
            continue
        # Those before may have moved, by this call.
        above, below = _around(db, chat_id, rows[following]["position"])
        if above is None:
            places += [below - count + number for number in range(count)]
            continue
        if not _have_room(found := _between(above, below, count), above, below):
            db.execute(
                "update messages set position = position - ? where chat_id = ? and position <= ?",
                (count + 1, chat_id, above),
            )
            places = [
                place - (count + 1) if place is not None and place <= above else place
                for place in places
            ]
            found = _between(above - (count + 1), below, count)
        places += found
    return places


def _around(db: Connection, chat_id: str, position: float) -> tuple[float | None, float]:
    above = db.execute(
        "select max(position) as position from messages where chat_id = ? and position < ?",
        (chat_id, position),
    ).fetchone()["position"]
    return above, position


def _between(above: float, below: float, count: int) -> list[float]:
    step = (below - above) / (count + 1)
    return [above + step * number for number in range(1, count + 1)]


def _have_room(places: list[float], above: float, below: float) -> bool:
    """Whether each is a number of its own."""
    line = [above, *places, below]
    return all(one < other for one, other in pairwise(line))
