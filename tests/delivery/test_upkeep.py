"""When the portal's set-up is compared with ours, in turn with other work."""

from collections.abc import Iterable

import pytest
from fake_portal import (
    NOW,
    FakePortal,
    install,
    know_dialog,
    run,
    run_each,
    seconds_of,
    write,
    write_to_all,
)

from delivery.worker import Worker
from rest.errors import BitrixError, OutcomeUnknown, Refused, SetupFault, TryLater
from storage import Store
from store.records import ReportedFault


def checks(bitrix: FakePortal, worker: Worker, seconds: Iterable[float]) -> list[float]:
    return seconds_of("check", bitrix, worker, seconds)


def test_the_set_up_is_checked_at_the_start_and_every_hour(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    install(store)

    assert checks(bitrix, worker, range(0, 8000, 20)) == [0, 3600, 7200]


def test_an_install_that_is_not_finished_is_checked_every_minute(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    install(store)
    bitrix.says["check"] = False

    assert checks(bitrix, worker, range(0, 300, 5)) == [0, 60, 120, 180, 240]


@pytest.mark.parametrize(
    ("days_ago", "first"),
    [(0, 60), (-1, 0)],  # it may not be finished; a wrong clock has dated it in the future
)
def test_an_install_is_left_alone_for_its_first_minute(
    store: Store, bitrix: FakePortal, worker: Worker, days_ago: int, first: int
) -> None:
    install(store, days_ago)

    assert checks(bitrix, worker, range(100)) == [first]


def test_without_an_install_nothing_is_checked_and_nothing_looked_for(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "hello")

    run_each(worker, range(0, 4000, 50))

    assert {call.method for call in bitrix.calls} == {"send"}


@pytest.mark.parametrize(
    ("error", "second"),
    [
        (OutcomeUnknown("NO_REPLY", "app.info"), 5),
        (TryLater("NOT_CONNECTED", "app.info"), 5),
        (TryLater("OPERATION_TIME_LIMIT", "app.info", seconds=300), 3600),
        (Refused("ERROR", "event.bind"), 3600),
        (SetupFault("ACCESS_DENIED", "app.info"), 3600),
    ],
    ids=repr,
)
def test_a_check_that_was_not_answered_is_made_again_soon_and_a_refused_one_is_not(
    store: Store, bitrix: FakePortal, worker: Worker, error: BitrixError, second: int
) -> None:
    install(store)
    bitrix.says["check"] = [error]

    seconds = checks(bitrix, worker, [*range(20), *range(20, 3600, 20), *range(3600, 3610)])

    assert seconds[0] == 0
    assert second <= seconds[1] <= second + 1


def test_an_overdue_check_goes_before_messages_and_in_turn_with_them(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    install(store)
    run(worker, NOW)
    run(worker, NOW + 3600 - 1)
    for number in range(6):
        write(store, f"{number}")
    bitrix.calls.clear()

    worker.step(NOW + 3600 + 9)
    assert [call.method for call in bitrix.calls] == ["send"], "it may wait for ten seconds"
    worker.step(NOW + 3600 + 11)
    worker.step(NOW + 3600 + 11)

    assert [call.method for call in bitrix.calls] == ["send", "check", "send"]


def test_a_long_look_lets_messages_pass(store: Store, bitrix: FakePortal, worker: Worker) -> None:
    install(store, days_ago=0)
    for chat in range(120):
        write(store, "hello", chat)
        know_dialog(store, chat, 6000 + chat)
    run(worker, NOW, steps=200)
    bitrix.calls.clear()
    worker.begin(NOW + 60)
    write_to_all(store, "hello", range(3))

    for _ in range(6):
        worker.step(NOW + 60)

    assert [call.method for call in bitrix.calls] == ["batch", "send"] * 3


@pytest.mark.parametrize(
    ("error", "again_after"),
    [
        (TryLater("CERTIFICATE_EXPIRED", "app.info"), 5),
        (SetupFault("PORTAL_RENAMED", "app.info", address="https://new.example"), 3600),
    ],
    ids=repr,
)
def test_a_fault_of_the_way_to_the_portal_is_told_before_anybody_writes(
    store: Store, bitrix: FakePortal, worker: Worker, error: BitrixError, again_after: int
) -> None:
    install(store)
    bitrix.says["check"] = [error]

    run_each(worker, range(again_after))
    assert store.notes.fault.get() == ReportedFault("app.info", error.code, error.address)
    run_each(worker, range(again_after, again_after + 2))

    assert store.notes.fault.get() is None


def test_other_faults_of_upkeep_are_not_told(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    install(store)
    bitrix.says["check"] = [SetupFault("ACCESS_DENIED", "app.info")]

    run_each(worker, range(3))

    assert store.notes.fault.get() is None


# -- until when events may be lost for a reason that we know


def excused(store: Store) -> float | None:
    return store.notes.events_excused_until.get()


def test_an_earlier_release_has_not_noted_until_when_it_did_not_run(
    store: Store, worker: Worker
) -> None:
    worker.begin(NOW)

    assert excused(store) == NOW


@pytest.mark.parametrize(("seconds", "until"), [(5.0, NOW - 100), (60.0, NOW)])
def test_events_are_excused_until_a_worker_runs_again(
    store: Store, worker: Worker, seconds: float, until: float
) -> None:
    store.notes.events_excused_until.set(NOW - 100)
    store.notes.up_at.set(NOW - seconds)

    worker.begin(NOW)

    assert excused(store) == until


def test_events_are_excused_until_an_outage_ends_and_not_by_the_hourly_look(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    install(store)
    worker.begin(NOW)
    run_each(worker, range(0, 4000, 20))
    assert excused(store) == NOW, "several full looks later"

    store.notes.events_lost_at.set(NOW + 4000)
    run_each(worker, range(4020, 4060, 20))

    assert excused(store) == NOW + 4020
