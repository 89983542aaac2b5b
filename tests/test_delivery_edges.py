"""The sender at its edges: what ends, what is released, how many, how often and how long.

As test_delivery.py, through what a portal is asked and the store keeps, and nothing of the inside.
"""

import gc
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_delivery import (
    CONFIRM,
    DAY,
    FILE,
    LINE,
    NOW,
    PORTAL,
    SEND,
    FakeBitrix,
    answer,
    chat_id,
    lose_the_answer,
    quiet_for_days,
    run,
    said,
    states,
    write,
)

from bitrix import PAGE
from delivery.worker import Worker
from rest.errors import BitrixError, OutcomeUnknown, Refused, SetupFault, TryLater
from rest.replies import ItemResult
from settings import DeliverySettings, Settings
from storage import Store
from store.notes import Note
from store.records import File, ReportedFault
from store.rows import stored_files

CONNECTOR = "example_connector_1"
OTHER_LINE = 12
ATTACHED = File(str(FILE["name"]), "file", str(FILE["link"]))


class Portal(FakeBitrix):
    """Notes also on which line it was called, and what was switched on or off."""

    def __init__(self) -> None:
        super().__init__()
        self.switched: list[tuple[str, int, bool]] = []
        self.lines: list[int] = []  # of the sends
        self.items: list[dict[str, Any]] = []  # as they came
        self.inactive: set[int] = set()  # lines that must be activated
        self.files: int | None = None  # how many the portal says that it fetched

    def activate(self, connector: str, line: int, active: bool) -> None:
        self.switched.append((connector, line, active))
        super().activate(connector, line, active)
        if active:
            self.inactive.discard(line)

    def send_messages(
        self, connector: str, line: int, messages: list[dict[str, Any]]
    ) -> list[ItemResult]:
        self.lines.append(line)
        self.items += messages
        if line in self.inactive:
            self.sent.append([one["message"]["text"] for one in messages])
            raise Refused("NOT_ACTIVE_LINE", SEND)
        results = super().send_messages(connector, line, messages)
        return [replace(one, files=self.files) for one in results]


class Checks:
    """The set-up's check: answers as told, and notes how often it was asked."""

    def __init__(self) -> None:
        self.count = 0
        self.finished = True
        self.errors: list[BitrixError] = []  # each raised once

    def check(self) -> bool:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.finished


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store("sqlite:///chats.db", tmp_path, 1)) as store:
        store.portal.connect_line(LINE, NOW)
        yield store


@pytest.fixture
def bitrix() -> Portal:
    return Portal()


@pytest.fixture
def checks() -> Checks:
    return Checks()


@pytest.fixture
def make(store: Store, bitrix: Portal, checks: Checks) -> Callable[..., Worker]:
    """Makes a sender, as another process would."""

    def make(**settings: Any) -> Worker:
        delivery = DeliverySettings(**{"retry_seconds": 1, **settings})
        return Worker(Settings(delivery=delivery), store, bitrix, checks)  # type: ignore[arg-type]

    return make


@pytest.fixture
def sender(make: Callable[..., Worker]) -> Worker:
    return make()


def seconds_of(
    calls: Sequence[object], sender: Worker, seconds: Iterable[int], steps: int = 20
) -> list[int]:
    """The seconds after NOW in which something was added to `calls`."""
    found = []
    for second in seconds:
        before = len(calls)
        run(sender, NOW + second, steps)
        if len(calls) > before:
            found.append(second)
    return found


def pauses(seconds: list[int]) -> list[int]:
    return [later - sooner for sooner, later in itertools.pairwise(seconds)]


def with_file(store: Store, text: str, chat: int = 1) -> None:
    """Write a message that has a file; `text` may be empty."""
    write(store, text or f"file of {chat}", chat)
    message = store.messages.latest(chat_id(chat), None, 1)[-1]
    with store.database.write() as db:
        db.execute(
            "update messages set files = ?, text = ? where id = ?",
            (stored_files((ATTACHED,)), text, message.id),
        )


# -- a line that is not active


def test_an_inactive_line_is_switched_on_and_not_off(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    bitrix.inactive = {LINE}
    write(store, "hello")

    run(sender, NOW)

    assert bitrix.switched == [(CONNECTOR, LINE, True)]
    assert states(store) == ["delivered"]


def test_a_line_that_stays_inactive_is_switched_on_again_after_growing_pauses(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    bitrix.broken_lines = {LINE: Refused("NOT_ACTIVE_LINE", SEND)}
    write(store, "hello")

    seconds = seconds_of(bitrix.switched, sender, range(600))

    assert set(bitrix.switched) == {(CONNECTOR, LINE, True)}
    assert seconds[0] == 0
    assert len(bitrix.switched) == len(seconds) + 1, "at once again, the first time"
    assert 8 <= len(seconds) <= 18, "1, 2, 4 ... 60, 60 s"
    assert max(pauses(seconds)) <= 60 * 1.2 + 1
    assert states(store) == ["stored"]


def test_a_line_that_was_repaired_begins_with_short_pauses_again(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    bitrix.broken_lines = {LINE: Refused("NOT_ACTIVE_LINE", SEND)}
    write(store, "first")
    seconds_of(bitrix.sent, sender, range(200))
    bitrix.broken_lines.clear()
    seconds_of(bitrix.sent, sender, range(200, 300))
    assert states(store) == ["delivered"]

    bitrix.inactive = {LINE}
    write(store, "second")
    run(sender, NOW + 300)

    assert states(store) == ["delivered"] * 2, "it is switched on and used at once"


def test_a_line_that_cannot_be_switched_on_is_tried_all_the_same(
    store: Store, bitrix: Portal, sender: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Refused("ERROR", "imconnector.activate")

    monkeypatch.setattr(bitrix, "activate", refuse)
    bitrix.inactive = {LINE}
    write(store, "hello")
    run(sender, NOW)
    assert states(store) == ["stored"]

    bitrix.inactive.clear()
    for second in range(1, 5):
        run(sender, NOW + second)

    assert states(store) == ["delivered"]


def test_an_inactive_line_that_works_again_is_no_longer_named_as_dead(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    bitrix.broken_lines = {LINE: Refused("NOT_ACTIVE_LINE", SEND)}
    write(store, "hello")
    for second in range(60):
        run(sender, NOW + second)
    assert store.notes.dead_lines.get() == {LINE: "NOT_ACTIVE_LINE"}
    bitrix.broken_lines.clear()

    for second in range(60, 130):
        run(sender, NOW + second)

    assert states(store) == ["delivered"]
    assert not store.notes.dead_lines.get()


def test_a_line_that_works_leaves_others_named_as_dead(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    store.portal.connect_line(OTHER_LINE, NOW - 60)
    refusal = Refused("NOT_ACTIVE_LINE", SEND)
    bitrix.broken_lines = {LINE: refusal, OTHER_LINE: refusal}
    for chat in range(3):
        write(store, "hello", chat)
    for second in range(200):
        run(sender, NOW + second)
    assert set(store.notes.dead_lines.get() or {}) == {LINE, OTHER_LINE}

    del bitrix.broken_lines[LINE]
    for second in range(200, 400):
        run(sender, NOW + second)

    assert [states(store, chat) for chat in range(3)] == [["delivered"]] * 3
    assert set(store.notes.dead_lines.get() or {}) == {OTHER_LINE}


def test_a_line_is_given_another_chance_once_an_administrator_connects_one(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    store.portal.connect_line(OTHER_LINE, NOW - 60)
    bitrix.broken_lines = {LINE: Refused("NOT_ACTIVE_LINE", SEND)}
    write(store, "first")
    for second in range(60):
        run(sender, NOW + second)
    assert bitrix.lines[-1] == OTHER_LINE
    bitrix.broken_lines.clear()
    write(store, "second", chat=2)
    run(sender, NOW + 60)
    assert bitrix.lines[-1] == OTHER_LINE

    store.notes.connected_at.set(NOW + 61)
    assert store.notes.dead_lines.get()
    write(store, "third", chat=3)
    run(sender, NOW + 62)

    assert bitrix.lines[-1] == LINE
    assert not store.notes.dead_lines.get()


def test_a_line_is_left_after_three_rounds_and_by_whoever_has_no_dialog_there(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    store.portal.connect_line(OTHER_LINE, NOW - 60)
    write(store, "has a dialog", chat=2)
    run(sender, NOW)
    bitrix.dead_lines = {LINE}
    bitrix.lines.clear()
    write(store, "hello", chat=1)
    for minute in range(4):
        run(sender, NOW + 60 * minute)
    assert bitrix.lines == [LINE] * 3 + [OTHER_LINE]

    bitrix.lines.clear()
    write(store, "new", chat=3)
    run(sender, NOW + 300)
    write(store, "again", chat=2)
    run(sender, NOW + 301)

    assert bitrix.lines == [OTHER_LINE, LINE]


def test_a_line_that_fails_two_chats_is_left_by_all(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    store.portal.connect_line(OTHER_LINE, NOW - 60)
    for chat in (1, 2, 3):
        write(store, "first", chat)
        run(sender, NOW)
    bitrix.dead_lines = {LINE}
    for chat in (1, 2):
        write(store, "second", chat)
    for minute in range(8):
        run(sender, NOW + 60 * minute)
    assert states(store, 1) == states(store, 2) == ["delivered"] * 2
    bitrix.lines.clear()

    write(store, "second", chat=3)
    run(sender, NOW + 600)

    assert bitrix.lines == [OTHER_LINE], "also by whoever has a dialog there"


# -- pauses end


FAILURES_OF_A_LINE: list[BitrixError] = [
    TryLater("ANY", SEND),
    TryLater("NOT_CONNECTED", SEND),
    TryLater("QUERY_LIMIT_EXCEEDED", SEND),
    TryLater("HTTP_429", SEND),
    TryLater("ANY", "oauth/token"),
]


@pytest.mark.parametrize("error", FAILURES_OF_A_LINE, ids=str)
def test_after_an_outage_that_is_over_the_next_one_begins_with_short_pauses(
    store: Store, bitrix: Portal, sender: Worker, error: BitrixError
) -> None:
    write(store, "first")
    bitrix.broken["send"] = error
    long = pauses(seconds_of(bitrix.sent, sender, range(300)))
    assert max(long) >= 40
    bitrix.broken.clear()
    seconds_of(bitrix.sent, sender, range(300, 400))
    assert states(store) == ["delivered"]

    write(store, "second")
    bitrix.broken["send"] = error
    again = seconds_of(bitrix.sent, sender, range(400, 420))

    assert again[0] == 400
    assert pauses(again)[0] <= 2
    assert len(again) >= 3


@pytest.mark.parametrize(
    "error", [TryLater("ANY", CONFIRM), OutcomeUnknown("HTTP_502", CONFIRM)], ids=str
)
def test_after_confirmations_work_again_the_next_outage_begins_with_short_pauses(
    store: Store, bitrix: Portal, sender: Worker, error: BitrixError
) -> None:
    answer(store, 10)
    bitrix.broken["confirm"] = error
    assert max(pauses(seconds_of(bitrix.confirmed, sender, range(300)))) >= 40
    bitrix.broken.clear()
    seconds_of(bitrix.confirmed, sender, range(300, 400))
    assert store.queue.waiting() == 0

    answer(store, 11)
    bitrix.broken["confirm"] = error
    again = seconds_of(bitrix.confirmed, sender, range(400, 420))

    assert pauses(again)[0] <= 2
    assert len(again) >= 3


def test_a_success_of_any_work_ends_the_pause_of_the_portal(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    """It cannot be reached, again and again, until a confirmation passes."""
    write(store, "hello")
    bitrix.broken["send"] = TryLater("NOT_CONNECTED", SEND)
    seconds_of(bitrix.sent, sender, range(300))
    answer(store, 10)
    second = next(one for one in range(300, 400) if seconds_of(bitrix.confirmed, sender, [one]))

    again = seconds_of(bitrix.sent, sender, range(second + 1, second + 15))

    assert len(again) >= 2, "the pauses begin anew"


def test_a_look_that_works_ends_the_pauses_of_looks(
    store: Store, bitrix: Portal, make: Callable[..., Worker]
) -> None:
    sender = make(settle_seconds=100_000, retry_limit_seconds=60)
    lose_the_answer(store, bitrix, sender)
    bitrix.asked.clear()
    bitrix.broken["batch"] = TryLater("NOT_DONE", "batch")
    assert max(pauses(seconds_of(bitrix.asked, sender, range(1, 300)))) >= 40
    bitrix.broken.clear()
    seconds_of(bitrix.asked, sender, range(300, 400))
    write(store, "of another", chat=2)  # its answer is lost, too
    bitrix.errors = [OutcomeUnknown("NO_REPLY", SEND)]
    run(sender, NOW + 400)

    bitrix.broken["batch"] = TryLater("NOT_DONE", "batch")
    store.chats.note_dialog(chat_id(1), LINE, 5120, 2001, 3301, None)  # looked for at once
    again = seconds_of(bitrix.asked, sender, range(401, 430))

    assert pauses(again)[0] <= 3


def test_what_waits_without_a_line_is_sent_at_once_whenever_there_is_one(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    """However long it has waited, and the second time as the first."""
    for number, begin, end in ((1, 0, 300), (2, 301, 303), (3, 304, 350)):
        store.portal.disconnect_line(LINE)
        write(store, f"{number}")
        for second in range(begin, end):
            run(sender, NOW + second)
        assert states(store) == ["delivered"] * (number - 1) + ["stored"]

        store.portal.connect_line(LINE, NOW + end)
        run(sender, NOW + end)

        assert states(store) == ["delivered"] * number


def test_a_line_that_an_administrator_took_away_is_asked_for_once_in_the_longest_pause(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    store.portal.disconnect_line(LINE)
    write(store, "hello")
    looks = []

    for second in range(600):
        if store.queue.due_messages(NOW + second, 10):
            looks.append(second)
        run(sender, NOW + second)

    assert looks == pytest.approx(range(0, 600, 60), abs=10)
    assert all(60 <= pause <= 61 for pause in pauses(looks))
    assert bitrix.sent == []


# -- what is against a delivery ends with it


def reachable(sender: Worker, *apart: object) -> int:
    """How many objects a sender holds, without those that are not its own."""
    skipped = (type, type(gc), type(reachable), type(sender.step))
    seen = {id(one) for one in apart}
    waiting: list[Any] = [sender]
    count = 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, skipped):
            continue
        seen.add(id(one))
        count += 1
        waiting += gc.get_referents(one)
    return count


@contextmanager
def no_growth(sender: Worker, *apart: object) -> Iterator[None]:
    """What is done with at least 40 deliveries leaves the sender as large as it was."""
    before = reachable(sender, *apart)
    yield
    assert reachable(sender, *apart) - before < 20


def test_what_spoiled_a_call_is_forgotten_once_it_is_delivered(
    store: Store, bitrix: Portal, checks: Checks, sender: Worker
) -> None:
    def spoil_a_call(minute: int) -> None:
        for chat in range(5):
            write(store, "hello", chat)
        bitrix.errors = [Refused("BAD", SEND)]
        for second in range(5):
            run(sender, NOW + 60 * minute + second)
        assert store.queue.waiting() == 0

    spoil_a_call(0)
    with no_growth(sender, store, store.database, bitrix, checks):
        for minute in range(1, 11):
            spoil_a_call(minute)


def test_what_was_refused_alone_is_forgotten_once_it_is_given_up(
    store: Store, bitrix: Portal, checks: Checks, sender: Worker
) -> None:
    def give_some_up(hour: int) -> None:
        for number in range(4):
            answer(store, 1_000 * (hour + 1) + number)
        bitrix.bad_confirmations = {
            one.message.id for one in store.queue.due_confirmations(NOW + 2 * DAY, 50)
        }
        for minute in range(60):
            answer(store, 1_000_000 + 1_000 * hour + minute)
            run(sender, NOW + 4800 * hour + 80 * minute)
        assert store.queue.waiting() == 0

    give_some_up(0)
    with no_growth(sender, store, store.database, bitrix, checks):
        for hour in range(1, 7):
            give_some_up(hour)


def test_what_may_have_arrived_is_forgotten_once_it_is_given_up(
    store: Store, bitrix: Portal, checks: Checks, sender: Worker
) -> None:
    bitrix.poison = "poison"
    bitrix.poisoned = OutcomeUnknown("HTTP_502", SEND)

    def give_one_up(hour: int) -> None:
        write(store, "poison")
        for minute in range(8):
            write(store, f"{minute}", chat=2)
            run(sender, NOW + 3600 * hour + 60 * minute)
        assert store.queue.waiting() == 0
        assert states(store)[-1] == "refused"

    give_one_up(0)
    with no_growth(sender, store, store.database, bitrix, checks):
        for hour in range(1, 41):
            give_one_up(hour)


# -- what the administrator is told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SetupFault("ACCESS_DENIED", SEND), True),
        (SetupFault("insufficient_scope", SEND), True),
        (SetupFault("PORTAL_DELETED", SEND), True),
        (Refused("ERROR_CORE", SEND), True),
        (TryLater("NOT_CONNECTED", SEND), False),
        (OutcomeUnknown("NO_REPLY", SEND), False),
    ],
    ids=str,
)
def test_a_fault_is_told_when_a_person_must_mend_it_and_taken_back_once_it_is_gone(
    store: Store, bitrix: Portal, sender: Worker, error: BitrixError, told: bool
) -> None:
    write(store, "hello")
    bitrix.errors = [error]
    run(sender, NOW)
    assert store.notes.fault.get() == (ReportedFault(SEND, error.code) if told else None)

    for second in range(1, 100):
        run(sender, NOW + second)

    assert states(store) == ["delivered"]
    assert store.notes.fault.get() is None


def test_a_fault_that_is_gone_is_not_taken_back_twice(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    """What somebody else has told meanwhile stays."""
    write(store, "hello")
    bitrix.errors = [SetupFault("PORTAL_DELETED", SEND)]
    for second in range(100):
        run(sender, NOW + second)
    assert states(store) == ["delivered"]

    store.notes.fault.set(ReportedFault("of another", "X"))
    write(store, "second")
    run(sender, NOW + 100)

    assert store.notes.fault.get() == ReportedFault("of another", "X")


def test_a_fault_of_one_work_is_not_taken_back_by_another(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    fault = ReportedFault(SEND, "ACCESS_DENIED")
    write(store, "hello")
    bitrix.broken["send"] = SetupFault("ACCESS_DENIED", SEND)
    run(sender, NOW)
    answer(store, 10)

    run(sender, NOW + 1)

    assert len(bitrix.confirmed) == 1
    assert store.notes.fault.get() == fault


def test_a_fault_that_another_process_noted_is_taken_back_by_the_next_success(
    store: Store, bitrix: Portal, make: Callable[..., Worker]
) -> None:
    write(store, "hello")
    bitrix.errors = [SetupFault("ACCESS_DENIED", SEND)]
    run(make(), NOW)
    assert store.notes.fault.get()

    later = make()
    later.begin(NOW + 1)
    run(later, NOW + 1)

    assert states(store) == ["delivered"]
    assert store.notes.fault.get() is None


@pytest.mark.parametrize("code", ["ACCESS_DENIED", "access_denied", "ERROR_METHOD_NOT_FOUND"])
def test_a_method_that_is_closed_to_us_stops_no_other_method(
    store: Store, bitrix: Portal, sender: Worker, code: str
) -> None:
    bitrix.broken["send"] = SetupFault(code, SEND)
    write(store, "hello")
    run(sender, NOW)
    answer(store, 10)

    run(sender, NOW + 1)

    assert len(bitrix.confirmed) == 1


@pytest.mark.parametrize(
    "error",
    [
        SetupFault("PORTAL_DELETED", SEND),
        TryLater("NOT_CONNECTED", SEND),
        TryLater("QUERY_LIMIT_EXCEEDED", SEND),
        TryLater("HTTP_429", SEND),
        TryLater("ANY", "oauth/token"),
    ],
    ids=str,
)
def test_what_concerns_the_whole_portal_stops_every_method(
    store: Store, bitrix: Portal, sender: Worker, error: BitrixError
) -> None:
    bitrix.broken["send"] = error
    write(store, "hello")
    for second in range(10):
        run(sender, NOW + second)
    sent = seconds_of(bitrix.sent, sender, range(10, 20))
    answer(store, 10)
    run(sender, NOW + 20)
    assert bitrix.confirmed == []

    seconds = seconds_of(bitrix.confirmed, sender, range(21, 100))

    assert len(seconds) == 1, f"when the portal is asked again; sent at {sent}"


def test_a_broken_set_up_is_tried_again_after_the_longest_pause(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    bitrix.broken["send"] = SetupFault("PORTAL_DELETED", SEND)
    write(store, "hello")

    seconds = seconds_of(bitrix.sent, sender, range(400))

    assert all(48 <= one <= 73 for one in pauses(seconds)), "not sooner, the first time either"


def test_a_mended_set_up_is_heard_of_within_a_second_and_looked_after(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    store.portal.save(replace(PORTAL, installed_at=NOW - DAY))
    write(store, "first")
    for second in range(10):
        run(sender, NOW + second)
    write(store, "second")
    bitrix.errors = [SetupFault("INVALID_TOKEN", SEND)]
    run(sender, NOW + 10)
    run(sender, NOW + 11)
    bitrix.asked.clear()

    store.notes.mended_at.set(NOW + 11.5)
    run(sender, NOW + 12)

    assert states(store) == ["delivered"] * 2
    assert "batch" in bitrix.asked, "events may have been lost"


def test_the_notes_of_others_are_read_about_once_a_second(
    store: Store, sender: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Note[Any]] = []
    get = Note.get

    def counted(note: Note[Any]) -> Any:
        asked.append(note)
        return get(note)

    monkeypatch.setattr(Note, "get", counted)

    for tenth in range(100):
        run(sender, NOW + tenth / 10)

    assert asked
    assert max(Counter(asked).values()) <= 12


def test_that_we_are_up_is_noted_every_minute_and_no_oftener(store: Store, sender: Worker) -> None:
    noted = set()
    for second in range(0, 600, 5):
        run(sender, NOW + second)
        up_at = store.notes.up_at.get()
        assert up_at is not None
        assert up_at >= NOW + second - 60
        noted.add(up_at)

    assert len(noted) <= 11


# -- how many share a call


def sizes(bitrix: FakeBitrix) -> list[int]:
    return [len(call) for call in bitrix.sent]


@pytest.mark.parametrize(("waiting", "first"), [(3, 1), (4, 4)])
def test_three_that_wait_are_no_backlog_and_four_are(
    store: Store, bitrix: Portal, sender: Worker, waiting: int, first: int
) -> None:
    for chat in range(waiting):
        write(store, "hello", chat)

    sender.step(NOW)

    assert sizes(bitrix) == [first]


def test_calls_grow_from_ten_to_twenty_five_messages_while_they_work(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    for chat in range(100):
        write(store, "hello", chat)

    for second in range(10):
        sender.step(NOW + second)

    assert sizes(bitrix)[:4] == [10, 20, 25, 25]


def test_a_call_whose_answer_was_lost_is_followed_by_one_half_as_large(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    for chat in range(100):
        write(store, "hello", chat)
    for second in range(3):
        sender.step(NOW + second)
    bitrix.errors = [OutcomeUnknown("NO_REPLY", SEND)]
    bitrix.sent.clear()

    for second in range(3, 8):
        run(sender, NOW + second)

    assert sizes(bitrix)[:3] == [25, 12, 8]


def test_a_call_that_was_not_made_does_not_make_the_next_smaller(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    for chat in range(100):
        write(store, "hello", chat)
    for second in range(3):
        sender.step(NOW + second)
    bitrix.errors = [TryLater("NOT_DONE", SEND)]
    bitrix.sent.clear()

    for second in range(3, 10):
        run(sender, NOW + second)

    assert sizes(bitrix)[:2] == [25, 25]


def test_short_messages_fill_a_call_to_its_number_and_long_ones_to_its_size(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    for chat in range(60):
        write(store, "x" * 60_000 if chat >= 35 else "hello", chat)

    for second in range(8):
        sender.step(NOW + second)

    assert sizes(bitrix)[:2] == [10, 20]
    for call in bitrix.sent:
        assert sum(map(len, call)) <= 500_000 - 2_000 * len(call)
    assert max(sizes(bitrix)[3:]) == 8


def test_a_message_larger_than_a_call_should_be_goes_alone(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    for chat in range(8):
        write(store, "ы" * 90_000 if chat == 0 else "hello", chat)

    run(sender, NOW)

    assert sizes(bitrix)[0] == 1
    assert sum(sizes(bitrix)) == 8


@pytest.mark.parametrize(("waiting", "together"), [(29, False), (32, True)])
def test_only_a_long_backlog_goes_out_in_runs_of_one_chat(
    store: Store, bitrix: Portal, sender: Worker, waiting: int, together: bool
) -> None:
    for number in range(4):
        write(store, f"{number}", chat=2)
    for second in range(12):
        run(sender, NOW + second)
    bitrix.sent.clear()

    for number in range(waiting):
        write(store, f"{number}")
    sender.step(NOW + 60)

    assert sizes(bitrix) == [10 if together else 1]


def test_runs_of_one_chat_begin_after_three_calls_that_passed_over_none(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    for number in range(60):
        write(store, f"{number}")

    for second in range(6):
        sender.step(NOW + second)

    assert sizes(bitrix)[:4] == [1, 1, 1, 10]


def test_runs_of_one_chat_pause_for_ten_seconds_after_a_message_was_passed_over(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    for number in range(200):
        write(store, f"{number}")
    for second in range(6):
        sender.step(NOW + second)
    bitrix.sessions = False
    sender.step(NOW + 6)
    bitrix.sessions = True
    store.chats.note_dialog(chat_id(1), LINE, 5120, 2001, 3301, None)
    bitrix.dialog = [said(1000 + n, f"{n}") for n in range(1, 41)]
    bitrix.sent.clear()

    first_run = 0.0
    for half in range(13, 120):
        before = len(bitrix.sent)
        sender.step(NOW + half / 2)
        if len(bitrix.sent) > before and len(bitrix.sent[-1]) > 1:
            first_run = half / 2
            break

    assert 16 < first_run <= 22


def test_a_message_that_went_unanswered_twice_goes_alone(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    for chat in range(1, 9):
        write(store, f"of {chat}", chat)
    bitrix.poison = "of 3"
    bitrix.poisoned = OutcomeUnknown("HTTP_502", SEND)

    for second in range(200):
        run(sender, NOW + second)
        if len(bitrix.sent) > 2 and store.queue.waiting() < 4:
            for chat in range(20, 26):
                write(store, f"of {chat} {second}", chat)
        if sum("of 3" in call for call in bitrix.sent) >= 3:
            break

    with_it = [call for call in bitrix.sent if "of 3" in call]
    assert len(with_it[0]) > 1
    assert [len(call) for call in with_it[2:]] == [1]


def test_a_chat_with_many_messages_and_others_take_turns(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    for number in range(20):
        write(store, f"file {number}", chat=1)
    for number in range(20):
        write(store, f"other file {number}", chat=2)
    with store.database.write() as db:
        db.execute("update messages set files = ?", (stored_files((File(),)),))

    for second in range(8):
        sender.step(NOW + second)

    assert bitrix.sent[:4] == [["file 0"], ["other file 0"], ["file 1"], ["other file 1"]]


def test_fifty_confirmations_share_a_call_and_no_more(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    for number in range(60):
        answer(store, 10 + number)

    sender.step(NOW)
    sender.step(NOW)

    assert [len(call) for call in bitrix.confirmed] == [50, 10]


def test_confirmations_of_two_lines_do_not_share_a_call(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    answer(store, 10, line=LINE)
    answer(store, 11, line=OTHER_LINE)
    answer(store, 12, line=LINE)

    run(sender, NOW)

    assert bitrix.confirmed == [[1, 3], [2]]


# -- what is refused as a whole


def refusals_until_given_up(
    store: Store, bitrix: Portal, sender: Worker, calls: Sequence[list[Any]], wanted: Any
) -> int:
    for minute in range(60):
        write(store, f"minute {minute}", chat=2)
        answer(store, 10_000 + minute, chat=2)
        run(sender, NOW + 75 * minute)
    return [list(call) for call in calls].count([wanted])


def test_a_message_that_is_refused_alone_is_given_up_at_the_eighth_strike(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    write(store, "first", chat=2)
    run(sender, NOW - 1)
    bitrix.poison = "bad"
    write(store, "bad")

    tries = refusals_until_given_up(store, bitrix, sender, bitrix.sent, "bad")

    assert tries == 9, "the first is no strike: it may be the portal"
    assert states(store) == ["refused"]
    assert store.messages.latest(chat_id(1), None, 1)[0].error == "BAD"


def test_a_confirmation_that_is_refused_alone_is_given_up_at_the_eighth_strike(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    answer(store, 10)
    (bad,) = store.queue.due_confirmations(NOW, 1)
    bitrix.bad_confirmations = {bad.message.id}

    tries = refusals_until_given_up(store, bitrix, sender, bitrix.confirmed, bad.message.id)

    assert tries == 9
    assert store.queue.waiting() == 0
    assert store.messages.latest(chat_id(1), None, 1)[0].error is None, (
        "the visitor has done nothing"
    )


def test_a_strike_counts_only_after_others_of_its_kind_have_passed(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    bitrix.poison = "bad"
    write(store, "bad")

    for minute in range(60):
        answer(store, 10 + minute, chat=2)
        run(sender, NOW + 75 * minute)

    assert states(store) == ["stored"], "confirmations that pass say nothing of messages"


def test_five_refusals_in_a_row_are_tolerated_before_a_line_rests_a_little(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    run(sender, NOW - 60)  # what was called before our start is no matter then
    bitrix.broken["send"] = Refused("ERROR_CORE", SEND)
    for chat in range(3):
        write(store, "hello", chat)
    run(sender, NOW)
    assert len(bitrix.sent) == 3
    for chat in range(3, 30):
        write(store, "hello", chat)

    bitrix.sent.clear()
    run(sender, NOW + 0.1)
    first = len([call for call in bitrix.sent if len(call) == 1])
    seconds = seconds_of(bitrix.sent, sender, range(1, 60))

    assert first == 3, "the sixth in a row makes the line rest"
    assert seconds
    assert max(pauses(seconds)) <= 7


def test_a_refused_call_with_several_is_repeated_at_once_each_alone(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    for chat in range(5):
        write(store, f"of {chat}", chat)
    bitrix.errors = [Refused("BAD", SEND)]

    run(sender, NOW)

    assert sizes(bitrix) == [5, 1, 1, 1, 1, 1]
    assert store.notes.fault.get() is None


def test_a_message_refused_alone_waits_longer_each_time_and_no_longer_than_the_limit(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    bitrix.poison = "bad"
    write(store, "bad")

    seconds = seconds_of(bitrix.sent, sender, range(600))

    assert seconds[0] == 0
    assert pauses(seconds)[0] <= 3
    assert 40 <= max(pauses(seconds)) <= 73
    assert 8 <= len(seconds) <= 18


# -- answers that were lost


def test_a_lost_answer_is_looked_for_ever_more_rarely_until_it_is_settled(
    store: Store, bitrix: Portal, make: Callable[..., Worker]
) -> None:
    sender = make(settle_seconds=400)
    lose_the_answer(store, bitrix, sender)
    bitrix.asked.clear()

    seconds = seconds_of(bitrix.asked, sender, range(1, 450))

    assert seconds[0] <= 2
    assert all(
        pause <= 2 + second / 4 * 1.2 + 1
        for second, pause in zip(seconds, pauses(seconds), strict=False)
    ), "a quarter of the time that has passed"
    assert len(seconds) <= 25
    assert bitrix.sent == [["first"], ["second"], ["second"], ["third"]]


@pytest.mark.parametrize(("second", "sent"), [(9, 2), (11, 4)])
def test_a_lost_answer_is_settled_after_the_settle_time_and_not_before(
    store: Store, bitrix: Portal, sender: Worker, second: int, sent: int
) -> None:
    lose_the_answer(store, bitrix, sender)

    for half in range(2, 2 * second + 1):
        run(sender, NOW + half / 2)

    assert len(bitrix.sent) == sent


@pytest.mark.parametrize(("second", "sent"), [(28, 1), (32, 2)])
def test_a_first_message_is_settled_after_three_settle_times_and_not_before(
    store: Store, bitrix: Portal, sender: Worker, second: int, sent: int
) -> None:
    bitrix.errors = [OutcomeUnknown("NO_REPLY", SEND)]
    write(store, "hello")

    for half in range(2 * second + 1):
        run(sender, NOW + half / 2)

    assert len(bitrix.sent) == sent


def test_an_event_that_names_the_dialog_settles_a_lost_answer_at_once(
    store: Store, bitrix: Portal, make: Callable[..., Worker]
) -> None:
    sender = make(settle_seconds=10_000)
    bitrix.errors = [OutcomeUnknown("NO_REPLY", SEND)]
    write(store, "hello")
    for second in range(0, 300, 10):
        run(sender, NOW + second)
    bitrix.dialog = [said(11, "1")]

    store.chats.note_dialog(chat_id(1), LINE, 5120, 2001, 3301, None)
    run(sender, NOW + 301)

    assert states(store) == ["delivered"]


def test_a_file_whose_message_arrived_with_it_is_not_sent_again(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    write(store, "first")
    run(sender, NOW)
    with_file(store, "second")
    bitrix.errors = [OutcomeUnknown("NO_REPLY", SEND)]
    run(sender, NOW)
    bitrix.dialog = [said(11, "2", files=({"name": "a.pdf"},))]

    run(sender, NOW + 3)

    assert bitrix.sent == [["first"], ["second"]]
    assert states(store) == ["delivered"] * 2


def test_the_lost_answers_of_many_chats_are_looked_for_in_one_call(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    for chat in range(20):
        write(store, "first", chat)
        run(sender, NOW + chat)
        store.chats.note_dialog(chat_id(chat), LINE, 6000 + chat, 2001, 3301, None)
    for chat in range(20):
        write(store, "second", chat)
    bitrix.errors = [OutcomeUnknown("NO_REPLY", SEND)] * 10
    for second in range(20, 22):
        run(sender, NOW + second)
    lost = [one.message.id for one in store.queue.messages_in_doubt(NOW + DAY, 50)]
    assert len(lost) >= 10
    bitrix.errors = []
    bitrix.asked.clear()
    bitrix.dialog = [said(11, *map(str, lost))]

    for second in range(22, 30):
        run(sender, NOW + second)

    assert [states(store, chat) for chat in range(20)] == [["delivered"] * 2] * 20
    assert bitrix.asked.count("batch") <= 3
    assert bitrix.sent[-1].count("second") > 0


def test_a_chats_lost_answer_and_others_messages_take_turns(
    store: Store, bitrix: Portal, make: Callable[..., Worker]
) -> None:
    sender = make(settle_seconds=10_000)
    for chat in range(3):
        write(store, "first", chat)
        run(sender, NOW)
    bitrix.errors = [OutcomeUnknown("NO_REPLY", SEND)] * 3
    for chat in range(3):
        write(store, "second", chat)
    run(sender, NOW)
    for chat in range(10, 13):
        write(store, "hello", chat)
    bitrix.asked.clear()
    bitrix.sent.clear()

    sender.step(NOW + 5)
    sender.step(NOW + 5)

    assert bitrix.asked.count("batch") == 1
    assert len(bitrix.sent) == 1


def test_a_session_that_is_known_survives_a_restart(
    store: Store, bitrix: Portal, make: Callable[..., Worker]
) -> None:
    """A portal that named sessions once takes nothing where it names none."""
    write(store, "first")
    run(make(unconfirmed="keep"), NOW)
    bitrix.sessions = False
    bitrix.dialog = Refused("ACCESS_ERROR", "im.dialog.messages.get")
    bitrix.session = Refused("ACCESS_DENIED", "imopenlines.session.history.get")
    write(store, "second")
    later = make(unconfirmed="keep")
    later.begin(NOW + 1)

    for second in range(1, 60):
        run(later, NOW + second)

    assert states(store) == ["delivered", "refused"]


def test_a_message_without_a_session_is_looked_for_after_the_first_pause(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    write(store, "first")
    run(sender, NOW)
    bitrix.sessions = False
    bitrix.asked.clear()
    write(store, "second")

    assert seconds_of(bitrix.asked, sender, range(5))[0] <= 2


def test_while_the_portal_is_asked_in_vain_nobody_is_sent_twice_and_others_wait_no_longer(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    """Nothing is known of one message's dialog, and `app.info` alone fails."""
    bitrix.broken["app.info"] = OutcomeUnknown("NO_REPLY", "app.info")
    bitrix.errors = [OutcomeUnknown("NO_REPLY", SEND)]
    write(store, "hello")
    run(sender, NOW)

    for second in range(1, 200):
        run(sender, NOW + second)
    write(store, "of another", chat=2)
    run(sender, NOW + 200)
    assert bitrix.sent == [["hello"], ["of another"]]
    bitrix.broken.clear()
    for second in range(201, 300):
        run(sender, NOW + second)

    assert bitrix.sent == [["hello"], ["of another"], ["hello"]]


def test_dialogs_that_cannot_be_read_one_after_the_other_hold_up_no_message(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    lose_the_answer(store, bitrix, sender)
    bitrix.broken["batch"] = TryLater("NOT_DONE", "batch")
    for second in range(1, 60):
        run(sender, NOW + second)
    assert bitrix.sent == [["first"], ["second"]], "nothing is repeated before we could look"

    write(store, "of another", chat=2)
    run(sender, NOW + 60)
    assert states(store, 2) == ["delivered"]
    bitrix.broken.clear()
    for second in range(60, 130):
        run(sender, NOW + second)

    assert bitrix.sent[-2:] == [["second"], ["third"]]


@pytest.mark.parametrize("closed", ["batch", "all"])
def test_what_somebody_before_the_portal_says_to_a_look_is_told_and_tells_nothing_of_messages(
    store: Store, bitrix: Portal, make: Callable[..., Worker], closed: str
) -> None:
    """A proxy's page is not the portal's word that nobody lets us look."""
    read = "im.dialog.messages.get"
    sender = make(unconfirmed="keep")
    lose_the_answer(store, bitrix, sender)
    bitrix.broken["batch"] = Refused("HTTP_403", "batch")
    arrived = [said(10, "1"), said(11, "2")]
    bitrix.dialog = Refused("HTTP_403", read) if closed == "all" else arrived

    for second in range(1, 200):
        run(sender, NOW + second)
    write(store, "of another", chat=2)
    run(sender, NOW + 200)

    assert states(store, 2) == ["delivered"], "it holds up no other chat"
    if closed == "all":
        assert states(store) == ["delivered", "stored", "stored"]
        assert store.notes.fault.get() == ReportedFault(read, "HTTP_403")
        assert bitrix.sent == [["first"], ["second"], ["of another"]]
        bitrix.broken.clear()
        bitrix.dialog = arrived
        for second in range(201, 300):
            run(sender, NOW + second)
    assert states(store) == ["delivered"] * 3
    assert store.notes.fault.get() is None
    assert bitrix.sent.count(["second"]) == 1


@pytest.mark.parametrize(
    ("oldest", "further"), [(("1",), False), ((), True), (("3",), True), (("1-link",), True)]
)
def test_a_dialog_is_read_no_further_back_than_to_an_earlier_message_of_ours(
    store: Store, bitrix: Portal, sender: Worker, oldest: tuple[str, ...], further: bool
) -> None:
    lose_the_answer(store, bitrix, sender)
    bitrix.dialog = [said(1000, *oldest), *(said(1000 + number) for number in range(1, PAGE))]
    bitrix.asked.clear()

    for second in range(1, 20):
        run(sender, NOW + second)

    assert bitrix.sent == [["first"], ["second"], ["second"], ["third"]]
    pages, batches = bitrix.asked.count("dialog 5120"), bitrix.asked.count("batch")
    assert batches > 0
    assert (pages > batches) is further, "each of a batch is a page, too"


# -- files


def test_a_file_that_the_portal_did_not_fetch_follows_as_a_link(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    bitrix.files = 0
    with_file(store, "see this")
    write(store, "next")

    run(sender, NOW)

    link = f"{FILE['name']}\n{FILE['link']}"
    assert bitrix.sent == [["see this"], [link], ["next"]]
    assert [one["message"]["id"] for one in bitrix.items] == ["1", "1-link", "2"]
    assert states(store) == ["delivered"] * 2


@pytest.mark.parametrize("fetched", [1, None])
def test_a_file_that_the_portal_fetched_or_says_nothing_of_is_sent_once(
    store: Store, bitrix: Portal, sender: Worker, fetched: int | None
) -> None:
    bitrix.files = fetched
    with_file(store, "see this")

    run(sender, NOW)

    assert bitrix.sent == [["see this"]]
    assert states(store) == ["delivered"]


def test_a_file_without_words_that_is_refused_follows_as_a_link(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    bitrix.poison, bitrix.refuse[""] = "nothing", "no file"
    with_file(store, "")

    run(sender, NOW)

    assert bitrix.sent == [[""], [f"{FILE['name']}\n{FILE['link']}"]]
    assert states(store) == ["delivered"]


def test_words_with_a_file_that_are_refused_are_not_sent_again(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    bitrix.refuse["see this"] = "no such user"
    with_file(store, "see this")

    run(sender, NOW)

    assert bitrix.sent == [["see this"]]
    assert states(store) == ["refused"]


def test_a_file_taken_without_a_session_is_looked_for_first(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    write(store, "first")
    run(sender, NOW)
    bitrix.files, bitrix.sessions = 0, False
    with_file(store, "see this")

    run(sender, NOW)

    assert bitrix.sent == [["first"], ["see this"]]
    assert states(store) == ["delivered", "stored"]


def test_the_dialog_of_a_message_whose_file_follows_is_known_already(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    bitrix.files = 0
    with_file(store, "see this")

    sender.step(NOW)

    chat = store.chats.find(chat_id(1))
    assert chat is not None
    assert (chat.portal_chat_id, chat.portal_user_id, chat.session_id) == (5120, 2001, 3301)


def test_a_link_that_was_refused_before_it_was_a_link_is_sent_at_once(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    bitrix.errors = [Refused("BAD", SEND)] * 3
    bitrix.files = 0
    with_file(store, "see this")

    for second in range(30):
        run(sender, NOW + second)

    assert bitrix.sent == [["see this"]] * 4 + [[f"{FILE['name']}\n{FILE['link']}"]]


# -- looking after the portal


@pytest.fixture
def installed(store: Store) -> None:
    store.portal.save(replace(PORTAL, installed_at=NOW - DAY))


def checked(checks: Checks, sender: Worker, seconds: Iterable[int]) -> list[int]:
    found = []
    for second in seconds:
        before = checks.count
        run(sender, NOW + second)
        if checks.count > before:
            found.append(second)
    return found


@pytest.mark.usefixtures("installed")
def test_the_set_up_is_checked_once_an_hour(checks: Checks, sender: Worker) -> None:
    assert checked(checks, sender, range(0, 8000, 20)) == [0, 3600, 7200]


@pytest.mark.usefixtures("installed")
def test_an_install_that_is_not_finished_is_checked_every_minute(
    checks: Checks, sender: Worker
) -> None:
    checks.finished = False

    assert checked(checks, sender, range(0, 300, 5)) == [0, 60, 120, 180, 240]


def test_an_install_of_the_last_minute_is_left_alone(
    store: Store, checks: Checks, sender: Worker
) -> None:
    store.portal.save(replace(PORTAL, installed_at=NOW))

    assert checked(checks, sender, range(100))[0] == 60


def test_an_install_that_a_clock_has_dated_in_the_future_is_checked(
    store: Store, checks: Checks, sender: Worker
) -> None:
    store.portal.save(replace(PORTAL, installed_at=NOW + DAY))

    assert checked(checks, sender, range(5)) == [0]


def test_without_an_install_nothing_is_checked(
    store: Store, bitrix: Portal, checks: Checks, sender: Worker
) -> None:
    write(store, "hello")
    run(sender, NOW)

    assert checked(checks, sender, range(0, 4000, 50)) == []
    assert "batch" not in bitrix.asked


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("error", "second"),
    [
        (OutcomeUnknown("NO_REPLY", "app.info"), 5),
        (TryLater("NOT_CONNECTED", "app.info"), 5),
        (TryLater("OPERATION_TIME_LIMIT", "app.info", seconds=300), 3600),
        (Refused("ERROR", "event.bind"), 3600),
        (SetupFault("ACCESS_DENIED", "app.info"), 3600),
    ],
    ids=str,
)
def test_a_check_that_was_not_answered_is_made_again_soon_and_a_refused_one_is_not(
    checks: Checks, sender: Worker, error: BitrixError, second: int
) -> None:
    checks.errors = [error]

    seconds = checked(checks, sender, [*range(20), *range(20, 3600, 20), *range(3600, 3610)])

    assert seconds[0] == 0
    assert second <= seconds[1] <= second + 1


@pytest.mark.usefixtures("installed")
def test_a_check_that_the_portal_refuses_for_its_limit_lets_its_limit_recover(
    store: Store, bitrix: Portal, checks: Checks, sender: Worker
) -> None:
    run(sender, NOW - 60)  # what was called before our start is no matter then
    checks.errors = [TryLater("QUERY_LIMIT_EXCEEDED", "app.info")]
    checked(checks, sender, [4000])
    assert checks.errors == []
    write(store, "hello")

    run(sender, NOW + 4000)
    assert bitrix.sent == []
    run(sender, NOW + 4001)

    assert bitrix.sent == [["hello"]]


def confirmations_at_once(
    store: Store, bitrix: Portal, sender: Worker, now: float, first: int
) -> int:
    """How many calls the limit leaves at this moment, each on a line of its own."""
    for number in range(50):
        answer(store, first + number, line=100 + number)
    bitrix.confirmed.clear()
    run(sender, now, steps=60)
    return len(bitrix.confirmed)


@pytest.fixture
def no_time_in_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, no time passes but what a test says."""
    monkeypatch.setattr(time, "monotonic", lambda: 1.0)


@pytest.mark.usefixtures("no_time_in_a_call")
def test_no_more_calls_are_made_at_once_than_the_portal_takes(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    assert confirmations_at_once(store, bitrix, sender, NOW, 100) == 10, "after a start"
    assert confirmations_at_once(store, bitrix, sender, NOW + 3600, 1000) == 45
    assert confirmations_at_once(store, bitrix, sender, NOW + 3610, 2000) == 19, "1.9 a second"


@pytest.mark.usefixtures("installed", "no_time_in_a_call")
def test_the_calls_of_a_check_count_two_and_one_a_line(
    store: Store, bitrix: Portal, checks: Checks, sender: Worker
) -> None:
    for line in range(20, 38):  # 19 with the first
        store.portal.connect_line(line, NOW)
    run(sender, NOW)
    while checks.count == 1:
        sender.step(NOW + 3700)

    left = confirmations_at_once(store, bitrix, sender, NOW + 3700, 100)

    assert left == 45 - (2 + 19)


@pytest.mark.usefixtures("installed", "no_time_in_a_call")
def test_an_overdue_check_goes_before_messages_and_in_turn_with_them(
    store: Store, bitrix: Portal, checks: Checks, sender: Worker
) -> None:
    run(sender, NOW)
    run(sender, NOW + 3600 - 1)
    for number in range(6):
        write(store, f"{number}")

    sender.step(NOW + 3600 + 9)
    assert (len(bitrix.sent), checks.count) == (1, 1), "it may wait for ten seconds"
    sender.step(NOW + 3600 + 11)
    sender.step(NOW + 3600 + 11)

    assert (len(bitrix.sent), checks.count) == (2, 2)


# -- looking for lost answers of operators


def looks(bitrix: FakeBitrix, sender: Worker, seconds: Iterable[int]) -> list[int]:
    """The seconds in which dialogs were read."""
    found = []
    for second in seconds:
        before = bitrix.asked.count("batch")
        run(sender, NOW + second)
        if bitrix.asked.count("batch") > before:
            found.append(second)
    return found


def talk(store: Store, bitrix: FakeBitrix, sender: Worker, days_ago: float) -> None:
    """A conversation in which nothing has happened since then."""
    store.portal.save(replace(PORTAL, installed_at=NOW - DAY))
    write(store, "hello")
    run(sender, NOW)
    with store.database.write() as db:
        db.execute("update chats set active_at = ?", (NOW - days_ago * DAY,))


def test_a_recent_conversation_is_read_every_three_minutes(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    talk(store, bitrix, sender, days_ago=0.5)

    seconds = looks(bitrix, sender, range(1, 1000))

    assert all(180 <= pause <= 182 for pause in pauses(seconds))


@pytest.mark.parametrize(("days", "read"), [(0.9, True), (1.1, False)])
def test_a_conversation_of_the_last_day_is_recent(
    store: Store, bitrix: Portal, sender: Worker, days: float, read: bool
) -> None:
    talk(store, bitrix, sender, days)
    looks(bitrix, sender, range(0, 1000, 20))
    bitrix.asked.clear()

    assert bool(looks(bitrix, sender, range(1000, 1400, 20))) is read


@pytest.mark.parametrize(("days", "read"), [(6.9, True), (7.1, False)])
def test_a_conversation_is_looked_after_for_a_week(
    store: Store, bitrix: Portal, sender: Worker, days: float, read: bool
) -> None:
    talk(store, bitrix, sender, days)
    later = looks(bitrix, sender, range(0, 8000, 20))

    assert bool(later) is read
    assert all(pause >= 3590 for pause in pauses(later)), "but for recent ones, once an hour"


def test_a_look_that_the_portal_did_not_answer_is_made_again_after_five_seconds(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    talk(store, bitrix, sender, days_ago=0.5)
    looks(bitrix, sender, range(1, 400))
    bitrix.broken["batch"] = TryLater("NOT_DONE", "batch")

    again = looks(bitrix, sender, range(400, 580))

    assert all(5 <= pause <= 6 for pause in pauses(again))
    assert len(again) >= 5


def test_a_look_that_the_portal_refuses_is_made_again_in_its_turn(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    talk(store, bitrix, sender, days_ago=0.5)
    looks(bitrix, sender, range(1, 400))
    bitrix.broken["batch"] = SetupFault("ACCESS_DENIED", "batch")

    again = looks(bitrix, sender, range(400, 800))

    assert 2 <= len(again) <= 3
    assert min(pauses(again)) >= 180


def test_a_dialog_that_stays_closed_is_not_read_for_ever(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    quiet_for_days(store, bitrix, sender)
    bitrix.broken_dialogs[5120] = Refused("ACCESS_ERROR", "im.dialog.messages.get")
    store.notes.events_lost_at.set(NOW + 700)

    seconds = looks(bitrix, sender, range(700, 3500, 5))

    assert len(seconds) == 6, "the look itself, and five more"
    assert all(pause >= 180 for pause in pauses(seconds))


def test_a_dialog_that_was_read_at_last_ends_the_repeats(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    quiet_for_days(store, bitrix, sender)
    closed = Refused("ACCESS_ERROR", "im.dialog.messages.get")
    for hour in (0, 1):
        begin = 700 + 1500 * hour
        bitrix.broken_dialogs[5120] = closed
        store.notes.events_lost_at.set(NOW + begin)
        assert len(looks(bitrix, sender, range(begin, begin + 700, 5))) == 4
        bitrix.broken_dialogs.clear()
        assert len(looks(bitrix, sender, range(begin + 700, begin + 1500, 5))) == 1


def test_events_lost_during_a_look_cause_another_after_half_a_minute(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    quiet_for_days(store, bitrix, sender)
    store.notes.events_lost_at.set(NOW + 700)
    assert looks(bitrix, sender, [700]) == [700]
    store.notes.events_lost_at.set(NOW + 702)

    seconds = looks(bitrix, sender, range(702, 1000))

    assert seconds == [730]


def test_a_standstill_of_half_a_minute_is_no_loss(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    quiet_for_days(store, bitrix, sender)

    assert looks(bitrix, sender, range(628, 1000, 28)) == []
    assert looks(bitrix, sender, [1050]) == [1050]


def test_an_outage_of_more_than_half_a_minute_may_have_lost_events_of_all(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    quiet_for_days(store, bitrix, sender)
    bitrix.broken["send"] = TryLater("NOT_CONNECTED", SEND)
    write(store, "hello", chat=2)
    for second in range(601, 700):
        run(sender, NOW + second)
    bitrix.broken.clear()

    assert len(looks(bitrix, sender, range(700, 800))) == 1


def test_a_short_failure_lets_recent_conversations_be_read_at_once(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    talk(store, bitrix, sender, days_ago=0.5)
    assert looks(bitrix, sender, range(1, 400, 3))[-1] < 370
    bitrix.errors = [TryLater("NOT_DONE", SEND)]
    write(store, "hello", chat=2)
    with store.database.write() as db:
        db.execute("update chats set active_at = ? where id = ?", (NOW, chat_id(2)))

    seconds = looks(bitrix, sender, range(400, 460))

    assert len(seconds) == 1
    assert seconds[0] <= 402


def test_a_small_step_of_the_clock_ends_no_pause(
    store: Store, bitrix: Portal, sender: Worker
) -> None:
    bitrix.errors = [TryLater("OPERATION_TIME_LIMIT", SEND, seconds=300)]
    write(store, "hello")
    run(sender, NOW)

    run(sender, NOW + 2)
    run(sender, NOW + 1.5)

    assert len(bitrix.sent) == 1


def test_a_clock_set_back_lets_everything_be_looked_after_anew(
    store: Store, bitrix: Portal, checks: Checks, sender: Worker
) -> None:
    talk(store, bitrix, sender, days_ago=0.5)
    for second in range(0, 60, 20):
        run(sender, NOW + second)
    before = checks.count
    store.portal.save(replace(PORTAL, installed_at=NOW - 10 * DAY))

    run(sender, NOW - DAY)

    assert checks.count == before + 1
    assert store.notes.up_at.get() == NOW - DAY


# -- the loop


class Rounds(threading.Event):
    """Stops a loop after a while, and counts how often it looked."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.looks = 0
        self._until = time.monotonic() + seconds

    def is_set(self) -> bool:
        self.looks += 1
        return time.monotonic() > self._until


def test_whoever_does_not_send_asks_for_the_lock_about_once_a_second(
    store: Store, sender: Worker, tmp_path: Path
) -> None:
    stop = Rounds(0.5)
    with (
        closing(Store("sqlite:///chats.db", tmp_path, 1)) as other,
        other.database.try_lock("sender") as held,
    ):
        assert held
        sender.run(stop)

    assert stop.looks <= 6


def test_an_idle_sender_looks_for_work_some_times_a_second(store: Store, sender: Worker) -> None:
    stop = Rounds(1.2)

    sender.run(stop)

    assert 4 <= stop.looks <= 12
