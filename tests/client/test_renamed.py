"""A redirect that says where a renamed portal is now, and all the others."""

import pytest
from client_parts import OLD, Keeper, Server, client, failure, page, result, said, send

from bitrix import Bitrix
from rest.errors import Cause, OutcomeUnknown, Reach, SetupFault
from rest.replies import TokenHome

PATH = "/rest/imconnector.send.messages.json"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("base", "location", "address"),
    [
        ("", f"https://new.example{PATH}", "https://new.example"),
        ("", f"HTTPS://New.Example:443{PATH}", "https://new.example"),
        ("", f"https://портал.рф{PATH}", "https://xn--80awhdgm.xn--p1ai"),
        ("/portal", f"https://new.example:8443/portal{PATH}", "https://new.example:8443/portal"),
        ("", f"http://localhost:1{PATH}", "http://localhost:1"),
        ("", f"http://127.0.0.1:1{PATH}", "http://127.0.0.1:1"),  # it has moved to another port
    ],
)
def test_a_redirect_to_the_same_path_elsewhere_names_the_new_address(
    portal: Server, status: int, base: str, location: str, address: str
) -> None:
    location = location.encode().decode("latin-1")  # headers are bytes
    portal.says(page(status, Location=location))

    error = failure(lambda: send(client(portal.url + base, portal.url, Keeper(OLD))))

    assert (type(error), error.code) == (SetupFault, "PORTAL_RENAMED")
    assert (error.reach, error.cause, error.address) == (Reach.PORTAL, Cause.RENAMED, address)
    assert len(portal.heard) == 1, "nobody follows it"


@pytest.mark.parametrize(
    "location",
    [
        "https://new.example/",
        "https://new.example/auth/?backurl=/rest/",
        "https://new.example/login",
        "https://new.example/rest/other.json",
        f"https://new.example/blocked{PATH}",
        f"https://new.example{PATH}?auth=x",
        f"https://user@new.example{PATH}",
        f"https://xn--a.example{PATH}",
        f"http://new.example{PATH}",  # without HTTPS
        f"https://127.0.0.1{PATH}",  # the same host, with HTTPS
        f"//new.example{PATH}",
        PATH,
        "/auth/",
    ],
)
def test_any_other_redirect_is_no_rename(bitrix: Bitrix, portal: Server, location: str) -> None:
    portal.says(page(302, Location=location))

    error = failure(lambda: send(bitrix))

    assert (type(error), error.code, error.address) == (SetupFault, "PORTAL_MOVED", "")
    assert len(portal.heard) == 1


def test_a_redirect_of_the_oauth_server_is_no_rename(
    portal: Server, oauth: Server, keeper: Keeper, bitrix: Bitrix
) -> None:
    keeper.grant = type(OLD)(OLD.access_token, OLD.refresh_token, 0.0)
    oauth.says(page(302, Location="https://new.example/oauth/token/"))

    assert failure(lambda: send(bitrix)).code == "PORTAL_MOVED"


APP = {
    "client_id": "local.1",
    "scope": "im, imconnector",
    "install": {"client_endpoint": "https://New.example/rest/", "member_id": "m", "status": "L"},
    "user_id": 1,
}


def test_the_oauth_server_says_where_the_portal_of_a_token_is(
    bitrix: Bitrix, portal: Server, oauth: Server
) -> None:
    oauth.says(result(APP))

    assert bitrix.home_of_token("foreign") == TokenHome("local.1", "m", "https://new.example")

    (request,) = oauth.heard
    assert (request.path, request.form) == ("/rest/app.info/", {"auth": "foreign"})
    assert portal.heard == []


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"client_id": "x"},
        {**APP, "install": []},
        {**APP, "install": {"client_endpoint": "http://new.example/rest/", "member_id": "m"}},
        {**APP, "install": {"client_endpoint": 5, "member_id": "m"}},
    ],
)
def test_another_answer_says_nothing(bitrix: Bitrix, oauth: Server, answer: object) -> None:
    oauth.says(result(answer))

    assert isinstance(failure(lambda: bitrix.home_of_token("foreign")), OutcomeUnknown)
    oauth.says(said({"no": "result"}))
    assert isinstance(failure(lambda: bitrix.home_of_token("foreign")), OutcomeUnknown)
