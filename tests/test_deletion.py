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

from storage import Outcome, PortalDialog, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(URL, tmp_path, RENDERER)) as store:
        store.open()
        yield store


def test_nothing_of_a_deleted_chat_is_left_and_others_stay(store: Store) -> None:
    for chat in (CHAT, OTHER):
        write(store, "Hello", chat)
    store.add_operator_messages([answer()], NOW)

    store.delete_chat(CHAT, NOW)

    for table in ("chats", "messages", "deliveries", "hits"):
        found = [str([*row]) for row in sql(store, f"select * from {table}")]
        assert not any(CHAT in row or "Good morning" in row for row in found), table
    assert store.was_deleted(CHAT)
    assert not store.was_deleted(OTHER)
    assert history(store, OTHER) == ["Hello"]
    assert [one.chat.id for one in due(store)] == [OTHER]


def test_deleting_twice_or_what_never_was_does_no_harm(store: Store) -> None:
    store.delete_chat(CHAT, NOW)
    store.delete_chat(CHAT, NOW)

    assert store.find_chat(CHAT) is None


def test_what_was_not_yet_sent_is_not_sent_any_more(store: Store) -> None:
    write(store, "Hello")
    write(store, "Hi", OTHER)
    deliveries = due(store)

    store.delete_chat(CHAT, NOW)

    assert [one.chat.id for one in store.claim(deliveries, 7, NOW)] == [OTHER]


def test_the_end_of_a_try_that_was_under_way_changes_nothing(store: Store) -> None:
    write(store, "Hello")
    (delivery,) = store.claim(due(store), 7, NOW)
    store.delete_chat(CHAT, NOW)

    states: tuple[Literal["in doubt", "queued", "failed", "delivered"], ...]
    states = ("in doubt", "queued", "failed", "delivered")
    for state in states:
        store.record([Outcome(delivery, state, dialog=PortalDialog(5, None, 3))], NOW)

    assert store.find_chat(CHAT) is None
    assert store.waiting() == 0


def test_what_the_portal_sends_for_a_deleted_chat_is_not_kept(store: Store) -> None:
    write(store, "Hello")
    store.delete_chat(CHAT, NOW)

    assert (
        store.add_operator_messages([answer(), answer(903312, chat_id=OTHER)], NOW)[0].chat_id
        == OTHER
    )
    assert store.edit_message(answer(903313, "Edited"), NOW) is False
    assert store.delete_message(answer(903314), NOW) is False
    store.note_dialog(CHAT, 7, 5120, 18, 3301, NOW)

    assert store.find_chat(CHAT) is None
    assert [one.chat.id for one in store.due_confirmations(NOW, 10)] == [OTHER]


def test_what_the_visitor_agreed_to_first_stays(store: Store) -> None:
    def say(consent: str | None, at: float | None) -> None:
        chat = replace(visitor(), consent=consent, consent_at=at)

        store.add_visitor_message(chat, "Hello", "Hello", None, LIMITS, NOW)

    say("I agree.", NOW)
    say(None, None)
    say("Something else", NOW + 5)

    chat = store.find_chat(CHAT)
    assert chat is not None
    assert (chat.consent, chat.consent_at) == ("I agree.", NOW)
