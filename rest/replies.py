"""Replies of Bitrix24 as frozen objects, whatever shape PHP gave them.

A reply of another shape than the documented one raises one of STRANGE.
"""

import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from rest.errors import OutcomeUnknown, Refused
from rest.php import keyed, listed, number, truth

LONGEST_TOKEN_SECONDS = 3600.0  # a lifetime that is too long must not keep us from renewing
# What reading an answer of another shape than the documented one may raise.
STRANGE = (KeyError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class Grant:
    """A pair of tokens; `expires_at` in Unix seconds."""

    access_token: str
    refresh_token: str
    expires_at: float

    def __repr__(self) -> str:
        return f"Grant(expires_at={self.expires_at:.0f})"


@dataclass(frozen=True)
class ItemResult:
    """What the portal says of one item of `imconnector.send.messages`.

    `errors` is empty for an accepted item. An item that is accepted without a session may not be
    stored (bitrix24.md section 4).
    """

    accepted: bool
    errors: tuple[str, ...] = ()
    session_id: int | None = None
    portal_chat_id: int | None = None
    portal_user_id: int | None = None
    files: int | None = None  # how many the portal fetched; None where it does not say


@dataclass(frozen=True)
class HistoryMessage:
    """A message as the portal's history gives it; its text has no signature."""

    id: int  # the im.message_id of events
    author_id: int
    text: str
    sent_at: float  # Unix seconds
    connector_mids: tuple[str, ...]  # our ids of the message
    classes: str  # separated by spaces
    hidden: bool  # whispers and the portal's own notices
    from_connector: bool  # the author is a visitor
    author_name: str | None
    files: tuple[dict[str, Any], ...]
    # The text of a deleted message is the portal's notice. Newer builds keep no other parameter:
    # it is unknown whether the message was a whisper, a notice, or which of ours it was.
    deleted: bool = False


def grant_from(values: dict[str, Any]) -> Grant | None:
    """The pair of tokens in an OAuth answer or an event's `auth`, or None when incomplete."""
    access, refresh = values.get("access_token"), values.get("refresh_token")
    if not (isinstance(access, str) and access and isinstance(refresh, str) and refresh):
        return None
    return Grant(access, refresh, expiry(values.get("expires_in")))


def expiry(seconds: object) -> float:
    """When a token expires whose `expires_in` is `seconds`: an hour from now at the latest."""
    lifetime = number(seconds)
    if lifetime is None:
        return time.time() + LONGEST_TOKEN_SECONDS
    return time.time() + min(max(lifetime, 0), LONGEST_TOKEN_SECONDS)


def item_result(item: dict[str, Any]) -> ItemResult:
    if not truth(item["SUCCESS"]):
        errors = tuple(str(error) for error in listed(item.get("ERRORS") or []))
        return ItemResult(False, errors or ("NOT_DONE",))
    session = item.get("session")
    session = session if isinstance(session, dict) else {}
    result = ItemResult(True, portal_user_id=number(item.get("user")))
    return replace(
        result,
        session_id=number(session.get("ID")),
        portal_chat_id=number(session.get("CHAT_ID")),
        files=_count_of_files(item.get("message")),
    )


def _count_of_files(message: Any) -> int | None:
    files = message.get("files") if isinstance(message, dict) else None
    return len(files) if isinstance(files, list | dict) else None


def history(messages: Any, authors: Any, attached: Any) -> list[HistoryMessage]:
    """The messages in an answer of either history method, ascending; the keys differ in case."""
    users = {str(user["id"]): user for user in listed(authors or [])}
    files = {str(file["id"]): file for file in listed(attached or [])}
    read_messages = []
    for item in listed(messages):
        params = _params(item)
        author_id = number(item.get("author_id", item.get("senderid"))) or 0
        author = users.get(str(author_id), {})
        classes = " ".join(map(str, params.get("CLASS", [])))
        whisper = "HiddenMessage" in params.get("COMPONENTID", [])
        read_messages.append(
            HistoryMessage(
                id=int(item["id"]),
                author_id=author_id,
                text=str(item.get("text") or ""),
                sent_at=_moment(item.get("date")),
                connector_mids=tuple(map(str, params.get("CONNECTORMID", []))),
                classes=classes,
                hidden="content-item-system" in classes or whisper,
                from_connector=truth(author.get("connector")),
                author_name=author.get("name"),
                files=tuple(files[str(i)] for i in params.get("FILEID", []) if str(i) in files),
                deleted=any(map(truth, params.get("ISDELETED", []))),
            )
        )
    return sorted(read_messages, key=lambda message: message.id)


def _params(item: dict[str, Any]) -> dict[str, list[Any]]:
    """A message's parameters, each a list; IS_DELETED and isDeleted both become ISDELETED.

    A parameter that is empty is left out. A message may say itself that it is deleted.
    """
    given = item.get("params")
    flags = {key: value for key, value in item.items() if _plain_key(key) == "ISDELETED"}
    params = flags | (given if isinstance(given, dict) else {})
    return {
        _plain_key(key): listed(value) if isinstance(value, list | dict) else [value]
        for key, value in params.items()
        if value not in (None, "", False)
    }


def _plain_key(key: object) -> str:
    return str(key).replace("_", "").upper()


def _moment(value: object) -> float:
    """Unix seconds of a date of the portal; the present time if the date cannot be read."""
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return time.time()


def messages_of(method: str, result: Any) -> list[HistoryMessage]:
    """The messages in the answer of this history method, ascending."""
    key = "message" if method == "imopenlines.session.history.get" else "messages"
    try:
        return history(result[key], result.get("users"), result.get("files"))
    except STRANGE:
        raise OutcomeUnknown("STRANGE_ANSWER", method) from None


def listed_events(result: Any) -> list[tuple[str, str]]:
    """Pairs of upper-case event and handler address in an answer of `event.get`."""
    return [
        (str(item.get("event", "")).upper(), str(item.get("handler", "")))
        for item in listed(result)
        if isinstance(item, dict) and not int(item.get("offline") or 0)
    ]


def connector_ids(result: Any) -> set[str]:
    """The ids in an answer of `imconnector.list`, in lower case."""
    try:
        return {key.lower() for key in keyed(result)}
    except STRANGE:
        raise OutcomeUnknown("STRANGE_ANSWER", "imconnector.list") from None


def expect_true(method: str, result: Any) -> None:
    """Raise Refused if the result says that the method failed, in an answer of HTTP 200."""
    if isinstance(result, dict):
        code = str(result.get("error") or "NOT_DONE")
        description = str(result.get("error_description") or "")
        done = truth(result.get("result", not result.get("error")))
    else:
        code, description, done = "NOT_DONE", "", truth(result)
    if not done:
        raise Refused(code, method, description)
