"""When operators' lost answers are looked for, in which conversations, and how often."""

from collections.abc import Iterable

import pytest
from fake_portal import (
    CLOSED,
    DAY,
    DIALOG,
    NOW,
    SEND,
    FakePortal,
    chat_id,
    install,
    know_dialog,
    make_worker,
    pauses,
    run,
    run_each,
    said,
    seconds_of,
    write,
)

from bitrix import PAGE
from delivery.upkeep import FULL_PAUSE_SECONDS
from delivery.worker import Worker
from rest.errors import SetupFault, TryLater
from storage import Store


def looks(bitrix: FakePortal, worker: Worker, seconds: Iterable[float]) -> list[float]:
    return seconds_of("batch", bitrix, worker, seconds)


def be_active(store: Store, days_ago: float, chat: int = 1) -> None:
    """Let that be the time since which nothing has happened in the chat."""
    with store.database.write() as db:
        active_at = NOW - days_ago * DAY
        db.execute("update chats set active_at = ? where id = ?", (active_at, chat_id(chat)))


def talk(store: Store, worker: Worker, days_ago: float) -> None:
    """A conversation in which nothing has happened since then."""
    install(store)
    write(store, "hello")
    run(worker, NOW)
    be_active(store, days_ago)


def talk_of_days_ago(store: Store, bitrix: FakePortal, worker: Worker) -> None:
    """A conversation that only looks into all dialogs read, after the first of these looks."""
    talk(store, worker, days_ago=3)
    worker.begin(NOW)
    run_each(worker, range(0, 601, 5))
    assert bitrix.made("batch")
    bitrix.calls.clear()


def lose_an_answer(bitrix: FakePortal) -> None:
    bitrix.histories[DIALOG] = [said(10, "1", from_connector=True), said(11, text="lost")]


def is_recovered(store: Store, chat: int = 1) -> bool:
    return "lost" in [
        message.text for message in store.conversations.latest(chat_id(chat), None, 9)
    ]


# -- which conversations are read, and how often


def test_a_recent_conversation_is_read_every_three_minutes(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    talk(store, worker, days_ago=0.5)

    seconds = looks(bitrix, worker, range(1, 1000))

    assert all(180 <= pause <= 182 for pause in pauses(seconds))


@pytest.mark.parametrize(("days", "read"), [(0.9, True), (1.1, False)])
def test_a_conversation_of_the_last_day_is_recent(
    store: Store, bitrix: FakePortal, worker: Worker, days: float, read: bool
) -> None:
    talk(store, worker, days)
    run_each(worker, range(0, 1000, 20))

    assert bool(looks(bitrix, worker, range(1000, 1400, 20))) is read


@pytest.mark.parametrize(("days", "read"), [(6.9, True), (7.1, False)])
def test_a_conversation_is_looked_after_for_a_week(
    store: Store, bitrix: FakePortal, worker: Worker, days: float, read: bool
) -> None:
    talk(store, worker, days)

    seconds = looks(bitrix, worker, range(0, 8000, 20))

    assert bool(seconds) is read
    assert all(pause >= 3590 for pause in pauses(seconds)), "but for recent ones, once an hour"


def test_who_takes_over_reads_all_dialogs_anew_and_not_on_where_they_were(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """Meanwhile another process was at work, and events may have been lost in any dialog."""
    talk(store, worker, days_ago=3)
    bitrix.histories[DIALOG] = [said(10 + number) for number in range(3 * PAGE)]
    worker.begin(NOW + 60)
    run(worker, NOW + 60, steps=1)
    assert bitrix.calls[-1].method == "batch"

    worker.begin(NOW + 61)
    run(worker, NOW + 61, steps=1)
    assert bitrix.calls[-1].method == "batch"

    run(worker, NOW + 61, steps=1)
    assert bitrix.calls[-1].method == "dialog", "the next older page"


def test_an_event_that_nobody_noticed_to_be_lost_is_found_within_the_hour(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    talk_of_days_ago(store, bitrix, worker)
    lose_an_answer(bitrix)

    run_each(worker, range(620, 4400, 20))

    assert is_recovered(store)


def test_after_a_restart_we_look_back_from_when_we_were_last_up(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    talk(store, worker, days_ago=3)
    assert store.notes.up_at.get() == NOW
    lose_an_answer(bitrix)
    later = make_worker(store, bitrix)
    later.begin(NOW + 14 * DAY)

    run(later, NOW + 14 * DAY)

    assert is_recovered(store)


def test_events_that_were_noted_as_lost_are_looked_for_in_all_conversations(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    talk_of_days_ago(store, bitrix, worker)
    lose_an_answer(bitrix)
    run_each(worker, range(620, 1200, 20))
    assert not is_recovered(store), "only recent conversations are looked after all the time"

    store.notes.events_lost_at.set(NOW + 1201)
    run(worker, NOW + 1202)

    assert is_recovered(store)


@pytest.mark.parametrize("days", [10, -10])
def test_when_events_were_lost_is_believed_but_for_the_future(
    store: Store, bitrix: FakePortal, worker: Worker, days: int
) -> None:
    """A conversation that was alive when they were lost is read, if no clock was wrong."""
    install(store)
    run(worker, NOW)
    write(store, "hello")
    know_dialog(store, 1)
    run(worker, NOW)
    be_active(store, days_ago=max(days, 4))
    lose_an_answer(bitrix)

    store.notes.events_lost_at.set(NOW - days * DAY)
    run_each(worker, range(31, 61, 5))

    assert is_recovered(store)


def test_events_that_were_lost_before_we_were_last_up_are_not_heard_of_anew(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """They are older than a week before that: only whoever heard of them looked so far back."""
    talk(store, worker, days_ago=80)
    lose_an_answer(bitrix)
    store.notes.events_lost_at.set(NOW - 79 * DAY)
    store.notes.up_at.set(NOW - 10)
    later = make_worker(store, bitrix)
    later.begin(NOW)

    run_each(later, range(100))

    assert not is_recovered(store)


@pytest.mark.parametrize(("seconds", "read"), [(28, False), (38, True)])
def test_after_a_standstill_of_more_than_half_a_minute_all_conversations_are_read(
    store: Store, bitrix: FakePortal, worker: Worker, seconds: int, read: bool
) -> None:
    talk_of_days_ago(store, bitrix, worker)
    assert looks(bitrix, worker, range(628, 1000, 28)) == []

    assert bool(looks(bitrix, worker, [992 + seconds])) is read


def test_an_outage_of_more_than_half_a_minute_may_have_lost_events_of_all_conversations(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    talk_of_days_ago(store, bitrix, worker)
    bitrix.says["send"] = TryLater("NOT_CONNECTED", SEND)
    write(store, "hello", chat=2)
    run_each(worker, range(601, 700))
    bitrix.says.clear()

    assert len(looks(bitrix, worker, range(700, 800))) == 1


def test_a_short_failure_lets_recent_conversations_be_read_at_once(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    talk(store, worker, days_ago=0.5)
    assert looks(bitrix, worker, range(1, 400, 3))[-1] < 370
    bitrix.says["send"] = [TryLater("NOT_DONE", SEND)]
    write(store, "hello", chat=2)
    be_active(store, 0, chat=2)

    seconds = looks(bitrix, worker, range(400, 460))

    assert len(seconds) == 1
    assert seconds[0] <= 402


# -- how soon after another


def test_events_lost_after_a_look_cause_another_half_a_minute_after_it(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    talk_of_days_ago(store, bitrix, worker)
    store.notes.events_lost_at.set(NOW + 700)
    assert looks(bitrix, worker, [700]) == [700]
    store.notes.events_lost_at.set(NOW + 702)

    assert looks(bitrix, worker, range(702, 1000)) == [730]


def test_events_lost_while_a_look_is_under_way_cause_another_after_half_a_minute(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    install(store)
    for chat in range(60):
        write(store, "hello", chat)
        know_dialog(store, chat, 6000 + chat)
    with store.database.write() as db:
        db.execute("delete from deliveries")
    worker.step(NOW)
    assert len(bitrix.made("batch")) == 1
    store.notes.events_lost_at.set(NOW + 1)

    seconds = looks(bitrix, worker, range(1, 100))

    assert seconds == [1, 31], "the rest of the look, and one that is whole again"


def test_a_flood_of_lost_events_is_no_flood_of_looks(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    talk(store, worker, days_ago=0)
    worker.begin(NOW)

    for second in range(300):
        store.notes.events_lost_at.set(NOW + second)
        run(worker, NOW + second)

    least = 300 / FULL_PAUSE_SECONDS / 2
    assert least <= len(bitrix.made("batch")) <= 300 / FULL_PAUSE_SECONDS + 2


# -- looks that fail


def test_a_look_waits_as_long_as_the_portal_says(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    talk_of_days_ago(store, bitrix, worker)
    bitrix.says["batch"] = TryLater("OPERATION_TIME_LIMIT", "batch", seconds=60)

    assert looks(bitrix, worker, range(640, 702)) == [640, 700]


def test_a_look_that_the_portal_did_not_answer_is_made_again_after_five_seconds(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    talk(store, worker, days_ago=0.5)
    run_each(worker, range(1, 400))
    bitrix.says["batch"] = TryLater("NOT_DONE", "batch")

    again = looks(bitrix, worker, range(400, 580))

    assert all(5 <= pause <= 6 for pause in pauses(again))
    assert len(again) >= 5


def test_a_look_that_the_portal_refuses_is_made_again_in_its_turn(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    talk(store, worker, days_ago=0.5)
    run_each(worker, range(1, 400))
    bitrix.says["batch"] = SetupFault("ACCESS_DENIED", "batch")

    again = looks(bitrix, worker, range(400, 800))

    assert 2 <= len(again) <= 3
    assert min(pauses(again)) >= 180


def test_a_dialog_that_stays_closed_is_not_read_for_ever(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    talk_of_days_ago(store, bitrix, worker)
    bitrix.says[f"dialog {DIALOG}"] = CLOSED
    store.notes.events_lost_at.set(NOW + 700)

    seconds = looks(bitrix, worker, range(700, 3500, 5))

    assert len(seconds) == 6, "the look itself, and five more"
    assert all(pause >= 180 for pause in pauses(seconds))


def test_a_dialog_that_was_closed_is_read_once_it_is_open(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    talk(store, worker, days_ago=3)
    lose_an_answer(bitrix)
    bitrix.says[f"dialog {DIALOG}"] = CLOSED
    worker.begin(NOW)
    run(worker, NOW)
    bitrix.says.clear()

    run_each(worker, range(20, 240, 20))

    assert is_recovered(store)


def test_a_closed_dialog_that_was_read_at_last_is_not_read_again(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    talk_of_days_ago(store, bitrix, worker)
    for begin in (700, 2200):
        bitrix.says[f"dialog {DIALOG}"] = CLOSED
        store.notes.events_lost_at.set(NOW + begin)
        assert len(looks(bitrix, worker, range(begin, begin + 700, 5))) == 4
        bitrix.says.clear()
        assert len(looks(bitrix, worker, range(begin + 700, begin + 1500, 5))) == 1
