"""The portal's state as JSON fields, for the control API and the desk.

The caller holds the portal's lock.
"""

from typing import Any

from .dialogs import Dialog, Dialogs, Message
from .portal import Connector, Portal


def portal_state(portal: Portal, dialogs: Dialogs, external_chat_id: str | None) -> dict[str, Any]:
    """Everything, but of the dialogs only those of one chat, unless it is None."""
    return {
        "installed": portal.installed,
        "member_id": portal.tokens.member_id,
        "domain": portal.options.domain,
        "application_token": portal.application_token,
        "users": [
            {"id": user.id, "name": user.full_name, "admin": user.admin}
            for user in portal.employees()
        ],
        "lines": line_list(portal),
        "connectors": {
            connector.id: connector_fields(connector) for connector in portal.connectors.values()
        },
        "bindings": [
            {
                "id": binding.id,
                "event": binding.event,
                "handler": binding.handler,
                "user_id": binding.user_id,
                "offline": binding.offline,
            }
            for binding in portal.bindings
        ],
        "dialogs": [
            dialog_fields(dialog)
            for dialog in dialogs.dialogs.values()
            if external_chat_id in (None, dialog.external_chat_id)
        ],
        "notifications": portal.notifications,
        "tokens": {"refreshes": portal.tokens.refreshes},
        "spec_violations": portal.spec_violations,
        "counts": {
            **portal.counts,
            "dialogs": len(dialogs.dialogs),
            "messages": len(dialogs.messages),
            "pending_events": portal.events.pending,
        },
        "troubles": portal.troubles.as_dict(),
    }


def line_list(portal: Portal) -> list[dict[str, Any]]:
    return [{"id": line, "name": name} for line, name in portal.lines.items()]


def connector_fields(connector: Connector) -> dict[str, Any]:
    return {
        "name": connector.name,
        "placement_handler": connector.placement_handler,
        "icon": connector.icon,
        "flags": connector.flags,
        "lines": {
            str(number): {
                "active": line.active,
                "connection": line.connection,
                "register": line.register,
                "data": line.data,
            }
            for number, line in connector.lines.items()
        },
    }


def dialog_fields(dialog: Dialog) -> dict[str, Any]:
    return {
        "chat_id": dialog.chat_id,
        "connector": dialog.connector,
        "line": dialog.line,
        "external_chat_id": dialog.external_chat_id,
        "external_user_id": dialog.external_user_id,
        "user_id": dialog.user_id,
        "user_name": dialog.user_name,
        "title": dialog.title,
        "session_id": dialog.session_id,
        "closed": dialog.closed,
        "vote": dialog.rating,
        "messages": [message_fields(message) for message in dialog.messages],
    }


def message_fields(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "author": message.author,
        "user_id": message.user_id,
        "session_id": message.session_id,
        "text": message.text,
        "files": [
            {
                "id": file.id,
                "name": file.name,
                "type": file.kind,
                "size": len(file.content),
                "link": file.external or f"/~{file.code}",
            }
            for file in message.files
        ],
        "has_card": bool(message.blocks or message.links),
        "deleted": message.deleted,
        "edited": message.edited,
        "hidden": message.hidden,
        "connector_mid": message.connector_mid,
        "delivered": not message.sending,
        "at": message.at,
    }
