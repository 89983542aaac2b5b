"""Whose word moves the portal to another address, and for how long."""

from typing import Any

import pytest
from portal_parts import CLIENT, KNOWN, FakePortal

from portal.install_error import InstallError
from portal.place import end_former_agreement, portal_address
from portal.rename import TICKET_SECONDS, Rename
from rest.errors import BitrixError, SetupFault, TryLater
from rest.replies import TokenHome
from settings import Bitrix24Settings
from storage import Store
from store.records import NewAddress

OLD, NEW = "https://old.example", "https://new.example"
HOME = TokenHome(CLIENT, KNOWN.member_id, NEW)


class Renamed(FakePortal):
    home: TokenHome | BitrixError = HOME

    def home_of_token(self, access_token: str) -> TokenHome:
        self.asked.append(("home_of_token", access_token))
        if isinstance(self.home, BitrixError):
            raise self.home
        return self.home


@pytest.fixture
def portal() -> Renamed:
    return Renamed()


@pytest.fixture
def settings(store: Store) -> Bitrix24Settings:
    store.portal.save(KNOWN)
    return Bitrix24Settings(portal=OLD, client_id=CLIENT)


@pytest.fixture
def rename(settings: Bitrix24Settings, store: Store, portal: Renamed) -> Rename:
    return Rename(settings, store, portal)  # type: ignore[arg-type]


def refusal(call: Any, *values: str) -> str:
    with pytest.raises(InstallError) as caught:
        call(*values)
    return caught.value.key


def test_an_administrator_agrees_and_all_is_tried_at_the_new_address(
    rename: Rename, settings: Bitrix24Settings, store: Store, portal: Renamed
) -> None:
    ticket = rename.ticket(NEW, "token")
    assert portal.asked == [("home_of_token", "token"), ("is_administrator", "token", NEW)]
    assert portal_address(settings, store) == OLD, "nobody has agreed yet"

    assert rename.agree(ticket) == NEW

    assert portal_address(settings, store) == NEW
    assert store.notes.mended_at.get()
    assert store.notes.fault.get() is None


def test_another_setting_ends_the_agreement(
    rename: Rename, settings: Bitrix24Settings, store: Store
) -> None:
    rename.agree(rename.ticket(NEW, "token"))

    for setting in (NEW, "https://third.example"):
        assert portal_address(Bitrix24Settings(portal=setting), store) == setting
    assert portal_address(settings, store) == NEW


@pytest.mark.parametrize(
    "home",
    [
        TokenHome(CLIENT, "another member", NEW),  # a portal of somebody else
        TokenHome(CLIENT, "", NEW),
        TokenHome("local.other", KNOWN.member_id, NEW),  # another application of the portal
        TokenHome(CLIENT, KNOWN.member_id, OLD),  # the OAuth server knows of no new address
        TokenHome(CLIENT, KNOWN.member_id, f"{NEW}.evil.example"),
        SetupFault("INVALID_TOKEN", "oauth/app.info"),
        SetupFault("EXPIRED_TOKEN", "oauth/app.info"),
    ],
    ids=repr,
)
def test_an_address_that_the_oauth_server_does_not_confirm_gets_no_token(
    rename: Rename, portal: Renamed, home: TokenHome | BitrixError
) -> None:
    portal.home = home

    assert refusal(rename.ticket, NEW, "token") == "rename_not_confirmed"
    assert portal.asked == [("home_of_token", "token")]


def test_without_an_install_or_its_id_nothing_is_confirmed(
    rename: Rename, portal: Renamed, store: Store
) -> None:
    store.portal.forget()
    assert refusal(rename.ticket, NEW, "token") == "rename_not_confirmed"
    store.portal.save(type(KNOWN)(**vars(KNOWN) | {"member_id": ""}))
    portal.home = TokenHome(CLIENT, "", NEW)
    assert refusal(rename.ticket, NEW, "token") == "rename_not_confirmed"
    assert portal.calls("is_administrator") == []


def test_who_is_no_administrator_cannot_agree(rename: Rename, portal: Renamed) -> None:
    portal.administrator = False

    assert refusal(rename.ticket, NEW, "token") == "rename_not_admin"


@pytest.mark.parametrize(
    ("error", "key"),
    [
        (TryLater("NOT_CONNECTED", "oauth/app.info"), "unreachable"),
        (TryLater("CERTIFICATE_EXPIRED", "oauth/app.info"), "certificate_expired"),
    ],
)
def test_an_oauth_server_that_cannot_be_asked_is_named(
    rename: Rename, portal: Renamed, error: BitrixError, key: str
) -> None:
    portal.home = error

    with pytest.raises(InstallError) as caught:
        rename.ticket(NEW, "token")

    assert caught.value.key == key
    assert caught.value.values["portal"] == "https://oauth.bitrix24.tech"


def test_only_our_own_ticket_counts_and_once_and_not_for_long(
    rename: Rename,
    settings: Bitrix24Settings,
    store: Store,
    portal: Renamed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticket = rename.ticket(NEW, "token")
    payload, _, _ = ticket.rpartition(".")
    for forged in ("", "x", ticket[:-2], f"{payload}.AAAA", f"x{ticket}"):
        assert refusal(rename.agree, forged) == "rename_over"
    with monkeypatch.context() as later:
        now = __import__("time").time()
        later.setattr("itsdangerous.timed.time.time", lambda: now + TICKET_SECONDS + 1)
        assert refusal(rename.agree, ticket) == "rename_over"
    assert portal_address(settings, store) == OLD

    rename.agree(ticket)
    assert refusal(rename.agree, ticket) == "rename_over"
    store.notes.new_address.set(NewAddress("https://older.example", OLD))
    assert refusal(rename.agree, ticket) == "rename_over", "it was used"
    fresh = rename.ticket(NEW, "token")
    assert rename.agree(fresh) == NEW, "an agreement about another setting says nothing"


def test_a_ticket_is_not_good_again_when_the_portal_is_called_at_its_old_address_again(
    rename: Rename, settings: Bitrix24Settings, store: Store, portal: Renamed
) -> None:
    first = rename.ticket(NEW, "token")
    unused = rename.ticket(NEW, "another token")
    rename.agree(first)
    portal.home = TokenHome(CLIENT, KNOWN.member_id, OLD)
    rename.agree(rename.ticket(OLD, "token"))
    for ticket in (first, unused):
        assert refusal(rename.agree, ticket) == "rename_over"
    store.portal.forget()
    for ticket in (first, unused):
        assert refusal(rename.agree, ticket) == "rename_over"
    assert portal_address(settings, store) == OLD


@pytest.mark.parametrize(
    "error",
    [TryLater("NOT_CONNECTED", "profile"), TryLater("CERTIFICATE_EXPIRED", "profile")],
    ids=repr,
)
def test_a_fault_at_the_new_address_is_told_of_the_new_one(
    rename: Rename, portal: Renamed, error: BitrixError
) -> None:
    portal.errors["is_administrator"] = error

    with pytest.raises(InstallError) as caught:
        rename.ticket(NEW, "token")

    assert caught.value.values["portal"] == NEW


def test_an_agreement_ends_with_the_install_and_with_the_setting_for_good(
    rename: Rename, settings: Bitrix24Settings, store: Store
) -> None:
    rename.agree(rename.ticket(NEW, "token"))
    store.portal.forget()
    assert portal_address(settings, store) == OLD

    store.portal.save(KNOWN)
    rename.agree(rename.ticket(NEW, "token"))
    end_former_agreement(settings, store)
    assert portal_address(settings, store) == NEW, "the same setting"
    end_former_agreement(Bitrix24Settings(portal=NEW), store)
    assert portal_address(settings, store) == OLD


def test_a_portal_may_be_renamed_again(
    rename: Rename, settings: Bitrix24Settings, store: Store, portal: Renamed
) -> None:
    first = rename.ticket(NEW, "token")
    rename.agree(first)
    portal.home = TokenHome(CLIENT, KNOWN.member_id, "https://newer.example")

    rename.agree(rename.ticket("https://newer.example", "token"))

    assert portal_address(settings, store) == "https://newer.example"
    assert refusal(rename.agree, first) == "rename_over"
