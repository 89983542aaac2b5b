"""Visitors' messages: in order, the chats in turn, and what becomes of one that is refused."""

from fake_portal import (
    DAY,
    LINE,
    NOW,
    OTHER_LINE,
    FakePortal,
    attach_file,
    chat_id,
    refused_item,
    run,
    run_each,
    states,
    write,
    write_to_all,
)

from delivery.worker import Worker
from storage import Store


def test_messages_go_out_in_order_and_each_alone_while_there_are_few(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    for text in ("one", "two", "three"):
        write(store, text)

    run(worker, NOW)

    assert bitrix.sent == [["one"], ["two"], ["three"]]
    assert states(store) == ["delivered"] * 3
    assert store.queue.waiting() == 0


def test_a_refused_message_says_why_and_holds_up_no_other(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send of bad"] = refused_item("no such user")
    write(store, "bad")
    write(store, "good")

    run(worker, NOW)

    assert states(store) == ["refused", "delivered"]
    assert store.conversations.latest(chat_id(1), None, 10)[0].error == "no such user"
    run(worker, NOW + DAY)
    assert bitrix.sent == [["bad"], ["good"]]


def test_a_call_carries_one_message_of_each_chat(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    for number in range(6):
        for chat in range(3):
            write(store, f"{chat}-{number}", chat)

    run(worker, NOW)

    assert all(len({text[0] for text in call}) == len(call) for call in bitrix.sent)


def test_a_chat_with_many_files_lets_other_chats_pass(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """Files go one by one, each as long as the portal takes to fetch it."""
    for number in range(8):
        write(store, f"file {number}", chat=1)
    attach_file(store)
    for chat in (2, 3, 4):
        write(store, f"of {chat}", chat)

    run(worker, NOW, steps=3)

    assert bitrix.sent == [["file 0"], ["of 2", "of 3", "of 4"], ["file 1"]]


def test_two_chats_with_many_files_take_turns(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    for chat in (1, 2):
        for number in range(20):
            write(store, f"file {number} of {chat}", chat)
    attach_file(store)

    run_each(worker, range(8), steps=1)

    assert bitrix.sent[:4] == [[f"file {n} of {chat}"] for n in (0, 1) for chat in (1, 2)]


def test_the_line_of_the_chat_that_waits_longest_comes_first(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """Whoever had a turn lets others have theirs."""
    write(store, "first", chat=1)
    run(worker, NOW)
    store.portal.connect_line(OTHER_LINE, NOW + 1)
    write(store, "first", chat=2)
    run(worker, NOW + 1)
    bitrix.calls.clear()

    write_to_all(store, "second", (1, 1, 2, 2))
    run(worker, NOW + 2)

    assert bitrix.lines == [LINE, OTHER_LINE] * 2
