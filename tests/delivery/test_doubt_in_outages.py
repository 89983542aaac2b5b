"""Looks for messages in doubt that fail: nothing is sent twice, nobody else waits."""

import pytest
from fake_portal import (
    CLOSED,
    DAY,
    DIALOG,
    NO_REPLY,
    NO_RIGHTS,
    NOW,
    READ,
    FakePortal,
    chat_id,
    know_dialog,
    lose_the_answer,
    make_worker,
    put_in_doubt,
    run,
    run_each,
    said,
    states,
    write,
    write_to_all,
)

from delivery.worker import Worker
from rest.errors import BitrixError, OutcomeUnknown, Refused, SetupFault, TryLater
from storage import Store
from store.records import ReportedFault

STRANGERS_PAGE = Refused("HTTP_403", READ)


@pytest.mark.parametrize("broken", [("send", "app.info", "batch"), ("send",)])
def test_no_outage_ends_a_first_message_however_long_it_lasts(
    store: Store, bitrix: FakePortal, worker: Worker, broken: tuple[str, ...]
) -> None:
    """Nothing is known by which to look for it, and each call may have stored it."""
    for method in broken:
        bitrix.says[method] = OutcomeUnknown("HTTP_502", method)
    write(store, "hello")

    run_each(worker, range(0, 3600, 60))
    assert states(store) == ["stored"]
    if "app.info" in broken:
        assert len(bitrix.sent) == 1, "while nothing is answered at all, nothing may be doubled"
    bitrix.says.clear()
    run_each(worker, range(3600, 3840, 60))

    assert states(store) == ["delivered"]


@pytest.mark.parametrize(
    "error",
    [
        OutcomeUnknown("HTTP_502", "app.info"),
        TryLater("NOT_CONNECTED", "app.info"),
        SetupFault("PORTAL_DELETED", "app.info"),
    ],
    ids=repr,
)
def test_an_outage_is_not_made_worse_by_first_messages_in_doubt(
    store: Store, bitrix: FakePortal, worker: Worker, error: BitrixError
) -> None:
    write_to_all(store, "hello", range(30))
    put_in_doubt(store)
    bitrix.says["app.info"] = error

    run_each(worker, range(31, 331))

    assert 2 <= len(bitrix.made("app.info")) <= 20
    assert bool(store.notes.fault.get()) is isinstance(error, SetupFault)


def test_while_the_portal_is_asked_in_vain_nothing_is_sent_twice_and_others_wait_no_longer(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """Nothing is known of one message's dialog, and `app.info` alone fails."""
    bitrix.says["app.info"] = OutcomeUnknown("NO_REPLY", "app.info")
    bitrix.says["send"] = [NO_REPLY]
    write(store, "hello")

    run_each(worker, range(200))
    write(store, "of another", chat=2)
    run(worker, NOW + 200)
    assert bitrix.sent == [["hello"], ["of another"]]
    bitrix.says.clear()
    run_each(worker, range(201, 300))

    assert bitrix.sent == [["hello"], ["of another"], ["hello"]]


def test_looks_that_are_not_done_hold_up_no_message_and_are_no_attempts_of_it(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    lose_the_answer(store, bitrix, worker)
    bitrix.says["batch"] = TryLater("NOT_DONE", "batch")
    run_each(worker, range(1, 60))
    assert bitrix.sent == [], "nothing is repeated before we could look"
    (in_doubt,) = store.queue.messages_in_doubt(NOW + DAY, 10)
    assert in_doubt.attempts == 1

    write(store, "of another", chat=2)
    run(worker, NOW + 60)
    assert states(store, 2) == ["delivered"]
    bitrix.says.clear()
    run_each(worker, range(60, 130))

    assert bitrix.sent == [["of another"], ["second"], ["third"]]


@pytest.mark.parametrize(
    ("error", "together", "seconds", "looks"),
    [
        (OutcomeUnknown("HTTP_502", READ), True, 5, 4),
        (STRANGERS_PAGE, True, 5, 4),
        (OutcomeUnknown("HTTP_502", READ), False, 60, 9),
    ],
)
def test_a_dialog_that_cannot_be_read_holds_up_no_other(
    store: Store,
    bitrix: FakePortal,
    worker: Worker,
    error: BitrixError,
    together: bool,
    seconds: int,
    looks: int,
) -> None:
    """Also where dialogs cannot be read together, and the broken one would come first."""
    for chat in (1, 2):
        write(store, "first", chat)
        run(worker, NOW)
        know_dialog(store, chat, 6000 + chat)
    write_to_all(store, "second", (1, 2))
    put_in_doubt(store)
    bitrix.says["dialog 6001"] = error
    if not together:
        bitrix.says["batch"] = OutcomeUnknown("HTTP_502", "batch")
    second = store.conversations.latest(chat_id(2), None, 1)[0]
    bitrix.histories[6002] = [said(11, str(second.id))]
    bitrix.calls.clear()
    write(store, "third", chat=2)

    run_each(worker, range(1, seconds + 1))

    assert states(store, 1) == ["delivered", "stored"]
    assert states(store, 2) == ["delivered"] * 3
    asked = [call.target for call in bitrix.made("dialog")]
    assert asked.count(6001) <= looks, "after longer pauses each time"


@pytest.mark.parametrize("batch", [True, False])
def test_a_portal_that_has_answered_a_look_is_not_asked_whether_it_answers_at_all(
    store: Store, bitrix: FakePortal, worker: Worker, batch: bool
) -> None:
    """Though it told nothing: a message of which nobody can tell is sent again."""
    lose_the_answer(store, bitrix, worker)
    bitrix.says |= {"dialog": CLOSED, "session": NO_RIGHTS}
    if not batch:
        bitrix.says["batch"] = OutcomeUnknown("HTTP_502", "batch")

    run(worker, NOW + 30)

    assert bitrix.sent == [["second"], ["third"]]
    assert bitrix.made("app.info") == []


@pytest.mark.parametrize("strangers", [("batch",), ("dialog",), ("batch", "dialog")])
def test_a_strangers_page_at_a_dialog_tells_nothing_of_messages_and_the_admin_is_told(
    store: Store, bitrix: FakePortal, strangers: tuple[str, ...]
) -> None:
    """A proxy's page is not the portal's word that nobody lets us look."""
    worker = make_worker(store, bitrix, unconfirmed="keep")
    lose_the_answer(store, bitrix, worker)
    for method in strangers:
        bitrix.says[method] = Refused("HTTP_403", READ if method == "dialog" else method)
    bitrix.histories[DIALOG] = [said(10, "1"), said(11, "2")]

    run_each(worker, range(1, 200))
    write(store, "of another", chat=2)
    run(worker, NOW + 200)

    assert states(store, 2) == ["delivered"], "it holds up no other chat"
    if "dialog" in strangers:
        assert states(store) == ["delivered", "stored", "stored"]
        assert store.notes.fault.get() == ReportedFault(READ, "HTTP_403")
        assert bitrix.sent == [["of another"]]
        bitrix.says.clear()
        run_each(worker, range(201, 300))
    assert states(store) == ["delivered"] * 3
    assert store.notes.fault.get() is None, "the dialog can be read again"
    assert ["second"] not in bitrix.sent


def test_a_strangers_page_is_no_fault_any_more_once_no_message_is_in_doubt(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    lose_the_answer(store, bitrix, worker)
    bitrix.says[f"dialog {DIALOG}"] = STRANGERS_PAGE
    run(worker, NOW + 5)
    assert store.notes.fault.get() == ReportedFault(READ, "HTTP_403")

    store.chats.delete(chat_id(1), NOW + 6)
    run(worker, NOW + 30)

    assert store.notes.fault.get() is None
