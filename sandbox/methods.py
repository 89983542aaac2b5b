"""The REST methods themselves: parameters in, result out.

Names of parameters are already in their official case here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .history import History
from .incoming import Incoming
from .portal import Connector, Portal, RestError, Token, User
from .talks import NotAllowed, Talks

FLAGS = {
    "DEL_EXTERNAL_MESSAGES": True,
    "EDIT_INTERNAL_MESSAGES": True,
    "DEL_INTERNAL_MESSAGES": True,
    "NEWSLETTER": True,
    "NEED_SYSTEM_MESSAGES": True,
    "NEED_SIGNATURE": True,
    "CHAT_GROUP": False,
}
LOOPBACK = ("localhost", "::1")  # the real one wants a dot in the host (section 9)
DATA_KEYS = ("ID", "URL", "URL_IM", "NAME")
BUILT_IN = {"livechat": "Live chat", "network": "Bitrix24.Network", "telegrambot": "Telegram"}
SCOPES = {"imconnector": "imopenlines", "imopenlines": "imopenlines", "im": "im", "user": "user"}


@dataclass(frozen=True)
class Caller:
    user: User
    token: Token


class Methods:
    """`table` holds every method by its name."""

    def __init__(self, portal: Portal, talks: Talks, incoming: Incoming, history: History) -> None:
        self._portal = portal
        self._talks = talks
        self._incoming = incoming
        self._history = history
        self.table: dict[str, Callable[[Caller, dict[str, Any]], Any]] = {
            "app.info": self._app_info,
            "profile": self._profile,
            "scope": lambda caller, params: caller.token.scope.split(","),
            "user.current": lambda caller, params: _person(caller.user),
            "user.get": self._user_get,
            "event.bind": self._event_bind,
            "event.unbind": self._event_unbind,
            "event.get": self._event_get,
            "imconnector.register": self._register,
            "imconnector.unregister": self._unregister,
            "imconnector.activate": self._activate,
            "imconnector.status": self._status,
            "imconnector.connector.data.set": self._data_set,
            "imconnector.list": self._list,
            "imconnector.send.messages": self._send,
            "imconnector.update.messages": self._update,
            "imconnector.delete.messages": self._delete,
            "imconnector.send.status.delivery": self._delivery,
            "imconnector.send.status.reading": self._reading,
            "imconnector.chat.name.set": self._chat_name_set,
            "imopenlines.config.list.get": self._lines,
            "imopenlines.dialog.get": lambda caller, params: self._history.dialog(params),
            "imopenlines.session.history.get": lambda caller, params: self._history.session(params),
            "im.dialog.messages.get": lambda caller, params: self._history.dialog_messages(params),
            "im.message.add": self._message_add,
        }

    def check_scope(self, name: str, scope: str) -> None:
        wanted = SCOPES.get(name.partition(".")[0])
        granted = scope.split(",")
        if wanted == "user":
            enough = any(part in granted for part in ("user", "user_brief", "user_basic"))
        else:
            enough = wanted is None or wanted in granted
        if not enough:
            raise RestError(
                "insufficient_scope",
                "The request requires higher privileges than provided by the access token",
                403,
            )

    # The application and its people

    def _app_info(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        portal, options = self._portal, self._portal.options
        return {
            "ID": 1,
            "CODE": options.client_id,
            "VERSION": 1,
            "STATUS": "L",
            "INSTALLED": portal.installed,
            "PAYMENT_EXPIRED": "N",
            "DAYS": None,
            "LANGUAGE_ID": options.lang,
            "LICENSE": f"{options.lang}_project",
            "LICENSE_TYPE": "project",
            "client_id": options.client_id,
            "scope": caller.token.scope,
            "expires": int(caller.token.expires),
            "install": {
                "installed": portal.installed,
                "version": "1",
                "status": "L",
                "scope": caller.token.scope,
                "domain": options.domain,
                "client_endpoint": f"{options.base_url}/rest/",
                "member_id": portal.member_id,
            },
        }

    def _profile(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        user = caller.user
        return {
            "ID": str(user.id),
            "ADMIN": user.admin,
            "NAME": user.name,
            "LAST_NAME": user.last_name,
            "PERSONAL_GENDER": "",
            "TIME_ZONE": "",
        }

    def _user_get(self, caller: Caller, params: dict[str, Any]) -> list[dict[str, Any]]:
        asked = params.get("ID") or (params.get("FILTER") or {}).get("ID")
        ids = asked if isinstance(asked, list) else [asked]
        people = [user for user in self._portal.users.values() if not user.connector]
        return [_person(user) for user in people if asked is None or str(user.id) in map(str, ids)]

    # Events

    def _event_bind(self, caller: Caller, params: dict[str, Any]) -> bool:
        offline = str(params.get("EVENT_TYPE") or "online").lower() == "offline"
        address = urlsplit(str(params["HANDLER"]))
        host = address.hostname or ""
        if address.scheme not in ("http", "https") or ("." not in host and host not in LOOPBACK):
            raise RestError("ERROR_WRONG_HANDLER_URL", "Wrong handler URL")
        bound = self._portal.bind(
            str(params["EVENT"]),
            str(params.get("HANDLER") or ""),
            caller.user.id,
            int(params.get("AUTH_TYPE") or 0),
            offline,
        )
        if not bound:
            raise RestError("ERROR_CORE", "Unable to set event handler: Handler already binded")
        return True

    def _event_unbind(self, caller: Caller, params: dict[str, Any]) -> dict[str, int]:
        return {"count": self._portal.unbind(str(params["EVENT"]), str(params["HANDLER"]))}

    def _event_get(self, caller: Caller, params: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "event": binding.event,
                "handler": binding.handler,
                "auth_type": str(binding.auth_type),
                "offline": int(binding.offline),
            }
            for binding in self._portal.bindings
            if caller.user.admin or binding.user_id == caller.user.id
        ]

    # Connectors (bitrix24.md section 6)

    def _register(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        """Failures are HTTP 200 with result.result = false."""
        icon = params.get("ICON")
        wrong = (
            "CONNECTOR_ID_REQUIRED"
            if not params.get("ID")
            else "NAME_REQUIRED"
            if not params.get("NAME")
            else "ICON_REQUIRED"
            if not isinstance(icon, dict) or not icon.get("DATA_IMAGE")
            else "NO_PLACEMENT_HANDLER"
            if not params.get("PLACEMENT_HANDLER")
            else ""
        )
        connector_id = str(params.get("ID") or "").lower()
        app = self._portal.options.client_id
        with self._portal.lock:
            old = self._portal.connectors.get(connector_id)
            if not wrong and ("." in connector_id or (old and old.app != app)):
                wrong = "APPLICATION_REGISTRATION_ERROR"
            if wrong:
                told = wrong.replace("_", " ").capitalize()
                return {"result": False, "error": wrong, "error_description": told}
            disabled = params.get("ICON_DISABLED")
            self._portal.connectors[connector_id] = Connector(
                connector_id,
                str(params["NAME"]),
                str(params["PLACEMENT_HANDLER"]),
                dict(icon) if isinstance(icon, dict) else {},
                dict(disabled) if isinstance(disabled, dict) else {},
                {name: _flag(params.get(name), usual) for name, usual in FLAGS.items()},
                app,
                old.lines if old else {},
            )
            self._portal.touch()
        return {"result": True}

    def _unregister(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        with self._portal.lock:
            connector = self._portal.connector(params["ID"])
            if not connector.lines:
                return {
                    "result": False,
                    "error": "CONNECTOR_HAS_NO_LINES",
                    "error_description": "The connector has no connected line",
                }
            for line in list(connector.lines):
                self._portal.disconnect(connector, line, caller.user.id)
            del self._portal.connectors[connector.id]
            self._portal.touch()
        return {"result": True}

    def _activate(self, caller: Caller, params: dict[str, Any]) -> bool:
        """Neither the line nor the ownership is checked; off is what PHP calls empty."""
        with self._portal.lock:
            connector = self._portal.connector(params["CONNECTOR"])
            line = int(params["LINE"])
            if params.get("ACTIVE") in (None, "", "0", 0, False, [], {}):
                self._portal.disconnect(connector, line, caller.user.id)
                return True
            row = self._portal.connected_line(connector, line)
            row.active = row.connection = row.register = True
            self._portal.touch()
        return True

    def _status(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        connector = self._portal.connector(params["CONNECTOR"])
        line = int(params.get("LINE") or 0)
        row = connector.lines.get(line)
        return {
            "LINE": line,
            "CONNECTOR": connector.id,
            "ERROR": False,
            "CONFIGURED": row is not None and row.connection and row.register,
            "STATUS": row is not None and row.works,
        }

    def _data_set(self, caller: Caller, params: dict[str, Any]) -> bool:
        """Merges; empty values cannot clear; raises no flags."""
        with self._portal.lock:
            connector = self._portal.connector(params["CONNECTOR"])
            row = self._portal.connected_line(connector, int(params["LINE"]))
            data = params["DATA"] if isinstance(params["DATA"], dict) else {}
            row.data |= {key: str(data[key]) for key in DATA_KEYS if data.get(key)}
        return True

    def _list(self, caller: Caller, params: dict[str, Any]) -> dict[str, str]:
        _must_be_admin(caller)
        return BUILT_IN | {item.id: item.name for item in self._portal.connectors.values()}

    def _lines(self, caller: Caller, params: dict[str, Any]) -> list[dict[str, str]]:
        _must_be_admin(caller)
        return [
            {"ID": str(line), "ACTIVE": "Y", "LINE_NAME": name}
            for line, name in self._portal.lines.items()
        ]

    # Messages

    def _send(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        connector = self._portal.connector(params["CONNECTOR"])
        return self._incoming.send(connector, int(params["LINE"]), _items(params))

    def _update(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        connector = self._portal.connector(params["CONNECTOR"])
        return self._incoming.update(connector, int(params["LINE"]), _items(params))

    def _delete(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        connector = self._portal.connector(params["CONNECTOR"])
        return self._incoming.delete(connector, int(params["LINE"]), _items(params))

    def _delivery(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        """SUCCESS even when nothing matched (section 3)."""
        self._portal.connector(params["CONNECTOR"])
        for item in _items(params):
            im, message = item.get("im"), item.get("message")
            number = str(im.get("message_id") if isinstance(im, dict) else "")
            ids = message.get("id") if isinstance(message, dict) else None
            given = ids if isinstance(ids, list) else [ids] if ids else []
            if number.isdecimal():
                self._talks.confirm(int(number), [str(one) for one in given])
        return {"SUCCESS": True, "DATA": []}

    def _reading(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        self._portal.connector(params["CONNECTOR"])
        return {"SUCCESS": True, "DATA": []}

    def _chat_name_set(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        connector = self._portal.connector(params["CONNECTOR"])
        with self._portal.lock:
            for dialog in self._talks.dialogs.values():
                same = (dialog.connector, dialog.line, dialog.external_chat_id) == (
                    connector.id,
                    int(params["LINE"]),
                    str(params["CHAT_ID"]),
                )
                if same:
                    dialog.title = str(params["NAME"])
                    self._portal.touch()
        return {"SUCCESS": True, "DATA": {"RESULT": {}}}

    def _message_add(self, caller: Caller, params: dict[str, Any]) -> int:
        """Into a line's chat: an employee's text goes out, SYSTEM=Y does not (section 1.2)."""
        number = str(params["DIALOG_ID"]).removeprefix("chat")
        dialog = self._talks.dialogs.get(int(number)) if number.isdecimal() else None
        if dialog is None:
            raise RestError("ACCESS_ERROR", "You don't have access to this chat", 403)
        text = str(params["MESSAGE"])
        if str(params.get("SYSTEM") or "N").upper() == "Y":
            return self._talks.notice(dialog, text, caller.user.id).id
        try:
            return self._talks.answer(dialog, text, caller.user.id).id
        except NotAllowed as error:
            raise RestError("CANCELED", str(error)) from None


def _items(params: dict[str, Any]) -> list[Any]:
    items = params["MESSAGES"]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise RestError("ERROR_ARGUMENT", "MESSAGES must be an array of objects")
    return items


def _must_be_admin(caller: Caller) -> None:
    if not caller.user.admin:
        raise RestError("ACCESS_DENIED", "Access denied", 403)


def _flag(value: Any, usual: bool) -> bool:
    if value is None or value == "":
        return usual
    return str(value).lower() in ("1", "y", "true")


def _person(user: User) -> dict[str, Any]:
    return {
        "ID": str(user.id),
        "ACTIVE": True,
        "NAME": user.name,
        "LAST_NAME": user.last_name,
        "SECOND_NAME": "",
        "EMAIL": f"user{user.id}@example.com",
        "PERSONAL_PHOTO": None,
        "WORK_POSITION": "",
        "USER_TYPE": "employee",
    }
