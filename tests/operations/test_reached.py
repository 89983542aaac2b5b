"""Who has reached us from outside at `public_url`: noted of a proved event and of our own page."""

from pathlib import Path

import pytest
from flask import Flask

from app import create_app
from operations.reached import REPEAT_SECONDS, ReachedFromOutside
from services import Services
from settings import Bitrix24Settings, ServerSettings, Settings, StorageSettings
from storage import Store
from store.records import Portal, Reached

URL = "https://chat.example/live"
INSTALLED = Portal("member", 1, "a", "r", 4e9, "token", False, 1000.0)
EVENT = {"event": "ONIMCONNECTORSTATUSDELETE", "data[connector]": "x", "data[line]": "1"}
NOW = 1_000_000.0


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    app = create_app(
        Settings(
            public_url=URL,
            bitrix24=Bitrix24Settings(portal="https://b24.example"),
            server=ServerSettings(proxies=1),
            storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db", files=f"{tmp_path}/f"),
        )
    )
    app.extensions["sitechat"].store.portal.save(INSTALLED)
    return app


def noted(app: Flask) -> dict[str, int]:
    """How many proxies each has named."""
    services: Services = app.extensions["sitechat"]
    services.sightings.reached.write()
    found = services.store.notes.reached.get() or {}
    assert {one.url for one in found.values()} <= {URL}
    return {who: one.forwarded for who, one in found.items()}


@pytest.mark.parametrize(
    ("token", "headers", "seen"),
    [
        ("token", {"Host": "chat.example"}, {"portal": 0}),
        ("token", {"Host": "CHAT.example", "X-Forwarded-For": "192.0.2.1, 10.0.0.1"},
         {"portal": 2}),
        ("token", {"X-Forwarded-Host": "chat.example", "X-Forwarded-For": "192.0.2.1"},
         {"portal": 1}),
        ("token", {"Host": "old.example"}, {}),
        ("token", {"Host": "10.0.0.5:8000"}, {}),  # the proxy does not pass the Host
        ("forged", {"Host": "chat.example"}, {}),
    ],
)  # fmt: skip
def test_an_event_tells_by_which_address_it_came(
    app: Flask, token: str, headers: dict[str, str], seen: dict[str, int]
) -> None:
    app.test_client().post(
        "/handler", data=EVENT | {"auth[application_token]": token}, headers=headers
    )

    assert noted(app) == seen


@pytest.mark.parametrize(
    ("origin", "site", "seen"),
    [
        ("https://chat.example", "same-origin", {"visitors": 1}),
        ("https://chat.example", "cross-site", {}),
        ("https://other.example", "same-origin", {}),
    ],
)
def test_our_own_page_tells_where_its_browser_sees_it(
    app: Flask, origin: str, site: str, seen: dict[str, int]
) -> None:
    headers = {"Origin": origin, "Sec-Fetch-Site": site, "X-Forwarded-For": "192.0.2.1"}
    app.test_client().post("/ajax", data={"type": "chat_history"}, headers=headers)

    assert noted(app) == seen


def test_it_is_written_once_a_minute_and_when_something_is_new(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/chats.db", tmp_path, 1)
    store.open()
    reached = ReachedFromOutside(store)

    def kept_after(seconds: float, forwarded: int = 1) -> float:
        reached.saw("portal", Reached(URL, NOW + seconds, forwarded))
        reached.write()
        return (store.notes.reached.get() or {})["portal"].at - NOW

    assert [kept_after(0), kept_after(5), kept_after(REPEAT_SECONDS)] == [0, 0, REPEAT_SECONDS]
    assert kept_after(REPEAT_SECONDS + 1, forwarded=2) == REPEAT_SECONDS + 1
    store.close()
