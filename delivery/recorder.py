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
        """Note outcomes. Where the store is not available, keep those that must be noted for later.

        The others stay in the store as they are: another process may have begun with them by
        then. Raises StoreUnavailable.
        """
        if not outcomes:
            return
        now = self._clock.now()
        try:
            self._store.queue.record(outcomes, now)
        except StoreUnavailable:
            self._unrecorded.append(
                ([outcome for outcome in outcomes if outcome.must_be_noted], now)
            )
            raise

    def record_late(self) -> None:
        """Note what could not be noted before; raises StoreUnavailable."""
        while self._unrecorded:
            self._store.queue.record(*self._unrecorded[0])
            self._unrecorded.pop(0)
