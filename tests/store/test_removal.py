"""A chat is over at once, and what it had is removed in pieces: also after a crash between them."""

import pytest
from store_parts import (
    CHAT,
    FAILURES,
    LINE,
    NOW,
    OTHER,
    accept,
    answer,
    due,
    history,
    refuse,
    sql,
    write,
)

from storage import Store
from store.database import StoreUnavailable
from store.records import Delivery, Limits, Outcome, PortalDialog
from store.removal import REMOVED_TOGETHER
from store.sent_again import SENT_TOGETHER

LIMITS = Limits("an address", 10_000, 10_000)
MANY = 3 * REMOVED_TOGETHER


def delete_and_crash(store: Store) -> None:
    """Delete the chat, interrupted before its first message is removed."""
    refuse(store, "delete on messages")
    with pytest.raises(FAILURES):
        store.chats.delete(CHAT, NOW)
    accept(store)


@pytest.fixture
def claimed(store: Store) -> list[Delivery]:
    """A chat with messages of both sides that wait; the first two are in a call."""
    for number in range(MANY):
        write(store, f"{number}", client_id=f"uuid-{number}")
    write(store, "Hi", OTHER)
    store.messages.add_from_operators([answer()], NOW)
    sql(store, f"insert into files select 'abc', min(id) from messages where chat_id = '{CHAT}'")
    of_chat = [one for one in store.queue.due_messages(NOW, 10, run=2) if one.chat.id == CHAT]
    return store.queue.claim(of_chat, LINE, NOW)


@pytest.fixture
def interrupted(store: Store, claimed: list[Delivery]) -> list[Delivery]:
    """The deletion of this chat was interrupted before its first message was removed."""
    assert len(claimed) == 2
    delete_and_crash(store)
    assert len(sql(store, f"select 1 from messages where chat_id = '{CHAT}'")) == MANY + 1
    return claimed


@pytest.mark.usefixtures("interrupted")
def test_a_chat_is_over_before_anything_of_it_is_removed(store: Store) -> None:
    heir = store.chats.latest_heir(CHAT)

    assert heir != CHAT
    assert store.chats.is_over(CHAT)
    assert store.chats.find(CHAT) is None
    assert store.chats.find_open(CHAT) is None
    assert store.chats.file_keys(CHAT) == {"abc"}, "its files are not removed yet"
    assert history(store) == []
    assert store.conversations.following(CHAT, None, 9) == []
    assert store.conversations.changed_after(CHAT, 0, 9) == []
    assert store.messages.find_with_file("abc") is None
    assert "Anna" not in str([[*row] for row in sql(store, "select * from chats where owner = ''")])
    assert history(store, OTHER) == ["Hi"]


@pytest.mark.usefixtures("interrupted")
def test_nothing_is_written_to_a_chat_that_is_being_removed(store: Store) -> None:
    (refused, *_) = sql(store, f"select id from messages where chat_id = '{CHAT}'")[0]
    sql(store, f"update messages set state = 'refused' where id = {refused}")
    before = store.messages.revision()

    with pytest.raises(StoreUnavailable):
        write(store, "0", client_id="uuid-0")
    assert store.queue.retry(CHAT, refused, LIMITS, NOW) is None
    assert store.messages.add_from_operators([answer(903312)], NOW) == []
    assert store.messages.edit(answer(text="edited"), NOW) is False
    assert store.messages.take_back(answer(), NOW) is False
    store.dialogs.note_dialog(CHAT, LINE, 5121, 18, 3301, NOW)

    assert store.messages.revision() == before
    assert store.dialogs.in_conversation(0) == []
    assert not sql(store, "select 1 from dialogs where portal_chat_id = 5121")


def test_nothing_is_sent_of_a_chat_that_is_being_removed(
    store: Store, interrupted: list[Delivery]
) -> None:
    def to_send() -> list[str]:
        return [one.chat.id for one in due(store) + store.queue.due_confirmations(NOW, 10)]

    assert to_send() == [OTHER]
    for delivery in interrupted:
        ended = Outcome(delivery, "delivered", dialog=PortalDialog(5120, 2001, 3301))
        store.queue.record([ended], NOW)
        assert to_send() == [OTHER]


def test_a_message_that_was_chosen_before_a_deletion_is_not_claimed_after_it(store: Store) -> None:
    for text in ("one", "two"):
        write(store, text)
    chosen = store.queue.due_messages(NOW, 10, run=2)
    assert len(chosen) == 2
    delete_and_crash(store)

    assert store.queue.claim(chosen, LINE, NOW) == []


@pytest.mark.usefixtures("interrupted")
def test_an_interrupted_deletion_is_found_and_finished(store: Store) -> None:
    assert store.removal.unfinished(NOW) == [], "it may still be under way"
    assert store.removal.unfinished(NOW + 1) == [CHAT]
    removed: list[str] = []

    store.removal.remove([CHAT], removed.append)

    assert removed == [CHAT]
    assert store.removal.unfinished(NOW + 1) == []
    for table in ("chats", "messages", "deliveries", "dialogs", "files"):
        rows = str([[*row] for row in sql(store, f"select * from {table}")])
        assert CHAT not in rows, table
        assert "abc" not in rows, table
    assert history(store, OTHER) == ["Hi"]


@pytest.mark.usefixtures("claimed")
def test_a_chat_is_found_again_until_its_files_are_removed(store: Store) -> None:
    def fail(_: str) -> None:
        raise StoreUnavailable("no disk")

    with pytest.raises(StoreUnavailable):
        store.chats.delete(CHAT, NOW, fail)

    assert not sql(store, f"select 1 from messages where chat_id = '{CHAT}'")
    assert store.removal.unfinished(NOW + 1) == [CHAT]


def test_where_there_is_no_chat_a_deletion_writes_nothing(store: Store) -> None:
    write(store, "Hello")
    for _ in range(3):
        store.chats.delete(store.chats.latest_heir(CHAT), NOW)

    assert sql(store, "select id from deletions") == [(CHAT,)]
    assert len(sql(store, "select id from heirs")) == 1


def test_messages_of_a_chat_that_becomes_a_part_are_sent_again_in_their_order(
    store: Store,
) -> None:
    texts = [f"{number}" for number in range(2 * SENT_TOGETHER + 1)]
    for text in texts:
        write(store, text)
    before = store.messages.revision()

    store.chats.make_part(CHAT, OTHER)

    changed = store.conversations.changed_after(OTHER, before, 1000)
    assert [message.text for message in changed] == texts
