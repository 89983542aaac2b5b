"""The settings page of a line: who may switch it on and off, and what the page says."""

import time
from dataclasses import replace
from typing import Any

import pytest
from portal_parts import KNOWN, LINE, FakePortal, fault, made

from portal.connector import Connector
from portal.events import Placement
from storage import Store
from store.records import ReportedFault


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
