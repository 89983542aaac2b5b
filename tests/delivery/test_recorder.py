"""A store that can note nothing: what has ended is noted later, and nothing else is."""

import logging
import threading
from dataclasses import replace
from typing import Any

import pytest
from fake_portal import (
    DAY,
    NOW,
    SEND,
    FakePortal,
    answer,
    chat_id,
    refused_item,
    run,
    run_each,
    states,
    write,
)

from delivery.worker import Worker
from rest.errors import TryLater
from storage import Store
from store.database import StoreUnavailable
from store.notes import Note
from way import Shown


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
    worker.step(NOW - 1)  # nothing is there yet
    write(store, "hello")

    fail_once(store, worker, monkeypatch)

    assert bitrix.sent == [["hello"]]
    assert states(store) == ["delivered"]


def test_a_pause_that_the_store_could_not_note_is_not_noted_over_anothers_call(
    store: Store, bitrix: FakePortal, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker has begun meanwhile: should it die, the message must stay in doubt."""
    bitrix.says["send"] = [TryLater("NOT_CONNECTED", SEND)]
    worker.step(NOW - 1)  # nothing is there yet
    write(store, "hello")

    fail_once(store, worker, monkeypatch)

    in_doubt = store.queue.messages_in_doubt(NOW + DAY, 10)
    assert [delivery.message.text for delivery in in_doubt] == ["hello"]


# -- the way of a message in the log


def steps(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [line for line in caplog.records if line.name == "way"]
    return [
        f"{line.getMessage()} {vars(line)['facts'].get('code') or ''}".strip() for line in lines
    ]


@pytest.fixture
def _all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "way")


@pytest.mark.usefixtures("_all_lines")
def test_in_an_outage_each_message_says_once_why_it_waits(
    store: Store, bitrix: FakePortal, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    write(store, "hello")
    bitrix.says["send"] = TryLater("NOT_CONNECTED", SEND)
    run_each(worker, range(0, 3600, 60))
    assert len(bitrix.sent) > 10
    bitrix.says["send"] = TryLater("OVERLOAD_LIMIT", SEND)
    run_each(worker, range(3600, 7200, 60))
    del bitrix.says["send"]
    run(worker, NOW + DAY)

    assert steps(caplog) == [
        "message sent",
        "message waits NOT_CONNECTED",
        "message waits OVERLOAD_LIMIT",
        "message confirmed",
    ]


@pytest.mark.usefixtures("_all_lines")
@pytest.mark.parametrize(
    ("says", "logged"),
    [
        ("IMCONNECTOR_NOT_SPECIFIED_CORRECT_USER", "IMCONNECTOR_NOT_SPECIFIED_CORRECT_USER"),
        ("The text is too long", "The text is too long"),
        ('Wrong text "call me", sorry', "Wrong text …, sorry"),
        ("Wrong text «call me»", "Wrong text …"),
        ("Wrong e-mail ann@shop.example", "Wrong e-mail …"),
        ("Wrong phone +7 (999) 123-45-67", "Wrong phone …"),
        ("Wrong secretword in it", "Wrong … in it"),
    ],
)
def test_of_the_portals_reason_what_may_quote_the_visitor_is_left_out(
    store: Store, bitrix: FakePortal, worker: Worker, caplog: pytest.LogCaptureFixture,
    says: str, logged: str,
) -> None:  # fmt: skip
    write(store, "my secretword")
    bitrix.says["send"] = refused_item(says)
    run(worker, NOW + 1)

    assert steps(caplog)[-1] == f"message refused {logged}"


@pytest.mark.usefixtures("_all_lines")
def test_an_answer_is_said_to_be_shown_once_however_often_it_is_read(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    answer(store, 10)
    answer(store, 11)
    write(store, "hello")
    messages = store.conversations.latest(chat_id(1), None, 10)
    shown = Shown()
    for _ in range(100):
        for message in messages:
            shown.note(message, NOW + 5)
            shown.note(replace(message, sent_at=NOW - 4 * DAY, revision=1), NOW)
    shown.note(replace(messages[0], revision=9_999_999, edited=True), NOW + 9)

    assert steps(caplog) == ["message shown"] * 3
    assert vars(caplog.records[-1])["facts"]["edited"] is True
