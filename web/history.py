"""The visitor's messages in answers of a bounded size, for a bounded number of requests.

An answer holds HISTORY messages at most. Where messages are long it holds fewer, so that neither
reading nor writing it takes long; the page asks for the older ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from storage import Store
from store.records import Message, Version
from web.asking import known_address, services
from web.bubbles import HISTORY, Bubble, Bubbles, fragment
from web.visitor import Visitor

READ_AT_ONCE = 5  # whole messages in one read of the store
LETTERS = 150_000  # of HTML in one answer, but always one message


@dataclass(frozen=True)
class History:
    """A part of a conversation, as an HTML fragment, oldest first."""

    html: bytes = b""
    count: int = 0  # messages
    before: int | None = None  # the first of them, if there are older ones


def last_messages(visitor: Visitor | None, before: int | None, limit: int) -> History:
    """The visitor's last messages, or those before the message `before`.

    A `limit` or the answer's size may leave older ones out. Raises TooOften: whatever shows a
    history counts as a reading.
    """
    if visitor is None:
        return History()
    count_reading(visitor)
    versions = services().store.conversations.latest_versions(visitor.chat_id, before, limit + 1)
    found: list[Bubble] = []
    first, letters, has_older = None, 0, False
    bubbles = Bubbles.of_request(visitor.writer.epoch)
    for message_id, bubble in bubbles_of(versions, bubbles):
        letters += bubble.letters
        has_older = bool(found) and (len(found) == limit or letters > LETTERS)
        if has_older:
            break
        found.append(bubble)
        first = message_id
    found.reverse()
    tell_shown(found)
    return History(fragment(found, has_older), len(found), first if has_older else None)


def bubbles_of(versions: Sequence[Version], bubbles: Bubbles) -> Iterator[tuple[int, Bubble]]:
    """The messages' ids and bubbles; only messages that have none yet are read, a few at once."""
    conversations = services().store.conversations
    made: dict[int, Bubble] = {}
    for place, version in enumerate(versions):
        bubble = bubbles.find(version) or made.pop(version.id, None)
        if bubble is None:
            following = versions[place : place + READ_AT_ONCE]
            ids = [one.id for one in following if bubbles.find(one) is None]
            made = {message.id: bubbles.of(message) for message in conversations.read(ids)}
            bubble = made.pop(version.id, None)
        if bubble is not None:  # else it has just been deleted for good
            yield version.id, bubble


def tell_shown(bubbles: list[Bubble]) -> None:
    """Note the operators' messages, which a page gets now, oldest first."""
    now, shown = services().store.now(), services().shown
    for bubble in bubbles:
        if bubble.answer is not None:
            shown.note(bubble.answer, now)


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
