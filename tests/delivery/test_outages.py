"""A portal that answers nothing takes few messages along, and is found again within seconds."""

import logging

import pytest
from fake_portal import (
    NO_REPLY,
    NOW,
    SEND,
    FakePortal,
    answer,
    pauses,
    run,
    run_each,
    seconds_of,
    write,
    write_to_all,
)

from delivery.outage import LONGEST_PAUSE
from delivery.worker import Worker
from rest.errors import BitrixError, OutcomeUnknown, Refused, SetupFault, TryLater
from storage import Store

QUESTIONS = ("server.time", "app.info")
EVERYTHING = ("send", "confirm", "check", "batch", *QUESTIONS)
BACK_SECONDS = 5.0  # after the portal's return, for a message that is written then
BROKEN_OFF = OutcomeUnknown("CONNECTION_LOST", SEND)
SILENCES = [
    TryLater("NOT_CONNECTED", SEND),
    BROKEN_OFF,
    OutcomeUnknown("HTTP_502", SEND),
    OutcomeUnknown("INTERNAL_SERVER_ERROR", SEND),
]


def go_away(bitrix: FakePortal, error: BitrixError) -> None:
    bitrix.says |= dict.fromkeys(EVERYTHING, error)


@pytest.mark.parametrize("error", SILENCES, ids=repr)
@pytest.mark.parametrize("seconds", [30, 600])
def test_an_outage_takes_one_call_along_and_ends_for_everybody_else_within_seconds(
    store: Store, bitrix: FakePortal, worker: Worker, error: BitrixError, seconds: int
) -> None:
    go_away(bitrix, error)
    write(store, "in the call", chat=100)
    run(worker, NOW)
    write_to_all(store, "hello", range(6))
    answer(store, 10)
    run_each(worker, range(1, seconds))
    assert bitrix.sent == [["in the call"]], "all that may be lost is asked for once"
    bitrix.says.clear()
    bitrix.calls.clear()

    write(store, "new", chat=200)
    for quarter in range(int(BACK_SECONDS * 4)):
        run(worker, NOW + seconds + quarter / 4)

    sent = {text for call in bitrix.sent for text in call}
    assert {"hello", "new"} <= sent
    assert len(bitrix.confirmed) == 1
    assert len(bitrix.sent) <= 4


@pytest.mark.parametrize("error", SILENCES, ids=repr)
def test_the_portal_is_asked_every_few_seconds_and_the_log_told_once(
    store: Store,
    bitrix: FakePortal,
    worker: Worker,
    error: BitrixError,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "delivery.outage")
    go_away(bitrix, error)
    write(store, "hello")

    run_each(worker, range(600))
    asked = [call.method for call in bitrix.calls if call.method in QUESTIONS]
    bitrix.says.clear()
    run_each(worker, range(600, 605))

    assert 600 / (LONGEST_PAUSE * 1.2 + 1) <= len(asked) <= 600 / (LONGEST_PAUSE * 0.8) + 3
    assert {*asked} == {*QUESTIONS}
    told = [line.message for line in caplog.records if line.name == "delivery.outage"]
    assert told == ["the portal answers nothing", "the portal answers again"]


def test_a_question_that_is_answered_changes_no_pause(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """What is lost while the portal answers may be lost because of what it is."""
    bitrix.says["send"] = BROKEN_OFF
    seconds = list[float]()
    for second in range(200):
        write(store, "hello", chat=second)
        seconds += seconds_of("send", bitrix, worker, [second])

    assert max(pauses(seconds)) >= 40
    assert len(bitrix.made("server.time")) <= len(bitrix.sent) + len(bitrix.made("app.info"))


@pytest.mark.parametrize("broken", QUESTIONS)
@pytest.mark.parametrize("error", [BROKEN_OFF, OutcomeUnknown("HTTP_500", "m"), NO_REPLY], ids=repr)
def test_one_way_to_ask_that_fails_alone_stops_nobody(
    store: Store, bitrix: FakePortal, worker: Worker, broken: str, error: BitrixError
) -> None:
    bitrix.says |= {broken: error, "send of odd": BROKEN_OFF}
    write(store, "odd", chat=100)
    run(worker, NOW)
    write(store, "hello")

    run_each(worker, range(1, 5))

    assert ["hello"] in bitrix.sent


@pytest.mark.parametrize(
    "error",
    [Refused("HTTP_404", "m"), SetupFault("PORTAL_DELETED", "m"), TryLater("HTTP_429", "m")],
    ids=repr,
)
def test_whatever_else_is_said_in_place_of_an_answer_is_one(
    store: Store, bitrix: FakePortal, worker: Worker, error: BitrixError
) -> None:
    bitrix.says |= dict.fromkeys(QUESTIONS, error) | {"send": [BROKEN_OFF]}
    write(store, "lost", chat=100)
    run(worker, NOW)
    write(store, "hello")

    run(worker, NOW + 1)

    assert bitrix.sent[:2] == [["lost"], ["hello"]]


def test_while_questions_take_too_long_messages_go_one_by_one(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """A portal that needs so long for an answer may take messages: nobody waits for ever."""
    bitrix.says |= dict.fromkeys(QUESTIONS, NO_REPLY) | {"send": [NO_REPLY, NO_REPLY]}
    write(store, "lost", chat=100)
    run(worker, NOW)
    write_to_all(store, "hello", range(20))

    run_each(worker, range(5), steps=3)

    assert bitrix.sizes[:3] == [1, 1, 1]
    assert max(bitrix.sizes) >= 5, "after the first that is answered"


def test_after_the_clock_was_set_back_the_portal_is_asked_at_once(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    go_away(bitrix, BROKEN_OFF)
    write(store, "hello")
    run_each(worker, range(60))
    bitrix.says.clear()
    write(store, "new", chat=2)

    run(worker, NOW - 86_400)

    assert ["new"] in bitrix.sent


def test_an_oauth_server_that_is_away_is_not_asked_so_often(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says |= dict.fromkeys(EVERYTHING, TryLater("NOT_CONNECTED", "oauth/token"))
    write(store, "hello")

    run_each(worker, range(600))

    assert len(bitrix.calls) <= 20
