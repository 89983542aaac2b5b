"""The log of a running service: each step of a message, the request it belongs to, no secrets."""

import json
import os
import re
import signal
import socket
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from stage import LINE, Stage, wait_until

from operations.version import version
from web.request_ids import SANE

TEXT, NAME, EMAIL = "the visitor's words", "Annabella Petrova", "annabella@shop.example"
REFUSED = "brimstone"


@pytest.fixture(scope="module", params=["text", "json"])
def logged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("way")
    settings = {"SITECHAT_LOGS__FORMAT": request.param, "SITECHAT_RECOVERY__SECONDS": "0.5"}
    if request.param == "json":
        settings["LOG_LEVEL"] = "DEBUG"  # no secret then, either
    with Stage(folder, workers=2, **settings) as stage:
        stage.install()
        yield stage


def lines(stage: Stage) -> list[dict[str, Any]]:
    """The log as facts, whichever format it has."""
    found = []
    for line in stage.log.read_text().splitlines():
        if line.startswith("{"):
            found.append(json.loads(line))
        else:
            match = re.match(r"\S+ \S+ (?P<level>\w+) (?P<logger>[\w.]+): (?P<rest>.*)", line)
            assert match, line
            facts = dict(re.findall(r'(\w+)=("[^"]*"|\S+)', match["rest"]))
            event = re.split(r" \w+=", match["rest"])[0]
            found.append(facts | match.groupdict() | {"event": event})
    return found


def steps(stage: Stage, message_id: int) -> list[str]:
    way = [line for line in lines(stage) if str(line.get("message")) == str(message_id)]
    return [line["event"].removeprefix("message ") for line in way]


def wait_for_steps(stage: Stage, message_id: int, *expected: str) -> None:
    """These and no others, the deliveries' in this order.

    A line is written when its step is stored. So another process, which sees what is stored, may
    write the next step's line before "taken" or "recovered" is in the log.
    """
    wait_until(lambda: sorted(steps(stage, message_id)) == sorted(expected))
    assert without_first(steps(stage, message_id)) == without_first(expected)


def without_first(steps: Iterable[str]) -> list[str]:
    return [step for step in steps if step not in {"taken", "recovered"}]


def of(stage: Stage, message_id: int, step: str) -> dict[str, Any]:
    return next(
        line
        for line in lines(stage)
        if str(line.get("message")) == str(message_id) and line["event"] == f"message {step}"
    )


def ours(stage: Stage, message_id: int) -> int:
    """Our id of an operator's message."""
    with closing(sqlite3.connect(stage.folder / "chats" / "chats.db")) as db:
        found = db.execute("select id from messages where im_message_id = ?", (message_id,))
        return int(found.fetchone()[0])


def test_the_way_of_a_visitors_message_and_of_its_answer_can_be_followed_by_the_id(
    logged: Stage,
) -> None:
    visitor = logged.visitor()
    visitor.http.headers["X-Request-Id"] = "of-the-proxy.1"
    sent = visitor.send(TEXT, NAME, email=EMAIL)
    number = sent["result"]["id"]
    wait_for_steps(logged, number, "taken", "sent", "confirmed")
    assert of(logged, number, "taken")["request"] == "of-the-proxy.1"
    assert int(of(logged, number, "confirmed")["session"]) > 0
    assert float(of(logged, number, "confirmed")["ms"]) > 0
    assert str(of(logged, number, "sent")["line"]) == str(LINE)

    answer = logged.press("answer", external_chat_id=sent["chat"], text="Pirce: 100")
    logged.wait_for_confirmation(answer["message_id"])
    visitor.wait_for("Pirce")
    visitor.history()
    logged.press("edit", message_id=answer["message_id"], text="Price: 100")
    visitor.wait_for("Price")
    logged.press("delete", message_id=answer["message_id"])
    wait_until(lambda: "Price" not in visitor.history())

    number = ours(logged, answer["message_id"])
    # A line is written when its step is stored, so history may be ahead of it.
    wait_until(lambda: {"taken", "deleted", "shown as deleted"} <= {*steps(logged, number)})
    seen = steps(logged, number)
    assert set(seen) == {
        *("taken", "confirmed", "shown", "edited", "deleted", "shown as deleted"),
    }
    assert seen.index("edited") < seen.index("deleted")
    chats = {line["chat"] for line in lines(logged) if "chat" in line}
    assert len(chats) == 1
    assert chats.pop() not in sent["chat"]


def test_a_refused_and_a_lost_message_say_why_and_where_they_were_found(logged: Stage) -> None:
    visitor = logged.visitor()
    visitor.send("hello")
    logged.trouble(fail_items=REFUSED)
    number = visitor.send(f"{TEXT} {REFUSED}")["result"]["id"]
    wait_until(lambda: "refused" in steps(logged, number))
    logged.trouble(fail_items="")
    assert of(logged, number, "refused")["code"]
    assert of(logged, number, "refused")["level"] == "WARNING"
    visitor.post(type="retry_message", id=number)
    refused, repeated = ("taken", "sent", "refused"), ("taken", "sent", "confirmed")
    wait_for_steps(logged, number, *refused, *repeated)

    logged.trouble(drop_answers=1, drop_method="imconnector.send.messages")
    number = visitor.send("its answer is lost")["result"]["id"]
    wait_for_steps(logged, number, "taken", "sent", "in doubt", "confirmed")
    assert str(of(logged, number, "confirmed")["found"]).lower() == "true"


# Each is wrong in another way, and holds a secret where gunicorn quotes it, or may.
ODD_REQUESTS = [
    b"GET  /ajax?k=UNSPOKEN1 HTTP/1.1\r\n\r\n",
    b"GET /ajax?k=UNSPOKEN2 x' HTTP/1.1\r\n\r\n",
    b"GET /ajax?k=UNSPOKEN3 HTTP/9.9\r\n\r\n",
    b"GET /ajax?k=UNSPOKEN4\r\n\r\n",
    b"G@T?UNSPOKEN5 /ajax HTTP/1.1\r\n\r\n",
    b"GET http://[x?k=UNSPOKEN6 HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nX-Chat-Token: UNSPOKEN7\x01\r\n\r\n",
    b"GET / HTTP/1.1\r\nX UNSPOKEN8: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nUNSPOKEN9\r\n\r\n",
    b"GET / HTTP/1.1\r\nA: b\r\n UNSPOKEN10\r\n\r\n",
    b"POST /ajax?k=UNSPOKEN11 HTTP/1.1\r\nTransfer-Encoding: UNSPOKEN12\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nUNSPOKEN13\r\n",
    b"POST / HTTP/1.1\r\nExpect: UNSPOKEN14\r\n\r\n",
    b"GET /ajax?k=UNSPOKEN15 HT",  # and no more
    b"GET /ajax?k=UNSPOKEN16" + b"x" * 9_000 + b" HTTP/1.1\r\n\r\n",
    b"PROXY TCP4 UNSPOKEN17 x 1 2\r\nGET / HTTP/1.1\r\n\r\n",
]


def test_no_line_quotes_what_is_wrong_with_a_request(logged: Stage) -> None:
    """Its query or header may be secret, as those of Bitrix24's pages are."""
    address = logged.listens.removeprefix("http://").split(":")
    for raw in ODD_REQUESTS:
        with socket.create_connection((address[0], int(address[1])), timeout=10) as client:
            client.sendall(raw)
            with suppress(OSError):  # it may be reset, before it is read to its end, too
                client.shutdown(socket.SHUT_WR)
                while client.recv(1000):
                    pass

    log = logged.log.read_text()
    assert "UNSPOKEN" not in log
    for why in ("Invalid HTTP request line", "Invalid HTTP Version"):
        assert f"Invalid request from ip=127.0.0.1: {why}" in log
    assert f"Listening at: {logged.listens}" in log  # what no client has caused is whole


def test_an_answer_whose_event_was_lost_is_recovered(logged: Stage) -> None:
    visitor = logged.visitor()
    chat = visitor.send("hello")["chat"]
    wait_until(lambda: logged.dialog(chat))
    logged.trouble(lose_events=True)
    answer = logged.press("answer", external_chat_id=chat, text="Good day")
    logged.trouble(lose_events=False)
    visitor.wait_for("Good day")
    logged.wait_for_confirmation(answer["message_id"])

    number = ours(logged, answer["message_id"])
    wait_until(lambda: {"recovered", "confirmed"} <= {*steps(logged, number)})
    assert "taken" not in steps(logged, number)


@pytest.mark.parametrize("given", ["", "two words", "message=1", "x" * 101, 'quo"te', "-"])
def test_an_id_that_is_none_is_replaced(logged: Stage, given: str) -> None:
    answer = requests.get(f"{logged.chat}/", headers={"X-Request-Id": given}, timeout=30)

    assert answer.headers["X-Request-Id"] != given
    assert SANE.fullmatch(answer.headers["X-Request-Id"])


@pytest.mark.parametrize("path", ["/", "/static/loader.js", "/nothing", "/install", "/handler"])
def test_every_answer_names_its_request(logged: Stage, path: str) -> None:
    given = "Root-1.abc/2:3"
    answer = requests.get(f"{logged.chat}{path}", headers={"X-Request-Id": given}, timeout=30)

    assert answer.headers["X-Request-Id"] == given


def test_what_follows_on_the_same_connection_has_not_the_id_of_the_request_before(
    logged: Stage,
) -> None:
    host, port = logged.chat.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: first\r\n\r\n")
        wait_until(lambda: b"ok" in connection.recv(4096))
        connection.sendall(b"no request\r\n\r\n")
        assert b"400" in connection.recv(4096)

    told = wait_until(
        lambda: [line for line in lines(logged) if line["event"].startswith("Invalid request")]
    )
    assert "request" not in told[0]


def test_a_refusal_has_the_id_of_its_request(logged: Stage) -> None:
    form = {"PLACEMENT": "message=5"}
    answer = requests.post(f"{logged.chat}/handler", form, timeout=30)

    wait_until(lambda: answer.headers["X-Request-Id"] in logged.log.read_text())
    assert "message=5" not in logged.log.read_text()


def test_the_log_has_no_text_no_person_and_no_secret(logged: Stage) -> None:
    number = logged.visitor().send(TEXT, NAME, email=EMAIL)["result"]["id"]
    wait_until(lambda: "confirmed" in steps(logged, number))
    with closing(sqlite3.connect(logged.folder / "chats" / "chats.db")) as db:
        secrets = db.execute(
            "select access_token, refresh_token, application_token from portal"
        ).fetchone()
        keys = db.execute("select value from meta where key = 'secret_key'").fetchone()
        chats = [row[0] for row in db.execute("select id from chats")]
        texts = [row[0] for row in db.execute("select text from messages where text <> ''")]

    assert chats
    assert texts
    log = logged.log.read_text()
    for secret in (*secrets, *keys, *chats, *texts, NAME, EMAIL, "sandbox-secret"):
        assert secret
        assert secret not in log


def test_every_line_is_of_one_event(logged: Stage) -> None:
    assert lines(logged)  # each can be read
    assert "Traceback" not in logged.log.read_text()


def test_a_start_a_doubt_and_a_stop_are_one_line_each_whatever_the_number_of_workers(
    tmp_path: Path,
) -> None:
    doubt = {"SITECHAT_LIMITS__VISITS_PER_MINUTE": "6"}
    with Stage(tmp_path, workers=2, **doubt) as stage:
        assert stage.app is not None
        wait_until(lambda: stage.log.read_text().count("Booting worker") == 2)
        os.kill(stage.app.pid, signal.SIGHUP)
        wait_until(lambda: stage.log.read_text().count("Booting worker") == 4)
        wait_until(lambda: requests.get(stage.chat, timeout=30).status_code == 200)
        os.kill(stage.app.pid, signal.SIGTERM)
        wait_until(lambda: stage.app is not None and stage.app.poll() is not None)

        own = [line for line in lines(stage) if line["logger"] in ("sitechat", "operations.life")]
        told = [line["event"] for line in own]
        no_use = "settings: limits.visits_per_minute has no use any more"
        assert [line.partition(";")[0] for line in told] == [
            "sitechat starts",
            no_use,
            "sitechat begins anew with these settings",
            no_use,
            "sitechat has stopped",
        ]
        assert own[0]["version"] == version()
        assert own[0]["public_url"] == stage.chat
        assert own[0]["workers"] == "2"
