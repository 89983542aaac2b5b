"""The thin Bitrix24 REST client: one method a call, each answer read or named strange.

Who is called and with which tokens is said in rest/transport.py, what goes over the wire in
rest/http.py; what only reads stands in rest/examination.py and rest/dialogs.py. Knows nothing of
the store's tables or of Flask.
"""

from collections.abc import Callable
from typing import Any

from rest.calls import read_result
from rest.dialogs import DIALOGS_A_CALL, PAGE, Dialogs
from rest.errors import (
    OAUTH_APP_INFO,
    STRANGE_ANSWER,
    Cause,
    OutcomeUnknown,
    Refused,
    TryLater,
)
from rest.examination import AppInfo, Examination, Examining, Line
from rest.php import number, truth, words
from rest.replies import ItemResult, TokenHome, expect_true, item_results, token_home
from rest.transport import ANSWER_SECONDS, Tokens, Transport
from settings import Bitrix24Settings

NOT_UNREGISTERED = "APPLICATION_UNREGISTRATION_ERROR"
__all__ = ["DIALOGS_A_CALL", "PAGE", "AppInfo", "Bitrix", "Examination", "Line"]


class Bitrix(Examining, Dialogs):
    """Calls one portal as one application."""

    def __init__(
        self,
        settings: Bitrix24Settings,
        tokens: Tokens,
        send_seconds: float,
        portal: Callable[[], str] | None = None,
    ) -> None:
        """`portal` gives the address that is called, if it is not that of the settings."""
        self._send_seconds = send_seconds
        super().__init__(Transport(settings, tokens, portal))

    # -- the methods of the connector

    def register(self, connector: str, name: str, icons: tuple[str, str], handler: str) -> None:
        """`imconnector.register`: make or update our connector. `icons` are data: URIs.

        A failure comes as HTTP 200 with `result.result` false (bitrix24.md section 6).
        """
        icon = {"COLOR": "#a6ffa3", "SIZE": "100%", "POSITION": "center"}
        self._call(
            "imconnector.register",
            {
                "ID": connector,
                "NAME": name,
                "ICON": {"DATA_IMAGE": icons[0], **icon},
                "ICON_DISABLED": {"DATA_IMAGE": icons[1], **icon, "COLOR": "#ffb3a3"},
                "PLACEMENT_HANDLER": handler,
            },
            expect_true("imconnector.register"),
        )

    def unregister(self, connector: str) -> bool:
        """`imconnector.unregister`: whether the portal had our connector and has forgotten it.

        It answers false for an unknown id, and if no line is connected (bitrix24.md 6.11, 6.15).
        """
        method = "imconnector.unregister"

        def forgotten(result: Any) -> bool:
            done = result.get("result") if isinstance(result, dict) else result
            return truth(done)

        try:
            return self._call(method, {"ID": connector}, forgotten)
        except Refused as error:  # as other builds say it
            if error.code != NOT_UNREGISTERED:
                raise
            return False

    def activate(self, connector: str, line: int, active: bool) -> None:
        """`imconnector.activate`. ACTIVE is 1 or 0: the text "False" would switch it on.

        To switch off what was off already is no fault, though older builds answer `false`.
        """
        method = "imconnector.activate"
        params = {"CONNECTOR": connector, "LINE": line, "ACTIVE": int(active)}

        def done(result: Any) -> None:
            if active or result is not False:
                expect_true(method)(result)

        self._call(method, params, done)

    def set_connector_data(self, connector: str, line: int, url_im: str, name: str) -> None:
        """`imconnector.connector.data.set`: the link to the chat that the widget shows."""
        method = "imconnector.connector.data.set"
        data = {"id": f"{connector}line{line}", "url_im": url_im, "name": name}
        params = {"CONNECTOR": connector, "LINE": line, "DATA": data}
        self._call(method, params, expect_true(method))

    def read_time(self) -> None:
        """`server.time`: asks whether the portal answers, and changes nothing there."""
        self._call("server.time", {}, lambda result: None)

    def send_messages(
        self, connector: str, line: int, messages: list[dict[str, Any]]
    ) -> list[ItemResult]:
        """`imconnector.send.messages`: one result for each item, in the same order.

        Raises OutcomeUnknown if the answer has fewer or more results, or none that can be
        understood: some may be stored.
        """
        method = "imconnector.send.messages"

        def results(result: Any) -> list[ItemResult]:
            if isinstance(result, dict) and result.get("SUCCESS") is False:
                # Builds before NOT_ACTIVE_LINE answer so for an inactive line.
                raise Refused("NOT_ACTIVE_LINE", method)
            items = item_results(result["DATA"]["RESULT"])
            if len(items) != len(messages) or not any(item.understood for item in items):
                raise OutcomeUnknown(STRANGE_ANSWER, method)
            return items

        params = {"CONNECTOR": connector, "LINE": line, "MESSAGES": messages}
        return self._call(method, params, results, timeout=self._send_seconds)

    def confirm_delivery(self, connector: str, line: int, messages: list[dict[str, Any]]) -> None:
        """`imconnector.send.status.delivery`; repeating is harmless, the first call wins."""
        method = "imconnector.send.status.delivery"

        def done(result: Any) -> None:
            if isinstance(result, dict) and result.get("SUCCESS") is False:
                raise TryLater("NOT_DONE", method)
            if not (isinstance(result, dict | list) or truth(result)):
                raise OutcomeUnknown(STRANGE_ANSWER, method)

        self._call(method, {"CONNECTOR": connector, "LINE": line, "MESSAGES": messages}, done)

    def bind_event(self, event: str, handler: str) -> None:
        """`event.bind`; an event that is already bound is a success."""
        try:
            self._call("event.bind", {"event": event, "handler": handler}, bool)
        except Refused as error:
            if error.cause is not Cause.IS_THERE:
                raise

    def unbind_event(self, event: str, handler: str) -> None:
        """`event.unbind`; `handler` must be spelled exactly as it was bound."""
        self._call("event.unbind", {"event": event, "handler": handler}, bool)

    # -- the application

    def notify(self, user_id: int, message: str, tag: str) -> None:
        """`im.notify.system.add`: tell an employee something; BB codes are shown.

        A later one with the same `tag` takes its place. Raises Refused if the portal made none.
        """
        method = "im.notify.system.add"
        params = {"USER_ID": user_id, "MESSAGE": message, "TAG": tag}

        def made(result: Any) -> None:
            if not number(result):  # the id of the notification, or false
                raise Refused("NOT_DONE", method)

        self._call(method, params, made)

    def renew(self) -> None:
        """Renew our tokens now, whatever is left of their time.

        Raises SetupFault where the OAuth server refuses, as it does a wrong client secret.
        """
        self._transport.renew()

    # -- proving what others claim

    def app_of_token(self, access_token: str) -> str:
        """`app.info` CODE with a token that somebody handed us: the client id it belongs to.

        Our own portal is asked, so an answer also proves that the token is of this portal. Raises
        SetupFault for a token that the portal does not know.
        """
        return self._call("app.info", {}, lambda result: words(result.get("CODE")), access_token)

    def is_administrator(self, access_token: str, portal: str = "") -> tuple[bool, int]:
        """`profile`: whether the token's user is an administrator, and the user's id.

        `portal` is another address of the portal, to which the token may be sent.
        """

        def rights(result: Any) -> tuple[bool, int]:
            return truth(result.get("ADMIN")), number(result.get("ID")) or 0

        seconds = ANSWER_SECONDS
        result = self._transport.call_with("profile", {}, access_token, seconds, portal)
        return read_result("profile", result, rights)

    def home_of_token(self, access_token: str) -> TokenHome:
        """`app.info` of the OAuth server: the application and the portal that a token belongs to.

        It knows where a renamed portal is now (bitrix24.md 8.19).
        """
        result = self._transport.app_info_of_oauth_server(access_token)
        return read_result(OAUTH_APP_INFO, result, token_home)
