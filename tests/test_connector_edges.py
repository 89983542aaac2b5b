"""The connector at its edges: who is believed, what is bound, switched on and kept.

A real store, and a portal that answers as told.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal.connector import EVENTS, Claim, Connector
from portal.events import Auth, Event, IncomingFile, IncomingMessage, Placement
from portal.inbox import operator_message, render_outdated
from portal.install_error import InstallError
from portal.proof import Proof
from portal.tokens import StoredTokens
from rest.errors import BitrixError, OutcomeUnknown, Refused, SetupFault, TryLater
from rest.replies import Grant
from settings import Settings
from storage import Store
from store.database import StoreUnavailable
from store.records import Chat, Limits, Portal, ReportedFault, TooMany, VisitorMessage

NOW = 1_790_000_000.0
LINE = 7
CHAT = "chat" + "a" * 64
CLIENT = "local.client"
HANDLER = "https://chat.example/live/handler"
KNOWN = Portal("member", 1, "access", "refresh", NOW, "the-token", False, NOW)
CLAIM = Claim(Grant("new-access", "new-refresh", NOW + 3600), "member", "new-token")


class FakePortal:
    """Records what it is asked; each error is raised once, by the method's name."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.errors: dict[str, BitrixError] = {}
        self.app = CLIENT  # to which every token belongs
        self.administrator = True
        self.bound: list[tuple[str, str]] = []
        self.inactive: set[int] = set()
        self.registered = {"livechat", "example_connector_1"}
        self.finished = True

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def method(*values: Any) -> Any:
            self.asked.append((name, *values))
            if name in self.errors:
                raise self.errors.pop(name)
            answers: dict[str, Callable[[], Any]] = {
                "app_of_token": lambda: self.app,
                "is_administrator": lambda: (self.administrator, 5),
                "bound_events": lambda: list(self.bound),
                "bind_event": lambda: self.bound.append((values[0].upper(), values[1])),
                "unbind_event": lambda: self.bound.remove((values[0].upper(), values[1])),
                "is_installed": lambda: self.finished,
                "connectors": lambda: self.registered,
                "connector_status": lambda: values[1] not in self.inactive,
            }
            return answers.get(name, lambda: None)()

        return method

    def calls(self, name: str) -> list[list[Any]]:
        return [values for called, *values in self.asked if called == name]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store("sqlite:///chats.db", tmp_path, 1)) as store:
        store.open()
        yield store


@pytest.fixture
def portal() -> FakePortal:
    return FakePortal()


def settings(**others: Any) -> Settings:
    values: dict[str, Any] = {
        "public_url": "https://chat.example/live",
        "bitrix24": {"portal": "https://b24.example", "client_id": CLIENT, "client_secret": "s"},
    }
    return Settings(**values | others)


def made_proof(store: Store, portal: FakePortal, **others: Any) -> Proof:
    return Proof(settings(**others), store, portal)  # type: ignore[arg-type]


def made(store: Store, portal: FakePortal, **others: Any) -> Connector:
    proof = made_proof(store, portal, **others)
    return Connector(settings(**others), store, portal, proof)  # type: ignore[arg-type]


@pytest.fixture
def connector(store: Store, portal: FakePortal) -> Connector:
    return made(store, portal)


@pytest.fixture
def proof(store: Store, portal: FakePortal) -> Proof:
    return made_proof(store, portal)


@contextmanager
def fault(key: str, status: int) -> Iterator[pytest.ExceptionInfo[InstallError]]:
    with pytest.raises(InstallError) as raised:
        yield raised
    assert (raised.value.key, raised.value.status) == (key, status)


# -- install


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
    assert connector.works()


def test_before_an_install_a_visit_is_told_how(store: Store, portal: FakePortal) -> None:
    with fault("not_installed", 409):
        made(store, portal).works()
    with fault("no_settings", 503):
        made(store, portal, bitrix24={}).works()
    assert portal.asked == []


@pytest.mark.parametrize(
    "happens",
    [
        lambda store: store.notes.fault.set(ReportedFault("m", "C")),
        lambda store: store.notes.refused_registration.set(ReportedFault("m", "C")),
        lambda store: store.notes.registered.clear(),
        lambda store: store.notes.is_unfinished.set(True),
    ],
)
def test_what_stands_in_the_way_is_a_verdict_without_a_reason(
    store: Store, portal: FakePortal, connector: Connector, happens: Callable[[Store], None]
) -> None:
    connector.install(CLAIM)
    happens(store)
    asked = len(portal.asked)
    before = whole(store)

    assert connector.works() is False

    assert len(portal.asked) == asked
    assert whole(store) == before
    connector.install(CLAIM)
    assert connector.works() is True


def whole(store: Store) -> list[tuple[Any, ...]]:
    rows = store.database.rows("select key, value from meta order by key")
    return [(row["key"], row["value"]) for row in rows]


def test_the_verdict_needs_no_lock(store: Store, connector: Connector) -> None:
    connector.install(CLAIM)
    with store.database.try_lock("install") as held, store.database.write():
        assert held
        assert connector.works() is True


def test_a_store_that_fails_after_an_install_is_no_reason_for_strangers(
    store: Store, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise StoreUnavailable("the disk is full")

    find = store.portal.find
    monkeypatch.setattr(store.portal, "find", broken)
    with fault("no_store", 500):
        connector.works()
    monkeypatch.setattr(store.portal, "find", find)
    connector.install(CLAIM)
    assert connector.works()
    monkeypatch.setattr(store.portal, "find", broken)

    assert connector.works() is False


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
        assert "taken" in str(raised.value.values["why"])
    assert portal.asked == []

    def full(_: Portal) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(store.portal, "save", full)
    with fault("no_store", 500) as raised:
        made(store, portal).install(CLAIM)
    assert str(raised.value.values["why"]) == "the disk is full"


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


# -- proofs


def test_proofs_that_fail_are_limited_and_those_that_succeed_are_not(
    store: Store, portal: FakePortal
) -> None:
    store.portal.save(KNOWN)
    connector = made(store, portal, limits={"failed_proofs_per_minute": 3})
    for _ in range(6):
        connector.install(CLAIM)
    portal.app = "another"
    for _ in range(3):
        with fault("wrong_application", 403):
            connector.install(CLAIM)

    with pytest.raises(TooMany):
        connector.install(CLAIM)


FAULTS = [
    (TryLater("QUERY_LIMIT_EXCEEDED", "m"), "portal_busy", 503),
    (TryLater("OPERATION_TIME_LIMIT", "m"), "portal_busy", 503),
    (TryLater("HTTP_429", "m"), "portal_busy", 503),
    (TryLater("NOT_CONNECTED", "m"), "unreachable", 503),
    (OutcomeUnknown("NO_REPLY", "m"), "unreachable", 503),
    (Refused("HTTP_404", "m"), "not_a_portal", 502),
    (SetupFault("HTTP_401", "m"), "not_a_portal", 502),
    (SetupFault("OVERLOAD_LIMIT", "m"), "portal_blocked", 502),
    (SetupFault("PAYMENT_REQUIRED", "m"), "portal_ended", 502),
    (SetupFault("PORTAL_DELETED", "m"), "portal_ended", 502),
    (SetupFault("ACCESS_DENIED", "m"), "setup", 502),
    (Refused("ERROR", "m"), "refused", 502),
]


@pytest.mark.parametrize(("error", "key", "status"), FAULTS, ids=str)
def test_each_error_of_the_portal_names_its_cure(
    portal: FakePortal, connector: Connector, error: BitrixError, key: str, status: int
) -> None:
    portal.errors["app_of_token"] = error

    with fault(key, status):
        connector.install(CLAIM)


@pytest.mark.parametrize("code", ["INVALID_TOKEN", "expired_token", "NO_AUTH_FOUND"])
def test_a_token_that_our_portal_does_not_know_is_of_another(
    portal: FakePortal, connector: Connector, code: str
) -> None:
    portal.errors["app_of_token"] = SetupFault(code, "app.info")

    with fault("wrong_portal", 403):
        connector.install(CLAIM)


# -- connect


def placement(**others: Any) -> Placement:
    values: dict[str, Any] = {
        "line": LINE,
        "connector": "",
        "active": True,
        "access_token": "access",
    }
    return Placement(**{**values, "application_token": "", **others})


def test_a_line_is_switched_on_and_off(
    store: Store, portal: FakePortal, connector: Connector
) -> None:
    store.portal.save(KNOWN)
    store.notes.fault.set(ReportedFault("m", "C"))
    began = time.time()

    connector.connect(placement())

    assert portal.calls("activate") == [["example_connector_1", LINE, True]]
    assert portal.calls("set_connector_data") == [
        ["example_connector_1", LINE, "https://chat.example/live/", "ExampleSiteChatWidget"]
    ]
    assert store.portal.active_lines() == [LINE]
    assert store.notes.fault.get() is None
    assert (store.notes.connected_at.get() or 0.0) >= began
    assert (store.notes.mended_at.get() or 0.0) >= began

    store.notes.connected_at.clear()
    connector.connect(placement(active=False, connector="example_connector_1"))

    assert portal.calls("activate")[1:] == [["example_connector_1", LINE, False]]
    assert store.portal.active_lines() == []
    assert store.notes.connected_at.get() is None


@pytest.mark.parametrize("name", ["widget_uri", "widget_name"])
def test_without_an_address_or_a_name_no_link_is_shown(
    store: Store, portal: FakePortal, name: str
) -> None:
    store.portal.save(KNOWN)

    made(store, portal, connector={name: ""}).connect(placement())

    assert portal.calls("set_connector_data") == []
    assert store.portal.active_lines() == [LINE]


def test_the_settings_page_of_another_connector_connects_nothing(
    store: Store, connector: Connector
) -> None:
    store.portal.save(KNOWN)

    with fault("other_connector", 400):
        connector.connect(placement(connector="other"))


def test_nothing_is_connected_before_an_install(connector: Connector) -> None:
    with fault("not_installed", 409):
        connector.connect(placement())


def test_the_settings_page_is_proved_by_its_tokens(
    store: Store, portal: FakePortal, connector: Connector
) -> None:
    store.portal.save(KNOWN)
    with fault("wrong_application", 403):
        connector.connect(placement(application_token="another"))
    connector.connect(placement(application_token="the-token"))
    portal.app = "another"

    with fault("wrong_application", 403):
        connector.connect(placement(application_token="the-token"))

    assert len(portal.calls("activate")) == 1


@pytest.mark.parametrize(
    ("known", "pending", "administrator", "learned"),
    [
        ("", True, True, "new"),
        ("old", True, True, "new"),
        ("", False, True, "new"),
        ("", True, False, ""),
        ("old", True, False, "old"),
    ],
)
def test_an_administrators_settings_page_teaches_the_application_token(
    store: Store,
    portal: FakePortal,
    connector: Connector,
    known: str,
    pending: bool,
    administrator: bool,
    learned: str,
) -> None:
    store.portal.save(replace(KNOWN, application_token=known, token_pending=pending))
    portal.administrator = administrator

    connector.connect(placement(application_token="new"))

    kept = store.portal.find()
    assert kept is not None
    assert kept.application_token == learned
    assert kept.token_pending is (pending and learned != "new")


# -- the check


def note_registered(store: Store, connector: Connector) -> None:
    """The portal was told the present settings before."""
    store.notes.registered.set(connector._registration())


def test_a_check_binds_what_is_missing_and_switches_on_what_is_off(
    store: Store, portal: FakePortal, connector: Connector
) -> None:
    note_registered(store, connector)
    for line in (LINE, 12):
        store.portal.connect_line(line, NOW + line)
    portal.inactive = {12}

    assert connector.check() is True

    assert len(portal.bound) == len(EVENTS)
    assert portal.calls("register") == []
    assert portal.calls("activate") == [["example_connector_1", 12, True]]
    assert store.notes.is_unfinished.get() is False


def test_a_check_registers_again_what_the_portal_does_not_list(
    store: Store, portal: FakePortal, connector: Connector
) -> None:
    note_registered(store, connector)
    store.portal.connect_line(LINE, NOW)
    portal.registered = {"livechat"}

    connector.check()

    (registered,) = portal.calls("register")
    assert registered[0] == "example_connector_1"
    assert portal.calls("connector_status") == [["example_connector_1", LINE]]


@pytest.mark.parametrize(
    "error",
    [
        SetupFault("ACCESS_DENIED", "imconnector.list"),
        SetupFault("ERROR_METHOD_NOT_FOUND", "imconnector.list"),
        Refused("ERROR_CORE", "imconnector.list"),
    ],
)
def test_a_portal_that_lists_no_connectors_is_checked_all_the_same(
    store: Store, portal: FakePortal, connector: Connector, error: BitrixError
) -> None:
    note_registered(store, connector)
    store.portal.connect_line(LINE, NOW)
    portal.errors["connectors"] = error

    assert connector.check() is True

    assert portal.calls("register") == []
    assert len(portal.bound) == len(EVENTS)
    assert portal.calls("connector_status") == [["example_connector_1", LINE]]


@pytest.mark.parametrize(
    "error",
    [TryLater("NOT_CONNECTED", "imconnector.list"), SetupFault("INVALID_TOKEN", "x")],
)
def test_a_check_that_the_portal_cannot_answer_ends(
    store: Store, portal: FakePortal, connector: Connector, error: BitrixError
) -> None:
    note_registered(store, connector)
    portal.errors["connectors"] = error

    with pytest.raises(BitrixError):
        connector.check()


def test_a_check_reports_an_install_that_is_not_finished_and_takes_that_back(
    store: Store, portal: FakePortal, connector: Connector
) -> None:
    portal.finished = False
    assert connector.check() is False
    assert store.notes.is_unfinished.get() is True

    portal.finished = True
    assert connector.check() is True
    assert store.notes.is_unfinished.get() is False


def registered_names(portal: FakePortal) -> list[str]:
    return [values[1] for values in portal.calls("register")]


def test_a_check_tells_the_portal_changed_settings_once(store: Store, portal: FakePortal) -> None:
    made(store, portal).install(CLAIM)
    renamed = made(store, portal, connector={"name": "Another name"})
    store.notes.fault.set(ReportedFault("m", "C"))

    renamed.check()
    renamed.check()

    assert registered_names(portal) == ["ExampleSiteChat", "Another name"]
    assert store.notes.fault.get() is not None, "that is cured by a delivery or an install"


def test_a_check_registers_after_an_install_that_failed(
    store: Store, portal: FakePortal, connector: Connector
) -> None:
    portal.errors["register"] = TryLater("BUSY", "imconnector.register")
    with pytest.raises(InstallError):
        connector.install(CLAIM)
    assert connector.works() is False

    connector.check()

    assert connector.works() is True


def test_a_check_whose_registration_is_refused_looks_after_all_else(
    store: Store, portal: FakePortal
) -> None:
    made(store, portal).install(CLAIM)
    store.portal.connect_line(LINE, NOW)
    portal.inactive = {LINE}
    portal.bound.clear()
    renamed = made(store, portal, connector={"name": "Another name"})
    portal.errors["register"] = Refused("NO", "imconnector.register")

    assert renamed.check() is True

    assert store.notes.refused_registration.get() == ReportedFault("imconnector.register", "NO")
    assert renamed.works() is False
    assert len(portal.bound) == len(EVENTS)
    assert portal.calls("activate") == [["example_connector_1", LINE, True]]
    renamed.check()
    assert renamed.works() is True


def test_a_check_registers_nothing_while_an_install_does(store: Store, portal: FakePortal) -> None:
    made(store, portal).install(CLAIM)
    renamed = made(store, portal, connector={"name": "Another name"})
    with store.database.try_lock("install"):
        renamed.check()

    assert registered_names(portal) == ["ExampleSiteChat"]


# -- events


def event(name: str = "ONIMCONNECTORMESSAGEADD", token: str = "the-token", **auth: Any) -> Event:
    values: dict[str, Any] = {"member_id": "member", "access_token": "access", "fields": {}}
    return Event(name, {}, Auth(application_token=token, **values | auth), 0)


@pytest.mark.parametrize(
    ("pending", "known", "sent", "believed", "asked"),
    [
        (False, "the-token", event(), True, 0),
        (False, "the-token", event(token="another"), False, 0),
        (False, "", event(token=""), False, 0),
        (True, "", event(token="new"), True, 1),
        (True, "the-token", event(token="new"), True, 1),
        (True, "the-token", event(access_token=""), True, 0),
        (True, "the-token", event(token="new", access_token=""), False, 0),
        (True, "the-token", event(token="new", member_id="another"), False, 0),
        (True, "the-token", event("ONAPPUNINSTALL"), False, 0),
        (False, "the-token", event("ONAPPUNINSTALL"), True, 0),
    ],
)
def test_an_event_is_believed_by_its_application_token(
    store: Store,
    portal: FakePortal,
    proof: Proof,
    pending: bool,
    known: str,
    sent: Event,
    believed: bool,
    asked: int,
) -> None:
    store.portal.save(replace(KNOWN, application_token=known, token_pending=pending))

    assert proof.is_from_portal(sent) is believed

    assert len(portal.calls("app_of_token")) == asked
    kept = store.portal.find()
    assert kept is not None
    assert kept.application_token == (sent.auth.application_token if asked else known)
    assert kept.token_pending is (pending and not asked)


def test_no_event_is_believed_before_an_install(proof: Proof) -> None:
    assert proof.is_from_portal(event(token="")) is False


@pytest.mark.parametrize(
    ("token", "error", "result"),
    [
        ("the-token", SetupFault("INVALID_TOKEN", "m"), True),
        ("forged", SetupFault("INVALID_TOKEN", "m"), False),
        ("the-token", TryLater("NOT_CONNECTED", "m"), True),
        ("perhaps", TryLater("NOT_CONNECTED", "m"), InstallError),
    ],
)
def test_an_event_that_cannot_be_proved_now_is_not_known_to_be_forged(
    store: Store,
    portal: FakePortal,
    proof: Proof,
    token: str,
    error: BitrixError,
    result: Any,
) -> None:
    store.portal.save(replace(KNOWN, token_pending=True))
    portal.errors["app_of_token"] = error

    if result is InstallError:
        with pytest.raises(InstallError):
            proof.is_from_portal(event(token=token))
    else:
        assert proof.is_from_portal(event(token=token)) is result
    kept = store.portal.find()
    assert kept is not None
    assert kept.application_token == "the-token"


def test_events_above_the_limit_of_proofs_are_not_known_to_be_forged(
    store: Store, portal: FakePortal
) -> None:
    proof = made_proof(store, portal, limits={"failed_proofs_per_minute": 1})
    store.portal.save(replace(KNOWN, token_pending=True))
    portal.app = "another"
    assert proof.is_from_portal(event(token="forged")) is False

    with pytest.raises(TooMany):
        proof.is_from_portal(event(token="forged"))
    assert proof.is_from_portal(event()) is True


# -- messages


def incoming(text: str = "[b]Olga:[/b] [br] hello", **others: Any) -> IncomingMessage:
    values: dict[str, Any] = {
        "im_chat_id": 5120,
        "im_message_id": 10,
        "user_id": 18,
        "files": (),
        "params": {},
    }
    return IncomingMessage(CHAT, text=text, **values | others)


PDF = IncomingFile("a.pdf", "file", "https://b24.example/a", 10)


@pytest.mark.parametrize(
    ("message", "author", "name", "text"),
    [
        (incoming(), "operator", "Olga", "hello"),
        (incoming("unsigned"), "operator", None, "unsigned"),
        (incoming("automatic", user_id=0), "system", None, "automatic"),
        (incoming(user_id=0), "operator", "Olga", "hello"),
        (incoming("", user_id=0, params={"IMOL_VOTE_TEXT": "Rate us"}), "system", None, "Rate us"),
    ],
)
def test_who_wrote_a_message_is_told_by_its_signature(
    message: IncomingMessage, author: str, name: str | None, text: str
) -> None:
    kept = operator_message(message, LINE)

    assert (kept.author, kept.name, kept.text, kept.line) == (author, name, text, LINE)


def test_a_files_link_stands_below_the_text(store: Store) -> None:
    both, alone = (
        operator_message(incoming(text, im_message_id=number, files=(PDF,)), LINE)
        for number, text in ((10, "hello"), (11, ""))
    )
    store.messages.add_from_operators([both, alone], NOW)

    below, without = (one.html for one in store.conversations.latest(CHAT, None, 10))
    assert below.startswith("hello<br>")
    assert "a.pdf" in below
    assert "<br>" not in without
    assert "a.pdf" in without


@pytest.mark.parametrize("first", ["edit", "event"])
def test_edit_and_event_may_be_rendered_both_before_either_is_kept_and_come_in_any_order(
    store: Store, first: str
) -> None:
    edit = operator_message(incoming("[b]Olga:[/b] [br] edited"), LINE)
    event = operator_message(incoming(files=(PDF,)), LINE)

    if first == "event":
        store.messages.add_from_operators([event], NOW)
    store.messages.edit(edit, NOW, 100)
    (kept,) = store.conversations.latest(CHAT, None, 10)
    assert kept.incomplete is (first == "edit"), "it waits for its files"
    if first == "edit":
        store.messages.add_from_operators([event], NOW)

    (kept,) = store.conversations.latest(CHAT, None, 10)
    assert (kept.text, kept.edited, kept.incomplete) == ("edited", True, False)
    assert "a.pdf" in kept.html
    assert "edited" in kept.html
    assert [one.name for one in kept.files] == ["a.pdf"]
    again = operator_message(incoming("[b]Olga:[/b] [br] again"), LINE)
    store.messages.edit(again, NOW, 200)
    (kept,) = store.conversations.latest(CHAT, None, 10)
    assert (kept.text, kept.text_html) == ("again", again.text_html)
    assert "a.pdf" in kept.html


def test_everything_that_an_earlier_renderer_wrote_is_rendered_again(
    store: Store, tmp_path: Path
) -> None:
    visitor = Chat(CHAT, "", "", "", "", None, NOW, NOW, None, None, None, None)
    limits = Limits("an address", 10_000, 10_000)
    for number in range(450):
        one = VisitorMessage(visitor, f"<{number}>", "old", None)
        store.messages.add_from_visitor(one, limits, NOW)
    store.messages.add_from_operators([operator_message(incoming("", files=(PDF,)), LINE)], NOW)
    with store.database.write() as db:
        db.execute("update messages set html = 'old', files_html = 'old'")

    with closing(Store("sqlite:///chats.db", tmp_path, 2)) as newer:
        assert render_outdated(newer, threading.Event()) == 451
        assert render_outdated(newer, threading.Event()) == 0
        html = [one.html for one in newer.conversations.latest(CHAT, None, 1000)]

    assert html[7] == "&lt;7&gt;"
    assert "a.pdf" in html[450]
    assert "old" not in "".join(html)


def test_the_tokens_are_kept_as_a_pair_with_their_end(store: Store) -> None:
    keeper = StoredTokens(store)
    assert keeper.load() is None
    store.portal.save(KNOWN)

    keeper.save(Grant("second", "pair", NOW + 1))

    assert keeper.load() == Grant("second", "pair", NOW + 1)


def test_strangers_use_up_no_proofs_of_those_who_name_our_portal(
    store: Store, portal: FakePortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    proof = made_proof(store, portal, limits={"failed_proofs_per_minute": 2})
    store.portal.save(KNOWN)
    portal.app = "another"

    def forged(member_id: str) -> type[Exception]:
        with pytest.raises((TooMany, InstallError)) as raised:
            proof.prove("forged", member_id)
        return raised.type

    strangers = [forged(member) for member in ("", "m", "", "another")]
    ours = [forged("member") for _ in range(4)]
    portal.app = CLIENT

    assert strangers == ours == [InstallError, InstallError, TooMany, TooMany]
    with pytest.raises(TooMany):
        proof.prove("genuine", "")


def test_before_an_install_no_portal_is_ours(store: Store, proof: Proof) -> None:
    assert not proof.names_our_portal("")
    store.portal.save(replace(KNOWN, member_id=""))
    assert not proof.names_our_portal("")
    store.portal.save(KNOWN)
    assert proof.names_our_portal("member")
    assert not proof.names_our_portal("membe")
    assert not proof.names_our_portal("")
