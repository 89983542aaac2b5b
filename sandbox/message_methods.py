"""REST methods about messages and dialogs (bitrix24.md sections 3, 4 and 12)."""

from typing import Any

from .caller import Caller, Method
from .dialog_actions import DialogActions, NotAllowed
from .dialogs import Dialogs
from .history import History
from .incoming import Incoming
from .options import RestError
from .portal import Portal


class MessageMethods:
    """`table` holds every method by its name."""

    def __init__(
        self,
        portal: Portal,
        dialogs: Dialogs,
        actions: DialogActions,
        incoming: Incoming,
        history: History,
    ) -> None:
        self._portal = portal
        self._dialogs = dialogs
        self._actions = actions
        self._incoming = incoming
        self.table: dict[str, Method] = {
            "imconnector.send.messages": self._send,
            "imconnector.update.messages": self._update,
            "imconnector.delete.messages": self._delete,
            "imconnector.send.status.delivery": self._delivery,
            "imconnector.send.status.reading": self._reading,
            "imconnector.chat.name.set": self._chat_name_set,
            "imopenlines.dialog.get": lambda caller, params: history.dialog(params),
            "imopenlines.session.history.get": lambda caller, params: history.session(params),
            "im.dialog.messages.get": lambda caller, params: history.dialog_messages(params),
            "im.message.add": self._message_add,
        }

    def _send(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        connector = self._portal.connector(params["CONNECTOR"])
        return self._incoming.send(connector, int(params["LINE"]), _items(params))

    def _update(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        connector = self._portal.connector(params["CONNECTOR"])
        return self._incoming.update(connector, int(params["LINE"]), _items(params))

    def _delete(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        connector = self._portal.connector(params["CONNECTOR"])
        return self._incoming.delete(connector, int(params["LINE"]), _items(params))

    def _delivery(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        """SUCCESS even if the portal has no such message (bitrix24.md 3.7)."""
        self._portal.connector(params["CONNECTOR"])
        for item in _items(params):
            im, message = item.get("im"), item.get("message")
            number = str(im.get("message_id") if isinstance(im, dict) else "")
            ids = message.get("id") if isinstance(message, dict) else None
            id_list = ids if isinstance(ids, list) else [ids] if ids else []
            if number.isdecimal():
                external_ids = [str(external_id) for external_id in id_list]
                self._actions.confirm_delivery(int(number), external_ids)
        return {"SUCCESS": True, "DATA": []}

    def _reading(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        self._portal.connector(params["CONNECTOR"])
        return {"SUCCESS": True, "DATA": []}

    def _chat_name_set(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        connector = self._portal.connector(params["CONNECTOR"])
        wanted = (connector.id, int(params["LINE"]), str(params["CHAT_ID"]))
        with self._portal.lock:
            for dialog in self._dialogs.dialogs.values():
                if (dialog.connector, dialog.line, dialog.external_chat_id) == wanted:
                    dialog.title = str(params["NAME"])
                    self._portal.touch()
        return {"SUCCESS": True, "DATA": {"RESULT": {}}}

    def _message_add(self, caller: Caller, params: dict[str, Any]) -> int:
        """Only a text without SYSTEM=Y is posted to the application (bitrix24.md 12.8)."""
        dialog = self._dialogs.find_dialog(str(params["DIALOG_ID"]).removeprefix("chat"))
        if dialog is None:
            raise RestError("ACCESS_ERROR", "You don't have access to this chat", 403)
        text = str(params["MESSAGE"])
        if str(params.get("SYSTEM") or "N").upper() == "Y":
            return self._actions.notice(dialog, text, css_class="").id  # its author is 0
        try:
            return self._actions.answer(dialog, text, caller.user.id).id
        except NotAllowed as error:
            raise RestError("CANCELED", str(error)) from None


def _items(params: dict[str, Any]) -> list[Any]:
    items = params["MESSAGES"]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise RestError("ERROR_ARGUMENT", "MESSAGES must be an array of objects")
    return items
