"""Whether messages can be taken now, for load balancers, which ask often.

The store is really written to: a full disk, a file that is read-only, damaged or locked shows in
nothing else. The answer counts for a second, however many ask, and takes about a second at most.
"""

import logging
import math
import time

from logs import facts, of_kind
from storage import Store
from store.database import StoreUnavailable

log = logging.getLogger(__name__)

GOOD_FOR_SECONDS = 1.0
ROOM_SECONDS = 10.0  # between two looks whether there is room for messages, while all is well
PATIENCE_SECONDS = 1.0  # with whoever else holds the store, unless they get on


class Pulse:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_known = False
        self._fault: StoreUnavailable | None = None
        self._looked_at = 0.0  # by the monotonic clock
        self._had_room_at = -math.inf  # by the same
        self._looks = False

    def takes_messages(self) -> bool:
        return self.fault() is None

    def fault(self) -> StoreUnavailable | None:
        """What keeps us from writing.

        Whoever asks while another one looks gets the answer of before: a look may take long.
        """
        is_fresh = time.monotonic() - self._looked_at < GOOD_FOR_SECONDS
        if not (self._is_known and (is_fresh or self._looks)):
            self._looks = True
            try:
                self._note(self._look())
            finally:
                self._looks = False
                self._looked_at = time.monotonic()
        return self._fault

    def doubt(self) -> None:
        """A request has met a fault of the store: what was found a moment ago counts no more."""
        if self._fault is None:
            self._looked_at, self._had_room_at = 0.0, -math.inf

    def _look(self) -> StoreUnavailable | None:
        try:
            with self._store.database.briefly(PATIENCE_SECONDS):
                self._store.notes.written_at.set(self._store.now())
                if time.monotonic() - self._had_room_at > ROOM_SECONDS:
                    self._store.database.check_room()
                    self._had_room_at = time.monotonic()
        except StoreUnavailable as error:
            self._had_room_at = -math.inf
            return error
        return None

    def _note(self, fault: StoreUnavailable | None) -> None:
        if fault is not None and self._fault is None:
            why = facts(code=type(fault).__name__)
            log.error("no message can be taken: %s", fault, extra=of_kind("pulse") | why)
        elif fault is None and self._fault is not None:
            log.info("messages can be taken again")
        self._is_known, self._fault = True, fault
