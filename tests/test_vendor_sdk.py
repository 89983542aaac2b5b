"""The vendor's own SDK at work with the sandbox: a client that nobody here wrote.

It installs, connects, sends, answers, confirms and renews its tokens. What its typed objects cannot
read shows that the sandbox is not as the portal. It speaks HTTPS to hosts of its own choice, so the
two places where it makes addresses are turned to the sandbox; nothing else of it is changed.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from b24pysdk import Config
from b24pysdk.api.callers.call_method import _MethodCaller
from b24pysdk.api.requesters import BitrixOAuthRequester
from b24pysdk.credentials import BitrixApp, BitrixToken, OAuthEventData, OAuthPlacementData
from b24pysdk.errors import BitrixAPIError
from sandbox_parts import ICON, Bitrix, bitrix, eventually, fresh, items, running

__all__ = ["bitrix", "fresh", "running"]  # fixtures

CONNECTOR, LINE = "sdk", 7
APP = BitrixApp(client_id="local.sandbox", client_secret="sandbox-secret")


@pytest.fixture
def sdk(fresh: Bitrix, monkeypatch: pytest.MonkeyPatch) -> Bitrix:
    """A new portal, to which the SDK's addresses lead."""

    def portal_address(self: Any) -> str:
        return f"http://{self._domain}/rest"

    monkeypatch.setattr(_MethodCaller, "_base_url", property(portal_address))
    token, app_info = f"{fresh.oauth}/oauth/token/", f"{fresh.oauth}/rest/app.info/"
    monkeypatch.setattr(BitrixOAuthRequester, "_OAUTH_TOKEN_URL", token)
    monkeypatch.setattr(BitrixOAuthRequester, "_APP_INFO_URL", app_info)
    monkeypatch.setattr(Config(), "default_max_retries", 1)
    return fresh


def opened_page(portal: Bitrix) -> OAuthPlacementData:
    """What the portal posted when it last opened a page of the application."""
    address, fields = portal.app.posts[-1]
    return OAuthPlacementData.from_dict(dict(parse_qsl(urlsplit(address).query)) | fields)


def install(portal: Bitrix) -> tuple[BitrixToken, Any]:
    """Install the application; returns its token, and the client that uses it."""
    portal.do("install")
    token = BitrixToken.from_oauth_placement_data(opened_page(portal), APP)
    client = token.get_client()
    handler = f"{portal.app.url}/handler"
    registered = client.imconnector.register(CONNECTOR, "SDK", ICON, handler).result
    assert registered == {"result": True}
    for event in ("OnImConnectorMessageAdd", "OnImConnectorMessageDelete"):
        assert client.event.bind(event, handler).result is True
    return token, client


def connect(portal: Bitrix, client: Any) -> OAuthPlacementData:
    portal.do("connect", line=LINE)
    page = opened_page(portal)
    line = page.placement_options["LINE"]
    assert client.imconnector.activate(CONNECTOR, line, True).result is True
    assert client.imconnector.connector.data.set(CONNECTOR, line, {"ID": "x"}).result is True
    return page


def test_it_installs_connects_sends_is_answered_and_confirms(sdk: Bitrix) -> None:
    _, client = install(sdk)
    page = connect(sdk, client)
    assert (page.placement, page.placement_options["CONNECTOR"]) == ("SETTING_CONNECTOR", CONNECTOR)
    assert client.imconnector.status(CONNECTOR, line=LINE).result["STATUS"] is True

    sent = client.imconnector.send.messages(CONNECTOR, LINE, items("Hello")["MESSAGES"]).result
    (stored,) = sent["DATA"]["RESULT"]
    number = sdk.answer("Good morning", user_id=18)
    fields = eventually(lambda: sdk.app.events("ONIMCONNECTORMESSAGEADD"))[0]
    event = OAuthEventData.from_dict(fields)
    assert event.data is not None
    (answer,) = event.data["MESSAGES"]
    confirmation = {"im": answer["im"], "message": {"id": ["out-1"]}, "chat": answer["chat"]}
    done = client.imconnector.send.status.delivery(CONNECTOR, LINE, [confirmation]).result

    assert stored["SUCCESS"] is True
    assert answer["message"]["text"] == "[b]Ivan Smirnov:[/b] [br]Good morning"
    assert done["SUCCESS"] is True
    dialog = client.im.dialog.messages.get(f"chat{stored['session']['CHAT_ID']}").result
    newest = dialog["messages"][0]
    assert (newest["id"], newest["params"]["CONNECTOR_MID"]) == (number, ["out-1"])
    assert sdk.state()["spec_violations"] == []


def test_it_reads_who_the_application_and_its_people_are(sdk: Bitrix) -> None:
    sdk.trouble(scope="imopenlines,imconnector,im,user,placement,disk")
    token, client = install(sdk)
    page = opened_page(sdk)

    portal, server = client.app.info().value, token.get_app_info().result

    assert (portal.code, portal.installed) == ("local.sandbox", True)
    assert (server.client_id, server.user_id) == ("local.sandbox", 1)
    assert server.install.member_id == page.member_id
    assert page.validate_against_app_info(server)
    assert abs(server.expires - datetime.now(UTC)) < timedelta(hours=1, seconds=5)
    assert client.profile().value.admin is True
    assert abs(client.server.time().value - datetime.now(UTC)) < timedelta(seconds=5)
    assert client.feature.get("rest_offline_extended").value.value is True
    users = client.user.get(filter={"ID": [1, 18]})
    assert (users.response.total, [user["NAME"] for user in users.result]) == (2, ["Olga", "Ivan"])
    assert [bound.event for bound in client.event.get().values] == [
        "ONIMCONNECTORMESSAGEADD",
        "ONIMCONNECTORMESSAGEDELETE",
    ]


def test_its_tokens_are_renewed_at_the_oauth_server(sdk: Bitrix) -> None:
    token, client = install(sdk)
    first = token.auth_token
    sdk.do("expire-tokens")

    assert client.imconnector.list().result[CONNECTOR] == "SDK"

    assert token.auth_token != first
    assert sdk.state()["tokens"]["refreshes"] == 1
    renewed = token.refresh_oauth_token()
    assert renewed.domain == sdk.oauth.partition("://")[2]
    assert [scope.strip() for scope in renewed.scope][:2] == ["imopenlines", "imconnector"]
    assert renewed.oauth_token.expires_in == 3600


def test_it_understands_a_refusal_and_a_batch(sdk: Bitrix) -> None:
    _, client = install(sdk)

    with pytest.raises(BitrixAPIError) as refused:
        client.event.bind("OnNothing", "https://a.b/").result  # noqa: B018
    assert "ERROR_EVENT_NOT_FOUND" in str(refused.value.json_response)
    answers = client.call_batch({"me": client.profile(), "users": client.user.get()})
    assert answers.result.result_total["users"] == 3
