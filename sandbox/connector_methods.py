"""REST methods about connectors and the lines they are connected to (bitrix24.md section 6)."""

from typing import Any

from . import php
from .caller import Caller, Method
from .portal import Connector, Portal

FLAGS = {  # and whether each is on when the call does not name it (bitrix24.md 6.10)
    "DEL_EXTERNAL_MESSAGES": True,
    "EDIT_INTERNAL_MESSAGES": True,
    "DEL_INTERNAL_MESSAGES": True,
    "NEWSLETTER": True,
    "NEED_SYSTEM_MESSAGES": True,
    "NEED_SIGNATURE": True,
    "CHAT_GROUP": False,
}
DATA_KEYS = ("ID", "URL", "URL_IM", "NAME")
UNREGISTRATION_ERROR = "APPLICATION_UNREGISTRATION_ERROR"
BUILT_IN = {"livechat": "Live chat", "network": "Bitrix24.Network", "telegrambot": "Telegram"}


class ConnectorMethods:
    """`table` holds every method by its name."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self.table: dict[str, Method] = {
            "imconnector.register": self._register,
            "imconnector.unregister": self._unregister,
            "imconnector.activate": self._activate,
            "imconnector.status": self._status,
            "imconnector.connector.data.set": self._data_set,
            "imconnector.list": self._list,
        }

    def _register(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        """A failure is an HTTP 200 too (bitrix24.md 6.8)."""
        error = _missing_for_registration(params)
        connector_id = str(params.get("ID") or "").lower()
        app = self._portal.options.client_id
        with self._portal.lock:
            old = self._portal.connectors.get(connector_id)
            if not error and ("." in connector_id or (old and old.app != app)):
                error = "APPLICATION_REGISTRATION_ERROR"
            if error:
                return _failure(error, error.replace("_", " ").capitalize())
            disabled = params.get("ICON_DISABLED")
            self._portal.connectors[connector_id] = Connector(
                connector_id,
                str(params["NAME"]),
                str(params["PLACEMENT_HANDLER"]),
                dict(params["ICON"]),
                dict(disabled) if isinstance(disabled, dict) else {},
                {name: _flag(params.get(name), default) for name, default in FLAGS.items()},
                app,
                self._portal.lines_of(connector_id),
            )
            self._portal.touch()
        return {"result": True}

    def _unregister(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        """It fails for an unknown id, and where no line is connected (bitrix24.md 6.11, 6.15)."""
        with self._portal.lock:
            connector = self._portal.connectors.get(str(params["ID"]).lower())
            ours = connector is not None and connector.app == self._portal.options.client_id
            if connector is None or not ours or not connector.lines:
                return _failure(UNREGISTRATION_ERROR, "The connector could not be unregistered")
            for line in list(connector.lines):
                self._portal.disconnect(connector.id, line, caller.user.id)
            del self._portal.connectors[connector.id]
            self._portal.touch()
        return {"result": True}

    def _activate(self, caller: Caller, params: dict[str, Any]) -> bool:
        """Neither the line nor the connector is checked (bitrix24.md 6.4, 6.6 and 6.7)."""
        with self._portal.lock:
            connector_id, line = str(params["CONNECTOR"]), int(params["LINE"])
            if php.is_empty(params["ACTIVE"]):
                had_state = self._portal.disconnect(connector_id, line, caller.user.id)
                return had_state or not self._portal.troubles.old_build
            connected = self._portal.connected_line(connector_id, line)
            connected.active = connected.connection = connected.register = True
            self._portal.touch()
        return True

    def _status(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        """Of a connector that is not registered, too (bitrix24.md 6.7)."""
        connector_id, line = str(params["CONNECTOR"]).lower(), int(params.get("LINE") or 0)
        connected = self._portal.lines_of(connector_id).get(line)
        return {
            "LINE": line,
            "CONNECTOR": connector_id,
            "ERROR": False,
            "CONFIGURED": connected is not None and connected.connection and connected.register,
            "STATUS": connected is not None and connected.works,
        }

    def _data_set(self, caller: Caller, params: dict[str, Any]) -> bool:
        """New values are merged over old ones, and an empty one is skipped (bitrix24.md 6.1)."""
        with self._portal.lock:
            connected = self._portal.connected_line(str(params["CONNECTOR"]), int(params["LINE"]))
            data = params["DATA"] if isinstance(params["DATA"], dict) else {}
            connected.data |= {key: str(data[key]) for key in DATA_KEYS if data.get(key)}
        return True

    def _list(self, caller: Caller, params: dict[str, Any]) -> dict[str, str]:
        caller.must_be_admin()
        own = self._portal.connectors.values()
        return BUILT_IN | {connector.id: connector.name for connector in own}


def _missing_for_registration(params: dict[str, Any]) -> str:
    """The portal's code for the first required parameter that is missing; "" if none is."""
    if not params.get("ID"):
        return "CONNECTOR_ID_REQUIRED"
    if not params.get("NAME"):
        return "NAME_REQUIRED"
    icon = params.get("ICON")
    if not isinstance(icon, dict) or not icon.get("DATA_IMAGE"):
        return "ICON_REQUIRED"
    return "" if params.get("PLACEMENT_HANDLER") else "NO_PLACEMENT_HANDLER"


def _failure(code: str, description: str) -> dict[str, Any]:
    return {"result": False, "error": code, "error_description": description}


def _flag(value: Any, default: bool) -> bool:
    if value is None or value == "":
        return default
    return str(value).lower() in ("1", "y", "true")
