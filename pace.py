"""When the portal may be called: its limit for all calls, and rests after failures.

What failed rests, longer each time, and what works goes on. Knows nothing of the store or of what
is sent; times are Unix seconds.
"""

import math
import random

from settings import Delivery as DeliverySettings

# The portal's leaky bucket: 50 calls, emptied by 2 a second. We stay a little below both, and
# begin with a nearly full one, for we do not know what was called before our start.
BURST = 45.0
CALLS_A_SECOND = 1.9
FIRST_LEVEL = 35.0

EVERYTHING = "everything"  # the portal as a whole, among the works that rest


class Pace:
    """How many calls the portal still takes without refusing one."""

    def __init__(self) -> None:
        self._level = FIRST_LEVEL
        self._at: float | None = None

    def wait_seconds(self, now: float) -> float:
        """How long to wait before the next call."""
        self._drain(now)
        return max(0.0, (self._level + 1 - BURST) / CALLS_A_SECOND)

    def count_call(self, now: float) -> None:
        self._drain(now)
        self._level += 1

    def overrun(self, now: float) -> None:
        """The portal refused a call: its bucket is full, whatever we believed."""
        self._drain(now)
        self._level = BURST

    def _drain(self, now: float) -> None:
        passed = now - (now if self._at is None else self._at)  # below 0 when a clock is set back
        self._level = max(0.0, self._level - max(0.0, passed) * CALLS_A_SECOND)
        self._at = now


class Rests:
    """Which kinds of work rest, each for itself, or the portal as a whole."""

    def __init__(self, settings: DeliverySettings) -> None:
        self._settings = settings
        self._failures: dict[str, int] = {}  # in a row
        self._until: dict[str, float] = {}

    def last(self, work: str, now: float) -> bool:
        return now < self.until(work)

    def until(self, work: str) -> float:
        """When a work goes on; in the past where it does not rest."""
        return self._until.get(work, 0.0)

    def begin(
        self,
        work: str,
        now: float,
        at_least: float = 0.0,
        at_most: float = math.inf,
        tolerated: int = 0,
    ) -> float:
        """Let a work rest after one failure more; so many in a row are `tolerated`.

        Returns when it goes on.
        """
        failures = self._failures[work] = self._failures.get(work, 0) + 1
        if failures <= tolerated:
            return now
        pause = min(max(self.pause(failures - tolerated), at_least), at_most)
        self._until[work] = until = now + pause
        return until

    def worked(self, work: str) -> None:
        """A call for the work did what it should: the portal as a whole works."""
        self.end(work)
        self.end(EVERYTHING)

    def end(self, work: str) -> None:
        self._failures.pop(work, None)
        self._until.pop(work, None)

    def clear(self) -> None:
        """A cause is gone, or the clock was set back: nothing rests any more."""
        self._failures.clear()
        self._until.clear()

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures: doubling, limited, with jitter."""
        settings = self._settings
        pause = settings.retry_seconds * 2.0 ** min(max(failures - 1, 0), 20)
        return min(pause, settings.retry_limit_seconds) * random.uniform(0.8, 1.2)  # noqa: S311
