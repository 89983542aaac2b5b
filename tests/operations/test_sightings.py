"""What requests tell of how we are reached: bounded, valid, and written seldom."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app import create_app
from operations.sightings import MOST_SITES, NEW_SITES, REPEAT_SECONDS, Sightings, valid_origin
from services import Services
from settings import Bitrix24Settings, ServerSettings, Settings, StorageSettings
from storage import Store
from store.records import Portal

INSTALLED = Portal("member", 1, "a", "r", 4e9, "token", False, 1000.0)
NOW = 1_000_000.0
SHOP = "https://shop.example"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/chats.db", tmp_path, 1)
    store.open()
    yield store
    store.close()


def noted(store: Store) -> dict[str, list[float]]:
    return store.notes.tried_sites.get() or {}


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://shop.example", SHOP),
        ("https://SHOP.example:443/", SHOP),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://лампы.рф", "https://xn--80avem4d.xn--p1ai"),
        *[(wrong, "") for wrong in (
            "null", "", "https://", "shop.example", "file:///x", "javascript:alert(1)",
            "https://shop.example/path", "https://a@shop.example", "https://shop.example:99999",
            "https://*.example", "https://a b", "https://<b>", "https://" + "a" * 300,
            "https://shop.example https://evil.example", "chrome-extension://abc",
        )],
    ],
)  # fmt: skip
def test_only_an_origin_is_noted(given: str, origin: str) -> None:
    assert valid_origin(given) == origin


def test_a_site_is_counted_and_written_once_a_minute(store: Store) -> None:
    sightings = Sightings(store)
    sightings.saw_site(SHOP, "asker")
    assert noted(store) == {}, "no request waits for a write"
    sightings.write(NOW)
    assert noted(store) == {SHOP: [NOW, NOW, 1]}

    for _ in range(50):
        sightings.saw_site(SHOP, "asker")
    sightings.write(NOW + 2)
    assert noted(store) == {SHOP: [NOW, NOW, 1]}
    sightings.write(NOW + REPEAT_SECONDS)
    assert noted(store) == {SHOP: [NOW, NOW + REPEAT_SECONDS, 51]}


def test_invented_sites_neither_fill_the_store_nor_drive_out_a_real_one(store: Store) -> None:
    sightings = Sightings(store)
    sightings.saw_site(SHOP, "customer")
    for number in range(1000):
        sightings.saw_site(f"https://{number}.example", "one stranger")
    sightings.write(NOW)
    assert len(noted(store)) == 1 + NEW_SITES
    assert SHOP in noted(store)

    for number in range(1000):
        sightings.saw_site(f"https://{number}.example", f"stranger {number}")
        sightings.saw_site(SHOP, "customer")
        sightings.write(NOW + number)
    assert len(noted(store)) == MOST_SITES
    assert SHOP in noted(store)


def test_what_another_process_notes_meanwhile_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Sightings(store), Sightings(store)
    one.saw_site("https://one.example", "a")
    other.saw_site("https://other.example", "b")
    read = store.notes.tried_sites.get

    def while_another_writes() -> object:
        kept = read()
        other.write(NOW)
        return kept

    monkeypatch.setattr(store.notes.tried_sites, "get", while_another_writes)
    one.write(NOW)
    other.write(NOW)

    assert (read() or {}).keys() == {"https://one.example", "https://other.example"}


def test_a_site_that_is_allowed_is_forgotten_and_noted_anew_if_it_is_removed(store: Store) -> None:
    sightings = Sightings(store)
    sightings.saw_site(SHOP, "asker")
    sightings.write(NOW)

    sightings.forget_site(SHOP)
    sightings.write(NOW + 100)
    assert noted(store) == {}

    sightings.saw_site(SHOP, "another")
    sightings.write(NOW + 200)
    assert list(noted(store)) == [SHOP]


def test_the_last_address_counts(store: Store) -> None:
    sightings = Sightings(store)
    sightings.saw_address("visitors", "https://chat.example")
    sightings.saw_address("visitors", "no address")
    sightings.write(NOW)
    assert store.notes.seen_addresses.get() == {"visitors": "https://chat.example"}

    sightings.saw_address("visitors", "https://www.chat.example")
    sightings.saw_address("portal", "https://chat.example")
    sightings.write(NOW + 2)
    assert store.notes.seen_addresses.get() == {
        "visitors": "https://www.chat.example",
        "portal": "https://chat.example",
    }


@pytest.mark.parametrize(
    ("headers", "seen"),
    [
        ({"Host": "chat.example"}, "https://chat.example"),
        ({"Host": "other.example"}, "https://other.example"),
        ({"Host": "127.0.0.1:8080"}, None),
        ({"Host": "127.0.0.1:8080", "X-Forwarded-Host": "other.example"}, "https://other.example"),
        ({"Host": "other.example", "X-Forwarded-Proto": "http"}, "http://other.example"),
        ({"Host": "chat.example", "X-Forwarded-Proto": "http"}, "https://chat.example"),
    ],
)
def test_the_address_of_an_event_is_that_of_its_host(
    tmp_path: Path, headers: dict[str, str], seen: str | None
) -> None:
    """Only of an event that is proved; a proxy may name its own way to us as the host."""
    app = create_app(
        Settings(
            public_url="https://chat.example",
            bitrix24=Bitrix24Settings(portal="https://b24.example"),
            server=ServerSettings(proxies=1),
            storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db", files=f"{tmp_path}/f"),
        )
    )
    services: Services = app.extensions["sitechat"]
    client = app.test_client()
    event = {"event": "ONIMCONNECTORSTATUSDELETE", "data[connector]": "x", "data[line]": "1"}
    post = {"data": event | {"auth[application_token]": "token"}, "headers": headers}
    client.post("/handler", **post)
    services.sightings.write(NOW)
    assert services.store.notes.seen_addresses.get() is None
    assert services.store.notes.last_event_at.get() is None

    services.store.portal.save(INSTALLED)
    assert client.post("/handler", **post).status_code == 200
    services.sightings.write(NOW)

    expected = None if seen is None else {"portal": seen}
    assert services.store.notes.seen_addresses.get() == expected
    assert services.store.notes.last_event_at.get() is not None
