"""No secret in a log, an error or an address."""

import logging

import pytest
from client_parts import (
    CONNECTOR,
    EXPIRED,
    HANG_UP,
    OLD,
    SECRET,
    SECRETS,
    SENT,
    Keeper,
    Reply,
    Server,
    client,
    closed_port,
    failure,
    only_new_token,
    page,
    refused,
    result,
    said,
    send,
)

from bitrix import Bitrix
from rest.errors import BitrixError
from rest.replies import (
    Grant,
)


@pytest.mark.parametrize(
    "reply",
    [
        result(SENT),
        said(refused("ERROR_ARGUMENT"), 400),
        said(EXPIRED, 401),
        page(502),
        page(302, Location="https://renamed.example/"),
        HANG_UP,
    ],
)
def test_tokens_and_secret_are_in_bodies_only(
    bitrix: Bitrix,
    portal: Server,
    oauth: Server,
    caplog: pytest.LogCaptureFixture,
    reply: Reply,
) -> None:
    caplog.set_level(logging.DEBUG)
    portal.says(said(EXPIRED, 401), reply)
    told = ""
    try:
        send(bitrix)
    except BitrixError as error:
        told = f"{error} {error!r} {error.__cause__!r} {error.description}"

    assert (len(portal.heard), len(oauth.heard)) == (2, 1)
    for request in portal.heard + oauth.heard:
        for text in (request.path, *request.headers.values()):
            assert not any(secret in text for secret in SECRETS)
    for secret in SECRETS:
        assert secret not in told
        assert secret not in caplog.text


def test_no_one_but_the_oauth_server_sees_the_secret_and_the_refresh_token(
    bitrix: Bitrix, portal: Server
) -> None:
    portal.answer = only_new_token

    bitrix.activate(CONNECTOR, 7, True)

    for request in portal.heard:
        for secret in (SECRET, OLD.refresh_token, "new-refresh-token"):
            assert secret.encode() not in request.body


def test_an_unreachable_portal_gives_no_secret_away(oauth: Server, keeper: Keeper) -> None:
    keeper.grant = Grant(OLD.access_token, OLD.refresh_token, 0.0)

    for bitrix in (client(closed_port(), oauth.url, keeper), client("", closed_port(), keeper)):
        error = failure(lambda bitrix=bitrix: send(bitrix))  # type: ignore[misc]
        assert not any(secret in f"{error} {error!r}" for secret in SECRETS)
        assert error.__cause__ is None
        assert error.__suppress_context__


def test_a_grant_shows_no_token() -> None:
    for picture in (repr(OLD), str(OLD), f"{[OLD]}"):
        assert "Grant" in picture
        assert not any(secret in picture for secret in SECRETS)


def test_a_proxy_of_whoever_started_us_does_not_see_our_tokens(
    bitrix: Bitrix, portal: Server, oauth: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, oauth.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    bitrix.activate(CONNECTOR, 7, True)

    assert portal.methods() == ["imconnector.activate"]
    assert oauth.heard == []
