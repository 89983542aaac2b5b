"""What is dear comes after the limits: a repeat renders nothing, nor does a message too many."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent  # type: ignore[import-untyped]
import pytest
from apps import services_of, storage_in
from flask import Flask
from flask.testing import FlaskClient
from test_uploads import END, UPLOAD, Then, error_of, files_below, nothing_more, part, post
from werkzeug.test import TestResponse

from app import create_app
from bbcode import to_html
from rates import Rates
from settings import ChatSettings, LimitsSettings, Settings

LIMIT = 3
DEAR = "http://a " * 2_200  # to render it takes longer than all the rest of its request


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    storage = storage_in(tmp_path)
    limits = LimitsSettings(visitor_per_minute=LIMIT)
    app = create_app(Settings(storage=storage, limits=limits))
    yield app
    services_of(app).store.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def send(client: FlaskClient, text: str, client_id: str = "") -> TestResponse:
    fields = {"type": "send_message", "message": text, "client_id": client_id}
    headers = {"Accept": "application/json", "Accept-Language": "en"}
    return client.post("/ajax", data=fields, headers=headers)


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of visitors that are rendered from now on."""
    texts: list[str] = []

    def noted(text: str) -> str:
        texts.append(text)
        return to_html(text)

    monkeypatch.setattr("web.messages.to_html", noted)
    return texts


def within_a_minute() -> None:
    """Wait for the next minute if this one, in which messages are counted, is about to end."""
    if (left := 60 - time.time() % 60) < 10:
        time.sleep(left)


def test_a_repeat_gets_the_stored_message_and_renders_nothing(
    client: FlaskClient, rendered: list[str]
) -> None:
    within_a_minute()
    name = str(uuid.uuid4())
    answers = [send(client, DEAR, name) for _ in range(1 + 2 * LIMIT)]

    assert len(rendered) == 1
    results = [answer.json["result"] for answer in answers]  # type: ignore[index]
    assert results == [results[0]] * len(results)
    for _ in range(LIMIT - 1):
        assert send(client, "another").status_code == 200, "a repeat is no message"


def test_repeats_without_end_are_told_to_wait(app: Flask) -> None:
    app.extensions["sitechat"] = replace(services_of(app), repeats=Rates(5, 0.001))
    client, name = app.test_client(), str(uuid.uuid4())

    answers = [send(client, "hello", name) for _ in range(7)]

    assert [answer.status_code for answer in answers] == [200] * 6 + [429]
    assert error_of(answers[-1])[1] == "TOO_OFTEN"
    assert 990 <= int(answers[-1].headers["Retry-After"]) <= 1000
    assert send(client, "something new").status_code == 200


def test_a_message_too_many_is_not_rendered(client: FlaskClient, rendered: list[str]) -> None:
    within_a_minute()
    for _ in range(LIMIT):
        assert send(client, "hello").status_code == 200

    answers = [send(client, DEAR) for _ in range(3)]

    assert {error_of(answer) for answer in answers} == {(429, "TOO_MANY")}
    assert rendered == ["hello"] * LIMIT


def test_of_messages_at_once_only_those_are_rendered_that_can_be_stored(
    app: Flask, rendered: list[str]
) -> None:
    within_a_minute()
    client = app.test_client()
    send(client, "the first")
    cookie = client.get_cookie("sitechat")
    assert cookie is not None

    def another() -> TestResponse:
        other = app.test_client()
        other.set_cookie("sitechat", cookie.value)
        return send(other, DEAR)

    asked = [gevent.spawn(another) for _ in range(20)]
    gevent.joinall(asked)

    assert sorted(one.get().status_code for one in asked) == [200] * (LIMIT - 1) + [429] * 18
    assert rendered == ["the first"] + [DEAR] * (LIMIT - 1)
    assert services_of(app).unstored == {}


@pytest.mark.parametrize("kind", ["visitor", "address", "chats", "waiting"])
def test_each_limit_holds_before_a_file_comes(tmp_path: Path, kind: str) -> None:
    within_a_minute()
    names = {"visitor": "visitor_per_minute", "address": "address_per_minute"}
    name = names.get(kind, f"address_{kind}" + ("_per_minute" if kind == "chats" else ""))
    storage = storage_in(tmp_path)
    limits: Any = LimitsSettings(**{name: 1})
    app = create_app(Settings(storage=storage, limits=limits))
    client = app.test_client()
    somebody = {"environ_base": {"REMOTE_ADDR": "203.0.113.7"}}
    fields = {"type": "send_message", "message": "hello"}
    assert client.post("/ajax", data=fields, **somebody).status_code == 200
    client = app.test_client() if kind == "chats" else client
    client.environ_base.update(somebody["environ_base"])

    answer = post(client, Then(UPLOAD + part("file", "x", "a.txt"), nothing_more))

    assert error_of(answer) == (429, "TOO_MANY")
    assert files_below(tmp_path / "files") == []
    services_of(app).store.close()


def test_a_repeated_upload_is_answered_though_the_limit_is_reached(
    client: FlaskClient, tmp_path: Path
) -> None:
    within_a_minute()
    body = UPLOAD + part("client_id", str(uuid.uuid4())) + part("file", "x", "a.txt") + END
    first = post(client, body)
    while send(client, "hello").status_code == 200:
        pass

    repeat = post(client, body)

    assert repeat.json == first.json
    assert len(files_below(tmp_path / "files")) == 1


def test_a_refused_consent_is_known_before_the_file_comes(tmp_path: Path) -> None:
    storage = storage_in(tmp_path)
    app = create_app(Settings(storage=storage, chat=ChatSettings(consent="I agree")))
    body = UPLOAD + part("consent", "no") + part("file", "x", "a.txt")

    answer = post(app.test_client(), Then(body, nothing_more))

    assert error_of(answer) == (400, "CONSENT_MISSING")
    services_of(app).store.close()


def test_a_plain_message_asks_the_store_nothing_that_it_finds_out_when_it_is_stored(
    client: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    within_a_minute()
    client_id = str(uuid.uuid4())
    assert send(client, "hello", client_id).status_code == 200
    store = services_of(app).store
    for tables, name in ((store.messages, "find_sent"), (store.limits, "check_message")):
        monkeypatch.setattr(type(tables), name, lambda *_: pytest.fail("asked before"))

    answers = [send(client, "hello", client_id), *(send(client, "and more") for _ in range(LIMIT))]

    assert [answer.status_code for answer in answers] == [200] * LIMIT + [429]
