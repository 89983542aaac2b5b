"""Tokens of embedded visitors: whose they are, on which site, and for how long."""

from pathlib import Path

import pytest

import identity
from app import create_app
from settings import Settings, Storage

KEY, SITE, DAYS = "k" * 32, "https://shop.example", 365
NOW = 1_790_000_000
DAY = 86_400


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: seconds)


@pytest.mark.parametrize("days", [-400, -1, 0, 1, 364])
def test_a_token_is_good_for_a_year_and_whatever_a_clock_says_before(
    monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    at(monkeypatch, NOW)
    token = identity.issue(KEY, SITE, "anna")

    at(monkeypatch, NOW + days * DAY)

    assert identity.visitor_of(KEY, SITE, token, DAYS) == "anna"


def test_a_token_ends_after_its_year(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, NOW)
    token = identity.issue(KEY, SITE, "anna")

    at(monkeypatch, NOW + 366 * DAY)

    assert identity.visitor_of(KEY, SITE, token, DAYS) is None


@pytest.mark.parametrize(
    ("key", "site"), [("x" * 32, SITE), (KEY, "https://other.example"), (KEY, "")]
)
def test_a_token_is_of_no_use_elsewhere(key: str, site: str) -> None:
    token = identity.issue(KEY, SITE, "anna")

    assert identity.visitor_of(key, site, token, DAYS) is None


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é" * 50])
def test_what_we_did_not_sign_names_nobody(token: str) -> None:
    assert identity.visitor_of(KEY, SITE, token, DAYS) is None


def test_a_forged_date_does_not_save_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, NOW)
    payload, _, signature = identity.issue(KEY, SITE, "anna").split(".")
    at(monkeypatch, NOW + 500 * DAY)
    _, later, _ = identity.issue(KEY, SITE, "anna").split(".")
    at(monkeypatch, NOW)

    assert identity.visitor_of(KEY, SITE, f"{payload}.{later}.{signature}", DAYS) is None


def test_a_clock_set_back_makes_no_second_chat(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    storage = Storage(url=f"sqlite:///{tmp_path}/chats.db", files=f"{tmp_path}/files")
    browser = create_app(Settings(storage=storage)).test_client()
    first = browser.post("/ajax", data={"type": "send_message", "message": "hello"})

    at(monkeypatch, NOW)
    second = browser.post("/ajax", data={"type": "send_message", "message": "again"})

    assert first.status_code == second.status_code == 200
    assert first.json
    assert second.json
    assert first.json["chat"] == second.json["chat"]
