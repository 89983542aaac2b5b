"""What requests tell of how we are reached: bounded, valid, and written seldom."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from app import create_app
from operations.findings import worst
from operations.named import MOST_KEPT, MOST_VOTERS, NEW_NAMES, ranked
from operations.sightings import REPEAT_SECONDS, Sightings, valid_origin
from portal.administrators import Administrators
from services import Services
from settings import Bitrix24Settings, ServerSettings, Settings, StorageSettings
from storage import Store
from store.records import Portal
from web.admin_page import MOST_SITES

INSTALLED = Portal("member", 1, "a", "r", 4e9, "token", False, 1000.0)
NOW = 1_000_000.0
SHOP, EVIL = "https://shop.example", "https://evil.example"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/chats.db", tmp_path, 1)
    store.open()
    yield store
    store.close()


def noted(store: Store) -> dict[str, list[float]]:
    """First and last time and number, by site."""
    names = store.notes.tried_sites.get() or {}
    return {name: [one.first_at, one.last_at, one.count] for name, one in names.items()}


def shown(store: Store) -> list[str]:
    return ranked(store.notes.tried_sites.get() or {})[:MOST_SITES]


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
            "https://xn--%5bb%5d-dma.evil.com", "https://xn--a%2fb-dma.evil.com",
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
    """Many of one address are few, and many addresses fill no more than the places there are."""
    sightings = Sightings(store)
    sightings.saw_site(SHOP, "customer")
    for number in range(1000):
        sightings.saw_site(f"https://{number}.example", "one stranger")
    sightings.write(NOW)
    assert len(noted(store)) == 1 + NEW_NAMES
    assert SHOP in noted(store)

    for number in range(1000):
        sightings.saw_site(f"https://{number}.example", f"stranger {number}")
        sightings.saw_site(SHOP, f"customer {number % 30}")
        if number % 5 == 0:
            sightings.write(NOW + number)
    assert len(noted(store)) == MOST_KEPT
    assert shown(store)[0] == SHOP
    voters = [len(one.voters) for one in (store.notes.tried_sites.get() or {}).values()]
    assert max(voters) == MOST_VOTERS


@pytest.mark.parametrize("names", [5, 100])
@pytest.mark.parametrize("processes", [1, 3])
def test_a_site_of_one_visitor_shows_beside_those_that_strangers_name_all_the_time(
    store: Store, names: int, processes: int
) -> None:
    """Four strangers hold every place, in the store and in each process, before it first comes."""
    all_of_them = [Sightings(store) for _ in range(processes)]
    for second in range(0, 120, 2):
        for sightings in all_of_them:
            for number in range(4 * names):
                stranger = f"stranger {number % 4}"
                sightings.saw_site(f"https://evil{number}.example", stranger)
                sightings.saw_site(SHOP, stranger)  # also for it: their votes are worth little
        if second == 60:
            all_of_them[0].forget_site(SHOP)
            assert len(noted(store)) >= min(4 * names, MOST_KEPT) - 1
            all_of_them[-1].saw_site(SHOP, "customer")
        for sightings in all_of_them:
            sightings.write(NOW + second)

    assert shown(store)[0] == SHOP


def test_where_all_share_an_address_the_site_that_comes_oftenest_shows(store: Store) -> None:
    sightings = Sightings(store)
    for second in range(0, 1800, 2):
        sightings.saw_site(f"https://new{second}.example", "one")
        if second % 20 == 0:
            sightings.saw_site(SHOP, "one")
        sightings.write(NOW + second)
        assert SHOP in shown(store)


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


def test_the_address_at_which_an_administrator_was_last_counts(store: Store) -> None:
    """Whatever other processes saw before, and without what an earlier release has believed."""
    store.notes.seen_addresses.set({"visitors": "https://evil.example"})
    one, other = Sightings(store), Sightings(store)
    one.saw_administrator("https://old.example")
    one.saw_administrator("no address")
    one.write(NOW)
    assert store.notes.seen_addresses.get() == {"portal": "https://old.example"}

    other.saw_administrator("https://chat.example")
    other.write(NOW + 2)
    one.write(NOW + 2 * REPEAT_SECONDS)
    assert store.notes.seen_addresses.get() == {"portal": "https://chat.example"}


def test_where_visitors_see_the_chat_is_forgotten_when_one_sees_it_at_the_right_address(
    store: Store,
) -> None:
    right, other = "https://chat.example", "https://www.chat.example"
    sightings = Sightings(store)
    for number in range(3):
        sightings.saw_visitor(other, f"visitor {number}", right)
    sightings.saw_visitor("null", "visitor", right)
    sightings.write(NOW)
    assert list(store.notes.visited_addresses.get() or {}) == [other]

    sightings.saw_visitor(right, "visitor 4", right)
    sightings.saw_visitor(other, "visitor 5", right)
    sightings.write(NOW + 2)
    assert not store.notes.visited_addresses.get()


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
def test_the_address_of_the_page_is_believed_of_an_administrator_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], seen: str | None
) -> None:
    """Not of an event or of another employee; a proxy may name its own way to us as the host."""
    app = create_app(
        Settings(
            public_url="https://chat.example",
            bitrix24=Bitrix24Settings(
                portal="https://b24.example", client_id="local.x", client_secret=SecretStr("s")
            ),
            server=ServerSettings(proxies=1),
            storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db", files=f"{tmp_path}/f"),
        )
    )
    services: Services = app.extensions["sitechat"]
    services.store.portal.save(INSTALLED)
    monkeypatch.setattr(Services, "look", lambda *_, **__: True)
    client = app.test_client()

    def seen_after(form: dict[str, str], user_id: int | None) -> dict[str, str] | None:
        monkeypatch.setattr(Administrators, "proved", lambda *_: user_id)
        assert client.post("/handler", data=form, headers=headers).status_code == 200
        services.sightings.write(NOW)
        return services.store.notes.seen_addresses.get()

    event = {"event": "ONIMCONNECTORSTATUSDELETE", "data[connector]": "x", "data[line]": "1"}
    page = {"PLACEMENT": "DEFAULT", "AUTH_ID": "token", "member_id": "member"}
    assert seen_after(event | {"auth[application_token]": "token"}, None) is None
    assert services.store.notes.last_event_at.get() is not None
    assert seen_after(page, None) is None
    assert seen_after(page, 1) == (None if seen is None else {"portal": seen})


def test_what_strangers_say_changes_no_verdict(tmp_path: Path) -> None:
    """Neither forged headers of a page of ours nor sites that nobody has."""
    app = create_app(
        Settings(
            public_url="https://chat.example",
            storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db", files=f"{tmp_path}/f"),
        )
    )
    services: Services = app.extensions["sitechat"]
    before = worst(services.verdict())
    levels = {one.check: one.level for one in services.verdict()}
    client = app.test_client()
    for number in range(9):
        for origin, of_site in ((EVIL, "same-origin"), (f"{EVIL}:8443", "cross-site")):
            client.post(
                "/ajax",
                data={"type": "chat_history"},
                headers={"Origin": origin, "Sec-Fetch-Site": of_site},
                environ_base={"REMOTE_ADDR": f"192.0.2.{number}"},
            )
    services.sightings.write(NOW)
    services.watch.forget()

    assert list(services.store.notes.visited_addresses.get() or {}) == [EVIL]
    assert list(services.store.notes.tried_sites.get() or {}) == [f"{EVIL}:8443"]
    assert worst(services.verdict()) == before
    assert {one.check: one.level for one in services.verdict()} == levels
