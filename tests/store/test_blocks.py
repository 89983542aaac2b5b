"""A block follows the visitor, whatever becomes of the conversation."""

import pytest
from store_parts import CHAT, NOW, OTHER, THIRD, write

from storage import Store


def test_a_block_is_of_one_visitor_until_it_is_taken_back(store: Store) -> None:
    write(store)

    store.blocks.block(CHAT, NOW)
    store.blocks.block(CHAT, NOW + 1)

    assert store.blocks.is_blocked(CHAT)
    assert not store.blocks.is_blocked(OTHER)
    assert store.blocks.all() == [CHAT]
    assert store.blocks.unblock(CHAT) is True
    assert store.blocks.unblock(CHAT) is False
    assert store.blocks.all() == []


def test_who_writes_and_whether_they_may_is_found_together(store: Store) -> None:
    write(store)

    assert store.chats.find_writer(CHAT).chat == store.chats.find_open(CHAT)
    assert store.chats.find_writer(OTHER).chat is None
    for is_blocked in (False, True):
        for chat in (CHAT, OTHER):
            assert store.chats.find_writer(chat).is_blocked is is_blocked
            store.blocks.block(chat, NOW)


def test_how_far_the_chat_and_the_store_are_is_found_with_it(store: Store) -> None:
    changed = write(store, chat=CHAT).revision
    other = write(store, chat=OTHER).revision

    found = store.chats.find_writer(CHAT)
    assert (found.latest, found.revision) == (changed, other)
    assert found.epoch == store.epochs.current()
    assert not found.has_parts
    assert store.chats.find_writer(THIRD).latest == 0
    store.chats.make_part(CHAT, OTHER)
    assert store.chats.find_writer(OTHER).has_parts


def test_whoever_deletes_the_conversation_goes_on_blocked(store: Store) -> None:
    write(store)
    store.blocks.block(CHAT, NOW)

    store.chats.delete(CHAT, NOW)
    heir = store.chats.latest_heir(CHAT)
    store.chats.delete(heir, NOW)

    assert heir != CHAT
    assert store.blocks.is_blocked(heir)


def test_whoever_logs_in_goes_on_blocked(store: Store) -> None:
    for chat in (CHAT, OTHER):
        write(store, chat=chat)
    store.blocks.block(CHAT, NOW)

    store.chats.make_part(CHAT, OTHER)

    assert store.blocks.is_blocked(OTHER)
    assert store.blocks.is_blocked(store.chats.latest_heir(CHAT))


@pytest.mark.parametrize("named", [CHAT, OTHER, THIRD])
def test_any_chat_of_a_visitor_blocks_and_unblocks_all_of_them(store: Store, named: str) -> None:
    for chat in (CHAT, OTHER, THIRD):
        write(store, chat=chat)
    store.chats.join(CHAT, THIRD)
    store.chats.join(OTHER, THIRD)

    store.blocks.block(named, NOW)
    assert set(store.blocks.all()) >= {CHAT, OTHER, THIRD}

    store.blocks.unblock(named)
    assert store.blocks.all() == []


def test_the_heir_of_a_blocked_chat_is_unblocked_by_either_name(store: Store) -> None:
    write(store)
    store.blocks.block(CHAT, NOW)
    store.chats.delete(CHAT, NOW)

    store.blocks.unblock(store.chats.latest_heir(CHAT))

    assert store.blocks.all() == []
