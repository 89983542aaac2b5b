"""Calls that are refused as a whole: who goes alone, who is given up, and that no other waits."""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fake_portal import (
    BAD,
    DAY,
    LINE,
    NOW,
    SEND,
    FakePortal,
    answer,
    chat_id,
    refuse_waiting_confirmations,
    run,
    run_each,
    states,
    states_of,
    write,
    write_to_all,
)

from delivery.worker import Worker
from rest.errors import OutcomeUnknown, Refused
from storage import Store
from store.records import ReportedFault

# -- who goes alone


def test_a_refused_call_with_several_is_repeated_at_once_each_alone(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write_to_all(store, "hello", range(5))
    bitrix.says["send"] = [BAD]

    run(worker, NOW)

    assert bitrix.sizes == [5, 1, 1, 1, 1, 1]
    assert store.notes.fault.get() is None


@pytest.mark.parametrize("code", ["BAD", "HTTP_403"])  # the portal's, or a firewall's before it
def test_one_bad_message_of_a_call_spoils_only_itself_and_is_given_up_once_others_pass(
    store: Store, bitrix: FakePortal, worker: Worker, code: str
) -> None:
    bitrix.says["send of bad"] = Refused(code, SEND)
    for chat in range(6):
        write(store, "bad" if chat == 1 else "hello", chat)

    run(worker, NOW)
    assert states_of(store, range(6)).count(["delivered"]) == 5
    run_each(worker, range(120, 3600, 120))
    assert states(store, 1) == ["stored"], "while nothing else passes it may be the portal"
    for minute in range(30, 60):
        write(store, f"minute {minute}", chat=2)
        run(worker, NOW + 120 * minute)

    assert states(store, 1) == ["refused"]
    assert store.conversations.latest(chat_id(1), None, 10)[0].error == code
    assert {*states(store, 2)} == {"delivered"}


def test_what_waited_for_a_line_does_not_go_alone(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    store.portal.disconnect_line(LINE)
    write_to_all(store, "hello", range(40))
    run_each(worker, range(0, 600, 120))
    store.portal.connect_line(LINE, NOW + 700)

    run(worker, NOW + 700, steps=60)

    assert sum(bitrix.sizes) == 40
    assert len(bitrix.sizes) <= 4


# -- who is given up


def test_a_portal_that_refuses_every_call_ends_no_message(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send"] = Refused("ERROR_CORE", SEND)
    write_to_all(store, "hello", range(6))

    run_each(worker, range(0, 3600, 60))
    assert states_of(store, range(6)) == [["stored"]] * 6
    assert store.notes.fault.get() == ReportedFault(SEND, "ERROR_CORE")
    assert len(bitrix.sent) < 6 * 30, "it is not asked for each of them each minute"
    bitrix.says.clear()
    run(worker, NOW + 7200)

    assert states_of(store, range(6)) == [["delivered"]] * 6
    assert store.notes.fault.get() is None


def others_pass(store: Store, worker: Worker) -> None:
    for minute in range(60):
        write(store, f"minute {minute}", chat=2)
        answer(store, 10_000 + minute, chat=2)
        run(worker, NOW + 75 * minute)


def test_a_message_that_is_refused_alone_is_given_up_at_the_eighth_strike(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "first", chat=2)
    run(worker, NOW - 1)
    bitrix.says["send of bad"] = BAD
    write(store, "bad")

    others_pass(store, worker)

    assert bitrix.sent.count(["bad"]) == 9, "the first is no strike: it may be the portal"
    assert states(store) == ["refused"]
    assert store.conversations.latest(chat_id(1), None, 1)[0].error == "BAD"


def test_a_confirmation_that_is_refused_alone_is_given_up_at_the_eighth_strike(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    answer(store, 10)
    refuse_waiting_confirmations(store, bitrix)

    others_pass(store, worker)

    (message,) = store.conversations.latest(chat_id(1), None, 10)
    assert bitrix.confirmed.count([message.id]) == 9
    assert store.queue.waiting() == 0
    assert message.error is None, "the visitor has done nothing"


def test_a_strike_counts_only_after_others_of_its_kind_have_passed(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send of bad"] = BAD
    write(store, "bad")

    for minute in range(60):
        answer(store, 10 + minute, chat=2)
        run(worker, NOW + 75 * minute)

    assert states(store) == ["stored"], "confirmations that pass say nothing of messages"


def test_a_message_in_doubt_again_and_again_is_given_up_while_others_pass(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send of poison"] = OutcomeUnknown("HTTP_502", SEND)
    write(store, "poison")

    for minute in range(10):
        write(store, f"{minute}", chat=2)
        run(worker, NOW + 60 * minute)

    assert states(store) == ["refused"]
    assert bitrix.sent.count(["poison"]) == 3
    assert {*states(store, 2)} == {"delivered"}


# -- what is held against a delivery ends with it


def objects_held_by(worker: Worker, *apart: object) -> int:
    """How many objects a worker holds, without those that are not its own."""
    # A logger holds the handlers of all, and these the lines of the tests.
    skipped = (type, type(gc), type(run), type(worker.step), logging.Logger)
    seen = {id(other) for other in apart}
    waiting: list[Any] = [worker]
    count = 0
    while waiting:
        held = waiting.pop()
        if id(held) in seen or isinstance(held, skipped):
            continue
        seen.add(id(held))
        count += 1
        waiting += gc.get_referents(held)
    return count


@contextmanager
def no_growth(worker: Worker, *apart: object) -> Iterator[None]:
    """What is done with at least 40 deliveries leaves the worker as large as it was."""
    before = objects_held_by(worker, *apart)
    yield
    assert objects_held_by(worker, *apart) - before < 20


def test_what_spoiled_a_call_is_forgotten_once_it_is_delivered(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    def spoil_a_call(minute: int) -> None:
        write_to_all(store, "hello", range(5))
        bitrix.says["send"] = [BAD]
        run_each(worker, range(60 * minute, 60 * minute + 5))
        assert store.queue.waiting() == 0

    spoil_a_call(0)
    with no_growth(worker, store, store.database, bitrix):
        for minute in range(1, 11):
            spoil_a_call(minute)


def test_what_was_refused_alone_is_forgotten_once_it_is_given_up(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    def give_some_up(hour: int) -> None:
        for number in range(4):
            answer(store, 1_000 * (hour + 1) + number)
        refuse_waiting_confirmations(store, bitrix, NOW + 2 * DAY)
        for minute in range(60):
            answer(store, 1_000_000 + 1_000 * hour + minute)
            run(worker, NOW + 4800 * hour + 80 * minute)
        assert store.queue.waiting() == 0

    give_some_up(0)
    with no_growth(worker, store, store.database, bitrix):
        for hour in range(1, 7):
            give_some_up(hour)


def test_what_was_in_doubt_is_forgotten_once_it_is_given_up(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send of poison"] = OutcomeUnknown("HTTP_502", SEND)

    def give_one_up(hour: int) -> None:
        write(store, "poison")
        for minute in range(8):
            write(store, f"{minute}", chat=2)
            run(worker, NOW + 3600 * hour + 60 * minute)
        assert store.queue.waiting() == 0
        assert states(store)[-1] == "refused"

    give_one_up(0)
    with no_growth(worker, store, store.database, bitrix):
        for hour in range(1, 41):
            give_one_up(hour)
