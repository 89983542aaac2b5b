"""What the page of the operator's desk asks for: its dialogs, and a stream of changes."""

import time
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, json, jsonify
from flask.typing import ResponseReturnValue

from .dialogs import Dialog
from .parts import Sandbox
from .state import dialog_fields

KEEP_ALIVE_SECONDS = 15
GATHER_SECONDS = 0.04  # changes within this time are announced together
PREVIEW_CHARACTERS = 120


class Desk:
    def __init__(self, sandbox: Sandbox) -> None:
        self._portal = sandbox.portal
        self._dialogs = sandbox.dialogs

    def list_dialogs(self) -> ResponseReturnValue:
        """All dialogs, the one with the newest message first."""
        with self._portal.lock:
            summaries = [self._summary(dialog) for dialog in self._dialogs.dialogs.values()]
        return jsonify(sorted(summaries, key=lambda summary: -summary["at"]))

    def show_dialog(self, chat_id: int) -> ResponseReturnValue:
        with self._portal.lock:
            dialog = self._dialogs.dialog(chat_id)
            fields = dialog_fields(dialog)
            for message in fields["messages"]:
                author = self._portal.users.get(message["user_id"])
                message["name"] = author.full_name if author else ""
            return jsonify(fields | {"line_name": self._portal.lines.get(dialog.line, "")})

    def stream(self) -> ResponseReturnValue:
        return Response(self._changes(), content_type="text/event-stream")

    def _changes(self) -> Iterator[str]:
        """One line whenever the portal changed; the page then asks for the dialogs again."""
        portal, sent_version = self._portal, -1
        while True:
            with portal.changed:
                if portal.version == sent_version:
                    portal.changed.wait(KEEP_ALIVE_SECONDS)
                changed, sent_version = portal.version != sent_version, portal.version
            yield f"data: {json.dumps({'version': sent_version})}\n\n" if changed else ": here\n\n"
            time.sleep(GATHER_SECONDS)

    def _summary(self, dialog: Dialog) -> dict[str, Any]:
        last = dialog.messages[-1] if dialog.messages else None
        text = (last.text or (last.files[0].name if last.files else "")) if last else ""
        return {
            "chat_id": dialog.chat_id,
            "external_chat_id": dialog.external_chat_id,
            "user_name": dialog.user_name,
            "line_name": self._portal.lines.get(dialog.line, f"line {dialog.line}"),
            "closed": dialog.closed,
            "text": "deleted" if last and last.deleted else text[:PREVIEW_CHARACTERS],
            "author": last.author if last else "",
            "at": last.at if last else 0.0,
            "count": len(dialog.messages),
        }


def desk_routes(app: Flask, sandbox: Sandbox) -> None:
    desk = Desk(sandbox)
    app.add_url_rule("/desk/dialogs", "desk_dialogs", desk.list_dialogs)
    app.add_url_rule("/desk/dialog/<int:chat_id>", "desk_dialog", desk.show_dialog)
    app.add_url_rule("/desk/stream", "desk_stream", desk.stream)
