"""REST methods about the portal's people: who they are, and what they are told."""

from typing import Any

from .caller import Caller, Method, Page
from .options import RestError
from .people import messenger_user, user_fields
from .portal import Portal, User

PAGE = 50


class PeopleMethods:
    """`table` holds every method by its name."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self.table: dict[str, Method] = {
            "profile": self._profile,
            "user.current": lambda caller, params: user_fields(caller.user, scopes(caller)),
            "user.get": self._user_get,
            "im.user.get": self._messenger_user,
            "im.notify.system.add": self._notify,
        }

    def _profile(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        user = caller.user
        return {
            "ID": str(user.id),
            "ADMIN": user.admin,
            "NAME": user.name,
            "LAST_NAME": user.last_name,
            "PERSONAL_GENDER": "",
            "PERSONAL_PHOTO": "",
            "TIME_ZONE": "",
            "TIME_ZONE_OFFSET": 0,
        }

    def _user_get(self, caller: Caller, params: dict[str, Any]) -> Page:
        """Employees only; a field that the scope does not cover is left out without an error."""
        wanted = params.get("FILTER")
        filters = dict(wanted) if isinstance(wanted, dict) else {}
        filters |= {"ID": params["ID"]} if params.get("ID") else {}
        found = [user for user in self._portal.employees() if _fits(user, filters)]
        descending = str(params.get("ORDER") or "ASC").upper() == "DESC"
        key = str(params.get("SORT") or "ID").upper()
        found.sort(key=lambda user: _sortable(user, key), reverse=descending)
        first = int(params.get("START") or 0)
        last = first + PAGE
        users = [_selected(user, caller, params.get("SELECT")) for user in found[first:last]]
        return Page(users, len(found), last if last < len(found) else None)

    def _messenger_user(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        user = self._portal.users.get(int(params.get("ID") or caller.user.id))
        if user is None:
            raise RestError("USER_NOT_EXISTS", "The user does not exist")
        return messenger_user(user)

    def _notify(self, caller: Caller, params: dict[str, Any]) -> int | bool:
        """One with the tag of an earlier one takes its place; false for an unknown user."""
        user_id, tag = int(params["USER_ID"]), str(params.get("TAG") or "")
        text = str(params["MESSAGE"]).strip()
        if not text:
            raise RestError("MESSAGE_EMPTY", "The message is empty")
        with self._portal.lock:
            if user_id not in self._portal.users:
                return False
            number = self._portal.next_id("notification")
            kept = [
                one
                for one in self._portal.notifications
                if not tag or (one["user_id"], one["tag"]) != (user_id, tag)
            ]
            fields = {"id": number, "user_id": user_id, "text": text, "tag": tag}
            self._portal.notifications = [*kept, fields]
            self._portal.touch()
        return number


def scopes(caller: Caller) -> set[str]:
    """What the caller's token may do."""
    return {part.strip() for part in caller.token.scope.split(",")}


def _all_fields(user: User) -> dict[str, Any]:
    return user_fields(user, {"user"})


def _sortable(user: User, key: str) -> tuple[int, str]:
    value = str(_all_fields(user).get(key, ""))
    return (int(value), "") if value.isdecimal() else (0, value)


def _fits(user: User, filters: dict[str, Any]) -> bool:
    fields = _all_fields(user)
    for name, wanted in filters.items():
        key = name.upper().lstrip("=@")
        allowed = [str(value) for value in (wanted if isinstance(wanted, list) else [wanted])]
        if key == "ACTIVE":
            allowed = [str(value.lower() in ("true", "1", "y")) for value in allowed]
        if key == "NAME_SEARCH":
            if not any(value.lower() in user.full_name.lower() for value in allowed):
                return False
        elif str(fields.get(key)) not in allowed:
            return False
    return True


def _selected(user: User, caller: Caller, select: Any) -> dict[str, Any]:
    """`*` means all fields; an unknown name is passed over (user.get)."""
    fields = user_fields(user, scopes(caller))
    names = [str(name) for name in select] if isinstance(select, list) else []
    if not names or "*" in names:
        return fields
    return {
        name: value
        for name, value in fields.items()
        if name in names or ("UF_*" in names and name.startswith("UF_"))
    }
