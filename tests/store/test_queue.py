"""The queue: what is due and in which order, what a call takes, what is queued once more."""

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
    interrupt,
    texts,
    write,
)

from storage import Store
from store.records import Limits, Outcome, TooMany

# -- visitors' messages that are due


def test_a_delivery_carries_its_message_and_chat(store: Store) -> None:
    message = write(store)

    (delivery,) = due(store)

    assert delivery.message == message
    assert delivery.chat == store.chats.find(CHAT)
    assert (delivery.kind, delivery.attempts, delivery.called_at) == ("message", 0, None)


def test_deliveries_are_due_in_the_order_of_writing(store: Store) -> None:
    for number in range(5):
        write(store, str(number), now=NOW - number)  # a clock that runs backwards changes nothing

    assert texts(due(store)) == ["0", "1", "2", "3", "4"]


def test_the_chat_that_waits_longest_comes_first_and_its_messages_together(store: Store) -> None:
    write(store, "a1")
    write(store, "b1", chat=OTHER)
    write(store, "a2")

    assert texts(due(store)) == ["a1", "a2", "b1"]


def test_nothing_is_due_before_its_time(store: Store) -> None:
    write(store)
    store.queue.record([Outcome(due(store)[0], "queued", "NO_LINE", NOW + MINUTE)], NOW)

    assert due(store, now=NOW + MINUTE - 1) == []
    assert len(due(store, now=NOW + MINUTE)) == 1


def test_what_is_new_is_due_at_once_however_slow_the_clock_of_the_host_that_delivers(
    store: Store,
) -> None:
    write(store)
    store.messages.add_from_operators([answer()], NOW)

    assert len(due(store, now=NOW - 300)) == 1
    assert len(store.queue.due_confirmations(NOW - 300, 10)) == 1


@pytest.mark.parametrize(
    ("chats", "of_a_chat", "found"),
    [
        (100, 2, ["a0", "a1", "b0", "b1", "c0", "c1"]),
        (100, 1, ["a0", "b0", "c0"]),
        (2, 2, ["a0", "a1", "b0", "b1"]),
        (1, 2, ["a0", "a1"]),
    ],
)
def test_no_more_chats_are_given_than_asked_and_no_more_messages_of_each(
    store: Store, chats: int, of_a_chat: int, found: list[str]
) -> None:
    for chat in (CHAT, OTHER, THIRD):
        for number in range(3):
            write(store, f"{chat[-1]}{number}", chat)

    assert texts(store.queue.due_messages(NOW, chats, of_a_chat)) == found
    assert texts(store.queue.due_messages(NOW, 2)) == ["a0", "b0"], "else one of each chat"
    assert store.queue.waiting() == 9


def test_a_message_that_waits_holds_up_its_own_chat_only(store: Store) -> None:
    write(store, "a1")
    write(store, "a2")
    write(store, "b1", chat=OTHER)
    (head, *_) = due(store)

    store.queue.record([Outcome(head, "queued", "NOT_CONNECTED", NOW + MINUTE)], NOW)
    write(store, "a3")

    assert texts(due(store)) == ["b1"]
    assert texts(due(store, now=NOW + MINUTE)) == ["a1", "a2", "a3", "b1"]


def test_a_later_time_is_made_due_and_an_earlier_one_stays(store: Store) -> None:
    for chat, at in ((CHAT, NOW + 900), (OTHER, NOW - 900)):
        write(store, f"of {chat[-1]}", chat)
        waiting = store.queue.due_messages(NOW, 10)
        (delivery,) = [delivery for delivery in waiting if delivery.chat.id == chat]
        store.queue.record([Outcome(delivery, "queued", "X", at)], NOW)

    store.queue.make_due(NOW)

    assert texts(store.queue.due_messages(NOW - 1, 10)) == ["of b"]
    assert texts(store.queue.due_messages(NOW, 10)) == ["of a", "of b"]


def test_nothing_waits_for_a_time_that_a_clock_showed_by_mistake(store: Store) -> None:
    write(store, "later", OTHER)
    write(store, "doubtful")
    doubtful, later = sorted(due(store), key=lambda delivery: delivery.message.text)
    store.queue.claim([doubtful], 7, NOW + 900)
    store.queue.record([Outcome(later, "queued", "NOT_CONNECTED", NOW + 900)], NOW)
    interrupt(store, NOW + 900)

    store.queue.make_due(NOW)

    assert [delivery.called_at for delivery in due(store)] == [None, NOW]


# -- confirmations


def test_confirmations_are_due_oldest_first_and_not_before_their_time(store: Store) -> None:
    store.messages.add_from_operators([answer(1, "1"), answer(2, "2"), answer(3, "3")], NOW)

    assert texts(store.queue.due_confirmations(NOW, 2)) == ["1", "2"]
    first, *others = store.queue.due_confirmations(NOW, 10)
    later = [Outcome(one, "queued", "NO_REPLY", NOW + MINUTE) for one in others]
    store.queue.record(later, NOW)
    assert store.queue.due_confirmations(NOW + MINUTE - 1, 10) == [first]


def test_confirmations_and_messages_do_not_wait_for_each_other(store: Store) -> None:
    store.messages.add_from_operators([answer()], NOW)
    write(store, "a1")
    (confirmation,) = store.queue.due_confirmations(NOW, 10)
    store.queue.record([Outcome(confirmation, "queued", "NO_REPLY", NOW + MINUTE)], NOW)

    assert texts(due(store)) == ["a1"]
    assert store.queue.due_confirmations(NOW, 10) == []
    assert len(store.queue.due_confirmations(NOW + MINUTE, 10)) == 1


# -- messages in doubt


def test_messages_in_doubt_of_a_chat_come_together_and_apart_from_the_rest(store: Store) -> None:
    for number in range(1, 5):
        write(store, f"a{number}")
    store.queue.claim(due(store)[:2], 7, NOW)
    assert store.queue.messages_in_doubt(NOW, 100) == [], "their call is under way"
    interrupt(store)

    assert store.queue.due_messages(NOW, 100, 100) == []
    (first, second) = store.queue.messages_in_doubt(NOW, 100)
    assert texts([first, second]) == ["a1", "a2"]
    store.queue.record([Outcome(first, "queued", "NO_REPLY", NOW)], NOW)
    assert texts(store.queue.due_messages(NOW, 100, 100)) == ["a1"], "the second is still in doubt"
    assert store.queue.messages_in_doubt(NOW, 100) == []


def test_no_message_behind_one_in_doubt_is_due(store: Store) -> None:
    for number in range(4):
        write(store, f"{number}")
    run = store.queue.due_messages(NOW, 1, 10)
    (claimed,) = store.queue.claim([run[2]], LINE, NOW)

    assert texts(store.queue.due_messages(NOW, 1, 10)) == ["0", "1"], "its call is under way"
    interrupt(store)
    assert texts(store.queue.due_messages(NOW, 1, 10)) == ["0", "1"]
    assert store.queue.messages_in_doubt(NOW, 10) == [], "its chat waits for the first"
    store.queue.claim(run[:2], LINE, NOW)
    assert store.queue.messages_in_doubt(NOW, 10) == [], "the call of the first is under way"
    interrupt(store)
    assert texts(store.queue.messages_in_doubt(NOW, 10)) == ["0", "1", "2"]
    assert store.queue.due_messages(NOW, 1, 10) == []
    assert claimed.called_at == NOW


def test_at_most_ten_messages_in_doubt_of_a_chat_are_looked_for_together(store: Store) -> None:
    for number in range(15):
        write(store, f"{number}")
    store.queue.claim(store.queue.due_messages(NOW, 1, 20), LINE, NOW)
    interrupt(store)

    assert len(store.queue.messages_in_doubt(NOW, 5)) == 10


# -- claiming


def test_a_message_that_another_process_has_claimed_is_not_claimed_again(
    store: Store, second: Store
) -> None:
    write(store)
    both = due(store), due(second)

    assert len(store.queue.claim(both[0], 7, NOW)) == 1
    assert second.queue.claim(both[1], 7, NOW) == []


def test_the_next_process_knows_which_calls_were_under_way(store: Store, second: Store) -> None:
    write(store)
    store.queue.claim(due(store), 7, NOW + 1)
    store.close()

    assert due(second, now=NOW + 2) == []
    interrupt(second, NOW + 2)
    (delivery,) = due(second, now=NOW + 2)

    assert (delivery.state, delivery.error) == ("in doubt", "DIED")
    assert (delivery.called_at, delivery.attempts) == (NOW + 2, 0), "it may have lasted until now"
    assert (delivery.line, delivery.chat.line) == (7, 7)


def test_a_chat_keeps_the_line_of_its_first_call(store: Store) -> None:
    deliver(store, "one")
    write(store, "two")

    (claimed,) = store.queue.claim(store.queue.due_messages(NOW, 1), 12, NOW)

    assert claimed.line == 12
    assert found(store).line == LINE
    assert found(store).dialog_line == LINE


# -- once more


def test_a_refused_message_is_queued_once_more_and_stays_in_its_place(store: Store) -> None:
    message = write(store, "refused")
    write(store, "after it")
    store.queue.record([Outcome(due(store)[0], "failed", "BAD")], NOW)

    again = store.queue.retry(CHAT, message.id, LIMITS, NOW + 1)
    once = store.queue.retry(CHAT, message.id, LIMITS, NOW + 1)

    assert again is not None
    assert (again.state, again.error, again.position) == ("stored", None, message.position)
    assert again == once, "it is queued already"
    assert texts(due(store, NOW + 1, chat_limit=9)) == ["after it", "refused"]
    assert store.conversations.changed_after(CHAT, again.revision - 1, 9) == [again]


def test_what_is_not_refused_or_not_the_visitors_is_not_queued_once_more(store: Store) -> None:
    message = write(store)
    (told,) = store.messages.add_from_operators([answer()], NOW)

    assert store.queue.retry(CHAT, message.id, LIMITS, NOW) == message
    assert store.queue.retry(OTHER, message.id, LIMITS, NOW) is None
    assert store.queue.retry(CHAT, told.id, LIMITS, NOW) is None
    assert store.queue.waiting() == 2


def test_a_refused_message_counts_when_it_is_queued_once_more(store: Store) -> None:
    message = write(store)
    store.queue.record([Outcome(due(store)[0], "failed", "BAD")], NOW)

    with pytest.raises(TooMany):
        store.queue.retry(CHAT, message.id, Limits("an address", 1, 100), NOW)

    assert store.conversations.latest(CHAT, None, 1)[0].state == "refused"
    assert store.queue.waiting() == 0
