"""The thin Bitrix24 REST client: the calls we make, OAuth, and errors by what to do next.

REST calls go to the portal of the settings and token renewals to its OAuth server, and nowhere
else. No other module imports requests. Knows nothing of the store's tables or of Flask.
"""

import logging
import threading
import time
import traceback
from contextlib import AbstractContextManager
from typing import Any, Protocol
from urllib.parse import urlencode

import requests
import urllib3

from rest.errors import (
    CONNECTION_LOST,
    OAUTH,
    BitrixError,
    Cause,
    OutcomeUnknown,
    Refused,
    SetupFault,
    TryLater,
    error_of_answer,
    error_of_page,
)
from rest.form_body import FORM_TYPE, form_body
from rest.php import keyed, listed, number, php_form, truth
from rest.replies import (
    STRANGE,
    Grant,
    HistoryMessage,
    ItemResult,
    expect_true,
    grant_from,
    history,
    item_result,
)
from settings import Bitrix24Settings

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 20.0  # of every call but send.messages
OAUTH_SECONDS = 10.0
RENEW_EARLY_SECONDS = 60.0
PAGE = 50  # messages of a dialog in one answer; the portal gives no more
DIALOGS_A_CALL = 50  # for `newest_messages`: as many commands as a `batch` may hold
IDLE_SECONDS = 5.0  # a connection that was idle for longer is not used: it may be closed already


class Tokens(Protocol):
    """Where the application's own tokens live, shared by all processes."""

    def load(self) -> Grant | None: ...
    def save(self, grant: Grant) -> None: ...
    def lock(self) -> AbstractContextManager[None]:
        """Hold this to renew: a refresh token works once, so of two renewals one would fail."""
        ...


class Transport:
    """Makes calls with our tokens, and raises what a failure means."""

    def __init__(self, settings: Bitrix24Settings, tokens: Tokens) -> None:
        self._settings = settings
        self._tokens = tokens
        self._http = requests.Session()
        self._http.headers.update(FORM_TYPE)
        # Ignore the environment's proxies and .netrc, which could send tokens somewhere else.
        self._http.trust_env = False
        self._last_used = 0.0
        self._lock = threading.Lock()

    def call(self, method: str, params: dict[str, Any], timeout: float = ANSWER_SECONDS) -> Any:
        """Call with our own token, renewed if it is about to expire.

        If the portal still says that the token has expired, renew it and repeat the call once.
        """
        grant = self._tokens.load()
        if grant is None:
            raise SetupFault("NOT_INSTALLED", method)
        if grant.expires_at - RENEW_EARLY_SECONDS < time.time():
            grant = self._renew(grant)
        try:
            return self.call_with(method, params, grant.access_token, timeout)
        except SetupFault as error:
            if not error.wants_a_new_token:
                raise
        grant = self._renew(grant)
        return self.call_with(method, params, grant.access_token, timeout)

    def _renew(self, old: Grant) -> Grant:
        """Exchange the refresh token; the new pair is stored before it is used.

        One process at a time renews. Others wait and then use the pair that it stored.
        """
        with self._tokens.lock():
            stored = self._tokens.load()
            if stored is None:
                raise SetupFault("NOT_INSTALLED", OAUTH)
            if stored.access_token != old.access_token:
                return stored
            try:
                answer = self._post(
                    f"{self._settings.oauth_server}/oauth/token/",
                    {
                        "grant_type": "refresh_token",
                        "client_id": self._settings.client_id,
                        "client_secret": self._settings.client_secret.get_secret_value(),
                        "refresh_token": stored.refresh_token,
                    },
                    OAUTH,
                    OAUTH_SECONDS,
                )
            except OutcomeUnknown as error:
                # The call that needs the token was not made, so it may be repeated.
                raise TryLater(error.code, error.method) from None
            except Refused as error:  # our set-up is refused, not the call that needs the token
                raise SetupFault(error.code, error.method, error.description) from None
            grant = grant_from(answer)
            if grant is None:
                raise TryLater("STRANGE_ANSWER", OAUTH)
            self._tokens.save(grant)
            log.info("access token renewed")
            return grant

    def call_with(
        self,
        method: str,
        params: dict[str, Any],
        access_token: str,
        timeout: float = ANSWER_SECONDS,
    ) -> Any:
        """Call with a token that somebody handed us, or with our own."""
        form = dict(php_form(params)) | {"auth": access_token}
        answer = self._post(f"{self._settings.portal}/rest/{method}.json", form, method, timeout)
        if "result" not in answer:
            raise OutcomeUnknown("STRANGE_ANSWER", method)
        return answer["result"]

    def _post(self, url: str, form: dict[str, str], method: str, timeout: float) -> dict[str, Any]:
        """POST a form; returns the JSON object of the answer, or raises what its error means."""
        self._drop_idle_connections()
        began = time.monotonic()
        try:
            response = self._http.post(
                url, form_body(form), timeout=(CONNECT_SECONDS, timeout), allow_redirects=False
            )
        except requests.RequestException as error:  # its text may hold tokens
            if _nothing_was_sent(error):
                raise TryLater("NOT_CONNECTED", method) from None
            code = CONNECTION_LOST if isinstance(error, requests.ConnectionError) else "NO_REPLY"
            raise OutcomeUnknown(code, method) from None
        log.debug("%s: %d in %.3f s", method, response.status_code, time.monotonic() - began)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if isinstance(answer, dict) and "error" in answer:
            raise error_of_answer(answer, method, response.status_code)
        if isinstance(answer, dict) and response.ok and not response.is_redirect:
            return answer
        raise error_of_page(method, response.status_code, response.is_redirect)

    def _drop_idle_connections(self) -> None:
        """Use no connection that was idle for long: a message sent on a closed one is in doubt."""
        with self._lock:
            if time.monotonic() - self._last_used > IDLE_SECONDS:
                self._http.close()
            self._last_used = time.monotonic()


class Bitrix:
    """Calls one portal as one application."""

    def __init__(self, settings: Bitrix24Settings, tokens: Tokens, send_seconds: float) -> None:
        self._send_seconds = send_seconds
        self._transport = Transport(settings, tokens)
        self._call = self._transport.call

    # -- the methods of the connector

    def register(self, connector: str, name: str, icons: tuple[str, str], handler: str) -> None:
        """`imconnector.register`: make or update our connector. `icons` are data: URIs.

        A failure comes as HTTP 200 with `result.result` false (bitrix24.md section 6).
        """
        icon = {"COLOR": "#a6ffa3", "SIZE": "100%", "POSITION": "center"}
        result = self._call(
            "imconnector.register",
            {
                "ID": connector,
                "NAME": name,
                "ICON": {"DATA_IMAGE": icons[0], **icon},
                "ICON_DISABLED": {"DATA_IMAGE": icons[1], **icon, "COLOR": "#ffb3a3"},
                "PLACEMENT_HANDLER": handler,
            },
        )
        expect_true("imconnector.register", result)

    def activate(self, connector: str, line: int, active: bool) -> None:
        """`imconnector.activate`. ACTIVE is 1 or 0: the text "False" would switch it on."""
        result = self._call(
            "imconnector.activate", {"CONNECTOR": connector, "LINE": line, "ACTIVE": int(active)}
        )
        expect_true("imconnector.activate", result)

    def set_connector_data(self, connector: str, line: int, url_im: str, name: str) -> None:
        """`imconnector.connector.data.set`: the link to the chat that the widget shows."""
        data = {"id": f"{connector}line{line}", "url_im": url_im, "name": name}
        result = self._call(
            "imconnector.connector.data.set", {"CONNECTOR": connector, "LINE": line, "DATA": data}
        )
        expect_true("imconnector.connector.data.set", result)

    def send_messages(
        self, connector: str, line: int, messages: list[dict[str, Any]]
    ) -> list[ItemResult]:
        """`imconnector.send.messages`: one result for each item, in the same order.

        Raises OutcomeUnknown if the answer has fewer or more results: some may be stored.
        """
        method = "imconnector.send.messages"
        result = self._call(
            method,
            {"CONNECTOR": connector, "LINE": line, "MESSAGES": messages},
            timeout=self._send_seconds,
        )
        if isinstance(result, dict) and result.get("SUCCESS") is False:
            # Builds before NOT_ACTIVE_LINE answer so for an inactive line.
            raise Refused("NOT_ACTIVE_LINE", method)
        try:
            items = listed(result["DATA"]["RESULT"])
            results = [item_result(item) for item in items]
        except STRANGE:
            raise OutcomeUnknown("STRANGE_ANSWER", method) from None
        if len(results) != len(messages):
            raise OutcomeUnknown("STRANGE_ANSWER", method)
        return results

    def confirm_delivery(self, connector: str, line: int, messages: list[dict[str, Any]]) -> None:
        """`imconnector.send.status.delivery`; repeating is harmless, the first call wins."""
        method = "imconnector.send.status.delivery"
        params = {"CONNECTOR": connector, "LINE": line, "MESSAGES": messages}
        result = self._call(method, params)
        if isinstance(result, dict) and result.get("SUCCESS") is False:
            raise TryLater("NOT_DONE", method)

    def bind_event(self, event: str, handler: str) -> None:
        """`event.bind`; an event that is already bound is a success."""
        try:
            self._call("event.bind", {"event": event, "handler": handler})
        except Refused as error:
            if error.cause is not Cause.IS_THERE:
                raise

    def unbind_event(self, event: str, handler: str) -> None:
        """`event.unbind`; `handler` must be spelled exactly as it was bound."""
        self._call("event.unbind", {"event": event, "handler": handler})

    def bound_events(self) -> list[tuple[str, str]]:
        """`event.get`: pairs of upper-case event and handler address."""
        items = listed(self._call("event.get", {}))
        return [
            (str(item.get("event", "")).upper(), str(item.get("handler", "")))
            for item in items
            if isinstance(item, dict) and not int(item.get("offline") or 0)
        ]

    def connector_status(self, connector: str, line: int) -> bool:
        """`imconnector.status`: whether the connector works on the line."""
        result = self._call("imconnector.status", {"CONNECTOR": connector, "LINE": line})
        return isinstance(result, dict) and truth(result.get("STATUS"))

    def is_installed(self) -> bool:
        """`app.info` INSTALLED: until it is true the portal sends no event, without an error."""
        result = self._call("app.info", {})
        return isinstance(result, dict) and truth(result.get("INSTALLED"))

    # -- reading dialogs

    def dialog_messages(
        self, portal_chat_id: int, after: int | None = None, before: int | None = None
    ) -> list[HistoryMessage]:
        """`im.dialog.messages.get`: up to 50 messages of a dialog, ascending.

        Those are the oldest with ids above `after`, or the newest below `before`, or the newest.
        Raises Refused if the portal does not let us read the dialog (bitrix24.md section 12 B).
        """
        method = "im.dialog.messages.get"
        result = self._call(method, _dialog_params(portal_chat_id, after, before))
        return _dialog_page(result)

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
        result = self._call("batch", {"halt": 0, "cmd": commands})
        try:
            pages, errors = (keyed(result[key]) for key in ("result", "result_error"))
        except STRANGE:
            raise OutcomeUnknown("STRANGE_ANSWER", "batch") from None
        answers: list[list[HistoryMessage] | BitrixError] = []
        for key in commands:
            try:
                if key not in pages:
                    raise error_of_answer(errors[key], "im.dialog.messages.get", 400)
                answers.append(_dialog_page(pages[key]))
            except BitrixError as error:
                answers.append(error)
            except STRANGE:
                answers.append(OutcomeUnknown("STRANGE_ANSWER", "im.dialog.messages.get"))
        return answers

    def session_messages(self, session_id: int) -> list[HistoryMessage]:
        """`imopenlines.session.history.get`: the messages of one session, ascending.

        Raises Refused if we may not read its history (bitrix24.md section 12 C).
        """
        method = "imopenlines.session.history.get"
        result = self._call(method, {"SESSION_ID": session_id})
        try:
            return history(result["message"], result.get("users"), result.get("files"))
        except STRANGE:
            raise OutcomeUnknown("STRANGE_ANSWER", method) from None

    def find_dialog(self, user_code: str) -> tuple[int, int | None]:
        """`imopenlines.dialog.get`: portal chat id and session id of a dialog.

        `user_code` is connector|line|our chat id|the portal's user id (section 12 D).
        """
        method = "imopenlines.dialog.get"
        result = self._call(method, {"USER_CODE": user_code})
        portal_chat_id = number(result.get("id")) if isinstance(result, dict) else None
        if portal_chat_id is None:
            raise OutcomeUnknown("STRANGE_ANSWER", method)
        fields = str(result.get("entity_data_1", "")).split("|")
        return portal_chat_id, number(fields[5]) if len(fields) > 5 else None

    # -- proving what others claim

    def app_of_token(self, access_token: str) -> str:
        """`app.info` CODE with a token that somebody handed us: the client id it belongs to.

        Our own portal is asked, so an answer also proves that the token is of this portal. Raises
        SetupFault for a token that the portal does not know.
        """
        result = self._transport.call_with("app.info", {}, access_token)
        return str(result.get("CODE", "")) if isinstance(result, dict) else ""

    def is_administrator(self, access_token: str) -> tuple[bool, int]:
        """`profile`: whether the token's user is an administrator, and the user's id."""
        result = self._transport.call_with("profile", {}, access_token)
        if not isinstance(result, dict):
            raise OutcomeUnknown("STRANGE_ANSWER", "profile")
        return truth(result.get("ADMIN")), number(result.get("ID")) or 0


def _nothing_was_sent(error: requests.RequestException) -> bool:
    """Whether the request certainly never reached the server: there was no connection."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", None)
    if isinstance(reason, urllib3.exceptions.SSLError):  # of the handshake, or later in a call
        steps = traceback.walk_tb(reason.args[0].__traceback__)
        return any(frame.f_code.co_name == "do_handshake" for frame, _ in steps)
    return isinstance(
        reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError
    )


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
    try:
        return history(result["messages"], result.get("users"), result.get("files"))
    except STRANGE:
        raise OutcomeUnknown("STRANGE_ANSWER", "im.dialog.messages.get") from None
