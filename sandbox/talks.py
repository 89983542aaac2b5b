"""Open-line dialogs: who wrote what, in which session, and whether it arrived.

Rules of bitrix24.md sections 1 to 5. Every method that changes something
takes the portal's lock and queues the events that follow from the change.
"""

import re
import time
from dataclasses import dataclass, field
from typing import Any

from .files import File, readable_size
from .portal import Connector, NotFound, Portal, User

MID_KEPT = 100  # characters of message.id that the portal stores
VOTE = re.compile(r"^\s*([01])(?:\s|$)")
GUEST = "Guest"
SENT_PARAMS = ("CLASS", "url", "fromSalescenterApplication", "richUrlPreview")
CLOSE_MINUTES = 1440


class NotAllowed(Exception):
    """The portal shows the operator an error: the line or connector is off."""


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
    connector_mid: list[str] = field(default_factory=list)
    sending: bool = False  # posted to the application, not yet confirmed
    hidden: bool = False  # whisper or notice: never posted
    edited: bool = False
    deleted: bool = False


@dataclass
class Dialog:
    chat_id: int
    connector: str
    line: int
    external_chat_id: str
    external_user_id: str
    user_id: int
    user_name: str
    session_id: int = 0
    parent_id: int = 0
    closed: bool = True
    waits_for_vote: bool = False
    vote: str = ""
    title: str = ""
    messages: list[Message] = field(default_factory=list)

    @property
    def user_code(self) -> str:
        return f"{self.connector}|{self.line}|{self.external_chat_id}|{self.user_id}"


class Talks:
    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        self.clear()

    def clear(self) -> None:
        with self.portal.lock:
            self.dialogs: dict[int, Dialog] = {}
            self.messages: dict[int, Message] = {}
            self.by_code: dict[str, Dialog] = {}
            self.visitors: dict[str, int] = {}  # connector|external id to portal user
            self._message_id = 903_000
            self._chat_id = 5_100
            self._session_id = 3_300

    # Looking up

    def dialog(self, chat_id: object = None, external_chat_id: object = None) -> Dialog:
        """By the portal's id, or the latest of the application's id."""
        with self.portal.lock:
            if chat_id is not None:
                found = self.dialogs.get(int(str(chat_id)))
            else:
                same = [
                    dialog
                    for dialog in self.dialogs.values()
                    if dialog.external_chat_id == external_chat_id
                ]
                found = same[-1] if same else None
        if found is None:
            raise NotFound(f"no dialog {chat_id or external_chat_id}")
        return found

    def message(self, message_id: int) -> Message:
        try:
            return self.messages[message_id]
        except KeyError:
            raise NotFound(f"no message {message_id}") from None

    # The visitor's side

    def visitor(self, connector: Connector, data: dict[str, Any]) -> User:
        """The portal's user for an outside one, made on first sight."""
        with self.portal.lock:
            key = f"{connector.id}|{data.get('id')}"
            user_id = self.visitors.get(key)
            name, last_name = _names(data)
            if user_id is None:
                user_id = self.visitors[key] = self.portal.next_id("visitor")
            user = User(user_id, name, last_name, connector=True)
            self.portal.users[user_id] = user
            return user

    def open_dialog(
        self, connector: Connector, line: int, chat: dict[str, Any], user: User, external: str
    ) -> Dialog:
        """The chat of this visitor on this line, with a session that is open."""
        with self.portal.lock:
            user_part = 0 if connector.flags["CHAT_GROUP"] else user.id
            code = f"{connector.id}|{line}|{chat['id']}|{user_part}"
            dialog = self.by_code.get(code)
            if dialog is None:
                self._chat_id += 1
                dialog = Dialog(
                    self._chat_id, connector.id, line, str(chat["id"]), external, user_part, ""
                )
                self.dialogs[dialog.chat_id] = self.by_code[code] = dialog
            dialog.user_name = user.full_name
            dialog.title = dialog.title or str(chat.get("name") or "")
            if dialog.closed and not dialog.waits_for_vote:
                self._open_session(dialog)
            return dialog

    def _open_session(self, dialog: Dialog) -> None:
        self._session_id += 1
        dialog.parent_id, dialog.session_id = dialog.session_id, self._session_id
        dialog.closed = False
        self._fire_session("ONIMCONNECTORDIALOGSTART", dialog, None)
        if self.portal.troubles.welcome:
            classes = "bx-messenger-content-item-ol-output"
            self.system(dialog, self.portal.troubles.welcome, {"CLASS": classes})

    def add_visitor_message(
        self, dialog: Dialog, user_id: int, text: str, files: list[File], external_id: str
    ) -> Message:
        """No look-up by the outside id: the same twice makes two (section 3)."""
        with self.portal.lock:
            message = self._add(dialog, "visitor", user_id, text, files=files)
            if external_id.strip():
                message.connector_mid = [external_id.strip()[:MID_KEPT]]
            vote = VOTE.match(text) if dialog.waits_for_vote else None
            if vote:
                dialog.vote, dialog.waits_for_vote = vote[1], False
                thanks = "IMOL_VOTE_LIKE" if vote[1] == "1" else "IMOL_VOTE_DISLIKE"
                asked = [m for m in dialog.messages if "IMOL_VOTE" in m.params]
                if asked:
                    self.system(dialog, str(asked[-1].params[thanks]))
            return message

    # The operator's side

    def answer(
        self, dialog: Dialog, text: str, user_id: int, files: list[File] | None = None
    ) -> Message:
        with self.portal.lock:
            self.portal.user(user_id)
            self._must_work(dialog)
            message = self._add(dialog, "operator", user_id, text, files=files or [], sending=True)
            self._fire_add(dialog, message, user_id)
            return message

    def system(
        self,
        dialog: Dialog,
        text: str,
        params: dict[str, Any] | None = None,
        user_id: int = 0,
    ) -> Message:
        """An automatic text for the visitor: no signature, no user's tokens."""
        with self.portal.lock:
            message = self._add(dialog, "system", user_id, text, params=params or {}, sending=True)
            connector = self.portal.connectors.get(dialog.connector)
            if connector is None or connector.flags["NEED_SYSTEM_MESSAGES"]:
                self._fire_add(dialog, message, None)
            return message

    def ask_vote(self, dialog: Dialog) -> Message:
        with self.portal.lock:
            classes = "bx-messenger-content-item-ol-output bx-messenger-content-item-vote"
            dialog.waits_for_vote = True
            return self.system(
                dialog,
                "Please rate our answer: 1 - good, 0 - bad",
                {
                    "CLASS": classes,
                    "IMOL_VOTE": dialog.session_id,
                    "IMOL_VOTE_TEXT": "Rate the talk",
                    "IMOL_VOTE_LIKE": "Thank you!",
                    "IMOL_VOTE_DISLIKE": "Sorry to hear that",
                    "IMOL_FORM": "like",
                },
            )

    def whisper(self, dialog: Dialog, text: str, user_id: int) -> Message:
        """Seen by employees only: in the history, never posted."""
        params = {"COMPONENT_ID": "HiddenMessage"}
        with self.portal.lock:
            return self._add(dialog, "operator", user_id, text, params=params, hidden=True)

    def notice(self, dialog: Dialog, text: str, user_id: int = 0) -> Message:
        """A SYSTEM=Y text of the portal to its employees: never posted."""
        params = {"CLASS": "bx-messenger-content-item-system"}
        with self.portal.lock:
            return self._add(dialog, "system", user_id, text, params=params, hidden=True)

    def edit(self, message: Message, text: str, user_id: int | None = None) -> None:
        with self.portal.lock:
            message.text, message.edited = text, True
            dialog = self.dialogs[message.chat_id]
            if self._tells(dialog, message, "EDIT_INTERNAL_MESSAGES"):
                body = self._signed(message, text, update=True)
                content = {"id": message.connector_mid, "text": body}
                item = self._item(dialog, message, content)
                by = user_id or message.user_id
                self._fire(dialog, "ONIMCONNECTORMESSAGEUPDATE", [item], by)
            self.portal.touch()

    def delete(self, message: Message, user_id: int | None = None) -> None:
        with self.portal.lock:
            message.deleted = True
            dialog = self.dialogs[message.chat_id]
            if self._tells(dialog, message, "DEL_INTERNAL_MESSAGES"):
                items = [self._item(dialog, message, {"id": mid}) for mid in message.connector_mid]
                by = user_id or message.user_id
                self._fire(dialog, "ONIMCONNECTORMESSAGEDELETE", items, by)
            self.portal.touch()

    def close(self, dialog: Dialog, user_id: int | None = None) -> None:
        with self.portal.lock:
            if not dialog.closed:
                dialog.closed = True
                self._fire_session("ONIMCONNECTORDIALOGFINISH", dialog, user_id)
                self.portal.touch()

    def confirm(self, message_id: int, external_ids: list[str]) -> None:
        """send.status.delivery: the first call wins (section 3); unknown ids are ignored."""
        with self.portal.lock:
            message = self.messages.get(message_id)
            if message is None or message.author == "visitor" or message.hidden:
                return
            kept = [mid.strip()[:MID_KEPT] for mid in external_ids if mid.strip()]
            if message.sending or self.portal.troubles.old_build:
                message.sending = False
                message.connector_mid = kept or message.connector_mid
                self.portal.touch()

    # Events

    def _must_work(self, dialog: Dialog) -> None:
        connector = self.portal.connectors.get(dialog.connector)
        line = connector.lines.get(dialog.line) if connector else None
        if line is None or not line.works or dialog.line not in self.portal.lines:
            raise NotAllowed("The connector is not active on this line")

    def _add(self, dialog: Dialog, author: str, user_id: int, text: str, **more: Any) -> Message:
        self._message_id += 1
        message = Message(
            self._message_id,
            dialog.chat_id,
            dialog.session_id,
            author,
            user_id,
            text,
            time.time(),
            **more,
        )
        dialog.messages.append(message)
        self.messages[message.id] = message
        self.portal.touch()
        return message

    def _tells(self, dialog: Dialog, message: Message, flag: str) -> bool:
        connector = self.portal.connectors.get(dialog.connector)
        allowed = connector is not None and connector.flags[flag]
        return allowed and message.author != "visitor" and bool(message.connector_mid)

    def _signed(self, message: Message, text: str, update: bool = False) -> str:
        """The operator's signature in one of its three spellings (section 2)."""
        style = self.portal.troubles.signature
        connector = self.portal.connectors.get(self.dialogs[message.chat_id].connector)
        unsigned = connector is not None and not connector.flags["NEED_SIGNATURE"]
        if message.author != "operator" or style == "none" or unsigned:
            return text
        name = f"[b]{self.portal.user(message.user_id).full_name}:[/b]"
        if not text:
            return f"{name} " if style == "new" else name
        between = " [br]" if style == "new" and not update else "[br] "
        return f"{name}{between}{text}"

    def _item(self, dialog: Dialog, message: Message, content: dict[str, Any]) -> dict[str, Any]:
        return {
            "im": {"chat_id": dialog.chat_id, "message_id": message.id},
            "message": content,
            "chat": {"id": dialog.external_chat_id},
        }

    def _fire_add(self, dialog: Dialog, message: Message, by: int | None) -> None:
        content: dict[str, Any] = {
            "user_id": message.user_id,
            "text": self._signed(message, message.text),
            "files": [self._file(file) for file in message.files],
            "params": {
                name: value
                for name, value in message.params.items()
                if name in SENT_PARAMS or name.startswith(("IMOL_", "IS_"))
            },
        }
        item = self._item(dialog, message, content)
        self._fire(dialog, "ONIMCONNECTORMESSAGEADD", [item], by)

    def _file(self, file: File) -> dict[str, Any]:
        base = self.portal.options.base_url
        fragment = "#img.png" if file.kind == "image" else ""
        link = file.external or f"{base}/~{file.code}{fragment}"
        told: dict[str, Any] = {"name": file.name, "type": file.kind}
        newer = not self.portal.troubles.old_build
        if newer:
            told["mime"] = file.mime
        told |= {"link": link, "size": len(file.content)}
        if newer:
            told["sizef"] = readable_size(len(file.content))
            size = file.picture_size
            if size:
                told["width"], told["height"] = size
        return told

    def _fire_session(self, event: str, dialog: Dialog, by: int | None) -> None:
        told = {
            "connector": {
                "connector_id": dialog.connector,
                "line_id": dialog.line,
                "chat_id": dialog.external_chat_id,
                "user_id": dialog.user_id,
            },
            "session": {
                "id": dialog.session_id,
                "closed": "Y" if dialog.closed else "N",
                "parent_id": dialog.parent_id,
                "close_term": CLOSE_MINUTES,
            },
            "chat": {"id": dialog.chat_id},
            "user": {"id": dialog.user_id},
        }
        self._fire(dialog, event, [told], by, "DATA")

    def _fire(
        self, dialog: Dialog, event: str, items: list[Any], by: int | None, key: str = "MESSAGES"
    ) -> None:
        data = {"CONNECTOR": dialog.connector, "LINE": dialog.line, key: items}
        self.portal.fire(event, data, by, self.portal.connectors.get(dialog.connector))


def _names(data: dict[str, Any]) -> tuple[str, str]:
    """Two words without a last name are split; nobody is a guest (section 5)."""
    name, last_name = str(data.get("name") or ""), str(data.get("last_name") or "")
    if not last_name and len(name.split()) == 2:
        name, last_name = name.split()
    return (name, last_name) if name or last_name else (GUEST, "")
