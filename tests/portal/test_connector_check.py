"""The check of what the portal knows of us: it binds, registers and switches on what is missing."""

import pytest
from portal_parts import CLAIM, LINE, NOW, FakePortal, made

from portal.connector import EVENTS, Connector
from portal.install_error import InstallError
from rest.errors import BitrixError, Refused, SetupFault, TryLater
from storage import Store
from store.records import ReportedFault


def note_registered(store: Store, connector: Connector) -> None:
    """The portal was told the present settings before."""
    store.notes.registered.set(connector._presence.registration())


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
