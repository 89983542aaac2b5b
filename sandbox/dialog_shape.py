"""What `imopenlines.dialog.get` shows of a dialog (bitrix24.md 12 D)."""

from datetime import UTC, datetime
from typing import Any

from .dialogs import Dialog

OWNER = 1
RESTRICTIONS = ("avatar", "rename", "extend", "call", "mute", "leave", "leave_owner", "send")
PERMISSIONS = {
    "manage_users_add": "member",
    "manage_users_delete": "manager",
    "manage_ui": "member",
    "manage_settings": "owner",
    "manage_messages": "member",
    "can_post": "member",
}


def dialog_shape(dialog: Dialog) -> dict[str, Any]:
    first, last = (dialog.messages[0], dialog.messages[-1]) if dialog.messages else (None, None)
    last_id = last.id if last else 0
    began = datetime.fromtimestamp(first.at if first else 0, UTC)
    return {
        "id": dialog.chat_id,
        "parent_chat_id": 0,
        "parent_message_id": 0,
        "dialog_id": f"chat{dialog.chat_id}",
        "name": dialog.title or dialog.user_name,
        "description": None,
        "owner": OWNER,
        "extranet": False,
        "avatar": "",
        "color": "#58cc47",
        "type": "lines",
        "message_type": "L",
        "counter": 0,
        "user_counter": 2,
        "message_count": len(dialog.messages),
        "unread_id": 0,
        "restrictions": dict.fromkeys((*RESTRICTIONS, "user_list"), True),
        "last_message_id": last_id,
        "last_id": last_id,
        "marked_id": 0,
        "disk_folder_id": 0,
        "entity_type": "LINES",
        "entity_id": dialog.user_code,
        "entity_data_1": entity_data(dialog),
        "entity_data_2": "",
        "entity_data_3": "N",
        "entity_link": {"type": "LINES", "url": "", "id": dialog.user_code},
        "mute_list": [],
        "date_create": began.isoformat(timespec="seconds"),
        "public": "",
        "role": "owner",
        "text_field_enabled": True,
        "background_id": None,
        "permissions": PERMISSIONS,
        "is_new": False,
        "readed_list": [],
        "manager_list": [OWNER],
        "last_message_views": {"message_id": last_id, "first_viewers": [], "count_of_viewers": 0},
    }


def entity_data(dialog: Dialog) -> str:
    """The sixth field is the session's id (bitrix24.md 12.18)."""
    return f"N|NONE|0|N|N|{dialog.session_id}|0|0|0|0"
