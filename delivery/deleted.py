"""Recognises a message of a visitor that an operator deleted before we knew that it had arrived.

A deleted message has lost our id (docs/bitrix24.md, 12.7). Without this, a message in doubt would
look as if it had never arrived, and would be sent again although an operator has deleted it.
"""

from collections.abc import Iterable
from itertools import takewhile

from rest.replies import HistoryMessage
from store.records import Delivery, Message

DELETED_CLOCKS_DIFFER_SECONDS = 60.0  # the portal's clock from ours; if by more, it is sent again


def deleted_copy(
    delivery: Delivery, page: list[HistoryMessage], earlier: list[Message]
) -> HistoryMessage | None:
    """The deleted message of the page that can only be this delivery's, or None.

    `earlier` has the chat's visitor messages before it, newest first. The portal has them in our
    order. So of the deleted messages behind the last one that still has our id, as many belong to
    earlier messages of ours as came after that one; only what is left can be this delivery's. If we
    count too many, the message is sent again; if too few, it would be lost.
    """
    own_ids = {number: message.id for message in page for number in _own_ids(message)}
    nameless = list(takewhile(lambda message: message.id not in own_ids, earlier))
    last_named = earlier[len(nameless)] if len(nameless) < len(earlier) else None
    after = own_ids[last_named.id] if last_named else 0
    later = [portal_id for number, portal_id in own_ids.items() if number > delivery.message.id]
    deleted = [
        message
        for message in page
        if message.deleted
        and message.from_connector
        and not message.connector_mids
        and after < message.id < min(later, default=message.id + 1)
    ]
    # A file that the portal did not take was sent again as a link: a second message of that id.
    files = [*nameless, last_named, delivery.message if delivery.file_as_link else None]
    expected = len(nameless) + sum(bool(message and message.files) for message in files)
    left = deleted[expected:]
    oldest = delivery.message.sent_at - DELETED_CLOCKS_DIFFER_SECONDS
    return left[0] if left and left[0].sent_at >= oldest else None


def _own_ids(message: HistoryMessage) -> Iterable[int]:
    """The numbers of our messages in CONNECTOR_MID: what stands before the first hyphen."""
    parts = (mid.partition("-")[0] for mid in message.connector_mids)
    return (int(part) for part in parts if part.isdecimal())
