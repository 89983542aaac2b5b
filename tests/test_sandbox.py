"""The sandbox portal over real HTTP, with a small recording application."""

import base64
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
import requests
from playwright.sync_api import Page
from sandbox_parts import (
    EVENTS,
    ICON,
    Bitrix,
    bitrix,
    eventually,
    fresh,
    items,
    refresh,
    result,
    running,
)

from sandbox import php

__all__ = ["bitrix", "fresh", "running"]  # fixtures

ROOT = Path(__file__).parent.parent


# PHP forms


@pytest.mark.parametrize(
    ("form", "nested"),
    [
        ("a=1", {"a": "1"}),
        ("a[b][c]=1&a[b][d]=2", {"a": {"b": {"c": "1", "d": "2"}}}),
        ("a[]=1&a[]=2", {"a": ["1", "2"]}),
        ("a[1]=y&a[0]=x", {"a": ["x", "y"]}),
        ("a[5]=x", {"a": {"5": "x"}}),
        ("a[][b]=1&a[][b]=2", {"a": [{"b": "1"}, {"b": "2"}]}),
        ("a=1&a=2", {"a": "2"}),
        ("a[b=1", {"a": "1"}),
    ],
)
def test_forms_nest_as_in_php(form: str, nested: dict[str, Any]) -> None:
    assert php.decode(parse_qsl(form)) == nested


def test_encoding_drops_nulls_and_empty_arrays() -> None:
    pairs = php.encode({"a": None, "b": [], "c": [True, False], "d": {"e": 1}})
    assert pairs == [("c[0]", "1"), ("c[1]", "0"), ("d[e]", "1")]


# Tokens


def test_calls_need_a_living_token(fresh: Bitrix) -> None:
    assert fresh.raw("profile").status_code == 401
    assert fresh.call("profile")["error"] == "NO_AUTH_FOUND"
    fresh.token = "nonsense"
    assert fresh.call("profile")["error"] == "invalid_token"
    fresh.install()
    assert fresh.call("profile")["result"]["ADMIN"] is True
    fresh.do("expire-tokens")
    assert fresh.raw("profile").status_code == 401
    assert fresh.call("profile")["error"] == "expired_token"


def test_a_bearer_and_a_json_body_are_understood(fresh: Bitrix) -> None:
    fresh.install()
    bearer = {"Authorization": f"Bearer {fresh.token}"}
    answer = fresh.web.post(f"{fresh.url}/rest/app.info.json", json={}, headers=bearer).json()
    assert answer["result"]["CODE"] == "local.sandbox"
    assert set(answer["time"]) >= {"start", "finish", "duration", "operating_reset_at"}


def test_a_refresh_kills_the_old_pair(fresh: Bitrix) -> None:
    fresh.install()
    pair = refresh(fresh).json()
    assert pair["expires_in"] == 3600
    assert fresh.call("profile")["error"] == "invalid_token"
    assert refresh(fresh).json()["error"] == "invalid_grant"
    fresh.token = pair["access_token"]
    assert fresh.call("profile")["result"]["ID"] == "1"
    assert fresh.state()["tokens"]["refreshes"] == 1
    assert refresh(fresh, client_id="other").json()["error"] == "wrong_client"
    assert refresh(fresh, client_secret="no").json()["error"] == "invalid_client"


def test_a_missing_scope_is_named(fresh: Bitrix) -> None:
    fresh.trouble(scope="im")
    fresh.install()
    answer = fresh.raw("imconnector.list")
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
    assert fresh.raw("no.such").status_code == 404


# Install and connect


def test_install_is_complete_only_after_install_finish(fresh: Bitrix) -> None:
    fresh.app.page = "<p>no script</p>"
    assert fresh.do("install") == {
        "status": 200,
        "body": "<p>no script</p>",
        "installed": False,
    }
    address, fields = fresh.app.posts[-1]
    assert address.startswith("/install?DOMAIN=127.0.0.1")
    assert "PROTOCOL=0" in address
    assert fields["PLACEMENT"] == "DEFAULT"
    fresh.token = fields["AUTH_ID"]
    assert fresh.call("app.info")["result"]["INSTALLED"] is False


def test_nothing_is_posted_before_the_install_is_complete(fresh: Bitrix) -> None:
    fresh.do("install", finish=False)
    fresh.token = fresh.app.posts[-1][1]["AUTH_ID"]
    fresh.register()
    fresh.connect()
    fresh.send("Hi")
    fresh.answer()
    assert fresh.state()["counts"]["pending_events"] == 0
    assert fresh.app.events() == []


def test_an_app_without_a_page_gets_onappinstall(fresh: Bitrix) -> None:
    fresh.do("callback")
    fields = fresh.app.posts[-1][1]
    assert fields["event"] == "ONAPPINSTALL"
    assert fields["auth[refresh_token]"]
    assert fields["auth[application_token]"] == fresh.state()["application_token"]
    assert fresh.state()["installed"]


def test_a_new_install_has_a_new_secret_and_no_bindings(bitrix: Bitrix) -> None:
    before = bitrix.state()
    bitrix.install()
    after = bitrix.state()
    assert after["application_token"] != before["application_token"]
    assert (after["bindings"], after["member_id"]) == ([], before["member_id"])


def test_connect_sets_active_only(fresh: Bitrix) -> None:
    fresh.install(user_id=25)
    fresh.register()
    assert fresh.do("connect", line=7)["status"] == 200
    address, fields = fresh.app.posts[-1]
    assert address.startswith("/handler?")
    assert fields["PLACEMENT"] == "SETTING_CONNECTOR"
    assert (
        '"LINE":"7","CONNECTOR":"chat","STATUS":false,"ACTIVE_STATUS":true'
        in (fields["PLACEMENT_OPTIONS"])
    )
    assert fields["APPLICATION_TOKEN"] == fresh.state()["application_token"]
    assert fresh.send("Hi")["error"] == "NOT_ACTIVE_LINE"
    fresh.trouble(placement_token=False)
    fresh.do("connect", line=7)
    assert "APPLICATION_TOKEN" not in fresh.app.posts[-1][1]


# Registering and binding


def test_registering_fails_inside_a_200(fresh: Bitrix) -> None:
    fresh.install()
    answer = fresh.raw("imconnector.register", ID="x", NAME="x", PLACEMENT_HANDLER="https://a.b/")
    assert answer.status_code == 200
    assert answer.json()["result"]["error"] == "ICON_REQUIRED"
    fresh.do("foreign-connector", id="taken")
    taken = fresh.call(
        "imconnector.register", ID="taken", NAME="x", ICON=ICON, PLACEMENT_HANDLER="https://a.b/"
    )
    assert taken["result"]["result"] is False


def test_binding_twice_is_refused_and_unbinding_needs_the_exact_url(bitrix: Bitrix) -> None:
    handler = f"{bitrix.app.url}/handler"
    again = bitrix.call("event.bind", event=EVENTS[0], handler=handler)
    assert "already binded" in again["error_description"]
    assert bitrix.call("event.bind", event=EVENTS[0], handler=handler + "/")["result"] is True
    assert len(bitrix.call("event.get")["result"]) == len(EVENTS) + 1
    gone = bitrix.call("event.unbind", event=EVENTS[0], handler=handler + "/")
    assert gone["result"] == {"count": 1}
    assert bitrix.call("event.unbind", event=EVENTS[0], handler="x")["result"] == {"count": 0}
    wrong = bitrix.call("event.bind", event=EVENTS[0], handler="ftp://a.b/")
    assert wrong["error"] == "ERROR_WRONG_HANDLER_URL"


@pytest.mark.parametrize(("value", "on"), [("1", True), ("N", True), ("False", True), ("0", False)])
def test_active_is_what_php_calls_empty(bitrix: Bitrix, value: str, on: bool) -> None:
    bitrix.call("imconnector.activate", CONNECTOR="chat", LINE=7, ACTIVE=value)
    status = bitrix.call("imconnector.status", CONNECTOR="chat", LINE=7)["result"]
    assert status["STATUS"] is on
    if not on:
        fields = eventually(lambda: bitrix.app.events("ONIMCONNECTORSTATUSDELETE"))[0]
        assert (fields["data[connector]"], fields["data[line]"]) == ("chat", "7")


@pytest.mark.parametrize(("active", "works"), [({"ACTIVE": ""}, False), ({}, True)])
def test_an_empty_active_switches_off_and_an_absent_one_is_refused(
    bitrix: Bitrix, active: dict[str, str], works: bool
) -> None:
    """bitrix24.md 6.4 and 6.5."""
    answer = bitrix.raw("imconnector.activate", CONNECTOR="chat", LINE=7, **active)

    assert (answer.status_code, answer.json().get("error")) == (
        (400, "ERROR_ARGUMENT") if works else (200, None)
    )
    status = bitrix.call("imconnector.status", CONNECTOR="chat", LINE=7)["result"]
    assert status["STATUS"] is works


def test_channel_data_merges_and_cannot_be_cleared(bitrix: Bitrix) -> None:
    for data in ({"id": "chat_line7", "url": "https://a.b/"}, {"URL": "", "name": "Chat"}):
        bitrix.call("imconnector.connector.data.set", CONNECTOR="chat", LINE=7, DATA=data)
    row = bitrix.state()["connectors"]["chat"]["lines"]["7"]
    assert row["data"] == {"ID": "chat_line7", "URL": "https://a.b/", "NAME": "Chat"}
    assert bitrix.state()["spec_violations"] == []


# Visitor to operator


def test_a_message_is_stored_with_its_session(bitrix: Bitrix) -> None:
    told = result(bitrix.send("Hi"))
    assert told["SUCCESS"] is True
    assert told["session"] == {"ID": "3301", "CHAT_ID": "5101"}
    assert told["user"] == "2001"
    dialog = bitrix.state()["dialogs"][0]
    assert dialog["messages"][0]["connector_mid"] == ["in-1"]
    start = eventually(lambda: bitrix.app.events("ONIMCONNECTORDIALOGSTART"))[0]
    assert start["data[DATA][0][connector][user_id]"] == "2001"
    assert start["data[DATA][0][session][closed]"] == "N"
    assert "auth[access_token]" not in start


def test_the_same_id_twice_makes_two_messages(bitrix: Bitrix) -> None:
    bitrix.send("Hi")
    bitrix.send("Hi")
    assert len(bitrix.state()["dialogs"][0]["messages"]) == 2


@pytest.mark.parametrize(
    "item",
    [
        {"user": {"name": "Ann2"}},
        {"user": {"name": "a" * 26}},
        {"user": {"email": "nonsense"}},
        {"user": {"id": ""}},
    ],
)
def test_a_bad_visitor_fails_the_item_not_the_call(bitrix: Bitrix, item: Any) -> None:
    answer = bitrix.send("Hi", **item)
    assert answer["result"]["SUCCESS"] is True
    assert result(answer)["SUCCESS"] is False
    assert result(answer)["ERRORS"]


def test_items_have_results_of_their_own(bitrix: Bitrix) -> None:
    bitrix.trouble(fail_items="bad")
    answer = bitrix.send("one", "bad", "", "x" * 20_001)
    assert [one["SUCCESS"] for one in answer["result"]["DATA"]["RESULT"]] == [
        True,
        False,
        False,
        True,
    ]
    assert bitrix.state()["dialogs"][0]["messages"][-1]["text"] == "x" * 20_000 + " (...)"


def test_files_are_fetched_and_silently_dropped(bitrix: Bitrix) -> None:
    good = {"url": f"{bitrix.app.url}/cat.png", "name": "cat.png"}
    broken = {"url": f"{bitrix.app.url}/gone.png", "name": "gone.png"}
    assert result(bitrix.send("", files=[good]))["SUCCESS"] is True
    assert bitrix.app.agents == ["Bitrix Connector Client"]
    assert result(bitrix.send("text", files=[broken]))["SUCCESS"] is True
    assert result(bitrix.send("", files=[broken]))["SUCCESS"] is False
    first, second = bitrix.state()["dialogs"][0]["messages"]
    assert (first["files"][0]["name"], second["files"]) == ("cat.png", [])


def test_a_malformed_item_fails_the_whole_call(bitrix: Bitrix) -> None:
    broken = items("one", "two")
    del broken["MESSAGES"][1]["chat"]
    assert bitrix.raw("imconnector.send.messages", **broken).status_code == 400
    assert bitrix.state()["dialogs"] == []
    unknown = items("one") | {"CONNECTOR": "other"}
    error = bitrix.call("imconnector.send.messages", **unknown)["error"]
    assert error == "IMCONNECTOR_NOT_SPECIFIED_CORRECT_CONNECTOR"
    missing = bitrix.raw("imconnector.send.messages", CONNECTOR="chat", LINE=7)
    assert (missing.status_code, missing.json()["error"]) == (400, "ERROR_ARGUMENT")


def test_unofficial_parameters_are_noted(bitrix: Bitrix) -> None:
    bitrix.send("Hi", colour="red")
    noted = bitrix.state()["spec_violations"]
    assert noted == [
        {
            "method": "imconnector.send.messages",
            "problem": "MESSAGES[0].message.colour: unknown parameter",
        }
    ]


def test_an_inactive_line_by_build(bitrix: Bitrix) -> None:
    bitrix.trouble(inactive_line=True)
    assert bitrix.raw("imconnector.send.messages", **items("x")).status_code == 400
    bitrix.trouble(old_build=True)
    assert bitrix.send("x")["result"] == {"SUCCESS": False, "DATA": []}


@pytest.mark.parametrize(("kind", "kept"), [("stored", 1), ("not stored", 0)])
def test_success_without_a_session(bitrix: Bitrix, kind: str, kept: int) -> None:
    bitrix.trouble(no_session=kind)
    told = result(bitrix.send("Hi"))
    assert told["SUCCESS"] is True
    assert "session" not in told
    assert bitrix.state()["counts"]["messages"] == kept


def test_a_closed_dialog_opens_a_new_session_in_the_same_chat(bitrix: Bitrix) -> None:
    bitrix.send("Hi")
    bitrix.do("close", external_chat_id="c1")
    assert result(bitrix.send("Again"))["session"] == {"ID": "3302", "CHAT_ID": "5101"}
    finish = eventually(lambda: bitrix.app.events("ONIMCONNECTORDIALOGFINISH"))[0]
    assert finish["data[DATA][0][session][closed]"] == "Y"


def test_a_vote_is_taken_while_asked(bitrix: Bitrix) -> None:
    bitrix.send("Hi")
    bitrix.do("vote", external_chat_id="c1")
    asked = eventually(lambda: bitrix.app.events("ONIMCONNECTORMESSAGEADD"))[0]
    assert asked["data[MESSAGES][0][message][params][IMOL_VOTE]"] == "3301"
    bitrix.send("1")
    dialog = bitrix.state()["dialogs"][0]
    assert (dialog["vote"], dialog["messages"][-1]["text"]) == ("1", "Thank you!")


def test_the_app_edits_and_deletes_by_its_own_id(bitrix: Bitrix) -> None:
    bitrix.send("Hi")
    assert result(bitrix.call("imconnector.update.messages", **items("Hello")))["SUCCESS"]
    assert bitrix.state()["dialogs"][0]["messages"][0]["text"] == "Hello"
    assert result(bitrix.call("imconnector.delete.messages", **items("")))["SUCCESS"]
    assert bitrix.state()["dialogs"][0]["messages"][0]["deleted"]


def test_many_threads_at_once_lose_nothing(bitrix: Bitrix) -> None:
    def work(number: int) -> None:
        body = urlencode(php.encode({**items(f"m{number}"), "auth": bitrix.token}))
        for _ in range(10):
            requests.post(
                f"{bitrix.url}/rest/imconnector.send.messages",
                data=body,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
            )

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    messages = bitrix.state()["dialogs"][0]["messages"]
    assert len(messages) == len({message["id"] for message in messages}) == 80


# Operator to visitor


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("new", "[b]Ivan Smirnov:[/b] [br]Hello"),
        ("old", "[b]Ivan Smirnov:[/b][br] Hello"),
        ("none", "Hello"),
    ],
)
def test_an_answer_is_posted_as_section_1_says(bitrix: Bitrix, style: str, text: str) -> None:
    bitrix.trouble(signature=style)
    bitrix.send("Hi")
    number = bitrix.answer(user_id=18)
    fields = dict(eventually(lambda: bitrix.app.events("ONIMCONNECTORMESSAGEADD"))[0])
    state = bitrix.state()
    token = fields.pop("auth[access_token]")
    for name in ("event_handler_id", "ts", "auth[expires]"):
        assert fields.pop(name).isdecimal()
    rest = f"{bitrix.url}/rest/"
    assert fields == {
        "event": "ONIMCONNECTORMESSAGEADD",
        "data[CONNECTOR]": "chat",
        "data[LINE]": "7",
        "data[MESSAGES][0][im][chat_id]": "5101",
        "data[MESSAGES][0][im][message_id]": str(number),
        "data[MESSAGES][0][message][user_id]": "18",
        "data[MESSAGES][0][message][text]": text,
        "data[MESSAGES][0][chat][id]": "c1",
        "auth[expires_in]": "3600",
        "auth[scope]": state["troubles"]["scope"],
        "auth[domain]": state["domain"],
        "auth[server_endpoint]": f"{bitrix.oauth}/rest/",
        "auth[status]": "L",
        "auth[client_endpoint]": rest,
        "auth[member_id]": state["member_id"],
        "auth[user_id]": "18",
        "auth[application_token]": state["application_token"],
    }
    bitrix.token = token
    assert bitrix.call("profile")["result"]["ADMIN"] is False
    assert bitrix.call("imconnector.list")["error"] == "ACCESS_DENIED"


def test_a_file_comes_with_a_public_link(bitrix: Bitrix) -> None:
    bitrix.send("Hi")
    content = base64.b64encode(b"plain").decode()
    bitrix.answer("", files=[{"name": "note.txt", "content_base64": content}])
    fields = eventually(lambda: bitrix.app.events("ONIMCONNECTORMESSAGEADD"))[0]
    where = "data[MESSAGES][0][message]"
    assert fields[f"{where}[text]"] == "[b]Olga Petrova:[/b] "
    assert fields[f"{where}[files][0][type]"] == "file"
    assert fields[f"{where}[files][0][size]"] == "5"
    assert requests.get(fields[f"{where}[files][0][link]"]).content == b"plain"


def test_edits_and_deletes_are_told_only_after_a_confirmation(bitrix: Bitrix) -> None:
    bitrix.send("Hi")
    number = bitrix.answer()
    bitrix.do("edit", message_id=number, text="Unseen")
    assert bitrix.confirm(number)["result"] == {"SUCCESS": True, "DATA": []}
    bitrix.do("edit", message_id=number, text="Edited")
    bitrix.do("delete", message_id=number)
    deleted = eventually(lambda: bitrix.app.events("ONIMCONNECTORMESSAGEDELETE"))[0]
    (updated,) = bitrix.app.events("ONIMCONNECTORMESSAGEUPDATE")
    assert updated["data[MESSAGES][0][message][id][0]"] == "out-1"
    assert updated["data[MESSAGES][0][message][text]"] == "[b]Olga Petrova:[/b][br] Edited"
    assert "data[MESSAGES][0][message][user_id]" not in updated
    assert deleted["data[MESSAGES][0][message][id]"] == "out-1"


def test_the_first_confirmation_wins(bitrix: Bitrix) -> None:
    bitrix.send("Hi")
    number = bitrix.answer()
    assert bitrix.state()["dialogs"][0]["messages"][1]["delivered"] is False
    bitrix.confirm(number, "first")
    bitrix.confirm(number, "second")
    message = bitrix.state()["dialogs"][0]["messages"][1]
    assert (message["delivered"], message["connector_mid"]) == (True, ["first"])
    assert bitrix.confirm(999_999)["result"]["SUCCESS"] is True
    bitrix.trouble(old_build=True)
    bitrix.confirm(number, "third")
    assert bitrix.state()["dialogs"][0]["messages"][1]["connector_mid"] == ["third"]


def test_whispers_and_notices_are_not_posted_but_kept(bitrix: Bitrix) -> None:
    bitrix.send("Hi")
    bitrix.do("whisper", external_chat_id="c1", text="secret")
    bitrix.do("notice", external_chat_id="c1", text="joined", user_id=18)
    bitrix.answer("seen")
    eventually(lambda: bitrix.app.events("ONIMCONNECTORMESSAGEADD"))
    assert len(bitrix.app.events("ONIMCONNECTORMESSAGEADD")) == 1
    told = bitrix.call("im.dialog.messages.get", DIALOG_ID="chat5101")["result"]
    assert [m["text"] for m in told["messages"]] == ["seen", "joined", "secret", "Hi"]
    assert told["messages"][2]["params"] == {"COMPONENT_ID": "HiddenMessage"}


def test_an_operator_cannot_answer_on_an_inactive_line(bitrix: Bitrix) -> None:
    bitrix.send("Hi")
    bitrix.do("disconnect", line=7)
    body = {"external_chat_id": "c1", "text": "x"}
    assert bitrix.web.post(f"{bitrix.url}/sandbox/answer", json=body).status_code == 409


# History


def test_history_rises_above_first_id_and_is_unsigned(bitrix: Bitrix) -> None:
    bitrix.send("one")
    number = bitrix.answer("two")
    bitrix.send("three")
    seen = number - 1
    told = bitrix.call("im.dialog.messages.get", DIALOG_ID="chat5101", FIRST_ID=seen, LIMIT=50)
    messages = told["result"]["messages"]
    assert [message["text"] for message in messages] == ["two", "three"]
    assert messages[1]["params"]["CONNECTOR_MID"] == ["in-1"]
    people = {user["id"]: user["connector"] for user in told["result"]["users"]}
    assert people == {1: False, 2001: True}
    newest = bitrix.call("im.dialog.messages.get", DIALOG_ID="chat5101", LIMIT=1)["result"]
    assert [message["text"] for message in newest["messages"]] == ["three"]


def test_a_session_and_a_dialog_can_be_looked_up(bitrix: Bitrix) -> None:
    bitrix.send("one")
    told = bitrix.call("imopenlines.session.history.get", SESSION_ID=3301)["result"]
    (message,) = told["message"].values()
    assert (message["text"], message["params"]) == ("one", {"connectorMid": ["in-1"]})
    dialog = bitrix.call("imopenlines.dialog.get", USER_CODE="chat|7|c1|2001")["result"]
    assert (dialog["id"], dialog["entity_data_1"].split("|")[5]) == (5101, "3301")


def test_history_may_be_denied(bitrix: Bitrix) -> None:
    bitrix.send("one")
    bitrix.trouble(deny_history=True)
    answer = bitrix.raw("im.dialog.messages.get", DIALOG_ID="chat5101")
    assert (answer.status_code, answer.json()["error"]) == (403, "ACCESS_ERROR")


# Batch and limits


def test_a_batch_gathers_results_and_errors(bitrix: Bitrix) -> None:
    commands = {"me": "profile", "bad": "no.such", "he": "user.get?ID=$result[me][ID]"}
    told = bitrix.call("batch", cmd=commands)["result"]
    assert told["result"]["he"][0]["NAME"] == "Olga"
    assert told["result_error"]["bad"]["error"] == "ERROR_METHOD_NOT_FOUND"
    halted = bitrix.call("batch", halt=1, cmd=commands)["result"]
    assert "he" not in halted["result"]


def test_the_bucket_leaks(bitrix: Bitrix) -> None:
    bitrix.trouble(limit=True, rate={"burst": 3, "per_second": 20})
    codes = [bitrix.raw("profile").status_code for _ in range(20)]
    assert codes[:3] == [200, 200, 200]
    assert 503 in codes
    assert bitrix.state()["counts"]["refused"] > 0
    time.sleep(0.1)
    assert bitrix.raw("profile").status_code == 200


@pytest.mark.parametrize(
    ("trouble", "status", "code"),
    [
        ({"query_limit": 1}, 503, "QUERY_LIMIT_EXCEEDED"),
        ({"overload": True}, 503, "OVERLOAD_LIMIT"),
        ({"operation_time_limit": 60}, 429, "OPERATION_TIME_LIMIT"),
    ],
)
def test_refused_calls_do_nothing(
    bitrix: Bitrix, trouble: dict[str, Any], status: int, code: str
) -> None:
    bitrix.trouble(**trouble)
    answer = bitrix.raw("imconnector.send.messages", **items("x"))
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert answer.json()["time"]["operating_reset_at"] > time.time()
    assert bitrix.state()["dialogs"] == []
    bitrix.web.delete(f"{bitrix.url}/sandbox/trouble")
    assert bitrix.raw("profile").status_code == 200


# Troubles


def test_down_does_nothing_and_drop_does_everything(bitrix: Bitrix) -> None:
    bitrix.trouble(down=True)
    with pytest.raises(requests.ConnectionError):
        bitrix.send("lost")
    with pytest.raises(requests.ConnectionError):
        refresh(bitrix)
    bitrix.trouble(down=False, drop_answers=1, drop_method="imconnector.send.messages")
    assert bitrix.raw("profile").status_code == 200
    with pytest.raises(requests.ConnectionError):
        bitrix.send("kept")
    assert [m["text"] for m in bitrix.state()["dialogs"][0]["messages"]] == ["kept"]
    calls = bitrix.web.get(f"{bitrix.url}/sandbox/calls").json()
    assert [call["status"] for call in calls[-3:]] == [0, 200, 0]
    assert "auth" not in calls[-1]["params"]


def test_a_proxy_page_and_a_silent_oauth_server(bitrix: Bitrix) -> None:
    bitrix.trouble(html=True, oauth_down=True)
    answer = bitrix.raw("profile")
    assert (answer.status_code, answer.headers["Content-Type"]) == (502, "text/html")
    with pytest.raises(requests.ConnectionError):
        refresh(bitrix)


def test_a_refresh_may_succeed_unheard(bitrix: Bitrix) -> None:
    bitrix.trouble(drop_answers=1, drop_method="oauth")
    with pytest.raises(requests.ConnectionError):
        refresh(bitrix)
    assert refresh(bitrix).json()["error"] == "invalid_grant"


def test_the_old_tokens_may_live_on_after_a_renewal(bitrix: Bitrix) -> None:
    bitrix.trouble(old_tokens_live=True, drop_answers=1, drop_method="oauth")
    with pytest.raises(requests.ConnectionError):
        refresh(bitrix)
    assert bitrix.raw("profile").status_code == 200
    assert "access_token" in refresh(bitrix).json()


def test_slowness_does_not_hold_others_up(bitrix: Bitrix) -> None:
    bitrix.trouble(item_seconds=0.3)
    thread = threading.Thread(target=bitrix.send, args=("slow",))
    started = time.monotonic()
    thread.start()
    assert requests.get(f"{bitrix.url}/sandbox/state").status_code == 200
    assert time.monotonic() - started < 0.25
    thread.join()
    assert time.monotonic() - started > 0.3
    bitrix.trouble(item_seconds=0, slow_seconds=0.2)
    started = time.monotonic()
    bitrix.call("profile")
    assert time.monotonic() - started > 0.2


def test_events_are_lost_doubled_late_or_out_of_order(bitrix: Bitrix) -> None:
    def texts() -> list[str]:
        found = bitrix.app.events("ONIMCONNECTORMESSAGEADD")
        return [fields["data[MESSAGES][0][message][text]"][-1] for fields in found]

    bitrix.trouble(signature="none", lose_events=True)
    bitrix.send("Hi")
    bitrix.answer("1")
    bitrix.trouble(lose_events=False, duplicate_events=True)
    bitrix.answer("2")
    assert eventually(lambda: texts() if len(texts()) == 2 else None) == ["2", "2"]
    bitrix.trouble(duplicate_events=False, delay_events_seconds=0.2)
    started = time.monotonic()
    bitrix.answer("3")
    eventually(lambda: len(texts()) == 3)
    assert time.monotonic() - started > 0.2
    bitrix.trouble(delay_events_seconds=0, reorder_events=True)
    bitrix.answer("4")
    bitrix.answer("5")
    assert eventually(lambda: texts() if len(texts()) == 5 else None)[3:] == ["5", "4"]
    log = bitrix.web.get(f"{bitrix.url}/sandbox/events").json()
    assert "lost" in [entry["error"] for entry in log]


def test_a_welcome_text_comes_with_the_session(bitrix: Bitrix) -> None:
    bitrix.trouble(welcome="Welcome!")
    bitrix.send("Hi")
    fields = eventually(lambda: bitrix.app.events("ONIMCONNECTORMESSAGEADD"))[0]
    assert fields["data[MESSAGES][0][message][text]"] == "Welcome!"
    assert "auth[access_token]" not in fields


def test_a_mixture_is_repeatable(bitrix: Bitrix) -> None:
    def outcomes() -> list[int]:
        bitrix.trouble(mixed=None)
        bitrix.trouble(query_limit=0)
        bitrix.call("profile")
        bitrix.trouble(mixed={"probability": 0.4, "seed": 5})
        found = []
        for _ in range(8):
            try:
                found.append(bitrix.raw("profile").status_code)
            except requests.ConnectionError:
                found.append(0)
        return found

    assert outcomes() == outcomes()


def test_a_raw_event_can_be_forged(bitrix: Bitrix) -> None:
    bitrix.do(
        "event", event=EVENTS[0], data={"LINE": 7}, auth={"application_token": "wrong", "x": None}
    )
    fields = eventually(lambda: bitrix.app.events("ONIMCONNECTORMESSAGEADD"))[0]
    assert fields["auth[application_token]"] == "wrong"


def test_uninstalling_is_proved_by_the_secret_alone(bitrix: Bitrix) -> None:
    secret = bitrix.state()["application_token"]
    bitrix.do("uninstall")
    fields = eventually(lambda: bitrix.app.events("ONAPPUNINSTALL"))[0]
    assert fields["auth[application_token]"] == secret
    assert "auth[access_token]" not in fields
    assert bitrix.call("profile")["error"] == "invalid_token"


# The control API and the program itself


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("answer", {"external_chat_id": "none", "text": "x"}, 404),
        ("answer", {"text": "x"}, 400),
        ("edit", {"message_id": 1, "text": "x"}, 404),
        ("edit", {"message_id": "abc", "text": "x"}, 400),
        ("connect", {"line": 999}, 404),
        ("trouble", {"nonsense": 1}, 400),
        ("trouble", {"down": "yes"}, 400),
        ("trouble", {"rate": 5}, 400),
    ],
)
def test_the_control_api_says_what_is_wrong(
    bitrix: Bitrix, name: str, body: dict[str, Any], status: int
) -> None:
    answer = bitrix.web.post(f"{bitrix.url}/sandbox/{name}", json=body)
    assert answer.status_code == status
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "path", ["/", "/demo", "/desk", "/contact-center", "/install-app", "/trouble", "/api/v1/"]
)
def test_pages_open_and_load_nothing_foreign(bitrix: Bitrix, path: str) -> None:
    answer = bitrix.web.get(bitrix.url + path)
    assert answer.status_code == 200
    own = answer.text.replace(bitrix.app.url, "").replace(bitrix.url, "")
    assert "https://" not in own
    assert "http://" not in own


def test_a_taken_port_is_one_clear_line(bitrix: Bitrix) -> None:
    port = bitrix.url.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", "--port", port],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_program_starts_and_ends_cleanly() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("sandbox portal on http://127.0.0.1:")
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def test_the_desk_shows_text_as_text_and_answers(bitrix: Bitrix, page: Page) -> None:
    bitrix.send("<b>bold</b>")
    page.goto(f"{bitrix.url}/desk")
    page.click('[data-dialog="c1"]')
    page.get_by_text("<b>bold</b>").last.wait_for()
    page.fill("#answer", "Hello from the desk")
    page.press("#answer", "Enter")
    page.locator("[data-message]", has_text="Hello from the desk").wait_for()
    bitrix.send("Live")
    page.locator("[data-message]", has_text="Live").wait_for()
    texts = [message["text"] for message in bitrix.state()["dialogs"][0]["messages"]]
    assert texts == ["<b>bold</b>", "Hello from the desk", "Live"]
