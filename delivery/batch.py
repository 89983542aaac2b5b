"""How many messages one call carries, and which.

One while few wait, so that nobody waits for another's message; up to 25 while a backlog stands.
"""

import time
from urllib.parse import quote_plus

from delivery.quarantine import Quarantine
from delivery.reaction import has_file
from store.queue import RUN_LIMIT
from store.records import Delivery

ALONE_UP_TO = 3  # waiting messages are no backlog: each gets a call of its own
MESSAGES_A_CALL = 25  # at 2 s each they still fit, should the portal slow down at once
FIRST_ITEMS = 10  # of the first call, until we know how long a message takes
CALL_BYTES = 500_000  # of a call's texts; proxies take 1 MiB at least
ITEM_BYTES = 2_000  # of a message's other fields
CALL_SECONDS = 25.0  # that a call may take by our reckoning; the portal ends it after 60
ITEM_SECONDS = 0.25  # a message's share of a call, until measured
FASTER_SHARE = 0.3  # of a shorter time is believed at each call; of a longer one all
ATTEMPTS_WITH_OTHERS = 2  # of a message; then it goes alone, for it may be the cause
LONG_BACKLOG = 30  # messages, before several of one chat may share a call
CALM_CALLS = 3  # without a message passed over, before several of one chat may share a call
CALM_SECONDS = 10.0  # the same, in time


class Batches:
    """Learns from each call how much the next one may carry."""

    def __init__(self, quarantine: Quarantine) -> None:
        self._quarantine = quarantine
        self._item_seconds = ITEM_SECONDS
        self._most = FIRST_ITEMS  # doubled by each call that works, halved by one that does not
        self._calm_calls = 0  # since a message was passed over
        self._passed_over_at = 0.0
        self._began = 0.0

    def run_length(self, now: float, waiting: int) -> int:
        """How many messages of one chat a call may carry, while so many wait in all.

        One, because whether the next may go depends on what becomes of the first. More only in a
        backlog, and while the portal stores one after the other: a message passed over would stand
        behind its followers. A lost answer does not disturb their order.
        """
        calm = self._calm_calls >= CALM_CALLS and now - self._passed_over_at > CALM_SECONDS
        return RUN_LIMIT if calm and waiting > LONG_BACKLOG else 1

    def fitting(self, ready: list[Delivery], waiting: int) -> list[Delivery]:
        """Those that the next call shall carry, beginning with the first."""
        if waiting <= ALONE_UP_TO or self._goes_alone(ready[0]):
            return ready[:1]
        room = max(1, min(self._most, int(CALL_SECONDS / self._item_seconds)))
        batch: list[Delivery] = []
        left_out: set[str] = set()  # chats: what follows a message waits for it
        size = 0
        for one in ready:
            size += len(quote_plus(one.message.text)) + ITEM_BYTES
            if batch and (len(batch) == room or size > CALL_BYTES):
                break
            if self._goes_alone(one):
                left_out.add(one.chat.id)
            if one.chat.id not in left_out:
                batch.append(one)
        return batch

    def _goes_alone(self, delivery: Delivery) -> bool:
        """Whether the portal may stumble over the message, or wait for the file that it fetches."""
        return (
            self._quarantine.goes_alone(delivery)
            or delivery.attempts >= ATTEMPTS_WITH_OTHERS
            or has_file(delivery)
        )

    def begin_call(self) -> None:
        self._began = time.monotonic()

    def answered(self, items: int, passed_over: bool, now: float) -> None:
        """A call with so many came to its end; in it a message was passed over, or none was."""
        self._measure(items)
        self._most = min(MESSAGES_A_CALL, self._most * 2)
        self._calm_calls = 0 if passed_over else self._calm_calls + 1
        if passed_over:
            self._passed_over_at = now

    def lost(self, items: int) -> None:
        """The answer was lost: the call may have been too much, or one of its items is."""
        self._measure(items)
        self._most = max(1, items // 2)

    def _measure(self, items: int) -> None:
        """Learn how long a message takes: at once when it is longer, else slowly."""
        took = (time.monotonic() - self._began) / items
        change = took - self._item_seconds
        self._item_seconds += change if change > 0 else change * FASTER_SHARE
