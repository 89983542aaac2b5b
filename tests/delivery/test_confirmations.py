"""Confirmations of operators' messages: ahead of messages, together, and alone in their trouble."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from fake_portal import (
    CONFIRM,
    LINE,
    NOW,
    OTHER_LINE,
    SEND,
    FakePortal,
    answer,
    chat_id,
    run,
    run_each,
    states,
    write,
    write_to_all,
)

from delivery.worker import Worker
from rest.errors import BitrixError, OutcomeUnknown, Refused, SetupFault, TryLater
from storage import Store

FAILURES = [
    partial(OutcomeUnknown, "HTTP_502"),
    partial(OutcomeUnknown, "NO_REPLY"),
    partial(TryLater, "NOT_DONE"),
    partial(TryLater, "OPERATION_TIME_LIMIT", seconds=300),
    partial(Refused, "ERROR_CORE"),
    partial(SetupFault, "ACCESS_DENIED"),
]


def test_confirmations_go_ahead_of_messages_and_together(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "hello")
    answer(store, 10)
    answer(store, 11)

    worker.step(NOW)

    assert bitrix.sent == []
    assert bitrix.confirmed == [[2, 3]]


def test_operators_who_write_all_the_time_keep_no_message_waiting(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "hello")
    for number in range(4):
        answer(store, 10 + number)
        worker.step(NOW)

    assert len(bitrix.sent) == 1
    assert bitrix.confirmed == [[2], [3, 4], [5]]


def test_fifty_confirmations_share_a_call_and_no_more(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    for number in range(60):
        answer(store, 10 + number)

    worker.step(NOW)
    worker.step(NOW)

    assert [len(call) for call in bitrix.confirmed] == [50, 10]


def test_confirmations_of_two_lines_do_not_share_a_call(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    answer(store, 10, line=LINE)
    answer(store, 11, line=OTHER_LINE)
    answer(store, 12, line=LINE)

    run(worker, NOW)

    assert bitrix.confirmed == [[1, 3], [2]]
    assert [call.target for call in bitrix.made("confirm")] == [LINE, OTHER_LINE]


@pytest.mark.parametrize("failure", FAILURES)
def test_confirmations_that_fail_hold_up_no_message(
    store: Store, bitrix: FakePortal, worker: Worker, failure: Callable[..., BitrixError]
) -> None:
    bitrix.says["confirm"] = failure(method=CONFIRM)
    answer(store, 10)
    for minute in range(10):
        write(store, f"minute {minute}")
        run(worker, NOW + 60 * minute)
        assert states(store)[-1] == "delivered"

    assert store.queue.waiting() == 1
    bitrix.says.clear()
    run(worker, NOW + 7200)
    assert store.queue.waiting() == 0


@pytest.mark.parametrize("failure", FAILURES)
def test_messages_that_fail_hold_up_no_confirmation(
    store: Store, bitrix: FakePortal, worker: Worker, failure: Callable[..., BitrixError]
) -> None:
    bitrix.says["send"] = failure(method=SEND)
    write(store, "hello")
    for minute in range(10):
        answer(store, 10 + minute)
        run(worker, NOW + 60 * minute)
        assert store.queue.waiting() == 1, "all but the message"

    bitrix.says.clear()
    run(worker, NOW + 7200)
    assert store.queue.waiting() == 0


@pytest.mark.parametrize(
    "error", [OutcomeUnknown("HTTP_502", "m"), Refused("NOT_DONE", "m"), TryLater("ANY", "m")]
)
def test_confirmations_that_fail_on_one_line_hold_up_no_other_line(
    store: Store, bitrix: FakePortal, worker: Worker, error: BitrixError
) -> None:
    write_to_all(store, "hello", (1, 2))
    run(worker, NOW)
    for number in range(60):
        answer(store, 10 + number)
    bitrix.says[f"confirm on {LINE}"] = error
    run(worker, NOW, steps=2)

    answer(store, 100, chat=2, line=OTHER_LINE)
    run_each(worker, range(5))

    theirs = store.conversations.latest(chat_id(2), None, 1)[0].id
    assert [theirs] in bitrix.confirmed


def test_a_confirmation_on_a_line_that_is_not_active_is_never_given_up(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """The line is at fault, not the confirmation: no refusal counts against it."""
    bitrix.says[f"confirm on {LINE}"] = Refused("NOT_ACTIVE_LINE", CONFIRM)
    answer(store, 10)
    for number in range(40):
        answer(store, 100 + number, line=OTHER_LINE)
        run(worker, NOW + 100 * number)

    assert len([call for call in bitrix.made("confirm") if call.target == LINE]) > 8
    assert store.queue.waiting() == 1
    del bitrix.says[f"confirm on {LINE}"]
    run(worker, NOW + 100_000)
    assert store.queue.waiting() == 0


def test_a_slow_failure_of_a_confirmation_leaves_the_next_turn_to_a_message(
    store: Store, bitrix: FakePortal, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call ends after 20 s, in which the pause that follows it must not have passed."""
    monotonic = 1.0
    monkeypatch.setattr(time, "monotonic", lambda: monotonic)

    def slowly(*_: Any) -> None:
        nonlocal monotonic
        monotonic += 20
        raise OutcomeUnknown("NO_REPLY", CONFIRM)

    monkeypatch.setattr(bitrix, "confirm_delivery", slowly)
    answer(store, 10)
    write(store, "hello")

    worker.step(NOW)
    worker.step(NOW + 20)
    assert bitrix.made("server.time"), "whether the portal answers at all"
    worker.step(NOW + 20)

    assert bitrix.sent == [["hello"]]
