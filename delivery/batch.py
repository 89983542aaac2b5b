"""How many messages one call carries, and which.

One while few may go, so that nobody waits for another visitor's message; more while many may.
"""

import time
from urllib.parse import quote_plus

from delivery.quarantine import Quarantine
from delivery.reaction import has_file
from store.queue import RUN_LIMIT
from store.records import Delivery
from turns import Turns

ALONE_UP_TO = 3  # messages that may go now are no backlog: each gets a call of its own
# Where the answer of one alone was lost lately, another may lose its own and take others with it.
# So many more wait for some seconds rather than to be in doubt for half a minute.
ALONE_IN_TROUBLE, TROUBLE_SECONDS = 10, 30.0
MESSAGES_A_CALL = 40  # at 1.5 s each they still end within 60 s, should the portal slow down
FIRST_ITEMS = 10  # of the first call, until we know how long a message takes
CALL_BYTES = 500_000  # of a call's texts; proxies take 1 MiB at least
ITEM_BYTES = 2_000  # of a message's other fields
CALL_SECONDS = 25.0  # a call is planned to take no longer; the portal ends it after 60
ITEM_SECONDS = 0.25  # a message's share of a call, until measured
FASTER_SHARE = 0.3  # a call that was faster moves the measured time by this share of the change
ATTEMPTS_WITH_OTHERS = 2  # of a message; then it goes alone, as it may cause the failures
LONG_BACKLOG = 30  # messages, before several of one chat may share a call
CALM_CALLS = 3  # without a skipped message before several of one chat may share a call
CALM_SECONDS = 10.0  # without a skipped message before several of one chat may share a call


class Batches:
    """Learns from each call how much the next one may carry."""

    def __init__(self, quarantine: Quarantine) -> None:
        self._quarantine = quarantine
        self._item_seconds = ITEM_SECONDS
        self._most = (
            FIRST_ITEMS  # doubled by each answered call; after a lost answer, half of that call
        )
        self._calm_calls = 0  # since a message was skipped
        self._skipped_at = 0.0
        self._lost_alone_at = -TROUBLE_SECONDS
        self._began = 0.0

    def run_length(self, now: float, waiting: int) -> int:
        """How many messages of one chat a call may carry, while `waiting` messages wait in all.

        Usually one, because the next message may go only when the first has arrived. More only in
        a long backlog, and only while the portal skips no message: a skipped message would come
        to stand behind its followers. A lost answer does not disturb the order.
        """
        calm = self._calm_calls >= CALM_CALLS and now - self._skipped_at > CALM_SECONDS
        return RUN_LIMIT if calm and waiting > LONG_BACKLOG else 1

    def fitting(self, ready: list[Delivery], now: float) -> list[Delivery]:
        """The messages that the next call carries, beginning with the first.

        What waits and may not go now, because its own last call was lost, for example, does not
        count: others would share calls because of it, and be in doubt with each other.
        """
        in_trouble = abs(now - self._lost_alone_at) < TROUBLE_SECONDS  # clocks are set back, too
        few = ALONE_IN_TROUBLE if in_trouble else ALONE_UP_TO
        if len(ready) <= few or self._goes_alone(ready[0]):
            return ready[:1]
        room = max(1, min(self._most, int(CALL_SECONDS / self._item_seconds)))
        batch: list[Delivery] = []
        left_out: set[str] = set()  # chats whose next message goes alone: all later ones wait
        size, turns = 0, Turns()
        for delivery in ready:
            turns.give_way()
            size += len(quote_plus(delivery.message.text)) + ITEM_BYTES
            if batch and (len(batch) == room or size > CALL_BYTES):
                break
            if self._goes_alone(delivery):
                left_out.add(delivery.chat.id)
            if delivery.chat.id not in left_out:
                batch.append(delivery)
        return batch

    def _goes_alone(self, delivery: Delivery) -> bool:
        """Whether the message may make the portal fail, or makes it fetch a file, which is slow."""
        return (
            self._quarantine.goes_alone(delivery)
            or delivery.attempts >= ATTEMPTS_WITH_OTHERS
            or has_file(delivery)
        )

    def begin_call(self) -> None:
        self._began = time.monotonic()

    def answered(self, items: int, skipped: bool, now: float) -> None:
        """A call with so many messages was answered; `skipped`: for one it named no session."""
        self._measure(items)
        self._most = min(MESSAGES_A_CALL, self._most * 2)
        self._calm_calls = 0 if skipped else self._calm_calls + 1
        if skipped:
            self._skipped_at = now

    def lost(self, items: int, now: float) -> None:
        """The answer of a call was lost: the next call carries half as many messages."""
        if items == 1:
            self._lost_alone_at = now
            return
        self._measure(items)
        self._most = items // 2

    def _measure(self, items: int) -> None:
        """Learn how long a message takes: a longer time counts at once, a shorter one slowly."""
        took = (time.monotonic() - self._began) / items
        change = took - self._item_seconds
        self._item_seconds += change if change > 0 else change * FASTER_SHARE
