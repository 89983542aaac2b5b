"""The chat in which a visitor goes on whose chat was deleted, or became a part of another."""

from store_parts import CHAT, NOW, OTHER, THIRD, found_open, history, sql, write

from storage import Store
from store.chats import FAR_HEIRS, HEIRS_AT_ONCE


def test_a_chat_that_lives_is_its_own_heir(store: Store) -> None:
    write(store, "Hello")

    assert store.chats.latest_heir(CHAT) == CHAT
    assert store.chats.latest_heir("unknown") == "unknown"


def test_a_deleted_chat_has_one_heir_on_the_same_site(store: Store, second: Store) -> None:
    write(store, "Hello")
    store.chats.delete(CHAT, NOW)
    heir = store.chats.latest_heir(CHAT)

    second.chats.delete(CHAT, NOW)  # a deletion that was under way in another process

    assert heir != CHAT
    assert (heir[:36], len(heir)) == (CHAT[:36], len(CHAT))
    assert second.chats.latest_heir(CHAT) == heir


def test_heirs_cannot_be_guessed(store: Store) -> None:
    for chat in (CHAT, OTHER):
        write(store, "deleted", chat)
        store.chats.delete(chat, NOW)

    heirs = {store.chats.latest_heir(CHAT), store.chats.latest_heir(OTHER)}
    assert len(heirs) == 2
    assert heirs.isdisjoint({CHAT, OTHER})


def test_a_long_way_to_the_latest_heir_is_walked_once(store: Store) -> None:
    many = 2 * HEIRS_AT_ONCE + FAR_HEIRS + 5
    for number in range(many):
        store.chats.give_heir(f"{CHAT}{number or ''}", f"{CHAT}{number + 1}")

    last = store.chats.latest_heir(CHAT)

    assert last == f"{CHAT}{many}"
    assert sql(store, f"select heir from heirs where id = '{CHAT}'") == [(last,)]
    assert store.chats.latest_heir(f"{CHAT}{HEIRS_AT_ONCE}") == last


def test_a_short_way_needs_no_write(store: Store) -> None:
    for number in range(FAR_HEIRS):
        store.chats.give_heir(f"{CHAT}{number or ''}", f"{CHAT}{number + 1}")

    assert store.chats.latest_heir(CHAT) == f"{CHAT}{FAR_HEIRS}"
    assert sql(store, f"select heir from heirs where id = '{CHAT}'") == [(f"{CHAT}1",)]


def test_who_became_a_part_goes_on_alone(store: Store) -> None:
    write(store, "before the log-in")

    assert store.chats.make_part(CHAT, OTHER)

    heir = store.chats.latest_heir(CHAT)
    assert heir not in (CHAT, OTHER)
    assert found_open(store, OTHER).id == CHAT
    store.chats.delete(OTHER, NOW)
    assert store.chats.latest_heir(CHAT) == heir
    assert store.chats.latest_heir(OTHER) not in (heir, OTHER, CHAT)


def test_nothing_becomes_a_part_of_what_was_deleted_meanwhile(store: Store) -> None:
    write(store, "before the log-in")
    write(store, "deleted", OTHER)
    store.chats.delete(OTHER, NOW)

    assert not store.chats.make_part(CHAT, OTHER)
    store.chats.join(CHAT, OTHER)

    assert found_open(store, CHAT).id == CHAT
    assert store.chats.latest_heir(CHAT) == CHAT


def test_two_chats_of_one_customer_become_one(store: Store) -> None:
    write(store, "a part", THIRD)
    store.chats.make_part(THIRD, CHAT)
    write(store, "older spelling", CHAT)
    write(store, "newer spelling", OTHER)
    before = store.messages.revision()

    store.chats.join(CHAT, OTHER)

    assert sorted(history(store, OTHER)) == ["a part", "newer spelling", "older spelling"]
    assert found_open(store, OTHER).id == OTHER
    assert store.chats.latest_heir(CHAT) == OTHER
    changed = [message.text for message in store.conversations.changed_after(OTHER, before, 9)]
    assert sorted(changed) == ["a part", "older spelling"], "open pages hear of them"

    assert sorted(store.chats.delete(OTHER, NOW)) == sorted([OTHER, CHAT, THIRD])
    assert store.chats.latest_heir(CHAT) == store.chats.latest_heir(OTHER)
    assert not store.chats.is_over(store.chats.latest_heir(CHAT))


def test_what_earlier_releases_ended_is_over_without_an_heir(store: Store) -> None:
    write(store, "a part", OTHER)
    sql(store, f"insert into deletions (id, deleted_at) values ('{CHAT}', {NOW})")
    sql(store, f"update chats set owner = '{THIRD}' where id = '{OTHER}'")

    assert store.chats.over_without_heir([CHAT, OTHER, THIRD]) == {CHAT, OTHER}
    store.chats.give_heir(CHAT, "one")
    store.chats.give_heir(CHAT, "another")
    assert store.chats.over_without_heir([CHAT, OTHER, THIRD]) == {OTHER}
    assert store.chats.latest_heir(CHAT) == "one"
    store.chats.delete(THIRD, NOW)
    assert store.chats.over_without_heir([CHAT, OTHER, THIRD]) == {OTHER}, "as it was"


def test_log_ins_that_ended_are_known_until_their_tokens_expire(store: Store) -> None:
    store.logins.end({"one", "two"}, NOW, 100.0)
    store.logins.end({"one"}, NOW + 50, 100.0)
    assert ended(store) == ["one", "two"]

    store.logins.end({"three"}, NOW + 101, 100.0)

    assert ended(store) == ["three"]


def ended(store: Store) -> list[str]:
    return [login for login in ("one", "two", "three") if store.logins.has_ended(login)]
