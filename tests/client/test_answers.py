"""Other answers of the portal: histories, sessions, and what no portal should answer."""

from collections.abc import Callable
from typing import Any

import pytest
from client_parts import (
    CHAT,
    CLIENT_ID,
    CONNECTOR,
    HANDLER,
    OLD,
    Reply,
    Server,
    failure,
    result,
    said,
)

from bitrix import Bitrix
from rest.errors import OutcomeUnknown, Refused
from rest.replies import (
    HistoryMessage,
)


@pytest.mark.parametrize(
    "reply",
    [
        said({"error": "ERROR_CORE", "error_description": "Handler already binded"}, 400),
        said({"error": "ERROR_EVENT_BINDING_EXISTS", "error_description": "x"}, 400),
    ],
)
def test_an_event_that_is_bound_already_is_a_success(
    bitrix: Bitrix, portal: Server, reply: Reply
) -> None:
    portal.says(reply)

    bitrix.bind_event("OnImConnectorMessageAdd", HANDLER)

    assert portal.methods() == ["event.bind"]


def test_an_event_that_cannot_be_bound_is_refused(bitrix: Bitrix, portal: Server) -> None:
    portal.says(said({"error": "ERROR_EVENT_NOT_FOUND", "error_description": "x"}, 400))

    error = failure(lambda: bitrix.bind_event("OnNothing", HANDLER))

    assert (type(error), error.code) == (Refused, "ERROR_EVENT_NOT_FOUND")


def test_bound_events_are_read_without_the_offline_ones(bitrix: Bitrix, portal: Server) -> None:
    portal.says(
        result(
            [
                {"event": "OnImConnectorMessageAdd", "handler": HANDLER, "auth_type": "0"},
                {"event": "ONAPPUNINSTALL", "handler": HANDLER, "offline": 0},
                {"event": "ONIMCONNECTORMESSAGEADD", "offline": 1},
            ]
        )
    )

    assert bitrix.bound_events() == [
        ("ONIMCONNECTORMESSAGEADD", HANDLER),
        ("ONAPPUNINSTALL", HANDLER),
    ]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"STATUS": True}, True),
        ({"STATUS": "Y"}, True),
        ({"STATUS": False}, False),
        ({"STATUS": "N"}, False),
        ({}, False),
        ([], False),
    ],
)
def test_a_connectors_status_is_read(
    bitrix: Bitrix, portal: Server, answer: object, expected: bool
) -> None:
    portal.says(result(answer))

    assert bitrix.connector_status(CONNECTOR, 7) is expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"INSTALLED": True}, True),
        ({"INSTALLED": False}, False),
        ({"INSTALLED": "N"}, False),
        ({}, False),
    ],
)
def test_whether_the_application_is_installed_is_read(
    bitrix: Bitrix, portal: Server, answer: object, expected: bool
) -> None:
    portal.says(result(answer))

    assert bitrix.is_installed() is expected


def test_a_token_is_proved_by_the_portal_of_the_settings(bitrix: Bitrix, portal: Server) -> None:
    portal.says(result({"CODE": CLIENT_ID}), result({"ID": "5", "ADMIN": True}))

    assert bitrix.app_of_token("foreign-access-token") == CLIENT_ID
    assert bitrix.is_administrator("foreign-access-token") == (True, 5)

    assert portal.methods() == ["app.info", "profile"]


@pytest.mark.parametrize("admin", [False, "N", "0", 0, None])
def test_who_is_no_administrator_is_not_taken_for_one(
    bitrix: Bitrix, portal: Server, admin: object
) -> None:
    portal.says(result({"ID": "5", "ADMIN": admin}))

    assert bitrix.is_administrator("foreign-access-token") == (False, 5)


@pytest.mark.parametrize(
    ("answer", "ids"),
    [
        ({"livechat": "Live chat", "Example_1": "Ours"}, {"livechat", "example_1"}),
        ([], set()),
        (["Live chat"], {"0"}),
    ],
)
def test_connectors_are_known_by_their_ids(
    bitrix: Bitrix, portal: Server, answer: object, ids: set[str]
) -> None:
    portal.says(result(answer))

    assert bitrix.connectors() == ids


@pytest.mark.parametrize("answer", [None, "livechat", 3])
def test_a_list_of_connectors_of_another_shape_tells_nothing(
    bitrix: Bitrix, portal: Server, answer: object
) -> None:
    portal.says(result(answer))

    assert isinstance(failure(bitrix.connectors), OutcomeUnknown)


def test_to_switch_off_what_is_off_is_no_fault(bitrix: Bitrix, portal: Server) -> None:
    portal.says(result(False))

    bitrix.activate(CONNECTOR, 7, False)

    assert isinstance(failure(lambda: bitrix.activate(CONNECTOR, 7, True)), Refused)
    portal.says(result({"result": False, "error": "X"}))
    assert failure(lambda: bitrix.activate(CONNECTOR, 7, False)).code == "X"


def test_a_limit_without_times_lasts_as_the_methods_last_success_said(
    bitrix: Bitrix, portal: Server
) -> None:
    times = {"finish": 1000.0, "operating_reset_at": 1300}
    portal.says(said({"result": True, "time": times}))
    bitrix.activate(CONNECTOR, 7, True)
    portal.says(said({"result": {"STATUS": True}, "time": {**times, "operating_reset_at": 1100}}))
    bitrix.connector_status(CONNECTOR, 7)
    portal.says(said({"error": "OPERATION_TIME_LIMIT"}, 429))

    limits = [
        failure(lambda: bitrix.activate(CONNECTOR, 7, True)).seconds,
        failure(lambda: bitrix.connector_status(CONNECTOR, 7)).seconds,
        failure(bitrix.is_installed).seconds,
    ]

    assert [290 < limits[0] <= 300, 90 < limits[1] <= 100, limits[2]] == [True, True, 0.0]
    portal.says(said({"error": "OPERATION_TIME_LIMIT", "time": {**times, "finish": 1295}}, 429))
    assert failure(lambda: bitrix.activate(CONNECTOR, 7, True)).seconds == 5.0
    portal.says(said({"error": "QUERY_LIMIT_EXCEEDED"}, 503))
    assert failure(lambda: bitrix.activate(CONNECTOR, 7, True)).seconds == 0.0


def test_a_dialogs_messages_are_read_ascending(bitrix: Bitrix, portal: Server) -> None:
    portal.says(
        result(
            {
                "chat_id": 5120,
                "messages": [
                    {
                        "id": 903312,
                        "chat_id": 5120,
                        "author_id": 18,
                        "date": "2026-05-27T10:00:00+03:00",
                        "text": "See the file",
                        "params": {"FILE_ID": [4], "CONNECTOR_MID": ["m1"]},
                    },
                    {
                        "id": 903311,
                        "chat_id": 5120,
                        "author_id": 2114,
                        "date": "2026-05-27T09:59:00+03:00",
                        "text": "Hello",
                        "params": {"CONNECTOR_MID": ["12"]},
                    },
                    {
                        "id": 903313,
                        "author_id": 0,
                        "date": "2026-05-27T10:01:00+03:00",
                        "text": "joined",
                        "params": {"CLASS": "bx-messenger-content-item-system"},
                    },
                    {
                        "id": 903314,
                        "author_id": 18,
                        "date": "2026-05-27T10:02:00+03:00",
                        "text": "psst",
                        "params": {"COMPONENT_ID": "HiddenMessage"},
                    },
                ],
                "users": [
                    {"id": 18, "name": "Olga Petrova", "connector": False},
                    {"id": 2114, "name": "Anna", "connector": True},
                ],
                "files": [{"id": 4, "name": "price.pdf"}, {"id": 5, "name": "other.pdf"}],
            }
        )
    )

    messages = bitrix.dialog_messages(5120, after=903310)

    assert portal.heard[0].form == {
        "DIALOG_ID": "chat5120",
        "FIRST_ID": "903310",
        "LIMIT": "50",
        "auth": OLD.access_token,
    }
    assert [message.id for message in messages] == [903311, 903312, 903313, 903314]
    visitors, operators, system, whisper = messages
    assert visitors == HistoryMessage(
        id=903311,
        author_id=2114,
        text="Hello",
        sent_at=1_779_865_140.0,
        connector_mids=("12",),
        classes="",
        hidden=False,
        from_connector=True,
        author_name="Anna",
        files=(),
    )
    assert operators.author_name == "Olga Petrova"
    assert operators.files == ({"id": 4, "name": "price.pdf"},)
    assert (operators.from_connector, operators.hidden) == (False, False)
    assert (system.hidden, whisper.hidden) == (True, True)


@pytest.mark.parametrize(
    ("message", "deleted"),
    [
        ({"params": {"IS_DELETED": "Y"}}, True),
        ({"params": {"isDeleted": "Y"}}, True),
        ({"params": {"IS_DELETED": True, "CLASS": "x"}}, True),
        ({"params": {"isDeleted": 1}}, True),
        ({"params": {"IS_DELETED": "1"}}, True),
        ({"params": {"IS_DELETED": ["Y"]}}, True),
        ({"params": {"IS_DELETED": {"0": "true"}}}, True),
        ({"params": [], "isDeleted": True}, True),
        ({"params": {"IS_DELETED": "N"}}, False),
        ({"params": {"isDeleted": False}}, False),
        ({"params": {"IS_DELETED": 0}}, False),
        ({"params": {"IS_DELETED": []}}, False),
        ({"params": []}, False),
        ({}, False),
    ],
)
def test_a_deleted_message_is_known_in_whatever_form(
    bitrix: Bitrix, portal: Server, message: dict[str, Any], deleted: bool
) -> None:
    portal.says(result({"messages": [{"id": 1, "author_id": 18, **message}]}))

    (read,) = bitrix.dialog_messages(5120)

    assert read.deleted is deleted


@pytest.mark.parametrize(
    "params",
    [
        {"COMPONENT_ID": "HiddenMessage", "IS_EDITED": "Y"},
        {"componentId": "HiddenMessage"},
        {"COMPONENT_ID": ["HiddenMessage"]},
        {"CLASS": ["a", "bx-messenger-content-item-system"]},
        {"class": "bx-messenger-content-item-system"},
    ],
)
def test_a_whisper_or_notice_is_known_in_whatever_form(
    bitrix: Bitrix, portal: Server, params: dict[str, Any]
) -> None:
    portal.says(result({"messages": [{"id": 1, "author_id": 18, "params": params}]}))

    assert bitrix.dialog_messages(5120)[0].hidden


@pytest.mark.parametrize(
    ("bounds", "sent"),
    [
        ({}, {}),
        ({"after": None}, {}),
        ({"after": 0}, {}),  # FIRST_ID=0 would mean something else
        ({"after": 903310}, {"FIRST_ID": "903310"}),
        ({"before": 903310}, {"LAST_ID": "903310"}),
    ],
)
def test_a_dialog_is_asked_for_within_bounds(
    bitrix: Bitrix, portal: Server, bounds: dict[str, int | None], sent: dict[str, str]
) -> None:
    portal.says(result({"messages": []}))

    bitrix.dialog_messages(5120, **bounds)

    form = portal.heard[0].form
    assert {key: form[key] for key in ("FIRST_ID", "LAST_ID") if key in form} == sent


def test_a_sessions_messages_are_read_from_either_shape(bitrix: Bitrix, portal: Server) -> None:
    message = {
        "id": "903311",
        "chatid": "5120",
        "senderid": "2114",
        "date": "2026-05-27T09:59:00+03:00",
        "text": "Hello",
        "params": {"connectorMid": ["12"]},
    }
    answer = {
        "chatId": 5120,
        "message": {"903311": message, "903310": message | {"id": "903310", "params": []}},
        "users": {"2114": {"id": "2114", "name": "Anna", "connector": True}},
        "files": [],
    }
    portal.says(result(answer))

    earlier, later = bitrix.session_messages(3301)

    assert (earlier.id, earlier.connector_mids) == (903310, ())
    assert (later.id, later.connector_mids) == (903311, ("12",))
    assert later.from_connector
    assert later.sent_at == 1_779_865_140.0


@pytest.mark.parametrize(
    ("call", "reply"),
    [
        (
            lambda bitrix: bitrix.dialog_messages(5120),
            said({"error": "ACCESS_ERROR", "error_description": "x"}, 403),
        ),
        (
            lambda bitrix: bitrix.session_messages(3301),
            said({"error": "ACCESS_DENIED", "error_description": "x"}, 403),
        ),
    ],
    ids=["dialog", "session"],
)
def test_a_history_that_is_not_open_to_us_is_refused(
    bitrix: Bitrix, portal: Server, call: Callable[[Bitrix], object], reply: Reply
) -> None:
    portal.says(reply)

    assert type(failure(lambda: call(bitrix))) is Refused


@pytest.mark.parametrize("answer", [True, [], {}, {"messages": [{}]}, {"message": "x"}, "x"])
def test_a_strange_history_is_no_empty_history(
    bitrix: Bitrix, portal: Server, answer: object
) -> None:
    portal.says(result(answer))

    assert type(failure(lambda: bitrix.session_messages(3301))) is OutcomeUnknown


@pytest.mark.parametrize("answer", [True, [], {}, {"messages": [{}]}, {"messages": "x"}, "x"])
def test_a_strange_dialog_is_no_empty_dialog(
    bitrix: Bitrix, portal: Server, answer: object
) -> None:
    """Taken for empty it would say that a message never arrived, and have it sent again."""
    portal.says(result(answer))

    assert type(failure(lambda: bitrix.dialog_messages(5120))) is OutcomeUnknown


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"id": 5120, "entity_data_1": "Y|LEAD|13|N|N|3301|1790000000|0"}, (5120, 3301)),
        ({"id": "5120", "entity_data_1": "Y|LEAD"}, (5120, None)),
        ({"id": 5120}, (5120, None)),
    ],
)
def test_a_dialog_is_found_by_its_user_code(
    bitrix: Bitrix, portal: Server, answer: object, expected: tuple[int, int | None]
) -> None:
    portal.says(result(answer))

    assert bitrix.find_dialog(f"{CONNECTOR}|7|{CHAT}|2114") == expected
    assert portal.heard[0].form["USER_CODE"] == f"{CONNECTOR}|7|{CHAT}|2114"
