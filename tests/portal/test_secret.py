"""The client secret is tried at the install and after a change, not found wrong an hour later."""

import time
from dataclasses import replace

import pytest
from portal_parts import CLAIM, CLIENT, KNOWN, NOW, FakePortal, fault, made, settings

from portal.connector import EVENTS, Connector
from portal.install_error import InstallError
from portal.tokens import StoredTokens, client_digest
from rest.errors import OAUTH, RENEWAL_LOST, BitrixError, OutcomeUnknown, SetupFault, TryLater
from rest.replies import Grant
from storage import Store
from store.records import ReportedFault

SECOND = Grant("second-access", "second-refresh", NOW + 7200)


class RenewingPortal(FakePortal):
    """Renews as the REST client does: the new pair is stored, and its refresh token works once."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._tokens = StoredTokens(store, settings().bitrix24)

    def renew(self) -> None:
        self.asked.append(("renew",))
        if "renew" in self.errors:
            raise self.errors.pop("renew")
        kept = self._tokens.load()
        assert kept is not None
        self._tokens.save(kept, SECOND)


def tokens(store: Store) -> tuple[str, str]:
    kept = store.portal.find()
    assert kept is not None
    return kept.access_token, kept.refresh_token


def refused(code: str) -> SetupFault:
    return SetupFault(code, OAUTH)


def test_an_install_renews_the_pair_that_it_was_given(store: Store) -> None:
    portal = RenewingPortal(store)
    connector = made(store, portal)

    connector.install(CLAIM)

    assert len(portal.calls("renew")) == 1
    assert tokens(store) == ("second-access", "second-refresh")
    assert store.notes.renewed_with.get() == client_digest(settings().bitrix24)
    assert time.time() - (store.notes.renewed_at.get() or 0.0) < 60


@pytest.mark.parametrize("code", ["WRONG_CLIENT", "INVALID_CLIENT"])
def test_a_wrong_secret_is_found_at_the_install(
    store: Store, portal: FakePortal, connector: Connector, code: str
) -> None:
    portal.errors["renew"] = refused(code)

    with fault("wrong_secret", 503) as raised:
        connector.install(CLAIM)

    assert raised.value.values == {"code": code}
    assert portal.calls("register") == []
    assert portal.bound == []
    assert store.notes.refused_renewal.get() == ReportedFault(OAUTH, code)
    assert tokens(store) == ("new-access", "new-refresh"), "another secret can still use them"


def test_a_check_while_the_secret_is_wrong_does_not_say_that_all_is_well(store: Store) -> None:
    portal = RenewingPortal(store)
    connector = made(store, portal)
    portal.errors["renew"] = refused("INVALID_CLIENT")
    with pytest.raises(InstallError):
        connector.install(CLAIM)
    portal.errors["renew"] = refused("INVALID_CLIENT")

    assert connector.check() is True, "only a new secret helps, which comes with a restart"

    assert len(portal.bound) == len(EVENTS), "the token is good for an hour"
    assert store.notes.refused_renewal.get() is not None
    connector.check()
    assert store.notes.refused_renewal.get() is None


@pytest.mark.parametrize(
    "error",
    [
        TryLater("NOT_CONNECTED", OAUTH),
        TryLater("NO_REPLY", OAUTH),
        SetupFault("HTTP_404", OAUTH),
        SetupFault("INVALID_GRANT", OAUTH),
        OutcomeUnknown("STRANGE_ANSWER", OAUTH),
    ],
)
def test_an_oauth_server_that_says_something_else_fails_no_install(
    store: Store, portal: FakePortal, connector: Connector, error: BitrixError
) -> None:
    portal.errors["renew"] = error

    connector.install(CLAIM)

    assert len(portal.bound) == len(EVENTS)
    assert store.notes.refused_renewal.get() == ReportedFault(OAUTH, error.code)
    assert store.notes.renewed_with.get() is None, "so the next check tries it"


def test_a_pair_that_was_lost_on_the_way_fails_the_install(
    portal: FakePortal, connector: Connector
) -> None:
    portal.errors["renew"] = refused(RENEWAL_LOST)

    with fault("renewal_lost", 502):
        connector.install(CLAIM)


def test_another_secret_is_tried_once_at_the_next_check(store: Store) -> None:
    portal = RenewingPortal(store)
    made(store, portal).install(CLAIM)
    store.notes.renewed_with.set("another")

    for _ in range(3):
        assert made(store, portal).check() is True

    assert len(portal.calls("renew")) == 2


def test_a_secret_that_cannot_be_tried_is_tried_again_soon_and_the_rest_is_checked(
    store: Store,
) -> None:
    portal = RenewingPortal(store)
    connector = made(store, portal)
    store.portal.save(KNOWN)
    portal.errors["renew"] = TryLater("NOT_CONNECTED", OAUTH)

    assert connector.check() is False
    assert len(portal.bound) == len(EVENTS)
    assert store.notes.is_unfinished.get() is False

    assert connector.check() is True
    assert connector.check() is True
    assert len(portal.calls("renew")) == 2


# -- a claim that comes again


def test_a_page_that_is_sent_again_is_proved_by_the_tokens_that_its_own_became(
    store: Store,
) -> None:
    portal = RenewingPortal(store)
    connector = made(store, portal)
    connector.install(CLAIM)
    portal.asked.clear()

    connector.install(CLAIM)

    assert portal.calls("app_of_token") == [["second-access"]]
    assert tokens(store) == ("second-access", "second-refresh")


@pytest.mark.parametrize(
    "other",
    [
        replace(CLAIM, application_token="forged"),
        replace(CLAIM, grant=replace(CLAIM.grant, access_token="another")),
        replace(CLAIM, grant=replace(CLAIM.grant, refresh_token="another")),
    ],
)
def test_whatever_else_is_sent_is_proved_by_its_own_token(store: Store, other: object) -> None:
    portal = RenewingPortal(store)
    connector = made(store, portal)
    connector.install(CLAIM)
    portal.asked.clear()

    connector.install(other)  # type: ignore[arg-type]

    assert portal.calls("app_of_token") != [["second-access"]]


def test_after_an_hour_or_an_uninstall_a_page_is_proved_by_its_own_token(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal = RenewingPortal(store)
    connector = made(store, portal)
    connector.install(CLAIM)
    now = time.time()
    with monkeypatch.context() as patched:
        patched.setattr("time.time", lambda: now + 3700)
        portal.asked.clear()
        connector.install(CLAIM)
        assert portal.calls("app_of_token") == [["new-access"]]
    store.portal.forget()
    portal.asked.clear()

    connector.install(CLAIM)

    assert portal.calls("app_of_token") == [["new-access"]]


def test_a_pair_that_was_used_before_does_not_take_the_place_of_one_that_lives(
    store: Store,
) -> None:
    portal = RenewingPortal(store)
    connector = made(store, portal)
    store.portal.save(KNOWN)
    portal.errors["renew"] = refused("INVALID_GRANT")

    connector.install(CLAIM)

    assert tokens(store) == (KNOWN.access_token, KNOWN.refresh_token)
    assert store.notes.refused_renewal.get() is None


def test_another_portals_pair_is_never_taken_back(store: Store) -> None:
    portal = RenewingPortal(store)
    store.portal.save(replace(KNOWN, member_id="another portal"))
    portal.errors["renew"] = refused("INVALID_GRANT")

    made(store, portal).install(CLAIM)

    assert tokens(store) == ("new-access", "new-refresh")


def test_the_digest_tells_secrets_apart_and_none_of_them(store: Store) -> None:
    ours = settings().bitrix24
    others = [
        settings(bitrix24={"portal": "https://b24.example", "client_id": one, "client_secret": two})
        for one, two in ((CLIENT, "other"), ("local.other", "s"))
    ]
    digests = {client_digest(one.bitrix24) for one in others} | {client_digest(ours)}
    assert len(digests) == 3
    store.portal.save(KNOWN)
    known = StoredTokens(store).load()
    assert known is not None
    assert StoredTokens(store).save(known, SECOND)
    assert store.notes.renewed_with.get() is None, "nobody said with which secret"
