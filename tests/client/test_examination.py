"""What the portal says of us in one `batch`, how late it is there, and a renewal on purpose."""

import time
from typing import Any
from urllib.parse import parse_qsl

import pytest
from client_parts import (
    CONNECTOR,
    HANG_UP,
    NEW_PAIR,
    OLD,
    Keeper,
    Server,
    failure,
    result,
    said,
)

from bitrix import Bitrix, Examination, Line
from rest.errors import BitrixError, OutcomeUnknown, Refused, SetupFault, TryLater
from rest.limits import clock_difference

UNKNOWN = {"error": "ERROR_METHOD_NOT_FOUND", "error_description": "Method not found!"}
ANSWERS: dict[str, Any] = {
    "app.info": {"CODE": "local.1", "INSTALLED": True, "LANGUAGE_ID": "ru"},
    "scope": ["imopenlines", "IM", "placement"],
    "event.get": [{"event": "OnImConnectorMessageAdd", "handler": "https://a.example/handler"}],
    "imconnector.list": {"livechat": "Live chat", "Example_Connector_1": "Site"},
    "imconnector.status": {"STATUS": "1"},
    "imopenlines.config.get": {"ID": "7", "ACTIVE": "Y", "LINE_NAME": "Sales"},
}


def answering(portal: Server, answers: dict[str, Any], errors: dict[str, Any]) -> None:
    """Answer each command of a batch by its method."""

    def answer(request: Any) -> Any:
        results: dict[str, Any] = {}
        failed: dict[str, Any] = {}
        for name, value in request.form.items():
            if name.startswith("cmd["):
                method = value.partition("?")[0]
                kept, found = (failed, errors) if method in errors else (results, answers)
                kept[name.removeprefix("cmd[").removesuffix("]")] = found[method]
        return result({"result": results or [], "result_error": failed or []})

    portal.answer = answer


def parts_of(found: Examination) -> list[object]:
    parts: list[object] = [found.installed, found.rights, found.bindings, found.connectors]
    return [*parts, found.statuses[7], found.lines[7]]


def test_all_is_asked_in_one_call(bitrix: Bitrix, portal: Server) -> None:
    answering(portal, ANSWERS, {})

    found = bitrix.examine(CONNECTOR, [7, 12])

    (request,) = portal.heard
    assert request.method == "batch"
    commands = [value for name, value in request.form.items() if name.startswith("cmd[")]
    assert len(commands) == 8
    asked = dict(parse_qsl(commands[-1].partition("?")[2]))
    assert asked == {"CONFIG_ID": "12", "WITH_QUEUE": "N"}
    assert found.installed is True
    assert found.language == "ru"
    assert found.rights == frozenset({"imopenlines", "im", "placement"})
    assert found.bindings == (("ONIMCONNECTORMESSAGEADD", "https://a.example/handler"),)
    assert found.connectors == frozenset({"livechat", "example_connector_1"})
    assert found.statuses == {7: True, 12: True}
    assert found.lines == {7: Line("Sales", True), 12: Line("Sales", True)}


@pytest.mark.parametrize("method", list(ANSWERS))
def test_what_a_portal_does_not_know_spoils_nothing_else(
    bitrix: Bitrix, portal: Server, method: str
) -> None:
    answering(portal, ANSWERS, {method: UNKNOWN})

    found = bitrix.examine(CONNECTOR, [7])

    parts = parts_of(found)
    errors = [part for part in parts if isinstance(part, BitrixError)]
    assert [(error.code, error.method) for error in errors] == [("ERROR_METHOD_NOT_FOUND", method)]


@pytest.mark.parametrize("method", [name for name in ANSWERS if name != "scope"])
def test_an_answer_of_another_shape_spoils_nothing_else(
    bitrix: Bitrix, portal: Server, method: str
) -> None:
    answering(portal, ANSWERS | {method: "strange"}, {})

    found = bitrix.examine(CONNECTOR, [7])

    parts = parts_of(found)
    errors = [part for part in parts if isinstance(part, BitrixError)]
    assert [type(error) for error in errors] == [OutcomeUnknown]


def test_many_lines_are_asked_in_several_calls(bitrix: Bitrix, portal: Server) -> None:
    answering(portal, ANSWERS, {})

    found = bitrix.examine(CONNECTOR, list(range(1, 31)))

    assert portal.methods() == ["batch", "batch"]
    assert len(found.statuses) == len(found.lines) == 30


def test_a_portal_that_cannot_be_asked_raises(bitrix: Bitrix, portal: Server) -> None:
    portal.says(said(UNKNOWN, 404))
    assert isinstance(failure(lambda: bitrix.examine(CONNECTOR, [])), SetupFault)
    portal.says(HANG_UP)
    assert isinstance(failure(lambda: bitrix.examine(CONNECTOR, [])), OutcomeUnknown)


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (False, None),
        ([], None),
        ({"ID": "7", "ACTIVE": "N", "LINE_NAME": "Sales"}, Line("Sales", False)),
        ({"ID": 7, "ACTIVE": True, "LINE_NAME": None}, Line("7", True)),
    ],
)
def test_a_line_is_read_or_not_there(
    bitrix: Bitrix, portal: Server, answer: object, line: Line | None
) -> None:
    portal.says(result(answer))

    assert bitrix.line(7) == line


# -- what is told and taken back


@pytest.mark.parametrize(
    ("answer", "gone"),
    [
        ({"result": True}, True),
        (True, True),
        ({"result": False, "error": "APPLICATION_UNREGISTRATION_ERROR"}, False),
        (False, False),
    ],
)
def test_an_unknown_connector_is_no_fault(
    bitrix: Bitrix, portal: Server, answer: object, gone: bool
) -> None:
    portal.says(result(answer))

    assert bitrix.unregister(CONNECTOR) is gone


def test_builds_that_refuse_to_unregister_in_other_ways(bitrix: Bitrix, portal: Server) -> None:
    portal.says(said({"error": "APPLICATION_UNREGISTRATION_ERROR"}, 400))
    assert bitrix.unregister(CONNECTOR) is False
    portal.says(said({"error": "ACCESS_DENIED"}, 403))
    assert isinstance(failure(lambda: bitrix.unregister(CONNECTOR)), SetupFault)


def test_a_notification_that_was_not_made_is_an_error(bitrix: Bitrix, portal: Server) -> None:
    portal.says(result(70001))
    bitrix.notify(1, "A line is off", "lines")
    portal.says(result(False))
    assert isinstance(failure(lambda: bitrix.notify(9, "A line is off", "lines")), Refused)


# -- how late it is at the portal


def timed(start: object, finish: object = None) -> Any:
    return said({"result": True, "time": {"start": start, "finish": finish}})


@pytest.mark.parametrize("days", [-3, 0, 2])
def test_the_clock_of_the_portal_is_known_after_any_call(
    bitrix: Bitrix, portal: Server, days: int
) -> None:
    assert bitrix.clock_seconds is None
    now = time.time() + days * 86_400
    portal.says(timed(now, now + 0.01))

    bitrix.activate(CONNECTOR, 7, True)

    assert bitrix.clock_seconds == pytest.approx(days * 86_400, abs=5)


@pytest.mark.parametrize(
    "answer",
    [{}, {"time": None}, {"time": []}, {"time": {"start": 1, "finish": 2}},
     {"time": {"start": "soon", "finish": 1e300}}, {"time": {"start": True, "finish": True}}],
)  # fmt: skip
def test_an_answer_that_does_not_tell_the_time_tells_none(
    bitrix: Bitrix, portal: Server, answer: dict[str, Any]
) -> None:
    portal.says(said({"result": True} | answer))

    bitrix.activate(CONNECTOR, 7, True)

    assert bitrix.clock_seconds is None


def test_slow_work_and_a_slow_way_are_no_difference_of_clocks() -> None:
    now = 1_790_000_000.0
    assert clock_difference({"start": now + 1, "finish": now + 9}, now, now + 10) == 0
    assert clock_difference({"start": now + 5, "finish": now + 5.5}, now, now + 10.5) == 0
    assert clock_difference({"start": now + 100}, now, now) == 100


# -- a renewal on purpose


def test_tokens_are_renewed_when_we_want_it(bitrix: Bitrix, oauth: Server, keeper: Keeper) -> None:
    oauth.says(said(NEW_PAIR))

    bitrix.renew()

    (request,) = oauth.heard
    assert request.form["refresh_token"] == OLD.refresh_token
    assert keeper.grant is not None
    assert keeper.grant.access_token == "new-access-token"


@pytest.mark.parametrize("code", ["invalid_client", "wrong_client"])
def test_a_wrong_secret_is_a_fault_of_the_set_up_and_loses_no_pair(
    bitrix: Bitrix, oauth: Server, keeper: Keeper, code: str
) -> None:
    oauth.says(said({"error": code}, 401))

    error = failure(bitrix.renew)

    assert isinstance(error, SetupFault)
    assert error.code == code.upper()
    assert keeper.grant == OLD


def test_without_tokens_nothing_is_renewed(bitrix: Bitrix, keeper: Keeper) -> None:
    keeper.grant = None
    error = failure(bitrix.renew)
    assert (type(error), error.code) == (SetupFault, "NOT_INSTALLED")
    assert not isinstance(error, TryLater)
