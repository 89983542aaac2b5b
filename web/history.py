"""The visitor's messages in answers of a bounded size, for a bounded number of requests.

An answer holds HISTORY messages at most. Where messages are long it holds fewer, so that neither
reading nor writing it takes long; the page asks for the older ones.
"""

import time
from collections.abc import Iterator

from storage import Store
from store.records import Message
from web.asking import known_address, services
from web.bubbles import HISTORY
from web.visitor import Visitor

READ_AT_ONCE = 5  # messages in one read of the store
LETTERS = 150_000  # of HTML in one answer, but always one message


def last_messages(
    visitor: Visitor | None, before: int | None, limit: int
) -> tuple[list[Message], bool]:
    """The visitor's last messages, or those before the message `before`; oldest first.

    And whether there are older ones, which a `limit` or the answer's size has left out. Raises
    TooOften: whatever shows a history counts as a reading.
    """
    if visitor is None:
        return [], False
    count_reading(visitor)
    found: list[Message] = []
    letters = 0
    while True:
        page = services().store.conversations.latest(visitor.chat_id, before, READ_AT_ONCE)
        for message in reversed(page):
            letters += len(message.html)
            if found and (len(found) == limit or letters > LETTERS):
                return tell_shown(found), True
            found.append(message)
        if len(page) < READ_AT_ONCE:
            return tell_shown(found), False
        before = page[0].id


def tell_shown(found: list[Message]) -> list[Message]:
    """The messages, which a page gets now, oldest first."""
    now, shown = time.time(), services().shown
    found.reverse()
    for message in found:
        shown.note(message, now)
    return found


def changed_messages(store: Store, chat_id: str, after: int) -> Iterator[Message]:
    """The first messages that changed after this revision, HISTORY at most.

    Reads one at a time, and keeps none while a client reads it: that may take long.
    """
    for _ in range(HISTORY):
        changed = store.conversations.changed_after(chat_id, after, 1)
        if not changed:
            return
        after = changed[0].revision
        yield changed.pop()


def count_reading(visitor: Visitor | None) -> None:
    """Count a request that reads a chat; raises TooOften.

    A visitor whose address is not known is not limited: load tests and monitors ask so.
    """
    if visitor is not None and known_address() is not None:
        services().reading.take(visitor.chat_id)
