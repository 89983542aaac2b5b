"""The worker, a step at a time: a real store, and a portal that answers as told."""

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from stage import path_of, wait_until

from bitrix import PAGE
from delivery.batch import CALL_BYTES, CALL_SECONDS, FIRST_ITEMS, LONG_BACKLOG
from delivery.bucket import BURST, Bucket
from delivery.circuits import Circuits
from delivery.lines import ROUNDS
from delivery.lookup import Lookup
from delivery.recovery import Recovery, RecoveryResult, was_missed
from delivery.upkeep import FULL_PAUSE_SECONDS
from delivery.worker import POLL_SECONDS, Worker
from portal.outgoing import portal_name
from rest.errors import BitrixError, OutcomeUnknown, Refused, SetupFault, TryLater
from rest.replies import HistoryMessage, ItemResult
from settings import DeliverySettings, Settings
from storage import Store
from store.database import StoreUnavailable
from store.notes import Note
from store.queue import RUN_LIMIT
from store.records import (
    Chat,
    LastRecovery,
    Limits,
    OperatorMessage,
    Outcome,
    Portal,
    ReportedFault,
    VisitorMessage,
)

NOW = 1_790_000_000.0
DAY = 86_400.0
DIALOG_METHOD = "im.dialog.messages.get"
LINE = 7
FILE = {"name": "a.pdf", "type": "file", "link": "https://x.example/a", "size": 1}
LIMITS = Limits("an address", 10_000, 10_000)
PORTAL = Portal("m", 1, "access", "refresh", NOW + DAY, "application", False, NOW)


class FakeBitrix:
    """Records what is asked and answers as told; each error is raised once."""

    def __init__(self) -> None:
        self.sent: list[list[str]] = []  # texts, a list a call
        self.confirmed: list[list[int]] = []
        self.asked: list[str] = []
        self.errors: list[BitrixError | None] = []
        self.broken: dict[str, BitrixError] = {}  # by "send" or "confirm": raised each time
        self.dead_lines: set[int] = set()  # they take nothing, and say SUCCESS
        self.broken_lines: dict[int, BitrixError] = {}
        self.bad_confirmations: set[int] = set()
        self.broken_confirmations: dict[int, BitrixError] = {}  # by line
        self.broken_dialogs: dict[int, BitrixError] = {}
        self.work: Callable[[int], None] = lambda items: None  # what a call with so many takes
        self.batch_works = True
        self.refuse: dict[str, str] = {}  # text → reason
        self.sessions = True
        self.poison = ""  # a text that makes the portal refuse the whole call
        self.poisoned: BitrixError = Refused("BAD", "imconnector.send.messages")
        self.dialog: list[HistoryMessage] | BitrixError = []
        self.session: list[HistoryMessage] | BitrixError = []

    def _maybe_fail(self, what: str) -> None:
        error = self.errors.pop(0) if self.errors else self.broken.get(what)
        if error is not None:
            raise error

    def send_messages(
        self, connector: str, line: int, messages: list[dict[str, Any]]
    ) -> list[ItemResult]:
        texts = [one["message"]["text"] for one in messages]
        self.sent.append(texts)
        self.work(len(texts))
        self._maybe_fail("send")
        if line in self.broken_lines:
            raise self.broken_lines[line]
        if self.poison in texts:
            raise self.poisoned
        return [self._result(one["message"]["text"], line) for one in messages]

    def _result(self, text: str, line: int) -> ItemResult:
        if text in self.refuse:
            return ItemResult(False, (self.refuse[text],))
        if line in self.dead_lines:
            return ItemResult(True, (), None, None, 2001)
        return ItemResult(True, (), 3301, 5120, 2001) if self.sessions else ItemResult(True)

    def confirm_delivery(self, connector: str, line: int, messages: list[dict[str, Any]]) -> None:
        ids = [one["message"]["id"][0] for one in messages]
        self.confirmed.append(ids)
        self._maybe_fail("confirm")
        if line in self.broken_confirmations:
            raise self.broken_confirmations[line]
        if self.bad_confirmations & set(ids):
            raise Refused("BAD", "imconnector.send.status.delivery")

    def is_installed(self) -> bool:
        if "app.info" in self.broken:
            raise self.broken["app.info"]
        return True

    def activate(self, connector: str, line: int, active: bool) -> None:
        self.asked.append(f"activate {line}")

    def dialog_messages(self, portal_chat_id: int, **bounds: Any) -> list[HistoryMessage]:
        self.asked.append(f"dialog {portal_chat_id}")
        if portal_chat_id in self.broken_dialogs:
            raise self.broken_dialogs[portal_chat_id]
        if isinstance(self.dialog, BitrixError):
            raise self.dialog
        return [one for one in self.dialog if one.id < (bounds.get("before") or math.inf)][-PAGE:]

    def session_messages(self, session_id: int) -> list[HistoryMessage]:
        self.asked.append(f"session {session_id}")
        if isinstance(self.session, BitrixError):
            raise self.session
        return self.session

    def newest_messages(self, ids: list[int]) -> list[list[HistoryMessage] | BitrixError]:
        if not self.batch_works:
            raise OutcomeUnknown("HTTP_502", "batch")
        self.asked.append("batch")
        if "batch" in self.broken:
            raise self.broken["batch"]
        return [self.broken_dialogs.get(one) or self.dialog_messages(one) for one in ids]

    def find_dialog(self, user_code: str) -> tuple[int, int | None]:
        self.asked.append(f"find {user_code.replace(chat_id(1), 'chat')}")
        raise Refused("DIALOG_NOT_FOUND", "imopenlines.dialog.get")


class FakeConnector:
    def __init__(self) -> None:
        self.checks = 0

    def check(self) -> bool:
        self.checks += 1
        return True


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store("sqlite:///chats.db", tmp_path, 1)) as store:
        store.portal.connect_line(LINE, NOW)
        yield store


@pytest.fixture
def bitrix() -> FakeBitrix:
    return FakeBitrix()


@pytest.fixture
def sender(store: Store, bitrix: FakeBitrix) -> Worker:
    return make_sender(store, bitrix)


def make_sender(store: Store, bitrix: FakeBitrix, unconfirmed: str = "repeat") -> Worker:
    settings = Settings(
        delivery=DeliverySettings(retry_seconds=1, unconfirmed=unconfirmed)  # type: ignore[arg-type]
    )
    return Worker(settings, store, bitrix, FakeConnector())  # type: ignore[arg-type]


def chat_id(number: int) -> str:
    return f"chat{number:064x}"


def write(store: Store, text: str, chat: int = 1) -> None:
    visitor = Chat(chat_id(chat), "Anna", "", "", "", None, NOW, NOW, None, None, None, None)
    store.messages.add_from_visitor(VisitorMessage(visitor, text, text, None), LIMITS, NOW)


def answer(store: Store, im_message_id: int, chat: int = 1, line: int = LINE) -> None:
    message = OperatorMessage(
        chat_id(chat), line, 5120, im_message_id, "operator", "Olga", "hello", "hello"
    )
    store.messages.add_from_operators([message], NOW)


def said(im_message_id: int, *mids: str, **other: Any) -> HistoryMessage:
    values: dict[str, Any] = {
        "id": im_message_id,
        "author_id": 18,
        "text": "hello",
        "sent_at": NOW,
        "connector_mids": mids,
        "classes": "",
        "hidden": False,
        "from_connector": False,
        "author_name": "Olga",
        "files": (),
    }
    return HistoryMessage(**values | other)


def run(sender: Worker, now: float, steps: int = 20) -> None:
    for _ in range(steps):
        if not sender.step(now):
            break


def states(store: Store, chat: int = 1) -> list[str]:
    return [one.state for one in store.messages.latest(chat_id(chat), None, 1000)]


def test_messages_go_out_in_order_and_each_alone_while_there_are_few(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    for text in ("one", "two", "three"):
        write(store, text)

    run(sender, NOW)

    assert bitrix.sent == [["one"], ["two"], ["three"]]
    assert states(store) == ["delivered"] * 3
    assert store.queue.waiting() == 0


def test_a_backlog_of_many_chats_goes_out_together(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    for number in range(40):
        for chat in range(10):
            write(store, f"{chat}-{number}", chat)

    run(sender, NOW, steps=100)
    run(sender, NOW + 30, steps=100)

    calls = [call for call in bitrix.sent if len(call) > 1]
    assert sum(map(len, bitrix.sent)) == 400
    assert sum(map(len, calls)) / len(calls) >= 10
    for chat in range(10):
        own = [text for call in bitrix.sent for text in call if text.startswith(f"{chat}-")]
        assert own == [f"{chat}-{number}" for number in range(40)]


def test_confirmations_go_ahead_of_messages_and_together(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    write(store, "hello")
    answer(store, 10)
    answer(store, 11)

    sender.step(NOW)

    assert bitrix.sent == []
    assert bitrix.confirmed == [[2, 3]]


def test_a_refused_item_says_why_and_holds_nobody_up(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    bitrix.refuse["bad"] = "no such user"
    write(store, "bad")
    write(store, "good")

    run(sender, NOW)

    assert states(store) == ["refused", "delivered"]
    assert store.messages.latest(chat_id(1), None, 10)[0].error == "no such user"
    run(sender, NOW + DAY)
    assert bitrix.sent == [["bad"], ["good"]]


def test_a_call_that_was_not_made_is_repeated_later(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    write(store, "hello")
    bitrix.errors = [TryLater("NOT_CONNECTED", "imconnector.send.messages")]

    run(sender, NOW)
    assert bitrix.sent == [["hello"]]
    run(sender, NOW + 5)

    assert bitrix.sent == [["hello"], ["hello"]]
    assert states(store) == ["delivered"]


def test_the_portal_says_when_to_come_back(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    write(store, "hello")
    bitrix.errors = [TryLater("OPERATION_TIME_LIMIT", "m", seconds=300)]

    run(sender, NOW)
    run(sender, NOW + 299)
    assert len(bitrix.sent) == 1
    run(sender, NOW + 301)

    assert states(store) == ["delivered"]


def test_a_broken_set_up_stops_everything_until_it_is_mended(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    write(store, "hello")
    bitrix.errors = [SetupFault("OVERLOAD_LIMIT", "imconnector.send.messages")]

    run(sender, NOW)
    run(sender, NOW + 5)
    assert len(bitrix.sent) == 1
    assert store.notes.fault.get() == ReportedFault("imconnector.send.messages", "OVERLOAD_LIMIT")
    assert store.queue.waiting() == 1

    store.notes.mended_at.set(NOW + 6)
    run(sender, NOW + 6)

    assert states(store) == ["delivered"]
    assert store.notes.fault.get() is None


def test_an_inactive_line_is_activated_and_tried_again(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    write(store, "hello")
    bitrix.errors = [Refused("NOT_ACTIVE_LINE", "imconnector.send.messages")]

    run(sender, NOW)

    assert bitrix.asked == [f"activate {LINE}"]
    assert states(store) == ["delivered"]


def test_one_bad_message_of_a_call_spoils_only_itself(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    bitrix.poison = "of 1"
    for chat in range(6):
        write(store, f"of {chat}", chat)

    run(sender, NOW)
    assert [states(store, chat) for chat in range(6)].count(["delivered"]) == 5
    for minute in range(1, 30):
        run(sender, NOW + 120 * minute)
    assert states(store, 1) == ["stored"], "while nothing else passes it may be the portal"
    for minute in range(30, 60):
        write(store, f"minute {minute}", chat=2)
        run(sender, NOW + 120 * minute)

    assert states(store, 1) == ["refused"]
    assert store.messages.latest(chat_id(1), None, 10)[0].error == "BAD"
    assert set(states(store, 2)) == {"delivered"}


@pytest.mark.parametrize("bad", [1, 2, 3, 10])
def test_refused_messages_hold_up_no_other(
    store: Store, bitrix: FakeBitrix, sender: Worker, bad: int
) -> None:
    bitrix.poison = "bad"
    for chat in range(bad):
        write(store, "bad", 100 + chat)
    waits = []
    for minute in range(5):
        write(store, "good", minute)
        for second in range(60):
            run(sender, NOW + 60 * minute + second)
            if states(store, minute) == ["delivered"]:
                waits.append(second)
                break
    assert len(waits) == 5
    assert max(waits) <= 12, "as long as it takes to see that the portal works"
    assert max(waits[1:]) <= 2


@pytest.mark.parametrize("bad", [1, 3, 10])
def test_refused_confirmations_hold_up_no_other(
    store: Store, bitrix: FakeBitrix, sender: Worker, bad: int
) -> None:
    for number in range(bad):
        answer(store, 1000 + number)
    bitrix.bad_confirmations = {one.message.id for one in store.queue.due_confirmations(NOW, 50)}
    for minute in range(90):
        answer(store, 2000 + minute)
        for second in range(0, 60, 3):
            run(sender, NOW + 60 * minute + second)
        assert store.queue.waiting() <= bad, "the good one is confirmed within the minute"

    assert store.queue.waiting() == 0, "the bad ones are given up, as the others passed"


def test_one_lines_refusals_hold_up_no_other_line(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    for chat in range(1, 6):
        write(store, "first", chat)
    run(sender, NOW)
    store.portal.connect_line(12, NOW + 1)
    bitrix.broken_lines = {LINE: Refused("NOT_ACTIVE_LINE", SEND)}
    for chat in range(1, 6):
        write(store, "second", chat)
    write(store, "of the other line", chat=9)

    run(sender, NOW + 2)

    assert states(store, 9) == ["delivered"]
    assert len(bitrix.asked) <= 3, "it is activated in turn with pauses, not once a chat"


def test_what_waited_for_a_line_is_no_suspect(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    store.portal.disconnect_line(LINE)
    for chat in range(40):
        write(store, "hello", chat)
    for minute in range(5):
        run(sender, NOW + 120 * minute)
    store.portal.connect_line(LINE, NOW + 700)

    run(sender, NOW + 700, steps=60)

    assert sum(map(len, bitrix.sent)) == 40
    assert len(bitrix.sent) <= 4


def test_pauses_grow_while_the_portal_is_away(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    bitrix.broken["send"] = TryLater("NOT_CONNECTED", SEND)
    write(store, "hello")

    for second in range(600):
        run(sender, NOW + second)

    assert 10 <= len(bitrix.sent) <= 20, "1, 2, 4 ... 60, 60 s"


@pytest.mark.parametrize("many", [60])
def test_those_that_rest_take_no_place_of_others(
    store: Store, bitrix: FakeBitrix, sender: Worker, many: int
) -> None:
    """More chats on a broken line, and more refused ones, than one look into the queue sees."""
    for chat in range(many):
        write(store, "first", chat)
    run(sender, NOW, steps=200)
    store.portal.connect_line(12, NOW + 1)
    bitrix.broken_lines = {LINE: Refused("NOT_ACTIVE_LINE", SEND)}
    bitrix.poison = "bad"
    for chat in range(many):
        write(store, "second", chat)
        write(store, "bad", 1000 + chat)
    for second in range(2, 120):
        run(sender, NOW + second)
    write(store, "good", 5000)

    for second in range(120, 131):
        run(sender, NOW + second)

    assert states(store, 5000) == ["delivered"]


def test_what_follows_a_refused_message_waits_also_in_a_long_backlog(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    for number in range(5):
        write(store, f"{number}", 2)
    run(sender, NOW)
    bitrix.poison = "bad"
    write(store, "bad")
    for number in range(80):
        write(store, f"after {number}")

    for second in range(0, 300, 5):
        run(sender, NOW + second)
    assert set(states(store)) == {"stored"}
    bitrix.sent.clear()
    bitrix.poison = ""
    for second in range(300, 400):
        run(sender, NOW + second)

    sent = [text for call in bitrix.sent for text in call]
    assert sent == ["bad", *(f"after {number}" for number in range(80))]


def test_a_portal_that_refuses_every_call_ends_no_message(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    bitrix.broken["send"] = Refused("ERROR_CORE", "imconnector.send.messages")
    for chat in range(6):
        write(store, f"of {chat}", chat)

    for minute in range(60):
        run(sender, NOW + 60 * minute)
    assert [states(store, chat) for chat in range(6)] == [["stored"]] * 6
    assert store.notes.fault.get() == ReportedFault("imconnector.send.messages", "ERROR_CORE")
    assert len(bitrix.sent) < 6 * 30, "it is not asked for each of them each minute"
    bitrix.broken.clear()
    run(sender, NOW + 7200)

    assert [states(store, chat) for chat in range(6)] == [["delivered"]] * 6
    assert store.notes.fault.get() is None


CONFIRM = "imconnector.send.status.delivery"
SEND = "imconnector.send.messages"
FAILURES = [
    partial(OutcomeUnknown, "HTTP_502"),
    partial(OutcomeUnknown, "NO_REPLY"),
    partial(TryLater, "NOT_DONE"),
    partial(TryLater, "OPERATION_TIME_LIMIT", seconds=300),
    partial(Refused, "ERROR_CORE"),
    partial(SetupFault, "ACCESS_DENIED"),
]


@pytest.mark.parametrize("failure", FAILURES)
def test_failing_confirmations_hold_up_no_message(
    store: Store, bitrix: FakeBitrix, sender: Worker, failure: Callable[..., BitrixError]
) -> None:
    bitrix.broken["confirm"] = failure(method=CONFIRM)
    answer(store, 10)
    for minute in range(10):
        write(store, f"minute {minute}")
        run(sender, NOW + 60 * minute)
        assert states(store)[-1] == "delivered"

    assert store.queue.waiting() == 1
    bitrix.broken.clear()
    run(sender, NOW + 7200)
    assert store.queue.waiting() == 0


@pytest.mark.parametrize("failure", FAILURES)
def test_failing_messages_hold_up_no_confirmation(
    store: Store, bitrix: FakeBitrix, sender: Worker, failure: Callable[..., BitrixError]
) -> None:
    bitrix.broken["send"] = failure(method=SEND)
    write(store, "hello")
    for minute in range(10):
        answer(store, 10 + minute)
        run(sender, NOW + 60 * minute)
        assert store.queue.waiting() == 1, "all but the message"

    bitrix.broken.clear()
    run(sender, NOW + 7200)
    assert store.queue.waiting() == 0


def test_a_slow_failure_of_one_kind_leaves_the_next_turn_to_the_other(
    store: Store, bitrix: FakeBitrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A confirmation's call ends after 20 s, in which its pause must not have passed."""
    sender = make_sender(store, bitrix)
    monotonic = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: monotonic)

    def slowly(*_: Any) -> None:
        nonlocal monotonic
        monotonic += 20
        raise OutcomeUnknown("NO_REPLY", CONFIRM)

    monkeypatch.setattr(bitrix, "confirm_delivery", slowly)
    answer(store, 10)
    write(store, "hello")

    sender.step(NOW)
    sender.step(NOW + 20)

    assert bitrix.sent == [["hello"]]


@pytest.mark.parametrize("answered", [True, False])
def test_a_call_carries_what_the_portal_takes_in_time(
    store: Store, bitrix: FakeBitrix, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    """Also when it took too long and we never heard the answer."""
    sender = make_sender(store, bitrix)
    monotonic = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: monotonic)

    def work(items: int) -> None:
        nonlocal monotonic
        monotonic += 2.5 * items
        if not answered and not bitrix.sent[1:]:
            raise OutcomeUnknown("NO_REPLY", SEND)

    bitrix.work = work
    for chat in range(100):
        write(store, "hello", chat)
    for step in range(100):
        sender.step(NOW + 200 * step)

    sizes = [len(call) for call in bitrix.sent]
    assert sum(sizes) >= 100
    assert sizes[0] == FIRST_ITEMS
    assert max(sizes[1:]) <= CALL_SECONDS / 2.5
    if not answered:
        assert sizes[1] <= FIRST_ITEMS / 2


def test_what_the_store_could_not_note_is_noted_once_it_can(
    store: Store, bitrix: FakeBitrix, sender: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The portal has taken the message: another sender must not take it for lost."""
    write(store, "hello")
    sender.step(NOW - 1)  # nothing is due yet

    def full(*_: Any) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store.queue, "record", full)
        patch.setattr(Note, "set", full)
        with pytest.raises(StoreUnavailable):
            sender.step(NOW)
    stop = threading.Event()
    monkeypatch.setattr(sender, "step", lambda _: stop.set())
    sender.run(stop)

    assert bitrix.sent == [["hello"]]
    assert states(store) == ["delivered"]


def test_a_pause_that_the_store_could_not_note_is_not_noted_over_anothers_call(
    store: Store, bitrix: FakeBitrix, sender: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another sender has begun meanwhile: should it die, the outcome must stay unknown."""
    bitrix.errors = [TryLater("NOT_CONNECTED", SEND)]
    write(store, "hello")

    def full(*_: Any) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store.queue, "record", full)
        with pytest.raises(StoreUnavailable):
            sender.step(NOW)
    stop = threading.Event()
    monkeypatch.setattr(sender, "step", lambda _: stop.set())
    sender.run(stop)

    assert [one.message.text for one in store.queue.messages_in_doubt(NOW + DAY, 10)] == ["hello"]


@pytest.mark.parametrize("fault", [True, False])
def test_a_visit_of_anybody_ends_no_pause_that_the_portal_asked_for(
    store: Store, bitrix: FakeBitrix, sender: Worker, fault: bool
) -> None:
    limit = TryLater("OPERATION_TIME_LIMIT", SEND, seconds=300)
    bitrix.errors = [SetupFault("INVALID_TOKEN", SEND) if fault else limit]
    write(store, "hello")
    run(sender, NOW)

    store.notes.mended_at.set(NOW + 5)
    run(sender, NOW + 5)

    assert states(store) == ["delivered" if fault else "stored"]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_set_back_stops_nothing(
    store: Store, bitrix: FakeBitrix, sender: Worker, restarted: bool
) -> None:
    bitrix.errors = [TryLater("NOT_CONNECTED", SEND), OutcomeUnknown("NO_REPLY", SEND)]
    write(store, "one")
    run(sender, NOW)
    run(sender, NOW + 5)
    write(store, "two", chat=2)

    if restarted:
        sender = make_sender(store, bitrix)
        sender.begin(NOW - DAY)
    run(sender, NOW - DAY)
    run(sender, NOW - DAY + 60)
    run(sender, NOW - DAY + 120)

    assert states(store) == states(store, 2) == ["delivered"]


def test_a_line_that_takes_nothing_is_left_for_another_and_the_admin_told(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    """It was deleted while we were down: SUCCESS without a session, for ever."""
    store.portal.connect_line(12, NOW - 60)
    bitrix.dead_lines = {LINE}
    write(store, "hello")

    for minute in range(ROUNDS + 1):
        run(sender, NOW + 60 * minute)
        assert (states(store) == ["delivered"]) is (minute == ROUNDS)

    assert len(bitrix.sent) == ROUNDS + 1
    assert store.notes.dead_lines.get() == {LINE: "NO_SESSION"}
    write(store, "of another", chat=2)
    run(sender, NOW + 600)
    assert states(store, 2) == ["delivered"], "at once: the line is known now"


def test_one_chat_that_a_line_does_not_take_moves_no_conversation(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    store.portal.connect_line(12, NOW - 60)
    write(store, "hello", chat=2)
    run(sender, NOW)
    bitrix.dead_lines = {LINE}
    write(store, "troublesome")
    for minute in range(ROUNDS + 1):
        run(sender, NOW + 60 * minute)
    bitrix.dead_lines = set()

    write(store, "again", chat=2)
    run(sender, NOW + 600)

    chat = store.chats.find(chat_id(2))
    assert chat is not None
    assert (states(store, 2), chat.dialog_line) == (["delivered"] * 2, LINE)
    assert not store.notes.dead_lines.get(), "the line works"


@pytest.mark.parametrize("error", [OutcomeUnknown("HTTP_502", "m"), TryLater("ANY", "m")])
def test_a_line_that_fails_holds_up_no_other(
    store: Store, bitrix: FakeBitrix, sender: Worker, error: BitrixError
) -> None:
    for chat in range(2, 62):
        write(store, "first", chat)
    run(sender, NOW, steps=100)
    run(sender, NOW + 30, steps=100)
    store.portal.connect_line(12, NOW + 60)  # for whoever begins now
    bitrix.broken_lines[LINE] = error
    for chat in range(2, 62):
        write(store, "second", chat)
    for second in range(100, 220, 10):
        run(sender, NOW + second)

    write(store, "hello")
    for second in range(220, 225):
        run(sender, NOW + second)

    assert states(store) == ["delivered"]


def test_a_limit_of_the_method_holds_on_all_lines(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    for line, chat in ((LINE, 1), (12, 2)):
        store.portal.connect_line(line, NOW + line)
        write(store, "first", chat)
        run(sender, NOW + line)
        write(store, "second", chat)
    bitrix.sent.clear()
    bitrix.broken["send"] = TryLater("OPERATION_TIME_LIMIT", SEND, seconds=60)

    for second in range(20, 70):
        run(sender, NOW + second)

    assert len(bitrix.sent) == 1


@pytest.mark.parametrize(
    "error", [OutcomeUnknown("HTTP_502", "m"), Refused("NOT_DONE", "m"), TryLater("ANY", "m")]
)
def test_confirmations_that_fail_on_one_line_hold_up_no_other(
    store: Store, bitrix: FakeBitrix, sender: Worker, error: BitrixError
) -> None:
    for chat in (1, 2):
        write(store, "hello", chat)
    run(sender, NOW)
    for number in range(60):
        answer(store, 10 + number)
    bitrix.broken_confirmations[LINE] = error
    run(sender, NOW, steps=2)

    answer(store, 100, chat=2, line=12)
    for second in range(5):
        run(sender, NOW + second)

    theirs = store.messages.latest(chat_id(2), None, 1)[0].id
    assert [theirs] in bitrix.confirmed


def test_some_messages_that_fail_side_by_side_do_not_condemn_a_line(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    store.portal.connect_line(12, NOW - 60)
    bitrix.dead_lines = {LINE}
    for chat in range(20):
        write(store, "hello", chat)

    run(sender, NOW, steps=100)
    run(sender, NOW + 60, steps=100)
    bitrix.dead_lines = set()
    for minute in range(2, 5):
        run(sender, NOW + 60 * minute, steps=100)

    chats = [store.chats.find(chat_id(number)) for number in range(20)]
    assert {one.dialog_line for one in chats if one} == {LINE}


def test_a_message_is_looked_for_in_the_dialog_of_the_line_it_was_sent_to(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    write(store, "first")
    run(sender, NOW)
    store.portal.disconnect_line(LINE)
    store.portal.connect_line(12, NOW)
    bitrix.errors = [OutcomeUnknown("NO_REPLY", SEND)]
    write(store, "second")

    run(sender, NOW + 1)
    bitrix.asked.clear()
    run(sender, NOW + 5)

    assert bitrix.asked[0] == "find example_connector_1|12|chat|2001"
    assert "dialog 5120" not in bitrix.asked


def test_a_plan_that_lapsed_loses_no_message(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    write(store, "hello")
    bitrix.errors = [SetupFault("ACCESS_DENIED", "imconnector.send.messages")] * 20

    for minute in range(20):
        run(sender, NOW + 120 * minute)
    assert states(store) == ["stored"]
    run(sender, NOW + DAY)

    assert states(store) == ["delivered"]


def lose_the_answer(store: Store, bitrix: FakeBitrix, sender: Worker) -> None:
    """A first message arrives, so that the dialog is known; the answer of the second is lost."""
    write(store, "first")
    run(sender, NOW)
    write(store, "second")
    write(store, "third")
    bitrix.errors = [OutcomeUnknown("NO_REPLY", "imconnector.send.messages")]
    run(sender, NOW)
    assert bitrix.sent == [["first"], ["second"]]


def test_a_message_whose_answer_was_lost_is_looked_for_and_not_repeated(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    lose_the_answer(store, bitrix, sender)
    bitrix.dialog = [said(10, "1"), said(11, "2", from_connector=True)]

    run(sender, NOW + 3)

    assert bitrix.sent == [["first"], ["second"], ["third"]]
    assert states(store) == ["delivered"] * 3


def test_a_message_that_did_not_arrive_is_repeated_before_its_followers(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    lose_the_answer(store, bitrix, sender)

    run(sender, NOW + 3)
    assert bitrix.sent == [["first"], ["second"]], "the portal may still be storing it"
    run(sender, NOW + 30)

    assert bitrix.sent == [["first"], ["second"], ["second"], ["third"]]


def test_where_the_dialog_is_closed_to_us_the_session_is_read(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    lose_the_answer(store, bitrix, sender)
    bitrix.dialog = Refused("ACCESS_ERROR", "im.dialog.messages.get")
    bitrix.session = [said(11, "2")]

    run(sender, NOW + 3)

    assert "session 3301" in bitrix.asked
    assert bitrix.sent == [["first"], ["second"], ["third"]]


@pytest.mark.parametrize(
    ("unconfirmed", "sent", "state"),
    [
        ("repeat", [["first"], ["second"], ["second"], ["third"]], "delivered"),
        ("keep", [["first"], ["second"], ["third"]], "refused"),
    ],
)
def test_where_nobody_lets_us_look_the_setting_decides(
    store: Store, bitrix: FakeBitrix, unconfirmed: str, sent: list[list[str]], state: str
) -> None:
    sender = make_sender(store, bitrix, unconfirmed)
    lose_the_answer(store, bitrix, sender)
    bitrix.dialog = Refused("ACCESS_ERROR", "im.dialog.messages.get")
    bitrix.session = Refused("ACCESS_DENIED", "imopenlines.session.history.get")

    run(sender, NOW + 30)

    assert bitrix.sent == sent
    assert states(store) == ["delivered", state, "delivered"]


@pytest.mark.parametrize("broken", [("send", "app.info", "batch"), ("send",)])
def test_no_outage_ends_a_first_message_however_long_it_lasts(
    store: Store, bitrix: FakeBitrix, sender: Worker, broken: tuple[str, ...]
) -> None:
    """Nothing is known by which to look for it, and each call may have stored it."""
    for method in broken:
        bitrix.broken[method] = OutcomeUnknown("HTTP_502", method)
    write(store, "hello")

    for minute in range(60):
        run(sender, NOW + 60 * minute)
    assert states(store) == ["stored"]
    if "app.info" in broken:
        assert len(bitrix.sent) == 1, "while nothing is answered at all, nothing may be doubled"
    bitrix.broken.clear()
    for minute in range(60, 64):
        run(sender, NOW + 60 * minute)

    assert states(store) == ["delivered"]


def test_a_message_that_may_have_arrived_again_and_again_is_given_up_while_others_pass(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    bitrix.poison = "poison"
    bitrix.poisoned = OutcomeUnknown("HTTP_502", SEND)
    write(store, "poison")

    for minute in range(10):
        write(store, f"{minute}", chat=2)
        run(sender, NOW + 60 * minute)

    assert states(store) == ["refused"]
    assert bitrix.sent.count(["poison"]) == 3
    assert set(states(store, 2)) == {"delivered"}


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (OutcomeUnknown("HTTP_502", "app.info"), 20),
        (TryLater("NOT_CONNECTED", "app.info"), 20),
        (SetupFault("PORTAL_DELETED", "app.info"), 20),
    ],
)
def test_an_outage_is_not_made_worse_by_first_messages_that_wait(
    store: Store, bitrix: FakeBitrix, sender: Worker, error: BitrixError, calls: int
) -> None:
    for chat in range(30):
        write(store, "hello", chat)
    begun = store.queue.claim(store.queue.due_messages(NOW, 30), LINE, NOW)
    store.queue.record([Outcome(one, "in doubt", "HTTP_502", NOW + 1) for one in begun], NOW)
    asked: list[float] = []

    def fail() -> bool:
        asked.append(1)
        raise error

    bitrix.is_installed = fail  # type: ignore[method-assign]
    for second in range(31, 331):
        run(sender, NOW + second)

    assert 2 <= len(asked) <= calls
    assert bool(store.notes.fault.get()) is isinstance(error, SetupFault)


def test_a_dialog_is_read_no_further_back_than_the_message_is_old(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    """A dialog of years does not make it look as if nobody let us look."""
    lose_the_answer(store, bitrix, sender)
    bitrix.asked.clear()
    bitrix.dialog = [said(number, "0", sent_at=NOW - DAY) for number in range(1, 1011)]

    run(sender, NOW + 30)

    assert "dialog 5120" in bitrix.asked
    assert len(bitrix.asked) < 5
    assert bitrix.sent == [["first"], ["second"], ["second"], ["third"]]


def test_where_only_single_dialogs_can_be_read_they_are(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    lose_the_answer(store, bitrix, sender)
    bitrix.batch_works = False
    bitrix.dialog = [said(11, "2")]

    run(sender, NOW + 3)

    assert bitrix.sent == [["first"], ["second"], ["third"]]
    bitrix.dialog = [said(11, "2"), said(12, text="lost")]
    steps = Recovery(store, bitrix, NOW - DAY)  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(OutcomeUnknown):
            steps.step(NOW)
    assert steps.step(NOW) == RecoveryResult(1, 1)


def test_a_first_message_of_which_nothing_is_known_is_waited_for_longer(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    """The event that names its dialog may still be on its way."""
    bitrix.errors = [OutcomeUnknown("NO_REPLY", SEND)]
    write(store, "hello")
    run(sender, NOW)

    run(sender, NOW + 12)
    run(sender, NOW + 25)
    assert bitrix.sent == [["hello"]]
    store.chats.note_dialog(chat_id(1), LINE, 5120, 2001, 3301, None)
    bitrix.dialog = [said(10, "1")]
    run(sender, NOW + 29)

    assert bitrix.sent == [["hello"]]
    assert states(store) == ["delivered"]


def test_another_process_settles_what_the_dead_one_had_begun(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    lose_the_answer(store, bitrix, sender)
    bitrix.dialog = [said(11, "2")]

    run(make_sender(store, bitrix), NOW + 3)

    assert bitrix.sent == [["first"], ["second"], ["third"]]


def test_a_call_in_which_we_died_may_go_on_as_long_as_a_call_may_take(
    store: Store, bitrix: FakeBitrix
) -> None:
    write(store, "first")
    run(make_sender(store, bitrix), NOW)
    write(store, "second")
    store.queue.claim(store.queue.due_messages(NOW, 1), LINE, NOW)  # and the process ends

    next_one = make_sender(store, bitrix)
    next_one.begin(NOW + 1)
    run(next_one, NOW + 60)
    assert bitrix.sent == [["first"]]
    run(next_one, NOW + 75)

    assert bitrix.sent == [["first"], ["second"]]


def test_a_call_whose_connection_broke_may_go_on_as_long_as_a_call_may_take(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    write(store, "first")
    run(sender, NOW)
    write(store, "second")
    bitrix.errors = [OutcomeUnknown("CONNECTION_LOST", SEND)]
    run(sender, NOW)

    for second in range(61):
        run(sender, NOW + second)
    assert bitrix.sent == [["first"], ["second"]]
    assert len(bitrix.asked) < 50, "it is looked for less and less often"
    run(sender, NOW + 75)

    assert bitrix.sent == [["first"], ["second"], ["second"]]


@pytest.mark.parametrize(
    "error", [OutcomeUnknown("HTTP_502", DIALOG_METHOD), Refused("HTTP_403", DIALOG_METHOD)]
)
def test_a_dialog_that_cannot_be_read_holds_up_no_other(
    store: Store, bitrix: FakeBitrix, sender: Worker, error: BitrixError
) -> None:
    for chat in (1, 2):
        write(store, "first", chat)
        run(sender, NOW)
        store.chats.note_dialog(chat_id(chat), LINE, 5120 + chat, 2001, 3301, None)
    for chat in (1, 2):
        write(store, "second", chat)
    bitrix.errors = [OutcomeUnknown("NO_REPLY", SEND), OutcomeUnknown("NO_REPLY", SEND)]
    run(sender, NOW)
    bitrix.broken_dialogs[5121] = error
    ids = {chat: store.messages.latest(chat_id(chat), None, 2)[-1].id for chat in (1, 2)}
    bitrix.dialog = [said(11, str(ids[2]))]
    bitrix.asked.clear()
    write(store, "third", chat=2)

    for second in range(1, 6):
        run(sender, NOW + second)

    assert states(store, 1) == ["delivered", "stored"]
    assert states(store, 2) == ["delivered"] * 3
    assert bitrix.asked.count("dialog 5121") <= 4, "it rests longer each time"


def test_the_admin_is_told_of_a_strangers_page_until_there_is_nothing_to_look_for(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    lose_the_answer(store, bitrix, sender)
    bitrix.broken_dialogs[5120] = Refused("HTTP_403", DIALOG_METHOD)
    run(sender, NOW + 5)
    assert store.notes.fault.get() == ReportedFault(DIALOG_METHOD, "HTTP_403")

    store.chats.delete(chat_id(1), NOW + 6)
    run(sender, NOW + 30)

    assert store.notes.fault.get() is None


def test_dialogs_that_cannot_be_read_one_by_one_keep_no_other_from_being_settled(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    """Also where dialogs cannot be read together, and the broken one would come first."""
    for chat in (1, 2):
        write(store, "first", chat)
        run(sender, NOW)
        store.chats.note_dialog(chat_id(chat), LINE, 5120 + chat, 2001, 3301, None)
    bitrix.errors = [OutcomeUnknown("NO_REPLY", SEND), OutcomeUnknown("NO_REPLY", SEND)]
    for chat in (1, 2):
        write(store, "second", chat)
    run(sender, NOW)
    bitrix.batch_works = False
    bitrix.broken_dialogs[5121] = OutcomeUnknown("HTTP_502", DIALOG_METHOD)
    second = store.messages.latest(chat_id(2), None, 1)[0].id
    bitrix.dialog = [said(11, str(second))]

    for moment in range(1, 60):
        run(sender, NOW + moment)

    assert states(store, 1) == ["delivered", "stored"]
    assert states(store, 2) == ["delivered", "delivered"]


def test_a_dialog_that_cannot_be_read_alone_ends_no_look_at_the_others(
    store: Store, bitrix: FakeBitrix
) -> None:
    for chat in (1, 2):
        write(store, "hello", chat)
        run(make_sender(store, bitrix), NOW)
        store.chats.note_dialog(chat_id(chat), LINE, 5120 + chat, 2001, 3301, None)
    bitrix.batch_works = False
    bitrix.broken_dialogs = {one: OutcomeUnknown("HTTP_502", DIALOG_METHOD) for one in (5120, 5122)}
    bitrix.dialog = [said(11, text="lost")]
    look = Recovery(store, bitrix, NOW - DAY)  # type: ignore[arg-type]

    brought = None
    for _ in range(30):
        with contextlib.suppress(OutcomeUnknown):
            brought = brought or look.step(NOW)

    assert brought is not None
    assert brought.answers == 1
    assert {one.portal_chat_id for one in brought.unread} <= {5120, 5122}
    assert 5122 in {one.portal_chat_id for one in brought.unread}


def test_what_was_noted_before_we_were_last_up_is_not_heard_anew(
    store: Store, bitrix: FakeBitrix
) -> None:
    store.notes.connected_at.set(NOW - 100)
    store.notes.events_lost_at.set(NOW - 90 * DAY)
    store.notes.up_at.set(NOW - 10)
    store.notes.dead_lines.set({LINE: "NO_SESSION"})

    sender = make_sender(store, bitrix)
    sender.begin(NOW)
    run(sender, NOW)

    assert store.notes.dead_lines.get() == {LINE: "NO_SESSION"}
    store.notes.connected_at.set(NOW + 1)
    run(sender, NOW + 2)
    assert store.notes.dead_lines.get() is None


def test_the_admin_is_told_of_a_strangers_page_until_the_dialog_can_be_read_again(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    write(store, "first")
    run(sender, NOW)
    write(store, "second")
    bitrix.errors = [OutcomeUnknown("NO_REPLY", SEND)]
    run(sender, NOW)
    bitrix.broken_dialogs[5120] = Refused("HTTP_403", DIALOG_METHOD)

    run(sender, NOW + 5)
    assert store.notes.fault.get() == ReportedFault(DIALOG_METHOD, "HTTP_403")
    bitrix.broken_dialogs.clear()
    bitrix.dialog = [said(10, "1"), said(11, "2")]
    run(sender, NOW + 30)

    assert states(store) == ["delivered"] * 2
    assert store.notes.fault.get() is None
    assert bitrix.sent == [["first"], ["second"]]


def test_a_file_that_the_portal_could_not_fetch_follows_also_when_the_answer_was_lost(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    lose_the_answer(store, bitrix, sender)
    with store.database.write() as db:
        db.execute("update messages set files = ? where id = 2", (json.dumps([FILE]),))
    bitrix.dialog = [said(11, "2")]

    run(sender, NOW + 3)

    link = f"{FILE['name']}\n{FILE['link']}"
    assert bitrix.sent == [["first"], ["second"], [link], ["third"]]


def test_a_build_that_names_no_session_is_believed_after_a_while(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    bitrix.sessions = False
    write(store, "hello")

    run(sender, NOW)
    assert states(store) == ["stored"]
    run(sender, NOW + 31)

    assert bitrix.sent == [["hello"]]
    assert states(store) == ["delivered"]


@pytest.mark.parametrize(("unconfirmed", "sent"), [("repeat", 3), ("keep", 1)])
def test_a_portal_that_names_sessions_is_not_believed_without_one(
    store: Store, bitrix: FakeBitrix, unconfirmed: str, sent: int
) -> None:
    sender = make_sender(store, bitrix, unconfirmed)
    write(store, "first")
    run(sender, NOW)
    bitrix.dialog = Refused("ACCESS_ERROR", "im.dialog.messages.get")
    bitrix.session = Refused("ACCESS_DENIED", "imopenlines.session.history.get")
    bitrix.sessions = False
    write(store, "second")

    for minute in range(6):
        run(sender, NOW + 60 * minute)

    assert bitrix.sent == [["first"], *[["second"]] * sent]
    assert states(store) == ["delivered", "refused"]


def test_one_chats_files_let_other_chats_pass(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    """They go one by one, each as long as the portal takes to fetch it."""
    for number in range(8):
        write(store, f"file {number}", chat=1)
    with store.database.write() as db:
        db.execute("update messages set files = ?", (json.dumps([FILE]),))
    for chat in (2, 3):
        write(store, f"of {chat}", chat)

    run(sender, NOW, steps=3)

    assert bitrix.sent == [["file 0"], ["of 2", "of 3"], ["file 1"]]


def test_a_text_that_something_on_the_way_refuses_stops_nobody_else(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    bitrix.poison = "union select"
    bitrix.poisoned = Refused("HTTP_403", SEND)
    write(store, "union select", chat=1)
    for chat in range(2, 8):
        write(store, "hello", chat)

    run(sender, NOW)

    assert [states(store, chat) for chat in range(1, 8)] == [["stored"], *[["delivered"]] * 6]


def test_a_call_is_no_larger_than_proxies_let_pass(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    for chat in range(20):
        write(store, "ы" * 20_000, chat)

    run(sender, NOW, steps=40)

    assert sum(len(call) for call in bitrix.sent) == 20
    assert max(len(call) for call in bitrix.sent) == CALL_BYTES // (20_000 * len("%D1%8B"))


def test_of_a_chat_one_message_is_under_way_at_a_time(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    for number in range(6):
        for chat in range(3):
            write(store, f"{chat}-{number}", chat)

    run(sender, NOW)

    assert all(len({text[0] for text in call}) == len(call) for call in bitrix.sent)


def test_one_chats_long_backlog_goes_out_in_runs_while_none_is_passed_over(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    for number in range(300):
        write(store, str(number))

    for second in range(40):
        run(sender, NOW + second, steps=50)
    assert [text for call in bitrix.sent for text in call] == [str(one) for one in range(300)]
    assert len(bitrix.sent) < 300 / RUN_LIMIT + LONG_BACKLOG + 10

    bitrix.sent.clear()
    bitrix.sessions = False
    write(store, "passed over")
    run(sender, NOW + 60, steps=5)
    bitrix.sessions = True
    for number in range(100):
        write(store, str(number), chat=2)
    run(sender, NOW + 65, steps=60)
    assert {len(call) for call in bitrix.sent} == {1}


def test_one_chats_trouble_holds_up_no_other(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    lose_the_answer(store, bitrix, sender)
    write(store, "of another visitor", chat=2)

    run(sender, NOW + 3)

    assert states(store, 2) == ["delivered"]
    assert states(store, 1) == ["delivered", "stored", "stored"]


def test_without_a_line_messages_wait_for_one(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    store.portal.disconnect_line(LINE)
    write(store, "hello")
    run(sender, NOW)
    assert bitrix.sent == []

    store.portal.connect_line(12, NOW + 1)
    run(sender, NOW + 1)

    assert bitrix.sent == [["hello"]]


def test_a_chat_keeps_its_line_and_a_new_one_takes_the_line_connected_last(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    write(store, "one", 1)
    run(sender, NOW)
    store.portal.connect_line(12, NOW + 1)
    write(store, "two", 1)
    write(store, "hello", 2)
    run(sender, NOW + 1)

    lines = [chat.line if (chat := store.chats.find(chat_id(number))) else 0 for number in (1, 2)]
    assert lines == [LINE, 12]


def test_the_pace_leaves_the_portals_limit_alone() -> None:
    pace = Bucket()
    calls = 0
    while pace.wait_seconds(NOW) == 0 and calls < 1000:
        pace.count_call(NOW)
        calls += 1

    assert 5 <= calls <= BURST
    assert 0 < pace.wait_seconds(NOW) < 2
    assert pace.wait_seconds(NOW + 1) == 0
    pace.overrun(NOW + 60)
    assert 0 < pace.wait_seconds(NOW + 60) < 2


def test_confirmations_count_too(store: Store, bitrix: FakeBitrix, sender: Worker) -> None:
    write(store, "hello")
    for line in range(100):
        answer(store, 10 + line, line=line)

    run(sender, NOW, steps=200)

    assert 5 <= len(bitrix.confirmed) <= BURST


def test_a_sender_whose_lock_file_is_gone_leaves_the_work_to_the_next(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=sender.run, args=(stop,))
    thread.start()
    write(store, "before")
    wait_until(lambda: bitrix.sent)

    (path_of(store).parent / "sender.lock").unlink()
    with store.database.try_lock("sender") as held:
        assert held
        time.sleep(3 * POLL_SECONDS)
        write(store, "after")
        time.sleep(6 * POLL_SECONDS)
        assert bitrix.sent == [["before"]]

    wait_until(lambda: len(bitrix.sent) == 2)
    stop.set()
    thread.join(30)


def test_pauses_grow_to_a_limit_and_are_never_all_the_same() -> None:
    rests = Circuits(DeliverySettings(retry_seconds=1, retry_limit_seconds=60))

    pauses = [[rests.pause(failures) for _ in range(50)] for failures in (1, 2, 3, 20)]

    for middle, some in zip((1, 2, 4, 60), pauses, strict=True):
        assert all(0.8 * middle <= one <= 1.2 * middle for one in some)
        assert max(some) - min(some) > 0.1 * middle, "clients that failed together come apart"


def test_the_set_up_is_checked_at_the_start_and_every_hour(
    store: Store, bitrix: FakeBitrix
) -> None:
    store.portal.save(PORTAL)
    connector = FakeConnector()
    sender = Worker(Settings(), store, bitrix, connector)  # type: ignore[arg-type]

    run(sender, NOW + 30)
    assert connector.checks == 0, "the install may not be finished"
    run(sender, NOW + 61)
    assert connector.checks == 1
    for minute in range(2, 150):
        run(sender, NOW + 60 * minute)

    assert connector.checks == 3


# -- recovery


def quiet_for_days(store: Store, bitrix: FakeBitrix, sender: Worker) -> None:
    """A conversation that only whole looks read, after the first of them."""
    store.portal.save(replace(PORTAL, installed_at=NOW - DAY))
    write(store, "hello")
    run(sender, NOW)
    with store.database.write() as db:
        db.execute("update chats set active_at = ?", (NOW - 3 * DAY,))
    sender.begin(NOW)
    for second in range(0, 601, 5):
        run(sender, NOW + second)
    assert "batch" in bitrix.asked
    bitrix.asked.clear()


def test_after_a_standstill_all_conversations_are_read(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    quiet_for_days(store, bitrix, sender)
    for second in range(605, 1000, 5):
        run(sender, NOW + second)
    assert "batch" not in bitrix.asked

    run(sender, NOW + 1040)

    assert "batch" in bitrix.asked


def test_a_look_waits_as_long_as_the_portal_says(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    quiet_for_days(store, bitrix, sender)
    bitrix.broken["batch"] = TryLater("OPERATION_TIME_LIMIT", "batch", seconds=60)
    run(sender, NOW + 640)
    assert bitrix.asked == ["batch"]

    for second in range(641, 700):
        run(sender, NOW + second)
    assert bitrix.asked == ["batch"]
    run(sender, NOW + 701)
    assert bitrix.asked == ["batch"] * 2


def look(store: Store, bitrix: FakeBitrix) -> RecoveryResult:
    """A whole look, all its steps."""
    steps = Recovery(store, bitrix, NOW - DAY)  # type: ignore[arg-type]
    while (found := steps.step(NOW)) is None:
        pass
    return found


@pytest.mark.parametrize(
    ("message", "missed"),
    [
        (said(10), True),
        (said(10, "5"), False),  # ours, or confirmed by us
        (said(10, from_connector=True), False),  # a visitor is a portal user too
        (said(10, hidden=True), False),  # whispers and notices
        (said(10, author_id=0), False),
        (said(10, author_id=0, classes="bx-messenger-content-item-ol-output"), True),
    ],
)
def test_only_answers_of_operators_are_missed(message: HistoryMessage, missed: bool) -> None:
    assert was_missed(message) is missed


def test_a_lost_answer_is_stored_once_in_its_place_and_confirmed(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    store.portal.save(PORTAL)
    write(store, "hello")
    run(sender, NOW)
    answer(store, 12)
    bitrix.dialog = [said(10, "1", from_connector=True), said(11, text="lost"), said(12)]

    assert look(store, bitrix).answers == 1
    assert look(store, bitrix).answers == 0

    assert [one.text for one in store.messages.latest(chat_id(1), None, 9)] == [
        "hello",
        "lost",
        "hello",
    ]
    run(sender, NOW + 1)
    assert sorted(one for call in bitrix.confirmed for one in call) == [2, 3]


def test_a_dialog_closed_to_us_is_counted(store: Store, bitrix: FakeBitrix, sender: Worker) -> None:
    write(store, "hello")
    run(sender, NOW)

    class Closed(FakeBitrix):
        def newest_messages(self, ids: list[int]) -> list[Any]:
            return [Refused("ACCESS_ERROR", "im.dialog.messages.get") for _ in ids]

    found = look(store, Closed())

    assert (found.answers, len(found.unread)) == (0, 1)
    assert store.notes.recovery.get() == LastRecovery(0, 1, 1, NOW)


def conversation(store: Store, bitrix: FakeBitrix, at: float) -> None:
    """A chat with a dialog in which something happened then, and an answer nobody told us of."""
    store.portal.save(PORTAL)
    write(store, "hello")
    run(make_sender(store, bitrix), NOW)
    with store.database.write() as db:
        db.execute("update chats set active_at = ?", (at,))
    bitrix.dialog = [said(10, "1", from_connector=True), said(11, text="lost")]


def recovered(store: Store) -> bool:
    return "lost" in [one.text for one in store.messages.latest(chat_id(1), None, 9)]


def test_after_a_restart_we_look_back_from_when_we_were_last_up(
    store: Store, bitrix: FakeBitrix
) -> None:
    conversation(store, bitrix, NOW - 3 * DAY)
    assert store.notes.up_at.get() == NOW
    later = make_sender(store, bitrix)
    later.begin(NOW + 14 * DAY)

    run(later, NOW + 14 * DAY)

    assert recovered(store)


def lose_an_event_after_the_start(store: Store, bitrix: FakeBitrix, sender: Worker) -> None:
    """The answer in a quiet conversation comes when the first whole look is over."""
    conversation(store, bitrix, NOW - 3 * DAY)
    bitrix.dialog, lost = [], bitrix.dialog
    sender.begin(NOW)
    run(sender, NOW)
    bitrix.dialog = lost


def test_events_that_we_could_not_take_are_looked_for_in_all_conversations(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    lose_an_event_after_the_start(store, bitrix, sender)
    for seconds in range(20, 600, 20):
        run(sender, NOW + seconds)
    assert not recovered(store), "only recent conversations are looked after all the time"

    store.notes.events_lost_at.set(NOW + 601)
    run(sender, NOW + 602)

    assert recovered(store)


def test_an_event_lost_unheard_is_found_within_the_hour(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    lose_an_event_after_the_start(store, bitrix, sender)

    for seconds in range(20, 3700, 20):
        run(sender, NOW + seconds)

    assert recovered(store)


def test_a_dialog_that_was_closed_to_us_after_the_start_is_read_later(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    conversation(store, bitrix, NOW - 3 * DAY)
    opened, closed = bitrix.newest_messages, Refused("ACCESS_ERROR", "im.dialog.messages.get")
    bitrix.newest_messages = lambda ids: [closed for _ in ids]  # type: ignore
    sender.begin(NOW)
    run(sender, NOW)
    bitrix.newest_messages = opened  # type: ignore[method-assign]

    for seconds in range(20, 240, 20):
        run(sender, NOW + seconds)

    assert recovered(store)


def test_every_call_of_a_look_is_counted(store: Store, bitrix: FakeBitrix) -> None:
    """The portal's limit is one for all calls."""
    conversation(store, bitrix, NOW)
    counted: list[int] = []
    pages = [[said(n) for n in range(61, 111)], [said(n) for n in range(11, 61)], []]
    bitrix.dialog_messages = lambda *_, **__: pages.pop(0)  # type: ignore[method-assign]
    steps = Recovery(store, bitrix, NOW - DAY, lambda: counted.append(1))  # type: ignore[arg-type]

    while steps.step(NOW) is None:
        pass

    assert (len(counted), pages) == (3, [])


def test_every_call_of_a_search_is_counted(store: Store, bitrix: FakeBitrix) -> None:
    counted: list[int] = []
    lookup = Lookup(bitrix, "c", lambda: counted.append(1))  # type: ignore[arg-type]
    write(store, "hello")
    (delivery,) = store.queue.due_messages(NOW, 1)
    known = replace(delivery.chat, portal_user_id=2001)

    run = [replace(delivery, chat=known)]
    assert lookup.search(run, run) == {delivery.id: "absent"}
    assert len(counted) == 1
    known = replace(delivery.chat, portal_chat_id=5120, session_id=3301)
    bitrix.dialog = Refused("ACCESS_ERROR", "im.dialog.messages.get")
    run = [replace(delivery, chat=known)]
    assert lookup.search(run, run) == {delivery.id: "absent"}
    assert len(counted) == 3


def test_a_message_far_back_is_not_taken_for_lost(store: Store, bitrix: FakeBitrix) -> None:
    lookup = Lookup(bitrix, "c", lambda: None)  # type: ignore[arg-type]
    write(store, "hello")
    (delivery,) = store.queue.due_messages(NOW, 1)
    known = replace(delivery.chat, portal_chat_id=5120)
    bitrix.dialog_messages = lambda *_, **__: [said(n) for n in range(50)]  # type: ignore

    run = [replace(delivery, chat=known)]
    assert lookup.search(run, run) == {delivery.id: "hidden"}


def test_a_flood_of_losses_is_no_flood_of_looks(
    store: Store, bitrix: FakeBitrix, sender: Worker
) -> None:
    conversation(store, bitrix, NOW)
    sender.begin(NOW)
    for second in range(300):
        store.notes.events_lost_at.set(NOW + second)
        run(sender, NOW + second)

    looks = bitrix.asked.count("dialog 5120")
    assert 300 / FULL_PAUSE_SECONDS / 2 <= looks <= 300 / FULL_PAUSE_SECONDS + 2


def test_a_long_look_lets_messages_pass(store: Store, bitrix: FakeBitrix, sender: Worker) -> None:
    store.portal.save(PORTAL)
    for chat in range(120):
        write(store, "hello", chat)
    run(sender, NOW, steps=200)
    with store.database.write() as db:
        db.execute("insert into dialogs select 6000 + rowid, id, 7, 0 from chats")
    bitrix.asked.clear()
    sender.begin(NOW + 60)
    for chat in range(3):
        write(store, "hello", chat)

    kinds = []
    for _ in range(6):
        before = len(bitrix.asked), len(bitrix.sent)
        sender.step(NOW + 60)
        kinds.append("look" if len(bitrix.asked) > before[0] else "send")

    assert kinds == ["look", "send"] * 3


def test_a_dialog_that_cannot_be_read_now_is_read_on_later(
    store: Store, bitrix: FakeBitrix
) -> None:
    """Its newest page does not reach back, and the portal fails in between."""
    conversation(store, bitrix, NOW)
    newest = [said(number, text=f"{number}") for number in range(61, 111)]
    older = [said(number, text=f"{number}") for number in range(11, 61)]
    answers: list[list[HistoryMessage] | BitrixError] = [
        newest,
        OutcomeUnknown("NO_REPLY", "im.dialog.messages.get"),
        older,
        [],
    ]

    def dialog_messages(*_: Any, **__: Any) -> list[HistoryMessage]:
        page = answers.pop(0)
        if isinstance(page, BitrixError):
            raise page
        return page

    bitrix.dialog_messages = dialog_messages  # type: ignore[method-assign]
    steps = Recovery(store, bitrix, NOW - DAY)  # type: ignore[arg-type]

    assert steps.step(NOW) is None
    with pytest.raises(OutcomeUnknown):
        steps.step(NOW)
    assert steps.step(NOW) is None
    assert steps.step(NOW) == RecoveryResult(100, 1)
    texts = [one.text for one in store.messages.latest(chat_id(1), None, 200)][1:]
    assert texts == [str(number) for number in range(11, 111)]


# -- names


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("Anna", "Anna"),
        ("Анна-Мария О'Нил", "Анна-Мария О'Нил"),
        ("Jean‑Luc’s 2nd <b>", "Jean Luc's nd b"),
        ("Jose\u0301 Mari\u0301a", "José María"),
        ("हिन्दी", "हिन्दी"),
        ("  many   spaces ", "many spaces"),
        ("x" * 40, "x" * 25),
        ("12345", ""),
        ("😀", ""),
        ("", ""),
    ],
)
def test_a_name_is_made_to_fit_the_portals_rule(typed: str, sent: str) -> None:
    assert portal_name(typed) == sent
