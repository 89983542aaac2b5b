"""Tokens of embedded visitors: whose they are, on which site, and for how long."""

from pathlib import Path

import pytest
from apps import storage_in
from werkzeug.test import TestResponse

from app import create_app
from settings import ChatSettings, Settings, StorageSettings
from web import identity

KEY, SITE, DAYS = "k" * 32, "https://shop.example", 365
ANNA = identity.Bearer("anna", "")
NOW = 1_790_000_000
DAY = 86_400


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: seconds)


@pytest.mark.parametrize("days", [-400, -1, 0, 1, 364])
def test_a_token_is_good_for_a_year_and_whatever_a_clock_says_before(
    monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    at(monkeypatch, NOW)
    token = identity.issue(KEY, SITE, ANNA)

    at(monkeypatch, NOW + days * DAY)

    assert identity.bearer_of(KEY, (SITE,), token, DAYS) == ANNA


def test_a_token_ends_after_its_year(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, NOW)
    token = identity.issue(KEY, SITE, ANNA)

    at(monkeypatch, NOW + 366 * DAY)

    assert identity.bearer_of(KEY, (SITE,), token, DAYS) is None


def test_a_token_that_was_right_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its signature is not computed twice; whatever else may have changed is."""
    at(monkeypatch, NOW)
    token = identity.issue(KEY, SITE, ANNA)

    for _ in range(2):
        assert identity.bearer_of(KEY, (SITE,), token, DAYS) == ANNA
        assert identity.bearer_of("x" * 32, (SITE,), token, DAYS) is None, "the key has changed"
        assert identity.bearer_of(KEY, ("https://other.example",), token, DAYS) is None
        assert identity.bearer_of(KEY, (SITE,), f"{token}x", DAYS) is None
    at(monkeypatch, NOW + 30 * DAY)
    assert identity.bearer_of(KEY, (SITE,), token, 29) is None, "the setting has changed"
    assert identity.bearer_of(KEY, (SITE,), token, 30) == ANNA
    at(monkeypatch, NOW + 366 * DAY)
    assert identity.bearer_of(KEY, (SITE,), token, DAYS) is None


@pytest.mark.parametrize(
    ("key", "site"), [("x" * 32, SITE), (KEY, "https://other.example"), (KEY, "")]
)
def test_a_token_is_of_no_use_elsewhere(key: str, site: str) -> None:
    token = identity.issue(KEY, SITE, ANNA)

    assert identity.bearer_of(key, (site,), token, DAYS) is None


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é" * 50])
def test_what_we_did_not_sign_names_nobody(token: str) -> None:
    assert identity.bearer_of(KEY, (SITE,), token, DAYS) is None


def test_a_forged_date_does_not_save_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, NOW)
    payload, _, signature = identity.issue(KEY, SITE, ANNA).split(".")
    at(monkeypatch, NOW + 500 * DAY)
    _, later, _ = identity.issue(KEY, SITE, ANNA).split(".")
    at(monkeypatch, NOW)

    assert identity.bearer_of(KEY, (SITE,), f"{payload}.{later}.{signature}", DAYS) is None


def test_a_clock_set_back_makes_no_second_chat(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    storage = storage_in(tmp_path)
    browser = create_app(Settings(storage=storage)).test_client()
    first = browser.post("/ajax", data={"type": "send_message", "message": "hello"})

    at(monkeypatch, NOW)
    second = browser.post("/ajax", data={"type": "send_message", "message": "again"})

    assert first.status_code == second.status_code == 200
    assert first.json
    assert second.json
    assert first.json["chat"] == second.json["chat"]


def test_a_visitor_who_keeps_coming_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = ChatSettings(session_days=10)
    app = create_app(
        Settings(chat=chat, storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db"))
    )
    client = app.test_client()
    at(monkeypatch, NOW)
    first = client.post("/ajax", data={"type": "send_message", "message": "remember me"}).json
    assert first is not None
    chat_id = first["chat"]

    def comes(day: int, way: str) -> bool:
        at(monkeypatch, NOW + day * DAY)
        if way == "page":
            return "remember me" in client.get("/").text
        if way == "history":
            return "remember me" in client.post("/ajax", data={"type": "chat_history"}).text
        answer = client.post("/ajax", data={"type": "send_message", "message": "again"})
        return answer.json is not None and answer.json["chat"] == chat_id

    for day, way in ((8, "page"), (16, "history"), (24, "message"), (32, "page")):
        assert comes(day, way), day
    assert not comes(43, "page")


def test_an_embedded_visitor_who_only_reads_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = ChatSettings(session_days=10, sites=("https://shop.example",))
    app = create_app(
        Settings(chat=chat, storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db"))
    )
    headers = {"X-Chat-Site": "https://shop.example"}

    def post(token: str, **form: str) -> TestResponse:
        more = {"X-Chat-Token": token} if token else {}
        return app.test_client().post("/ajax", data=form, headers=headers | more)

    at(monkeypatch, NOW)
    token = post("", type="send_message", message="remember me").headers["X-Chat-Token"]
    for day in (8, 16, 24):
        at(monkeypatch, NOW + day * DAY)
        answer = post(token, type="chat_history")
        assert "remember me" in answer.text
        assert "Set-Cookie" not in answer.headers
        token = answer.headers["X-Chat-Token"]
    at(monkeypatch, NOW + 35 * DAY)
    assert post(token, type="chat_history").text == ""
    assert "X-Chat-Token" not in post("nobody's", type="chat_history").headers


def test_the_cookie_is_not_written_with_every_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(Settings(storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db")))
    client = app.test_client()
    at(monkeypatch, NOW)
    client.post("/ajax", data={"type": "send_message", "message": "hello"})

    for minutes, written in ((1, False), (59, False), (61, True), (100, False), (122, True)):
        at(monkeypatch, NOW + minutes * 60)
        answers = [
            client.post("/ajax", data={"type": "send_message", "message": "more"}),
            client.post("/ajax", data={"type": "chat_history"}),
        ]
        assert ["Set-Cookie" in one.headers for one in answers] == [written, False], minutes
