"""Messages in doubt: looked for before any is sent again, and when they are settled."""

import pytest
from fake_portal import (
    CLOSED,
    DAY,
    DIALOG,
    LINE,
    NO_REPLY,
    NO_RIGHTS,
    NO_SESSION,
    NOW,
    SEND,
    FakePortal,
    know_dialog,
    lose_the_answer,
    make_worker,
    pauses,
    run,
    run_each,
    said,
    seconds_of,
    states,
    states_of,
    write,
    write_to_all,
)

from delivery.worker import Worker
from rest.errors import DIED, OutcomeUnknown
from rest.replies import ItemResult
from storage import Store

# -- what is found


def test_a_message_that_is_found_is_not_sent_again(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    lose_the_answer(store, bitrix, worker)
    bitrix.histories[DIALOG] = [said(10, "1"), said(11, "2", from_connector=True)]

    run(worker, NOW + 3)

    assert bitrix.sent == [["third"]]
    assert states(store) == ["delivered"] * 3


@pytest.mark.parametrize(("second", "sent"), [(9, []), (11, [["second"], ["third"]])])
def test_a_message_that_is_not_found_is_sent_again_before_its_followers_after_the_settle_time(
    store: Store, bitrix: FakePortal, worker: Worker, second: int, sent: list[list[str]]
) -> None:
    """Until then the portal may still be storing it."""
    lose_the_answer(store, bitrix, worker)

    run_each(worker, [half / 2 for half in range(2, 2 * second + 1)])

    assert bitrix.sent == sent


@pytest.mark.parametrize(("second", "calls"), [(28, 1), (32, 2)])
def test_a_first_message_is_settled_after_three_settle_times(
    store: Store, bitrix: FakePortal, worker: Worker, second: int, calls: int
) -> None:
    """Until then the event that names its dialog may still be on its way."""
    bitrix.says["send"] = [NO_REPLY]
    write(store, "hello")

    run_each(worker, [half / 2 for half in range(2 * second + 1)])

    assert bitrix.sent == [["hello"]] * calls


@pytest.mark.parametrize(
    ("settle_seconds", "waited"), [(10_000, range(0, 300, 10)), (10, (0, 12, 25))]
)
def test_an_event_that_names_the_dialog_settles_a_first_message_at_once(
    store: Store, bitrix: FakePortal, settle_seconds: int, waited: range | tuple[int, ...]
) -> None:
    worker = make_worker(store, bitrix, settle_seconds=settle_seconds)
    bitrix.says["send"] = [NO_REPLY]
    write(store, "hello")
    run_each(worker, waited)
    bitrix.histories[DIALOG] = [said(11, "1")]

    know_dialog(store, 1)
    run(worker, NOW + waited[-1] + 4)

    assert states(store) == ["delivered"]
    assert bitrix.sent == [["hello"]]


@pytest.mark.parametrize(
    ("unconfirmed", "sent", "state"),
    [("repeat", [["second"], ["third"]], "delivered"), ("keep", [["third"]], "refused")],
)
def test_where_nobody_lets_us_look_the_setting_decides(
    store: Store, bitrix: FakePortal, unconfirmed: str, sent: list[list[str]], state: str
) -> None:
    worker = make_worker(store, bitrix, unconfirmed=unconfirmed)
    lose_the_answer(store, bitrix, worker)
    bitrix.says |= {"dialog": CLOSED, "session": NO_RIGHTS}

    run(worker, NOW + 30)

    assert bitrix.sent == sent
    assert states(store) == ["delivered", state, "delivered"]


# -- how often is looked


def test_a_message_in_doubt_is_looked_for_ever_more_rarely_until_it_is_settled(
    store: Store, bitrix: FakePortal
) -> None:
    worker = make_worker(store, bitrix, settle_seconds=400)
    lose_the_answer(store, bitrix, worker)

    seconds = seconds_of("batch", bitrix, worker, range(1, 450))

    assert seconds[0] <= 2
    assert all(
        pause <= 2 + second / 4 * 1.2 + 1
        for second, pause in zip(seconds, pauses(seconds), strict=False)
    ), "a quarter of the time that has passed"
    assert len(seconds) <= 25
    assert bitrix.sent == [["second"], ["third"]]


def test_messages_in_doubt_of_many_chats_are_looked_for_in_one_call(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    chats = range(20)
    for chat in chats:
        write(store, "first", chat)
        run(worker, NOW + chat)
        know_dialog(store, chat, 6000 + chat)
    write_to_all(store, "second", chats)
    bitrix.says["send"] = [NO_REPLY] * 10
    run_each(worker, (20, 21))
    in_doubt = store.queue.messages_in_doubt(NOW + DAY, 50)
    assert len(in_doubt) >= 10
    bitrix.says.clear()
    bitrix.calls.clear()
    found = said(11, *(str(delivery.message.id) for delivery in in_doubt))
    bitrix.histories = {6000 + chat: [found] for chat in chats}

    run_each(worker, range(22, 30))

    assert states_of(store, chats) == [["delivered"] * 2] * 20
    assert len(bitrix.made("batch")) <= 3


def test_looks_and_messages_of_other_chats_take_turns(store: Store, bitrix: FakePortal) -> None:
    worker = make_worker(store, bitrix, settle_seconds=10_000)
    for chat in range(3):
        write(store, "first", chat)
        run(worker, NOW)
    bitrix.says["send"] = [NO_REPLY] * 3
    write_to_all(store, "second", range(3))
    run(worker, NOW)
    write_to_all(store, "hello", range(10, 13))
    bitrix.calls.clear()

    worker.step(NOW + 5)
    worker.step(NOW + 5)

    assert sorted(call.method for call in bitrix.calls if call.method != "dialog") == [
        "batch",
        "send",
    ]


def test_a_message_in_doubt_holds_up_no_other_chat(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    lose_the_answer(store, bitrix, worker)
    write(store, "of another visitor", chat=2)

    run(worker, NOW + 3)

    assert states(store, 2) == ["delivered"]
    assert states(store, 1) == ["delivered", "stored", "stored"]


# -- a call that may go on


def test_another_worker_settles_what_was_in_doubt(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    lose_the_answer(store, bitrix, worker)
    bitrix.histories[DIALOG] = [said(11, "2")]

    run(make_worker(store, bitrix), NOW + 3)

    assert bitrix.sent == [["third"]]


def test_a_call_in_which_we_died_gets_as_long_as_a_call_may_take(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "first")
    run(worker, NOW)
    write(store, "second")
    store.queue.claim(store.queue.due_messages(NOW, 1), LINE, NOW)  # and the process ends

    next_one = make_worker(store, bitrix)
    next_one.begin(NOW + 1)
    (delivery,) = store.queue.messages_in_doubt(NOW + 1, 10)
    assert delivery.error == DIED
    run(next_one, NOW + 60)
    assert bitrix.sent == [["first"]]
    run(next_one, NOW + 75)

    assert bitrix.sent == [["first"], ["second"]]


def test_a_call_whose_connection_broke_gets_as_long_as_a_call_may_take(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "first")
    run(worker, NOW)
    write(store, "second")
    bitrix.says["send"] = [OutcomeUnknown("CONNECTION_LOST", SEND)]
    run(worker, NOW)

    run_each(worker, range(61))
    assert bitrix.sent == [["first"], ["second"]]
    assert len(bitrix.made("batch")) < 25, "it is looked for less and less often"
    run(worker, NOW + 75)

    assert bitrix.sent == [["first"], ["second"], ["second"]]


# -- accepted, and no session named


def test_a_build_that_names_no_session_is_believed_after_a_while(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send"] = ItemResult(True)
    write(store, "hello")

    run(worker, NOW)
    assert states(store) == ["stored"]
    run(worker, NOW + 31)

    assert bitrix.sent == [["hello"]]
    assert states(store) == ["delivered"]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(("unconfirmed", "sent"), [("repeat", 3), ("keep", 1)])
def test_a_portal_that_named_a_session_once_is_not_believed_without_one(
    store: Store, bitrix: FakePortal, unconfirmed: str, sent: int, restarted: bool
) -> None:
    worker = make_worker(store, bitrix, unconfirmed=unconfirmed)
    write(store, "first")
    run(worker, NOW)
    bitrix.says |= {"send": ItemResult(True), "dialog": CLOSED, "session": NO_RIGHTS}
    bitrix.calls.clear()
    write(store, "second")
    if restarted:
        worker = make_worker(store, bitrix, unconfirmed=unconfirmed)
        worker.begin(NOW + 1)

    run_each(worker, range(1, 362, 60))

    assert bitrix.sent == [["second"]] * sent
    assert states(store) == ["delivered", "refused"]


def test_a_message_without_a_session_is_looked_for_after_the_first_pause(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "first")
    run(worker, NOW)
    bitrix.says["send"] = NO_SESSION
    write(store, "second")

    assert seconds_of("batch", bitrix, worker, range(5))[0] <= 2
