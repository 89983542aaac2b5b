"""imconnector.send.messages: what becomes of each item, and the limits on it.

bitrix24.md sections 4 and 5. Items of one chat run one after the other;
waiting and downloading happen without the portal's lock.
"""

import re
import threading
import time
import unicodedata
from typing import Any

from .files import Disk, File
from .portal import Connector, Portal, RestError
from .talks import Talks

TEXT_LIMIT = 20_000
CUT = " (...)"
NAME_LIMIT = 25
CHAT_LOCK_SECONDS = 6  # then the portal goes on without the lock (section 4)
LOOK_SECONDS = 0.05
EMAIL = re.compile(r"^[^@\s]+@[^@\s]+\.[^@\s]+$")
NAME_SIGNS = " -'’ʼ‘`"


class ItemError(Exception):
    """This item fails; the others and the call do not."""


class Incoming:
    def __init__(self, portal: Portal, talks: Talks, disk: Disk) -> None:
        self._portal = portal
        self._talks = talks
        self._disk = disk
        self._guard = threading.Lock()
        self._chat_locks: dict[str, threading.Lock] = {}

    def send(self, connector: Connector, line: int, items: list[Any]) -> dict[str, Any]:
        check_structure(items)
        with self._portal.lock:
            row = connector.lines.get(line)
            works = row is not None and row.works and not self._portal.troubles.inactive_line
            old_build = self._portal.troubles.old_build
        if not works and old_build:
            return {"SUCCESS": False, "DATA": []}
        if not works:
            raise RestError("NOT_ACTIVE_LINE", "The line is not active or the connector is off")
        return {
            "SUCCESS": True,
            "DATA": {"RESULT": [self._send_one(connector, line, item) for item in items]},
        }

    def _send_one(self, connector: Connector, line: int, item: dict[str, Any]) -> dict[str, Any]:
        lock = self._chat_lock(f"{line}|{item['chat'].get('id')}|{item['user'].get('id')}")
        held = lock.acquire(timeout=CHAT_LOCK_SECONDS)
        try:
            self._take_time()
            return self._store(connector, line, item)
        except ItemError as error:
            return {**item, "SUCCESS": False, "ERRORS": [str(error)]}
        finally:
            if held:
                lock.release()

    def _take_time(self) -> None:
        """The trouble `item_seconds`; setting it lower ends what is waited for already."""
        start = time.monotonic()
        while (left := start + self._portal.troubles.item_seconds - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_SECONDS))

    def _chat_lock(self, key: str) -> threading.Lock:
        with self._guard:
            return self._chat_locks.setdefault(key, threading.Lock())

    def _store(self, connector: Connector, line: int, item: dict[str, Any]) -> dict[str, Any]:
        user_data, message, chat = item["user"], item["message"], item["chat"]
        troubles = self._portal.troubles
        text = cut(str(message.get("text") or ""))
        if troubles.fail_items and troubles.fail_items in text:
            raise ItemError("The message could not be saved")
        check_user(user_data, troubles.strict_names)
        if not chat.get("id"):
            raise ItemError("The chat id is empty")
        files = self._download(message.get("files"))
        if not text.strip() and not files:
            raise ItemError("The message is empty")
        external_id = str(message.get("id") or "")
        with self._portal.lock:
            user = self._talks.visitor(connector, user_data)
            told: dict[str, Any] = {
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
                return told
            dialog = self._talks.open_dialog(
                connector, line, chat, user, str(user_data.get("id") or "")
            )
            self._talks.add_visitor_message(dialog, user.id, text, files, external_id)
            if not troubles.no_session and not troubles.old_build:
                told["session"] = {
                    "ID": str(dialog.session_id),
                    "CHAT_ID": str(dialog.chat_id),
                }
            return told

    def _download(self, links: Any) -> list[File]:
        """Whatever can be fetched; a broken file is dropped without a word."""
        if not isinstance(links, list) or self._portal.troubles.no_files:
            return []
        found = [self._disk.download(link) for link in links if isinstance(link, dict)]
        return [file for file in found if file is not None]

    def update(self, connector: Connector, line: int, items: list[Any]) -> dict[str, Any]:
        return self._change(connector, line, items, delete=False)

    def delete(self, connector: Connector, line: int, items: list[Any]) -> dict[str, Any]:
        return self._change(connector, line, items, delete=True)

    def _change(
        self, connector: Connector, line: int, items: list[Any], delete: bool
    ) -> dict[str, Any]:
        check_structure(items)
        results = []
        for item in items:
            text = cut(str(item["message"].get("text") or ""))
            with self._portal.lock:
                done = self._change_one(connector, line, item, None if delete else text)
            told = {**item, "SUCCESS": done}
            results.append(told if done else {**told, "ERRORS": ["The message was not found"]})
        return {"SUCCESS": True, "DATA": {"RESULT": results}}

    def _change_one(
        self, connector: Connector, line: int, item: dict[str, Any], text: str | None
    ) -> bool:
        """Found by CONNECTOR_MID in this visitor's chat only."""
        if text is None and not connector.flags["DEL_EXTERNAL_MESSAGES"]:
            return False
        user_id = self._talks.visitors.get(f"{connector.id}|{item['user'].get('id')}")
        dialog = self._talks.by_code.get(
            f"{connector.id}|{line}|{item['chat'].get('id')}|{user_id}"
        )
        found = False
        for message in dialog.messages if dialog else []:
            if str(item["message"].get("id")) in message.connector_mid:
                found = True
                if text is None:
                    self._talks.delete(message)
                else:
                    self._talks.edit(message, text)
        return found


def check_structure(items: list[Any]) -> None:
    """One bad item fails the whole call (section 4)."""
    for item in items:
        blocks = [item.get(name) for name in ("user", "message", "chat")] if item else [None]
        if not all(isinstance(block, dict) for block in blocks):
            raise RestError("ERROR_ARGUMENT", "Each message needs user, message and chat")


def is_of_a_name(one: str) -> bool:
    """A letter, which in many scripts has its marks, or a sign that names have."""
    return unicodedata.category(one)[0] in "LM" or one in NAME_SIGNS


def check_user(user: dict[str, Any], strict_names: bool) -> None:
    if not str(user.get("id") or ""):
        raise ItemError("The user id is empty")
    email = str(user.get("email") or "")
    if email and not EMAIL.match(email):
        raise ItemError("The e-mail address is wrong")
    for key in ("name", "last_name") if strict_names else ():
        name = str(user.get(key) or "")
        if len(name) > NAME_LIMIT or not all(map(is_of_a_name, name)):
            raise ItemError(f"user.{key} is longer than {NAME_LIMIT} or has a forbidden character")


def cut(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + CUT
