"""Every request of the client, against the official description of its method."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from client_parts import (
    CHAT,
    CONFIRMATION,
    CONNECTOR,
    HANDLER,
    MESSAGE,
    OLD,
    SENT,
    SPEC,
    Server,
    result,
    send,
)

from bitrix import Bitrix
from rest.form_body import form_body
from rest.php import php_form

CALLS: list[tuple[str, Callable[[Bitrix], object], object]] = [
    (
        "imconnector.register",
        lambda bitrix: bitrix.register(
            CONNECTOR, "Site chat", ("data:image/svg+xml,a", "data:image/svg+xml,b"), HANDLER
        ),
        {"result": True},
    ),
    ("imconnector.unregister", lambda bitrix: bitrix.unregister(CONNECTOR), {"result": True}),
    ("imconnector.activate", lambda bitrix: bitrix.activate(CONNECTOR, 7, True), True),
    ("imconnector.activate", lambda bitrix: bitrix.activate(CONNECTOR, 7, False), True),
    (
        "imconnector.connector.data.set",
        lambda bitrix: bitrix.set_connector_data(CONNECTOR, 7, "https://site.example/", "Widget"),
        True,
    ),
    ("imconnector.send.messages", send, SENT),
    (
        "imconnector.send.status.delivery",
        lambda bitrix: bitrix.confirm_delivery(CONNECTOR, 7, [CONFIRMATION]),
        {"SUCCESS": True, "DATA": []},
    ),
    ("imconnector.list", lambda bitrix: bitrix.connectors(), {"livechat": "Live chat"}),
    ("imconnector.status", lambda bitrix: bitrix.connector_status(CONNECTOR, 7), {"STATUS": True}),
    ("event.bind", lambda bitrix: bitrix.bind_event("OnImConnectorMessageAdd", HANDLER), True),
    ("event.unbind", lambda bitrix: bitrix.unbind_event("OnAppUninstall", HANDLER), {"count": 1}),
    ("event.get", lambda bitrix: bitrix.bound_events(), []),
    ("app.info", lambda bitrix: bitrix.is_installed(), {"INSTALLED": True}),
    ("server.time", lambda bitrix: bitrix.read_time(), "2026-11-30T12:00:00+03:00"),
    ("app.info", lambda bitrix: bitrix.app_of_token("foreign-access-token"), {"CODE": "x"}),
    ("profile", lambda bitrix: bitrix.is_administrator("foreign-access-token"), {"ADMIN": True}),
    ("im.dialog.messages.get", lambda bitrix: bitrix.dialog_messages(5120), {"messages": []}),
    (
        "im.dialog.messages.get",
        lambda bitrix: bitrix.dialog_messages(5120, after=903311),
        {"messages": []},
    ),
    (
        "im.dialog.messages.get",
        lambda bitrix: bitrix.dialog_messages(5120, before=903311),
        {"messages": []},
    ),
    (
        "batch",
        lambda bitrix: bitrix.newest_messages([5120]),
        {"result": [{"messages": []}], "result_error": []},
    ),
    (
        "imopenlines.session.history.get",
        lambda bitrix: bitrix.session_messages(3301),
        {"message": [], "users": []},
    ),
    ("imopenlines.dialog.get", lambda bitrix: bitrix.find_dialog("a|7|b|1"), {"id": 5120}),
    ("imopenlines.config.get", lambda bitrix: bitrix.line(7), False),
    ("im.notify.system.add", lambda bitrix: bitrix.notify(1, "A line is off", "lines"), 70001),
    (
        "batch",
        lambda bitrix: bitrix.examine(CONNECTOR, [7]),
        {"result": {"0": {"INSTALLED": True}}, "result_error": []},
    ),
]


def test_a_form_is_written_as_a_browser_writes_it() -> None:
    form = {"a[b]": "x y&z=ф", "b": "", "c": "😀%"}

    assert form_body(form).decode() == urlencode(form)


def nested(form: dict[str, str]) -> dict[str, Any]:
    """`a[b][0]=c` as dicts in dicts; refuses whatever PHP would have to mend."""
    tree: dict[str, Any] = {}
    for name, value in form.items():
        assert re.fullmatch(r"[A-Za-z_]+(\[[A-Za-z0-9_]+\])*", name), name
        *way, last = re.findall(r"\w+", name)
        branch = tree
        for part in way:
            branch = branch.setdefault(part, {})
            assert isinstance(branch, dict), name
        assert last not in branch, name
        branch[last] = value
    return tree


def is_of_type(value: Any, type_: str) -> bool:
    match type_:
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, str) and re.fullmatch(r"-?[0-9]+", value) is not None
        case "boolean":
            return value in ("1", "0", "Y", "N")
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, dict) and list(value) == [str(i) for i in range(len(value))]
    raise ValueError(type_)


def departures(given: dict[str, Any], described: list[dict[str, Any]], at: str = "") -> list[str]:
    """What of the given parameters is not as described; names count in any case."""
    found = []
    known = {one["name"].lower(): one for one in described}
    names = [name.lower() for name in given]
    found += [f"{at}{name} is missing" for name, one in known.items()
              if one["required"] and name not in names]  # fmt: skip
    for name, value in given.items():
        one = known.get(name.lower())
        if one is None:
            found.append(f"{at}{name} is unknown")
        elif not is_of_type(value, one["type"]):
            found.append(f"{at}{name} is no {one['type']}")
        elif value not in one.get("values", [value]):
            found.append(f"{at}{name} is none of {one['values']}")
        elif isinstance(value, str) and one["required"] and not value:
            found.append(f"{at}{name} is empty")
        elif isinstance(value, str) and len(value) > one.get("max_length", len(value)):
            found.append(f"{at}{name} is too long")
        elif "fields" in one:
            items = value if one["type"] == "array" else {"": value}
            for key, item in items.items():
                way = f"{at}{name}.{key}." if key else f"{at}{name}."
                found += departures(item, one["fields"], way)
    return found


def description(method: str) -> list[dict[str, Any]]:
    described = json.loads((SPEC / f"{method}.json").read_text("utf-8"))
    assert described["method"] == method
    params: list[dict[str, Any]] = described["params"]
    return params


@pytest.mark.parametrize(("method", "call", "answer"), CALLS, ids=[call[0] for call in CALLS])
def test_every_request_is_as_the_official_description_says(
    bitrix: Bitrix, portal: Server, method: str, call: Callable[[Bitrix], object], answer: object
) -> None:
    portal.says(result(answer))

    call(bitrix)

    (request,) = portal.heard
    assert request.path == f"/rest/{method}.json"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    params = nested(request.form)
    assert params.pop("auth") in (OLD.access_token, "foreign-access-token")
    assert departures(params, description(method)) == []


def test_no_method_of_the_client_is_left_out_above() -> None:
    called: set[str] = set()

    class Recorder:
        def __getattr__(self, name: str) -> Callable[..., None]:
            called.add(name)
            return lambda *_, **__: None

    for _, call, _ in CALLS:
        call(Recorder())  # type: ignore[arg-type]

    public = {name for name in dir(Bitrix) if callable(getattr(Bitrix, name)) and name[0] != "_"}
    # The OAuth server is asked by these two: test_renamed.py, test_tokens.py.
    assert public - {"home_of_token", "renew"} <= called
    assert {path.stem for path in SPEC.glob("*.json")} == {method for method, _, _ in CALLS}


@pytest.mark.parametrize(
    ("change", "departure"),
    [
        ({"CONNECTOR": None}, "connector is missing"),
        ({"CONNECTOR": ""}, "CONNECTOR is empty"),
        ({"LINE": "seven"}, "LINE is no integer"),
        ({"LINES": "7"}, "LINES is unknown"),
        ({"MESSAGES": "x"}, "MESSAGES is no array"),
        ({"MESSAGES": {"1": MESSAGE}}, "MESSAGES is no array"),
        ({"MESSAGES": {"0": {"user": {"id": "a"}, "chat": {"id": "a"}}}},
         "MESSAGES.0.message is missing"),
        ({"MESSAGES": {"0": {"user": {"id": "a", "name": "a" * 26}, "message": {"id": "1"},
                             "chat": {"id": "a"}}}}, "MESSAGES.0.user.name is too long"),
    ],
)  # fmt: skip
def test_the_checker_sees_what_departs(change: dict[str, Any], departure: str) -> None:
    good = {"CONNECTOR": "a", "LINE": "7", "MESSAGES": {}}
    given = {key: value for key, value in (good | change).items() if value is not None}

    assert departures(good, description("imconnector.send.messages")) == []
    assert departures(given, description("imconnector.send.messages")) == [departure]


@pytest.mark.parametrize(("active", "sent"), [(True, "1"), (False, "0")])
def test_active_is_1_or_0_and_nothing_else(
    bitrix: Bitrix, portal: Server, active: bool, sent: str
) -> None:
    bitrix.activate(CONNECTOR, 7, active)

    assert portal.heard[0].form == {
        "CONNECTOR": CONNECTOR,
        "LINE": "7",
        "ACTIVE": sent,
        "auth": OLD.access_token,
    }


def test_the_connector_is_registered_as_the_example_does(bitrix: Bitrix, portal: Server) -> None:
    portal.says(result({"result": True}))

    bitrix.register(CONNECTOR, "Site chat", ("data:image/svg+xml,a", "data:b"), HANDLER)

    form = portal.heard[0].form
    assert (form["ID"], form["NAME"]) == (CONNECTOR, "Site chat")
    assert form["PLACEMENT_HANDLER"] == HANDLER
    assert form["ICON[DATA_IMAGE]"] == "data:image/svg+xml,a"
    assert form["ICON_DISABLED[DATA_IMAGE]"] == "data:b"


def test_the_widgets_data_carries_connector_line_and_number(bitrix: Bitrix, portal: Server) -> None:
    bitrix.set_connector_data(CONNECTOR, 7, "https://site.example/", "Widget")

    form = portal.heard[0].form
    assert form["DATA[id]"] == "example_connector_1line7"
    assert form["DATA[url_im]"] == "https://site.example/"
    assert form["DATA[name]"] == "Widget"


def test_a_confirmation_gives_our_id_as_a_list(bitrix: Bitrix, portal: Server) -> None:
    portal.says(result({"SUCCESS": True, "DATA": []}))

    bitrix.confirm_delivery(CONNECTOR, 7, [CONFIRMATION])

    form = portal.heard[0].form
    assert form["MESSAGES[0][im][chat_id]"] == "5120"
    assert form["MESSAGES[0][im][message_id]"] == "903311"
    assert form["MESSAGES[0][message][id][0]"] == "13"
    assert form["MESSAGES[0][chat][id]"] == CHAT


@pytest.mark.parametrize(
    "text",
    [
        "He said \"hi\" and 'bye'",
        "<b>bold</b> & <script>alert(1)</script> &lt;",
        "😀 👩\u200d👩\u200d👧 Привет, «мир»! \u202e ﷽",
        "100% + 1 = 101; a=b&c=d [0]=x \\ \t",
        "one\ntwo\r\nthree",
        " leading and trailing ",
        "0",
        "x" * 20_000,
    ],
)
def test_a_text_arrives_to_the_byte(bitrix: Bitrix, portal: Server, text: str) -> None:
    portal.says(result(SENT))

    send(bitrix, MESSAGE | {"message": {"id": 12, "text": text}})

    assert portal.heard[0].form["MESSAGES[0][message][text]"].encode() == text.encode()


@pytest.mark.parametrize(
    ("params", "form"),
    [
        ({}, []),
        ({"a": "x", "b": 7}, [("a", "x"), ("b", "7")]),
        ({"a": True, "b": False}, [("a", "1"), ("b", "0")]),
        ({"a": None, "b": [], "c": {}, "d": {"e": [None]}}, []),
        ({"a": ""}, [("a", "")]),
        ({"a": ["x", "y"]}, [("a[0]", "x"), ("a[1]", "y")]),
        ({"a": ("x", None, "y")}, [("a[0]", "x"), ("a[2]", "y")]),
        ({"a": [{"b": {"c": 0}}]}, [("a[0][b][c]", "0")]),
    ],
)
def test_parameters_are_flattened_as_php_does(
    params: dict[str, Any], form: list[tuple[str, str]]
) -> None:
    assert list(php_form(params)) == form
