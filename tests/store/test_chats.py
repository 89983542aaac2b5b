"""Chats: what a visitor tells, what a log-in joins, the dialogs at the portal, the files."""

import pytest
from store_parts import (
    CHAT,
    LIMITS,
    LINE,
    MINUTE,
    NOW,
    OTHER,
    THIRD,
    answer,
    deliver,
    due,
    found,
    found_open,
    history,
    sql,
    texts,
    visitor,
    write,
)

from storage import Store
from store.records import Dialog, File, Outcome, VisitorMessage

# -- what the visitor tells


def test_a_visitors_message_makes_and_updates_its_chat(store: Store) -> None:
    assert store.chats.find(CHAT) is None

    write(store)
    store.dialogs.note_dialog(CHAT, LINE, 5120, 2114, 3301, closed_at=NOW)
    write(store, "again", name="Maria", now=NOW + MINUTE)

    chat = found(store)
    assert (chat.name, chat.email, chat.phone) == ("Maria", "anna@example.com", "+100")
    assert chat.page == "https://shop.example/cart"
    assert (chat.created_at, chat.active_at) == (NOW, NOW + MINUTE)
    assert (chat.portal_chat_id, chat.portal_user_id, chat.session_id) == (5120, 2114, 3301)
    assert chat.closed_at is None, "a visitor who writes opens the dialog again"


def test_the_first_consent_and_the_latest_name_are_kept(store: Store) -> None:
    write(store, name="Anna", consent=None, consent_at=None)
    write(store, name="Anja", consent="I agree.", consent_at=NOW)
    write(store, name="Ann", consent=None, consent_at=None)
    write(store, name="Hanna", consent="Something else", consent_at=NOW + 5)

    chat = found(store)
    assert (chat.name, chat.consent, chat.consent_at) == ("Hanna", "I agree.", NOW)


# -- who logs in


def test_what_a_customer_began_before_the_log_in_is_part_of_their_chat(store: Store) -> None:
    before = write(store, "Hello").revision
    write(store, "of another", OTHER)
    store.chats.make_part(CHAT, THIRD)
    store.messages.add_from_operators([answer()], NOW)
    revision = store.messages.revision()

    assert history(store, THIRD) == ["Hello", "Good morning"]
    assert store.conversations.parts(THIRD) == [THIRD, CHAT]
    assert found_open(store, THIRD).id == CHAT, "the dialog with the operator goes on"
    assert store.chats.find_open(CHAT) is None
    assert [store.chats.is_over(chat) for chat in (CHAT, OTHER)] == [True, False]
    assert store.messages.chats_changed_after(before) == (revision, {THIRD, CHAT, OTHER})
    changed = [message.text for message in store.conversations.changed_after(THIRD, before, 10)]
    assert changed == ["Hello", "Good morning"], "the customer's other devices hear of both"


def test_a_customer_who_has_a_chat_writes_there_and_reads_all_parts(store: Store) -> None:
    write(store, "as customer", OTHER)
    write(store, "before the log-in")
    write(store, "of another", THIRD)
    store.chats.make_part(CHAT, OTHER)
    last = write(store, "again as customer", OTHER)
    store.messages.add_from_operators([answer()], NOW)

    open_chat = found_open(store, OTHER)
    assert open_chat.id == OTHER
    assert store.conversations.parts(OTHER) == [OTHER, CHAT]
    all_four = ["as customer", "before the log-in", "again as customer", "Good morning"]
    assert history(store, OTHER) == all_four
    newest = store.conversations.latest(OTHER, None, 3)
    assert [message.text for message in newest] == all_four[1:]
    before = store.conversations.latest(OTHER, last.id, 1)
    assert [message.text for message in before] == ["before the log-in"]
    changed = store.conversations.changed_after(OTHER, 0, 3)
    assert [message.text for message in changed] == all_four[:3]
    store.chats.make_part(OTHER, "chat" + "d" * 64)
    assert store.chats.find_open(OTHER) == open_chat, "a customer's chat is no part of another's"

    store.chats.delete(OTHER, NOW)

    assert history(store, OTHER) == []
    assert store.chats.was_deleted(CHAT)
    assert sql(store, "select text from messages") == [("of another",)]


def test_a_part_has_one_owner_and_no_parts_of_its_own(store: Store) -> None:
    for chat in (CHAT, OTHER, THIRD):
        write(store, "text", chat)
    store.chats.make_part(OTHER, CHAT)

    store.chats.make_part(OTHER, THIRD)  # it has an owner
    store.chats.make_part(CHAT, THIRD)  # it has a part

    assert [found(store, chat).owner for chat in (CHAT, OTHER, THIRD)] == [None, CHAT, None]
    assert [store.chats.is_over(chat) for chat in (CHAT, OTHER)] == [False, True]


def test_the_open_chat_is_the_chat_itself_else_its_latest_part(store: Store) -> None:
    assert store.chats.find_open(CHAT) is None
    write(store, "older part", OTHER, now=NOW)
    write(store, "newer part", THIRD, now=NOW + 1)
    for part in (OTHER, THIRD):
        store.chats.make_part(part, CHAT)
    assert found_open(store, CHAT).id == THIRD
    assert store.chats.find_open(OTHER) is None

    write(store, "itself", CHAT)

    assert found_open(store, CHAT).id == CHAT


def test_nothing_becomes_part_of_a_deleted_chat(store: Store) -> None:
    write(store, "Hello")
    write(store, "deleted", OTHER)
    store.chats.delete(OTHER, NOW)

    store.chats.make_part(CHAT, OTHER)

    assert store.conversations.parts(OTHER) == [OTHER]
    assert history(store) == ["Hello"]


def test_a_message_that_is_sent_again_after_the_log_in_is_stored_once(store: Store) -> None:
    customer = write(store, "mine", OTHER)
    before = write(store, "unanswered", client_id="uuid-1")
    store.chats.make_part(CHAT, OTHER)
    repeated = VisitorMessage(found_open(store, OTHER), "unanswered", "", "uuid-1")

    again = store.messages.add_from_visitor(repeated, LIMITS, NOW)

    assert (again.id, again.chat_id) == (before.id, CHAT)
    assert customer.chat_id == OTHER
    assert history(store, OTHER) == ["mine", "unanswered"]


# -- dialogs at the portal


def test_the_end_of_a_dialog_is_one_message_of_the_system(store: Store) -> None:
    write(store, "one")
    before = store.messages.revision()

    store.dialogs.note_dialog(CHAT, LINE, 5120, 2001, 3301, None)
    assert history(store) == ["one"]
    for _ in range(2):
        store.dialogs.note_dialog(CHAT, LINE, 5120, 2001, 3301, NOW + 5)

    _, end = store.conversations.latest(CHAT, None, 10)
    assert (end.author, end.text, end.ends_dialog, end.sent_at) == ("system", "", True, NOW + 5)
    assert end.revision > before
    assert found(store).closed_at == NOW + 5
    store.dialogs.note_dialog(CHAT, LINE, 5120, 2001, 3302, None)
    assert found(store).closed_at is None
    store.dialogs.note_dialog(CHAT, LINE, 5120, 2001, 3302, NOW + 6)
    assert len(store.conversations.latest(CHAT, None, 10)) == 3


@pytest.mark.parametrize(("session", "known"), [(3300, 3301), (3301, 3301), (3302, 3302)])
def test_an_event_of_an_earlier_session_changes_nothing(
    store: Store, session: int, known: int
) -> None:
    write(store, "one")
    store.dialogs.note_dialog(CHAT, LINE, 5120, 2001, 3301, None)

    store.dialogs.note_dialog(CHAT, 12, 5121, 2002, session, NOW)

    chat = found(store)
    assert chat.session_id == known
    ids = (chat.dialog_line, chat.portal_chat_id, chat.portal_user_id, chat.closed_at)
    assert ids == ((LINE, 5120, 2001, None) if session < 3301 else (12, 5121, 2002, NOW))


def test_a_dialog_of_a_chat_that_we_do_not_have_is_not_noted(store: Store) -> None:
    store.dialogs.note_dialog(CHAT, LINE, 5120, 2001, 3301, NOW)

    assert store.chats.find(CHAT) is None
    assert store.dialogs.in_conversation(0) == []


def test_messages_in_doubt_are_looked_for_at_once_when_an_event_names_their_dialog(
    store: Store,
) -> None:
    for chat in (CHAT, OTHER):
        write(store, f"of {chat[-1]}", chat)
    claimed = store.queue.claim(due(store), LINE, NOW)
    store.queue.record([Outcome(call, "in doubt", "NO_REPLY", NOW + 900) for call in claimed], NOW)
    write(store, "waits", THIRD)
    (waits,) = store.queue.due_messages(NOW, 10)
    store.queue.record([Outcome(waits, "queued", "X", NOW + 900)], NOW)

    for chat in (CHAT, THIRD):
        store.dialogs.note_dialog(chat, LINE, ord(chat[-1]), 2001, 3301, None)

    assert texts(store.queue.messages_in_doubt(NOW, 10)) == ["of a"]
    assert store.queue.due_messages(NOW, 10) == []


def test_each_line_that_a_chat_used_has_a_dialog_with_its_own_mark(store: Store) -> None:
    write(store, "one", now=NOW)
    write(store, "other", OTHER, now=NOW + 2)
    store.dialogs.note_dialog(CHAT, LINE, 5120, 2001, 3301, None)
    store.dialogs.note_dialog(CHAT, 12, 5121, 2001, 3302, None)
    store.dialogs.note_dialog(OTHER, LINE, 6000, 2002, 3303, None)

    def marks() -> list[tuple[int, int | None, int, str]]:
        numbers = store.dialogs.in_conversation(NOW)
        dialogs = store.dialogs.find(numbers)
        assert dialogs.keys() == set(numbers)
        return [
            (number, dialogs[number].line, dialogs[number].checked_im_id, dialogs[number].chat.id)
            for number in numbers
        ]

    assert marks()[0] == (6000, LINE, 0, OTHER), "the latest first"
    assert sorted(marks()[1:]) == [(5120, LINE, 0, CHAT), (5121, 12, 0, CHAT)]
    store.dialogs.note_checked(Dialog(5121, 12, 0, found(store)), 77)
    store.dialogs.note_dialog(CHAT, 12, 5121, 2001, 3302, None)

    assert sorted(marks()[1:]) == [(5120, LINE, 0, CHAT), (5121, 12, 77, CHAT)]
    assert store.dialogs.in_conversation(NOW + 1) == [6000]


def test_an_answer_in_another_dialog_forgets_the_session_and_one_in_the_same_does_not(
    store: Store,
) -> None:
    deliver(store, "sent")

    store.messages.add_from_operators([answer(10)], NOW + 1)
    assert (found(store).session_id, found(store).active_at) == (3301, NOW + 1)
    store.messages.add_from_operators([answer(11, im_chat_id=5121, line=12)], NOW + 2)

    chat = found(store)
    assert (chat.line, chat.dialog_line, chat.portal_chat_id) == (LINE, 12, 5121)
    assert (chat.session_id, chat.portal_user_id) == (None, 2001)
    dialogs = store.dialogs.find(store.dialogs.in_conversation(0))
    known = {(dialog.portal_chat_id, dialog.line) for dialog in dialogs.values()}
    assert known == {(5120, LINE), (5121, 12)}, "lost answers are looked for in both"


# -- files


def test_a_file_is_found_by_its_key_and_listed_with_its_chat(store: Store) -> None:
    def attach(key: str, chat: str) -> None:
        file = File("a.pdf", "file", f"https://x.example/{key}", 10, key, "application/pdf")
        message = VisitorMessage(visitor(chat), key, key, None, file)
        store.messages.add_from_visitor(message, LIMITS, NOW)

    attach("one", CHAT)
    attach("two", CHAT)
    attach("three", OTHER)
    write(store, "no file", THIRD)

    message = store.messages.find_with_file("two")
    assert message is not None
    assert (message.text, message.files[0].key) == ("two", "two")
    assert store.messages.find_with_file("four") is None
    assert store.chats.file_keys(CHAT) == {"one", "two"}
    assert store.chats.file_keys(THIRD) == set()
    assert store.chats.file_keys("unknown") is None
    store.chats.delete(CHAT, NOW)
    assert store.chats.file_keys(CHAT) == set()
    assert store.messages.find_with_file("two") is None
