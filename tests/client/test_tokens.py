"""Tokens: renewed, stored and used, by many at once, and when answers are lost."""

import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from client_parts import (
    CLIENT_ID,
    CONNECTOR,
    EXPIRED,
    HANG_UP,
    NEW_PAIR,
    OLD,
    SECRET,
    SECRETS,
    SENT,
    Keeper,
    Reply,
    Request,
    Server,
    client,
    closed_port,
    failure,
    only_new_token,
    page,
    result,
    said,
    send,
)

import rest.transport
from bitrix import Bitrix
from rest.errors import BitrixError, OutcomeUnknown, SetupFault, TryLater
from rest.replies import (
    LONGEST_TOKEN_SECONDS,
    Grant,
    expiry,
    grant_from,
)


def test_an_expired_token_is_renewed_stored_and_then_used(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper
) -> None:
    def heard_by_portal(request: Request) -> Reply:
        keeper.order.append(f"called with {request.form['auth']}")
        return only_new_token(request)

    def heard_by_oauth(request: Request) -> Reply:
        keeper.order.append("renewed")
        return said(NEW_PAIR)

    portal.answer, oauth.answer = heard_by_portal, heard_by_oauth

    bitrix.activate(CONNECTOR, 7, True)

    assert keeper.order == [
        "called with old-access-token",
        "renewed",
        "saved new-access-token",
        "called with new-access-token",
    ]
    assert keeper.grant is not None
    assert keeper.grant.refresh_token == "new-refresh-token"
    assert keeper.grant.expires_at == pytest.approx(time.time() + 3600, abs=10)


def test_a_renewal_is_a_form_posted_to_the_oauth_server(
    bitrix: Bitrix, portal: Server, oauth: Server
) -> None:
    portal.answer = only_new_token

    bitrix.activate(CONNECTOR, 7, True)

    (request,) = oauth.heard
    assert request.path == "/oauth/token/"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.form == {
        "grant_type": "refresh_token",
        "client_id": CLIENT_ID,
        "client_secret": SECRET,
        "refresh_token": OLD.refresh_token,
    }


def test_a_token_is_renewed_once_however_many_need_it_at_once(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper
) -> None:
    threads = 8
    all_refused = threading.Barrier(threads)

    def refuse_all_then_take_the_new(request: Request) -> Reply:
        if request.form["auth"] == OLD.access_token:
            all_refused.wait(10)
        return only_new_token(request)

    portal.answer = refuse_all_then_take_the_new

    with ThreadPoolExecutor(threads) as pool:
        calls = [pool.submit(bitrix.activate, CONNECTOR, 7, True) for _ in range(threads)]
        for call in calls:
            call.result(20)

    assert len(oauth.heard) == 1
    assert keeper.order == ["saved new-access-token"]
    used = [request.form["auth"] for request in portal.heard]
    assert sorted(used) == ["new-access-token"] * threads + ["old-access-token"] * threads


def test_another_processs_new_pair_is_taken_instead_of_renewing(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper
) -> None:
    def renewed_meanwhile(request: Request) -> Reply:
        keeper.grant = Grant("new-access-token", "new-refresh-token", time.time() + 3600)
        return only_new_token(request)

    portal.answer = renewed_meanwhile

    bitrix.activate(CONNECTOR, 7, True)

    assert oauth.heard == []
    assert portal.heard[-1].form["auth"] == "new-access-token"


def test_a_pair_that_was_stored_during_a_renewal_is_used_and_kept(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our process hung in the renewal; another one has renewed, or somebody has installed anew."""
    later = Grant("later-access-token", "later-refresh-token", time.time() + 3600)

    def is_late(old: Grant, new: Grant) -> bool:
        keeper.grant = later
        return False

    monkeypatch.setattr(keeper, "save", is_late)
    keeper.grant = Grant(OLD.access_token, OLD.refresh_token, 0.0)

    bitrix.activate(CONNECTOR, 7, True)

    assert [request.form["auth"] for request in portal.heard] == ["later-access-token"]
    assert keeper.grant == later


@pytest.mark.parametrize(
    ("seconds_left", "renewed"), [(-3600, True), (0, True), (30, True), (120, False)]
)
def test_a_token_that_is_about_to_end_is_renewed_before_it_is_used(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper, seconds_left: int, renewed: bool
) -> None:
    keeper.grant = Grant(OLD.access_token, OLD.refresh_token, time.time() + seconds_left)

    bitrix.activate(CONNECTOR, 7, True)

    assert len(oauth.heard) == renewed
    token = "new-access-token" if renewed else OLD.access_token
    assert [request.form["auth"] for request in portal.heard] == [token]


def test_a_new_token_that_is_refused_too_is_not_renewed_again(
    bitrix: Bitrix, portal: Server, oauth: Server
) -> None:
    portal.says(said(EXPIRED, 401))

    error = failure(lambda: bitrix.activate(CONNECTOR, 7, True))

    assert isinstance(error, SetupFault)
    assert (len(portal.heard), len(oauth.heard)) == (2, 1)


def test_what_fails_after_a_renewal_is_told_as_ever(
    bitrix: Bitrix, portal: Server, oauth: Server
) -> None:
    portal.says(said(EXPIRED, 401), HANG_UP)

    assert isinstance(failure(lambda: send(bitrix)), OutcomeUnknown)
    assert len(portal.heard) == 2


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (said({"error": "invalid_grant"}, 400), SetupFault),
        (said({"error": "wrong_client"}, 400), SetupFault),
        (said({"error": "invalid_client"}, 401), SetupFault),
        (said({"error": "NOT_INSTALLED"}, 400), SetupFault),
        (said({"error": "PAYMENT_REQUIRED"}, 402), SetupFault),
        (said({"error": "PORTAL_DELETED"}, 403), SetupFault),
        (page(302, Location="https://elsewhere.example/"), SetupFault),
    ],
)
def test_a_renewal_that_fails_leaves_the_pair_and_does_not_call(
    bitrix: Bitrix,
    portal: Server,
    oauth: Server,
    keeper: Keeper,
    reply: Reply,
    kind: type[BitrixError],
) -> None:
    keeper.grant = before = Grant(OLD.access_token, OLD.refresh_token, 0.0)
    oauth.says(reply)

    error = failure(lambda: send(bitrix))

    assert type(error) is kind
    assert keeper.grant is before
    assert portal.heard == []
    assert len(oauth.heard) == 1
    assert not any(secret in str(error) for secret in SECRETS)


LOST = [
    page(502), page(200), HANG_UP, said({}), said([]),
    said(NEW_PAIR | {"access_token": ""}), said({"access_token": "new-access-token"}),
]  # fmt: skip
VOID = said({"error": "invalid_grant"}, 400)


@pytest.mark.parametrize("lost", LOST)
def test_a_renewal_whose_answer_is_lost_is_tried_once_more_at_once(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper, lost: Reply
) -> None:
    keeper.grant = Grant(OLD.access_token, OLD.refresh_token, 0.0)
    portal.says(result(SENT))
    oauth.says(lost, said(NEW_PAIR))

    send(bitrix)

    assert [request.form["refresh_token"] for request in oauth.heard] == [OLD.refresh_token] * 2
    assert portal.heard[0].form["auth"] == "new-access-token"
    assert keeper.order == ["saved new-access-token"]


@pytest.mark.parametrize("lost", LOST)
def test_a_renewal_whose_answers_are_all_lost_leaves_the_pair_for_later(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper, lost: Reply
) -> None:
    keeper.grant = before = Grant(OLD.access_token, OLD.refresh_token, 0.0)
    oauth.says(lost)

    assert type(failure(lambda: send(bitrix))) is TryLater
    assert keeper.grant is before
    assert portal.heard == []
    assert len(oauth.heard) == 2


@pytest.mark.parametrize("dies", [False, True])
def test_a_lost_pair_is_said_to_be_lost_and_how_to_mend_it_is_logged_once(
    portal: Server, oauth: Server, keeper: Keeper, caplog: pytest.LogCaptureFixture, dies: bool
) -> None:
    """Our process may have died between the answer and our note of it, too."""
    keeper.grant = Grant(OLD.access_token, OLD.refresh_token, 0.0)
    if dies:
        keeper.sent = OLD.refresh_token
    else:
        oauth.says(HANG_UP, VOID)
    bitrix = client(portal.url, oauth.url, keeper)
    if dies:
        oauth.says(VOID)

    errors = [failure(lambda: send(bitrix)) for _ in range(3)]

    assert {(type(error), error.code) for error in errors} == {(SetupFault, "RENEWAL_LOST")}
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    assert "reinstalls" in caplog.text
    assert not any(secret in caplog.text for secret in SECRETS)


def test_a_pair_that_is_refused_without_a_lost_answer_is_not_said_to_be_lost(
    bitrix: Bitrix, oauth: Server, keeper: Keeper
) -> None:
    keeper.grant = Grant(OLD.access_token, OLD.refresh_token, 0.0)
    oauth.says(VOID)

    for _ in range(2):
        assert failure(lambda: send(bitrix)).code == "INVALID_GRANT"


@pytest.mark.parametrize("reply", [HANG_UP, said({"error": "wrong_client"}, 400), page(404)])
def test_while_the_old_token_is_good_a_renewal_that_fails_holds_nothing_up(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper, reply: Reply
) -> None:
    keeper.grant = Grant(OLD.access_token, OLD.refresh_token, time.time() + 30)
    portal.says(result(SENT))
    oauth.says(reply)

    send(bitrix)
    asked = len(oauth.heard)
    send(bitrix)

    assert [request.form["auth"] for request in portal.heard] == [OLD.access_token] * 2
    assert len(oauth.heard) == asked, "it is not tried again before each call"


def test_an_old_token_that_a_lost_renewal_has_ended_is_no_other_fault(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper
) -> None:
    keeper.grant = Grant(OLD.access_token, OLD.refresh_token, time.time() + 30)
    portal.says(said({"error": "invalid_token"}, 401))
    oauth.says(HANG_UP, HANG_UP, VOID)

    assert failure(lambda: send(bitrix)).code == "RENEWAL_LOST"


def test_while_the_oauth_server_cannot_be_reached_the_call_is_for_later(
    portal: Server, keeper: Keeper
) -> None:
    portal.says(said(EXPIRED, 401))
    bitrix = client(portal.url, closed_port(), keeper)

    assert type(failure(lambda: send(bitrix))) is TryLater
    assert keeper.grant is OLD


def test_without_tokens_nothing_is_called(portal: Server, oauth: Server) -> None:
    bitrix = client(portal.url, oauth.url, Keeper(None))

    error = failure(lambda: send(bitrix))

    assert (type(error), error.code) == (SetupFault, "NOT_INSTALLED")
    assert portal.heard == oauth.heard == []


def test_a_foreign_token_is_shown_to_our_portal_and_never_renewed_or_kept(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper
) -> None:
    portal.says(said(EXPIRED, 401))

    assert isinstance(failure(lambda: bitrix.app_of_token("foreign-access-token")), SetupFault)

    assert [request.form["auth"] for request in portal.heard] == ["foreign-access-token"]
    assert oauth.heard == []
    assert keeper.grant is OLD


@pytest.mark.parametrize(
    "seconds", [None, "", "soon", 10**9, "8000000000", float("inf"), 3601, True, [], {}]
)
def test_no_token_is_believed_to_last_over_an_hour(seconds: object) -> None:
    assert expiry(seconds) <= time.time() + LONGEST_TOKEN_SECONDS


@pytest.mark.parametrize(
    ("seconds", "lifetime"), [(3600, 3600), ("3600", 3600), (60, 60), (0, 0), (-5, 0)]
)
def test_a_token_ends_when_the_server_says(seconds: object, lifetime: float) -> None:
    assert expiry(seconds) == pytest.approx(time.time() + lifetime, abs=5)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"access_token": "a"},
        {"refresh_token": "r"},
        {"access_token": "", "refresh_token": "r"},
        {"access_token": "a", "refresh_token": None},
        {"access_token": {"0": "a"}, "refresh_token": "r"},
    ],
)
def test_half_a_pair_of_tokens_is_none(values: dict[str, Any]) -> None:
    assert grant_from(values) is None


def test_a_new_pair_that_came_while_our_process_stood_still_is_kept(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it wakes, the time is over and the answer is there; no other call takes it then."""
    receive = socket.socket.recv_into

    def wakes_late(connection: socket.socket, *args: Any) -> int:
        if connection.gettimeout():
            select.select([connection], [], [], 10)
            raise TimeoutError
        return receive(connection, *args)

    monkeypatch.setattr(socket.socket, "recv_into", wakes_late)
    keeper.grant = replace(OLD, expires_at=0.0)

    error = failure(lambda: bitrix.activate(CONNECTOR, 7, True))

    assert (type(error), error.method) == (OutcomeUnknown, "imconnector.activate")
    assert keeper.order == ["saved new-access-token"]
    assert len(oauth.heard) == 1


def test_of_a_renewal_without_an_answer_nobody_waits_for_longer(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest.transport, "OAUTH_SECONDS", 0.1)
    done = threading.Event()

    def hangs(request: Request) -> Reply:
        done.wait(10)
        return said(NEW_PAIR)

    oauth.answer = hangs
    keeper.grant = replace(OLD, expires_at=0.0)
    began = time.monotonic()

    error = failure(lambda: bitrix.activate(CONNECTOR, 7, True))
    took = time.monotonic() - began
    done.set()

    assert (type(error), error.code) == (TryLater, "NO_REPLY")
    assert took < 5
