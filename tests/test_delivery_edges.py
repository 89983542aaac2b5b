"""The sender at its edges: what ends, what is released, how many, how often and how long.

As test_delivery.py, through what a portal is asked and the store keeps, and nothing of the inside.
"""

import gc
import itertools
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
    SEND,
    FakeBitrix,
    answer,
    chat_id,
    lose_the_answer,
    run,
    states,
    write,
)

from bitrix import BitrixError, ItemResult, OutcomeUnknown, Refused, TryLater
from delivery import Sender
from settings import Delivery as DeliverySettings
from settings import Settings
from storage import Store

CONNECTOR = "example_connector_1"
OTHER_LINE = 12
BURST = 45  # calls that may be made at once after a quiet minute


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
        store.connect_line(LINE, NOW)
        yield store


@pytest.fixture
def bitrix() -> Portal:
    return Portal()


@pytest.fixture
def checks() -> Checks:
    return Checks()


@pytest.fixture
def make(store: Store, bitrix: Portal, checks: Checks) -> Callable[..., Sender]:
    """Makes a sender, as another process would."""

    def make(**settings: Any) -> Sender:
        delivery = DeliverySettings(**{"retry_seconds": 1, **settings})
        return Sender(Settings(delivery=delivery), store, bitrix, checks)  # type: ignore[arg-type]

    return make


@pytest.fixture
def sender(make: Callable[..., Sender]) -> Sender:
    return make()


def seconds_of(
    calls: Sequence[object], sender: Sender, seconds: Iterable[int], steps: int = 20
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
    message = store.messages(chat_id(chat), None, 1)[-1]
    with store.write() as db:
        db.execute(
            "update messages set extra = json(?), text = ? where id = ?",
            (f'{{"files": [{{"name": "{FILE["name"]}", "link": "{FILE["link"]}"}}]}}', text,
             message.id),
        )  # fmt: skip


def wait_for_portal_to_calm(sender: Sender, bitrix: FakeBitrix) -> None:
    """Let the limit of calls, with which a sender begins, run empty."""
    run(sender, NOW - 60)
    bitrix.sent.clear()


# -- a line that is not active


def test_an_inactive_line_is_switched_on_and_not_off(
    store: Store, bitrix: Portal, sender: Sender
) -> None:
    bitrix.inactive = {LINE}
    write(store, "hello")

    run(sender, NOW)

    assert bitrix.switched == [(CONNECTOR, LINE, True)]
    assert states(store) == ["delivered"]


def test_a_line_that_stays_inactive_is_switched_on_again_after_growing_pauses(
    store: Store, bitrix: Portal, sender: Sender
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
    store: Store, bitrix: Portal, sender: Sender
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
    store: Store, bitrix: Portal, sender: Sender, monkeypatch: pytest.MonkeyPatch
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
    store: Store, bitrix: Portal, sender: Sender
) -> None:
    bitrix.broken_lines = {LINE: Refused("NOT_ACTIVE_LINE", SEND)}
    write(store, "hello")
    for second in range(60):
        run(sender, NOW + second)
    assert store.note("dead_lines") == {str(LINE): "NOT_ACTIVE_LINE"}
    bitrix.broken_lines.clear()

    for second in range(60, 130):
        run(sender, NOW + second)

    assert states(store) == ["delivered"]
    assert not store.note("dead_lines")


def test_a_line_that_works_leaves_others_named_as_dead(
    store: Store, bitrix: Portal, sender: Sender
) -> None:
    store.connect_line(OTHER_LINE, NOW - 60)
    refusal = Refused("NOT_ACTIVE_LINE", SEND)
    bitrix.broken_lines = {LINE: refusal, OTHER_LINE: refusal}
    for chat in range(3):
        write(store, "hello", chat)
    for second in range(200):
        run(sender, NOW + second)
    assert set(store.note("dead_lines")) == {str(LINE), str(OTHER_LINE)}

    del bitrix.broken_lines[LINE]
    for second in range(200, 400):
        run(sender, NOW + second)

    assert [states(store, chat) for chat in range(3)] == [["delivered"]] * 3
    assert set(store.note("dead_lines")) == {str(OTHER_LINE)}


def test_a_line_is_given_another_chance_once_an_administrator_connects_one(
    store: Store, bitrix: Portal, sender: Sender
) -> None:
    store.connect_line(OTHER_LINE, NOW - 60)
    bitrix.broken_lines = {LINE: Refused("NOT_ACTIVE_LINE", SEND)}
    write(store, "first")
    for second in range(60):
        run(sender, NOW + second)
    assert bitrix.lines[-1] == OTHER_LINE
    bitrix.broken_lines.clear()
    write(store, "second", chat=2)
    run(sender, NOW + 60)
    assert bitrix.lines[-1] == OTHER_LINE

    store.set_note("connected", NOW + 61)
    assert store.note("dead_lines")
    write(store, "third", chat=3)
    run(sender, NOW + 62)

    assert bitrix.lines[-1] == LINE
    assert not store.note("dead_lines")


def test_a_line_is_left_after_three_rounds_and_by_whoever_has_no_dialog_there(
    store: Store, bitrix: Portal, sender: Sender
) -> None:
    store.connect_line(OTHER_LINE, NOW - 60)
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
    store: Store, bitrix: Portal, sender: Sender
) -> None:
    store.connect_line(OTHER_LINE, NOW - 60)
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
    store: Store, bitrix: Portal, sender: Sender, error: BitrixError
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
    store: Store, bitrix: Portal, sender: Sender, error: BitrixError
) -> None:
    answer(store, 10)
    bitrix.broken["confirm"] = error
    assert max(pauses(seconds_of(bitrix.confirmed, sender, range(300)))) >= 40
    bitrix.broken.clear()
    seconds_of(bitrix.confirmed, sender, range(300, 400))
    assert store.waiting() == 0

    answer(store, 11)
    bitrix.broken["confirm"] = error
    again = seconds_of(bitrix.confirmed, sender, range(400, 420))

    assert pauses(again)[0] <= 2
    assert len(again) >= 3


def test_a_success_of_any_work_ends_the_pause_of_the_portal(
    store: Store, bitrix: Portal, sender: Sender
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
    store: Store, bitrix: Portal, make: Callable[..., Sender]
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
    store.note_dialog(chat_id(1), LINE, 5120, 2001, 3301, None)  # looked for at once
    again = seconds_of(bitrix.asked, sender, range(401, 430))

    assert pauses(again)[0] <= 3


def test_pauses_without_a_line_begin_anew_once_there_was_one(
    store: Store, bitrix: Portal, sender: Sender
) -> None:
    store.disconnect_line(LINE)
    write(store, "first")
    for second in range(300):
        run(sender, NOW + second)
    store.connect_line(LINE, NOW + 300)
    run(sender, NOW + 300)
    assert states(store) == ["delivered"]
    store.disconnect_line(LINE)

    write(store, "second")
    run(sender, NOW + 301)

    assert not store.due_messages(NOW + 301, 10)
    assert store.due_messages(NOW + 301 + 1.3, 10), "the first pause is short"


def test_a_line_that_an_administrator_took_away_is_asked_for_ever_more_rarely(
    store: Store, bitrix: Portal, sender: Sender
) -> None:
    store.disconnect_line(LINE)
    write(store, "hello")
    looks = []

    for second in range(600):
        if store.due_messages(NOW + second, 10):
            looks.append(second)
        run(sender, NOW + second)

    assert 8 <= len(looks) <= 20, "1, 2, 4 ... 60, 60 s"
    assert bitrix.sent == []


# -- what is against a delivery ends with it


def reachable(sender: Sender, *apart: object) -> int:
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
def no_growth(sender: Sender, *apart: object) -> Iterator[None]:
    """What is done with at least 40 deliveries leaves the sender as large as it was."""
    before = reachable(sender, *apart)
    yield
    assert reachable(sender, *apart) - before < 20


def test_what_spoiled_a_call_is_forgotten_once_it_is_delivered(
    store: Store, bitrix: Portal, checks: Checks, sender: Sender
) -> None:
    def spoil_a_call(minute: int) -> None:
        for chat in range(5):
            write(store, "hello", chat)
        bitrix.errors = [Refused("BAD", SEND)]
        for second in range(5):
            run(sender, NOW + 60 * minute + second)
        assert store.waiting() == 0

    spoil_a_call(0)
    with no_growth(sender, store, bitrix, checks):
        for minute in range(1, 11):
            spoil_a_call(minute)


def test_what_was_refused_alone_is_forgotten_once_it_is_given_up(
    store: Store, bitrix: Portal, checks: Checks, sender: Sender
) -> None:
    def give_some_up(hour: int) -> None:
        for number in range(4):
            answer(store, 1_000 * (hour + 1) + number)
        bitrix.bad_confirmations = {
            one.message.id for one in store.due_confirmations(NOW + 2 * DAY, 50)
        }
        for minute in range(60):
            answer(store, 1_000_000 + 1_000 * hour + minute)
            run(sender, NOW + 4800 * hour + 80 * minute)
        assert store.waiting() == 0

    give_some_up(0)
    with no_growth(sender, store, bitrix, checks):
        for hour in range(1, 7):
            give_some_up(hour)


def test_what_may_have_arrived_is_forgotten_once_it_is_given_up(
    store: Store, bitrix: Portal, checks: Checks, sender: Sender
) -> None:
    bitrix.poison = "poison"
    bitrix.poisoned = OutcomeUnknown("HTTP_502", SEND)

    def give_one_up(hour: int) -> None:
        write(store, "poison")
        for minute in range(8):
            write(store, f"{minute}", chat=2)
            run(sender, NOW + 3600 * hour + 60 * minute)
        assert store.waiting() == 0
        assert states(store)[-1] == "refused"

    give_one_up(0)
    with no_growth(sender, store, bitrix, checks):
        for hour in range(1, 41):
            give_one_up(hour)
