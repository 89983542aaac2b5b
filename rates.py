"""How often someone may ask, and who of a flood goes on when, in the memory of this process."""

import math
import time
from collections.abc import Callable

from store.records import TooMany

FORGET_EVERY = 1000  # requests; then who has a full bucket again is forgotten


class TooOften(TooMany):
    """Requests come too often; another one is of use after `seconds`."""


class Rates:
    """A bucket for each asker: `burst` requests at once, and then `per_second` in the long run."""

    def __init__(
        self, burst: int, per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = 1 / per_second  # a request's worth
        self._depth = burst / per_second
        self._clock = clock
        self._full_at: dict[str, float] = {}  # when the bucket of each asker is full again
        self._taken = 0

    def take(self, who: str) -> None:
        """Count a request; raises TooOften, and then counts nothing."""
        now = self._clock()
        full_at = max(now, self._full_at.get(who, now)) + self._seconds
        if full_at - now > self._depth:
            raise TooOften(math.ceil(full_at - now - self._depth))
        self._full_at[who] = full_at
        self._taken += 1
        if self._taken % max(FORGET_EVERY, len(self._full_at)) == 0:
            self._full_at = {one: at for one, at in self._full_at.items() if at > now}

    def __len__(self) -> int:
        """The askers that are remembered."""
        return len(self._full_at)


class Pace:
    """Whoever asks seldom goes on at once. All others go on in turn, one each `seconds`.

    A flood has a part of this process only, so the requests of everybody else find it free.
    """

    def __init__(self, free: Rates, seconds: float, patience: float) -> None:
        """`free`: how often each may ask and goes on at once. `patience`: the longest wait."""
        self._free = free
        self._seconds = seconds
        self._patience = patience
        self._next = 0.0  # when whoever comes next goes on

    def wait(self, who: str) -> None:
        """Return when `who` may go on; raises TooOften if that would be after `patience`."""
        try:
            self._free.take(who)
        except TooOften:
            now = time.monotonic()
            begin = max(now, self._next)
            if begin - now > self._patience:
                raise
            self._next = begin + self._seconds
            time.sleep(begin - now)
