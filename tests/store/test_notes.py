"""Notes: small facts about ourselves that outlive a process."""

from collections.abc import Callable
from typing import Any

import pytest
from store_parts import NOW

from storage import Store
from store.notes import Note, Notes
from store.records import LastRecovery, ReportedFault

NOTES: dict[str, tuple[Callable[[Notes], Note[Any]], Any]] = {
    "a moment": (lambda notes: notes.up_at, NOW),
    "a truth": (lambda notes: notes.is_unfinished, False),
    "a text": (lambda notes: notes.registered, "by which settings"),
    "a fault": (lambda notes: notes.fault, ReportedFault("batch", "OVERLOAD_LIMIT")),
    "codes by line": (lambda notes: notes.dead_lines, {7: "NO_SESSION", 9: "OTHER"}),
    "a recovery": (lambda notes: notes.recovery, LastRecovery(1, 2, 3, NOW)),
}


@pytest.mark.parametrize(("note", "value"), NOTES.values(), ids=NOTES)
def test_a_note_is_kept_as_it_was_given_until_it_is_cleared(
    store: Store, second: Store, note: Callable[[Notes], Note[Any]], value: Any
) -> None:
    ours, theirs = note(store.notes), note(second.notes)
    assert ours.get() is None

    ours.set(value)
    assert theirs.get() == value
    ours.set(value)
    assert theirs.get() == value

    theirs.clear()
    assert ours.get() is None


def test_each_note_has_a_place_of_its_own(store: Store) -> None:
    moments: list[Note[Any]] = [store.notes.mended_at, store.notes.connected_at, store.notes.up_at]
    moments += [store.notes.events_lost_at]
    for number, note in enumerate(moments):
        note.set(float(number))
    store.notes.dead_lines.set({7: "NO_SESSION"})

    store.notes.fault.clear()

    assert [note.get() for note in moments] == [0.0, 1.0, 2.0, 3.0]
    assert store.notes.dead_lines.get() == {7: "NO_SESSION"}
