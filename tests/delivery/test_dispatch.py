"""Calls that come to nothing: who waits for how long, and that nobody else waits."""

import pytest
from fake_portal import (
    BAD,
    LINE,
    NOT_ACTIVE,
    NOW,
    OTHER_LINE,
    SEND,
    FakePortal,
    answer,
    pauses,
    refuse_waiting_confirmations,
    run,
    run_each,
    seconds_of,
    states,
    write,
    write_to_all,
)

from delivery.worker import Worker
from rest.errors import Refused
from storage import Store


def test_chats_behind_open_circuits_take_no_place_of_others_in_the_queue(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """More on an inactive line, and more refused ones, than one look into the queue sees."""
    chats = range(60)
    write_to_all(store, "first", chats)
    run(worker, NOW, steps=200)
    store.portal.connect_line(OTHER_LINE, NOW + 1)
    bitrix.says[f"send on {LINE}"] = NOT_ACTIVE
    bitrix.says["send of bad"] = BAD
    write_to_all(store, "second", chats)
    write_to_all(store, "bad", (1000 + chat for chat in chats))
    run_each(worker, range(2, 120))

    write(store, "good", 5000)
    run_each(worker, range(120, 131))

    assert states(store, 5000) == ["delivered"]


@pytest.mark.parametrize("bad", [1, 2, 3, 10])
def test_refused_messages_hold_up_no_other(
    store: Store, bitrix: FakePortal, worker: Worker, bad: int
) -> None:
    bitrix.says["send of bad"] = BAD
    write_to_all(store, "bad", range(100, 100 + bad))
    waits = []
    for minute in range(5):
        write(store, "good", minute)
        for second in range(60):
            run(worker, NOW + 60 * minute + second)
            if states(store, minute) == ["delivered"]:
                waits.append(second)
                break

    assert len(waits) == 5
    assert max(waits) <= 12, "as long as it takes to see that the portal works"
    assert max(waits[1:]) <= 2


@pytest.mark.parametrize("bad", [1, 3, 10])
def test_refused_confirmations_hold_up_no_other(
    store: Store, bitrix: FakePortal, worker: Worker, bad: int
) -> None:
    for number in range(bad):
        answer(store, 1000 + number)
    refuse_waiting_confirmations(store, bitrix)
    for minute in range(90):
        answer(store, 2000 + minute)
        run_each(worker, range(60 * minute, 60 * minute + 60, 3))
        assert store.queue.waiting() <= bad, "the good one is confirmed within the minute"

    assert store.queue.waiting() == 0, "the bad ones are given up, as the others passed"


def test_what_follows_a_refused_message_waits_for_it_also_in_a_long_backlog(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    for number in range(5):
        write(store, f"{number}", 2)
    run(worker, NOW)
    bitrix.says["send of bad"] = BAD
    write(store, "bad")
    for number in range(80):
        write(store, f"after {number}")

    run_each(worker, range(0, 300, 5))
    assert {*states(store)} == {"stored"}
    bitrix.calls.clear()
    bitrix.says.clear()
    run_each(worker, range(300, 400))

    sent = [text for call in bitrix.sent for text in call]
    assert sent == ["bad", *(f"after {number}" for number in range(80))]


def test_five_refusals_in_a_row_are_tolerated_before_their_line_pauses_for_some_seconds(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    run(worker, NOW - 60)  # what was called before our start is no matter then
    bitrix.says["send"] = Refused("ERROR_CORE", SEND)
    write_to_all(store, "hello", range(3))
    run(worker, NOW)
    assert bitrix.sizes == [1, 1, 1]
    write_to_all(store, "hello", range(3, 30))
    bitrix.calls.clear()

    run(worker, NOW + 0.1)
    first = bitrix.sizes.count(1)
    seconds = seconds_of("send", bitrix, worker, range(1, 60))

    assert first == 3, "the sixth in a row makes the line pause"
    assert 4 <= max(pauses(seconds)) <= 7


def test_a_message_that_is_refused_alone_waits_longer_each_time_up_to_the_limit(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send of bad"] = BAD
    write(store, "bad")

    seconds = seconds_of("send", bitrix, worker, range(600))

    assert seconds[0] == 0
    assert len([second for second in seconds if second <= 5]) == 3, "after 1, 2, 4 ... s"
    assert 40 <= max(pauses(seconds)) <= 73
    assert 8 <= len(seconds) <= 18
