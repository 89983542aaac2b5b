"""The three methods that read dialogs and their messages (bitrix24.md 12 B, 12 C and 12 D).

Texts come without the operator's signature (bitrix24.md 2.4).
"""

from datetime import UTC, datetime
from typing import Any

from .dialog_shape import dialog_shape, entity_data
from .dialogs import Dialog, Dialogs, Message
from .files import File
from .options import RestError
from .people import messenger_user
from .portal import Portal, User

LIMIT = 50
DEFAULT_LIMIT = 20  # of a call without LIMIT


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


class History:
    def __init__(self, portal: Portal, dialogs: Dialogs) -> None:
        self._portal = portal
        self._dialogs = dialogs

    def dialog_messages(self, params: dict[str, Any]) -> dict[str, Any]:
        """im.dialog.messages.get: oldest first above FIRST_ID, else newest first below LAST_ID."""
        if self._portal.troubles.deny_history:
            raise RestError("ACCESS_ERROR", "You don't have access to this chat", 403)
        dialog_id = str(params["DIALOG_ID"])
        dialog = self._dialogs.find_dialog(dialog_id.removeprefix("chat"))
        if dialog is None or not dialog_id.startswith("chat"):
            raise RestError("ACCESS_ERROR", "You don't have access to this chat", 403)
        with self._portal.lock:
            messages = _page(dialog, params)
            return {
                "chat_id": dialog.chat_id,
                "messages": [_message(message) for message in messages],
                "users": [messenger_user(user) for user in self._authors(dialog, messages)],
                "files": [
                    self._file(message, file) for message in messages for file in _files(message)
                ],
            }

    def session(self, params: dict[str, Any]) -> dict[str, Any]:
        """imopenlines.session.history.get: one session; with CHAT_ID the dialog's last one."""
        if self._portal.troubles.deny_history:
            raise RestError("ACCESS_DENIED", "You don't have access to this dialog", 403)
        with self._portal.lock:
            dialog, session_id = self._session(params)
            messages = [
                message for message in reversed(dialog.messages) if message.session_id == session_id
            ]
            chat = f"chat{dialog.chat_id}"
            return {
                "chatId": dialog.chat_id,
                "canJoin": "Y",
                "canVoteHead": "Y",
                "sessionId": session_id,
                "sessionVoteHead": 0,
                "sessionCommentHead": None,
                "userId": chat,
                "message": {str(message.id): _camel_message(message) for message in messages},
                "usersMessage": {chat: [str(message.id) for message in messages]},
                "users": {
                    str(user.id): _camel_user(user) for user in self._authors(dialog, messages)
                },
                "files": {
                    str(file.id): _lower(self._file(message, file))
                    for message in messages
                    for file in _files(message)
                },
                "chat": {
                    str(dialog.chat_id): {
                        "id": str(dialog.chat_id),
                        "name": dialog.title or dialog.user_name,
                        "entityType": "LINES",
                        "entityId": dialog.user_code,
                        "entityData1": entity_data(dialog),
                        "type": "lines",
                    }
                },
            }

    def _session(self, params: dict[str, Any]) -> tuple[Dialog, int]:
        session_id = int(params.get("SESSION_ID") or 0)
        chat_id = int(params.get("CHAT_ID") or 0)
        for dialog in self._dialogs.dialogs.values():
            if session_id and any(message.session_id == session_id for message in dialog.messages):
                return dialog, session_id
            if not session_id and dialog.chat_id == chat_id:
                return dialog, dialog.session_id
        raise RestError("ACCESS_DENIED", "You don't have access to this dialog", 403)

    def dialog(self, params: dict[str, Any]) -> dict[str, Any]:
        """imopenlines.dialog.get: by USER_CODE, the dialog's id, or the id of a session."""
        with self._portal.lock:
            number = str(params.get("CHAT_ID") or params.get("DIALOG_ID") or "")
            found = self._dialogs.by_user_code.get(str(params.get("USER_CODE") or ""))
            found = found or self._dialogs.find_dialog(number.removeprefix("chat"))
            if found is None and int(params.get("SESSION_ID") or 0):
                found = self._session(params)[0]
        if found is None:
            raise RestError("DIALOG_NOT_FOUND", "The dialog was not found")
        return dialog_shape(found)

    def _authors(self, dialog: Dialog, messages: list[Message]) -> list[User]:
        """Everybody who wrote one of the messages, and the visitor; each once."""
        user_ids = dict.fromkeys([*(message.user_id for message in messages), dialog.user_id])
        users = self._portal.users
        return [users[user_id] for user_id in user_ids if user_id in users]

    def _file(self, message: Message, file: File) -> dict[str, Any]:
        """The addresses need a login (bitrix24.md 12.16)."""
        address = f"{self._portal.options.base_url}/disk/{file.id}/{file.code}"
        author = self._portal.users.get(message.user_id)
        size = file.picture_size
        picture = {"image": {"width": size[0], "height": size[1]}} if size else {}
        return {
            **picture,
            "id": file.id,
            "chatId": message.chat_id,
            "date": _iso(message.at),
            "type": file.kind,
            "name": file.name,
            "extension": file.name.rpartition(".")[2],
            "size": len(file.content),
            "status": "done",
            "progress": 100,
            "authorId": message.user_id,
            "authorName": author.full_name if author else "",
            "urlPreview": address,
            "urlShow": address,
            "urlDownload": address,
            "isTranscribable": False,
            "isVideoNote": False,
            "isVoiceNote": False,
        }


def _page(dialog: Dialog, params: dict[str, Any]) -> list[Message]:
    """The messages that LIMIT, FIRST_ID and LAST_ID ask for (bitrix24.md 12.13)."""
    limit = min(int(params.get("LIMIT") or DEFAULT_LIMIT), LIMIT)
    first, last = params.get("FIRST_ID"), params.get("LAST_ID")
    messages = dialog.messages
    if first is None:
        older = [message for message in messages if last is None or message.id < int(last)]
        return older[::-1][:limit]
    if int(first) not in (0, *(message.id for message in dialog.messages)):
        return []
    return [message for message in messages if message.id > int(first)][:limit]


def _files(message: Message) -> list[File]:
    return [] if message.bare else message.files


def _params(message: Message) -> dict[str, Any]:
    deleted = {"IS_DELETED": "Y"} if message.deleted else {}
    if message.bare:
        return deleted
    params = dict(message.params)
    if message.connector_mid:
        params["CONNECTOR_MID"] = list(message.connector_mid)
    if message.files:
        params["FILE_ID"] = [file.id for file in message.files]
    if message.blocks:
        params["ATTACH"] = [{"ID": 1, "BLOCKS": message.blocks}]
    if message.edited:
        params["IS_EDITED"] = "Y"
    if message.sending:
        params["SENDING"] = "Y"
    return params | deleted


def _message(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "chat_id": message.chat_id,
        "author_id": message.user_id,
        "date": _iso(message.at),
        "text": message.notice or message.text,
        "unread": False,
        "uuid": None,
        "replaces": [],
        "params": _params(message) or [],  # PHP's empty array
        "disappearing_date": None,
    }


def _camel_message(message: Message) -> dict[str, Any]:
    return {
        "id": str(message.id),
        "chatid": str(message.chat_id),
        "senderid": str(message.user_id),
        "recipientid": f"chat{message.chat_id}",
        "date": _iso(message.at),
        "text": message.notice or message.text,
        "textlegacy": message.notice or message.text,
        "params": {_camel(key): value for key, value in _params(message).items()} or [],
    }


def _camel_user(user: User) -> dict[str, Any]:
    return {_camel(key): value for key, value in messenger_user(user).items()} | {
        "id": str(user.id)
    }


def _camel(name: str) -> str:
    first, *others = name.lower().split("_")
    return first + "".join(part.capitalize() for part in others)


def _lower(values: dict[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in values.items()}
