"""A visitor deletes the conversation while the portal and the sender are at work on it."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from test_storage import (
    CHAT,
    LIMITS,
    NOW,
    OTHER,
    RENDERER,
    URL,
    answer,
    due,
    history,
    sql,
    visitor,
    write,
)

from storage import Store
from store.records import Outcome, PortalDialog, VisitorMessage


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(URL, tmp_path, RENDERER)) as store:
        store.open()
        yield store


def test_nothing_of_a_deleted_chat_is_left_and_others_stay(store: Store) -> None:
    for chat in (CHAT, OTHER):
        write(store, "Hello", chat)
    store.messages.add_from_operators([answer()], NOW)

    store.chats.delete(CHAT, NOW)

    for table in ("chats", "messages", "deliveries", "hits"):
        found = [str([*row]) for row in sql(store, f"select * from {table}")]
        assert not any(CHAT in row or "Good morning" in row for row in found), table
    assert store.chats.was_deleted(CHAT)
    assert not store.chats.was_deleted(OTHER)
    assert history(store, OTHER) == ["Hello"]
    assert [one.chat.id for one in due(store)] == [OTHER]


def test_deleting_twice_or_what_never_was_does_no_harm(store: Store) -> None:
    store.chats.delete(CHAT, NOW)
    store.chats.delete(CHAT, NOW)

    assert store.chats.find(CHAT) is None


def test_what_was_not_yet_sent_is_not_sent_any_more(store: Store) -> None:
    write(store, "Hello")
    write(store, "Hi", OTHER)
    deliveries = due(store)

    store.chats.delete(CHAT, NOW)

    assert [one.chat.id for one in store.queue.claim(deliveries, 7, NOW)] == [OTHER]


def test_the_end_of_a_try_that_was_under_way_changes_nothing(store: Store) -> None:
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

    assert (
        store.messages.add_from_operators([answer(), answer(903312, chat_id=OTHER)], NOW)[0].chat_id
        == OTHER
    )
    assert store.messages.edit(answer(903313, "Edited"), NOW) is False
    assert store.messages.take_back(answer(903314), NOW) is False
    store.chats.note_dialog(CHAT, 7, 5120, 18, 3301, NOW)

    assert store.chats.find(CHAT) is None
    assert [one.chat.id for one in store.queue.due_confirmations(NOW, 10)] == [OTHER]


def test_what_the_visitor_agreed_to_first_stays(store: Store) -> None:
    def say(consent: str | None, at: float | None) -> None:
        chat = replace(visitor(), consent=consent, consent_at=at)

        store.messages.add_from_visitor(VisitorMessage(chat, "Hello", "Hello", None), LIMITS, NOW)

    say("I agree.", NOW)
    say(None, None)
    say("Something else", NOW + 5)

    chat = store.chats.find(CHAT)
    assert chat is not None
    assert (chat.consent, chat.consent_at) == ("I agree.", NOW)
