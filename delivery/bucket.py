"""The portal's leaky bucket: 50 calls, emptied by 2 a second (docs/bitrix24.md, section 9).

A call too many is refused by the portal, and its place in the queue is lost. Times are Unix
seconds.
"""

# Both stay a little below the portal's numbers: clocks differ, and whoever else calls from this
# address counts too. Higher values bring QUERY_LIMIT_EXCEEDED, lower ones slower sending.
BURST = 45.0  # calls
CALLS_A_SECOND = 1.9
FIRST_LEVEL = 35.0  # calls: we do not know what was called before our start


class Bucket:
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
        """The portal refused a call because its bucket is full, whatever we believed."""
        self._drain(now)
        self._level = BURST

    def _drain(self, now: float) -> None:
        passed = now - (now if self._at is None else self._at)  # below 0 when a clock is set back
        self._level = max(0.0, self._level - max(0.0, passed) * CALLS_A_SECOND)
        self._at = now
