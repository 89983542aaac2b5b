"""What other processes note for the worker, and what it notes of itself."""

from collections import Counter
from typing import Any

import pytest
from fake_portal import (
    LINE,
    NOT_ACTIVE,
    NOW,
    OTHER_LINE,
    SEND,
    FakePortal,
    install,
    make_worker,
    run,
    run_each,
    states,
    write,
)

from delivery.worker import Worker
from rest.errors import BitrixError, SetupFault, TryLater
from storage import Store
from store.notes import Note, get_all

ON_LINE = f"send on {LINE}"


def test_the_notes_of_others_are_read_about_once_a_second(
    store: Store, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Note[Any]] = []
    get = Note.get

    def counted(note: Note[Any]) -> Any:
        asked.append(note)
        return get(note)

    def all_counted(*notes: Note[Any]) -> Any:
        asked.extend(notes)
        return get_all(*notes)

    monkeypatch.setattr(Note, "get", counted)
    monkeypatch.setattr("delivery.signals.get_all", all_counted)

    run_each(worker, [tenth / 10 for tenth in range(100)])

    assert asked
    assert max(Counter(asked).values()) <= 12


def test_that_we_are_up_is_noted_every_ten_seconds_and_no_oftener(
    store: Store, worker: Worker
) -> None:
    noted = set()
    for second in range(0, 100, 2):
        run(worker, NOW + second)
        up_at = store.notes.up_at.get()
        assert up_at is not None
        assert up_at >= NOW + second - 10
        noted.add(up_at)

    assert len(noted) <= 11


def test_a_mended_set_up_is_heard_of_within_two_seconds_and_lost_events_are_looked_for(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    install(store)
    write(store, "first")
    run_each(worker, range(10))
    write(store, "second")
    bitrix.says["send"] = [SetupFault("INVALID_TOKEN", SEND)]
    run_each(worker, (10, 11, 12))
    bitrix.calls.clear()

    store.notes.mended_at.set(NOW + 12.5)
    run_each(worker, (13, 14))

    assert states(store) == ["delivered"] * 2
    assert bitrix.made("batch"), "events may have been lost"


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (SetupFault("INVALID_TOKEN", SEND), "delivered"),
        (TryLater("OPERATION_TIME_LIMIT", SEND, seconds=300), "stored"),
    ],
    ids=repr,
)
def test_an_admins_visit_ends_the_pause_of_a_fault_and_none_that_the_portal_asked_for(
    store: Store, bitrix: FakePortal, worker: Worker, error: BitrixError, state: str
) -> None:
    bitrix.says["send"] = [error]
    write(store, "hello")
    run(worker, NOW)

    store.notes.mended_at.set(NOW + 5)
    run(worker, NOW + 5)

    assert states(store) == [state]


def test_a_dead_line_is_used_again_once_an_operator_connects_any(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    store.portal.connect_line(OTHER_LINE, NOW - 60)
    bitrix.says[ON_LINE] = NOT_ACTIVE
    write(store, "first")
    run_each(worker, range(60))
    assert bitrix.lines[-1] == OTHER_LINE
    bitrix.says.clear()
    write(store, "second", chat=2)
    run(worker, NOW + 60)
    assert bitrix.lines[-1] == OTHER_LINE

    store.notes.connected_at.set(NOW + 61)
    assert store.notes.dead_lines.get()
    write(store, "third", chat=3)
    run(worker, NOW + 62)

    assert bitrix.lines[-1] == LINE
    assert not store.notes.dead_lines.get()


def test_a_line_that_is_dead_still_after_an_operator_connected_it_is_told_again(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says[ON_LINE] = NOT_ACTIVE
    write(store, "hello")
    run_each(worker, range(60))
    store.notes.connected_at.set(NOW + 61)
    run(worker, NOW + 62)
    assert not store.notes.dead_lines.get()

    run_each(worker, range(63, 300))

    assert store.notes.dead_lines.get() == {LINE: "NOT_ACTIVE_LINE"}


def test_a_line_that_was_connected_before_we_were_last_up_is_not_heard_of_anew(
    store: Store, bitrix: FakePortal
) -> None:
    store.notes.connected_at.set(NOW - 100)
    store.notes.up_at.set(NOW - 10)
    store.notes.dead_lines.set({LINE: "NO_SESSION"})
    worker = make_worker(store, bitrix)
    worker.begin(NOW)

    run(worker, NOW)
    assert store.notes.dead_lines.get() == {LINE: "NO_SESSION"}
    store.notes.connected_at.set(NOW + 1)
    run(worker, NOW + 2)

    assert store.notes.dead_lines.get() is None
