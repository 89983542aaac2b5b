"""A move to another address, and an uninstall: what the portal has of us goes along, or goes."""

from contextlib import suppress

import pytest
from portal_parts import CLAIM, HANDLER, KNOWN, LINE, NOW, FakePortal, fault, made, settings

from portal.connector import EVENTS, Connector, Undone
from portal.uninstall import Uninstall
from rest.errors import BitrixError, Refused, SetupFault, TryLater
from storage import Store
from store.records import Chat, Limits, Message, VisitorMessage

MOVED = "https://new.example"
ELSEWHERE = "https://other.example/handler"


def at(portal: FakePortal, handler: str) -> int:
    return sum(url == handler for _, url in portal.bound)


# -- a move


def test_after_a_move_events_come_to_the_new_address_alone(
    store: Store, portal: FakePortal, connector: Connector
) -> None:
    portal.bound = [("ONIMCONNECTORMESSAGEADD", ELSEWHERE)]
    connector.install(CLAIM)
    assert at(portal, HANDLER) == len(EVENTS)

    made(store, portal, public_url=MOVED).check()

    assert at(portal, f"{MOVED}/handler") == len(EVENTS)
    assert at(portal, HANDLER) == 0
    assert at(portal, ELSEWHERE) == 1, "that is not ours to take away"
    assert store.notes.own_handlers.get() == [f"{MOVED}/handler"]


def test_an_install_at_the_new_address_takes_the_old_bindings_away_too(
    store: Store, portal: FakePortal, connector: Connector
) -> None:
    connector.install(CLAIM)

    made(store, portal, public_url=MOVED).install(CLAIM)

    assert at(portal, HANDLER) == 0
    assert at(portal, f"{MOVED}/handler") == len(EVENTS)


@pytest.mark.parametrize("method", ["bound_events", "bind_event", "unbind_event"])
def test_a_move_that_was_cut_short_is_finished_later(
    store: Store, portal: FakePortal, connector: Connector, method: str
) -> None:
    connector.install(CLAIM)
    portal.errors[method] = TryLater("NOT_CONNECTED", "event")
    with pytest.raises(TryLater):
        made(store, portal, public_url=MOVED).check()

    made(store, portal, public_url="https://third.example").check()

    assert {url for _, url in portal.bound} == {"https://third.example/handler"}
    assert len(portal.bound) == len(EVENTS)


def test_each_connected_line_is_told_the_new_address_once(
    store: Store, portal: FakePortal, connector: Connector
) -> None:
    connector.install(CLAIM)
    for line in (LINE, 12, 3):
        store.portal.connect_line(line, NOW)
    store.portal.disconnect_line(3)
    connector.check()
    told = [values[1:3] for values in portal.calls("set_connector_data")]
    assert sorted(told) == [
        [LINE, "https://chat.example/live/"],
        [12, "https://chat.example/live/"],
    ]
    portal.asked.clear()

    moved = made(store, portal, public_url=MOVED)
    for _ in range(2):
        moved.check()

    told = [values[1:3] for values in portal.calls("set_connector_data")]
    assert sorted(told) == [[LINE, f"{MOVED}/"], [12, f"{MOVED}/"]]


def test_an_install_tells_the_lines_and_none_of_them_can_make_it_fail(
    store: Store, portal: FakePortal, connector: Connector
) -> None:
    connector.install(CLAIM)
    for line in (LINE, 12):
        store.portal.connect_line(line, NOW)
    moved = made(store, portal, public_url=MOVED)
    portal.errors["set_connector_data"] = SetupFault("ERROR_METHOD_NOT_FOUND", "data.set")

    moved.install(CLAIM)

    assert len(portal.calls("set_connector_data")) == 2, "one line's refusal stops no other"
    portal.asked.clear()
    portal.errors["set_connector_data"] = TryLater("NOT_CONNECTED", "data.set")
    moved.install(CLAIM)
    moved.check()
    assert len(portal.calls("set_connector_data")) == 2


def test_a_line_that_has_just_been_connected_is_not_told_twice(
    store: Store, portal: FakePortal, connector: Connector
) -> None:
    connector.install(CLAIM)
    store.portal.connect_line(LINE, NOW)
    portal.inactive = {LINE}

    connector.check()

    assert len(portal.calls("set_connector_data")) == 1


def test_without_an_address_for_the_widget_no_line_is_told_any(
    store: Store, portal: FakePortal
) -> None:
    connector = made(store, portal, connector={"widget_uri": ""})
    store.portal.save(KNOWN)
    store.portal.connect_line(LINE, NOW)

    connector.check()

    assert portal.calls("set_connector_data") == []


# -- an uninstall


@pytest.fixture
def installed(store: Store, portal: FakePortal, connector: Connector) -> Connector:
    connector.install(CLAIM)
    for line in (LINE, 12):
        store.portal.connect_line(line, NOW)
    portal.bound.append(("ONIMCONNECTORMESSAGEADD", ELSEWHERE))
    portal.unregisters = True
    portal.inactive = {LINE, 12}  # as an unregistration leaves them
    return connector


def a_message(store: Store) -> Message:
    chat = Chat("chat" + "b" * 64, "Anna", "", "", "", None, NOW, NOW, None, None, None, None)
    message = VisitorMessage(chat, "hello")
    return store.messages.add_from_visitor(message, Limits("address", 100, 100), NOW)


def test_an_uninstall_takes_back_all_and_forgets_the_tokens(
    store: Store, portal: FakePortal, installed: Connector
) -> None:
    kept = a_message(store)

    assert installed.uninstall() == []

    assert portal.bound == [("ONIMCONNECTORMESSAGEADD", ELSEWHERE)]
    assert portal.calls("unregister") == [["example_connector_1"]]
    assert store.portal.find() is None
    assert store.portal.active_lines() == []
    for note in (store.notes.registered, store.notes.own_handlers, store.notes.told_lines,
                 store.notes.renewed_with, store.notes.renewed_at,
                 store.notes.kept_claim):  # fmt: skip
        assert note.get() is None, note.key
    assert store.chats.find(kept.chat_id) is not None, "conversations stay"
    with fault("not_installed", 409):
        installed.check_installed()


def test_lines_that_the_unregistration_left_on_are_switched_off(
    portal: FakePortal, installed: Connector
) -> None:
    portal.inactive = {12}

    assert installed.uninstall() == []

    assert portal.calls("activate") == [["example_connector_1", LINE, False]]


@pytest.mark.parametrize("known", [True, False])
def test_a_connector_without_a_line_is_connected_to_be_unregistered(
    store: Store, portal: FakePortal, connector: Connector, known: bool
) -> None:
    connector.install(CLAIM)
    if known:
        store.portal.connect_line(12, NOW)
        store.portal.disconnect_line(12)
    portal.unregisters = False

    def unregister(connector: str) -> bool:
        portal.asked.append(("unregister", connector))
        return bool(portal.calls("activate"))

    portal.unregister = unregister  # type: ignore[attr-defined]

    assert connector.uninstall() == []

    assert portal.calls("activate") == [["example_connector_1", 12 if known else 1, True]]


def test_a_connector_that_the_portal_does_not_know_is_gone(
    portal: FakePortal, installed: Connector
) -> None:
    portal.unregisters, portal.registered = False, {"livechat"}

    assert installed.uninstall() == []
    assert portal.calls("activate") == []


def test_what_the_portal_does_not_let_us_take_back_is_said(
    store: Store, portal: FakePortal, installed: Connector
) -> None:
    portal.unregisters, portal.inactive = False, {LINE}
    portal.errors["unbind_event"] = Refused("NO", "event.unbind")

    undone = installed.uninstall()

    assert undone == [Undone("events", "NO"),
                      Undone("connector", "APPLICATION_UNREGISTRATION_ERROR")]  # fmt: skip
    assert ["example_connector_1", 12, False] in portal.calls("activate")
    assert store.portal.find() is None
    assert store.notes.own_handlers.get() == [HANDLER], "a new install still unbinds it"


def test_a_portal_that_knows_our_token_no_more_is_asked_once(
    store: Store, portal: FakePortal, installed: Connector
) -> None:
    portal.asked.clear()
    portal.errors["bound_events"] = SetupFault("INVALID_TOKEN", "event.get")

    undone = installed.uninstall()

    assert [one.what for one in undone] == ["events", "connector", "line", "line"]
    assert {one.code for one in undone} == {"INVALID_TOKEN"}
    assert [name for name, *_ in portal.asked] == ["bound_events"]
    assert store.portal.find() is None


@pytest.mark.parametrize("erase", [False, True])
@pytest.mark.parametrize("method", ["bound_events", "unregister", "connector_status"])
def test_while_the_portal_cannot_be_asked_no_token_is_forgotten(
    store: Store, portal: FakePortal, installed: Connector, method: str, erase: bool
) -> None:
    """What is to be erased here is erased in any case: the portal has no part in it."""
    message = a_message(store)
    portal.errors[method] = TryLater("NOT_CONNECTED", "m")

    with fault("unreachable", 503):
        installed.uninstall(erase)

    assert store.portal.find() is not None
    assert (store.chats.find(message.chat_id) is None) == erase
    assert installed.uninstall() == []


def test_a_portal_that_is_gone_for_ever_is_not_asked(
    store: Store, portal: FakePortal, installed: Connector
) -> None:
    message = a_message(store)
    portal.asked.clear()

    undone = installed.uninstall(offline=True)

    assert [one.what for one in undone] == ["events", "connector", "line", "line"]
    assert portal.asked == []
    assert store.portal.find() is None
    assert store.chats.find(message.chat_id) is not None


def test_an_uninstall_may_erase_all_conversations_also_afterwards(
    store: Store, portal: FakePortal, installed: Connector
) -> None:
    message = a_message(store)
    with suppress(BitrixError):
        installed.uninstall()
    asked = len(portal.asked)

    assert installed.uninstall(erase=True) == []

    assert len(portal.asked) == asked, "there is no portal any more"
    assert store.chats.find(message.chat_id) is None
    assert store.chats.was_deleted(message.chat_id)
    assert not store.database.rows("select * from messages")
    assert not store.database.rows("select * from deliveries")


def test_an_uninstall_waits_for_an_install(
    store: Store, installed: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.connector.LOCK_SECONDS", 0.01)
    with store.database.try_lock("install") as held:
        assert held
        with fault("busy", 503):
            installed.uninstall()


def test_an_uninstall_waits_where_the_portal_takes_no_more_calls(
    store: Store, portal: FakePortal, installed: Connector
) -> None:
    rests: list[float] = []
    uninstall = Uninstall(settings(), store, installed._presence, rests.append)
    portal.errors["unregister"] = TryLater("QUERY_LIMIT_EXCEEDED", "imconnector.unregister")
    portal.errors["unbind_event"] = TryLater("HTTP_429", "event.unbind")

    assert uninstall.run(erase=False) == []

    assert rests == [2.0, 2.0]
    assert portal.bound == [("ONIMCONNECTORMESSAGEADD", ELSEWHERE)]


def test_an_uninstall_does_not_wait_for_ever(
    store: Store, portal: FakePortal, installed: Connector
) -> None:
    rests: list[float] = []

    def busy() -> None:
        raise TryLater("QUERY_LIMIT_EXCEEDED", "event.get")

    portal.bound_events = busy  # type: ignore[attr-defined]

    with pytest.raises(TryLater):
        Uninstall(settings(), store, installed._presence, rests.append).run(erase=True)

    assert 20 <= sum(rests) <= 60
    assert store.portal.find() is not None
