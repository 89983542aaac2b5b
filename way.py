"""A message's way in the log: each step is one line, and all have the id of the message.

`grep -w message=1836521478923456` shows the whole way: taken, sent, confirmed or refused, shown. A
chat's id lets its holder write into the chat, so the log has a digest of it. Never a text, a name
or an address. These lines are not summed up; each needs a message that was stored, and how many may
be stored is limited (`store/limits.py`).
"""

import hashlib
import logging

from logs import facts

log = logging.getLogger(__name__)

DIGEST_LENGTH = 10  # hex digits: enough to tell the chats of one company apart


def chat_digest(chat_id: str) -> str:
    """What the log calls a chat: the id cannot be found from it, for it has 128 random bits."""
    return hashlib.sha256(chat_id.encode()).hexdigest()[:DIGEST_LENGTH]


def step(
    what: str, message_id: int, chat_id: str, level: int = logging.INFO, **values: object
) -> None:
    """Write one step of a message; `values` are ids, codes and durations, None is left out."""
    if log.isEnabledFor(level):
        chat = chat_digest(chat_id)
        extra = facts(always=True, message=message_id, chat=chat, **values)
        log.log(level, "message %s", what, extra=extra)


def chat_step(what: str, chat_id: str, **values: object) -> None:
    """Write what became of a whole conversation."""
    extra = facts(always=True, chat=chat_digest(chat_id), **values)
    log.info("conversation %s", what, extra=extra)
