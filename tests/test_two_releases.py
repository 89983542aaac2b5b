"""A host beside those of a newer release: what that one stores and says is no error here.

An update goes from host to host, so for minutes two releases work on one store. What the tables
allow is asked in `store/test_next_release.py`, whose files a page gets in `test_static_files.py`.
"""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from apps import services_of, storage_in
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from operations.findings import Level
from settings import Settings
from web.admin_page import reason_text


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = create_app(Settings(storage=storage_in(tmp_path)))
    yield app
    services_of(app).store.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    client = app.test_client()
    for text in ("first", "second"):
        sent = client.post("/ajax", data={"type": "send_message", "message": text})
        assert sent.status_code == 200
    return client


def sql(app: Flask, statement: str, *values: object) -> None:
    with services_of(app).store.database.write() as db:
        db.execute(statement, values)


@pytest.mark.parametrize("change", ["state = 'newer'", "author = 'newer'", "name = null"])
def test_a_message_in_a_state_that_only_a_newer_release_knows_is_shown(
    app: Flask, client: FlaskClient, change: str
) -> None:
    sql(app, f"update messages set {change}, renderer = 1000, revision = revision + 1000")

    for language in ("en", "ru"):
        answers = [
            client.get(f"/?lang={language}"),
            client.post(f"/ajax?lang={language}", data={"type": "chat_history"}),
            client.post(f"/ajax?lang={language}", data={"type": "save_conversation"}),
            client.get(f"/ajax?type=chat_stream&once=1&lang={language}"),
        ]
        for answer in answers:
            assert answer.status_code == 200
            assert "first" in answer.text
            assert "second" in answer.text
    assert client.post("/ajax", data={"type": "send_message", "message": "x"}).status_code == 200


def test_the_html_of_a_newer_renderer_is_shown_as_it_is(app: Flask, client: FlaskClient) -> None:
    sql(app, "update messages set html = '<p>newer</p>', renderer = 1000 where text = 'second'")

    shown = client.post("/ajax", data={"type": "chat_history"}).text
    assert [text in shown for text in ("first", "<p>newer</p>", "second")] == [True, True, False]
    assert services_of(app).store.rendering.to_render(10) == []


def test_a_visitor_of_a_newer_release_is_known(app: Flask, client: FlaskClient) -> None:
    """Its cookie may hold more than we know, and keeps it."""
    with client.session_transaction() as session:
        session["newer"] = [1, {"a": 2}]

    assert "second" in client.post("/ajax", data={"type": "chat_history"}).text
    client.post("/ajax", data={"type": "send_message", "message": "x", "newer": "1", "name": "N"})
    with client.session_transaction() as session:
        assert session["newer"] == [1, {"a": 2}]


def test_a_stream_of_a_newer_release_goes_on_without_a_gap(client: FlaskClient) -> None:
    """An id whose form is not ours names no change: the page gets the last messages once more."""
    for last_id in ("v2:0123/456", "0123456789abcdef.1.2", "é"):
        headers = {"Last-Event-ID": last_id}
        answer = client.get("/ajax?type=chat_stream&once=1", headers=headers)
        assert re.findall("first|second", re.sub("<[^>]*>", " ", answer.text)) == [
            "first",
            "second",
        ]
        with client.get("/ajax?type=chat_stream", headers=headers, buffered=False) as stream:
            pieces = stream.iter_encoded()
            next(pieces)  # a heartbeat
            assert b"first" in next(pieces)


def test_settings_that_only_a_newer_release_knows_are_passed_over_and_stay(
    app: Flask, client: FlaskClient
) -> None:
    services = services_of(app)
    kept = {"chat.newer": {"a": 1}, "chat.title": "Lamps", "chat.language": "tlh"}
    services.store.notes.page_settings.set(kept)
    services.page_settings._look_at = 0.0

    assert "<h1><bdi>Lamps</bdi></h1>" in client.get("/").text
    services.save_page_settings({"chat.title": "Shades"})
    assert services.store.notes.page_settings.get() == kept | {"chat.title": "Shades"}
    assert "<h1><bdi>Shades</bdi></h1>" in client.get("/").text


def test_reasons_that_only_a_newer_release_has_a_text_for_are_no_error(app: Flask) -> None:
    services = services_of(app)
    reason = json.dumps(["/ajax", "reasons.newer", {"a": 1}])
    services.store.limits.add_refusals({reason: 3}, time.time(), 200, "x")

    with app.test_request_context("/"):
        assert reason_text(reason) == "/ajax: reasons.newer"
        assert reason_text('["", "reasons.token", {}]') != "reasons.token"
    assert max(one.level for one in services.verdict()) <= Level.BROKEN
