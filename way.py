"""A message's way in the log: each step is one line, and all have the id of the message.

`grep -w message=1836521478923456` shows the whole way: taken, sent, confirmed or refused, shown. A
chat's id lets its holder write into the chat, so the log has a digest of it. Never a text, a name
or an address. A line is written once its step is stored; the next step's line, by another process,
may be a moment ahead of it. These lines are not summed up; each needs a message that was stored,
and how many may be stored is limited (`store/limits.py`).
"""

import hashlib
import logging
import time

from logs import facts
from store.records import Message

log = logging.getLogger(__name__)

DIGEST_LENGTH = 10  # hex digits: enough to tell the chats of one company apart
LATE_SECONDS = 3 * 86_400.0  # an older answer has certainly been shown before
KEPT = 5_000  # changes of which is known that they were told


def chat_digest(chat_id: str) -> str:
    """What the log calls a chat: the id cannot be found from it, for it has 128 random bits."""
    return hashlib.sha256(chat_id.encode()).hexdigest()[:DIGEST_LENGTH]


def step(
    what: str, message_id: int, chat_id: str, level: int = logging.INFO, **values: object
) -> None:
    """Write one step of a message; `values` are ids, codes and durations, None is left out."""
    if log.isEnabledFor(level):
        values = {"message": message_id, "chat": chat_digest(chat_id), **values}
        # As `log.log` does, but without looking for the caller, which would tell nobody anything.
        extra = facts(always=True, **values)
        log.handle(log.makeRecord(log.name, level, "", 0, "message %s", (what,), None, extra=extra))


def chat_step(what: str, chat_id: str, **values: object) -> None:
    """Write what became of a whole conversation."""
    extra = facts(always=True, chat=chat_digest(chat_id), **values)
    log.info("conversation %s", what, extra=extra)


class Shown:
    """The last step of an answer: it was handed to a page of the visitor.

    Each change of a message is told once in each process, however many pages show it and however
    often they are loaded: else a visitor could write many lines a second.
    """

    def __init__(self) -> None:
        self._told: dict[int, int] = {}  # the revision that was told of each message

    def note(self, message: Message, now: float | None = None) -> None:
        """A page gets this message. What visitors write themselves is of no interest here."""
        if message.author == "visitor" or self._told.get(message.id) == message.revision:
            return
        age = (time.time() if now is None else now) - message.sent_at
        if age > LATE_SECONDS:
            return
        self._told.pop(message.id, None)
        self._told[message.id] = message.revision
        if len(self._told) > KEPT:
            del self._told[next(iter(self._told))]
        what = "shown as deleted" if message.deleted else "shown"
        edited = True if message.edited and not message.deleted else None
        step(what, message.id, message.chat_id, edited=edited, age_s=round(age, 1))
