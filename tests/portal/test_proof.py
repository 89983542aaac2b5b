"""Who is believed: an administrator by tokens, an event by its application token, and how often."""

import time
from dataclasses import replace
from typing import Any

import pytest
from portal_parts import CLAIM, CLIENT, KNOWN, NOW, FakePortal, event, fault, made, made_proof

from portal.connector import Connector
from portal.events import Event
from portal.install_error import InstallError
from portal.proof import Proof
from rest.errors import BitrixError, OutcomeUnknown, Refused, SetupFault, TryLater
from storage import Store
from store.database import StoreLocked
from store.records import TooMany


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


def test_while_the_store_can_only_be_read_an_administrator_is_proved_and_forgeries_are_limited(
    store: Store, portal: FakePortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has to mend it must be shown what is wrong."""
    store.portal.save(KNOWN)
    proof = made_proof(store, portal, limits={"failed_proofs_per_minute": 3})

    def held(*_: object) -> None:
        raise StoreLocked("database is locked")

    monkeypatch.setattr(type(store.limits), "count_hit", held)
    proof.prove("access", "member")
    portal.app = "another"
    for _ in range(2):
        with fault("wrong_application", 403):
            proof.prove("access", "member")

    with pytest.raises(TooMany):
        proof.prove("access", "member")


FAULTS = [
    (TryLater("QUERY_LIMIT_EXCEEDED", "m"), "portal_busy", 503),
    (TryLater("OPERATION_TIME_LIMIT", "m"), "portal_busy", 503),
    (TryLater("HTTP_429", "m"), "portal_busy", 503),
    (TryLater("NOT_CONNECTED", "m"), "unreachable", 503),
    (OutcomeUnknown("NO_REPLY", "m"), "server_slow", 503),
    (OutcomeUnknown("CONNECTION_LOST", "m"), "unreachable", 503),
    (OutcomeUnknown("HTTP_502", "m"), "server_error", 503),
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
