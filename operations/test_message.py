"""STUB until helper P's branch is merged: a message to Bitrix24 as a visitor would send it."""

import hashlib
import time
from dataclasses import dataclass

from settings import Settings
from storage import Store
from store.records import Chat, Limits, VisitorMessage


@dataclass(frozen=True)
class State:
    key: str
    error: str
    is_waiting: bool


def send(store: Store, settings: Settings, now: float) -> int:
    digest = hashlib.sha256(f"test {now}".encode()).hexdigest()
    chat = Chat(f"chat{digest}", "Test", "", "", "", None, now, now, None, None, None, None)
    limits = Limits("test", 100, 100)
    message = store.messages.add_from_visitor(
        VisitorMessage(chat, "Test message", "Test message"), limits, time.time()
    )
    return message.id


def state(store: Store, message_id: int) -> State:
    row = store.database.row("select state, error from messages where id = ?", message_id)
    key = row["state"] if row else "refused"
    return State(key, (row["error"] if row else "") or "", key == "stored")
