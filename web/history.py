"""The visitor's messages in answers of a bounded size, for a bounded number of requests.

An answer holds HISTORY messages at most. Where messages are long it holds fewer, so that neither
reading nor writing it takes long; the page asks for the older ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from flask import current_app

from storage import Store
from store.records import Message, Version
from web.asking import known_address, services
from web.bubbles import BESIDE_HTML, HISTORY, Bubble, Bubbles, fragment
from web.itself import itself
from web.kept import Kept
from web.visitor import Visitor

READ_AT_ONCE = 5  # whole messages in one read of the store
LETTERS = 150_000  # of HTML in one answer, but always one message
KEPT_BYTES = 8 << 20  # of one process: the histories of some 200 open chats, or of 1,000 short ones


@dataclass(frozen=True)
class History:
    """A part of a conversation, as an HTML fragment, oldest first."""

    html: bytes = b""
    count: int = 0  # messages
    before: int | None = None  # the first of them, if there are older ones
    answers: tuple[Message, ...] = ()  # the operators' messages, without their texts


def last_messages(visitor: Visitor | None, before: int | None, limit: int) -> History:
    """The visitor's last messages, or those before the message `before`.

    A `limit` or the answer's size may leave older ones out. Raises TooOften: whatever shows a
    history counts as a reading.
    """
    if visitor is None:
        return History()
    count_reading(visitor)
    versions = services().store.conversations.latest_versions(visitor.chat_id, before, limit + 1)
    bubbles = Bubbles.of_request(visitor.writer.epoch)
    kept: Kept[Any, History] = Kept.of_app(itself(current_app), "histories", KEPT_BYTES)
    key = tuple(versions), limit, bubbles.epoch, bubbles.language
    history = kept.get(key)
    if history is None:
        history = joined(versions, limit, bubbles)
        if all(map(bubbles.find, versions)):  # else one has just changed
            kept.put(key, history, len(history.html) + BESIDE_HTML * len(versions))
    tell_shown(history.answers)
    return history


def joined(versions: Sequence[Version], limit: int, bubbles: Bubbles) -> History:
    """The history of the first `limit` of these messages, or of fewer; the latest one is first."""
    found: list[Bubble] = []
    first, letters, has_older = None, 0, False
    for message_id, bubble in bubbles_of(versions, bubbles):
        letters += bubble.letters
        has_older = bool(found) and (len(found) == limit or letters > LETTERS)
        if has_older:
            break
        found.append(bubble)
        first = message_id
    found.reverse()
    answers = tuple(one.answer for one in found if one.answer is not None)
    before = first if has_older else None
    return History(fragment(found, has_older), len(found), before, answers)


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


def tell_shown(answers: Sequence[Message]) -> None:
    """Note the operators' messages, which a page gets now, oldest first."""
    now, shown = services().store.now(), services().shown
    for answer in answers:
        shown.note(answer, now)


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
