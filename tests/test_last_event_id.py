"""Where a stream goes on: by the `Last-Event-ID` of the page, if this store has given it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from apps import services_of, storage_in
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from settings import Settings
from store.database import Row


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    storage = storage_in(tmp_path)
    app = create_app(Settings(storage=storage))
    yield app
    app.extensions["sitechat"].store.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    client = app.test_client()
    for text in ("first", "second"):
        answer = client.post("/ajax", data={"type": "send_message", "message": text})
        assert answer.status_code == 200
    return client


def ids_of(client: FlaskClient) -> list[str]:
    answer = client.get("/ajax?type=chat_stream&once=1", headers={"Last-Event-ID": "0"})
    return re.findall(r"^id: (\S+)$", answer.text, re.M)


def texts_after(client: FlaskClient, last_id: str) -> list[str]:
    headers = {"Last-Event-ID": last_id}
    answer = client.get("/ajax?type=chat_stream&once=1", headers=headers)
    return re.findall(r"first|second", re.sub("<[^>]*>", " ", answer.text))


def test_a_stream_goes_on_after_the_id_that_it_gave(client: FlaskClient) -> None:
    first, second = ids_of(client)

    assert texts_after(client, first) == ["second"]
    assert texts_after(client, second) == []


def test_a_request_that_only_reads_asks_the_store_few_questions(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, parts, asked = ids_of(client)[-1], services_of(app), list[str]()
    read = parts.store.database.rows

    def rows(sql: str, *values: object, **named: object) -> list[Row]:
        asked.append(sql)
        return read(sql, *values, **named)

    def history() -> str:
        return client.post("/ajax", data={"type": "chat_history"}).text

    history()  # makes the messages' HTML
    monkeypatch.setattr(parts.page_settings, "_look", lambda: None)
    monkeypatch.setattr(parts.store.database, "rows", rows)

    assert texts_after(client, last) == []
    assert len(asked) == 1, "the visitor's chat with its latest change"
    asked.clear()
    assert "second" in history()
    assert len(asked) == 2, "the visitor's chat, and which messages it has"


def test_a_poll_gives_what_changed_in_a_part_of_the_chat(app: Flask, client: FlaskClient) -> None:
    chats, last = services_of(app).store.chats, ids_of(client)[-1]
    chat = client.get("/ajax?type=chat_stream&once=1").headers["X-Chat-Id"]
    other = app.test_client()
    sent = other.post("/ajax", data={"type": "send_message", "message": "first"})
    assert texts_after(client, last) == []

    chats.make_part(sent.get_json()["chat"], chat)

    assert texts_after(client, last) == ["first"]


def test_a_page_of_before_the_update_goes_on_after_its_number(client: FlaskClient) -> None:
    first, _ = ids_of(client)

    assert texts_after(client, first.rpartition(".")[2]) == ["second"]


def test_with_an_id_of_another_store_it_begins_anew(client: FlaskClient) -> None:
    _, second = ids_of(client)
    number = second.rpartition(".")[2]

    assert texts_after(client, f"0123456789abcdef.{number}") == ["first", "second"]
    assert texts_after(client, f"0123456789abcdef.{int(number) - 1}") == ["first", "second"]


def test_with_an_id_ahead_of_the_store_it_begins_anew(client: FlaskClient) -> None:
    epoch, _, number = ids_of(client)[1].rpartition(".")

    for ahead in (f"{epoch}.{int(number) + 1000}", f"{int(number) + 1000}"):
        assert texts_after(client, ahead) == ["first", "second"]


def test_the_page_names_the_latest_change_that_it_has(client: FlaskClient) -> None:
    html = client.post("/ajax", data={"type": "chat_history"}).text
    found = re.findall(r'data-revision="(\d+)" data-epoch="(\w+)"', html)

    assert [f"{epoch}.{revision}" for revision, epoch in found] == ids_of(client)
