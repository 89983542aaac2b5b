"""The whole path over real HTTP: install, connect, write, answer, confirm, edit, delete."""

import json
import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from stage import CLIENT_ID, LINE, Stage, Visitor, wait_until

EVENTS = {
    "ONIMCONNECTORMESSAGEADD",
    "ONIMCONNECTORMESSAGEUPDATE",
    "ONIMCONNECTORMESSAGEDELETE",
    "ONIMCONNECTORDIALOGSTART",
    "ONIMCONNECTORDIALOGFINISH",
    "ONIMCONNECTORSTATUSDELETE",
    "ONIMCONNECTORLINEDELETE",
    "ONAPPUNINSTALL",
}
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR4nGP4z8AARAwQCgAf7gP9i18U1AAAAABJRU5E"
    "rkJggg=="
)
TYPED = (
    "He said \"hi\" & <b>not bold</b> 'quoted'",
    "Привет, как дела? Ёжик 😀👩‍👩‍👧",
    "a=b&c[d]=e%20+100% \\ /",
    "  leading, trailing and\n\nlines  ",
    "[b]as typed[/b] [url=javascript:alert(1)]x[/url]",
    "مرحبا עברית 你好",
)


@pytest.fixture(autouse=True)
def nothing_breaks_the_official_description(stage: Stage) -> object:
    yield
    assert stage.state()["spec_violations"] == []


def test_install_registers_the_connector_and_binds_each_event_once(stage: Stage) -> None:
    state = stage.state()

    connector = state["connectors"]["example_connector_1"]
    assert connector["name"] == "ExampleSiteChat"
    assert connector["placement_handler"] == f"{stage.chat}/handler"
    assert sorted(one["event"] for one in state["bindings"]) == sorted(EVENTS)
    assert {one["handler"] for one in state["bindings"]} == {f"{stage.chat}/handler"}
    (registered,) = stage.calls("imconnector.register")
    for icon in ("ICON", "ICON_DISABLED"):
        assert registered["params"][icon]["DATA_IMAGE"].startswith("data:image/svg+xml")


def test_connect_activates_the_line_and_sets_its_data(stage: Stage) -> None:
    line = stage.state()["connectors"]["example_connector_1"]["lines"][str(LINE)]

    assert line["connection"]
    assert line["register"]
    (activated,) = stage.calls("imconnector.activate")
    assert activated["params"]["ACTIVE"] == "1"
    (data,) = stage.calls("imconnector.connector.data.set")
    assert data["params"]["DATA"] == {
        "ID": f"example_connector_1line{LINE}",
        "URL_IM": f"{stage.chat}/",
        "NAME": "ExampleSiteChatWidget",
    } or data["params"]["DATA"] == {
        "id": f"example_connector_1line{LINE}",
        "url_im": f"{stage.chat}/",
        "name": "ExampleSiteChatWidget",
    }


@pytest.mark.parametrize("typed", TYPED)
def test_the_operator_receives_exactly_what_was_typed(stage: Stage, typed: str) -> None:
    chat = stage.visitor().send(typed)["chat"]

    wait_until(lambda: stage.texts(chat), why="the message at the operator's")
    assert stage.texts(chat) == [typed]


def test_a_message_goes_there_and_an_answer_comes_back_and_is_confirmed(stage: Stage) -> None:
    visitor = stage.visitor()
    sent = visitor.send("Do you deliver?", name="Анна-Мария")
    assert re.fullmatch(r"chat[0-9a-f]{64}", sent["chat"])
    assert sent["post"]["message"] == "Do you deliver?"
    assert sent["result"]["state"] == "stored"
    dialog = wait_until(lambda: stage.dialog(sent["chat"]))
    assert dialog["line"] == LINE
    assert dialog["external_user_id"] == sent["chat"]
    assert dialog["user_name"] == "Анна-Мария"
    assert dialog["messages"][0]["connector_mid"] == [str(sent["result"]["id"])]
    wait_until(lambda: 'data-state="delivered"' in visitor.history(), why="the tick")

    answer = stage.press(
        "answer", external_chat_id=sent["chat"], text="Yes, [b]today[/b] <i>free</i>", user_id=18
    )

    history = visitor.wait_for("today")
    assert "<strong>today</strong> &lt;i&gt;free&lt;/i&gt;" in history
    assert "Ivan Smirnov" in history
    assert history.index("Do you deliver?") < history.index("today")
    ours = re.search(r'data-id="(\d+)"[^>]*data-author="operator"', history)
    assert ours is not None

    def confirmed() -> bool:
        messages = stage.dialog(sent["chat"])["messages"]
        return bool(messages[-1]["delivered"] and messages[-1]["connector_mid"] == [ours[1]])

    wait_until(confirmed, why="the confirmation")
    call = stage.calls("imconnector.send.status.delivery")[-1]
    (item,) = call["params"]["MESSAGES"]
    assert item["im"]["message_id"] == str(answer["message_id"])
    assert item["message"]["id"] == [ours[1]]
    assert item["chat"]["id"] == sent["chat"]


def test_the_operator_edits_and_deletes(stage: Stage) -> None:
    visitor = stage.visitor()
    chat = visitor.send("hello")["chat"]
    wait_until(lambda: stage.dialog(chat))
    answer = stage.press("answer", external_chat_id=chat, text="Pirce: 100")
    wait_until(lambda: "Pirce: 100" in visitor.history())
    wait_until(lambda: stage.dialog(chat)["messages"][-1]["connector_mid"])

    stage.press("edit", message_id=answer["message_id"], text="Price: 100")

    history = visitor.wait_for("Price: 100")
    assert "Pirce" not in history
    assert "edited" in history

    stage.press("delete", message_id=answer["message_id"])

    wait_until(lambda: "Price" not in visitor.history(), why="the deletion")
    assert "Message deleted" in visitor.history()


def test_a_file_of_the_operator_is_shown_as_a_link(stage: Stage) -> None:
    visitor = stage.visitor()
    chat = visitor.send("Send me the price list")["chat"]
    wait_until(lambda: stage.dialog(chat))

    stage.press(
        "answer",
        external_chat_id=chat,
        text="",
        files=[{"name": "price <1>.pdf", "type": "file", "content_base64": "JVBERi0="}],
    )

    history = visitor.wait_for("price &lt;")
    assert "price &lt;1&gt;.pdf" in history
    assert re.search(r'<a [^>]*href="http[^"]+/~', history)


def test_an_edit_that_comes_late_does_not_undo_a_later_one(stage: Stage) -> None:
    visitor = stage.visitor()
    chat = visitor.send("How much?")["chat"]
    wait_until(lambda: stage.dialog(chat))
    answer = stage.press("answer", external_chat_id=chat, text="100")
    visitor.wait_for("100")
    sent = next(one for one in stage.dialog(chat)["messages"] if one["text"] == "100")
    item = "data[MESSAGES][0]"
    edit = {
        "event": "ONIMCONNECTORMESSAGEUPDATE",
        "data[CONNECTOR]": "example_connector_1",
        "data[LINE]": str(LINE),
        f"{item}[im][chat_id]": "5120",
        f"{item}[im][message_id]": str(sent["id"]),
        f"{item}[chat][id]": chat,
        "auth[application_token]": stage.state()["application_token"],
    }

    for ts, text in ((1_790_000_009, "the later text"), (1_790_000_008, "the earlier text")):
        more = {"ts": str(ts), f"{item}[message][text]": text}
        requests.post(f"{stage.chat}/handler", data=edit | more, timeout=30).raise_for_status()

    assert answer["message_id"] == sent["id"]
    assert "the later text" in visitor.history()
    assert "the earlier text" not in visitor.history()


def test_an_edit_keeps_the_file(stage: Stage) -> None:
    visitor = stage.visitor()
    chat = visitor.send("A picture, please")["chat"]
    wait_until(lambda: stage.dialog(chat))
    picture = {"name": "scheme.png", "type": "image", "content_base64": PICTURE}
    answer = stage.press("answer", external_chat_id=chat, text="Hier", files=[picture])
    visitor.wait_for("Hier")
    wait_until(lambda: stage.dialog(chat)["messages"][-1]["connector_mid"])

    stage.press("edit", message_id=answer["message_id"], text="Here")

    history = visitor.wait_for("Here")
    assert 'class="bb-image"' in history


def test_an_edit_that_overtakes_its_message_loses_no_file(stage: Stage) -> None:
    visitor = stage.visitor()
    chat = visitor.send("please send it")["chat"]
    wait_until(lambda: stage.dialog(chat), why="the dialog")
    item = "data[MESSAGES][0]"
    told = {
        "data[CONNECTOR]": "example_connector_1",
        "data[LINE]": LINE,
        f"{item}[im][chat_id]": stage.dialog(chat)["chat_id"],
        f"{item}[im][message_id]": 999_001,
        f"{item}[chat][id]": chat,
        "auth[application_token]": stage.state()["application_token"],
    }
    update = {
        "event": "ONIMCONNECTORMESSAGEUPDATE",
        f"{item}[message][text]": "[b]Olga Petrova:[/b][br] the new list",
    }
    add = {
        "event": "ONIMCONNECTORMESSAGEADD",
        f"{item}[message][user_id]": 18,
        f"{item}[message][text]": "[b]Olga Petrova:[/b] [br]the list",
        f"{item}[message][files][0][name]": "price.pdf",
        f"{item}[message][files][0][type]": "file",
        f"{item}[message][files][0][link]": "https://portal.example/~price",
    }

    for event in (update, add):
        answer = requests.post(f"{stage.chat}/handler", data=told | event, timeout=30)
        assert answer.status_code == 200

    html = visitor.history()
    assert "the new list" in html
    assert "the list" not in html
    assert 'href="https://portal.example/~price"' in html
    assert html.count('data-author="operator"') == 1


def test_the_same_client_id_is_one_message(stage: Stage) -> None:
    visitor = stage.visitor()
    client_id = str(uuid.uuid4())

    first = visitor.send("once", client_id=client_id)
    second = visitor.send("once", client_id=client_id.upper())

    assert second["result"]["id"] == first["result"]["id"]
    visitor.send("end")
    wait_until(lambda: "end" in stage.texts(first["chat"]))
    assert stage.texts(first["chat"]) == ["once", "end"]


def test_a_first_message_posted_again_without_its_cookie_is_one_message(stage: Stage) -> None:
    """Its answer was lost, and the cookie with it."""
    client_id = str(uuid.uuid4())
    first = stage.visitor().send("is anybody there?", client_id=client_id)
    visitor = stage.visitor()

    again = visitor.send("is anybody there?", client_id=client_id)
    stranger = stage.visitor().send("is anybody there?", client_id=str(uuid.uuid4()))

    assert (again["chat"], again["result"]["id"]) == (first["chat"], first["result"]["id"])
    assert stranger["chat"] != first["chat"]
    assert visitor.history().count("is anybody there?") == 1


def test_parallel_first_posts_of_one_message_are_one_message(stage: Stage) -> None:
    client_id = str(uuid.uuid4())

    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: stage.visitor().send("all at once", client_id=client_id), range(8))
        )

    assert len({(one["chat"], one["result"]["id"]) for one in answers}) == 1


def test_a_repeated_event_is_one_message(stage: Stage) -> None:
    visitor = stage.visitor()
    chat = visitor.send("hello")["chat"]
    wait_until(lambda: stage.dialog(chat))
    stage.trouble(duplicate_events=True)
    try:
        stage.press("answer", external_chat_id=chat, text="only once")
        wait_until(lambda: "only once" in visitor.history())
        time.sleep(0.3)
    finally:
        requests.delete(f"{stage.portal}/sandbox/trouble", timeout=10)

    assert visitor.history().count("only once") == 1


def test_visitors_see_their_own_chat_and_no_other(stage: Stage) -> None:
    anna, boris = stage.visitor(), stage.visitor()
    chat = anna.send("my secret")["chat"]
    boris.send("something else", name="Boris")
    stage.visitor().history()

    assert "my secret" in anna.history()
    assert "my secret" not in boris.history()
    assert stage.visitor().history() == ""
    forged = requests.post(
        f"{stage.chat}/ajax",
        data={"type": "chat_history", "chat": chat},
        cookies={"sitechat": chat},
        timeout=10,
    )
    assert forged.text == ""


def test_nothing_is_kept_before_the_visitor_acts(stage: Stage) -> None:
    visitor = stage.visitor()

    page = visitor.http.get(f"{stage.chat}/", timeout=10)
    visitor.history()

    assert page.status_code == 200
    assert not visitor.http.cookies


def test_messages_wait_for_install_and_connect(fresh_stage: Stage) -> None:
    visitor = fresh_stage.visitor()
    sent = visitor.send("too early")
    assert sent["result"]["state"] == "stored"

    fresh_stage.install()

    wait_until(lambda: fresh_stage.texts(sent["chat"]) == ["too early"])


def test_what_was_stored_survives_a_kill_and_is_sent_after_the_restart(
    fresh_stage: Stage,
) -> None:
    fresh_stage.install()
    fresh_stage.trouble(down=True)
    visitor = fresh_stage.visitor()
    chat = visitor.send("one")["chat"]
    visitor.send("two")
    visitor.send("three")

    fresh_stage.kill()
    requests.delete(f"{fresh_stage.portal}/sandbox/trouble", timeout=10)
    fresh_stage.start()

    wait_until(lambda: len(fresh_stage.texts(chat)) == 3, 30)
    assert fresh_stage.texts(chat) == ["one", "two", "three"]
    wait_until(lambda: visitor.history().count('data-state="delivered"') == 3)


def test_an_expired_token_is_renewed_once(fresh_stage: Stage) -> None:
    fresh_stage.install()
    at_install = fresh_stage.state()["tokens"]["refreshes"]
    assert at_install == 1, "the client secret is tried"
    fresh_stage.press("expire-tokens")

    chat = fresh_stage.visitor().send("after an hour")["chat"]

    wait_until(lambda: fresh_stage.texts(chat) == ["after an hour"])
    assert fresh_stage.state()["tokens"]["refreshes"] == at_install + 1


def test_install_repeated_binds_nothing_twice(fresh_stage: Stage) -> None:
    fresh_stage.install()
    handler = f"{fresh_stage.chat}/handler"
    before = len(fresh_stage.state()["bindings"])

    fresh_stage.install()
    assert "successfully" in requests.get(f"{fresh_stage.chat}/install", timeout=30).text

    bindings = fresh_stage.state()["bindings"]
    assert len(bindings) == before
    assert {one["handler"] for one in bindings} == {handler}


def test_the_callback_installs_without_calling_install_finish(fresh_stage: Stage) -> None:
    answer = fresh_stage.press("callback")

    assert answer["status"] == 200
    assert "successfully" in answer["body"]
    assert "installFinish" not in answer["body"]
    assert len(fresh_stage.state()["bindings"]) == len(EVENTS)


def test_a_binding_under_another_spelling_of_our_address_is_replaced(fresh_stage: Stage) -> None:
    fresh_stage.install()
    token = fresh_stage.press("token", user_id=1)["access_token"]
    other = f"{fresh_stage.chat}/handler/"
    rest = f"{fresh_stage.portal}/rest"
    fields = {"event": "OnImConnectorMessageAdd", "auth": token}
    requests.post(f"{rest}/event.bind.json", data=fields | {"handler": other}, timeout=10)

    fresh_stage.press("install")

    handlers = [one["handler"] for one in fresh_stage.state()["bindings"]]
    assert other not in handlers
    assert len(handlers) == len(EVENTS)


def test_disconnect_and_line_deletion_stop_the_line(fresh_stage: Stage) -> None:
    fresh_stage.install()
    fresh_stage.press("connect", line=12)
    fresh_stage.press("disconnect", line=12)

    def goes_to(line: int) -> bool:
        chat = fresh_stage.visitor().send("where to?")["chat"]
        return bool(wait_until(lambda: fresh_stage.dialog(chat))["line"] == line)

    wait_until(lambda: goes_to(LINE), why="the line that is left")


def test_uninstall_forgets_the_tokens_and_keeps_the_chats(fresh_stage: Stage) -> None:
    fresh_stage.install()
    visitor = fresh_stage.visitor()
    chat = visitor.send("before")["chat"]
    wait_until(lambda: fresh_stage.texts(chat))
    # The first event taught us the application token; an uninstall can prove itself only by it.
    fresh_stage.press("answer", external_chat_id=chat, text="yes")
    wait_until(lambda: "yes" in visitor.history())

    fresh_stage.press("uninstall")

    wait_until(
        lambda: requests.get(f"{fresh_stage.chat}/install", timeout=30).status_code == 409,
        why="the tokens gone",
    )
    assert "before" in visitor.history()
    assert CLIENT_ID not in requests.get(f"{fresh_stage.chat}/install", timeout=30).text


def test_a_late_uninstall_ends_no_installation_that_came_after_it(tmp_path: Path) -> None:
    """Where the install page brings no token, the old one is all we know for a while."""
    with Stage(tmp_path) as stage:
        stage.trouble(placement_token=False)
        stage.install()
        visitor = stage.visitor()
        chat = visitor.send("before")["chat"]
        wait_until(lambda: stage.texts(chat))
        stage.press("answer", external_chat_id=chat, text="proof of the token")
        wait_until(lambda: "proof" in visitor.history())
        old = stage.state()["application_token"]
        late = {"event": "ONAPPUNINSTALL", "auth[application_token]": old, "ts": "1"}
        stage.install()

        assert requests.post(f"{stage.chat}/handler", data=late, timeout=30).status_code == 403

        stage.press("answer", external_chat_id=chat, text="all goes on")
        wait_until(lambda: "all goes on" in visitor.history())
        token = stage.state()["application_token"]
        now = late | {"auth[application_token]": token}
        assert requests.post(f"{stage.chat}/handler", data=now, timeout=30).status_code == 200
        assert requests.get(f"{stage.chat}/install", timeout=30).status_code == 409


@pytest.mark.parametrize("name", ["हिन्दी शर्मा", "ปิยะ", "محمّد", "Ну́рия"])
def test_names_of_every_script_reach_the_operator(stage: Stage, name: str) -> None:
    chat = stage.visitor().send("hello", name=name)["chat"]

    assert name in json.dumps(wait_until(lambda: stage.dialog(chat)), ensure_ascii=False)


# -- a message that Bitrix24 refused


def refused_message(stage: Stage, text: str) -> tuple[Visitor, int]:
    stage.trouble(fail_items=text)
    visitor = stage.visitor()
    number = visitor.send(text)["result"]["id"]
    visitor.wait_for('data-state="refused"')
    requests.delete(f"{stage.portal}/sandbox/trouble", timeout=30)
    return visitor, number


def test_a_refused_message_is_queued_again_as_the_same_message(stage: Stage) -> None:
    visitor, number = refused_message(stage, "not wanted at first")

    answer = visitor.post(type="retry_message", id=str(number))

    assert answer.json()["result"] == {"id": number, "state": "stored"}
    visitor.wait_for('data-state="delivered"')
    assert visitor.history().count("not wanted at first") == 1
    again = visitor.post(type="retry_message", id=str(number))
    assert again.json()["result"] == {"id": number, "state": "delivered"}
    assert stage.texts(answer.json()["chat"]).count("not wanted at first") == 1


def test_nobody_else_can_queue_a_visitors_message_again(stage: Stage) -> None:
    visitor, number = refused_message(stage, "mine alone")
    other = stage.visitor()
    other.send("hello")

    for stranger, given in ((other, number), (stage.visitor(), number), (visitor, number + 1000)):
        answer = stranger.post(type="retry_message", id=str(given))
        assert answer.status_code == 404
        assert answer.json()["result"]["error"] == "NO_MESSAGE"
    assert visitor.post(type="retry_message", id="x").status_code == 400
    assert visitor.post(type="retry_message").status_code == 400
    assert 'data-state="refused"' in visitor.history()
