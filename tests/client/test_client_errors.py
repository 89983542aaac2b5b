"""What an answer is taken for, by what to do next; and the items of a send."""

import json
import ssl
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

import pytest
from client_parts import (
    CONNECTOR,
    HANDLER,
    HANG_UP,
    MESSAGE,
    SENT,
    Keeper,
    Reply,
    Request,
    Server,
    client,
    closed_port,
    failure,
    page,
    refused,
    result,
    said,
    send,
)

from bitrix import Bitrix
from rest.errors import BitrixError, OutcomeUnknown, Refused, SetupFault, TryLater
from rest.replies import (
    ItemResult,
)


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (said(refused("QUERY_LIMIT_EXCEEDED"), 503), TryLater, "QUERY_LIMIT_EXCEEDED"),
        (said(refused("OPERATION_TIME_LIMIT"), 429), TryLater, "OPERATION_TIME_LIMIT"),
        (said(refused("OVERLOAD_LIMIT"), 503), SetupFault, "OVERLOAD_LIMIT"),
        (said(refused("invalid_token"), 401), SetupFault, "INVALID_TOKEN"),
        (said(refused("NO_AUTH_FOUND"), 401), SetupFault, "NO_AUTH_FOUND"),
        (said(refused("WRONG_AUTH_TYPE"), 403), SetupFault, "WRONG_AUTH_TYPE"),
        (said(refused("insufficient_scope"), 403), SetupFault, "INSUFFICIENT_SCOPE"),
        (said(refused("user_access_error"), 403), SetupFault, "USER_ACCESS_ERROR"),
        (said(refused("PORTAL_DELETED"), 403), SetupFault, "PORTAL_DELETED"),
        (said(refused("PAYMENT_REQUIRED"), 402), SetupFault, "PAYMENT_REQUIRED"),
        (
            said(refused("IMCONNECTOR_NOT_SPECIFIED_CORRECT_CONNECTOR"), 400),
            SetupFault,
            "IMCONNECTOR_NOT_SPECIFIED_CORRECT_CONNECTOR",
        ),
        (said(refused("NOT_ACTIVE_LINE"), 400), Refused, "NOT_ACTIVE_LINE"),
        (said(refused("ERROR_ARGUMENT"), 400), Refused, "ERROR_ARGUMENT"),
        (said(refused("NOT_ACTIVE_LINE"), 200), Refused, "NOT_ACTIVE_LINE"),
        # A server error came after the call had begun, whatever its body says.
        (said(refused("INTERNAL_SERVER_ERROR"), 500), OutcomeUnknown, "INTERNAL_SERVER_ERROR"),
        (
            said(refused("ERROR_UNEXPECTED_ANSWER"), 500),
            OutcomeUnknown,
            "ERROR_UNEXPECTED_ANSWER",
        ),
        (page(500), OutcomeUnknown, "HTTP_500"),
        (page(502), OutcomeUnknown, "HTTP_502"),
        (page(503), OutcomeUnknown, "HTTP_503"),
        (page(504), OutcomeUnknown, "HTTP_504"),
        (page(200), OutcomeUnknown, "HTTP_200"),
        (Reply(b""), OutcomeUnknown, "HTTP_200"),
        (said([]), OutcomeUnknown, "HTTP_200"),
        (said("text"), OutcomeUnknown, "HTTP_200"),
        (said({"time": {}}), OutcomeUnknown, "STRANGE_ANSWER"),
        (Reply(b'{"result": tru', 200), OutcomeUnknown, "HTTP_200"),
        (Reply(json.dumps({"result": SENT}).encode(), cut=10), OutcomeUnknown, "NO_REPLY"),
        (HANG_UP, OutcomeUnknown, "CONNECTION_LOST"),
        (page(404), Refused, "HTTP_404"),
        (page(403), Refused, "HTTP_403"),
        (page(301, Location="https://renamed.example/"), SetupFault, "PORTAL_MOVED"),
        (page(302, Location="https://renamed.example/"), SetupFault, "PORTAL_MOVED"),
        (page(307, Location="https://renamed.example/"), SetupFault, "PORTAL_MOVED"),
        (page(308, Location="/rest/other"), SetupFault, "PORTAL_MOVED"),
        # Some methods nest the error, and a failure may come inside a 200.
        (said({"error": {"error": "NOT_ACTIVE_LINE"}}, 400), Refused, "NOT_ACTIVE_LINE"),
        (result({"SUCCESS": False, "DATA": []}), Refused, "NOT_ACTIVE_LINE"),
    ],
)
def test_an_error_says_what_to_do_next(
    bitrix: Bitrix, portal: Server, reply: Reply, kind: type[BitrixError], code: str
) -> None:
    portal.says(reply)

    error = failure(lambda: send(bitrix))

    assert (type(error), error.code) == (kind, code)
    assert error.method == "imconnector.send.messages"
    assert len(portal.heard) == 1, "a call is never repeated on its own"


def test_a_time_limit_says_until_when(bitrix: Bitrix, portal: Server) -> None:
    times = {"operating": 481.2, "finish": 1_790_000_000.5, "operating_reset_at": 1_790_000_600}
    portal.says(said(refused("OPERATION_TIME_LIMIT", time=times), 429))

    error = failure(lambda: send(bitrix))

    assert isinstance(error, TryLater)
    assert error.seconds == 600, "by the portal's clock, whatever ours says"


def test_a_time_limit_without_the_portals_clock_is_measured_by_ours(
    bitrix: Bitrix, portal: Server
) -> None:
    times = {"operating_reset_at": int(time.time()) + 300}
    portal.says(said(refused("OPERATION_TIME_LIMIT", time=times), 429))

    error = failure(lambda: send(bitrix))

    assert isinstance(error, TryLater)
    assert 295 < error.seconds <= 300


@pytest.mark.parametrize("times", [None, [], {}, {"operating_reset_at": None}, "soon"])
def test_a_limit_without_a_time_may_be_tried_at_once(
    bitrix: Bitrix, portal: Server, times: object
) -> None:
    portal.says(said(refused("OPERATION_TIME_LIMIT", time=times), 429))

    error = failure(lambda: send(bitrix))

    assert isinstance(error, TryLater)
    assert error.seconds == 0


def test_the_portals_own_words_are_kept_apart_from_the_errors_text(
    bitrix: Bitrix, portal: Server
) -> None:
    portal.says(said(refused("ERROR_ARGUMENT"), 400))

    error = failure(lambda: send(bitrix))

    assert str(error) == "imconnector.send.messages: ERROR_ARGUMENT"
    assert error.description == "Words of the portal"


def test_a_refused_connection_is_for_later(oauth: Server, keeper: Keeper) -> None:
    error = failure(lambda: send(client(closed_port(), oauth.url, keeper)))

    assert (type(error), error.code) == (TryLater, "NOT_CONNECTED")


def test_a_failed_handshake_is_for_later(portal: Server, oauth: Server, keeper: Keeper) -> None:
    https = portal.url.replace("http://", "https://")

    assert type(failure(lambda: send(client(https, oauth.url, keeper)))) is TryLater
    assert portal.heard == []


def test_a_connection_that_tls_gives_up_in_mid_call_leaves_the_outcome_unknown(
    bitrix: Bitrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC]")

    monkeypatch.setattr(HTTPConnection, "getresponse", fail)

    error = failure(lambda: send(bitrix))

    assert (type(error), error.code) == (OutcomeUnknown, "CONNECTION_LOST")


def test_a_portal_that_takes_too_long_leaves_the_outcome_unknown(
    portal: Server, oauth: Server, keeper: Keeper
) -> None:
    given_up = threading.Event()

    def answer_late(request: Request) -> Reply:
        given_up.wait(5)
        return result(SENT)

    portal.answer = answer_late
    bitrix = client(portal.url, oauth.url, keeper, send_seconds=0.1)
    try:
        error = failure(lambda: send(bitrix))
    finally:
        given_up.set()

    assert (type(error), error.code) == (OutcomeUnknown, "NO_REPLY")
    assert len(portal.heard) == 1


def test_a_moved_portal_is_not_followed_with_our_token(
    bitrix: Bitrix, portal: Server, oauth: Server
) -> None:
    portal.says(page(307, Location=f"{oauth.url}/rest/imconnector.activate.json"))

    assert isinstance(failure(lambda: bitrix.activate(CONNECTOR, 7, True)), SetupFault)

    assert oauth.heard == []


FAILURES_IN_A_200 = [
    ({"result": False, "error": "CONNECTOR_ID_REQUIRED"}, "CONNECTOR_ID_REQUIRED"),
    ({"result": False, "error": "NO_PLACEMENT_HANDLER"}, "NO_PLACEMENT_HANDLER"),
    ({"result": False}, "NOT_DONE"),
    ({"error": "ICON_REQUIRED"}, "ICON_REQUIRED"),
    (False, "NOT_DONE"),
    (None, "NOT_DONE"),
]


@pytest.mark.parametrize(("answer", "code"), FAILURES_IN_A_200)
@pytest.mark.parametrize(
    "call",
    [
        lambda bitrix: bitrix.register(CONNECTOR, "Site chat", ("a", "b"), HANDLER),
        lambda bitrix: bitrix.activate(CONNECTOR, 7, True),
        lambda bitrix: bitrix.set_connector_data(CONNECTOR, 7, "https://site.example/", "Widget"),
    ],
    ids=["register", "activate", "data.set"],
)
def test_a_failure_inside_a_200_is_refused_with_its_code(
    bitrix: Bitrix, portal: Server, call: Callable[[Bitrix], object], answer: object, code: str
) -> None:
    portal.says(result(answer))

    error = failure(lambda: call(bitrix))

    assert (type(error), error.code) == (Refused, code)


@pytest.mark.parametrize("answer", [True, {"result": True}, {"result": "Y"}, 1])
def test_success_is_understood_in_every_spelling(
    bitrix: Bitrix, portal: Server, answer: object
) -> None:
    portal.says(result(answer))

    bitrix.activate(CONNECTOR, 7, True)


@pytest.mark.parametrize("code", ["QUERY_LIMIT_EXCEEDED", "EXPIRED"])
def test_only_a_time_limit_waits_until_its_reset(bitrix: Bitrix, portal: Server, code: str) -> None:
    """The field stands in every answer of the portal and lies minutes ahead."""
    portal.says(said(refused(code, time={"operating_reset_at": 1_790_000_600}), 503))

    assert getattr(failure(lambda: send(bitrix)), "at", 0) == 0


# -- items of a send


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            {"SUCCESS": True, "user": "585", "session": {"ID": "323", "CHAT_ID": "1767"}},
            ItemResult(True, (), 323, 1767, 585),
        ),
        (
            {"SUCCESS": True, "user": 585, "session": {"ID": 323, "CHAT_ID": 1767}},
            ItemResult(True, (), 323, 1767, 585),
        ),
        ({"SUCCESS": "Y", "session": {"ID": 323}}, ItemResult(True, (), 323, None, None)),
        ({"SUCCESS": True, "user": "585"}, ItemResult(True, (), None, None, 585)),
        ({"SUCCESS": True, "session": []}, ItemResult(True)),
        ({"SUCCESS": True, "session": None}, ItemResult(True)),
        ({"SUCCESS": True, "session": {}}, ItemResult(True)),
        (
            {"SUCCESS": False, "ERRORS": ["EMAIL_INVALID", "Second"]},
            ItemResult(False, ("EMAIL_INVALID", "Second")),
        ),
        ({"SUCCESS": False, "ERRORS": {"0": "One"}}, ItemResult(False, ("One",))),
        # A refused item is refused, whatever session it names.
        (
            {"SUCCESS": False, "ERRORS": ["Bad"], "session": {"ID": "323"}},
            ItemResult(False, ("Bad",)),
        ),
    ],
)
def test_an_item_is_judged_by_its_own_result(
    bitrix: Bitrix, portal: Server, item: dict[str, Any], expected: ItemResult
) -> None:
    portal.says(result({"SUCCESS": True, "DATA": {"RESULT": [item]}}))

    assert send(bitrix) == [expected]


@pytest.mark.parametrize("errors", [{}, {"ERRORS": []}, {"ERRORS": None}])
def test_an_item_refused_without_a_reason_is_still_refused(
    bitrix: Bitrix, portal: Server, errors: dict[str, Any]
) -> None:
    portal.says(result({"SUCCESS": True, "DATA": {"RESULT": [{"SUCCESS": False} | errors]}}))

    (item,) = send(bitrix)

    assert not item.accepted
    assert item.errors
    assert item.session_id is None


GOOD, BAD = {"SUCCESS": True, "session": {"ID": 1}}, {"SUCCESS": False, "ERRORS": ["Bad"]}


@pytest.mark.parametrize(
    "results",
    [
        [GOOD, BAD, GOOD],
        {"0": GOOD, "1": BAD, "2": GOOD},
        {"1": BAD, "0": GOOD, "2": GOOD},
    ],
)
def test_items_are_judged_one_by_one_in_the_order_they_were_sent(
    bitrix: Bitrix, portal: Server, results: object
) -> None:
    portal.says(result({"SUCCESS": True, "DATA": {"RESULT": results}}))

    items = send(bitrix, MESSAGE, MESSAGE, MESSAGE)

    assert [item.accepted for item in items] == [True, False, True]


@pytest.mark.parametrize(
    "answer",
    [
        True,
        [],
        {},
        {"SUCCESS": True},
        {"SUCCESS": True, "DATA": []},
        {"SUCCESS": True, "DATA": {"RESULT": None}},
        {"SUCCESS": True, "DATA": {"RESULT": []}},
        {"SUCCESS": True, "DATA": {"RESULT": [GOOD]}},
        {"SUCCESS": True, "DATA": {"RESULT": [GOOD, GOOD, GOOD]}},
        {"SUCCESS": True, "DATA": {"RESULT": [None, {}]}},
    ],
)
def test_without_one_result_for_each_item_the_outcome_is_unknown(
    bitrix: Bitrix, portal: Server, answer: object
) -> None:
    portal.says(result(answer))

    error = failure(lambda: send(bitrix, MESSAGE, MESSAGE))

    assert (type(error), error.code) == (OutcomeUnknown, "STRANGE_ANSWER")


@pytest.mark.parametrize("odd", [None, "x", {}, [], 10**30, {"SUCCESS": False, "ERRORS": [[]]}])
def test_an_item_with_an_odd_result_does_not_take_the_others_with_it(
    bitrix: Bitrix, portal: Server, odd: object
) -> None:
    portal.says(result({"SUCCESS": True, "DATA": {"RESULT": [GOOD, odd]}}))

    good, unclear = send(bitrix, MESSAGE, MESSAGE)

    assert good == ItemResult(True, (), 1)
    assert not unclear.understood


@pytest.mark.parametrize(
    ("errors", "reasons"),
    [
        ("One", ("One",)),
        ({"CODE": "One", "OTHER": 2}, ("One", "2")),
        ([None, ""], ("NOT_DONE",)),
        (["x" * 1000], ("x" * 300,)),
    ],
)
def test_reasons_are_read_in_every_shape(
    bitrix: Bitrix, portal: Server, errors: object, reasons: tuple[str, ...]
) -> None:
    portal.says(
        result({"SUCCESS": True, "DATA": {"RESULT": [{"SUCCESS": False, "ERRORS": errors}]}})
    )

    assert send(bitrix) == [ItemResult(False, reasons)]
