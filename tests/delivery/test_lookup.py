"""Where a message in doubt is looked for: the dialog and how far back, the session, whose it is."""

from typing import Any

import pytest
from fake_portal import (
    CLOSED,
    CONNECTOR,
    DAY,
    DIALOG,
    LINE,
    NO_REPLY,
    NO_RIGHTS,
    NOW,
    OTHER_LINE,
    SESSION,
    USER,
    FakePortal,
    attach_file,
    chat_id,
    know_dialog,
    lose_the_answer,
    make_worker,
    put_in_doubt,
    run,
    run_each,
    said,
    states,
    states_of,
    write,
)

from bitrix import PAGE
from delivery.lookup import Lookup
from delivery.worker import Worker
from rest.errors import OutcomeUnknown, Refused
from rest.replies import HistoryMessage
from storage import Store
from store.records import PortalDialog

NO_DIALOG = Refused("DIALOG_NOT_FOUND", "imopenlines.dialog.get")


def lose_answers(store: Store, chats: int) -> None:
    """Each chat has a known dialog, and one message in doubt."""
    for chat in range(chats):
        write(store, f"{chat}", chat)
        know_dialog(store, chat, 6000 + chat)
    put_in_doubt(store)


def test_the_dialogs_of_fifty_chats_are_looked_into_together(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    lose_answers(store, 60)
    bitrix.histories = {6000 + chat: [said(100 + chat, f"{chat + 1}")] for chat in range(60)}

    run(worker, NOW)

    assert [len(call.items) for call in bitrix.made("batch")] == [50, 10]
    assert states_of(store, range(60)) == [["delivered"]] * 60
    assert bitrix.sent == []


def test_where_dialogs_cannot_be_read_together_they_are_read_one_by_one(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    lose_the_answer(store, bitrix, worker)
    bitrix.says["batch"] = OutcomeUnknown("HTTP_502", "batch")
    bitrix.histories[DIALOG] = [said(11, "2")]

    run(worker, NOW + 3)

    assert bitrix.sent == [["third"]]


def test_where_the_dialog_is_closed_to_us_the_session_is_read(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    lose_the_answer(store, bitrix, worker)
    bitrix.says["dialog"] = CLOSED
    bitrix.histories[SESSION] = [said(11, "2")]

    run(worker, NOW + 3)

    assert [call.target for call in bitrix.made("session")] == [SESSION]
    assert bitrix.sent == [["third"]]


# -- how far back


@pytest.mark.parametrize(
    ("oldest", "further"), [(("1",), False), ((), True), (("3",), True), (("1-link",), True)]
)
def test_a_dialog_is_read_no_further_back_than_to_an_earlier_message_of_ours(
    store: Store, bitrix: FakePortal, worker: Worker, oldest: tuple[str, ...], further: bool
) -> None:
    lose_the_answer(store, bitrix, worker)
    news = [said(1000 + number) for number in range(1, PAGE)]
    bitrix.histories[DIALOG] = [said(1000, *oldest), *news]

    run_each(worker, range(1, 20))

    assert bitrix.sent == [["second"], ["third"]]
    assert bitrix.made("batch")
    assert bool(bitrix.made("dialog")) is further


@pytest.mark.parametrize(("age", "pages"), [(3599, 2), (3601, 0)])
def test_a_dialog_is_read_no_further_back_than_the_message_may_be_old(
    store: Store, bitrix: FakePortal, worker: Worker, age: int, pages: int
) -> None:
    """The portal's clock and ours differ by an hour at most."""
    lose_answers(store, 1)
    bitrix.histories[6000] = [
        said(number, sent_at=NOW - (2 * DAY if number <= 50 else age)) for number in range(1, 101)
    ]

    run(worker, NOW + 11)

    assert [call.target for call in bitrix.made("dialog")] == [6000] * pages
    assert bitrix.sent == [["0"]]


@pytest.mark.parametrize(("pages", "state"), [(19, "delivered"), (22, "refused")])
def test_a_message_is_looked_for_in_twenty_pages_and_further_back_it_is_not_known_to_be_absent(
    store: Store, bitrix: FakePortal, pages: int, state: str
) -> None:
    worker = make_worker(store, bitrix, unconfirmed="keep")
    lose_answers(store, 1)
    bitrix.says["session"] = NO_RIGHTS
    bitrix.histories[6000] = [said(1, "1"), *(said(n) for n in range(2, pages * 50 + 1))]

    run_each(worker, range(11, 60))

    assert bitrix.sent == []
    assert states(store, 0) == [state]


# -- whose dialog


def test_a_message_is_looked_for_in_the_dialog_of_the_line_it_was_sent_to(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "first")
    run(worker, NOW)
    store.portal.disconnect_line(LINE)
    store.portal.connect_line(OTHER_LINE, NOW)
    bitrix.says |= {"send": [NO_REPLY], "find": NO_DIALOG}
    write(store, "second")
    run(worker, NOW + 1)
    bitrix.calls.clear()

    run(worker, NOW + 5)

    assert (bitrix.calls[0].method, bitrix.calls[0].target) == (
        "find",
        f"{CONNECTOR}|{OTHER_LINE}|{chat_id(1)}|{USER}",
    )
    assert bitrix.made("dialog") == bitrix.made("batch") == []


def test_a_dialog_that_is_found_by_the_visitors_portal_user_is_read(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "hello")
    put_in_doubt(store, dialog=PortalDialog(portal_user_id=USER))
    bitrix.histories[DIALOG] = [said(10, "1")]

    run(worker, NOW + 1)

    assert [call.target for call in bitrix.made("find")] == [
        f"{CONNECTOR}|{LINE}|{chat_id(1)}|{USER}"
    ]
    assert states(store) == ["delivered"]


@pytest.mark.parametrize(
    ("code", "state"), [("DIALOG_NOT_FOUND", "delivered"), ("ACCESS_DENIED", "refused")]
)
def test_a_dialog_that_does_not_exist_holds_no_message_and_one_that_is_not_told_may(
    store: Store, bitrix: FakePortal, code: str, state: str
) -> None:
    worker = make_worker(store, bitrix, unconfirmed="keep")
    write(store, "hello")
    put_in_doubt(store, dialog=PortalDialog(portal_user_id=USER))
    bitrix.says["find"] = Refused(code, "imopenlines.dialog.get")

    run(worker, NOW + 11)

    assert bitrix.sent == ([["hello"]] if state == "delivered" else [])
    assert states(store) == [state]


@pytest.mark.parametrize(
    ("known", "calls"),
    [
        (PortalDialog(portal_user_id=USER), ["find"]),
        (PortalDialog(DIALOG, None, SESSION), ["dialog", "session"]),
    ],
)
def test_every_call_of_a_search_is_counted(
    store: Store, bitrix: FakePortal, known: PortalDialog, calls: list[str]
) -> None:
    counted: list[int] = []
    lookup = Lookup(bitrix, CONNECTOR, lambda: counted.append(1))  # type: ignore[arg-type]
    bitrix.says |= {"find": NO_DIALOG, "dialog": CLOSED}
    write(store, "hello")
    put_in_doubt(store, dialog=known)
    run = store.queue.messages_in_doubt(NOW, 1)

    assert lookup.search(run, run) == {run[0].id: "absent"}
    assert [call.method for call in bitrix.calls] == calls
    assert len(counted) == len(calls)


# -- messages that an operator deleted, which have lost our id


def deleted(im_message_id: int, **other: Any) -> HistoryMessage:
    return said(im_message_id, from_connector=True, deleted=True, **other)


def visitors(im_message_id: int, mid: str) -> HistoryMessage:
    return said(im_message_id, mid, from_connector=True)


@pytest.mark.parametrize(
    ("history", "arrived"),
    [
        ([visitors(10, "1"), deleted(11)], True),
        ([deleted(10), deleted(11)], True),
        ([deleted(10)], False),  # that one is the first message
        ([visitors(10, "1"), said(11, deleted=True)], False),  # an operator's own
        ([deleted(9), visitors(10, "1")], False),
        ([visitors(10, "1"), deleted(11, sent_at=NOW - 61)], False),  # older than our message
        ([visitors(10, "1"), visitors(11, "3"), deleted(12)], False),  # behind a later one
        ([visitors(10, "1"), deleted(11), visitors(12, "3")], True),
        ([visitors(10, "1-0123456789abcdef"), deleted(11)], True),
    ],
)
def test_a_message_that_an_operator_deleted_had_arrived_and_is_not_sent_again(
    store: Store,
    bitrix: FakePortal,
    worker: Worker,
    history: list[HistoryMessage],
    arrived: bool,
) -> None:
    lose_the_answer(store, bitrix, worker)
    bitrix.histories[DIALOG] = history

    run(worker, NOW + 30)

    assert bitrix.sent == ([["third"]] if arrived else [["second"], ["third"]])


def test_the_session_shows_a_deleted_message_as_well(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    lose_the_answer(store, bitrix, worker)
    bitrix.says["dialog"] = CLOSED
    bitrix.histories[SESSION] = [visitors(10, "1"), deleted(11)]

    run(worker, NOW + 3)

    assert bitrix.sent == [["third"]]


def test_a_deleted_link_of_an_earlier_file_is_not_taken_for_the_message(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """The file of the first message was refused and sent again as a link, which was deleted."""
    lose_the_answer(store, bitrix, worker)
    attach_file(store, 1)
    bitrix.histories[DIALOG] = [visitors(10, "1"), deleted(11)]

    run(worker, NOW + 30)

    assert bitrix.sent == [["second"], ["third"]]


def test_a_deleted_file_is_not_sent_again_as_a_link(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """Older builds keep our id, and the file is gone all the same."""
    lose_the_answer(store, bitrix, worker)
    attach_file(store, 2)
    bitrix.histories[DIALOG] = [visitors(10, "1"), deleted(11), said(12, "2", deleted=True)]

    run(worker, NOW + 3)

    assert bitrix.sent == [["third"]]
