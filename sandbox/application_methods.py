"""REST methods about the application, the portal's people, and event bindings."""

from typing import Any
from urllib.parse import urlsplit

from .caller import Caller, Method
from .portal import Portal, RestError, User

LOOPBACK = ("localhost", "::1")  # the real portal wants a dot in the host (bitrix24.md 9.10)


class ApplicationMethods:
    """`table` holds every method by its name."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self.table: dict[str, Method] = {
            "app.info": self._app_info,
            "profile": self._profile,
            "scope": lambda caller, params: caller.token.scope.split(","),
            "user.current": lambda caller, params: _user_fields(caller.user),
            "user.get": self._user_get,
            "event.bind": self._event_bind,
            "event.unbind": self._event_unbind,
            "event.get": self._event_get,
        }

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
        wanted = params.get("ID") or (params.get("FILTER") or {}).get("ID")
        ids = [str(user_id) for user_id in (wanted if isinstance(wanted, list) else [wanted])]
        return [
            _user_fields(user)
            for user in self._portal.employees()
            if wanted is None or str(user.id) in ids
        ]

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


def _user_fields(user: User) -> dict[str, Any]:
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
