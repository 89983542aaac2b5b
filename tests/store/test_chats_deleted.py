"""A visitor deletes the conversation while the portal and the worker are busy with it."""

from typing import Literal

import pytest
from store_parts import (
    CHAT,
    LINE,
    NOW,
    OTHER,
    THIRD,
    answer,
    due,
    history,
    sql,
    texts,
    write,
)

from storage import Store
from store.database import StoreUnavailable
from store.records import Limits, Outcome, PortalDialog


def test_nothing_of_a_deleted_chat_is_left_and_others_stay(store: Store) -> None:
    for chat in (CHAT, OTHER):
        write(store, "Hello", chat, limits=Limits("an address", 1, 100))
    store.messages.add_from_operators([answer()], NOW)

    store.chats.delete(CHAT, NOW)

    for table in ("chats", "messages", "deliveries", "hits"):
        rows = [str([*row]) for row in sql(store, f"select * from {table}")]
        assert not any(CHAT in row or "Good morning" in row for row in rows), table
    assert store.chats.was_deleted(CHAT)
    assert not store.chats.was_deleted(OTHER)
    assert history(store, OTHER) == ["Hello"]
    assert [delivery.chat.id for delivery in due(store)] == [OTHER]
    counted = {row["who"] for row in store.database.rows("select who from hits")}
    assert counted == {OTHER, "an address"}


def test_a_chat_is_deleted_with_its_parts_and_nothing_else(store: Store) -> None:
    chats = (CHAT, OTHER, THIRD)
    for chat in chats:
        write(store, "text", chat)
    store.chats.make_part(OTHER, CHAT)

    assert sorted(store.chats.delete(CHAT, NOW)) == [CHAT, OTHER]

    assert store.queue.waiting() == 1
    assert store.chats.find(THIRD) is not None
    assert [store.chats.was_deleted(chat) for chat in chats] == [True, True, False]
    over = [store.chats.is_over(chat) for chat in (*chats, "unknown")]
    assert over == [True, True, False, False]


def test_deleting_twice_or_what_never_was_does_no_harm(store: Store) -> None:
    store.chats.delete(CHAT, NOW)
    store.chats.delete(CHAT, NOW)

    assert store.chats.find(CHAT) is None


def test_which_chats_were_deleted_is_told_once(store: Store) -> None:
    for chat in (CHAT, OTHER):
        write(store, "one", chat)
    assert store.chats.deleted_after(0) == (0, set())
    store.chats.delete(CHAT, NOW)
    number, chats = store.chats.deleted_after(0)
    assert chats == {CHAT}

    store.chats.delete(OTHER, NOW)

    later, chats = store.chats.deleted_after(number)
    assert later > number
    assert chats == {OTHER}
    assert store.chats.deleted_after(later) == (later, set())


def test_of_many_deletions_some_are_told_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.chats.DELETIONS_AT_ONCE", 2)
    assert store.chats.latest_deletion() == 0
    chats = ["chat" + letter * 64 for letter in "cdefg"]
    for chat in chats:
        write(store, "one", chat)
        store.chats.delete(chat, NOW)

    found, number = [], 0
    while (next_ := store.chats.deleted_after(number))[1]:
        number, some = next_
        found.append(some)

    assert found == [{chats[0], chats[1]}, {chats[2], chats[3]}, {chats[4]}]
    assert number == store.chats.latest_deletion()


def test_a_chat_that_was_just_deleted_is_not_begun_anew(store: Store) -> None:
    write(store, "hello")
    store.chats.delete(CHAT, NOW)

    with pytest.raises(StoreUnavailable):
        write(store, "under way meanwhile")

    assert store.chats.find(CHAT) is None
    assert store.queue.waiting() == 0


def test_what_waits_of_a_deleted_chat_is_not_sent(store: Store) -> None:
    write(store, "Hello")
    write(store, "Hi", OTHER)
    deliveries = due(store)

    store.chats.delete(CHAT, NOW)

    assert texts(store.queue.claim(deliveries, LINE, NOW)) == ["Hi"]


def test_a_call_that_was_under_way_brings_nothing_of_a_deleted_chat_back(store: Store) -> None:
    write(store, "Hello")
    (delivery,) = store.queue.claim(due(store), 7, NOW)
    store.chats.delete(CHAT, NOW)

    states: tuple[Literal["in doubt", "queued", "failed", "delivered"], ...]
    states = ("in doubt", "queued", "failed", "delivered")
    for state in states:
        store.queue.record([Outcome(delivery, state, dialog=PortalDialog(5, None, 3))], NOW)

    assert store.chats.find(CHAT) is None
    assert store.queue.waiting() == 0


def test_what_the_portal_sends_for_a_deleted_chat_is_not_kept(store: Store) -> None:
    write(store, "Hello")
    store.chats.delete(CHAT, NOW)

    added = store.messages.add_from_operators([answer(), answer(903312, chat_id=OTHER)], NOW)
    assert [message.chat_id for message in added] == [OTHER]
    assert store.messages.edit(answer(903313, "Edited"), NOW) is False
    assert store.messages.take_back(answer(903314), NOW) is False
    store.dialogs.note_dialog(CHAT, LINE, 5120, 18, 3301, NOW)

    assert store.chats.find(CHAT) is None
    assert [delivery.chat.id for delivery in store.queue.due_confirmations(NOW, 10)] == [OTHER]
    assert store.queue.waiting() == 1
