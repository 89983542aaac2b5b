"""Circuits: how far a failure reaches, how pauses grow, and what ends them."""

import pytest
from fake_portal import (
    CONFIRM,
    DIALOG,
    LINE,
    NO_REPLY,
    NOW,
    OTHER_LINE,
    READ,
    SEND,
    FakePortal,
    answer,
    know_dialog,
    lose_the_answer,
    make_worker,
    pauses,
    refused_item,
    run,
    run_each,
    seconds_of,
    states,
    write,
    write_to_all,
)

from delivery.circuits import Circuits
from delivery.worker import Worker
from rest.errors import BitrixError, OutcomeUnknown, SetupFault, TryLater
from settings import DeliverySettings
from storage import Store

ON_LINE = f"send on {LINE}"


# -- how long


def test_pauses_grow_to_a_limit_and_are_never_all_the_same() -> None:
    circuits = Circuits(DeliverySettings(retry_seconds=1, retry_limit_seconds=60))

    for failures, middle in ((1, 1), (2, 2), (3, 4), (20, 60)):
        some = [circuits.pause(failures) for _ in range(50)]

        assert all(0.8 * middle <= pause <= 1.2 * middle for pause in some)
        assert max(some) - min(some) > 0.1 * middle, "what failed together comes apart"


def test_a_call_that_was_not_made_is_repeated_after_some_seconds(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "hello")
    bitrix.says["send"] = [TryLater("NOT_CONNECTED", SEND)]

    run(worker, NOW)
    assert bitrix.sent == [["hello"]]
    run(worker, NOW + 5)

    assert bitrix.sent == [["hello"], ["hello"]]
    assert states(store) == ["delivered"]


def test_pauses_grow_while_the_portal_cannot_be_reached(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send"] = TryLater("NOT_CONNECTED", SEND)
    write(store, "hello")

    run_each(worker, range(600))

    assert 10 <= len(bitrix.sent) <= 20, "1, 2, 4 ... 60, 60 s"


def test_a_call_is_not_repeated_before_the_time_that_the_portal_names(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "hello")
    bitrix.says["send"] = [TryLater("OPERATION_TIME_LIMIT", "m", seconds=300)]

    run_each(worker, (0, 299))
    assert len(bitrix.sent) == 1
    run(worker, NOW + 301)

    assert states(store) == ["delivered"]


def test_a_fault_of_the_set_up_is_tried_again_after_the_longest_pause(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send"] = SetupFault("PORTAL_DELETED", SEND)
    write(store, "hello")

    seconds = seconds_of("send", bitrix, worker, range(400))

    assert all(48 <= pause <= 73 for pause in pauses(seconds)), "not sooner, the first time either"


def test_a_plan_that_lapsed_loses_no_message(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "hello")
    bitrix.says["send"] = [SetupFault("ACCESS_DENIED", SEND)] * 20

    run_each(worker, range(0, 2400, 120))
    assert states(store) == ["stored"]
    run(worker, NOW + 86_400)

    assert states(store) == ["delivered"]


# -- how far


@pytest.mark.parametrize("code", ["ACCESS_DENIED", "access_denied", "ERROR_METHOD_NOT_FOUND"])
def test_a_method_that_is_closed_to_us_stops_no_other_method(
    store: Store, bitrix: FakePortal, worker: Worker, code: str
) -> None:
    bitrix.says["send"] = SetupFault(code, SEND)
    write(store, "hello")
    run(worker, NOW)
    answer(store, 10)

    run(worker, NOW + 1)

    assert len(bitrix.confirmed) == 1


@pytest.mark.parametrize(
    "error",
    [
        SetupFault("PORTAL_DELETED", SEND),
        TryLater("NOT_CONNECTED", SEND),
        TryLater("QUERY_LIMIT_EXCEEDED", SEND),
        TryLater("HTTP_429", SEND),
        TryLater("ANY", "oauth/token"),
    ],
    ids=repr,
)
def test_an_error_of_the_whole_portal_stops_every_method(
    store: Store, bitrix: FakePortal, worker: Worker, error: BitrixError
) -> None:
    bitrix.says["send"] = error
    write(store, "hello")
    run_each(worker, range(10))
    second = next(n for n in range(10, 100) if seconds_of("send", bitrix, worker, [n]))
    answer(store, 10)

    run(worker, NOW + second + 1)
    assert bitrix.confirmed == []
    seconds = seconds_of("confirm", bitrix, worker, range(second + 2, second + 100))

    assert len(seconds) == 1, "when the portal is asked again"


def test_a_limit_of_the_method_holds_on_all_lines(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    for line, chat in ((LINE, 1), (OTHER_LINE, 2)):
        store.portal.connect_line(line, NOW + line)
        write(store, "first", chat)
        run(worker, NOW + line)
        write(store, "second", chat)
    bitrix.calls.clear()
    bitrix.says["send"] = TryLater("OPERATION_TIME_LIMIT", SEND, seconds=60)

    run_each(worker, range(20, 70))

    assert len(bitrix.sent) == 1


@pytest.mark.parametrize(
    "error", [OutcomeUnknown("HTTP_502", SEND), TryLater("ANY", SEND)], ids=repr
)
def test_a_line_that_fails_holds_up_no_other_line_even_for_a_second(
    store: Store, bitrix: FakePortal, worker: Worker, error: BitrixError
) -> None:
    """Though more chats wait for it than one look into the queue sees."""
    write_to_all(store, "first", range(40))
    run_each(worker, range(5))
    store.portal.connect_line(OTHER_LINE, NOW + 60)
    bitrix.says[ON_LINE] = error
    write_to_all(store, "second", range(40))

    for second in range(60, 120, 2):
        write(store, "good", 1000 + second)
        run(worker, NOW + second, steps=30)

        assert states(store, 1000 + second) == ["delivered"]


# -- what ends them


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("send", TryLater("ANY", SEND)),
        ("send", TryLater("NOT_CONNECTED", SEND)),
        ("send", TryLater("QUERY_LIMIT_EXCEEDED", SEND)),
        ("send", TryLater("HTTP_429", SEND)),
        ("send", TryLater("ANY", "oauth/token")),
        ("confirm", TryLater("ANY", CONFIRM)),
        ("confirm", OutcomeUnknown("HTTP_502", CONFIRM)),
    ],
    ids=repr,
)
def test_after_an_outage_that_is_over_the_next_one_begins_with_short_pauses(
    store: Store, bitrix: FakePortal, worker: Worker, method: str, error: BitrixError
) -> None:
    def queue(number: int) -> None:
        if method == "send":
            write(store, f"{number}")
        else:
            answer(store, number)

    queue(1)
    bitrix.says[method] = error
    assert max(pauses(seconds_of(method, bitrix, worker, range(300)))) >= 40
    bitrix.says.clear()
    run_each(worker, range(300, 400))
    assert store.queue.waiting() == 0

    queue(2)
    bitrix.says[method] = error
    again = seconds_of(method, bitrix, worker, range(400, 420))

    assert again[0] == 400
    assert pauses(again)[0] <= 2
    assert len(again) >= 3


def test_a_call_that_is_answered_ends_the_pauses_of_its_line_also_if_it_named_no_session(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    error = TryLater("ANY", SEND)
    bitrix.says |= {"send": error, "send of bad": refused_item("no such user")}
    write(store, "bad")
    assert max(pauses(seconds_of("send", bitrix, worker, range(300)))) >= 40
    del bitrix.says["send"]
    run_each(worker, range(300, 400))
    assert states(store) == ["refused"]

    write(store, "second")
    bitrix.says["send"] = error
    again = seconds_of("send", bitrix, worker, range(400, 420))

    assert pauses(again)[0] <= 2


def test_a_success_of_any_work_ends_the_pauses_of_the_portal(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """It cannot be reached, again and again, until a confirmation passes."""
    write(store, "hello")
    bitrix.says["send"] = TryLater("NOT_CONNECTED", SEND)
    run_each(worker, range(300))
    answer(store, 10)
    second = next(n for n in range(300, 400) if seconds_of("confirm", bitrix, worker, [n]))

    again = seconds_of("send", bitrix, worker, range(second + 1, second + 15))

    assert len(again) >= 2, "the pauses begin anew"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("batch", TryLater("NOT_DONE", "batch")),
        (f"dialog {DIALOG}", OutcomeUnknown("HTTP_502", READ)),
    ],
)
def test_a_look_that_works_ends_the_pauses_of_looks(
    store: Store, bitrix: FakePortal, call: str, error: BitrixError
) -> None:
    worker = make_worker(store, bitrix, settle_seconds=100_000, retry_limit_seconds=60)
    lose_the_answer(store, bitrix, worker)
    bitrix.says[call] = error
    assert max(pauses(seconds_of("batch", bitrix, worker, range(1, 300)))) >= 40
    bitrix.says.clear()
    run_each(worker, range(300, 400))
    write(store, "of another", chat=2)
    bitrix.says["send"] = [NO_REPLY]
    run(worker, NOW + 400)

    bitrix.says[call] = error
    know_dialog(store, 1)  # looked for at once
    again = seconds_of("batch", bitrix, worker, range(401, 430))

    assert pauses(again)[0] <= 3
