"""A look for operators' answers whose events were lost: which dialogs, how far, what is kept."""

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from fake_portal import (
    CLOSED,
    DAY,
    DIALOG,
    LINE,
    NOW,
    OTHER_LINE,
    READ,
    USER,
    FakePortal,
    answer,
    chat_id,
    install,
    know_dialog,
    run,
    run_each,
    said,
    write,
)

from delivery.recovery import Recovery, RecoveryResult, was_missed
from delivery.worker import Worker
from rest.errors import OutcomeUnknown, TryLater
from rest.replies import HistoryMessage
from storage import Store
from store.records import File, LastRecovery


def know_dialogs(store: Store, chats: int) -> None:
    """Chats with a dialog each and nothing to send, at a portal installed long ago."""
    install(store)
    for chat in range(chats):
        write(store, "hello", chat)
        know_dialog(store, chat, 6000 + chat)
    with store.database.write() as db:
        db.execute("delete from deliveries")


def numbered(first: int, last: int) -> list[HistoryMessage]:
    return [said(number, text=f"{number}") for number in range(first, last + 1)]


def recovered(store: Store, chat: int = 0) -> list[str]:
    """The texts of a chat after the visitor's own first message."""
    return [message.text for message in store.conversations.latest(chat_id(chat), None, 1000)][1:]


def texts(first: int, last: int) -> list[str]:
    return [f"{number}" for number in range(first, last + 1)]


def unread(store: Store) -> int:
    """How many dialogs the last look could not read, as the admin is told."""
    recovery = store.notes.recovery.get()
    assert recovery is not None
    return recovery.failed


def look_to_the_end(look: Recovery) -> RecoveryResult:
    while (found := look.step(NOW)) is None:
        pass
    return found


# -- which messages


@pytest.mark.parametrize(
    ("message", "missed"),
    [
        (said(10), True),
        (said(10, "5"), True),  # confirmed by us, and our store lacks it since its restore
        (said(10, "5", author_id=USER), False),  # the visitor's own, whatever the portal says
        (said(10, from_connector=True), False),  # a visitor is a portal user too
        (said(10, hidden=True), False),  # whispers and notices
        (said(10, deleted=True), False),  # it may have been a whisper
        (said(10, author_id=0, classes="x ol-output y", deleted=True), False),
        (said(10, author_id=0), False),
        (said(10, author_id=0, classes="bx-messenger-content-item-ol-output"), True),
    ],
)
def test_which_messages_an_event_should_have_brought(
    store: Store, message: HistoryMessage, missed: bool
) -> None:
    know_dialogs(store, 1)
    chat = store.chats.find(chat_id(0))
    assert chat is not None
    assert was_missed(message, chat) is missed


def test_what_is_known_is_not_recovered_and_what_the_portal_hides_neither(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    know_dialogs(store, 1)
    answer(store, 11, chat=0)
    bitrix.histories[6000] = [
        said(10, text="hidden", hidden=True),
        said(11, text="known"),
        said(12, text="of the visitor", from_connector=True),
        said(13, text="lost"),
    ]

    run(worker, NOW)

    assert recovered(store) == ["hello", "lost"]


def test_of_a_chat_that_was_taken_over_only_what_came_since_is_recovered(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """What came before came with the program from which it was taken over."""
    know_dialogs(store, 1)
    with store.database.write() as db:
        db.execute("update chats set taken_over_at = ?", (NOW - 100,))
    older = [replace(message, sent_at=NOW - 101) for message in numbered(11, 120)]
    bitrix.histories[6000] = [*older, said(121, text="lost", sent_at=NOW - 99)]

    run(worker, NOW)

    assert recovered(store) == ["lost"]


def deleted_texts(store: Store) -> list[tuple[str, bool]]:
    return [
        (message.text, message.deleted)
        for message in store.conversations.latest(chat_id(0), None, 9)
    ]


def test_an_answer_that_the_history_shows_as_deleted_is_deleted_for_the_visitor_too(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """Also one that was read before, and without anything new in the dialog."""
    know_dialogs(store, 1)
    answer(store, 11, chat=0)
    answer(store, 12, chat=0)
    bitrix.histories[6000] = [said(11), said(12)]
    run(worker, NOW)
    notice = "This message has been deleted."
    bitrix.histories[6000] = [said(11, text=notice, deleted=True), said(12)]

    run(worker, NOW + 200)

    assert deleted_texts(store) == [("hello", False), ("", True), ("hello", False)]
    revision = store.messages.revision()
    run(worker, NOW + 400)
    assert store.messages.revision() == revision, "a deletion is noted once"


def test_what_was_deleted_before_we_ever_had_it_is_neither_shown_nor_confirmed(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    know_dialogs(store, 1)
    bitrix.histories[6000] = [
        said(10, deleted=True),
        said(11, "7", deleted=True, hidden=True),
        said(12, deleted=True, author_id=0, classes="ol-output"),
        said(13, deleted=True, from_connector=True),
        said(14, text="lost"),
    ]

    run(worker, NOW)

    assert recovered(store) == ["lost"]
    assert [len(call) for call in bitrix.confirmed] == [1]


def test_a_visitors_own_message_is_never_deleted_by_the_history(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    know_dialogs(store, 1)
    bitrix.histories[6000] = [said(1, deleted=True, from_connector=True)]

    run(worker, NOW)

    assert deleted_texts(store) == [("hello", False)]


def test_a_lost_answer_is_stored_once_in_its_place_and_confirmed(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "hello")
    run(worker, NOW)
    answer(store, 12)
    history = [said(10, "1", from_connector=True), said(11, text="lost"), said(12)]
    bitrix.histories[DIALOG] = history

    looks = [look_to_the_end(Recovery(store, bitrix, NOW - DAY)) for _ in range(2)]  # type: ignore[arg-type]

    assert [look.answers for look in looks] == [1, 0]
    assert recovered(store, 1) == ["lost", "hello"]
    run(worker, NOW + 1)
    assert sorted(number for call in bitrix.confirmed for number in call) == [2, 3]


@pytest.mark.parametrize(
    ("message", "author", "name"),
    [
        (said(10, text="lost"), "operator", "Olga"),
        (said(10, text="lost", author_id=0, classes="x ol-output y"), "system", None),
        (said(10, text="lost", classes="x ol-output y"), "system", None),
    ],
)
def test_a_recovered_message_is_kept_with_all_that_the_history_tells(
    store: Store,
    bitrix: FakePortal,
    worker: Worker,
    message: HistoryMessage,
    author: str,
    name: str | None,
) -> None:
    know_dialogs(store, 1)
    files: tuple[dict[str, Any], ...] = ({"name": "a.pdf", "type": "image"}, {})
    bitrix.histories[6000] = [replace(message, sent_at=NOW - 50, files=files)]

    run(worker, NOW)

    (kept,) = store.conversations.latest(chat_id(0), None, 10)[1:]
    assert (kept.author, kept.name, kept.sent_at) == (author, name, NOW - 50)
    assert (kept.im_message_id, kept.im_chat_id) == (10, 6000)
    assert kept.incomplete
    assert kept.files == (File("a.pdf", "image"), File("", "file"))
    assert "a.pdf" in kept.html


@pytest.mark.parametrize("text", ["lost", ""])
def test_what_is_attached_to_a_recovered_message_is_recovered(
    store: Store, bitrix: FakePortal, worker: Worker, text: str
) -> None:
    know_dialogs(store, 1)
    blocks = {"ID": 1, "BLOCKS": [{"MESSAGE": "Order 5"}]}
    bitrix.histories[6000] = [replace(said(10, text=text), attachments=(blocks,))]

    run(worker, NOW)

    (kept,) = store.conversations.latest(chat_id(0), None, 10)[1:]
    assert (kept.text, kept.attached) == (text, "Order 5")
    assert kept.html.endswith("Order 5")


def test_a_recovered_message_is_confirmed_on_the_line_of_its_dialog_or_else_of_its_chat(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    know_dialogs(store, 4)
    store.portal.connect_line(OTHER_LINE, NOW + 1)
    with store.database.write() as db:
        db.execute("update dialogs set line = 9 where portal_chat_id = 6000")
        db.execute("update dialogs set line = null where portal_chat_id <> 6000")
        db.execute("update chats set line = ?", (LINE,))
        db.execute("update chats set line = 8 where id = ?", (chat_id(1),))
        db.execute("update chats set line = null where id = ?", (chat_id(2),))
    bitrix.histories = {6000 + chat: [said(100 + chat, text="lost")] for chat in range(4)}

    while not store.queue.due_confirmations(NOW + 1, 10):
        worker.step(NOW + 1)

    due = store.queue.due_confirmations(NOW + 1, 10)
    lines = {delivery.chat.id: delivery.line for delivery in due}
    assert [lines[chat_id(chat)] for chat in range(4)] == [9, 8, OTHER_LINE, LINE]


# -- which dialogs, and how far back


def test_fifty_dialogs_are_read_in_one_call_and_the_others_in_the_next(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    know_dialogs(store, 60)
    bitrix.histories = {6000 + chat: [said(100 + chat, text=f"{chat}")] for chat in range(60)}

    run(worker, NOW)

    assert [len(call.items) for call in bitrix.made("batch")] == [50, 10]
    assert [recovered(store, chat) for chat in range(60)] == [[f"{chat}"] for chat in range(60)]
    assert store.notes.recovery.get() == LastRecovery(60, 60, 0, NOW)


def test_a_dialog_is_read_back_to_where_we_last_were_and_no_further(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    know_dialogs(store, 1)
    bitrix.histories[6000] = numbered(1, 120)
    run(worker, NOW)
    assert recovered(store) == texts(1, 120)
    assert len(bitrix.made("dialog")) == 2
    bitrix.calls.clear()

    bitrix.histories[6000] = numbered(1, 160)
    run(worker, NOW + 200)

    assert recovered(store) == texts(1, 160)
    assert bitrix.made("dialog") == [], "the newest page reaches back to what was read"
    run_each(worker, (3600, 7200))
    assert len(recovered(store)) == 160


def test_a_dialog_with_a_full_page_of_news_is_read_one_page_further(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    know_dialogs(store, 1)
    bitrix.histories[6000] = numbered(1, 10)
    run(worker, NOW)
    bitrix.histories[6000] = numbered(1, 60)

    run(worker, NOW + 200)

    assert recovered(store) == texts(1, 60)
    assert len(bitrix.made("dialog")) == 1


def test_of_a_dialog_of_years_only_the_newest_pages_are_read_and_the_log_says_so(
    store: Store,
    bitrix: FakePortal,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("delivery.recovery.PAGES_A_DIALOG", 10)
    know_dialogs(store, 1)
    bitrix.histories[6000] = numbered(1, 2000)

    run_each(worker, (0, 20), steps=40)

    assert recovered(store) == texts(1451, 2000)
    assert caplog.text.count("dialog 6000: older messages are not recovered") == 1


def test_every_call_of_a_look_is_counted(store: Store, bitrix: FakePortal) -> None:
    """The portal's limit is one for all calls."""
    know_dialogs(store, 1)
    bitrix.histories[6000] = numbered(1, 110)
    counted: list[int] = []

    look_to_the_end(Recovery(store, bitrix, NOW - DAY, lambda: counted.append(1)))  # type: ignore[arg-type]

    assert len(counted) == len(bitrix.calls) == 3


def test_a_chat_that_is_deleted_while_dialogs_are_read_stays_deleted(
    store: Store, bitrix: FakePortal
) -> None:
    know_dialogs(store, 2)
    bitrix.histories = {6000: [said(10, text="too late")], 6001: [said(11, text="lost")]}
    look = Recovery(store, bitrix, NOW - DAY)  # type: ignore[arg-type]
    store.chats.delete(chat_id(0), NOW)

    assert look_to_the_end(look) == RecoveryResult(1, 2)
    assert (recovered(store, 0), recovered(store, 1)) == ([], ["lost"])


# -- a portal that cannot be read


def test_a_dialog_that_is_closed_to_us_is_asked_for_once_a_look(
    store: Store, bitrix: FakePortal
) -> None:
    know_dialogs(store, 2)
    bitrix.says["dialog 6000"] = CLOSED

    found = look_to_the_end(Recovery(store, bitrix, NOW - DAY))  # type: ignore[arg-type]

    assert (found.answers, found.unread) == (0, (6000,))
    assert [sorted(call.items) for call in bitrix.calls] == [[6000, 6001]]
    assert store.notes.recovery.get() == LastRecovery(0, 2, 1, NOW)


def test_a_dialog_that_fails_three_times_is_given_up_for_this_look_and_no_other_is(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    know_dialogs(store, 2)
    bitrix.says["dialog 6000"] = OutcomeUnknown("HTTP_502", READ)
    bitrix.histories[6001] = [said(10, text="found")]

    run(worker, NOW)

    assert recovered(store, 1) == ["found"]
    assert [6000 in call.items for call in bitrix.made("batch")] == [True] * 3
    assert store.notes.recovery.get() == LastRecovery(1, 2, 1, NOW)


def test_an_older_page_that_fails_is_asked_for_again(store: Store, bitrix: FakePortal) -> None:
    """The newest page does not reach back, and the portal fails in between."""
    know_dialogs(store, 1)
    bitrix.histories[6000] = numbered(11, 110)
    bitrix.says["dialog"] = [OutcomeUnknown("NO_REPLY", READ)]
    look = Recovery(store, bitrix, NOW - DAY)  # type: ignore[arg-type]

    assert look.step(NOW) is None
    with pytest.raises(OutcomeUnknown):
        look.step(NOW)
    assert look.step(NOW) is None
    assert look.step(NOW) == RecoveryResult(100, 1)
    assert recovered(store) == texts(11, 110)


def test_an_older_page_that_fails_three_times_is_given_up(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    know_dialogs(store, 2)
    bitrix.histories = {6000: numbered(1, 120), 6001: [said(1000, text="found")]}
    bitrix.says["dialog"] = [OutcomeUnknown("HTTP_502", READ)] * 9

    run_each(worker, range(0, 60, 5))

    assert [call.target for call in bitrix.made("dialog")] == [6000] * 3
    assert recovered(store, 1) == ["found"]
    assert unread(store) == 1
    assert recovered(store, 0) == [], "nothing is stored that leaves a gap"


def test_a_batch_that_is_not_done_now_is_repeated_and_no_dialog_is_read_alone(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    know_dialogs(store, 2)
    bitrix.histories[6001] = [said(1000, text="found")]
    bitrix.says["batch"] = [TryLater("NOT_DONE", "batch")] * 5

    run_each(worker, range(0, 60, 5))

    assert bitrix.made("dialog") == []
    assert recovered(store, 1) == ["found"]


def test_where_a_batch_fails_three_times_dialogs_are_read_one_by_one(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    know_dialogs(store, 3)
    bitrix.says |= {"dialog 6000": CLOSED, "batch": OutcomeUnknown("HTTP_502", "batch")}
    bitrix.histories[6001] = [said(1000, text="found")]

    run_each(worker, range(0, 60, 5))

    assert len(bitrix.made("batch")) == 3
    assert sorted(str(call.target) for call in bitrix.made("dialog")) == ["6000", "6001", "6002"]
    assert recovered(store, 1) == ["found"]
    assert unread(store) == 1


def test_a_dialog_that_cannot_be_read_alone_ends_no_look_at_the_others(
    store: Store, bitrix: FakePortal
) -> None:
    know_dialogs(store, 3)
    bitrix.says = {
        method: OutcomeUnknown("HTTP_502", READ)
        for method in ("batch", "dialog 6000", "dialog 6002")
    }
    bitrix.histories[6001] = [said(11, text="lost")]
    look = Recovery(store, bitrix, NOW - DAY)  # type: ignore[arg-type]

    brought = None
    for _ in range(30):
        with contextlib.suppress(OutcomeUnknown):
            brought = brought or look.step(NOW)

    assert brought is not None
    assert brought.answers == 1
    assert sorted(brought.unread) == [6000, 6002]
