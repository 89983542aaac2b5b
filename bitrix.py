"""The thin Bitrix24 REST client: one method a call, each answer read or named strange.

Who is called and with which tokens is said in rest/transport.py, what goes over the wire in
rest/http.py. Knows nothing of the store's tables or of Flask.
"""

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

from rest.errors import (
    OAUTH_APP_INFO,
    STRANGE_ANSWER,
    BitrixError,
    Cause,
    OutcomeUnknown,
    Refused,
    TryLater,
    error_of_answer,
)
from rest.php import identity, keyed, number, truth, words
from rest.replies import (
    STRANGE,
    HistoryMessage,
    ItemResult,
    TokenHome,
    connector_ids,
    expect_true,
    history,
    item_results,
    listed_events,
    token_home,
)
from rest.transport import ANSWER_SECONDS, Tokens, Transport
from settings import Bitrix24Settings

PAGE = 50  # messages of a dialog in one answer; the portal gives no more
DIALOGS_A_CALL = 50  # for `newest_messages`: as many commands as a `batch` may hold
T = TypeVar("T")


class Bitrix:
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
        self._transport = Transport(settings, tokens, portal)

    def _call(
        self,
        method: str,
        params: dict[str, Any],
        read: Callable[[Any], T],
        token: str | None = None,
        timeout: float = ANSWER_SECONDS,
    ) -> T:
        """Call with our own token, or with `token`; what `read` makes of the result.

        Raises OutcomeUnknown where `read` finds another shape than the documented one.
        """
        if token is None:
            result = self._transport.call(method, params, timeout)
        else:
            result = self._transport.call_with(method, params, token, timeout)
        return _read(method, result, read)

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

    def bound_events(self) -> list[tuple[str, str]]:
        """`event.get`: pairs of upper-case event and handler address."""
        return self._call("event.get", {}, listed_events)

    def connector_status(self, connector: str, line: int) -> bool:
        """`imconnector.status`: whether the connector works on the line."""
        params = {"CONNECTOR": connector, "LINE": line}
        return self._call(
            "imconnector.status", params, lambda result: truth(keyed(result).get("STATUS"))
        )

    def connectors(self) -> set[str]:
        """`imconnector.list`: the ids of all connectors that the portal knows."""
        return self._call("imconnector.list", {}, connector_ids)

    def is_installed(self) -> bool:
        """`app.info` INSTALLED: until it is true the portal sends no event, without an error."""
        return self._call("app.info", {}, lambda result: truth(keyed(result).get("INSTALLED")))

    # -- reading dialogs

    def dialog_messages(
        self, portal_chat_id: int, after: int | None = None, before: int | None = None
    ) -> list[HistoryMessage]:
        """`im.dialog.messages.get`: up to 50 messages of a dialog, ascending.

        Those are the oldest with ids above `after`, or the newest below `before`, or the newest.
        Raises Refused if the portal does not let us read the dialog (bitrix24.md section 12 B).
        """
        method = "im.dialog.messages.get"
        return self._call(method, _dialog_params(portal_chat_id, after, before), _dialog_page)

    def newest_messages(
        self, portal_chat_ids: list[int]
    ) -> list[list[HistoryMessage] | BitrixError]:
        """The newest 50 messages of each of up to 50 dialogs, in one `batch`.

        For a dialog that cannot be read, the list has the error instead.
        """
        commands = {
            str(index): f"im.dialog.messages.get?{urlencode(_dialog_params(portal_chat_id))}"
            for index, portal_chat_id in enumerate(portal_chat_ids)
        }
        method = "im.dialog.messages.get"

        def page(key: str, pages: dict[str, Any], errors: Any) -> list[HistoryMessage]:
            if key not in pages:
                raise error_of_answer(errors[key], method, 400)
            return _dialog_page(pages[key])

        def answers(result: Any) -> list[list[HistoryMessage] | BitrixError]:
            pages, errors = (keyed(result[key]) for key in ("result", "result_error"))
            found: list[list[HistoryMessage] | BitrixError] = []
            for key in commands:
                try:
                    found.append(_read(method, key, lambda key: page(key, pages, errors)))
                except BitrixError as error:
                    found.append(error)
            return found

        return self._call("batch", {"halt": 0, "cmd": commands}, answers)

    def session_messages(self, session_id: int) -> list[HistoryMessage]:
        """`imopenlines.session.history.get`: the messages of one session, ascending.

        Raises Refused if we may not read its history (bitrix24.md section 12 C).
        """
        method = "imopenlines.session.history.get"
        return self._call(
            method,
            {"SESSION_ID": session_id},
            lambda result: history(result["message"], result.get("users"), result.get("files")),
        )

    def find_dialog(self, user_code: str) -> tuple[int, int | None]:
        """`imopenlines.dialog.get`: portal chat id and session id of a dialog.

        `user_code` is connector|line|our chat id|the portal's user id (section 12 D).
        """

        def dialog(result: Any) -> tuple[int, int | None]:
            fields = words(result.get("entity_data_1")).split("|")
            return identity(result["id"]), number(fields[5]) if len(fields) > 5 else None

        return self._call("imopenlines.dialog.get", {"USER_CODE": user_code}, dialog)

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
        return _read("profile", result, rights)

    def home_of_token(self, access_token: str) -> TokenHome:
        """`app.info` of the OAuth server: the application and the portal that a token belongs to.

        It knows where a renamed portal is now (bitrix24.md 8.19).
        """
        result = self._transport.app_info_of_oauth_server(access_token)
        return _read(OAUTH_APP_INFO, result, token_home)


def _read(method: str, result: Any, read: Callable[[Any], T]) -> T:
    try:
        return read(result)
    except STRANGE:
        raise OutcomeUnknown(STRANGE_ANSWER, method) from None


def _dialog_params(
    portal_chat_id: int, after: int | None = None, before: int | None = None
) -> dict[str, Any]:
    params = {
        "DIALOG_ID": f"chat{portal_chat_id}",
        "FIRST_ID": after or None,  # never 0 (bitrix24.md 12.13)
        "LAST_ID": before,
        "LIMIT": PAGE,
    }
    return {key: value for key, value in params.items() if value is not None}


def _dialog_page(result: Any) -> list[HistoryMessage]:
    return history(result["messages"], result.get("users"), result.get("files"))
