"""Visitors' messages from the application: imconnector.send.messages, update and delete.

bitrix24.md sections 4 and 5. Items of one chat run one after the other;
waiting and downloading happen without the portal's lock.
"""

import re
import threading
import time
import unicodedata
from typing import Any

from .dialog_actions import DialogActions
from .dialogs import Dialogs
from .files import Disk, File
from .options import RestError
from .portal import Connector, Portal
from .troubles import Troubles

TEXT_CHARACTERS = 20_000  # bitrix24.md 5.13
TEXT_CUT_MARK = " (...)"
NAME_CHARACTERS = 25  # bitrix24.md 5.8
CHAT_LOCK_SECONDS = 6  # then the portal goes on without the lock (bitrix24.md 4.15)
LOOK_SECONDS = 0.05  # between two looks at the trouble `item_seconds`
EMAIL = re.compile(  # bitrix24.md 5.10
    r"(?i:[=_0-9a-z+~'!$&*^`|#%/?{}-]+(\.[=_0-9a-z+~'!$&*^`|#%/?{}-]+)*@([-0-9a-z]+\.)+[a-z0-9-]{2,20})"
)
PHONE = re.compile(r"\+?[0-9 ()./-]*")
PHONE_DIGITS = range(5, 16)
NAME_SIGNS = " -'’ʼ‘`"


class ItemError(Exception):
    """One item fails; the call and its other items do not (bitrix24.md 4.4)."""


class Incoming:
    def __init__(
        self, portal: Portal, dialogs: Dialogs, actions: DialogActions, disk: Disk
    ) -> None:
        self._portal = portal
        self._dialogs = dialogs
        self._actions = actions
        self._disk = disk
        self._guard = threading.Lock()
        self._chat_locks: dict[str, threading.Lock] = {}

    def send(self, connector: Connector, line: int, items: list[Any]) -> dict[str, Any]:
        check_structure(items)
        if not self._works(connector, line):
            return {"SUCCESS": False, "DATA": []}
        return {
            "SUCCESS": True,
            "DATA": {"RESULT": [self._send_item(connector, line, item) for item in items]},
        }

    def _works(self, connector: Connector, line: int) -> bool:
        """Whether the line takes messages. Newer builds refuse the call if not (4.3, 4.18)."""
        with self._portal.lock:
            troubles, connected = self._portal.troubles, connector.lines.get(line)
            works = connected is not None and connected.works and not troubles.inactive_line
            works = works and self._portal.line_settings.get(line, {}).get("ACTIVE") != "N"
        if not works and not troubles.old_build:
            raise RestError("NOT_ACTIVE_LINE", "The line is not active or the connector is off")
        return works

    def _send_item(self, connector: Connector, line: int, item: dict[str, Any]) -> dict[str, Any]:
        lock = self._chat_lock(f"{line}|{item['chat'].get('id')}|{item['user'].get('id')}")
        held = lock.acquire(timeout=CHAT_LOCK_SECONDS)
        try:
            self._wait_for_trouble()
            return self._store(connector, line, item)
        except ItemError as error:
            return {**item, "SUCCESS": False, "ERRORS": [str(error)]}
        finally:
            if held:
                lock.release()

    def _wait_for_trouble(self) -> None:
        """Wait `item_seconds`; a lower value ends a wait that has already begun, too."""
        start = time.monotonic()
        while (rest := start + self._portal.troubles.item_seconds - time.monotonic()) > 0:
            time.sleep(min(rest, LOOK_SECONDS))

    def _chat_lock(self, key: str) -> threading.Lock:
        with self._guard:
            return self._chat_locks.setdefault(key, threading.Lock())

    def _store(self, connector: Connector, line: int, item: dict[str, Any]) -> dict[str, Any]:
        user_data, message, chat = item["user"], item["message"], item["chat"]
        troubles = self._portal.troubles
        text = cut(str(message.get("text") or ""))
        if troubles.fail_items and troubles.fail_items in text:
            raise ItemError("The message could not be saved")
        check_user(user_data, troubles)
        if not chat.get("id"):
            raise ItemError("The chat id is empty")
        files = self._download(message.get("files"))
        if not text.strip() and not files:
            raise ItemError("The message is empty")
        external_id = str(message.get("id") or "")
        with self._portal.lock:
            user = self._dialogs.visitor(connector, user_data)
            result: dict[str, Any] = {
                "user": str(user.id),
                "message": {
                    "id": external_id,
                    "date": {},
                    "text": text,
                    "files": [file.id for file in files],
                },
                "chat": {"id": str(chat["id"]), "name": str(chat.get("name") or "")},
                "SUCCESS": True,
            }
            if line not in self._portal.lines or troubles.no_session == "not stored":
                return result
            dialog = self._actions.open_dialog(
                connector, line, chat, user, str(user_data.get("id") or "")
            )
            self._actions.add_visitor_message(dialog, user.id, text, files, external_id)
            if not troubles.no_session and not troubles.old_build:
                result["session"] = {
                    "ID": str(dialog.session_id),
                    "CHAT_ID": str(dialog.chat_id),
                }
            return result

    def _download(self, links: Any) -> list[File]:
        """The files that can be fetched; one that cannot is no error (bitrix24.md 5.15)."""
        if not isinstance(links, list) or self._portal.troubles.no_files:
            return []
        files = [self._disk.download(link) for link in links if isinstance(link, dict)]
        return [file for file in files if file is not None]

    def update(self, connector: Connector, line: int, items: list[Any]) -> dict[str, Any]:
        return self._change(connector, line, items, delete=False)

    def delete(self, connector: Connector, line: int, items: list[Any]) -> dict[str, Any]:
        return self._change(connector, line, items, delete=True)

    def _change(
        self, connector: Connector, line: int, items: list[Any], delete: bool
    ) -> dict[str, Any]:
        check_structure(items)
        if not self._works(connector, line):
            return {"SUCCESS": False, "DATA": []}
        results = []
        for item in items:
            text = cut(str(item["message"].get("text") or ""))
            with self._portal.lock:
                found = self._change_item(connector, line, item, None if delete else text)
            results.append(self._changed(connector, item, None if delete else text, found))
        return {"SUCCESS": True, "DATA": {"RESULT": results}}

    def _changed(
        self, connector: Connector, item: dict[str, Any], text: str | None, found: bool
    ) -> dict[str, Any]:
        """The result of one item; `text` is None for a deletion."""
        if not found:
            return {**item, "SUCCESS": False, "ERRORS": ["The message was not found"]}
        message: dict[str, Any] = {"id": str(item["message"].get("id"))}
        if text is not None:
            message |= {"date": {}, "text": text}
        user_id = self._dialogs.visitor_id(connector, item["user"].get("id"))
        chat = {"id": str(item["chat"].get("id"))}
        if text is not None:
            chat["name"] = str(item["chat"].get("name") or "")
        return {"user": str(user_id), "message": message, "chat": chat, "SUCCESS": True}

    def _change_item(
        self, connector: Connector, line: int, item: dict[str, Any], text: str | None
    ) -> bool:
        """False if this visitor's dialog has no message with that id; `text` None deletes it."""
        if text is None and not connector.flags["DEL_EXTERNAL_MESSAGES"]:
            return False
        dialog = self._dialogs.dialog_of_visitor(
            connector, line, item["chat"].get("id"), item["user"].get("id")
        )
        found = False
        for message in dialog.messages if dialog else []:
            known = [] if message.bare else message.connector_mid
            if str(item["message"].get("id")) in known:
                found = True
                if text is None:
                    self._actions.delete(message)
                else:
                    self._actions.edit(message, text)
        return found


def check_structure(items: list[Any]) -> None:
    """One malformed item refuses the whole call (bitrix24.md 4.2)."""
    for item in items:
        blocks = [item.get(name) for name in ("user", "message", "chat")] if item else [None]
        if not all(isinstance(block, dict) for block in blocks):
            raise RestError("ERROR_ARGUMENT", "Each message needs user, message and chat")


def allowed_in_name(sign: str) -> bool:
    """Letters, the marks that letters of many scripts carry, and the signs of NAME_SIGNS."""
    return unicodedata.category(sign)[0] in "LM" or sign in NAME_SIGNS


def check_user(user: dict[str, Any], troubles: Troubles) -> None:
    if not str(user.get("id") or ""):
        raise ItemError("The user id is empty")
    check_contacts(str(user.get("email") or ""), str(user.get("phone") or ""), troubles)
    for key in ("name", "last_name") if troubles.strict_names else ():
        name = str(user.get(key) or "")
        if len(name) > NAME_CHARACTERS or not all(map(allowed_in_name, name)):
            raise ItemError(
                f"user.{key} is longer than {NAME_CHARACTERS} or has a forbidden character"
            )


def check_contacts(email: str, phone: str, troubles: Troubles) -> None:
    """An e-mail or telephone that is wrong fails the making of the user (5.10, 5.11)."""
    if email and (len(email) > 320 or not EMAIL.fullmatch(email)):
        raise ItemError("The e-mail address is wrong")
    digits = sum(map(str.isdigit, phone))
    if phone and not (PHONE.fullmatch(phone) and digits in PHONE_DIGITS):
        raise ItemError("The telephone number is wrong")
    for name, value in (("email", email), ("phone", phone)):
        if troubles.refuse_contacts and troubles.refuse_contacts in value:
            raise ItemError(troubles.refuse_contacts_as or f"user.{name} is wrong")


def cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARACTERS else text[:TEXT_CHARACTERS] + TEXT_CUT_MARK
