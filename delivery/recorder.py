"""Notes in the store what became of deliveries, and keeps what the store cannot take now."""

from delivery.clock import Clock
from storage import Store
from store.database import StoreUnavailable
from store.records import Outcome


class Recorder:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._unrecorded: list[tuple[list[Outcome], float]] = []

    def record(self, outcomes: list[Outcome]) -> None:
        """Note outcomes; what the portal has ended is noted later where it cannot be now.

        Everything else stays in the store as it is: another process may have begun with it by
        then. Raises StoreUnavailable.
        """
        if not outcomes:
            return
        now = self._clock.now()
        try:
            self._store.queue.record(outcomes, now)
        except StoreUnavailable:
            self._unrecorded.append(([outcome for outcome in outcomes if outcome.is_final], now))
            raise

    def record_late(self) -> None:
        """Note what could not be noted before; raises StoreUnavailable."""
        while self._unrecorded:
            self._store.queue.record(*self._unrecorded[0])
            self._unrecorded.pop(0)
