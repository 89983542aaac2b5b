"""How soon a visitor's new message is sent while a worker looks for what its predecessor left."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fake_portal import (
    LINE,
    NOW,
    FakePortal,
    chat_id,
    install,
    know_dialog,
    said,
    write,
    write_to_all,
)

from delivery.worker import POLL_SECONDS, Worker
from storage import Store
from store.database import Connection
from store.records import Outcome

CALL_SECONDS, WRITE_SECONDS = 0.35, 0.05  # of a portal, and of a busy disk
DIALOG = 10_000  # and the chat's number
NEW = 9_999  # a chat of a new visitor
END_SECONDS = 100.0


class Clock:
    """Time passes in calls, in writes and in pauses, and nowhere else."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        return NOW + self.passed


@pytest.fixture
def clock(store: Store, bitrix: FakePortal, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock, ask, plain = Clock(), bitrix._ask, store.database.write

    def takes(items: int) -> None:
        clock.passed += CALL_SECONDS

    def call(*given: Any, **named: Any) -> None:
        takes(1)
        ask(*given, **named)

    @contextmanager
    def slowly() -> Iterator[Connection]:
        with plain() as db:
            yield db
        clock.passed += WRITE_SECONDS

    monkeypatch.setattr(time, "monotonic", lambda: clock.passed)
    monkeypatch.setattr(bitrix, "_ask", call)
    monkeypatch.setattr(store.database, "write", slowly)
    monkeypatch.setattr(bitrix, "work", takes)
    return clock


def leave(store: Store, bitrix: FakePortal, missed: int, in_doubt: int) -> None:
    """As a worker does that dies: so many chats miss an answer, others' messages were under way."""
    chats = range(max(missed, in_doubt))
    write_to_all(store, "hello", chats)
    while due := store.queue.due_messages(NOW, 100):
        taken = store.queue.claim(due, LINE, NOW)
        store.queue.record([Outcome(delivery, "delivered") for delivery in taken], NOW)
    for chat in chats:
        know_dialog(store, chat, DIALOG + chat)
        text = "missed" if chat < missed else "known"
        bitrix.histories[DIALOG + chat] = [said(1_000 + chat, text=text, hidden=chat >= missed)]
    write_to_all(store, "under way", range(in_doubt))
    while due := store.queue.due_messages(NOW, 100):
        store.queue.claim(due, LINE, NOW)


@pytest.mark.parametrize(
    ("missed", "in_doubt", "at_most"),
    [(126, 0, 2.0), (0, 126, 2.0), (126, 126, 2.0)],  # before: 11.4, 9.1 and 17.6 seconds
)
def test_a_new_message_waits_for_no_other_chat(
    store: Store,
    bitrix: FakePortal,
    worker: Worker,
    clock: Clock,
    missed: int,
    in_doubt: int,
    at_most: float,
) -> None:
    install(store)
    leave(store, bitrix, missed, in_doubt)
    clock.passed = 0.0
    worker.begin(clock.now())
    write(store, "new", NEW)
    began, sent_at = clock.passed, 0.0

    while clock.passed < END_SECONDS:
        if not worker.step(clock.now()):
            clock.passed += POLL_SECONDS
        if ["new"] in bitrix.sent and not sent_at:
            sent_at = clock.passed

    print(f"sent after {sent_at - began:.2f} s, calls: {len(bitrix.calls)}")
    assert 0 < sent_at - began <= at_most
    assert len(bitrix.made("confirm")) <= 4, "they are confirmed together"
    for chat in range(missed):
        assert "missed" in texts_of(store, chat)


def texts_of(store: Store, chat: int) -> list[str]:
    return [message.text for message in store.conversations.latest(chat_id(chat), None, 100)]
