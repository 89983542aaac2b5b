"""Bad input gets a 4xx and a clear reason, stores nothing and leaves no traceback."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from stage import Stage

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CHAT = "chat" + "0" * 64


@pytest.fixture(autouse=True)
def nothing_is_stored_and_nothing_breaks(stage: Stage) -> Iterator[None]:
    before = rows(stage.folder)
    yield
    assert rows(stage.folder) == before
    assert "Traceback" not in stage.log.read_text()


def rows(folder: Path) -> dict[str, Any]:
    """All that is kept, but for the key that signs cookies."""
    with sqlite3.connect(folder / "chats" / "chats.db") as db:
        kept = {
            table: db.execute(f"select * from {table}").fetchall()
            for table in ("portal", "lines", "chats", "messages", "deliveries")
        }
    db.close()
    return kept


def event(stage: Stage, **fields: str) -> dict[str, str]:
    """A well-formed event of our portal, changed as the test says; None takes a field away."""
    form = {
        "event": "ONIMCONNECTORMESSAGEADD",
        "data[CONNECTOR]": "example_connector_1",
        "data[LINE]": "7",
        "data[MESSAGES][0][im][chat_id]": "5120",
        "data[MESSAGES][0][im][message_id]": "903311",
        "data[MESSAGES][0][message][user_id]": "18",
        "data[MESSAGES][0][message][text]": "hello",
        "data[MESSAGES][0][chat][id]": CHAT,
        "ts": "1790000000",
        "auth[application_token]": stage.state()["application_token"],
        "auth[member_id]": stage.state()["member_id"],
    }
    return {key: value for key, value in (form | fields).items() if value is not None}


ITEM = "data[MESSAGES][0]"
BAD_EVENTS: dict[str, dict[str, Any]] = {
    "no data": dict.fromkeys(("data[CONNECTOR]", "data[LINE]"))
    | {f"{ITEM}{rest}": None for rest in ("[im][chat_id]", "[im][message_id]", "[chat][id]")}
    | {f"{ITEM}[message]{rest}": None for rest in ("[user_id]", "[text]")},
    "data is a scalar": {"data": "7"},
    "no connector": {"data[CONNECTOR]": None},
    "no line": {"data[LINE]": None},
    "a line that is no number": {"data[LINE]": "seven"},
    "a negative line": {"data[LINE]": "-7"},
    "a line beyond all numbers": {"data[LINE]": "9" * 30},
    "no message id": {f"{ITEM}[im][message_id]": None},
    "a message id that is no number": {f"{ITEM}[im][message_id]": "1e5"},
    "a message id too large": {f"{ITEM}[im][message_id]": "9223372036854775808"},
    "a list where a number belongs": {
        f"{ITEM}[im][message_id]": None,
        f"{ITEM}[im][message_id][0]": "1",
    },
    "a foreign chat": {f"{ITEM}[chat][id]": "chat-of-somebody"},
    "a chat id with a path": {f"{ITEM}[chat][id]": "../../etc/passwd"},
    "no chat": {f"{ITEM}[chat][id]": None},
    "a text with fields": {f"{ITEM}[message][text]": None, f"{ITEM}[message][text][x]": "y"},
    "neither text nor file": {f"{ITEM}[message][text]": ""},
    "files that are scalars, without a text": {
        f"{ITEM}[message][text]": "",
        f"{ITEM}[message][files][0]": "x",
    },
    "files is a scalar, without a text": {
        f"{ITEM}[message][text]": "",
        f"{ITEM}[message][files]": "x",
    },
    "an unknown event": {"event": "ONSOMETHINGELSE"},
    "an empty event": {"event": ""},
    "an event with fields": {"event": None, "event[a]": "b"},
    "an update without text": {
        "event": "ONIMCONNECTORMESSAGEUPDATE",
        f"{ITEM}[message][text]": None,
    },
    "a finish without DATA": {"event": "ONIMCONNECTORDIALOGFINISH"},
    "a line deletion with fields": {"event": "ONIMCONNECTORLINEDELETE"},
    "no application token": {"auth[application_token]": None},
    "auth is a scalar": {"auth[application_token]": None, "auth[member_id]": None, "auth": "x"},
    "a NUL in the text": {f"{ITEM}[message][text]": "a\0b"},
}


@pytest.mark.parametrize("case", BAD_EVENTS)
def test_a_malformed_event_is_refused(stage: Stage, case: str) -> None:
    answer = requests.post(
        f"{stage.chat}/handler", data=event(stage, **BAD_EVENTS[case]), timeout=9
    )

    assert 400 <= answer.status_code < 500, answer.text
    assert 10 < len(answer.text) < 400
    assert "<" not in answer.text


@pytest.mark.parametrize("event_name", ["ONIMCONNECTORMESSAGEADD", "ONAPPUNINSTALL", "X"])
def test_a_wrong_application_token_is_refused(stage: Stage, event_name: str) -> None:
    form = event(stage, event=event_name) | {"auth[application_token]": "0" * 32}

    assert requests.post(f"{stage.chat}/handler", data=form, timeout=30).status_code == 403


PLACEMENTS = {
    "no options": None,
    "not JSON": "{LINE:7}",
    "a list": "[7]",
    "a number": "7",
    "nothing": "",
    "no line": '{"CONNECTOR":"example_connector_1","ACTIVE_STATUS":true}',
    "a line of text": '{"LINE":"seven","CONNECTOR":"example_connector_1","ACTIVE_STATUS":true}',
    "a line of zero": '{"LINE":0,"CONNECTOR":"example_connector_1","ACTIVE_STATUS":true}',
    "a boolean line": '{"LINE":true,"CONNECTOR":"example_connector_1","ACTIVE_STATUS":true}',
    "a fraction": '{"LINE":7.5,"CONNECTOR":"example_connector_1","ACTIVE_STATUS":true}',
    "nested too deep": "[" * 100_000,
    "a list for the status": '{"LINE":7,"CONNECTOR":"example_connector_1","ACTIVE_STATUS":[]}',
    "a doubtful status": '{"LINE":7,"CONNECTOR":"example_connector_1","ACTIVE_STATUS":"maybe"}',
    "a number for the status": '{"LINE":7,"CONNECTOR":"example_connector_1","ACTIVE_STATUS":2}',
    "no status": '{"LINE":7,"CONNECTOR":"example_connector_1"}',
    "another connector": '{"LINE":7,"CONNECTOR":"acme","ACTIVE_STATUS":true}',
}


@pytest.mark.parametrize("case", PLACEMENTS)
def test_malformed_placement_options_are_refused(stage: Stage, case: str) -> None:
    form = {"PLACEMENT": "SETTING_CONNECTOR", "AUTH_ID": "x", "PLACEMENT_OPTIONS": PLACEMENTS[case]}
    calls = len(stage.calls("imconnector.activate"))

    answer = requests.post(f"{stage.chat}/handler", data=form, timeout=30)

    assert 400 <= answer.status_code < 500
    assert "successfully" not in answer.text
    assert len(stage.calls("imconnector.activate")) == calls


@pytest.mark.parametrize("field", ["PLACEMENT", "PLACEMENT[]", "PLACEMENT[a]"])
def test_an_unknown_placement_is_refused(stage: Stage, field: str) -> None:
    value = "SETTING_CONNECTOR" if "[" in field else "CRM_LEAD_LIST_MENU"
    answer = requests.post(f"{stage.chat}/handler", data={field: value}, timeout=9)

    assert answer.status_code == 400
    assert "PLACEMENT must be" in answer.text
    assert "successfully" not in answer.text


def test_a_placement_of_nobody_is_refused(stage: Stage) -> None:
    options = '{"LINE":7,"CONNECTOR":"example_connector_1","ACTIVE_STATUS":true}'
    form = {"PLACEMENT": "SETTING_CONNECTOR", "AUTH_ID": "forged", "PLACEMENT_OPTIONS": options}

    answer = requests.post(f"{stage.chat}/handler", data=form, timeout=30)

    assert answer.status_code == 403
    assert "successfully" not in answer.text


BAD_MESSAGES: dict[str, dict[str, str]] = {
    "no message": {"name": "Anna"},
    "an empty one": {"message": ""},
    "nothing but spaces": {"message": " \n\t "},
    "100 KB": {"message": "x" * 100_000},
    "one character too much": {"message": "я" * 20_001},
    "a long name": {"message": "hello", "name": "x" * 101},
    "a client id that is none": {"message": "hello", "client_id": "1"},
    "joiners and a selector": {"message": "\u200d\u200c\ufe0f"},
    "fillers": {"message": "\u3164\u2800\uffa0 \u115f"},
    "marks alone": {"message": "\u0301\u20dd"},
    "directions and tags": {"message": "\u202e\u2066\U000e0041\xad\u2060\ufeff\u061c"},
    "an object that is not there": {"message": "\ufffc\n"},
    "a message with fields": {"message[a]": "hello"},
    "a name with fields": {"message": "hello", "name[]": "x"},
    "a NUL": {"message": "a\0b"},
}


@pytest.mark.parametrize("case", BAD_MESSAGES)
def test_a_bad_message_is_refused_with_its_reason(stage: Stage, case: str) -> None:
    answer = stage.visitor().post(type="send_message", **BAD_MESSAGES[case])

    assert answer.status_code == 400
    result = answer.json()["result"]
    assert result["error"]
    assert len(result["error_description"]) > 10
    assert "Set-Cookie" not in answer.headers


def test_the_reason_is_in_the_admins_language(stage: Stage) -> None:
    form = {"PLACEMENT": "SETTING_CONNECTOR", "PLACEMENT_OPTIONS": '{"ACTIVE_STATUS":true}'}
    for language, reason in (
        ("ru", "поле PLACEMENT_OPTIONS.LINE должно быть целым числом не меньше 1"),
        ("en", "PLACEMENT_OPTIONS.LINE must be a whole number of at least 1"),
    ):
        answer = requests.post(f"{stage.chat}/handler?LANG={language}", data=form, timeout=30)

        assert answer.status_code == 400
        assert reason in answer.text


def test_the_reason_is_in_the_visitors_language(stage: Stage) -> None:
    answer = requests.post(
        f"{stage.chat}/ajax",
        data={"type": "send_message", "message": ""},
        headers={"Accept-Language": "ru-RU,ru;q=0.9"},
        timeout=30,
    )

    assert answer.json()["result"]["error_description"] == "Сообщение пустое."


def test_a_plain_form_gets_its_text_back_with_the_reason(stage: Stage) -> None:
    answer = requests.post(
        f"{stage.chat}/ajax",
        data={"type": "send_message", "message": "my <long> text", "name": "Anna", "email": "x"},
        headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"},
        timeout=30,
    )

    assert answer.status_code == 400
    assert "my &lt;long&gt; text</textarea>" in answer.text
    assert "This is not an e-mail address." in answer.text


@pytest.mark.parametrize("path", ["/ajax", "/handler", "/install"])
def test_broken_utf_8_is_refused(stage: Stage, path: str) -> None:
    for body in (b"type=send_message&message=%ff%fe&event=x", b"message=\xff&event=x&type=x"):
        answer = requests.post(f"{stage.chat}{path}", data=body, headers=FORM, timeout=30)
        assert answer.status_code == 400
        assert "UTF-8" in answer.text


def test_a_part_without_a_name_is_no_field(stage: Stage) -> None:
    body = b'--b\r\nContent-Disposition: form-data; x="y"\r\n\r\nz\r\n--b--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}

    answer = requests.post(f"{stage.chat}/ajax", data=body, headers=headers, timeout=30)

    assert answer.status_code == 400


@pytest.mark.parametrize("path", ["/ajax", "/handler", "/install"])
def test_a_body_too_large_is_refused(stage: Stage, path: str) -> None:
    answer = requests.post(
        f"{stage.chat}{path}", data=b"a=" + b"x" * 3_000_000, headers=FORM, timeout=9
    )

    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/ajax", "/handler", "/install"])
def test_a_body_that_does_not_say_how_long_it_is_is_refused_too(stage: Stage, path: str) -> None:
    parts = [b"type=send_message&message=", *[b"x" * 100_000] * 12]

    answer = requests.post(f"{stage.chat}{path}", data=iter(parts), headers=FORM, timeout=9)

    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/ajax", "/handler", "/install"])
def test_a_body_that_is_no_form_is_refused(stage: Stage, path: str) -> None:
    answer = requests.post(f"{stage.chat}{path}", json={"event": "x"}, timeout=30)

    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/ajax"),
        ("DELETE", "/ajax"),
        ("GET", "/ajax"),
        ("GET", "/handler"),
        ("PUT", "/handler"),
        ("PATCH", "/install"),
        ("POST", "/"),
    ],
)
def test_a_wrong_method_is_refused(stage: Stage, method: str, path: str) -> None:
    answer = requests.request(method, f"{stage.chat}{path}", timeout=30)

    assert answer.status_code == 405
    assert answer.headers["Allow"]


@pytest.mark.parametrize("kind", ["", "chat_histor", "send_message "])
def test_an_unknown_type_is_refused(stage: Stage, kind: str) -> None:
    assert stage.visitor().post(type=kind, message="hello").status_code == 400


@pytest.mark.parametrize("fields", [{"before": "x"}, {"limit": "-1"}, {"limit": "0"}])
def test_a_history_with_bad_bounds_is_refused(stage: Stage, fields: dict[str, str]) -> None:
    assert stage.visitor().post(type="chat_history", **fields).status_code == 400


def test_another_sites_page_may_not_write(stage: Stage) -> None:
    answer = requests.post(
        f"{stage.chat}/ajax",
        data={"type": "send_message", "message": "hello"},
        headers={"Origin": "https://evil.example"},
        timeout=30,
    )

    assert answer.status_code == 403


@pytest.mark.parametrize(
    "form",
    [
        {"PLACEMENT": "DEFAULT"},
        {"PLACEMENT": "DEFAULT", "AUTH_ID": "x"},
        {"PLACEMENT": "DEFAULT", "AUTH_ID": "x", "REFRESH_ID": "y", "AUTH_EXPIRES": "3600"},
        {"event": "ONAPPINSTALL"},
        {"event": "ONAPPINSTALL", "auth[access_token]": "x", "auth[application_token]": "y"},
        {"event": "ONIMCONNECTORMESSAGEADD", "auth[application_token]": "y"},
    ],
)
def test_an_install_of_nobody_is_refused(stage: Stage, form: dict[str, str]) -> None:
    answer = requests.post(f"{stage.chat}/install", data=form, timeout=30)

    assert 400 <= answer.status_code < 500
    assert "successfully" not in answer.text


def test_an_unknown_address_is_not_found(stage: Stage) -> None:
    for path in ("/chats/chats.db", "/config.toml", "/nothing", "/static/../config.toml"):
        assert requests.get(f"{stage.chat}{path}", timeout=30).status_code == 404
