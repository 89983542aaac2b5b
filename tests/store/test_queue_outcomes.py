"""What the queue and the message hold after a call: delivered, failed, queued or in doubt."""

from collections.abc import Callable

import pytest
from store_parts import (
    CHAT,
    FAILURES,
    LINE,
    MINUTE,
    NOW,
    answer,
    due,
    found,
    only_message,
    refuse,
    texts,
    write,
)

from storage import Store
from store.records import Delivery, Outcome, PortalDialog


def outcome_of(store: Store, make: Callable[[Delivery], Outcome], now: float = NOW) -> Delivery:
    """Write a message, claim it, note how its call ended, and read it again."""
    write(store)
    (claimed,) = store.queue.claim(store.queue.due_messages(NOW, 1), LINE, NOW)
    store.queue.record([make(claimed)], now)
    (again,) = due(store, NOW + 900)
    return again


# -- delivered or failed


def test_a_delivered_message_leaves_the_queue_and_brings_the_portals_ids(store: Store) -> None:
    message = write(store)
    (delivery,) = store.queue.claim(due(store), 7, NOW)

    store.queue.record([Outcome(delivery, "delivered", dialog=PortalDialog(5120, 2114, 3301))], NOW)

    delivered = only_message(store)
    assert (delivered.state, delivered.error) == ("delivered", None)
    assert delivered.revision > message.revision
    assert (store.queue.waiting(), due(store, NOW + MINUTE)) == (0, [])
    chat = found(store)
    assert (chat.portal_chat_id, chat.portal_user_id, chat.session_id) == (5120, 2114, 3301)


@pytest.mark.parametrize(
    ("named", "ids"),
    [
        (PortalDialog(), (5120, 2114, 3301)),
        (PortalDialog(5121, None, 3302), (5121, 2114, 3302)),
        (PortalDialog(portal_user_id=2001), (5120, 2001, 3301)),
    ],
    ids=["no id", "another dialog without its user", "the user only"],
)
def test_an_id_that_an_answer_does_not_name_stays_as_it_was(
    store: Store, named: PortalDialog, ids: tuple[int, int, int]
) -> None:
    write(store)
    store.dialogs.note_dialog(CHAT, LINE, 5120, 2114, 3301, None)

    store.queue.record([Outcome(due(store)[0], "delivered", dialog=named)], NOW)

    chat = found(store)
    assert (chat.portal_chat_id, chat.portal_user_id, chat.session_id) == ids


def test_a_refused_message_says_why_and_leaves_the_others_of_its_chat_alone(store: Store) -> None:
    write(store, "refused")
    write(store, "waits")
    first, _ = store.queue.due_messages(NOW, 1, 2)
    revision = store.messages.revision()

    store.queue.record([Outcome(first, "failed", "EMAIL_INVALID")], NOW)

    refused, waits = store.conversations.latest(CHAT, None, 2)
    assert (refused.state, refused.error) == ("refused", "EMAIL_INVALID")
    assert (waits.state, waits.error) == ("stored", None)
    assert refused.revision > revision == waits.revision
    assert texts(store.queue.due_messages(NOW, 1, 2)) == ["waits"]
    assert store.queue.waiting() == 1


def test_a_late_note_of_a_failure_changes_nothing_that_was_settled_meanwhile(store: Store) -> None:
    write(store, "hello")
    (delivery,) = store.queue.claim(due(store), 7, NOW)
    store.queue.record([Outcome(delivery, "delivered")], NOW)

    store.queue.record([Outcome(delivery, "failed", "BAD")], NOW + 1)

    message = only_message(store)
    assert (message.state, message.error) == ("delivered", None)


def test_a_confirmation_leaves_the_queue_and_hides_no_edit_that_was_made_meanwhile(
    store: Store,
) -> None:
    store.messages.add_from_operators([answer()], NOW)
    (confirmation,) = store.queue.due_confirmations(NOW, 50)
    store.messages.edit(answer(text="Good evening"), NOW)
    edited = store.messages.revision()

    store.queue.record([Outcome(confirmation, "delivered")], NOW)

    (message,) = store.conversations.changed_after(CHAT, edited - 1, 50)
    assert (message.text, message.revision) == ("Good evening", edited), "the visitor sees no more"
    assert store.queue.waiting() == 0


def test_outcomes_are_noted_all_or_none(store: Store) -> None:
    write(store, "1")
    write(store, "2")
    first, second = due(store)
    refuse(store, "delete on deliveries", "old.id > 1")

    with pytest.raises(FAILURES):
        store.queue.record([Outcome(first, "delivered"), Outcome(second, "delivered")], NOW)

    assert [message.state for message in store.conversations.latest(CHAT, None, 50)] == [
        "stored",
        "stored",
    ]
    assert store.queue.waiting() == 2


# -- queued or in doubt


def test_calls_that_may_have_brought_it_are_counted(store: Store) -> None:
    write(store)
    for number in range(3):
        (delivery,) = due(store)
        assert delivery.attempts == number
        store.queue.record([Outcome(delivery, "queued", "A_TRY", NOW)], NOW)
        store.queue.record([Outcome(delivery, "queued", "NO_TRY", NOW, attempted=False)], NOW)


def test_a_message_that_is_queued_again_was_surely_not_sent(store: Store) -> None:
    message = write(store)
    (delivery,) = store.queue.claim(due(store), 7, NOW)

    store.queue.record([Outcome(delivery, "queued", "NOT_CONNECTED", NOW + 5)], NOW)

    assert due(store, NOW + 4) == []
    (delivery,) = due(store, NOW + 5)
    assert (delivery.called_at, delivery.error) == (None, "NOT_CONNECTED")
    assert delivery.attempts == 1
    assert delivery.message == message


def test_a_message_in_doubt_keeps_the_time_at_which_its_call_ended(store: Store) -> None:
    again = outcome_of(
        store, lambda claimed: Outcome(claimed, "in doubt", "NO_REPLY", NOW + 5), now=NOW + 3
    )

    assert (again.attempts, again.error, again.called_at) == (1, "NO_REPLY", NOW + 3)
    assert again.line == LINE
    assert store.queue.messages_in_doubt(NOW + 4.9, 1) == []
    store.queue.record([Outcome(again, "in doubt", "NO_REPLY", NOW + 9, attempted=False)], NOW + 8)
    (again,) = store.queue.messages_in_doubt(NOW + 9, 1)
    assert (again.attempts, again.called_at) == (1, NOW + 3), "a look is no call"
    store.queue.record([Outcome(again, "queued", "NO_REPLY", NOW + 9, attempted=False)], NOW + 9)
    (again,) = store.queue.due_messages(NOW + 9, 1)
    assert (again.attempts, again.called_at, again.file_as_link) == (1, None, False)


def test_an_outcome_is_noted_with_a_delivery_that_was_read_before_its_call(store: Store) -> None:
    write(store)
    read_before = due(store)
    store.queue.claim(read_before, 7, NOW)

    store.queue.record([Outcome(read_before[0], "in doubt", "NO_REPLY", NOW)], NOW)

    assert due(store)[0].called_at == NOW


def test_a_file_that_goes_as_a_link_does_so_until_it_is_there(store: Store) -> None:
    again = outcome_of(
        store, lambda claimed: Outcome(claimed, "queued", "NO_FILE", file_as_link=True)
    )
    assert again.file_as_link is True

    store.queue.record([Outcome(again, "queued", "NOT_CONNECTED")], NOW)

    (again,) = store.queue.due_messages(NOW, 1)
    assert again.file_as_link is True
