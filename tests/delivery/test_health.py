"""What the admin is told while calls stand still, and what tells the worker to try again."""

import pytest
from fake_portal import NOW, SEND, FakePortal, answer, make_worker, run, run_each, states, write

from delivery.worker import Worker
from rest.errors import BitrixError, OutcomeUnknown, Refused, SetupFault, TryLater
from storage import Store
from store.records import ReportedFault

ENDED = SetupFault("PORTAL_DELETED", SEND)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SetupFault("ACCESS_DENIED", SEND), True),
        (SetupFault("insufficient_scope", SEND), True),
        (SetupFault("PORTAL_DELETED", SEND), True),
        (Refused("ERROR_CORE", SEND), True),
        (SetupFault("PORTAL_RENAMED", SEND), True),
        (TryLater("CERTIFICATE_EXPIRED", SEND), True),
        (TryLater("NOT_CONNECTED", SEND), False),
        (OutcomeUnknown("NO_REPLY", SEND), False),
    ],
    ids=repr,
)
def test_a_fault_is_told_when_a_person_must_mend_it_and_taken_back_once_it_is_over(
    store: Store, bitrix: FakePortal, worker: Worker, error: BitrixError, told: bool
) -> None:
    write(store, "hello")
    bitrix.says["send"] = [error]
    run(worker, NOW)
    assert store.notes.fault.get() == (ReportedFault(SEND, error.code) if told else None)

    run_each(worker, range(1, 100))

    assert states(store) == ["delivered"]
    assert store.notes.fault.get() is None


def test_a_fault_that_is_over_is_not_taken_back_twice(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """What somebody else has told meanwhile stays."""
    write(store, "hello")
    bitrix.says["send"] = [ENDED]
    run_each(worker, range(100))
    assert states(store) == ["delivered"]

    store.notes.fault.set(ReportedFault("of another", "X"))
    write(store, "second")
    run(worker, NOW + 100)

    assert store.notes.fault.get() == ReportedFault("of another", "X")


def test_a_fault_of_messages_is_not_taken_back_by_a_confirmation(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "hello")
    bitrix.says["send"] = SetupFault("ACCESS_DENIED", SEND)
    run(worker, NOW)
    answer(store, 10)

    run(worker, NOW + 1)

    assert len(bitrix.confirmed) == 1
    assert store.notes.fault.get() == ReportedFault(SEND, "ACCESS_DENIED")


def test_a_fault_that_another_worker_noted_is_taken_back_by_the_next_success(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "hello")
    bitrix.says["send"] = [SetupFault("ACCESS_DENIED", SEND)]
    run(worker, NOW)
    assert store.notes.fault.get()

    later = make_worker(store, bitrix)
    later.begin(NOW + 1)
    run(later, NOW + 1)

    assert states(store) == ["delivered"]
    assert store.notes.fault.get() is None


def test_a_broken_set_up_stops_everything_until_it_is_mended(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "hello")
    bitrix.says["send"] = [SetupFault("OVERLOAD_LIMIT", SEND)]

    run_each(worker, (0, 5))
    assert len(bitrix.sent) == 1
    assert store.notes.fault.get() == ReportedFault(SEND, "OVERLOAD_LIMIT")
    assert store.queue.waiting() == 1

    store.notes.mended_at.set(NOW + 6)
    run(worker, NOW + 6)

    assert states(store) == ["delivered"]
    assert store.notes.fault.get() is None


def test_a_good_look_at_the_portal_makes_the_worker_try_at_once(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "hello")
    bitrix.says["send"] = [SetupFault("ACCESS_DENIED", SEND)]
    run_each(worker, (0, 5))
    assert len(bitrix.sent) == 1

    store.notes.retry_at.set(NOW + 6)
    run(worker, NOW + 6)

    assert states(store) == ["delivered"]
    assert store.notes.fault.get() is None
