"""A clock that is set back, or a little wrong."""

import pytest
from fake_portal import (
    DAY,
    NO_REPLY,
    NOW,
    SEND,
    FakePortal,
    install,
    make_worker,
    pauses,
    run,
    run_each,
    seconds_of,
    states,
    write,
)

from delivery.worker import Worker
from rest.errors import BitrixError, TryLater
from storage import Store


@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_that_is_set_back_stops_nothing(
    store: Store, bitrix: FakePortal, worker: Worker, restarted: bool
) -> None:
    errors: list[BitrixError] = [TryLater("NOT_CONNECTED", SEND), NO_REPLY]
    bitrix.says["send"] = errors
    write(store, "one")
    run_each(worker, (0, 5))
    write(store, "two", chat=2)

    if restarted:
        worker = make_worker(store, bitrix)
        worker.begin(NOW - DAY)
    run_each(worker, (-DAY, -DAY + 60, -DAY + 120))

    assert states(store) == states(store, 2) == ["delivered"]


def test_after_a_clock_was_set_back_pauses_begin_anew(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send"] = TryLater("NOT_CONNECTED", SEND)
    write(store, "hello")
    assert max(pauses(seconds_of("send", bitrix, worker, range(300)))) >= 40

    again = seconds_of("send", bitrix, worker, range(100, 120))

    assert again[0] == 100
    assert pauses(again)[0] <= 2


def test_after_a_clock_was_set_back_the_set_up_is_checked_and_we_are_noted_as_up_then(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    install(store, days_ago=10)
    run_each(worker, (0, 20, 40))
    assert len(bitrix.made("check")) == 1

    run(worker, NOW - DAY)

    assert len(bitrix.made("check")) == 2
    assert store.notes.up_at.get() == NOW - DAY


@pytest.mark.parametrize(("second", "calls"), [(1.5, 1), (0.5, 2)])
def test_a_clock_that_is_corrected_by_less_than_a_second_ends_no_pause(
    store: Store, bitrix: FakePortal, worker: Worker, second: float, calls: int
) -> None:
    bitrix.says["send"] = [TryLater("OPERATION_TIME_LIMIT", SEND, seconds=300)]
    write(store, "hello")

    run_each(worker, (0, 2, second))

    assert len(bitrix.sent) == calls
