"""Reads the folder of Bitrix24's own example of a connector, in PHP, and takes its chats over.

`chats/<chat id>.txt` is a JSON object of `message0`, `message1` and so on, as `saveMessage` of the
example's function.php writes it: what the visitor's form sent, with HTML's letters escaped, or the
item of the event with an operator's answer, which has `im`. `line_id.txt` is the number of the open
line, and `settings.json` is what CRest keeps of the portal. The example writes without locks, so
broken files are to be expected: they are named, and left where they are. The example's newer
edition (Python among its languages) has no store: it leaves that to whoever uses it.
"""

import json
import re
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from operations.archive import Stopped
from operations.kept_files import open_plain
from portal.events import CHAT_ID, read_messages
from portal.forms import BadRequest, Form
from portal.inbox import operator_message, text_html
from store.past import Past, PastAnswer, PastMessage
from store.records import Chat
from texts import Wrong

LARGEST_BYTES = 64 << 20  # of one chat
NAME_LIMIT, PAGE_LIMIT = 100, 2000  # letters
SEED = uuid.UUID(
    "3a3b1f0e-6d0c-4d8e-9a51-6f1d8a4a7c55"
)  # of the ids that are made of a chat's keys
ESCAPED = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&#039;": "'", "&#39;": "'", "&amp;": "&"}
CONNECTOR = re.compile(
    r"function\s+getConnectorID\s*\(\s*\)\s*\{[^}]*?return\s*['\"]([^'\"]+)['\"]"
)
CLIENT_ID = re.compile(r"define\s*\(\s*['\"]C_REST_CLIENT_ID['\"]\s*,\s*['\"]([^'\"]+)['\"]")


@dataclass(frozen=True)
class Grant:
    """What CRest kept of the portal's tokens."""

    portal: str  # its host
    client_id: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    member_id: str
    user_id: int


@dataclass
class Folder:
    """All that the folder holds, and what of it is broken."""

    chats: list[tuple[Chat, list[Past]]] = field(default_factory=list)
    line: int | None = None
    grant: Grant | None = None
    connector: str | None = None
    claimed_twice: int = 0  # messages whose number another chat claims, too
    problems: list[tuple[str, Wrong]] = field(default_factory=list)  # by the file's name

    def leave(self, name: str, key: str, **values: object) -> None:
        self.problems.append((name, Wrong(f"commands.{key}", **values)))


class Broken(Exception):
    """A file, or one message in it, cannot be taken over; `key` names the text that says why."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key)
        self.key = key
        self.values = values


def read_folder(path: Path) -> Folder:
    """Read everything; nothing is written. Raises Stopped if this is no folder of the example."""
    chats = path / "chats" if (path / "chats").is_dir() else path
    if not path.is_dir() or (chats == path and not any(path.glob("chat*.txt"))):
        raise Stopped("no_tutorial", path=path)
    folder = Folder()
    if chats == path and path.name == "chats":
        path = path.parent
    folder.line = _line(path, folder)
    folder.grant = _grant(path, folder)
    folder.connector = _found_in(path / "function.php", CONNECTOR)
    for file in sorted(chats.iterdir()):
        if file.suffix != ".txt":
            continue
        try:
            folder.chats.append(_chat(file, folder))
        except Broken as error:
            folder.leave(f"chats/{file.name}", error.key, **error.values)
    _refuse_claimed_twice(folder)
    return folder


def _refuse_claimed_twice(folder: Folder) -> None:
    """The example's handler lets anybody write: of two chats that claim a number neither has it."""
    claims = Counter(
        number
        for _, messages in folder.chats
        for number in {one.claimed_number for one in messages if isinstance(one, PastAnswer)}
    )
    for _, messages in folder.chats:
        for place, one in enumerate(messages):
            if isinstance(one, PastAnswer) and claims[one.claimed_number] > 1:
                messages[place] = replace(one, claimed_number=None)
                folder.claimed_twice += 1


def _read(path: Path) -> str:
    """The text of a file; Broken for what is none, or cannot be read."""
    try:
        file = open_plain(path)
        if file is None:
            raise Broken("file_no_file")
        with file:
            content = file.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise Broken("file_large", megabytes=LARGEST_BYTES >> 20)
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Broken("file_not_utf8") from None
    except OSError as error:
        raise Broken("file_unreadable", why=error.strerror) from None


def _json(path: Path) -> Any:
    text = _read(path)
    if not text.strip():
        raise Broken("file_empty")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Broken("file_not_json") from None


# -- chats


def _chat(path: Path, folder: Folder) -> tuple[Chat, list[Past]]:
    if not CHAT_ID.fullmatch(path.stem):
        raise Broken("file_name")
    value = _json(path)
    if isinstance(value, list):  # PHP writes an empty array so, or one whose keys are numbers
        value = {str(number): item for number, item in enumerate(value)}
    if not isinstance(value, dict):
        raise Broken("file_shape")
    last_at = min(path.stat().st_mtime, time.time())
    messages, chat = [], _new_chat(path.stem, folder.line, last_at)
    at = next(filter(None, map(_date, value.values())), last_at)
    for key, item in value.items():
        key = _clean(key)  # noqa: PLW2901
        at = max(at, _date(item) or at)  # an operator's answer has no time of its own
        try:
            message, chat = _message(chat, key, item, at)
        except Broken as error:
            folder.leave(f"chats/{path.name}, {key[:50]}", error.key, **error.values)
            continue
        messages.append(message)
    if value and not messages:
        raise Broken("file_no_message")
    if messages:
        chat = replace(chat, created_at=messages[0].sent_at or last_at, active_at=at)
    return chat, messages


def _new_chat(chat_id: str, line: int | None, at: float) -> Chat:
    return Chat(chat_id, "", "", "", "", line, at, at, None, None, None, None, dialog_line=line)


def _message(chat: Chat, key: str, item: object, at: float) -> tuple[Past, Chat]:
    """A message, and the chat with what the message tells of it."""
    if not isinstance(item, dict) or not isinstance(item.get("message"), dict):
        raise Broken("message_shape")
    form = _form_of(item, depth=0)
    client_id = str(uuid.uuid5(SEED, f"{chat.id} {key}"))
    if form.get("im"):
        return _from_operator(chat, form, client_id, at), chat
    text = form["message"].get("text")
    if not isinstance(text, str) or not text:
        raise Broken("message_no_text")
    text = _unescaped(text)
    name = _field(form, "user", "name")[:NAME_LIMIT].strip()
    page = _field(form, "chat", "url")
    is_page = re.match(r"https?://", page) and len(page) <= PAGE_LIMIT
    chat = replace(chat, name=name or chat.name, page=page if is_page else chat.page)
    return PastMessage(client_id, name, text, text_html(text), at), chat


def _from_operator(chat: Chat, form: Form, client_id: str, at: float) -> PastAnswer:
    try:
        [incoming] = read_messages({"MESSAGES": {"0": form | {"chat": {"id": chat.id}}}})
    except BadRequest as error:
        raise Broken("message_event", why=error) from None
    read = operator_message(incoming, chat.line or 0)
    return PastAnswer(
        client_id=client_id,
        author=read.author,
        name=read.name,
        text=read.text,
        text_html=read.text_html,
        files=read.files,
        files_html=read.files_html,
        attached=read.attached,
        sent_at=at,
        claimed_number=read.im_message_id,
    )


def _date(item: object) -> float | None:
    """When a visitor's message was sent, if it says so."""
    message = item.get("message") if isinstance(item, dict) else None
    date = message.get("date") if isinstance(message, dict) else None
    if not isinstance(date, int | float) or isinstance(date, bool):
        return None
    return float(date) if 0 < date <= time.time() else None


def _form_of(value: Any, depth: int) -> Any:
    """A value as PHP read it from a form: texts, and dicts also for lists."""
    if depth > 20:
        raise Broken("message_shape")
    if isinstance(value, list):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        return {str(key): _form_of(one, depth + 1) for key, one in value.items() if one is not None}
    if isinstance(value, str):
        return _clean(value)
    return str(int(value)) if isinstance(value, bool) else str(value)


def _clean(text: str) -> str:
    """A text that can be stored: JSON may hold halves of letters, and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def _field(form: Form, branch: str, key: str) -> str:
    fields = form.get(branch)
    value = fields.get(key) if isinstance(fields, dict) else None
    return _unescaped(value) if isinstance(value, str) else ""


def _unescaped(text: str) -> str:
    """What was typed before PHP's htmlspecialchars."""
    return re.sub("|".join(ESCAPED), lambda match: ESCAPED[match[0]], text)


# -- beside the chats


def _line(path: Path, folder: Folder) -> int | None:
    file = path / "line_id.txt"
    try:
        text = _read(file).strip() if file.exists() else ""
        if not file.exists():
            return None
        if not re.fullmatch("[1-9][0-9]{0,9}", text):
            raise Broken("file_no_number")
        return int(text)
    except Broken as error:
        folder.leave(file.name, error.key, **error.values)
        return None


def _grant(path: Path, folder: Folder) -> Grant | None:
    file = path / "settings.json"
    if not file.exists():
        return None
    try:
        values = _json(file)
        if not isinstance(values, dict):
            raise Broken("file_shape")
    except Broken as error:
        folder.leave(file.name, error.key, **error.values)
        return None

    def told(key: str) -> str:
        value = values.get(key)
        return _unescaped(value) if isinstance(value, str) else ""

    # Not `domain`: a renewal puts the OAuth server there.
    endpoint = re.match(r"https?://([^/?#\s]+)", told("client_endpoint"))
    user_id = str(values.get("user_id", ""))
    return Grant(
        portal=endpoint[1].lower() if endpoint else "",
        client_id=told("C_REST_CLIENT_ID") or _found_in(path / "settings.php", CLIENT_ID) or "",
        access_token=told("access_token"),
        refresh_token=told("refresh_token"),
        member_id=told("member_id"),
        user_id=int(user_id) if re.fullmatch("[0-9]{1,15}", user_id) else 0,
    )


def _found_in(path: Path, pattern: re.Pattern[str]) -> str | None:
    try:
        match = pattern.search(_read(path))
    except Broken:
        return None
    return match[1] if match else None
