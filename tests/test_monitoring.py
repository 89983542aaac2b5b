"""What monitoring reads: /healthz for load balancers, /metrics right over several processes."""

import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
import requests
from apps import services_of, storage_in
from flask import Flask
from flask.testing import FlaskClient
from pydantic import SecretStr
from stage import Stage, wait_until

from app import create_app
from operations.findings import Finding, Level
from operations.pulse import Pulse
from services import Services
from settings import OperationsSettings, Settings
from store.database import DiskFull, StoreUnavailable
from tally import Tally

TOKEN = "t" * 32
WITH_TOKEN = {"Authorization": f"Bearer {TOKEN}"}


def app_in(folder: Path, token: str = TOKEN) -> Flask:
    return create_app(
        Settings(storage=storage_in(folder), operations=OperationsSettings(token=SecretStr(token)))
    )


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    return app_in(tmp_path)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


# -- /healthz


def break_store(app: Flask, monkeypatch: pytest.MonkeyPatch, error: StoreUnavailable) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(type(services_of(app).store.notes.written_at), "set", fail)


def test_while_messages_can_be_taken_it_says_ok_and_nothing_more(client: FlaskClient) -> None:
    answer = client.get("/healthz")

    assert (answer.status_code, answer.text) == (200, "ok\n")
    assert "no-store" in answer.headers["Cache-Control"]
    assert client.head("/healthz").status_code == 200
    assert client.post("/healthz").status_code == 405


@pytest.mark.parametrize("error", [StoreUnavailable("it is locked"), DiskFull("no room")])
def test_while_none_can_be_taken_it_is_503_without_the_reason(
    app: Flask,
    client: FlaskClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: StoreUnavailable,
) -> None:
    break_store(app, monkeypatch, error)

    answer = client.get("/healthz")

    assert answer.status_code == 503
    assert str(error) not in answer.text
    assert answer.headers["Retry-After"]
    assert f"no message can be taken: {error}" in caplog.text
    with_token = client.get("/healthz", headers=WITH_TOKEN)
    assert with_token.status_code == 503
    assert with_token.get_json()["takes_messages"] is False


def test_a_store_that_another_process_has_locked_is_seen_and_when_it_is_free_again(
    app: Flask, client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operations.pulse.GOOD_FOR_SECONDS", 0.0)
    monkeypatch.setattr("store.log.PATIENCE_SECONDS", 0.2)
    with closing(sqlite3.connect(tmp_path / "chats.db", isolation_level=None)) as other:
        assert broken(client) == []
        other.execute("begin immediate")
        assert client.get("/healthz").status_code == 503
        assert broken(client) == ["store_locked"], "the verdict is the same everywhere"
        assert "sitechat_takes_messages 0.0" in client.get("/metrics", headers=WITH_TOKEN).text
        other.execute("rollback")
    assert client.get("/healthz").status_code == 200
    assert broken(client) == []


def broken(client: FlaskClient) -> list[str]:
    """What the verdict calls broken of the store."""
    services_of(client.application).watch.forget()
    found = client.get("/healthz", headers=WITH_TOKEN).get_json()["findings"]
    return [one["key"] for one in found if one["check"] == "store" and one["level"] == "broken"]


def test_a_store_that_is_held_keeps_nobody_waiting_who_asks_how_it_is(
    client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operations.pulse.PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr("web.metrics.PATIENCE_SECONDS", 0.3)
    with closing(sqlite3.connect(tmp_path / "chats.db", isolation_level=None)) as other:
        other.execute("begin immediate")
        for path in ("/healthz", "/metrics"):
            began = time.monotonic()
            client.get(path, headers=WITH_TOKEN)
            assert time.monotonic() - began < 2.5, path


def test_a_flood_of_questions_is_one_write_a_second(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    monkeypatch.setattr(Pulse, "_look", lambda _: looks.append(1))
    for _ in range(50):
        assert client.get("/healthz").status_code == 200
    assert len(looks) <= 2

    services_of(app).pulse._looked_at -= 10
    client.get("/healthz")
    assert len(looks) in (2, 3)


def test_who_has_the_token_reads_the_verdict(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        Finding("version", Level.GOOD, "verdict_good"),
        Finding("lines", Level.BROKEN, "doctor_failed", {"why": "x"}),
    ]
    monkeypatch.setattr(Services, "verdict", lambda _: found)

    body = client.get("/healthz", headers=WITH_TOKEN).get_json()

    assert body["takes_messages"] is True
    assert body["verdict"] == "broken"
    assert [(one["check"], one["level"]) for one in body["findings"]] == [
        ("lines", "broken"),
        ("version", "good"),
    ]
    assert body["version"]
    assert "The doctor itself failed" in body["findings"][0]["text"]
    assert "doctor" not in client.get("/healthz").text


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
@pytest.mark.parametrize("given", ["Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", "Bearer ключ"])
def test_a_wrong_token_is_refused(client: FlaskClient, path: str, given: str) -> None:
    answer = client.get(path, headers={"Authorization": given.encode().decode("latin-1")})

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "sitechat_" not in answer.text


def test_a_proxys_own_password_is_no_token(client: FlaskClient) -> None:
    assert client.get("/healthz", headers={"Authorization": "Basic YTpi"}).text == "ok\n"
    assert client.get("/metrics", headers={"Authorization": "Basic YTpi"}).status_code == 401
    assert client.get("/metrics").status_code == 401


@pytest.mark.parametrize("given", ["", "Bearer ", f"Bearer {TOKEN}"])
def test_without_the_setting_there_are_no_numbers_and_no_details(
    tmp_path: Path, given: str
) -> None:
    client = app_in(tmp_path, token="").test_client()

    assert client.get("/metrics", headers={"Authorization": given}).status_code == 404
    assert client.get("/healthz", headers={"Authorization": given}).text == "ok\n"


# -- /metrics


def test_the_counts_of_a_process_come_together_in_the_store_also_after_a_failure() -> None:
    tally = Tally()
    tally.add("requests", "ajax", "200")
    assert tally.take() == {}, "nobody reads the numbers"
    tally.on = True
    for seconds in (0.001, 0.005, 0.3, 99.0):
        tally.add("requests", "ajax", "200")
        tally.time("request_seconds", "ajax", seconds=seconds)
    tally.give_back(tally.take())

    assert tally.take() == {
        "requests|ajax|200": 4.0,
        "request_seconds|ajax|0.005": 2.0,
        "request_seconds|ajax|0.5": 1.0,
        "request_seconds|ajax|+Inf": 1.0,
        "request_seconds|ajax|sum": pytest.approx(99.306),
    }
    assert tally.take() == {}


def test_the_store_that_cannot_be_read_is_one_of_the_numbers(
    client: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(type(services_of(app).store.database), "rows", fail)
    break_store(app, monkeypatch, StoreUnavailable("gone"))

    answer = client.get("/metrics", headers=WITH_TOKEN)

    assert answer.status_code == 200
    assert "sitechat_takes_messages 0.0" in answer.text


def numbers(stage: Stage) -> dict[str, float]:
    answer = requests.get(f"{stage.chat}/metrics", headers=WITH_TOKEN, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/plain")
    rows = re.findall(r"^(sitechat_[^ {]+(?:{.*})?) (\S+)$", answer.text, re.MULTILINE)
    return {name: float(value) for name, value in rows}


def test_the_numbers_are_those_of_all_processes_whichever_is_asked(tmp_path: Path) -> None:
    with Stage(tmp_path, workers=2, SITECHAT_OPERATIONS__TOKEN=TOKEN) as stage:
        stage.install()
        reader = stage.visitor()
        chat = reader.send("hello")["chat"]
        stream = reader.http.get(
            f"{stage.chat}/ajax", params={"type": "chat_stream"}, stream=True, timeout=30
        )
        for number in range(19):  # each with a connection of its own: both processes answer
            stage.visitor().send(f"hello {number}")
        wait_until(lambda: stage.dialog(chat))
        answer = stage.press("answer", external_chat_id=chat, text="Good day")
        stage.wait_for_confirmation(answer["message_id"])
        wait_until(lambda: numbers(stage).get(DELIVERED) == 20)

        def all_are_counted() -> bool:
            found = numbers(stage)
            ajax = found.get('sitechat_requests_total{route="ajax",status="200"}')
            return ajax == 21 and found["sitechat_open_pages"] == 1

        wait_until(all_are_counted, 20, "the requests of both processes")
        assert len({tuple(messages_in(numbers(stage)).items()) for _ in range(10)}) == 1
        found = numbers(stage)
        assert found['sitechat_messages_taken_total{author="visitor"}'] == 20
        assert found['sitechat_messages_taken_total{author="operator"}'] == 1
        assert found['sitechat_deliveries_confirmed_total{kind="confirmation"}'] == 1
        assert found['sitechat_request_seconds_count{route="ajax"}'] == 21
        assert found['sitechat_request_seconds_bucket{le="+Inf",route="ajax"}'] == 21
        sends = 'method="imconnector.send.messages",outcome="answered"'
        assert found[f"sitechat_portal_calls_total{{{sends}}}"] >= 1
        assert found["sitechat_takes_messages"] == found["sitechat_lines"] == 1
        assert not any(name.startswith("sitechat_waiting{") for name in found)

        stream.close()
        stage.trouble(down=True)
        stage.visitor().send("it waits")
        waiting = wait_until(
            lambda: [name for name in numbers(stage) if name.startswith("sitechat_waiting{")]
        )
        assert 'kind="message"' in waiting[0]
        assert TOKEN not in stage.log.read_text()


DELIVERED = 'sitechat_deliveries_confirmed_total{kind="message"}'


def messages_in(found: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in found.items() if "messages" in name}


def test_what_hosts_have_open_is_counted_for_each_whatever_its_clock_shows(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = services_of(app)
    for host, number, ahead in (("a", 400, 0), ("b", 3, 3600), ("c", 1, -3600)):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        now = time.time() + ahead
        with monkeypatch.context() as clock:
            clock.setattr("time.time", lambda now=now: now)
            services._note_open(number)  # all by the same id, as the workers of containers
            metrics = services.store.counts.open()

    assert (metrics, services.store.counts.open()) == (404, 404)
