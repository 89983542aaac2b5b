"""The operator's buttons of the control API: what is written, changed and closed in a dialog."""

from flask import jsonify
from flask.typing import ResponseReturnValue

from .dialogs import Dialog, Message
from .json_body import Body
from .parts import Sandbox


class OperatorButtons:
    """`buttons` holds every button by its name."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._dialogs = sandbox.dialogs
        self._actions = sandbox.dialog_actions
        self._disk = sandbox.disk
        self.buttons = {
            "answer": self.answer,
            "system": self.add_automatic_text,
            "vote": self.ask_for_rating,
            "whisper": self.whisper,
            "notice": self.notice,
            "edit": self.edit,
            "delete": self.delete,
            "close": self.close,
        }

    def answer(self) -> ResponseReturnValue:
        body = Body()
        dialog, user_id = self._dialog(body), body.number("user_id", 1)
        files = body.files(self._disk)
        attached = {name: body.objects(name) for name in ("blocks", "links")}
        text = body.text("text", "" if files or any(attached.values()) else None)
        return _answer(self._actions.answer(dialog, text, user_id, files, **attached))

    def add_automatic_text(self) -> ResponseReturnValue:
        body = Body()
        params = body.fields("params")
        dialog, user_id = self._dialog(body), body.number("user_id", 0)
        text = body.text("text")
        return _answer(self._actions.add_automatic_text(dialog, text, params, user_id))

    def ask_for_rating(self) -> ResponseReturnValue:
        return _answer(self._actions.ask_for_rating(self._dialog(Body())))

    def whisper(self) -> ResponseReturnValue:
        body = Body()
        dialog, user_id = self._dialog(body), body.number("user_id", 1)
        return _answer(self._actions.whisper(dialog, body.text("text"), user_id))

    def notice(self) -> ResponseReturnValue:
        body = Body()
        dialog, user_id = self._dialog(body), body.number("user_id", 0)
        return _answer(self._actions.notice(dialog, body.text("text"), user_id))

    def edit(self) -> ResponseReturnValue:
        body = Body()
        message = self._dialogs.message(body.number("message_id"))
        self._actions.edit(message, body.text("text"), body.number("user_id", 0))
        return _answer(message)

    def delete(self) -> ResponseReturnValue:
        body = Body()
        message = self._dialogs.message(body.number("message_id"))
        complete = body.flag("complete", False)
        self._actions.delete(message, body.number("user_id", 0), complete)
        return _answer(message)

    def close(self) -> ResponseReturnValue:
        body = Body()
        dialog = self._dialog(body)
        self._actions.close(dialog, body.number("user_id", 1))
        return jsonify({"chat_id": dialog.chat_id, "closed": dialog.closed})

    def _dialog(self, body: Body) -> Dialog:
        if "chat_id" in body.values:
            return self._dialogs.dialog(body.number("chat_id"))
        return self._dialogs.latest_dialog(body.text("external_chat_id"))


def _answer(message: Message) -> ResponseReturnValue:
    return jsonify({"message_id": message.id, "chat_id": message.chat_id})
