"""The folder of Bitrix24's own example of a connector, as its PHP code leaves it."""

import hashlib
import html
import json
from pathlib import Path
from typing import Any

ORIGIN = "https://chat.example"
LINE = 7


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def chat_id_of(session: str, origin: str = ORIGIN) -> str:
    return f"chat{md5(origin)}{md5(session)}"


def php_json(value: Any) -> str:
    """As PHP's json_encode: ASCII only, slashes escaped."""
    return json.dumps(value, separators=(",", ":")).replace("/", "\\/")


def escaped(text: str) -> str:
    """As PHP's htmlspecialchars, since 8.1."""
    return html.escape(text).replace("&#x27;", "&#039;")


class Example:
    """The example at work: what its handler.php and ajax.php save."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.saved: dict[str, dict[str, Any]] = {}
        (folder / "chats").mkdir(parents=True)

    def file(self, chat_id: str) -> Path:
        return self.folder / "chats" / f"{chat_id}.txt"

    def save(self, chat_id: str, item: dict[str, Any]) -> None:
        """saveMessage of function.php."""
        chat = self.saved.setdefault(chat_id, {})
        chat[f"message{len(chat)}"] = item
        self.file(chat_id).write_text(php_json(chat))

    def write(self, chat_id: str, text: str, date: int, name: str = "") -> None:
        """A visitor's form, as ajax.php saves it before it is sent."""
        self.save(chat_id, {
            "user": {"id": chat_id, "name": escaped(name)},
            "message": {"id": False, "date": date, "text": escaped(text)},
            "chat": {"id": chat_id, "url": f"{ORIGIN}/index.php?a=1&amp;b=2"},
        })  # fmt: skip

    def answer(self, chat_id: str, text: str, number: int, dialog: int, **besides: Any) -> None:
        """The item of an event, as handler.php saves it: all values are texts."""
        self.save(chat_id, {
            "im": {"chat_id": str(dialog), "message_id": str(number)},
            "message": {"user_id": "18", "text": f"[b]Olga Petrova:[/b] [br]{text}", **besides},
            "chat": {"id": chat_id},
        })  # fmt: skip

    def connect(self, line: object = LINE) -> None:
        (self.folder / "line_id.txt").write_text(str(line))

    def keep_settings(self, portal: str, client_id: str, **besides: Any) -> None:
        """What CRest keeps; a renewal has put the OAuth server in the place of the domain."""
        values = {
            "access_token": "an-old-access-token", "expires_in": "3600",
            "application_token": "an-app-sid", "refresh_token": "a-refresh-token",
            "domain": "oauth.bitrix.info", "client_endpoint": f"{portal}/rest/",
            "C_REST_CLIENT_ID": client_id, "C_REST_CLIENT_SECRET": "a secret", **besides,
        }  # fmt: skip
        (self.folder / "settings.json").write_text(php_json(values))
