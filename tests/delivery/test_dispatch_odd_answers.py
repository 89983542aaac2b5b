"""An odd answer to one message, one confirmation or one look holds up nobody else."""

import pytest
from fake_portal import (
    CONFIRM,
    DIALOG,
    NOW,
    READ,
    SEND,
    FakePortal,
    answer,
    know_dialog,
    put_in_doubt,
    run,
    run_each,
    said,
    states,
    write,
    write_to_all,
)

from delivery.worker import Worker
from rest.errors import (
    CONNECTION_LOST,
    STRANGE_ANSWER,
    BitrixError,
    OutcomeUnknown,
    SetupFault,
    error_of_answer,
    error_of_page,
)
from rest.replies import ItemResult
from storage import Store

STRANGE = OutcomeUnknown(STRANGE_ANSWER, SEND)
ODD: list[BitrixError] = [
    STRANGE,
    OutcomeUnknown(CONNECTION_LOST, SEND),
    error_of_page(SEND, 200, redirects=False),
    error_of_page(SEND, 500, redirects=False),
    error_of_page(SEND, 302, redirects=True),
    error_of_page(SEND, 302, redirects=False),
    error_of_answer({"error": "NO_ACCESS_HERE"}, SEND, 403),
    error_of_answer({"error": [["deep"]]}, SEND, 401),
    error_of_answer({"error": "ERROR_CORE"}, SEND, 500),
]


@pytest.mark.parametrize("odd", ODD, ids=lambda error: f"{type(error).__name__} {error.code}")
def test_an_odd_answer_to_one_message_holds_up_no_other_visitor(
    store: Store, bitrix: FakePortal, worker: Worker, odd: BitrixError
) -> None:
    bitrix.says["send of odd"] = odd
    write(store, "odd", 100)
    waits = []
    for minute in range(5):
        write(store, "good", minute)
        for second in range(60):
            run(worker, NOW + 60 * minute + second)
            if states(store, minute) == ["delivered"]:
                waits.append(second)
                break

    assert len(waits) == 5
    assert max(waits) <= 1
    assert states(store, 100) != ["delivered"]


def test_several_odd_answers_in_a_row_make_the_line_wait(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """Then it is the portal, and no message, that has trouble."""
    bitrix.says["send"] = STRANGE
    write_to_all(store, "hello", range(50))

    run(worker, NOW, steps=200)

    assert len(bitrix.sent) == 3


def test_a_message_whose_answer_is_odd_for_ever_is_given_up_and_its_chat_goes_on(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send of odd"] = STRANGE
    bitrix.histories[DIALOG] = [said(1, "nobody's")]
    write(store, "odd", 100)
    know_dialog(store, 100)
    write(store, "after", 100)
    for minute in range(60):
        write(store, "good", minute)
        run_each(worker, range(60 * minute, 60 * minute + 60, 5))

    assert states(store, 100) == ["refused", "delivered"]
    assert all(states(store, minute) == ["delivered"] for minute in range(60))


def test_while_nobody_elses_message_passes_no_odd_answer_ends_one(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send"] = STRANGE
    bitrix.histories[DIALOG] = [said(1, "nobody's")]
    write(store, "hello", 100)
    know_dialog(store, 100)

    run_each(worker, range(0, 7200, 5))

    assert states(store, 100) == ["stored"]


def test_one_odd_result_of_a_call_leaves_its_message_in_doubt_and_no_other(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send of odd"] = ItemResult(False, understood=False)
    write_to_all(store, "good", range(10))
    write(store, "odd", 100)
    write_to_all(store, "good", range(10, 20))

    run(worker, NOW, steps=100)

    assert all(states(store, chat) == ["delivered"] for chat in range(20))
    assert states(store, 100) == ["stored"]
    assert store.queue.is_in_doubt()


def test_an_odd_answer_to_one_confirmation_lets_the_others_go(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    for number in range(10):
        answer(store, 1000 + number)
    waiting = store.queue.due_confirmations(NOW, 50)
    bitrix.says[f"confirm of {waiting[3].message.id}"] = OutcomeUnknown(STRANGE_ANSWER, CONFIRM)

    run_each(worker, range(20))

    assert store.queue.waiting() == 1


@pytest.mark.parametrize("odd", [OutcomeUnknown(STRANGE_ANSWER, READ), SetupFault("WAF", READ)])
def test_a_dialog_with_odd_answers_holds_up_no_look_at_another(
    store: Store, bitrix: FakePortal, worker: Worker, odd: BitrixError
) -> None:
    """Also where its answer spoils that of the call for all dialogs."""
    write_to_all(store, "hello", range(1, 6))
    for chat in range(1, 6):
        know_dialog(store, chat, DIALOG + chat)
        bitrix.histories[DIALOG + chat] = [said(10, str(chat))]
    put_in_doubt(store)
    bitrix.says["batch"] = OutcomeUnknown(STRANGE_ANSWER, "batch")
    read = bitrix.dialog_messages

    def dialog_messages(portal_chat_id: int, **bounds: object) -> object:
        if portal_chat_id == DIALOG + 1:
            bitrix._ask("dialog", portal_chat_id)
            raise odd
        return read(portal_chat_id, **bounds)

    bitrix.dialog_messages = dialog_messages  # type: ignore[method-assign, assignment]

    run_each(worker, range(30), steps=10)

    assert [states(store, chat) for chat in range(2, 6)] == [["delivered"]] * 4
    assert len([call for call in bitrix.made("dialog") if call.target == DIALOG + 1]) < 12
