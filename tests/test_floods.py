"""Of a flood one request each moment goes on; the requests of everybody else wait for none."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from apps import storage_in
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import services
from app import create_app
from services import FREE
from settings import Settings

FLOOD, OFFICE = "203.0.113.1", "198.51.100.1"
Waits = list[float]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = create_app(Settings(storage=storage_in(tmp_path)))
    yield app
    app.extensions["sitechat"].store.close()


@pytest.fixture
def waits(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Waits:
    """Whoever waits is noted here, and goes on at once."""
    noted: Waits = []
    # Only of `rates.py`: others may give way for a millisecond where the machine is busy.
    monkeypatch.setattr("rates.time", SimpleNamespace(**vars(time) | {"sleep": noted.append}))
    return noted


def first_message(client: FlaskClient, address: str) -> TestResponse:
    form = {"type": "send_message", "name": "Anna", "message": "hello"}
    return client.post("/ajax", data=form, environ_base={"REMOTE_ADDR": address})


def asker(app: Flask, address: str) -> Callable[..., int]:
    """Sends a message of a new visitor of an address, or of `visitor`; returns the status."""

    def ask(visitor: FlaskClient | None = None) -> int:
        return first_message(visitor or app.test_client(), address).status_code

    return ask


def test_of_many_new_conversations_of_one_address_one_begins_each_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: Waits
) -> None:
    moment = 4.0  # seconds: longer than the requests take
    monkeypatch.setattr(services, "PACE_SECONDS", moment)
    app = create_app(Settings(storage=storage_in(tmp_path / "paced")))
    flood, office = asker(app, FLOOD), asker(app, OFFICE)

    assert [flood() for _ in range(FREE + 3)] == [200] * (FREE + 3)
    assert len(waits) == 3
    assert moment < waits[-1] <= 2 * moment

    assert [office() for _ in range(FREE)] == [200] * FREE
    assert len(waits) == 3
    app.extensions["sitechat"].store.close()


def test_whoever_has_a_conversation_waits_for_no_new_one(app: Flask, waits: Waits) -> None:
    flood, visitor = asker(app, FLOOD), app.test_client()
    assert flood(visitor) == 200
    for _ in range(FREE):
        flood()
    waits.clear()

    assert [flood(visitor) for _ in range(10)] == [200] * 10
    assert not waits


def test_load_tests_on_the_server_itself_do_not_wait(app: Flask, waits: Waits) -> None:
    local = asker(app, "127.0.0.1")

    assert [local() for _ in range(3 * FREE)] == [200] * (3 * FREE)
    assert not waits


def test_a_conversation_that_would_begin_late_is_refused_with_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "PACE_SECONDS", 60.0)
    app = create_app(Settings(storage=storage_in(tmp_path)))
    flood, office = asker(app, FLOOD), asker(app, OFFICE)

    assert [flood() for _ in range(FREE + 2)] == [200] * (FREE + 1) + [429]
    refused = first_message(app.test_client(), FLOOD)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "10")

    assert office() == 200
    app.extensions["sitechat"].store.close()


def test_the_answers_of_many_forgeries_wait(app: Flask, waits: Waits) -> None:
    forger, visitor = asker(app, "127.0.0.1"), app.test_client()
    assert forger(visitor) == 200

    for _ in range(FREE + 2):
        answer = app.test_client().post("/handler", data={"event": "E", "auth[x]": "1"})
        assert answer.status_code in (400, 403)
    assert len(waits) == 2

    assert forger(visitor) == 200
    assert len(waits) == 2


def test_a_refusal_that_would_wait_for_long_is_told_at_once(app: Flask, waits: Waits) -> None:
    for _ in range(200):
        app.test_client().post(
            "/ajax", data={"type": "chat_history"}, headers={"Origin": "https://x"}
        )

    assert len(waits) < 100
    assert max(waits) <= 2
