"""A store that can note nothing: what has ended is noted later, and nothing else is."""

import threading
from typing import Any

import pytest
from fake_portal import DAY, NOW, SEND, FakePortal, states, write

from delivery.worker import Worker
from rest.errors import TryLater
from storage import Store
from store.database import StoreUnavailable
from store.notes import Note


def fail_once(store: Store, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step while the disk is full; then the loop takes up its work again."""

    def full(*_: Any) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store.queue, "record", full)
        patch.setattr(Note, "set", full)
        with pytest.raises(StoreUnavailable):
            worker.step(NOW)
    stop = threading.Event()
    monkeypatch.setattr(worker, "step", lambda _: stop.set())
    worker.run(stop)


def test_what_the_store_could_not_note_is_noted_once_it_can(
    store: Store, bitrix: FakePortal, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The portal has taken the message: another worker must not take it for lost."""
    write(store, "hello")
    worker.step(NOW - 1)  # nothing is due yet

    fail_once(store, worker, monkeypatch)

    assert bitrix.sent == [["hello"]]
    assert states(store) == ["delivered"]


def test_a_pause_that_the_store_could_not_note_is_not_noted_over_anothers_call(
    store: Store, bitrix: FakePortal, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker has begun meanwhile: should it die, the message must stay in doubt."""
    bitrix.says["send"] = [TryLater("NOT_CONNECTED", SEND)]
    write(store, "hello")
    worker.step(NOW - 1)  # nothing is due yet

    fail_once(store, worker, monkeypatch)

    in_doubt = store.queue.messages_in_doubt(NOW + DAY, 10)
    assert [delivery.message.text for delivery in in_doubt] == ["hello"]
