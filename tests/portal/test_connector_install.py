"""An install: who may, what is kept, bound and registered, and who waits for whom."""

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from portal_parts import CLAIM, HANDLER, KNOWN, LINE, NOW, FakePortal, fault, made

from portal.connector import EVENTS, Connector
from portal.events import Placement
from portal.install_error import InstallError
from portal.tokens import StoredTokens
from rest.errors import LOCK_LOST, OAUTH, RENEWAL_LOST, Refused, TryLater
from rest.replies import Grant
from storage import Store
from store.database import StoreUnavailable
from store.fence import Fence
from store.records import Portal, ReportedFault


def test_an_install_keeps_the_grant_registers_and_binds_each_event(
    store: Store, portal: FakePortal, connector: Connector
) -> None:
    store.notes.fault.set(ReportedFault("m", "C"))
    began = time.time()

    connector.install(CLAIM)

    kept = store.portal.find()
    assert kept is not None
    assert began <= kept.installed_at <= time.time()
    assert replace(kept, installed_at=0.0) == Portal(
        "member", 5, "new-access", "new-refresh", NOW + 3600, "new-token", False, 0.0
    )
    (registered,) = portal.calls("register")
    assert (registered[0], registered[1], registered[3]) == (
        "example_connector_1", "ExampleSiteChat", HANDLER,
    )  # fmt: skip
    assert portal.bound == [(name.upper(), HANDLER) for name in EVENTS]
    assert store.notes.fault.get() is None
    assert (store.notes.mended_at.get() or 0.0) >= began
    connector.check_installed()


def test_before_an_install_a_visit_is_told_how(store: Store, portal: FakePortal) -> None:
    with fault("not_installed", 409):
        made(store, portal).check_installed()
    with fault("no_settings", 503):
        made(store, portal, bitrix24={}).check_installed()
    assert portal.asked == []


def test_whether_it_is_installed_needs_no_lock(store: Store, connector: Connector) -> None:
    connector.install(CLAIM)
    with store.database.try_lock("install") as held, store.database.write():
        assert held
        connector.check_installed()


def test_a_store_that_fails_after_an_install_is_no_reason_for_strangers(
    store: Store, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise StoreUnavailable("the disk is full")

    find = store.portal.find
    monkeypatch.setattr(store.portal, "find", broken)
    with fault("no_store", 500):
        connector.check_installed()
    monkeypatch.setattr(store.portal, "find", find)
    connector.install(CLAIM)
    connector.check_installed()
    monkeypatch.setattr(store.portal, "find", broken)

    connector.check_installed()


def test_nobody_but_a_proven_administrator_waits_for_the_lock(
    store: Store, portal: FakePortal, connector: Connector
) -> None:
    with store.database.try_lock("install") as held:
        assert held
        portal.administrator = False
        with fault("not_admin", 403):
            connector.install(CLAIM)
        portal.app = "another"
        with fault("wrong_application", 403):
            connector.install(CLAIM)


def test_a_claim_without_an_application_token_keeps_the_one_known_until_a_new_one_is_proved(
    store: Store, connector: Connector
) -> None:
    claim = replace(CLAIM, application_token="")
    connector.install(claim)
    first = store.portal.find()
    assert first is not None
    assert (first.application_token, first.token_pending) == ("", True)
    store.portal.learn_application_token("learned")

    connector.install(claim)

    second = store.portal.find()
    assert second is not None
    assert (second.application_token, second.token_pending) == ("learned", True)


@pytest.mark.parametrize(
    ("change", "key"),
    [({"app": "another"}, "wrong_application"), ({"administrator": False}, "not_admin")],
)
def test_a_claim_that_is_not_an_administrators_of_ours_keeps_nothing(
    store: Store, portal: FakePortal, connector: Connector, change: dict[str, Any], key: str
) -> None:
    vars(portal).update(change)
    store.notes.registered.set("by some settings")

    with fault(key, 403):
        connector.install(CLAIM)

    assert store.portal.find() is None
    assert portal.bound == []
    assert store.notes.registered.get() == "by some settings"
    assert store.notes.mended_at.get() is None


def test_without_the_three_settings_nothing_is_installed_or_connected(
    store: Store, portal: FakePortal
) -> None:
    connector = made(store, portal, bitrix24={})

    with fault("no_settings", 503):
        connector.install(CLAIM)
    with fault("no_settings", 503):
        connector.connect(Placement(LINE, "", True, "access", ""))
    assert portal.asked == []


def test_an_install_that_fails_is_no_longer_said_to_work(
    store: Store, portal: FakePortal, connector: Connector
) -> None:
    connector.install(CLAIM)
    portal.errors["register"] = Refused("ERROR", "imconnector.register", "why " * 200)

    with pytest.raises(InstallError) as raised:
        connector.install(CLAIM)

    assert raised.value.key == "refused"
    assert len(str(raised.value.values["description"])) == 300
    assert store.notes.registered.get() is None
    assert store.notes.refused_registration.get() == ReportedFault("imconnector.register", "ERROR")
    assert store.notes.mended_at.get(), "the tokens are new, so the worker may try"


def test_a_store_that_cannot_be_used_is_named_with_its_folder(
    store: Store, portal: FakePortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("no folder")
    with closing(Store("sqlite:///taken/chats.db", tmp_path, 1)) as broken:
        with fault("no_store", 500) as raised:
            made(broken, portal).install(CLAIM)
        assert raised.value.values["folder"] == "taken"
        assert raised.value.values["said"] == " (File exists)"
    assert portal.asked == []

    def full(_: Portal, **__: bool) -> None:
        raise StoreUnavailable("OSError: disk I/O error", "disk I/O error")

    monkeypatch.setattr(store.portal, "save", full)
    with fault("no_store", 500) as raised:
        made(store, portal).install(CLAIM)
    assert raised.value.values["said"] == " (disk I/O error)"


def test_two_installs_do_not_run_at_once(
    store: Store, portal: FakePortal, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.connector.LOCK_SECONDS", 0.01)
    with store.database.try_lock("install") as held:
        assert held
        with fault("busy", 503):
            connector.install(CLAIM)
    assert portal.bound == []


def test_an_install_waits_about_a_minute_for_another_install_or_a_renewal(
    store: Store, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the calls of the other may take."""
    patiences: dict[str, float] = {}
    lock = store.database.lock

    def noted(name: str, patience: float) -> Any:
        patiences[name] = patience
        return lock(name, patience)

    monkeypatch.setattr(store.database, "lock", noted)
    connector.install(CLAIM)
    with StoredTokens(store).lock():
        renewal = patiences["tokens"]

    assert set(patiences) == {"install", "tokens"}
    assert all(30 <= patience <= 120 for patience in (*patiences.values(), renewal))


def test_an_install_waits_for_a_renewal_of_the_tokens(
    store: Store, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.connector.LOCK_SECONDS", 0.01)
    with StoredTokens(store).lock(), fault("busy", 503):
        connector.install(CLAIM)
    assert store.portal.find() is None


@pytest.mark.parametrize(
    "url",
    [
        "https://chat.example/live/handler/",
        "https://CHAT.example/live/handler",
        "https://chat.example:443/live/handler",
        "http://chat.example/live/handler",
        "http://chat.example:80/live/handler",
    ],
)
def test_another_spelling_of_our_address_is_bound_no_longer(
    portal: FakePortal, connector: Connector, url: str
) -> None:
    portal.bound = [("ONIMCONNECTORMESSAGEADD", url)]

    connector.install(CLAIM)

    assert sorted(portal.bound) == sorted((name.upper(), HANDLER) for name in EVENTS)


def test_an_international_name_that_was_bound_in_letters_is_bound_in_its_one_form(
    store: Store, portal: FakePortal
) -> None:
    connector = made(store, portal, public_url="https://Чат.рф/чат")
    portal.bound = [("ONAPPUNINSTALL", "https://чат.рф/чат/handler")]

    connector.install(CLAIM)

    handler = "https://xn--80a0bn.xn--p1ai/%D1%87%D0%B0%D1%82/handler"
    assert sorted(portal.bound) == sorted((name.upper(), handler) for name in EVENTS)
    assert portal.calls("register")[0][3] == handler


@pytest.mark.parametrize(
    "url",
    [
        "https://chat.example/other/handler",
        "https://chat.example:8443/live/handler",
        "https://chat.example/live/handler?a=b",
        "https://other.example/live/handler",
        "https://[chat/live/handler",
    ],
)
def test_an_address_that_is_not_ours_stays_bound(
    portal: FakePortal, connector: Connector, url: str
) -> None:
    portal.bound = [("ONIMCONNECTORMESSAGEADD", url)]

    connector.install(CLAIM)

    assert ("ONIMCONNECTORMESSAGEADD", url) in portal.bound
    assert ("ONIMCONNECTORMESSAGEADD", HANDLER) in portal.bound


def test_an_event_that_is_bound_is_not_bound_again(
    portal: FakePortal, connector: Connector
) -> None:
    connector.install(CLAIM)
    portal.asked.clear()

    connector.install(CLAIM)

    assert portal.calls("bind_event") == portal.calls("unbind_event") == []


def test_the_tokens_are_kept_as_a_pair_with_their_end(store: Store) -> None:
    keeper = StoredTokens(store)
    assert keeper.load() is None
    store.portal.save(KNOWN)

    first, second, third = keeper.load(), Grant("second", "pair", NOW + 1), Grant("3", "3", NOW)
    assert first is not None

    assert keeper.save(first, second)
    assert keeper.load() == second
    assert not keeper.save(first, third), "whoever hung in a renewal, and is late"
    assert keeper.load() == second


def test_after_an_install_nobody_is_told_that_the_store_was_replaced(
    store: Store, connector: Connector
) -> None:
    store.notes.replaced_at.set(1.0)

    connector.install(CLAIM)

    assert store.notes.replaced_at.get() is None


def test_an_install_that_hung_while_another_one_went_on_writes_nothing(
    store: Store, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: object) -> None:
        Fence(store.database, "install").take_over()

    monkeypatch.setattr(connector._presence, "register", hang)

    with fault("busy", 503):
        connector.install(CLAIM)

    assert store.notes.registered.get() is None
    assert (store.portal.find() or KNOWN).access_token == "new-access", "it was kept before"


def test_a_repeated_install_keeps_the_pair_that_a_renewal_has_stored_meanwhile(
    store: Store, connector: Connector
) -> None:
    connector.install(CLAIM)
    known = store.portal.find()
    assert known is not None
    later = Grant("renewed", "renewed-refresh", NOW + 9)
    assert StoredTokens(store).save(
        Grant(known.access_token, known.refresh_token, known.expires_at), later
    )

    store.portal.save(replace(known, user_id=6), keeps_pair=True)

    assert StoredTokens(store).load() == later
    assert (store.portal.find() or known).user_id == 6


def test_a_renewal_that_is_only_late_ends_the_fault_that_others_have_seen(store: Store) -> None:
    """A host that hung has the new pair; meanwhile another one has tried the old one in vain."""
    store.portal.save(KNOWN)
    tokens = StoredTokens(store)
    old = tokens.load()
    assert old is not None
    tokens.begin_renewal(old)
    store.notes.fault.set(ReportedFault(OAUTH, RENEWAL_LOST))
    stopped = Fence(store.database, "sender")
    Fence(store.database, "sender").take_over()

    with stopped.holds(), tokens.lock():
        assert tokens.save(old, Grant("new", "pair", NOW + 9)), "it is the only one that works"

    assert tokens.load() == Grant("new", "pair", NOW + 9)
    assert store.notes.mended_at.get() is not None, "the worker tries again at once"


def test_an_install_that_may_not_call_any_more_is_told_to_wait(
    store: Store, portal: FakePortal, connector: Connector
) -> None:
    portal.errors["bind_event"] = TryLater(LOCK_LOST, "event.bind")

    with fault("busy", 503):
        connector.install(CLAIM)
