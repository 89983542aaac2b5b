"""The events that a dialog brings the application: their items, and when one is posted at all.

bitrix24.md sections 1 and 2. `user_id` is the user who caused an event, and
None when the portal itself did (1.1.6).
"""

import json
from typing import Any

from .dialogs import Dialog, Message
from .files import File, readable_size
from .portal import Portal

POSTED_PARAMS = ("CLASS", "url", "fromSalescenterApplication", "richUrlPreview")
POSTED_PREFIXES = ("IMOL_", "IS_")
CLOSE_MINUTES = 1440


class DialogEvents:
    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    def message_added(self, dialog: Dialog, message: Message, user_id: int | None) -> None:
        content: dict[str, Any] = {
            "user_id": message.user_id,
            "text": self._signed_text(dialog, message, edited=False),
            "files": [self._file_fields(file) for file in message.files],
            "params": {
                name: value
                for name, value in message.params.items()
                if name in POSTED_PARAMS or name.startswith(POSTED_PREFIXES)
            },
        }
        if message.links:
            content["attachments"] = message.links
        item = _message_item(dialog, message, content)
        if message.blocks:  # of the item, as JSON
            item["attachments_old"] = [json.dumps({"BLOCKS": message.blocks})]
        self._fire(dialog, "ONIMCONNECTORMESSAGEADD", {"MESSAGES": [item]}, user_id)

    def message_edited(self, dialog: Dialog, message: Message, user_id: int | None) -> None:
        if self._is_told_of_changes(dialog, message, "EDIT_INTERNAL_MESSAGES"):
            text = self._signed_text(dialog, message, edited=True)
            item = _message_item(dialog, message, {"id": message.connector_mid, "text": text})
            self._fire(dialog, "ONIMCONNECTORMESSAGEUPDATE", {"MESSAGES": [item]}, user_id)

    def message_deleted(self, dialog: Dialog, message: Message, user_id: int | None) -> None:
        """One item for each id that the application gave the message (bitrix24.md 1.4.1)."""
        if self._is_told_of_changes(dialog, message, "DEL_INTERNAL_MESSAGES"):
            items = [_message_item(dialog, message, {"id": mid}) for mid in message.connector_mid]
            self._fire(dialog, "ONIMCONNECTORMESSAGEDELETE", {"MESSAGES": items}, user_id)

    def session_started(self, dialog: Dialog) -> None:
        data = {"DATA": [_session_item(dialog)]}
        self._fire(dialog, "ONIMCONNECTORDIALOGSTART", data, None)

    def session_finished(self, dialog: Dialog, user_id: int | None) -> None:
        data = {"DATA": [_session_item(dialog)]}
        self._fire(dialog, "ONIMCONNECTORDIALOGFINISH", data, user_id)

    def _fire(self, dialog: Dialog, event: str, data: dict[str, Any], user_id: int | None) -> None:
        connector = self._portal.connectors.get(dialog.connector)
        fields = {"CONNECTOR": dialog.connector, "LINE": dialog.line, **data}
        self._portal.fire(event, fields, user_id, connector)

    def _is_told_of_changes(self, dialog: Dialog, message: Message, flag: str) -> bool:
        """Only with a CONNECTOR_MID, and if the connector's flag is on (bitrix24.md 1.3.2)."""
        connector = self._portal.connectors.get(dialog.connector)
        allowed = connector is not None and connector.flags[flag]
        return allowed and message.author != "visitor" and bool(message.connector_mid)

    def _signed_text(self, dialog: Dialog, message: Message, edited: bool) -> str:
        """The text behind the operator's name, in the spellings of bitrix24.md 2.1."""
        spelling = self._portal.troubles.signature
        connector = self._portal.connectors.get(dialog.connector)
        unsigned = connector is not None and not connector.flags["NEED_SIGNATURE"]
        if message.author != "operator" or spelling == "none" or unsigned:
            return message.text
        name = f"[b]{self._portal.user(message.user_id).full_name}:[/b]"
        if not message.text:
            return f"{name} " if spelling == "new" else name
        line_break = " [br]" if spelling == "new" and not edited else "[br] "
        return f"{name}{line_break}{message.text}"

    def _file_fields(self, file: File) -> dict[str, Any]:
        fragment = "#img.png" if file.kind == "image" else ""
        short_link = f"{self._portal.options.base_url}/~{file.code}{fragment}"
        fields: dict[str, Any] = {"name": file.name, "type": file.kind}
        newer_build = not self._portal.troubles.old_build
        if newer_build:
            fields["mime"] = file.mime
        fields |= {"link": file.external or short_link, "size": len(file.content)}
        if newer_build:
            fields["sizef"] = readable_size(len(file.content))
            if file.picture_size:
                fields["width"], fields["height"] = file.picture_size
        return fields


def _message_item(dialog: Dialog, message: Message, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "im": {"chat_id": dialog.chat_id, "message_id": message.id},
        "message": content,
        "chat": {"id": dialog.external_chat_id},
    }


def _session_item(dialog: Dialog) -> dict[str, Any]:
    return {
        "connector": {
            "connector_id": dialog.connector,
            "line_id": dialog.line,
            "chat_id": dialog.external_chat_id,
            "user_id": dialog.user_id,
        },
        "session": {
            "id": dialog.session_id,
            "closed": "Y" if dialog.closed else "N",
            "parent_id": dialog.previous_session_id,
            "close_term": CLOSE_MINUTES,
        },
        "chat": {"id": dialog.chat_id},
        "user": {"id": dialog.user_id},
    }
