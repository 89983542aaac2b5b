"""Limits: how often somebody may ask within a minute, and which requests were turned away."""

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from store_parts import MINUTE, NOW, OTHER, history, visitor, write

from storage import Store
from store.database import Connection, Cursor
from store.records import Limits, Refusals, TooMany, VisitorMessage

# -- messages


def test_a_visitor_above_the_limit_is_told_to_wait_and_nothing_is_kept(store: Store) -> None:
    limits = Limits("an address", 2, 100)
    for text in ("one", "two"):
        write(store, text, limits=limits)

    with pytest.raises(TooMany) as told:
        write(store, "three", limits=limits)
    write(store, "of another visitor", OTHER, limits=limits)
    write(store, "later", limits=limits, now=NOW + MINUTE)

    assert 1 <= told.value.seconds <= 60
    assert history(store) == ["one", "two", "later"]
    assert history(store, OTHER) == ["of another visitor"]


def test_an_address_above_the_limit_is_told_to_wait(store: Store, second: Store) -> None:
    limits = Limits("an address", 100, 2)
    write(store, "one", limits=limits)
    write(second, "two", OTHER, limits=limits)

    with pytest.raises(TooMany):
        write(store, "three", limits=limits)
    write(store, "from elsewhere", limits=replace(limits, address="another address"))

    assert history(store) == ["one", "from elsewhere"]


# -- counting


def counters(store: Store) -> int:
    return len(store.database.rows("select 1 from hits"))


@pytest.mark.parametrize(("at", "seconds"), [(0, 60), (1, 59), (30.5, 29), (59.5, 1)])
def test_whoever_is_above_the_limit_is_told_the_seconds_to_the_minutes_end(
    store: Store, at: float, seconds: int
) -> None:
    minute = NOW - NOW % 60
    store.limits.count_hit("who", 1, minute + at)

    with pytest.raises(TooMany) as told:
        store.limits.count_hit("who", 1, minute + at)

    assert told.value.seconds == seconds
    for later in (1, 2, 3):
        store.limits.count_hit("who", 1, minute + MINUTE * later)


def test_requests_that_cross_a_minutes_end_in_any_order_are_all_counted(store: Store) -> None:
    """Two workers write their requests in another order than they came."""
    ends = NOW + MINUTE - NOW % MINUTE
    passed = 0
    for _ in range(10):
        for now in (ends - 0.01, ends + 0.01):
            with contextlib.suppress(TooMany):
                store.limits.count_hit("a flood", 2, now)
                passed += 1

    assert passed == 4
    store.limits.count_hit("another", 2, ends + 10 * MINUTE)
    assert counters(store) == 1


def test_a_request_that_is_taken_back_was_not_counted(store: Store) -> None:
    for _ in range(5):
        store.limits.count_hit("who", 2, NOW)
        store.limits.uncount_hit("who", NOW)
    store.limits.count_hit("other", 1, NOW)
    store.limits.uncount_hit("who", NOW + MINUTE)
    store.limits.count_hit("who", 2, NOW)
    store.limits.count_hit("who", 2, NOW)

    with pytest.raises(TooMany):
        store.limits.count_hit("who", 2, NOW)
    with pytest.raises(TooMany):
        store.limits.count_hit("other", 1, NOW)


def test_the_counters_of_earlier_minutes_are_removed(store: Store) -> None:
    for minute in range(20):
        for who in range(5):
            store.limits.count_hit(f"{who}", 10, NOW + MINUTE * minute)

    assert counters(store) <= 15
    store.limits.count_hit("after the clock was set back", 10, NOW - 600)
    assert counters(store) == 1


def test_a_message_is_counted_for_its_visitor_and_address_by_one_statement(store: Store) -> None:
    """Each statement, and each page that it changes, costs every message."""
    limits = Limits("an address", 10, 10, chats_per_minute=10, waiting=10)
    write(store, "the first of its minute", limits=limits)
    message = VisitorMessage(visitor(), "one more", "<p>one more</p>", "uuid")
    add = type(store.messages).add_from_visitor.__wrapped__  # type: ignore[attr-defined]
    with store.database.write() as db:
        counting = Counting(db)
        add(store.messages, counting, message, limits, NOW)

    assert len([one for one in counting.statements if "hits" in one]) == 1
    assert len(counting.statements) <= 12


class Counting:
    """A connection that notes what is executed on it."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self.statements: list[str] = []

    def execute(self, sql: str, values: Any = ()) -> Cursor:
        self.statements.append(sql)
        return self._db.execute(sql, values)


# -- what was turned away


def test_refusals_are_counted_by_reason(store: Store, second: Store) -> None:
    store.limits.add_refusals({"event": 2, "install": 1}, NOW, 9, "others")
    second.limits.add_refusals({"event": 3}, NOW + 1, 9, "others")

    assert store.limits.refusals() == [
        Refusals("event", 5, NOW + 1),
        Refusals("install", 1, NOW),
    ]


def test_reasons_beyond_the_most_count_as_one(store: Store) -> None:
    store.limits.add_refusals({"event": 1, "install": 1}, NOW, 2, "others")
    store.limits.add_refusals(
        {f"made up {n}": 1 for n in range(50)} | {"event": 1}, NOW, 2, "others"
    )

    assert [(one.reason, one.count) for one in store.limits.refusals()] == [
        ("event", 2),
        ("install", 1),
        ("others", 50),
    ]
