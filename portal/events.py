"""Reads what Bitrix24 posts to us: checks it and makes frozen objects of it.

Shapes: docs/bitrix24.md, sections 1, 7 and 8. Knows nothing of Flask or the store.
"""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from portal.attachments import attached_lines
from portal.forms import LARGEST_ID, BadRequest, Form, branch_of, items_of, number_of, text_of

ON, OFF = ("true", "1", "y"), ("false", "0", "n", "")  # how the portal spells a boolean
OPTIONS_LIMIT = 10_000  # characters; the portal sends about a hundred
CHAT_ID = re.compile(r"chat[0-9a-f]{64}")

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Auth:
    """The `auth` block of an event; its tokens are those of the user who caused the event."""

    application_token: str = field(repr=False)
    member_id: str
    access_token: str = field(repr=False)  # "" where no user caused the event
    fields: Form = field(repr=False)  # the whole block


@dataclass(frozen=True)
class Event:
    name: str  # upper case
    data: Any
    auth: Auth
    queued_at: int  # Unix seconds by the portal's clock; 0 where the portal does not say


@dataclass(frozen=True)
class IncomingFile:
    name: str
    type: str  # image, video, audio or file
    link: str
    size: int | None  # bytes


@dataclass(frozen=True)
class IncomingMessage:
    """One item of MESSAGES of a message event; `text` still carries the signature."""

    chat_id: str
    im_chat_id: int
    im_message_id: int
    user_id: int
    text: str
    files: tuple[IncomingFile, ...]
    params: dict[str, str]
    attached: str = ""  # lines of BB code, below the text
    own_ids: tuple[int, ...] = ()  # our message ids, as an update or deletion names them

    @property
    def is_system(self) -> bool:
        """Whether the portal itself wrote the text: author 0, or its own class (section 10)."""
        return self.user_id == 0 or "ol-output" in self.params.get("CLASS", "")


@dataclass(frozen=True)
class DialogEvent:
    """One item of DATA of a dialog event."""

    chat_id: str
    portal_chat_id: int
    portal_user_id: int
    session_id: int


@dataclass(frozen=True)
class Placement:
    """The settings page of the connector, opened for a line (section 7)."""

    line: int
    connector: str
    active: bool
    access_token: str = field(repr=False)
    application_token: str = field(repr=False)  # "" in older builds
    member_id: str = ""


def read_event(form: Form) -> Event:
    """The envelope of an event; what `data` holds depends on its name."""
    auth = branch_of(form, "auth")
    return Event(
        name=text_of(form, "event").upper(),
        data=form.get("data", {}),
        auth=Auth(
            application_token=text_of(auth, "application_token"),
            member_id=text_of(auth, "member_id", ""),
            access_token=text_of(auth, "access_token", ""),
            fields=auth,
        ),
        queued_at=int(ts) if re.fullmatch("[0-9]{1,12}", ts := str(form.get("ts"))) else 0,
    )


def fields_of(event: Event) -> Form:
    """An event's data, which must be fields: else BadRequest."""
    return branch_of({"data": event.data}, "data")


def read_messages(data: Form) -> list[IncomingMessage]:
    """The good items of a message-add event; BadRequest when there is none."""
    return _good_items(data, "MESSAGES", _message)


def _good_items(data: Form, key: str, read: Callable[[Form], T]) -> list[T]:
    """The items that can be read; BadRequest when there is none.

    The portal posts no event twice, so a bad item must not take the others with it.
    """
    items: list[T] = []
    faults: list[BadRequest] = []
    for item in items_of(data, key):
        try:
            items.append(read(item))
        except BadRequest as error:
            faults.append(error)
    if not items:
        raise faults[0] if faults else BadRequest("missing", field=key)
    for fault in faults:
        log.error("an item of an event cannot be read: %s", fault)
    return items


def _message(item: Form) -> IncomingMessage:
    im, message = branch_of(item, "im"), branch_of(item, "message")
    files = _files(message.get("files"))
    text = text_of(message, "text", "")
    params = _params(message.get("params"))
    groups = (message.get("attachments"), item.get("attachments_old"))
    attachments = [attachment for group in groups for attachment in _attachments(group)]
    if not (text or files or params.get("IMOL_VOTE_TEXT") or attachments):
        raise BadRequest("missing", field="text")
    attached = attached_lines(attachments, text)
    if attachments and not (text or files or attached):
        attached = "…"  # nothing of it can be read: that there is something must be seen
    return IncomingMessage(
        chat_id=chat_id_of(branch_of(item, "chat")),
        im_chat_id=number_of(im, "chat_id"),
        im_message_id=number_of(im, "message_id"),
        user_id=number_of(message, "user_id", least=0) if message.get("user_id") else 0,
        text=text,
        files=tuple(files),
        params=params,
        attached=attached,
    )


def _attachments(group: object) -> list[object]:
    """Several attachments, or one."""
    if isinstance(group, dict):
        is_list = all(str(key).isdecimal() for key in group)
        return list(group.values()) if is_list else [group]
    return [group] if group else []


def _files(files: object) -> list[IncomingFile]:
    """The files of a message. What is wrong with one costs neither the others nor the text."""
    items = files.values() if isinstance(files, dict) else ()
    return [_file(item) for item in items if isinstance(item, dict)]


def _file(item: Form) -> IncomingFile:
    fields = {key: value for key, value in item.items() if isinstance(value, str)}
    size = fields.get("size", "")
    is_number = re.fullmatch("[0-9]{1,19}", size) and int(size) <= LARGEST_ID
    return IncomingFile(
        name=fields.get("name", ""),
        type=fields.get("type", "file"),
        link=fields.get("link", ""),  # without a link the page shows the name
        size=int(size) if is_number else None,
    )


def _params(params: object) -> dict[str, str]:
    """A message's parameters as texts; CLASS may be a list of classes."""
    if not isinstance(params, dict):
        return {}
    return {
        key: " ".join(str(part) for part in value.values()) if isinstance(value, dict) else value
        for key, value in params.items()
    }


def read_changed_messages(data: Form, with_text: bool) -> list[IncomingMessage]:
    """The items of an update (`with_text`) or delete event; they name no author."""

    def read(item: Form) -> IncomingMessage:
        im, message = branch_of(item, "im"), item.get("message")
        fields = message if isinstance(message, dict) else {}
        return IncomingMessage(
            chat_id=chat_id_of(branch_of(item, "chat")),
            im_chat_id=number_of(im, "chat_id"),
            im_message_id=number_of(im, "message_id"),
            user_id=0,
            text=_new_text(fields) if with_text else "",
            files=(),
            params={},
            own_ids=_own_ids(fields.get("id")),
        )

    return _good_items(data, "MESSAGES", read)


def _new_text(fields: Form) -> str:
    """The text of an edit. An empty text removes a file's caption; without one: BadRequest."""
    return text_of(fields, "text", "" if "text" in fields else None)


def _own_ids(value: object) -> tuple[int, ...]:
    """Our message ids: a list in an update, one value in a deletion; other ids are left out."""
    values = value.values() if isinstance(value, dict) else [value]
    texts = [text for text in values if isinstance(text, str)]
    return tuple(int(text) for text in texts if re.fullmatch(r"[0-9]{1,18}", text))


def read_dialogs(data: Form) -> list[DialogEvent]:
    """The items of a dialog start or finish; their list is called DATA (section 1.5)."""
    return _good_items(data, "DATA", _dialog)


def _dialog(item: Form) -> DialogEvent:
    return DialogEvent(
        chat_id=chat_id_of(branch_of(item, "connector"), "chat_id"),
        portal_chat_id=number_of(branch_of(item, "chat"), "id"),
        portal_user_id=number_of(branch_of(item, "user"), "id", least=0),
        session_id=number_of(branch_of(item, "session"), "id"),
    )


def chat_id_of(form: Form, key: str = "id") -> str:
    """A chat id that we made; BadRequest for any other, so that no other makes a chat."""
    value = text_of(form, key)
    if not CHAT_ID.fullmatch(value):
        raise BadRequest("not_our_chat", field=key)
    return value


def read_placement(form: Form) -> Placement:
    """The settings page's form. Its options may spell booleans and numbers in any way."""
    try:
        options = json.loads(text_of(form, "PLACEMENT_OPTIONS")[:OPTIONS_LIMIT])
    except (ValueError, RecursionError):
        raise BadRequest("not_json", field="PLACEMENT_OPTIONS") from None
    if not isinstance(options, dict):
        raise BadRequest("no_object", field="PLACEMENT_OPTIONS")
    line = options.get("LINE")
    if isinstance(line, bool) or not isinstance(line, int | str):
        raise BadRequest("not_number", field="PLACEMENT_OPTIONS.LINE", least=1)
    # An unknown value is refused, because it must not switch off a line that works.
    active = str(options.get("ACTIVE_STATUS")).lower()
    if active not in ON + OFF:
        raise BadRequest("no_boolean", field="PLACEMENT_OPTIONS.ACTIVE_STATUS")
    return Placement(
        line=number_of({"LINE": str(line)}, "LINE"),
        connector=str(options.get("CONNECTOR", "")).lower(),
        active=active in ON,
        access_token=text_of(form, "AUTH_ID"),
        application_token=text_of(form, "APPLICATION_TOKEN", ""),
        member_id=text_of(form, "member_id", ""),
    )
