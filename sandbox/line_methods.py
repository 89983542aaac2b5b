"""REST methods about the portal's open lines and their settings (bitrix24.md section 14)."""

from typing import Any

from .caller import Caller, Method
from .portal import Portal

PAGE, LARGEST_PAGE = 50, 200
QUEUE_KEYS = ("QUEUE", "QUEUE_USERS_FIELDS", "QUEUE_ONLINE")  # only with the queue
NO_ALIAS = {
    "USER_NAME": None,
    "USER_WORK_POSITION": None,
    "USER_AVATAR": None,
    "USER_AVATAR_ID": "0",
}
DEFAULTS: dict[str, Any] = {
    "ACTIVE": "Y",
    "CRM": "N",
    "CRM_CREATE": "lead",
    "CRM_CREATE_SECOND": "0",
    "CRM_CREATE_THIRD": "Y",
    "CRM_FORWARD": "Y",
    "CRM_CHAT_TRACKER": "N",
    "CRM_TRANSFER_CHANGE": "Y",
    "CRM_SOURCE": "create",
    "QUEUE_TIME": "60",
    "NO_ANSWER_TIME": "60",
    "QUEUE_TYPE": "evenly",
    "CHECK_AVAILABLE": "Y",
    "WATCH_TYPING": "N",
    "WELCOME_BOT_ENABLE": "N",
    "WELCOME_MESSAGE": "N",
    "WELCOME_MESSAGE_TEXT": "Welcome! The first free operator will answer you.",
    "VOTE_MESSAGE": "Y",
    "VOTE_TIME_LIMIT": "0",
    "VOTE_BEFORE_FINISH": "Y",
    "VOTE_CLOSING_DELAY": "Y",
    "VOTE_MESSAGE_1_TEXT": "Please rate our answer.",
    "VOTE_MESSAGE_1_LIKE": "Thank you!",
    "VOTE_MESSAGE_1_DISLIKE": "Sorry to hear that",
    "VOTE_MESSAGE_2_TEXT": "Please rate our answer: 1 - good, 0 - bad",
    "VOTE_MESSAGE_2_LIKE": "Thank you!",
    "VOTE_MESSAGE_2_DISLIKE": "Sorry to hear that",
    "AGREEMENT_MESSAGE": "N",
    "AGREEMENT_ID": "0",
    "CATEGORY_ENABLE": "N",
    "CATEGORY_ID": "0",
    "WELCOME_BOT_JOIN": "always",
    "WELCOME_BOT_ID": "0",
    "WELCOME_BOT_TIME": "180",
    "WELCOME_BOT_LEFT": "close",
    "NO_ANSWER_RULE": "text",
    "NO_ANSWER_FORM_ID": "0",
    "NO_ANSWER_BOT_ID": "0",
    "NO_ANSWER_TEXT": "Nobody can answer at the moment. We will contact you.",
    "WORKTIME_ENABLE": "N",
    "WORKTIME_FROM": "9",
    "WORKTIME_TO": "18.30",
    "WORKTIME_TIMEZONE": "Europe/London",
    "WORKTIME_HOLIDAYS": [""],
    "WORKTIME_DAYOFF": [""],
    "WORKTIME_DAYOFF_RULE": "text",
    "WORKTIME_DAYOFF_FORM_ID": "0",
    "WORKTIME_DAYOFF_BOT_ID": "0",
    "WORKTIME_DAYOFF_TEXT": "We are closed now. We will answer when we open.",
    "CLOSE_RULE": "text",
    "CLOSE_FORM_ID": "0",
    "CLOSE_BOT_ID": "0",
    "CLOSE_TEXT": "Thank you for writing to us.",
    "FULL_CLOSE_TIME": "0",
    "AUTO_CLOSE_RULE": "none",
    "AUTO_CLOSE_FORM_ID": "0",
    "AUTO_CLOSE_BOT_ID": "0",
    "AUTO_CLOSE_TIME": "3600",
    "AUTO_CLOSE_TEXT": "",
    "AUTO_EXPIRE_TIME": "86400",
    "DATE_CREATE": {},
    "DATE_MODIFY": {},
    "MODIFY_USER_ID": "1",
    "TEMPORARY": "N",
    "XML_ID": None,
    "QUICK_ANSWERS_IBLOCK_ID": "0",
    "SESSION_PRIORITY": "0",
    "TYPE_MAX_CHAT": "answered_new",
    "MAX_CHAT": "0",
    "OPERATOR_DATA": "profile",
    "DEFAULT_OPERATOR_DATA": [],
    "KPI_FIRST_ANSWER_TIME": "0",
    "KPI_FIRST_ANSWER_ALERT": "N",
    "KPI_FIRST_ANSWER_LIST": None,
    "KPI_FIRST_ANSWER_TEXT": "",
    "KPI_FURTHER_ANSWER_TIME": "0",
    "KPI_FURTHER_ANSWER_ALERT": "N",
    "KPI_FURTHER_ANSWER_LIST": None,
    "KPI_FURTHER_ANSWER_TEXT": "",
    "KPI_CHECK_OPERATOR_ACTIVITY": "N",
    "SEND_NOTIFICATION_EMPTY_QUEUE": "N",
    "USE_WELCOME_FORM": "N",
    "WELCOME_FORM_ID": "0",
    "WELCOME_FORM_DELAY": "Y",
    "SEND_WELCOME_EACH_SESSION": "Y",
    "CONFIRM_CLOSE": "Y",
    "IGNORE_WELCOME_FORM_RESPONSIBLE": "N",
}


class LineMethods:
    """`table` holds every method by its name."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self.table: dict[str, Method] = {
            "imopenlines.config.get": self._get,
            "imopenlines.config.list.get": self._list,
        }

    def settings(self, line: int) -> dict[str, Any]:
        """The line's own settings over the defaults, without its queue."""
        portal = self._portal
        own = {"LINE_NAME": portal.lines[line], "LANGUAGE_ID": portal.options.lang}
        return {"ID": str(line), **DEFAULTS, **own, **portal.line_settings.get(line, {})}

    def _get(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any] | bool:
        """False for a line that does not exist."""
        line = int(params["CONFIG_ID"])
        with self._portal.lock:
            if line not in self._portal.lines:
                return False
            settings = self.settings(line)
            if str(params.get("WITH_QUEUE") or "Y").upper() != "Y":
                return {key: value for key, value in settings.items() if key not in QUEUE_KEYS}
            show_offline = str(params.get("SHOW_OFFLINE") or "Y").upper() == "Y"
            queue = self._queue(line, show_offline)
        fields = self._alias_fields(line, queue)
        return settings | {
            "QUEUE": [str(user_id) for user_id in queue],
            "QUEUE_FULL": {
                key: {"ID": str(200 + place), "SORT": str(place), "USER_ID": key,
                      "DEPARTMENT_ID": "0", **alias}
                for place, (key, alias) in enumerate(fields.items())
            },
            "QUEUE_USERS_FIELDS": fields,
            "QUEUE_ONLINE": settings.get("QUEUE_ONLINE", "Y" if self._any_online(queue) else "N"),
        }  # fmt: skip

    def _queue(self, line: int, show_offline: bool = True) -> list[int]:
        own = self._portal.line_settings.get(line, {}).get("QUEUE")
        queue = [int(user_id) for user_id in ([1, 18] if own is None else own)]
        return [user_id for user_id in queue if show_offline or self._any_online([user_id])]

    def _any_online(self, queue: list[int]) -> bool:
        users = self._portal.users
        return any(user_id in users and users[user_id].online for user_id in queue)

    def _alias_fields(self, line: int, queue: list[int]) -> dict[str, dict[str, Any]]:
        """The aliases that the line gives its operators, null where it gives none."""
        own = self._portal.line_settings.get(line, {}).get("QUEUE_USERS_FIELDS") or {}
        return {str(user_id): {**NO_ALIAS, **own.get(str(user_id), {})} for user_id in queue}

    def _listed_aliases(self, line: int, queue: list[int]) -> dict[str, dict[str, Any]]:
        """In the list of lines, the picture's id is a number or null."""
        aliases = self._alias_fields(line, queue)
        return {
            key: {**alias, "USER_AVATAR_ID": int(alias["USER_AVATAR_ID"] or 0) or None}
            for key, alias in aliases.items()
        }

    def _list(self, caller: Caller, params: dict[str, Any]) -> list[dict[str, Any]]:
        asked, options = _upper(params.get("PARAMS")), _upper(params.get("OPTIONS"))
        with self._portal.lock:
            lines = [self.settings(line) for line in self._portal.lines]
        for key, wanted in _upper(asked.get("FILTER")).items():
            values = [str(value) for value in (wanted if isinstance(wanted, list) else [wanted])]
            lines = [line for line in lines if str(line.get(key.lstrip("="))) in values]
        for key, direction in reversed(_upper(asked.get("ORDER")).items()):
            descending = str(direction).lower() == "desc"
            lines.sort(key=lambda line: _sortable(line.get(key)), reverse=descending)
        first = int(asked.get("OFFSET") or 0)
        limit = min(int(asked.get("LIMIT") or PAGE), LARGEST_PAGE)
        return [self._listed(line, asked, options) for line in lines[first : first + limit]]

    def _listed(
        self, settings: dict[str, Any], asked: dict[str, Any], options: dict[str, Any]
    ) -> dict[str, Any]:
        line, select = int(settings["ID"]), asked.get("SELECT") or []
        fields = {
            key: value
            for key, value in settings.items()
            if key not in QUEUE_KEYS and (not select or key in select or key == "ID")
        }
        queue = self._queue(line)
        if str(options.get("QUEUE")).upper() == "Y":
            fields |= {"QUEUE": queue, "QUEUE_USERS_FIELDS": self._listed_aliases(line, queue)}
        if str(options.get("CONFIG_QUEUE")).upper() == "Y":
            users = [{"ENTITY_ID": str(user_id), "ENTITY_TYPE": "user"} for user_id in queue]
            fields["CONFIG_QUEUE"] = users
        return fields


def _upper(values: Any) -> dict[str, Any]:
    return (
        {str(key).upper(): value for key, value in values.items()}
        if isinstance(values, dict)
        else {}
    )


def _sortable(value: Any) -> tuple[int, str]:
    text = str(value)
    return (int(text), "") if text.isdecimal() else (0, text)
