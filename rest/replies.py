"""Replies of Bitrix24 as frozen objects, whatever shape PHP gave them.

A reply of another shape than the documented one raises one of STRANGE.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from addresses import web_address
from rest.errors import Refused, code_of
from rest.php import identity, keyed, listed, number, truth, words

LONGEST_TOKEN_SECONDS = 3600.0  # a lifetime that is too long must not keep us from renewing
TOKEN = re.compile(r"[!-~]{1,2000}")
MID_LENGTH = 100  # what the portal keeps of an id of ours (bitrix24.md section 3)
ERROR_LENGTH = 300  # of a reason that people read
LATEST = 1 << 32  # Unix seconds; a date beyond it, or before 1970, is none
# What reading an answer of another shape than the documented one may raise.
STRANGE = (
    KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip


@dataclass(frozen=True)
class Grant:
    """A pair of tokens; `expires_at` in Unix seconds."""

    access_token: str
    refresh_token: str
    expires_at: float

    def __repr__(self) -> str:
        return f"Grant(expires_at={self.expires_at:.0f})"


@dataclass(frozen=True)
class TokenHome:
    """Where a token is good, as the OAuth server says."""

    client_id: str
    member_id: str
    portal: str  # its address in the one form


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
    understood: bool = True  # False: this item's result has no known shape, whatever it means


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
    attachments: tuple[Any, ...] = ()  # ATTACH blocks


def grant_from(values: dict[str, Any]) -> Grant | None:
    """The pair of tokens in an OAuth answer or an event's `auth`, or None when incomplete."""
    access, refresh = values.get("access_token"), values.get("refresh_token")
    if not (isinstance(access, str) and isinstance(refresh, str)):
        return None
    if not (TOKEN.fullmatch(access) and TOKEN.fullmatch(refresh)):
        return None
    return Grant(access, refresh, expiry(values.get("expires_in")))


def expiry(seconds: object) -> float:
    """When a token expires whose `expires_in` is `seconds`: an hour from now at the latest."""
    lifetime = number(seconds)
    if lifetime is None:
        return time.time() + LONGEST_TOKEN_SECONDS
    return time.time() + min(max(lifetime, 0), LONGEST_TOKEN_SECONDS)


def token_home(result: dict[str, Any]) -> TokenHome:
    """The application and the portal in an `app.info` of the OAuth server."""
    install = result["install"]
    endpoint = web_address(words(install["client_endpoint"]))  # .../rest/
    member_id, client_id = words(install["member_id"]), words(result["client_id"])
    return TokenHome(client_id, member_id, endpoint.removesuffix("/rest"))


def item_results(items: Any) -> list[ItemResult]:
    """The result of each item. One of an odd shape does not take the others with it."""
    results = []
    for item in listed(items):
        try:
            results.append(_item_result(item))
        except STRANGE:
            results.append(ItemResult(False, understood=False))
    return results


def _item_result(item: dict[str, Any]) -> ItemResult:
    if not truth(item["SUCCESS"]):
        return ItemResult(False, _reasons(item.get("ERRORS")) or ("NOT_DONE",))
    session = item.get("session")
    session = session if isinstance(session, dict) else {}
    result = ItemResult(True, portal_user_id=number(item.get("user")))
    return replace(
        result,
        session_id=number(session.get("ID")),
        portal_chat_id=number(session.get("CHAT_ID")),
        files=_count_of_files(item.get("message")),
    )


def _reasons(errors: Any) -> tuple[str, ...]:
    """Why an item is refused: a list of texts; also one text, or texts by their codes."""
    reasons = errors if isinstance(errors, list | dict) else [errors or ""]
    texts = (words(reason)[:ERROR_LENGTH] for reason in listed(reasons))
    return tuple(text for text in texts if text)


def _count_of_files(message: Any) -> int | None:
    files = message.get("files") if isinstance(message, dict) else None
    return len(files) if isinstance(files, list | dict) else None


def history(messages: Any, authors: Any, attached: Any) -> list[HistoryMessage]:
    """The messages in an answer of either history method, ascending; the keys differ in case."""
    users = {words(user["id"]): user for user in listed(authors or [])}
    files = {words(file["id"]): _file(file) for file in listed(attached or [])}
    read_messages = []
    for item in listed(messages):
        params = _params(item)
        author_id = number(item.get("author_id", item.get("senderid"))) or 0
        author = users.get(str(author_id), {})
        mids = tuple(map(words, params.get("CONNECTORMID", [])))
        classes = " ".join(map(words, params.get("CLASS", [])))
        whisper = "HiddenMessage" in params.get("COMPONENTID", [])
        file_ids = tuple(map(words, params.get("FILEID", [])))
        read_messages.append(
            HistoryMessage(
                id=identity(item["id"]),
                author_id=author_id,
                text=words(item.get("text")),
                sent_at=_moment(item.get("date")),
                connector_mids=tuple(mid for mid in mids if len(mid) <= MID_LENGTH),
                classes=classes,
                hidden="content-item-system" in classes or whisper,
                from_connector=truth(author.get("connector")),
                author_name=words(author.get("name")) or None,
                files=tuple(files[file_id] for file_id in file_ids if file_id in files),
                deleted=any(map(truth, params.get("ISDELETED", []))),
                attachments=tuple(params.get("ATTACH", [])),
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


def _plain_key(key: str) -> str:
    return key.replace("_", "").upper()


def _file(file: dict[str, Any]) -> dict[str, Any]:
    """What is shown of a file: its name and its kind."""
    shown = {key: words(file.get(key)) for key in ("name", "type") if file.get(key)}
    return {"id": number(file["id"]), **shown}


def _moment(value: object) -> float:
    """Unix seconds of a date of the portal; the present time if the date cannot be read."""
    try:
        moment = datetime.fromisoformat(words(value)).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        moment = -1.0
    return moment if 0 <= moment <= LATEST else time.time()


def listed_events(items: Any) -> list[tuple[str, str]]:
    """Pairs of upper-case event and handler address of the bindings in an answer of `event.get`."""
    return [
        (words(item.get("event")).upper(), words(item.get("handler")))
        for item in listed(items)
        if isinstance(item, dict) and not number(item.get("offline"))
    ]


def connector_ids(result: Any) -> set[str]:
    """The ids in an answer of `imconnector.list`, in lower case."""
    return {key.lower() for key in keyed(result)}


def expect_true(method: str) -> Callable[[Any], None]:
    """What raises Refused if a result says that the method failed, in an answer of HTTP 200."""

    def check(result: Any) -> None:
        if isinstance(result, dict):
            code = code_of(result.get("error") or "NOT_DONE", 200)
            description = words(result.get("error_description"))
            done = truth(result.get("result", not result.get("error")))
        else:
            code, description, done = "NOT_DONE", "", truth(result)
        if not done:
            raise Refused(code, method, description)

    return check
