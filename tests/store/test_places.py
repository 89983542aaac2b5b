"""Whose message is sent next: nobody waits for somebody else."""

from dataclasses import replace

import pytest
from store_parts import LIMITS, LINE, NOW, texts, write

from storage import Store
from store.queue import NEWEST_OF, heads
from store.records import Limits, Outcome, PortalDialog, TooMany

CALL = 40
FLOOD = [replace(LIMITS, address=f"flood {number}") for number in range(20)]


def chat(number: int) -> str:
    return f"chat{number:064x}"


def fill(store: Store, chats: int, senders: list[Limits]) -> None:
    """New chats with a message each, the senders in turn."""
    for number in range(chats):
        limits = senders[number % len(senders)]
        write(store, limits.address, chat=chat(number), limits=limits)


def one_call(store: Store, size: int = CALL) -> list[str]:
    """The texts of the messages that the next call takes to the portal."""
    claimed = store.queue.claim(store.queue.due_messages(NOW, size), LINE, NOW)
    dialogs = [PortalDialog(int(delivery.id) + 10_000, 1, 1) for delivery in claimed]
    store.queue.record(
        [
            Outcome(delivery, "delivered", dialog=dialog)
            for delivery, dialog in zip(claimed, dialogs, strict=True)
        ],
        NOW,
    )
    return texts(claimed)


def test_behind_a_flood_from_twenty_addresses_a_visitor_is_in_the_next_call(store: Store) -> None:
    fill(store, 400, FLOOD)
    one_call(store)

    write(store, "a visitor", chat=chat(1000))
    fill_more = [replace(limits) for limits in FLOOD]
    for number in range(2000, 2200):
        write(store, "more", chat=chat(number), limits=fill_more[number % 20])

    assert "a visitor" in one_call(store)


def test_a_visitor_of_the_floods_own_address_chats_on(store: Store) -> None:
    [office] = FLOOD[:1]
    write(store, "first", chat=chat(1000), limits=office)
    one_call(store)
    fill(store, 400, [office])
    one_call(store)

    write(store, "chats on", chat=chat(1000), limits=office)
    for number in range(2000, 2200):
        write(store, "more", chat=chat(number), limits=office)

    assert "chats on" in one_call(store)


def test_a_new_visitor_of_the_floods_own_address_is_heard_while_the_flood_pauses(
    store: Store,
) -> None:
    fill(store, 400, FLOOD[:1])

    write(store, "newest", chat=chat(1000), limits=FLOOD[0])

    assert "newest" in one_call(store)


def test_the_senders_take_turns_however_much_each_has_written(store: Store) -> None:
    fill(store, 100, FLOOD[:1])
    for number in range(1000, 1010):
        write(store, "flood 1", chat=chat(number), limits=FLOOD[1])

    taken = one_call(store, 20) + one_call(store, 20)

    assert taken.count("flood 1") == 10
    assert taken.count("flood 0") == 30


def test_a_senders_chats_take_turns(store: Store) -> None:
    """A chat with many messages goes to the end of its address with each."""
    for number in range(10):
        write(store, f"many {number}", chat=chat(1))
    for number in range(2, 6):
        write(store, "one", chat=chat(number))

    taken = [text for _ in range(7) for text in one_call(store, 1)]

    assert taken.index("many 1") == 5
    assert [text for text in taken if text.startswith("many")] == ["many 0", "many 1", "many 2"]


def test_the_oldest_are_not_forgotten_while_new_ones_come(store: Store) -> None:
    senders = [replace(LIMITS, address=f"everybody {number}") for number in range(1000)]
    fill(store, 200, senders)
    taken: list[str] = []
    for call in range(10):
        for number in range(30):
            sender = senders[500 + number]
            write(store, "new", chat=chat(10_000 + 100 * call + number), limits=sender)
        taken += one_call(store)

    assert {f"everybody {number}" for number in range(200)} <= set(taken)


def test_every_fourth_is_one_of_the_newest(store: Store) -> None:
    fill(store, 200, FLOOD[:1])
    for number in range(1000, 1010):
        write(store, "newest", chat=chat(number), limits=FLOOD[0])

    due = texts(store.queue.due_messages(NOW, CALL))

    assert due.count("newest") == CALL // NEWEST_OF
    assert due[:NEWEST_OF].count("newest") == 1


@pytest.mark.sqlite
@pytest.mark.parametrize("order", ["place, id", "id desc"])
def test_to_find_the_next_no_other_message_is_looked_at(store: Store, order: str) -> None:
    """However many wait: the index gives them in their order."""
    fill(store, 20, FLOOD)

    plan = store.database.rows(f"explain query plan {heads(order)}", "queued", LINE, NOW, CALL)
    assert [step["detail"].partition(" (")[0] for step in plan] == [
        f"SEARCH deliveries USING INDEX deliveries_by_{'place' if order == 'place, id' else 'age'}"
    ]


# -- limits of an address


def test_an_address_begins_so_many_chats_a_minute_and_goes_on_in_them(store: Store) -> None:
    limits = replace(LIMITS, chats_per_minute=3)
    for number in range(3):
        write(store, chat=chat(number), limits=limits)

    with pytest.raises(TooMany):
        write(store, chat=chat(3), limits=limits)

    write(store, "goes on", chat=chat(2), limits=limits)
    write(store, "elsewhere", chat=chat(4), limits=replace(limits, address="another"))
    write(store, "later", chat=chat(3), limits=limits, now=NOW + 60)


def test_so_many_messages_of_an_address_wait_at_most(store: Store) -> None:
    limits = replace(LIMITS, waiting=3)
    for number in range(3):
        write(store, chat=chat(number), limits=limits)

    with pytest.raises(TooMany):
        write(store, chat=chat(1), limits=limits)

    write(store, "elsewhere", chat=chat(4), limits=replace(limits, address="another"))
    one_call(store, 1)
    write(store, "there is room", chat=chat(1), limits=limits)
