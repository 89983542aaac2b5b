"""Operators' messages: stored once and in the portal's order, completed, edited and deleted."""

from typing import Any

import pytest
from store_parts import (
    CHAT,
    FAILURES,
    MINUTE,
    NOW,
    OTHER,
    PRICE,
    answer,
    found,
    history,
    only_message,
    refuse,
    write,
)

from storage import Store
from store.records import OperatorMessage

INCOMPLETE: dict[str, Any] = {"files": (), "files_html": "", "incomplete": True}

# -- storing


def test_an_operators_message_is_stored_with_its_confirmation(store: Store) -> None:
    (message,) = store.messages.add_from_operators([answer()], NOW)

    assert store.conversations.latest(CHAT, None, 50) == [message]
    assert (message.author, message.name, message.text) == ("operator", "Olga", "Good morning")
    assert message.files == (PRICE,)
    assert (message.im_chat_id, message.im_message_id) == (5120, 903311)
    (delivery,) = store.queue.due_confirmations(NOW, 10)
    assert (delivery.kind, delivery.line, delivery.message) == ("confirmation", 7, message)


def test_an_operators_message_is_stored_once(store: Store, second: Store) -> None:
    added = store.messages.add_from_operators([answer(), answer()], NOW)
    assert len(added) == 1, "also when it comes twice in one event"

    assert store.messages.add_from_operators([answer()], NOW + 1) == []
    assert second.messages.add_from_operators([answer(text="other", chat_id=OTHER)], NOW + 1) == []

    assert history(store) == ["Good morning"]
    assert history(store, OTHER) == []
    assert store.queue.waiting() == 1


def test_only_messages_that_are_new_are_returned(store: Store) -> None:
    store.messages.add_from_operators([answer(2, "two")], NOW)

    added = store.messages.add_from_operators(
        [answer(3, "three"), answer(2, "two"), answer(1)], NOW
    )

    assert [message.im_message_id for message in added] == [1, 3]


def test_operators_messages_are_stored_all_or_none(store: Store) -> None:
    refuse(store, "insert on deliveries", "(select count(*) from deliveries) > 0")

    with pytest.raises(FAILURES):
        store.messages.add_from_operators([answer(1), answer(2)], NOW)

    assert history(store) == []
    assert store.chats.find(CHAT) is None
    assert store.queue.waiting() == 0


def test_an_answer_in_a_chat_that_we_do_not_have_makes_the_chat(store: Store) -> None:
    store.messages.add_from_operators([answer()], NOW)

    chat = found(store)
    assert (chat.name, chat.portal_chat_id, chat.created_at) == ("", 5120, NOW)


def test_an_answer_leaves_what_the_visitor_told_alone(store: Store) -> None:
    write(store)

    store.messages.add_from_operators([answer()], NOW + MINUTE)

    chat = found(store)
    assert (chat.name, chat.email, chat.created_at) == ("Anna", "anna@example.com", NOW)
    assert (chat.active_at, chat.portal_chat_id) == (NOW + MINUTE, 5120)


@pytest.mark.parametrize("sent_at", [None, 0.0, NOW - 900])
def test_an_answer_is_dated_when_it_was_sent_if_that_is_known(
    store: Store, sent_at: float | None
) -> None:
    store.messages.add_from_operators([answer(10, sent_at=sent_at)], NOW)

    kept = only_message(store)
    assert kept.sent_at == (NOW if sent_at is None else sent_at)
    assert (kept.edited, kept.deleted, kept.state) == (False, False, "stored")


# -- their order


def test_operators_messages_of_one_call_are_stored_in_the_portals_order(store: Store) -> None:
    store.messages.add_from_operators([answer(3, "3"), answer(1, "1"), answer(2, "2")], NOW)

    assert history(store) == ["1", "2", "3"]


def test_an_answer_that_comes_late_stands_where_the_portal_has_it(store: Store) -> None:
    write(store, "question")
    store.messages.add_from_operators([answer(10, "10")], NOW)
    write(store, "thanks")
    store.messages.add_from_operators([answer(30, "30"), answer(40, "40")], NOW)

    for number in (20, 5, 25, 50):
        store.messages.add_from_operators([answer(number, str(number))], NOW)

    assert history(store) == ["question", "5", "10", "thanks", "20", "25", "30", "40", "50"]
    positions = {message.position for message in store.conversations.latest(CHAT, None, 50)}
    assert len(positions) == 9


def test_however_many_answers_come_late_they_stand_in_order(store: Store) -> None:
    """Each halves the gap before the last one, until no number is left in it."""
    write(store)
    store.messages.add_from_operators([answer(5000)], NOW)
    write(store)

    for number in range(1000, 1200):
        store.messages.add_from_operators([answer(number)], NOW)
    for number in range(999, 900, -1):
        store.messages.add_from_operators([answer(number)], NOW)

    ids = [message.im_message_id for message in store.conversations.latest(CHAT, None, 1000)]
    assert ids == [None, *range(901, 1200), 5000, None]


def test_an_answer_is_placed_among_those_of_its_own_chat(store: Store) -> None:
    store.messages.add_from_operators([answer(30, "30", chat_id=OTHER, im_chat_id=6000)], NOW)
    write(store, "typed")

    store.messages.add_from_operators([answer(20, "20")], NOW)

    assert history(store) == ["typed", "20"]


# -- completing


@pytest.mark.parametrize(
    ("first", "event", "text"),
    [
        (INCOMPLETE, {}, "whole"),
        (INCOMPLETE, INCOMPLETE, "first"),
        ({}, {}, "first"),
    ],
)
def test_only_an_incomplete_message_is_completed_and_only_by_a_complete_one(
    store: Store, first: dict[str, Any], event: dict[str, Any], text: str
) -> None:
    store.messages.add_from_operators([answer(10, "first", name=None, **first)], NOW)
    before = store.messages.revision()

    assert store.messages.add_from_operators([answer(10, "whole", **event)], NOW) == []

    kept = only_message(store)
    assert kept.text == text
    assert kept.name == ("Olga" if text == "whole" else None)
    assert (kept.revision > before) is (text == "whole")
    assert len(store.queue.due_confirmations(NOW, 10)) == 1


def test_the_event_completes_a_message_that_the_history_gave_first(store: Store) -> None:
    recovered = answer(name=None, incomplete=True, files=(), files_html="", sent_at=NOW - MINUTE)
    store.messages.add_from_operators([recovered], NOW)

    store.messages.add_from_operators([answer()], NOW)
    store.messages.add_from_operators([recovered], NOW)

    message = only_message(store)
    assert (message.name, message.files) == ("Olga", (PRICE,))
    assert message.sent_at == NOW - MINUTE


def test_the_event_completes_a_message_that_its_edit_gave_first(store: Store) -> None:
    """Everything but the text, which is newer."""
    edit = answer(10, "edited", name=None, author="system", files=(), files_html="")
    assert store.messages.edit(edit, NOW, 100) is True
    message = only_message(store)
    assert (message.html, message.incomplete) == ("<p>edited</p>", True)

    assert store.messages.add_from_operators([answer(10, "first", asks_vote=True)], NOW) == []
    assert store.messages.add_from_operators([answer(10, "second")], NOW) == []

    message = only_message(store)
    assert (message.author, message.name, message.asks_vote) == ("operator", "Olga", True)
    assert (message.text, message.html) == ("edited", "<p>edited</p><br>price.pdf")
    assert (message.files, message.edited, message.incomplete) == ((PRICE,), True, False)
    (confirmation,) = store.queue.due_confirmations(NOW, 50)
    assert confirmation.message.id == message.id


def test_a_message_that_was_deleted_is_not_completed(store: Store) -> None:
    store.messages.add_from_operators([answer(10, "first", **INCOMPLETE)], NOW)
    store.messages.take_back(answer(10), NOW)

    store.messages.add_from_operators([answer(10, "whole")], NOW)

    assert history(store) == [""]


# -- editing


def test_an_edit_gives_new_text_and_a_new_revision(store: Store) -> None:
    (message,) = store.messages.add_from_operators([answer()], NOW)

    assert store.messages.edit(answer(text="Good evening", name=None), NOW) is True

    edited = only_message(store)
    assert (edited.text, edited.text_html) == ("Good evening", "<p>Good evening</p>")
    assert (edited.id, edited.name, edited.sent_at) == (message.id, "Olga", NOW)
    assert edited.edited is True
    assert edited.revision > message.revision


@pytest.mark.parametrize(
    "change",
    [
        answer(),  # it says so already
        answer(text="Good evening", chat_id=OTHER),  # of another chat
    ],
)
def test_an_edit_that_changes_nothing_says_so(store: Store, change: OperatorMessage) -> None:
    store.messages.add_from_operators([answer()], NOW)
    before = store.conversations.latest(CHAT, None, 50)

    assert store.messages.edit(change, NOW) is False

    assert store.conversations.latest(CHAT, None, 50) == before


def test_an_edit_brings_a_text_and_leaves_the_files(store: Store) -> None:
    store.messages.add_from_operators([answer()], NOW)

    store.messages.edit(answer(text="Good evening", files=(), files_html=""), NOW)

    message = only_message(store)
    assert (message.text, message.files) == ("Good evening", (PRICE,))
    assert message.html == "<p>Good evening</p><br>price.pdf"


def test_an_edit_leaves_what_is_attached(store: Store) -> None:
    """The event of an edit brings the text alone."""
    whole = answer(attached="[hr]", files_html="<hr>price.pdf")
    store.messages.edit(answer(text="Good evening", files=(), files_html=""), NOW)
    store.messages.add_from_operators([whole], NOW)

    store.messages.edit(answer(text="Good night", files=(), files_html=""), NOW)

    message = only_message(store)
    assert (message.text, message.attached) == ("Good night", "[hr]")
    assert message.html == "<p>Good night</p><br><hr>price.pdf"


def test_an_edit_leaves_the_name_where_it_brings_none(store: Store) -> None:
    store.messages.add_from_operators([answer(10, "original")], NOW)

    store.messages.edit(answer(10, "edited", name=None), NOW, 100)
    assert store.conversations.latest(CHAT, None, 1)[0].name == "Olga"
    store.messages.edit(answer(10, "edited again", name="Ivan"), NOW, 200)

    assert store.conversations.latest(CHAT, None, 1)[0].name == "Ivan"


Edits = list[tuple[int, str, bool]]  # when the portal queued it, its text, whether it changes it
EDITS: dict[str, Edits] = {
    "in the portal's order": [(100, "first", True), (200, "second", True)],
    "the later edit comes first": [(200, "second", True), (100, "first", False)],
    "within a second the last that comes wins": [(100, "first", True), (100, "second", True)],
    "without a time the last that comes wins": [
        *((0, "first", True), (0, "second", True), (0, "second", False)),
    ],
    "an edit without a time comes last": [
        *((7, "first", True), (9, "last", True), (8, "late", False)),
        *((9, "same second", True), (0, "no time", True)),
    ],
    "an edit without a time hides none that comes later": [
        *((9, "before", True), (0, "no time", True)),
        *((7, "first", True), (9, "last", True), (8, "late", False)),
    ],
    "an edit back to the same text counts as the later one": [
        *((300, "original", False), (200, "between", False)),
    ],
    "an edit that repeats the text counts as the later one": [
        *((9, "first", True), (20, "first", False), (15, "between", False)),
    ],
}


@pytest.mark.parametrize("edits", EDITS.values(), ids=EDITS)
def test_the_edit_that_the_portal_queued_last_wins(store: Store, edits: Edits) -> None:
    store.messages.add_from_operators([answer(10, "original")], NOW)

    changed = [store.messages.edit(answer(10, text), NOW, at) for at, text, _ in edits]

    assert changed == [changes for _, _, changes in edits]
    last = ["original", *(text for _, text, changes in edits if changes)][-1]
    assert history(store) == [last]
    assert only_message(store).edited or not any(changed)


def test_an_edit_that_comes_before_its_message_and_before_an_earlier_edit_wins(
    store: Store,
) -> None:
    assert store.messages.edit(answer(10, "last"), NOW, 9) is True

    assert store.messages.edit(answer(10, "first"), NOW, 8) is False
    assert store.messages.add_from_operators([answer(10, "original")], NOW) == []

    assert (only_message(store).text, only_message(store).edited) == ("last", True)


# -- deleting


def test_nothing_of_a_deleted_messages_content_is_left(store: Store) -> None:
    (message,) = store.messages.add_from_operators([answer()], NOW)

    assert store.messages.take_back(answer(), NOW) is True

    deleted = only_message(store)
    assert deleted.deleted is True
    assert (deleted.text, deleted.html, deleted.files) == ("", "", ())
    assert deleted.revision > message.revision


def test_a_deleted_message_stays_deleted(store: Store) -> None:
    store.messages.add_from_operators([answer()], NOW)
    store.messages.take_back(answer(), NOW)
    before = store.conversations.latest(CHAT, None, 50)

    assert store.messages.take_back(answer(), NOW) is False
    assert store.messages.edit(answer(text="back again"), NOW) is False
    assert store.messages.edit(answer(text="back again"), NOW, 100) is False
    assert store.messages.add_from_operators([answer()], NOW) == []

    assert store.conversations.latest(CHAT, None, 50) == before


def test_of_deletions_that_the_history_shows_only_those_of_known_messages_count(
    store: Store,
) -> None:
    store.messages.add_from_operators([answer(10), answer(11), answer(12)], NOW)
    store.messages.add_from_operators([answer(13, chat_id=OTHER)], NOW)
    store.messages.take_back(answer(12), NOW)
    revision = store.messages.revision()

    assert store.found_deleted.take_back_known(CHAT, [10, 12, 13, 99]) == 1

    kept = store.conversations.latest(CHAT, None, 50)
    assert [(one.im_message_id, one.deleted) for one in kept] == [
        (10, True),
        (11, False),
        (12, True),
    ]
    assert (kept[0].text, kept[0].html, kept[0].files) == ("", "", ())
    assert not store.conversations.latest(OTHER, None, 50)[0].deleted
    assert [one.im_message_id for one in store.conversations.changed_after(CHAT, revision, 9)] == [
        10
    ]
    assert store.found_deleted.take_back_known(CHAT, [10]) == 0


def test_a_deletion_that_comes_before_its_message_wins(store: Store) -> None:
    assert store.messages.take_back(answer(text=""), NOW) is True
    assert store.messages.add_from_operators([answer()], NOW) == []

    message = only_message(store)
    assert (message.text, message.deleted) == ("", True)


# -- which message a change means


def test_a_change_from_another_chat_deletes_nothing(store: Store) -> None:
    store.messages.add_from_operators([answer()], NOW)

    assert store.messages.take_back(answer(text="", chat_id=OTHER, own_ids=(1,)), NOW) is False

    assert history(store) == ["Good morning"]


def test_of_several_ids_of_ours_the_first_that_is_known_is_meant(store: Store) -> None:
    typed = write(store, "typed")
    first, second = store.messages.add_from_operators(
        [answer(10, "first"), answer(11, "second")], NOW
    )

    def edit(im_message_id: int, text: str, **others: Any) -> bool:
        return store.messages.edit(answer(im_message_id, text, **others), NOW)

    assert edit(99, "edited", own_ids=(4711, typed.id, second.id, first.id)) is True
    assert history(store) == ["typed", "first", "edited"]
    edit(10, "of another chat", chat_id=OTHER, own_ids=(first.id,))
    assert history(store) == ["typed", "first", "edited"]
    edit(10, "by the portal's id", own_ids=(second.id,))
    assert history(store) == ["typed", "by the portal's id", "edited"]


def test_our_id_does_not_reach_a_visitors_message(store: Store) -> None:
    typed = write(store, "typed")

    store.messages.edit(answer(904000, "edited", own_ids=(typed.id,)), NOW)
    store.messages.take_back(answer(904001, "", own_ids=(typed.id,)), NOW)

    first = store.conversations.latest(CHAT, None, 50)[0]
    assert (first.text, first.deleted) == ("typed", False)
