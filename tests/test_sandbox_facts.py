"""The sandbox behaves as the portal does where earlier versions of it did not."""

import base64
import json
import time
from datetime import datetime
from typing import Any

import pytest
import requests
from sandbox_parts import (
    Bitrix,
    bitrix,
    eventually,
    fresh,
    items,
    refresh,
    result,
    running,
)

from sandbox.server import serve

__all__ = ["bitrix", "fresh", "running"]  # fixtures

SCOPE = "imopenlines,imconnector,im,{},placement,disk"


# Two addresses


def test_the_oauth_server_names_itself_and_separates_scopes_by_a_blank(fresh: Bitrix) -> None:
    fresh.install()
    pair = refresh(fresh).json()

    host = fresh.oauth.partition("://")[2]
    assert (pair["domain"], pair["server_endpoint"]) == (host, f"{fresh.oauth}/rest/")
    assert pair["client_endpoint"] == f"{fresh.url}/rest/"
    assert pair["scope"].startswith("imopenlines, imconnector, im,")
    fresh.token = pair["access_token"]
    assert "error" not in fresh.call("imconnector.list"), "the scope holds as before"


def test_app_info_differs_between_the_portal_and_the_oauth_server(fresh: Bitrix) -> None:
    fresh.install()
    portal = fresh.call("app.info")["result"]
    answers = [
        fresh.web.post(f"{fresh.oauth}/rest/{name}", data={"auth": fresh.token}).json()["result"]
        for name in ("app.info", "app.info/", "app.info.json")
    ]

    assert not {"client_id", "scope", "expires", "install"} & portal.keys()
    assert (portal["CODE"], portal["INSTALLED"]) == ("local.sandbox", True)
    assert answers[0] == answers[1] == answers[2]
    (oauth, *_) = answers
    assert oauth.keys() == {"client_id", "scope", "expires", "install", "user_id"}
    assert datetime.fromisoformat(oauth["expires"]).timestamp() > time.time()
    assert oauth["install"]["member_id"] == fresh.state()["member_id"]
    assert {"uri", "member_type", "domain"} <= oauth["install"].keys()
    unknown = fresh.web.post(f"{fresh.oauth}/rest/app.info", data={"auth": "x"})
    assert (unknown.status_code, unknown.json()["error"]) == (401, "invalid_token")


def test_the_portal_renews_no_tokens_unless_nobody_asked_for_an_oauth_port(
    fresh: Bitrix,
) -> None:
    fresh.install()
    assert fresh.web.post(f"{fresh.url}/oauth/token/").status_code == 404
    assert fresh.web.post(f"{fresh.oauth}/rest/profile").status_code == 404

    sandbox, server = serve(fresh.app.url)
    try:
        addresses = (sandbox.options.base_url, sandbox.options.oauth_url)
        codes = [requests.post(f"{one}/oauth/token/", timeout=5).json() for one in addresses]
    finally:
        server.shutdown()
        server.server_close()
    assert [code["error"] for code in codes] == ["wrong_client"] * 2
    assert addresses[0] != addresses[1]


def test_the_oauth_server_can_be_down_alone(fresh: Bitrix) -> None:
    fresh.install()
    fresh.trouble(oauth_down=True)
    for path in ("oauth/token/", "rest/app.info"):
        with pytest.raises(requests.ConnectionError):
            fresh.web.post(f"{fresh.oauth}/{path}", data={"auth": fresh.token})
    assert "result" in fresh.call("app.info")


# Connectors and lines


@pytest.mark.parametrize(("old_build", "answer"), [(False, True), (True, False)])
def test_switching_off_a_line_without_a_state_is_told_too(
    bitrix: Bitrix, old_build: bool, answer: bool
) -> None:
    bitrix.trouble(old_build=old_build)
    off = {"CONNECTOR": "Chat", "ACTIVE": 0}
    assert bitrix.call("imconnector.activate", LINE=7, **off)["result"] is True

    assert bitrix.call("imconnector.activate", LINE=7, **off)["result"] is answer

    told = eventually(
        lambda: (
            len(bitrix.app.events("ONIMCONNECTORSTATUSDELETE")) == 2
            and bitrix.app.events("ONIMCONNECTORSTATUSDELETE")
        )
    )
    assert [(one["data[connector]"], one["data[line]"]) for one in told] == [("chat", "7")] * 2


def test_only_send_messages_tells_that_a_connector_is_not_registered(bitrix: Bitrix) -> None:
    bitrix.do("forget-connector")
    on = {"CONNECTOR": "chat", "LINE": 12}
    assert bitrix.call("imconnector.activate", ACTIVE=1, **on)["result"] is True
    assert bitrix.call("imconnector.connector.data.set", DATA={"id": "x"}, **on)["result"] is True
    assert bitrix.call("imconnector.status", **on)["result"]["STATUS"] is True
    none = bitrix.call("imconnector.status", CONNECTOR="nobody", LINE=12)["result"]
    assert (none["STATUS"], none["CONFIGURED"], none["CONNECTOR"]) == (False, False, "nobody")

    refused = bitrix.raw("imconnector.send.messages", **items("x"))

    assert refused.json()["error"] == "IMCONNECTOR_NOT_SPECIFIED_CORRECT_CONNECTOR"
    assert "chat" not in bitrix.call("imconnector.list")["result"]
    bitrix.register_only()
    assert bitrix.call("imconnector.list")["result"]["chat"] == "Chat"
    assert result(bitrix.send("works again"))["SUCCESS"] is True


def test_a_deleted_line_is_told_for_the_line_and_for_each_connector(bitrix: Bitrix) -> None:
    bitrix.do("delete-line", line=7)

    assert eventually(lambda: bitrix.app.events("ONIMCONNECTORLINEDELETE"))[0]["data"] == "7"
    (told,) = eventually(lambda: bitrix.app.events("ONIMCONNECTORSTATUSDELETE"))
    assert (told["data[connector]"], told["data[line]"]) == ("chat", "7")


@pytest.mark.parametrize("connector", ["unknown", "other", "taken"])
def test_unregistering_fails_inside_a_200(bitrix: Bitrix, connector: str) -> None:
    """One that is unknown, has no connected line, or is another application's."""
    bitrix.do("foreign-connector", id="taken")
    bitrix.register_only(ID="other")

    answer = bitrix.raw("imconnector.unregister", ID=connector)

    assert answer.status_code == 200
    assert answer.json()["result"]["result"] is False
    assert answer.json()["result"]["error"] == "APPLICATION_UNREGISTRATION_ERROR"
    assert bitrix.call("imconnector.unregister", ID="chat")["result"] == {"result": True}
    assert "chat" not in bitrix.state()["connectors"]


@pytest.mark.parametrize("method", ["send", "update", "delete"])
def test_an_inactive_line_takes_no_change_of_messages(bitrix: Bitrix, method: str) -> None:
    bitrix.send("x")
    bitrix.trouble(inactive_line=True)
    call = (f"imconnector.{method}.messages", items("y"))
    answer = bitrix.raw(call[0], **call[1])
    assert (answer.status_code, answer.json()["error"]) == (400, "NOT_ACTIVE_LINE")
    bitrix.trouble(old_build=True)
    assert bitrix.call(call[0], **call[1])["result"] == {"SUCCESS": False, "DATA": []}
    assert [one["text"] for one in bitrix.state()["dialogs"][0]["messages"]] == ["x"]


@pytest.mark.parametrize(("old_build", "line"), [(False, "7"), (True, 7)])
def test_the_settings_page_has_the_line_as_text_and_an_address(
    bitrix: Bitrix, old_build: bool, line: object
) -> None:
    bitrix.trouble(old_build=old_build)
    bitrix.do("connect", line=7)
    options = json.loads(bitrix.app.posts[-1][1]["PLACEMENT_OPTIONS"])
    assert options["LINE"] == line
    assert options["URI"].startswith("/")


def test_a_lines_settings_are_texts_with_its_queue(bitrix: Bitrix) -> None:
    bitrix.do("configure-line", line=7, settings={"WORKTIME_ENABLE": "Y", "QUEUE": ["25", "18"]})

    line = bitrix.call("imopenlines.config.get", CONFIG_ID=7)["result"]
    online = bitrix.call("imopenlines.config.get", CONFIG_ID=7, SHOW_OFFLINE="N")["result"]
    alone = bitrix.call("imopenlines.config.get", CONFIG_ID=7, WITH_QUEUE="N")["result"]

    assert (line["ID"], line["LINE_NAME"], line["WORKTIME_ENABLE"]) == ("7", "Sales", "Y")
    assert (line["QUEUE"], line["QUEUE_ONLINE"]) == (["25", "18"], "Y")
    assert line["QUEUE_USERS_FIELDS"]["18"]["USER_NAME"] is None
    assert online["QUEUE"] == ["18"]
    assert not {"QUEUE", "QUEUE_USERS_FIELDS"} & alone.keys()
    assert bitrix.call("imopenlines.config.get", CONFIG_ID=999)["result"] is False


def test_lines_are_listed_for_any_user_filtered_sorted_and_in_parts(bitrix: Bitrix) -> None:
    def listed(**asked: Any) -> list[str]:
        found = bitrix.call("imopenlines.config.list.get", PARAMS=asked)["result"]
        return [line["ID"] for line in found]

    bitrix.token = bitrix.do("token", user_id=18)["access_token"]
    assert listed() == ["1", "7", "12"]
    assert listed(order={"ID": "desc"}, limit=2) == ["12", "7"]
    assert listed(offset=2) == ["12"]
    assert listed(filter={"LINE_NAME": "Sales"}) == ["7"]
    (line, *_) = bitrix.call("imopenlines.config.list.get", PARAMS={"select": ["LINE_NAME"]})[
        "result"
    ]
    assert line == {"ID": "1", "LINE_NAME": "Support"}


# Messages


@pytest.mark.parametrize("old_build", [False, True])
def test_a_deleted_message_stays_in_both_histories(bitrix: Bitrix, old_build: bool) -> None:
    bitrix.send("Hi")
    bitrix.do("whisper", external_chat_id="c1", text="secret")
    number = bitrix.answer()
    bitrix.confirm(number)
    bitrix.trouble(old_build=old_build)
    for message in bitrix.state()["dialogs"][0]["messages"]:
        bitrix.do("delete", message_id=message["id"])

    dialog = bitrix.call("im.dialog.messages.get", DIALOG_ID="chat5101")["result"]["messages"]
    session = bitrix.call("imopenlines.session.history.get", SESSION_ID=3301)["result"]["message"]

    kept: list[dict[str, Any]] = [{"CONNECTOR_MID": ["out-1"]}, {"COMPONENT_ID": "HiddenMessage"}]
    kept.append({"CONNECTOR_MID": ["in-1"]})
    assert [one["text"] for one in dialog] == ["This message has been deleted."] * 3
    assert [one["params"] for one in dialog] == [
        {"IS_DELETED": "Y"} | (params if old_build else {}) for params in kept
    ]
    assert [one["params"]["isDeleted"] for one in session.values()] == ["Y"] * 3
    (told,) = eventually(lambda: bitrix.app.events("ONIMCONNECTORMESSAGEDELETE"))
    assert told["data[MESSAGES][0][message][id]"] == "out-1"


def test_a_complete_delete_leaves_nothing(bitrix: Bitrix) -> None:
    bitrix.send("Hi")
    number = bitrix.answer()
    bitrix.confirm(number)
    bitrix.do("delete", message_id=number, complete=True)
    told = bitrix.call("im.dialog.messages.get", DIALOG_ID="chat5101")["result"]["messages"]
    assert [one["text"] for one in told] == ["Hi"]
    assert eventually(lambda: bitrix.app.events("ONIMCONNECTORMESSAGEDELETE"))


def test_a_note_has_no_author_and_is_not_posted(bitrix: Bitrix) -> None:
    bitrix.send("Hi")
    note = {"DIALOG_ID": "chat5101", "MESSAGE": "for you", "SYSTEM": "Y"}
    number = bitrix.call("im.message.add", **note)["result"]
    bitrix.answer("seen")
    newest = bitrix.call("im.dialog.messages.get", DIALOG_ID="chat5101")["result"]["messages"][1]
    assert (newest["id"], newest["author_id"], newest["params"]) == (number, 0, [])
    eventually(lambda: bitrix.app.events("ONIMCONNECTORMESSAGEADD"))
    assert len(bitrix.app.events("ONIMCONNECTORMESSAGEADD")) == 1


def test_a_file_is_loaded_by_its_id_with_the_callers_token(bitrix: Bitrix) -> None:
    bitrix.send("Hi")
    content = base64.b64encode(b"plain").decode()
    bitrix.answer("", files=[{"name": "note.txt", "content_base64": content}])
    file_id = bitrix.state()["dialogs"][0]["messages"][1]["files"][0]["id"]

    file = bitrix.call("disk.file.get", ID=file_id)["result"]

    assert (file["NAME"], file["SIZE"], file["TYPE"]) == ("note.txt", "5", "file")
    assert requests.get(file["DOWNLOAD_URL"], timeout=5).content == b"plain"
    spoiled = file["DOWNLOAD_URL"].replace("auth=", "auth=x")
    assert requests.get(spoiled, timeout=5).status_code == 401
    assert bitrix.call("disk.file.get", ID=1)["error"] == "ERROR_NOT_FOUND"


# People


@pytest.mark.parametrize(
    ("scope", "contacts"),
    [("user_brief", False), ("user_basic", True), ("user", True)],
)
def test_a_scope_shows_its_fields_of_users_and_leaves_others_out(
    fresh: Bitrix, scope: str, contacts: bool
) -> None:
    fresh.trouble(scope=SCOPE.format(scope))
    fresh.install()
    (user,) = fresh.call("user.get", FILTER={"ID": 18})["result"]
    assert user["NAME"] == "Ivan"
    assert ("EMAIL" in user) is contacts
    selected = fresh.call("user.get", FILTER={"ID": 18}, select=["NAME", "EMAIL", "NONSENSE"])
    assert selected["result"] == [
        {"NAME": "Ivan"} | ({"EMAIL": "user18@example.com"} if contacts else {})
    ]


def test_a_list_says_its_length_also_within_a_batch(bitrix: Bitrix) -> None:
    answer = bitrix.call("user.get", FILTER={"ID": [1, 18, 99]}, sort="NAME", order="ASC")
    assert (answer["total"], [user["NAME"] for user in answer["result"]]) == (2, ["Ivan", "Olga"])
    told = bitrix.call("batch", cmd={"all": "user.get", "me": "profile"})["result"]
    assert told["result_total"] == {"all": 3}
    assert [user["IS_ONLINE"] for user in told["result"]["all"]] == ["Y", "Y", "N"]


def test_the_messenger_knows_employees_and_visitors(bitrix: Bitrix) -> None:
    bitrix.send("Hi")
    people = [bitrix.call("im.user.get", ID=number)["result"] for number in (18, 2001)]
    assert [one["name"] for one in people] == ["Ivan Smirnov", "Ann"]
    assert [one["connector"] for one in people] == [False, True]
    assert bitrix.call("im.user.get")["result"]["id"] == 1
    assert bitrix.raw("im.user.get", ID=4711).status_code == 400


def test_a_notification_takes_the_place_of_one_with_its_tag(bitrix: Bitrix) -> None:
    for text, more in (("one", {"TAG": "a"}), ("two", {"TAG": "a"}), ("three", {}), ("four", {})):
        told = bitrix.call("im.notify.system.add", USER_ID=1, MESSAGE=text, **more)
        assert isinstance(told["result"], int)
    texts = [one["text"] for one in bitrix.state()["notifications"]]
    assert texts == ["two", "three", "four"]
    unknown = bitrix.call("im.notify.system.add", USER_ID=4711, MESSAGE="x")
    assert unknown["result"] is False


# The rest


def test_an_unknown_event_is_refused(bitrix: Bitrix) -> None:
    answer = bitrix.raw("event.bind", event="OnNothing", handler="https://a.b/")
    assert (answer.status_code, answer.json()["error"]) == (400, "ERROR_EVENT_NOT_FOUND")


def test_what_a_batch_has_too_much_fails_command_by_command(bitrix: Bitrix) -> None:
    told = bitrix.call("batch", cmd={f"c{number}": "profile" for number in range(53)})["result"]
    assert len(told["result"]) == 50
    assert set(told["result_error"]) == {"c50", "c51", "c52"}


def test_the_limit_of_a_method_may_come_without_times(bitrix: Bitrix) -> None:
    bitrix.trouble(operating_seconds=30)
    before = bitrix.call("profile")["time"]
    assert 29 <= before["operating_reset_at"] - before["finish"] <= 31
    bitrix.trouble(operation_time_limit=30, operation_without_time=True)
    answer = bitrix.raw("profile")
    assert (answer.status_code, answer.json()["error"]) == (429, "OPERATION_TIME_LIMIT")
    assert "time" not in answer.json()


def test_the_portal_tells_its_time_and_its_features(bitrix: Bitrix) -> None:
    now = datetime.fromisoformat(bitrix.call("server.time")["result"])
    assert abs(now.timestamp() - time.time()) < 5
    bitrix.trouble(features="rest_auth_connector")
    codes = ("rest_auth_connector", "rest_offline_extended", "nonsense")
    told = [bitrix.call("feature.get", CODE=code)["result"]["value"] for code in codes]
    assert told == ["Y", "N", "N"]


# What a test takes away


def test_rights_are_taken_away_at_once(fresh: Bitrix) -> None:
    fresh.install()
    assert "im" in fresh.call("scope")["result"]

    fresh.trouble(missing_rights="im,placement")

    assert fresh.call("scope")["result"] == ["disk", "imconnector", "imopenlines", "user_brief"]
    told = fresh.raw("im.notify.system.add", USER_ID=1, MESSAGE="x")
    assert (told.status_code, told.json()["error"]) == (403, "insufficient_scope")
    fresh.trouble(missing_rights="")
    assert "result" in fresh.call("im.notify.system.add", USER_ID=1, MESSAGE="x")


def test_a_portal_may_lack_a_method_and_batch_goes_on_without_it(fresh: Bitrix) -> None:
    fresh.install()
    fresh.trouble(unknown_methods="scope,imopenlines.config.get")

    told = fresh.call("batch", cmd={"a": "scope", "b": "profile"})["result"]

    assert told["result_error"]["a"]["error"] == "ERROR_METHOD_NOT_FOUND"
    assert told["result"]["b"]["ID"] == "1"
    assert fresh.raw("scope").status_code == 404
    fresh.trouble(unknown_methods="batch")
    assert fresh.raw("batch", cmd={"a": "scope"}).json()["error"] == "ERROR_METHOD_NOT_FOUND"


def test_the_applications_secret_can_change(fresh: Bitrix) -> None:
    fresh.install()
    pair = fresh.do("token", user_id=1)
    form = {"grant_type": "refresh_token", "client_id": "local.sandbox"}
    form["refresh_token"] = pair["refresh_token"]
    fresh.trouble(client_secret="a-new-secret")

    answers = [
        fresh.web.post(f"{fresh.oauth}/oauth/token/", data={**form, "client_secret": secret})
        for secret in ("sandbox-secret", "a-new-secret")
    ]

    assert answers[0].json()["error"] == "invalid_client"
    assert "access_token" in answers[1].json()


def test_the_portals_clock_can_be_wrong(fresh: Bitrix) -> None:
    fresh.install()
    fresh.trouble(clock_offset_seconds=-86_400)

    answer = fresh.call("server.time")

    for shown in (answer["time"]["start"], answer["time"]["finish"],
                  datetime.fromisoformat(answer["result"]).timestamp()):  # fmt: skip
        assert shown - time.time() == pytest.approx(-86_400, abs=10)
    assert 590 < answer["time"]["operating_reset_at"] - answer["time"]["finish"] < 610


def test_a_line_can_be_switched_off_or_deleted(bitrix: Bitrix) -> None:
    asked = {"CONFIG_ID": 7, "WITH_QUEUE": "N"}
    bitrix.do("configure-line", line=7, settings={"ACTIVE": "N"})
    assert bitrix.call("imopenlines.config.get", **asked)["result"]["ACTIVE"] == "N"
    bitrix.do("delete-line", line=7)
    assert bitrix.call("imopenlines.config.get", **asked)["result"] is False
