"""The open-line dialogs with their sessions and messages, and the visitors who write in them.

Keeps and finds them; posts no event. Whoever changes something holds the portal's lock.
"""

import time
from dataclasses import dataclass, field
from typing import Any

from .files import File
from .options import NotFound
from .portal import Connector, Portal, User

GUEST = "Guest"


@dataclass
class Message:
    id: int
    chat_id: int
    session_id: int
    author: str  # visitor, operator or system
    user_id: int
    text: str
    at: float
    files: list[File] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    blocks: list[Any] = field(default_factory=list)  # of an ATTACH (bitrix24.md 10.7)
    links: list[Any] = field(default_factory=list)  # rich ones (bitrix24.md 10.6)
    connector_mid: list[str] = field(default_factory=list)
    sending: bool = False  # posted to the application, whose delivery status has not come yet
    hidden: bool = False  # a whisper or a notice: never posted to the application
    edited: bool = False
    deleted: bool = False
    notice: str = ""  # what the histories show in place of the text of a deleted message
    bare: bool = False  # of a deleted message, the histories show no parameters and files any more


@dataclass
class Dialog:
    """`external_…` are the ids that the application gave; `user_id` is a user of the portal."""

    chat_id: int
    connector: str
    line: int
    external_chat_id: str
    external_user_id: str
    user_id: int
    user_name: str
    session_id: int = 0
    previous_session_id: int = 0
    closed: bool = True
    waits_for_rating: bool = False
    rating: str = ""  # "1" or "0" once the visitor has rated
    title: str = ""
    messages: list[Message] = field(default_factory=list)

    @property
    def user_code(self) -> str:
        """The portal's USER_CODE (bitrix24.md 5.3)."""
        return f"{self.connector}|{self.line}|{self.external_chat_id}|{self.user_id}"


class Dialogs:
    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self.clear()

    def clear(self) -> None:
        with self._portal.lock:
            self.dialogs: dict[int, Dialog] = {}  # by the portal's chat id
            self.messages: dict[int, Message] = {}
            self.by_user_code: dict[str, Dialog] = {}
            self._visitors: dict[str, int] = {}  # connector|external id: the portal user's id
            self._message_id = 903_000
            self._chat_id = 5_100
            self._session_id = 3_300

    # Finding

    def find_dialog(self, number: str) -> Dialog | None:
        """By the portal's chat id as a call gives it: a text of digits, or anything else."""
        return self.dialogs.get(int(number)) if number.isdecimal() else None

    def dialog(self, chat_id: int) -> Dialog:
        try:
            return self.dialogs[chat_id]
        except KeyError:
            raise NotFound(f"no dialog {chat_id}") from None

    def latest_dialog(self, external_chat_id: str) -> Dialog:
        """The newest dialog of one of the application's chats; it has one dialog on each line."""
        with self._portal.lock:
            for dialog in reversed(self.dialogs.values()):
                if dialog.external_chat_id == external_chat_id:
                    return dialog
        raise NotFound(f"no dialog {external_chat_id}")

    def dialog_of_visitor(
        self, connector: Connector, line: int, external_chat_id: object, external_user_id: object
    ) -> Dialog | None:
        user_id = self.visitor_id(connector, external_user_id)
        return self.by_user_code.get(f"{connector.id}|{line}|{external_chat_id}|{user_id}")

    def visitor_id(self, connector: Connector, external_user_id: object) -> int | None:
        """The portal's user for a visitor; None before their first message."""
        return self._visitors.get(f"{connector.id}|{external_user_id}")

    def message(self, message_id: int) -> Message:
        try:
            return self.messages[message_id]
        except KeyError:
            raise NotFound(f"no message {message_id}") from None

    # Adding

    def visitor(self, connector: Connector, fields: dict[str, Any]) -> User:
        """The portal's user for a visitor, with the newest name; the first call makes the user."""
        with self._portal.lock:
            key = f"{connector.id}|{fields.get('id')}"
            user_id = self._visitors.get(key)
            if user_id is None:
                user_id = self._visitors[key] = self._portal.next_id("visitor")
            name, last_name = _names(fields)
            user = User(user_id, name, last_name, connector=True)
            self._portal.users[user_id] = user
            return user

    def dialog_for(
        self,
        connector: Connector,
        line: int,
        chat: dict[str, Any],
        user: User,
        external_user_id: str,
    ) -> Dialog:
        """The dialog of this visitor and chat on this line; the first call makes it."""
        user_id = 0 if connector.flags["CHAT_GROUP"] else user.id
        user_code = f"{connector.id}|{line}|{chat['id']}|{user_id}"
        dialog = self.by_user_code.get(user_code)
        if dialog is None:
            self._chat_id += 1
            dialog = Dialog(
                self._chat_id, connector.id, line, str(chat["id"]), external_user_id, user_id, ""
            )
            self.dialogs[dialog.chat_id] = self.by_user_code[user_code] = dialog
        dialog.user_name = user.full_name
        dialog.title = dialog.title or str(chat.get("name") or "")
        return dialog

    def begin_session(self, dialog: Dialog) -> None:
        self._session_id += 1
        dialog.previous_session_id, dialog.session_id = dialog.session_id, self._session_id
        dialog.closed = False

    def add_message(
        self, dialog: Dialog, author: str, user_id: int, text: str, **fields: Any
    ) -> Message:
        self._message_id += 1
        message = Message(
            self._message_id,
            dialog.chat_id,
            dialog.session_id,
            author,
            user_id,
            text,
            time.time(),
            **fields,
        )
        dialog.messages.append(message)
        self.messages[message.id] = message
        self._portal.touch()
        return message

    def remove(self, message: Message) -> None:
        """Take a message away as if it had never been written."""
        self.dialogs[message.chat_id].messages.remove(message)
        del self.messages[message.id]


def _names(fields: dict[str, Any]) -> tuple[str, str]:
    """First and last name, as the portal reads a visitor's fields (bitrix24.md 5.9)."""
    name, last_name = str(fields.get("name") or ""), str(fields.get("last_name") or "")
    if not last_name and len(name.split()) == 2:
        name, last_name = name.split()
    return (name, last_name) if name or last_name else (GUEST, "")
