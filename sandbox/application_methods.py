"""REST methods about the application, the portal itself and its disk, and event bindings."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from .caller import Caller, Method
from .files import Disk
from .options import RestError
from .people_methods import scopes
from .portal import Portal

LOOPBACK = ("localhost", "::1")  # the real portal wants a dot in the host (bitrix24.md 9.10)
_MESSAGE_EVENTS = ("MESSAGEADD", "MESSAGEUPDATE", "MESSAGEDELETE")
_CONNECTOR_EVENTS = ("DIALOGSTART", "DIALOGFINISH", "STATUSDELETE", "LINEDELETE")
_APPLICATION_EVENTS = ("INSTALL", "UPDATE", "UNINSTALL", "PAYMENT", "METHODCONFIRM")
EVENTS = {
    *(f"ONIMCONNECTOR{name}" for name in _MESSAGE_EVENTS + _CONNECTOR_EVENTS),
    *(f"ONOPENLINE{name}" for name in _MESSAGE_EVENTS),
    *(f"ONAPP{name}" for name in _APPLICATION_EVENTS),
    *("ONSESSIONSTART", "ONSESSIONFINISH", "ONOFFLINEEVENT", "ONUSERADD"),
}
DISK_STORAGE, DISK_FOLDER = "3", "11"


class ApplicationMethods:
    """`table` holds every method by its name."""

    def __init__(self, portal: Portal, disk: Disk) -> None:
        self._portal = portal
        self._disk = disk
        self.table: dict[str, Method] = {
            "app.info": self._app_info,
            "scope": lambda caller, params: sorted(scopes(caller)),
            "server.time": lambda caller, params: _iso(datetime.fromtimestamp(portal.now(), UTC)),
            "feature.get": self._feature,
            "disk.file.get": self._file,
            "event.bind": self._event_bind,
            "event.unbind": self._event_unbind,
            "event.get": self._event_get,
        }

    def _app_info(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        """The portal's answer; the OAuth server's has other fields (bitrix24.md 8.5)."""
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
            "LICENSE_FAMILY": "project",
        }

    def _feature(self, caller: Caller, params: dict[str, Any]) -> dict[str, str]:
        has = str(params["CODE"]) in self._portal.troubles.features.split(",")
        return {"value": "Y" if has else "N"}

    def _file(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        """The address to load it from holds the caller's token, and works as long as that."""
        file = self._disk.get(int(params["ID"]))
        if file is None:
            raise RestError("ERROR_NOT_FOUND", f"Could not find entity with id {params['ID']}")
        base = self._portal.options.base_url
        key = quote(f"disk|{file.id}|{file.code}", safe="")
        stored_at = _iso(datetime.fromtimestamp(file.stored_at, UTC))
        return {
            "ID": str(file.id),
            "NAME": file.name,
            "CODE": None,
            "STORAGE_ID": DISK_STORAGE,
            "TYPE": "file",
            "PARENT_ID": DISK_FOLDER,
            "DELETED_TYPE": "0",
            "GLOBAL_CONTENT_VERSION": "1",
            "FILE_ID": str(file.id),
            "SIZE": str(len(file.content)),
            "CREATE_TIME": stored_at,
            "UPDATE_TIME": stored_at,
            "DELETE_TIME": None,
            "CREATED_BY": "1",
            "UPDATED_BY": "1",
            "DELETED_BY": None,
            "DOWNLOAD_URL": f"{base}/rest/download.json?auth={caller.token.access}&token={key}",
            "DETAIL_URL": f"{base}/disk/{file.id}/{file.code}",
        }

    def _event_bind(self, caller: Caller, params: dict[str, Any]) -> bool:
        offline = str(params.get("EVENT_TYPE") or "online").lower() == "offline"
        if str(params["EVENT"]).upper() not in EVENTS:
            raise RestError("ERROR_EVENT_NOT_FOUND", "Event not found")
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


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
