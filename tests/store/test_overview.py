"""How the store does as a whole, as the administrator is told: waiting, refused, unannounced."""

from typing import Any

import pytest
from store_parts import CHAT, LINE, NOW, OTHER, THIRD, answer, deliver, due, sql, write

from storage import Store
from store.counts import FRESH_SECONDS
from store.overview import Unannounced, Waiting
from store.records import Delivery, Outcome


def end(store: Store, chat: str, state: Any, error: str | None = None, line: int = LINE) -> None:
    """Send the oldest message of a chat; so it ends."""
    [delivery] = [one for one in due(store, NOW + 100) if one.chat.id == chat]
    [claimed] = store.queue.claim([delivery], line, NOW)
    store.queue.record([Outcome(claimed, state, error)], NOW)


def claimed(store: Store) -> list[Delivery]:
    return store.queue.claim(due(store, NOW + 100), LINE, NOW)


# -- what no event has told


def test_answers_from_the_history_and_new_dialogs_are_unannounced(store: Store) -> None:
    deliver(store, "hello")
    sql(store, f"update chats set created_at = {NOW + 10}, active_at = {NOW + 10}")
    found = answer(incomplete=True, sent_at=NOW + 20)
    store.messages.add_from_operators([found], NOW + 60)

    assert store.overview.unannounced(NOW) == Unannounced(1, 1, NOW + 10)
    assert store.overview.unannounced(NOW + 15) == Unannounced(1, 0, NOW + 20)
    assert store.overview.unannounced(NOW + 25) == Unannounced()


def test_an_answer_whose_event_comes_late_is_no_longer_unannounced(store: Store) -> None:
    deliver(store, "hello")
    store.messages.add_from_operators([answer(incomplete=True, sent_at=NOW + 20)], NOW + 60)

    store.messages.add_from_operators([answer()], NOW + 70)

    assert store.overview.unannounced(NOW + 1).answers == 0


def test_answers_of_events_and_messages_that_nobody_took_are_not_unannounced(store: Store) -> None:
    write(store, "waits", OTHER, now=NOW + 10)
    write(store, "hello", now=NOW + 10)
    store.messages.add_from_operators([answer()], NOW + 20)

    assert store.overview.unannounced(NOW) == Unannounced()


# -- what waits


def test_of_what_waits_the_last_error_is_told(store: Store) -> None:
    write(store, "hello", CHAT)
    write(store, "hello", OTHER)
    assert store.overview.waiting(10) == Waiting(2, NOW)

    end(store, CHAT, "queued", "HTTP_503")
    end(store, OTHER, "queued", "HTTP_502")

    waiting = store.overview.waiting(10)
    assert waiting is not None
    assert waiting.error == "HTTP_502"


def test_an_error_is_told_while_another_call_is_under_way(store: Store) -> None:
    write(store, "hello", CHAT)
    end(store, CHAT, "queued", "HTTP_502")
    write(store, "hello", OTHER)
    [delivery] = [one for one in due(store, NOW + 100) if one.chat.id == OTHER]
    store.queue.claim([delivery], LINE, NOW + 50)

    waiting = store.overview.waiting(10)
    assert waiting is not None
    assert waiting.error == "HTTP_502"


@pytest.mark.parametrize("state", ["queued", "sending", "in doubt"])
def test_a_line_has_waiting_messages_in_whatever_state(store: Store, state: str) -> None:
    write(store, "hello", CHAT)
    assert store.overview.waiting_lines() == {0}, "no line yet"

    [delivery] = claimed(store)
    if state != "sending":
        store.queue.record([Outcome(delivery, state, "HTTP_502")], NOW)  # type: ignore[arg-type]
    assert store.overview.waiting_lines() == {LINE}

    sql(store, "delete from deliveries")
    assert store.overview.waiting_lines() == set()


# -- what was refused


def test_refusals_in_a_row_are_those_since_the_last_message_that_was_taken(store: Store) -> None:
    for at, chat in enumerate((CHAT, OTHER, THIRD)):
        write(store, "no", chat, now=NOW + at)
        end(store, chat, "failed", "WRONG")
    refused = store.overview.refused(NOW - 1)
    assert refused is not None
    assert (refused.count, refused.in_a_row) == (3, 3)

    write(store, "yes", CHAT, now=NOW + 10)
    end(store, CHAT, "delivered")
    write(store, "no", OTHER, now=NOW + 20)
    end(store, OTHER, "failed", "WRONG")
    refused = store.overview.refused(NOW - 1)
    assert refused is not None
    assert (refused.count, refused.in_a_row) == (4, 1)


def test_what_a_process_had_open_is_forgotten_with_it(store: Store) -> None:
    counts = store.counts
    counts.note_open("a", 11, 3)
    counts.note_open("a", 12, 4)
    counts.note_open("b", 11, 5)
    assert counts.open() == 12
    sql(store, f"update counts set at = at - {FRESH_SECONDS + 1} where name like '%a|11'")
    assert counts.open() == 9, "it has died"
    counts.note_open("a", 12, 0)
    assert counts.open() == 5
    assert counts.all() == {}
    assert len(sql(store, "select name from counts")) == 1
