"""What was turned away, by reason, and whether an event of Bitrix24's may be lost.

It is kept in memory and written every few seconds: a flood of forgeries makes few writes.
"""

import json
import logging
import threading
from collections import Counter

from logs import Lasting
from storage import Store
from store.database import StoreUnavailable

log = logging.getLogger(__name__)

NOTE_SECONDS = 2.0  # between two writes
MOST_REASONS = 200  # kept apart, in memory and in the store
REASON_BYTES = 2_000  # PostgreSQL takes some 2,700 into an index
OTHER_REASONS = json.dumps(["", "reasons.others", {}])  # under which all others count


class TurnedAway:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.counts: Counter[str] = Counter()  # by reason, since the last write
        self.lost = threading.Event()  # set: an event may be lost

    def count(self, reason: str) -> None:
        """Count a request that was turned away.

        Requests must make neither reasons without end nor very long ones: those count as others.
        """
        known = reason in self.counts or len(self.counts) < MOST_REASONS
        is_short = len(reason.encode()) <= REASON_BYTES
        self.counts[reason if known and is_short else OTHER_REASONS] += 1

    def run(self, stop: threading.Event) -> None:
        """Write every NOTE_SECONDS what is new."""
        trouble = Lasting(log)
        while not stop.wait(NOTE_SECONDS):
            for note in (self._note_loss, self._note_counts):
                try:
                    if note():
                        trouble.over()
                except StoreUnavailable as error:
                    trouble.met(error)

    def _note_loss(self) -> bool:
        """Whether there was one. A recovery looks for the event in the portal's history."""
        if not self.lost.is_set():
            return False
        self.lost.clear()
        try:
            self._store.notes.events_lost_at.set(self._store.now())
        except StoreUnavailable:
            self.lost.set()
            raise
        return True

    def _note_counts(self) -> bool:
        """Whether there were any."""
        counts = dict(self.counts)
        self.counts.clear()
        try:
            if counts:
                now, limits = self._store.now(), self._store.limits
                limits.add_refusals(counts, now, MOST_REASONS, OTHER_REASONS)
        except StoreUnavailable:
            self.counts.update(counts)
            raise
        return bool(counts)
