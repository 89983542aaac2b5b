"""The thin Bitrix24 REST client: the calls we make, OAuth, and errors by what to do next.

REST calls go to the portal of the settings and token renewals to its OAuth server, and nowhere
else. Alone imports requests; knows nothing of the store's tables or of Flask.
"""

import logging
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlencode

import requests
import urllib3

from settings import Bitrix24

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 20.0  # of every call but send.messages
OAUTH_SECONDS = 10.0
RENEW_EARLY_SECONDS = 60.0
LONGEST_TOKEN_SECONDS = 3600.0  # a date far off must not keep us from renewing
LONGEST_LIMIT_SECONDS = 3600.0  # to wait for OPERATION_TIME_LIMIT: the portal counts ten minutes
PAGE = 50  # messages of a dialog in one answer; the portal gives no more
IDLE_SECONDS = 5.0  # an older connection may have been closed without our knowing

# bitrix24.md sections 8 and 9. Nothing was done, and the same call may succeed later.
LATER_CODES = {"QUERY_LIMIT_EXCEEDED", "OPERATION_TIME_LIMIT"}
# Nothing will work until a person acts; messages are kept.
SETUP_CODES = {
    "OVERLOAD_LIMIT", "NO_AUTH_FOUND", "WRONG_AUTH_TYPE", "INVALID_TOKEN", "EXPIRED_TOKEN",
    "INSUFFICIENT_SCOPE", "USER_ACCESS_ERROR", "INVALID_GRANT", "WRONG_CLIENT", "INVALID_CLIENT",
    "INVALID_CREDENTIALS", "NOT_INSTALLED", "PAYMENT_REQUIRED", "PORTAL_DELETED",
    "ACCESS_DENIED", "INVALID_REQUEST", "ERROR_METHOD_NOT_FOUND",
    "IMCONNECTOR_NOT_SPECIFIED_CORRECT_CONNECTOR",
}  # fmt: skip
# What reading an answer of another shape than the documented one may raise.
STRANGE = (KeyError, TypeError, ValueError, AttributeError)
# Dialogs may be closed to us, one or all; that stops nothing else.
HISTORY_METHODS = {
    "im.dialog.messages.get",
    "imopenlines.session.history.get",
    "imopenlines.dialog.get",
}
CLOSED_CODES = {"ACCESS_DENIED", "INSUFFICIENT_SCOPE", "ERROR_METHOD_NOT_FOUND"}
CONNECTION_LOST = "CONNECTION_LOST"  # before an answer: the portal may work on to its own end
ALREADY_BOUND = "already binded"  # its code differs between builds, its text does not


class BitrixError(Exception):
    """Bitrix24 did not do what we asked; `code` is its own error code or ours."""

    def __init__(self, code: str, method: str, description: str = "") -> None:
        super().__init__(f"{method}: {code}")
        self.code = code
        self.method = method
        self.description = description  # the portal's words, for the admin's page only


class TryLater(BitrixError):
    """Nothing was done; the same call may succeed later, in so many `seconds` at the earliest."""

    def __init__(self, code: str, method: str, description: str = "", seconds: float = 0.0) -> None:
        super().__init__(code, method, description)
        self.seconds = seconds


class Refused(BitrixError):
    """Nothing was done, and repeating will not help."""


class OutcomeUnknown(BitrixError):
    """The reply was lost: the call may have been carried out."""


class SetupFault(BitrixError):
    """Nothing was done, and nothing will be until a person mends the set-up."""


@dataclass(frozen=True)
class Grant:
    """A pair of tokens; `expires_at` in Unix seconds."""

    access_token: str
    refresh_token: str
    expires_at: float

    def __repr__(self) -> str:
        return f"Grant(expires_at={self.expires_at:.0f})"


class TokenKeeper(Protocol):
    """Where the application's own tokens live, shared by all processes."""

    def load(self) -> Grant | None: ...
    def save(self, grant: Grant) -> None: ...
    def lock(self) -> AbstractContextManager[None]:
        """Held while renewing: a refresh token works once, the loser's pair is dead."""
        ...


@dataclass(frozen=True)
class ItemResult:
    """What the portal says of one item of `imconnector.send.messages`.

    `errors` is empty for an accepted item; accepted without a session is not yet stored
    (bitrix24.md section 4).
    """

    accepted: bool
    errors: tuple[str, ...] = ()
    session_id: int | None = None
    portal_chat_id: int | None = None
    portal_user_id: int | None = None
    files: int | None = None  # how many it fetched, if it says so; of the others it says nothing


@dataclass(frozen=True)
class HistoryMessage:
    """A message as the portal's history gives it: the text is without the signature."""

    id: int  # the im.message_id of events
    author_id: int
    text: str
    sent_at: float  # Unix seconds
    connector_mids: tuple[str, ...]  # ids of the visitor's system: ours
    classes: str
    hidden: bool  # whispers and the portal's own notices
    from_connector: bool  # the author is a visitor
    author_name: str | None
    files: tuple[dict[str, Any], ...]


class Bitrix:
    """Calls one portal as one application."""

    def __init__(self, settings: Bitrix24, tokens: TokenKeeper, send_seconds: float) -> None:
        self._settings = settings
        self._send_seconds = send_seconds
        self._tokens = tokens
        self._http = requests.Session()
        # The proxy and .netrc of whoever started us have no say in where tokens go.
        self._http.trust_env = False
        self._last_used = 0.0
        self._lock = threading.Lock()

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
        _expect_true("imconnector.register", result)

    def activate(self, connector: str, line: int, active: bool) -> None:
        """`imconnector.activate`. 1 or 0: the text "False" would switch the connector on."""
        result = self._call(
            "imconnector.activate", {"CONNECTOR": connector, "LINE": line, "ACTIVE": int(active)}
        )
        _expect_true("imconnector.activate", result)

    def set_connector_data(self, connector: str, line: int, url_im: str, name: str) -> None:
        """`imconnector.connector.data.set`: the link to the chat that the widget shows."""
        data = {"id": f"{connector}line{line}", "url_im": url_im, "name": name}
        result = self._call(
            "imconnector.connector.data.set", {"CONNECTOR": connector, "LINE": line, "DATA": data}
        )
        _expect_true("imconnector.connector.data.set", result)

    def send_messages(
        self, connector: str, line: int, messages: list[dict[str, Any]]
    ) -> list[ItemResult]:
        """`imconnector.send.messages`: one result an item, in the items' order.

        OutcomeUnknown also where the answer has not one result for each: some may be stored.
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
            items = _listed(result["DATA"]["RESULT"])
            results = [_item_result(item) for item in items]
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
        """`event.bind`; one that is already bound is a success."""
        try:
            self._call("event.bind", {"event": event, "handler": handler})
        except Refused as error:
            if ALREADY_BOUND not in error.description.lower() and (
                error.code != "ERROR_EVENT_BINDING_EXISTS"
            ):
                raise

    def unbind_event(self, event: str, handler: str) -> None:
        """`event.unbind`, by the exact address it was bound under."""
        self._call("event.unbind", {"event": event, "handler": handler})

    def bound_events(self) -> list[tuple[str, str]]:
        """`event.get`: pairs of upper-case event and handler address."""
        items = _listed(self._call("event.get", {}))
        return [
            (str(item.get("event", "")).upper(), str(item.get("handler", "")))
            for item in items
            if isinstance(item, dict) and not int(item.get("offline") or 0)
        ]

    def connector_status(self, connector: str, line: int) -> bool:
        """`imconnector.status`: whether the connector works on the line."""
        result = self._call("imconnector.status", {"CONNECTOR": connector, "LINE": line})
        return isinstance(result, dict) and _truth(result.get("STATUS"))

    def is_installed(self) -> bool:
        """`app.info` INSTALLED: until it is true the portal sends no event, and no error."""
        result = self._call("app.info", {})
        return isinstance(result, dict) and _truth(result.get("INSTALLED"))

    # -- looking at dialogs

    def dialog_messages(
        self, portal_chat_id: int, after: int | None = None, before: int | None = None
    ) -> list[HistoryMessage]:
        """`im.dialog.messages.get`: up to 50 messages of a dialog, ascending.

        The oldest above the id `after`, or the newest below `before`, or the newest.
        Refused when the portal does not let us read the dialog (bitrix24.md section 12 B).
        """
        method = "im.dialog.messages.get"
        result = self._call(method, _dialog_params(portal_chat_id, after, before))
        return _dialog_page(result)

    def newest_messages(
        self, portal_chat_ids: list[int]
    ) -> list[list[HistoryMessage] | BitrixError]:
        """The newest 50 messages of each of up to 50 dialogs, in one `batch`.

        A dialog that cannot be read has its error in its place.
        """
        commands = {
            str(index): f"im.dialog.messages.get?{urlencode(_dialog_params(portal_chat_id))}"
            for index, portal_chat_id in enumerate(portal_chat_ids)
        }
        result = self._call("batch", {"halt": 0, "cmd": commands})
        try:
            pages, errors = (_keyed(result[key]) for key in ("result", "result_error"))
        except STRANGE:
            raise OutcomeUnknown("STRANGE_ANSWER", "batch") from None
        found: list[list[HistoryMessage] | BitrixError] = []
        for key in commands:
            try:
                if key not in pages:
                    raise _error(errors[key], "im.dialog.messages.get", 400)
                found.append(_dialog_page(pages[key]))
            except BitrixError as error:
                found.append(error)
            except STRANGE:
                found.append(OutcomeUnknown("STRANGE_ANSWER", "im.dialog.messages.get"))
        return found

    def session_messages(self, session_id: int) -> list[HistoryMessage]:
        """`imopenlines.session.history.get`: the messages of one session, ascending.

        Refused when its history is not open to us (bitrix24.md section 12 C).
        """
        method = "imopenlines.session.history.get"
        result = self._call(method, {"SESSION_ID": session_id})
        try:
            return _history(result["message"], result.get("users"), result.get("files"))
        except STRANGE:
            raise OutcomeUnknown("STRANGE_ANSWER", method) from None

    def find_dialog(self, user_code: str) -> tuple[int, int | None]:
        """`imopenlines.dialog.get`: portal chat id and session id of a dialog.

        `user_code` is connector|line|our chat id|the portal's user id (section 12 D).
        """
        method = "imopenlines.dialog.get"
        result = self._call(method, {"USER_CODE": user_code})
        portal_chat_id = _number(result.get("id")) if isinstance(result, dict) else None
        if portal_chat_id is None:
            raise OutcomeUnknown("STRANGE_ANSWER", method)
        fields = str(result.get("entity_data_1", "")).split("|")
        return portal_chat_id, _number(fields[5]) if len(fields) > 5 else None

    # -- proving what others claim

    def app_of_token(self, access_token: str) -> str:
        """`app.info` CODE with a token that somebody handed us: the client id it belongs to.

        Asked of our own portal, so an answer proves the portal too. SetupFault for a token
        that the portal does not know.
        """
        result = self._request("app.info", {}, access_token, ANSWER_SECONDS)
        return str(result.get("CODE", "")) if isinstance(result, dict) else ""

    def is_administrator(self, access_token: str) -> tuple[bool, int]:
        """`profile`: whether the token's user is an administrator, and the user's id."""
        result = self._request("profile", {}, access_token, ANSWER_SECONDS)
        if not isinstance(result, dict):
            raise OutcomeUnknown("STRANGE_ANSWER", "profile")
        return _truth(result.get("ADMIN")), _number(result.get("ID")) or 0

    # -- calling

    def _call(self, method: str, params: dict[str, Any], timeout: float = ANSWER_SECONDS) -> Any:
        """Call with our own token, renewed when it is old or the portal says so, and once only."""
        grant = self._tokens.load()
        if grant is None:
            raise SetupFault("NOT_INSTALLED", method)
        if grant.expires_at - RENEW_EARLY_SECONDS < time.time():
            grant = self._renew(grant)
        try:
            return self._request(method, params, grant.access_token, timeout)
        except SetupFault as error:
            if error.code.upper() != "EXPIRED_TOKEN":
                raise
        grant = self._renew(grant)
        return self._request(method, params, grant.access_token, timeout)

    def _renew(self, old: Grant) -> Grant:
        """Exchange the refresh token; the new pair is stored before it is used.

        One process at a time: whoever waited takes the pair that the first one stored.
        """
        with self._tokens.lock():
            now = self._tokens.load()
            if now is None:
                raise SetupFault("NOT_INSTALLED", "oauth/token")
            if now.access_token != old.access_token:
                return now
            try:
                answer = self._post(
                    f"{self._settings.oauth_server}/oauth/token/",
                    {
                        "grant_type": "refresh_token",
                        "client_id": self._settings.client_id,
                        "client_secret": self._settings.client_secret.get_secret_value(),
                        "refresh_token": now.refresh_token,
                    },
                    "oauth/token",
                    OAUTH_SECONDS,
                )
            except OutcomeUnknown as error:
                # The call that wanted the token was not made.
                raise TryLater(error.code, error.method) from None
            except Refused as error:  # which says nothing of the call, only of our set-up
                raise SetupFault(error.code, error.method, error.description) from None
            grant = grant_from(answer)
            if grant is None:
                raise TryLater("STRANGE_ANSWER", "oauth/token")
            self._tokens.save(grant)
            log.info("access token renewed")
            return grant

    def _request(
        self, method: str, params: dict[str, Any], access_token: str, timeout: float
    ) -> Any:
        form = dict(php_form(params)) | {"auth": access_token}
        answer = self._post(f"{self._settings.portal}/rest/{method}.json", form, method, timeout)
        if "result" not in answer:
            raise OutcomeUnknown("STRANGE_ANSWER", method)
        return answer["result"]

    def _post(self, url: str, form: dict[str, str], method: str, timeout: float) -> dict[str, Any]:
        """POST a form, and give the JSON object answered, or raise what its error means."""
        self._drop_idle_connections()
        began = time.monotonic()
        try:
            response = self._http.post(
                url, data=form, timeout=(CONNECT_SECONDS, timeout), allow_redirects=False
            )
        except requests.RequestException as error:  # its text may hold tokens
            if _nothing_was_sent(error):
                raise TryLater("NOT_CONNECTED", method) from None
            lost = isinstance(error, requests.ConnectionError)
            raise OutcomeUnknown(CONNECTION_LOST if lost else "NO_REPLY", method) from None
        log.debug("%s: %d in %.3f s", method, response.status_code, time.monotonic() - began)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if isinstance(answer, dict) and "error" in answer:
            raise _error(answer, method, response.status_code)
        if response.is_redirect:
            raise SetupFault("PORTAL_MOVED", method)
        if isinstance(answer, dict) and response.ok:
            return answer
        if response.status_code == 429:
            raise TryLater("HTTP_429", method)
        if 400 <= response.status_code < 500:
            raise SetupFault(f"HTTP_{response.status_code}", method)
        raise OutcomeUnknown(f"HTTP_{response.status_code}", method)

    def _drop_idle_connections(self) -> None:
        """Begin anew after a pause, so that a connection gone stale costs no doubtful send."""
        with self._lock:
            if time.monotonic() - self._last_used > IDLE_SECONDS:
                self._http.close()
            self._last_used = time.monotonic()


def grant_from(values: dict[str, Any]) -> Grant | None:
    """The pair of tokens in an OAuth answer or an event's `auth`, or None when incomplete."""
    access, refresh = values.get("access_token"), values.get("refresh_token")
    if not (isinstance(access, str) and access and isinstance(refresh, str) and refresh):
        return None
    return Grant(access, refresh, expiry(values.get("expires_in")))


def expiry(seconds: object) -> float:
    """When a token given now with `expires_in` ends, an hour from now at the latest."""
    lifetime = _number(seconds)
    if lifetime is None:
        return time.time() + LONGEST_TOKEN_SECONDS
    return time.time() + min(max(lifetime, 0), LONGEST_TOKEN_SECONDS)


def php_form(params: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Flatten parameters as PHP's http_build_query does: `a[b][0]=c`.

    None and empty collections disappear; True and False become 1 and 0.
    """
    for key, value in params.items():
        yield from _php_fields(key, value)


def _php_fields(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _php_fields(f"{name}[{key}]", item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _php_fields(f"{name}[{index}]", item)
    elif isinstance(value, bool):
        yield name, str(int(value))
    elif value is not None:
        yield name, str(value)


def _error(answer: dict[str, Any], method: str, status: int) -> BitrixError:
    """The error that an answer means. Both 503 codes share the status, so the code decides."""
    code = answer["error"]
    if isinstance(code, dict):  # some methods nest it
        code = code.get("error", status)
    code = str(code) or f"HTTP_{status}"
    description = str(answer.get("error_description") or answer.get("error_msg") or "")
    known = code.upper()
    if known in LATER_CODES:
        # The field stands in every answer, and is minutes ahead: it means this limit only.
        times = answer.get("time") if known == "OPERATION_TIME_LIMIT" else None
        return TryLater(code, method, description, _seconds_to_reset(times))
    if known in CLOSED_CODES and method in HISTORY_METHODS:
        return Refused(code, method, description)
    if known in SETUP_CODES or (status in (401, 403) and method not in HISTORY_METHODS):
        return SetupFault(code, method, description)
    if status >= 500:
        return OutcomeUnknown(code, method, description)
    return Refused(code, method, description)


def _seconds_to_reset(times: object) -> float:
    """From the end of the call to `operating_reset_at`, by the portal's own clock."""
    if not isinstance(times, dict):
        return 0.0
    reset_at, finish = _number(times.get("operating_reset_at")), _number(times.get("finish"))
    if reset_at is None:
        return 0.0
    now = time.time() if finish is None else finish
    return min(max(0.0, reset_at - now), LONGEST_LIMIT_SECONDS)


def _nothing_was_sent(error: requests.RequestException) -> bool:
    """Whether the request surely never reached the server: no connection came about."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", None)
    if isinstance(reason, urllib3.exceptions.SSLError):  # the same ones come in mid-call
        steps = traceback.walk_tb(reason.args[0].__traceback__)
        return any(frame.f_code.co_name == "do_handshake" for frame, _ in steps)
    return isinstance(
        reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError
    )


def _expect_true(method: str, result: Any) -> None:
    """Raise Refused for a failure inside an HTTP 200."""
    if isinstance(result, dict):
        code = str(result.get("error") or "NOT_DONE")
        description = str(result.get("error_description") or "")
        done = _truth(result.get("result", not result.get("error")))
    else:
        code, description, done = "NOT_DONE", "", _truth(result)
    if not done:
        raise Refused(code, method, description)


def _item_result(item: dict[str, Any]) -> ItemResult:
    if not _truth(item["SUCCESS"]):
        errors = tuple(str(error) for error in _listed(item.get("ERRORS") or []))
        return ItemResult(False, errors or ("NOT_DONE",))
    session = item.get("session")
    session = session if isinstance(session, dict) else {}
    result = ItemResult(True, portal_user_id=_number(item.get("user")))
    return replace(
        result,
        session_id=_number(session.get("ID")),
        portal_chat_id=_number(session.get("CHAT_ID")),
        files=_count_of_files(item.get("message")),
    )


def _count_of_files(message: Any) -> int | None:
    files = message.get("files") if isinstance(message, dict) else None
    return len(files) if isinstance(files, list | dict) else None


def _dialog_params(
    portal_chat_id: int, after: int | None = None, before: int | None = None
) -> dict[str, Any]:
    params = {
        "DIALOG_ID": f"chat{portal_chat_id}",
        "FIRST_ID": after or None,  # 0 would mean something else
        "LAST_ID": before,
        "LIMIT": PAGE,
    }
    return {key: value for key, value in params.items() if value is not None}


def _dialog_page(result: Any) -> list[HistoryMessage]:
    try:
        return _history(result["messages"], result.get("users"), result.get("files"))
    except STRANGE:
        raise OutcomeUnknown("STRANGE_ANSWER", "im.dialog.messages.get") from None


def _keyed(value: Any) -> dict[str, Any]:
    """A PHP array by its keys as text; an empty one comes as a list."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    return {str(key): item for key, item in value.items()}


def _history(messages: Any, authors: Any, attached: Any) -> list[HistoryMessage]:
    """The messages of either history method; their keys differ in case."""
    users = {str(user["id"]): user for user in _listed(authors or [])}
    files = {str(file["id"]): file for file in _listed(attached or [])}
    found = []
    for item in _listed(messages):
        params = item.get("params")
        params = params if isinstance(params, dict) else {}
        author_id = _number(item.get("author_id", item.get("senderid"))) or 0
        author = users.get(str(author_id), {})
        mids = params.get("CONNECTOR_MID", params.get("connectorMid")) or []
        classes = params.get("CLASS", params.get("class")) or ""
        classes = classes if isinstance(classes, str) else " ".join(map(str, _listed(classes)))
        component = params.get("COMPONENT_ID", params.get("componentId"))
        file_ids = params.get("FILE_ID", params.get("fileId")) or []
        found.append(
            HistoryMessage(
                id=int(item["id"]),
                author_id=author_id,
                text=str(item.get("text") or ""),
                sent_at=_moment(item.get("date")),
                connector_mids=tuple(map(str, _listed(mids) if mids != str(mids) else [mids])),
                classes=classes,
                hidden="content-item-system" in classes or component == "HiddenMessage",
                from_connector=_truth(author.get("connector")),
                author_name=author.get("name"),
                files=tuple(files[str(i)] for i in _listed(file_ids) if str(i) in files),
            )
        )
    return sorted(found, key=lambda message: message.id)


def _moment(value: object) -> float:
    """Unix seconds of a date as the portal writes it; now, where it cannot be read."""
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return time.time()


def _listed(value: Any) -> list[Any]:
    """A PHP array may come as a list or as an object with numeric keys, in any order."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: int(key) if str(key).isdecimal() else 0)
        return [value[key] for key in keys]
    if isinstance(value, list):
        return value
    raise TypeError("not a list")


def _truth(value: object) -> bool:
    """PHP spells a boolean in many ways."""
    return str(value).lower() in ("true", "1", "y")


def _number(value: object) -> int | None:
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError, OverflowError):
        return None
