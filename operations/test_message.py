"""A test message: goes the way of every visitor's message, so it shows whether that way is free.

Each line has a test chat of its own, with a visitor whose name says that it is a test.
"""

import hashlib
from dataclasses import dataclass

from settings import Settings
from storage import Store
from store.records import Chat, Limits, State, VisitorMessage
from texts import text

PER_MINUTE = 10  # test messages, of all administrators together


@dataclass(frozen=True)
class TestState:
    """What has become of a test message."""

    __test__ = False  # pytest takes no class named so for a test

    state: State  # stored: it waits for its delivery
    error: str | None  # why it was refused: the portal's code or words
    line: int | None  # whose dialog it is in, or will be in; None while no line is connected
    answered: bool  # an operator has written in this dialog since


def send(
    store: Store, settings: Settings, now: float, language: str = "en", line: int | None = None
) -> int:
    """Store a test message and queue it for Bitrix24; returns its id.

    It goes to `line`, or to the one that new visitors get, as long as that is connected. Raises
    TooMany and StoreUnavailable.
    """
    if line is None:
        line = next(iter(store.portal.active_lines()), None)
    chat_id = _chat_of(store, line)
    if line is not None:
        store.chats.begin_on(chat_id, line, now)
    chat = Chat(
        id=chat_id, name=text(language, "test_message.name"), email="", phone="",
        page=f"{settings.public_url}/", line=line, created_at=now, active_at=now,
        portal_chat_id=None, portal_user_id=None, session_id=None, closed_at=None,
    )  # fmt: skip
    message = VisitorMessage(chat, text(language, "test_message.message"))
    limits = Limits("test messages", PER_MINUTE, PER_MINUTE)
    return store.messages.add_from_visitor(message, limits, now).id


def state(store: Store, message_id: int) -> TestState | None:
    """What has become of a test message; None for any other message."""
    message = store.messages.find(message_id)
    if message is None:
        return None
    chat = store.chats.find(message.chat_id)
    lines = [None, *store.portal.known_lines()]
    if chat is None or message.chat_id not in {_chat_of(store, line) for line in lines}:
        return None
    line = chat.dialog_line if chat.dialog_line is not None else chat.line
    return TestState(message.state, message.error, line, store.messages.is_answered(message))


def _chat_of(store: Store, line: int | None) -> str:
    """The id of a line's test chat: always the same, and nobody can guess it."""
    secret = f"{store.portal.secret_key()} test message {line}"
    return f"chat{hashlib.sha256(secret.encode()).hexdigest()}"
