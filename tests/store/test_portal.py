"""What the portal granted: the tokens, the lines, and what another portal takes away."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from store_parts import (
    CHAT,
    LINE,
    MINUTE,
    NOW,
    OTHER,
    RENDERER,
    answer,
    deliver,
    due,
    found,
    history,
    texts,
    write,
)

from storage import Store
from store.records import Outcome, Portal

TOKENS = ("the-access-token", "the-refresh-token", "the-application-token")
PORTAL = Portal("0f" * 16, 1, TOKENS[0], TOKENS[1], NOW, TOKENS[2], True, NOW)


def granted(**other: Any) -> Portal:
    return replace(PORTAL, **other)


# -- the key that signs cookies


@pytest.mark.sqlite
def test_each_store_makes_its_secret_key_once(store: Store, second: Store, tmp_path: Path) -> None:
    key = store.portal.secret_key()

    assert len(key) >= 32
    assert store.portal.secret_key() == second.portal.secret_key() == key
    with closing(Store("sqlite:///other/chats.db", tmp_path, RENDERER)) as other:
        assert other.portal.secret_key() != key


# -- the grant


def test_a_grant_is_kept_until_it_is_forgotten(store: Store, second: Store) -> None:
    assert store.portal.find() is None

    store.portal.save(granted())
    assert second.portal.find() == granted()

    store.portal.save(granted(user_id=2, token_pending=False))
    assert second.portal.find() == granted(user_id=2, token_pending=False)

    store.portal.forget()
    assert second.portal.find() is None


def renew(store: Store) -> bool:
    return store.portal.save_tokens(
        "new-access", "new-refresh", NOW + MINUTE, instead_of=granted().refresh_token
    )


def test_renewed_tokens_replace_the_pair_and_nothing_else(store: Store) -> None:
    store.portal.save(granted())

    renew(store)

    assert store.portal.find() == granted(
        access_token="new-access", refresh_token="new-refresh", expires_at=NOW + MINUTE
    )


def test_tokens_renewed_after_an_uninstall_install_nothing(store: Store) -> None:
    renew(store)

    assert store.portal.find() is None


def test_a_learned_application_token_is_no_longer_pending(store: Store) -> None:
    store.portal.save(granted(application_token=""))

    store.portal.learn_application_token("learned")

    assert store.portal.find() == granted(application_token="learned", token_pending=False)


def test_an_uninstall_keeps_chats_and_what_waits(store: Store) -> None:
    write(store)
    store.portal.save(granted())
    store.portal.connect_line(7, NOW)

    store.portal.forget()

    assert history(store) == ["Hello"]
    assert store.queue.waiting() == 1
    assert store.portal.active_lines() == []


def test_a_portal_shows_no_token(store: Store) -> None:
    store.portal.save(granted())

    portal = store.portal.find()

    assert portal == granted()
    for picture in (repr(portal), str(portal), repr([portal])):
        assert "0f0f" in picture
        assert not any(token in picture for token in TOKENS)


# -- another portal


@pytest.mark.parametrize("member_id", [PORTAL.member_id, ""], ids=["its name", "no name"])
@pytest.mark.parametrize("uninstalled", [False, True], ids=["installed", "uninstalled"])
def test_a_portal_of_the_same_name_or_of_none_is_the_same_one(
    store: Store, member_id: str, uninstalled: bool
) -> None:
    store.portal.save(granted())
    deliver(store, "sent")
    if uninstalled:
        store.portal.forget()
    store.portal.connect_line(LINE, NOW)

    store.portal.save(granted(member_id=member_id))
    assert found(store).portal_chat_id == 5120
    assert store.portal.active_lines() == [LINE]
    store.portal.save(granted(member_id="second"))

    assert found(store).portal_chat_id is None


@pytest.mark.parametrize("uninstalled", [False, True], ids=["installed", "uninstalled"])
def test_another_portal_takes_away_every_id_and_line_that_the_first_gave(
    store: Store, uninstalled: bool
) -> None:
    store.portal.save(granted())
    store.portal.connect_line(LINE, NOW)
    deliver(store, "sent")
    store.messages.add_from_operators([answer(903311)], NOW)
    write(store, "in doubt")
    (doubtful,) = store.queue.claim(due(store), LINE, NOW)
    store.queue.record([Outcome(doubtful, "in doubt", "NO_REPLY", NOW)], NOW)
    write(store, "under way", OTHER)
    store.queue.claim(store.queue.due_messages(NOW, 10), LINE, NOW)
    store.notes.names_sessions.set(True)
    store.notes.up_at.set(NOW)
    if uninstalled:
        store.portal.forget()

    store.portal.save(granted(member_id="second"))

    chat = found(store)
    assert (chat.line, chat.dialog_line, chat.portal_chat_id) == (None, None, None)
    assert (chat.portal_user_id, chat.session_id) == (None, None)
    assert store.portal.active_lines() == []
    assert store.dialogs.in_conversation(0) == []
    assert store.messages.known_im_message_ids(CHAT) == set()
    kept = store.conversations.latest(CHAT, None, 10)
    assert [message.im_chat_id for message in kept] == [None] * 3
    assert store.queue.messages_in_doubt(NOW, 10) == []
    waiting = store.queue.due_messages(NOW, 10)
    assert texts(waiting) == ["in doubt", "under way"]
    for delivery in waiting:
        assert (delivery.state, delivery.line, delivery.attempts) == ("queued", None, 0)
        assert (delivery.called_at, delivery.error) == (None, None)
    assert store.queue.due_confirmations(NOW, 10) == []
    assert (store.notes.names_sessions.get(), store.notes.up_at.get()) == (None, NOW)
    (added,) = store.messages.add_from_operators([answer(903311, "of the second")], NOW)
    assert history(store)[-1] == added.text, "its ids may be the same"


# -- lines


def test_the_line_that_was_connected_last_comes_first(store: Store) -> None:
    for line in (7, 9, 12):
        store.portal.connect_line(line, NOW + line)
    assert store.portal.active_lines() == [12, 9, 7]

    store.portal.connect_line(7, NOW + 20)
    assert store.portal.active_lines() == [7, 12, 9]

    store.portal.disconnect_line(9)
    store.portal.disconnect_line(8)
    assert store.portal.active_lines() == [7, 12]

    store.portal.connect_line(9, NOW)
    assert store.portal.active_lines() == [7, 12, 9]


def test_what_waits_is_due_when_a_line_is_connected_and_what_is_in_doubt_is_not(
    store: Store,
) -> None:
    write(store, "waits")
    write(store, "in doubt", OTHER)
    waits, doubtful = due(store)
    store.queue.record([Outcome(waits, "queued", "NO_LINE", NOW + 900)], NOW)
    (claimed,) = store.queue.claim([doubtful], LINE, NOW)
    store.queue.record([Outcome(claimed, "in doubt", "NO_REPLY", NOW + 900)], NOW)

    store.portal.connect_line(LINE, NOW + 10)

    assert texts(store.queue.due_messages(NOW + 10, 10)) == ["waits"]
    assert texts(store.queue.due_messages(NOW - 300, 10)) == ["waits"], "by another host's clock"
    assert store.queue.messages_in_doubt(NOW + 899, 10) == []
    assert texts(store.queue.messages_in_doubt(NOW + 900, 10)) == ["in doubt"]
