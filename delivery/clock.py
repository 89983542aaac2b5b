"""The time within one step of the worker, and what a jump between two steps means.

Tests hand the time of a step in. What passes within it, in long calls, is measured by the
monotonic clock, so that no clock that is set in the middle of a step counts.
"""

import time

STOPPED_SECONDS = 30.0  # a step so late means that the whole process stood still
SET_BACK_SECONDS = 1.0  # less is the ordinary correction of a clock


class Clock:
    def __init__(self) -> None:
        self._step_at = 0.0
        self._monotonic = time.monotonic()

    def now(self) -> float:
        """Unix seconds, also after a long call of this step."""
        return self._step_at + time.monotonic() - self._monotonic

    def begin_step(self, now: float) -> tuple[float | None, bool]:
        """Take `now` for the time; returns since when we stood still, and if it was set back."""
        before, self._step_at, self._monotonic = self._step_at, now, time.monotonic()
        stopped = bool(before) and now - before > STOPPED_SECONDS
        set_back = bool(before) and now < before - SET_BACK_SECONDS
        return before if stopped else None, set_back

    def end_step(self) -> None:
        """What follows the step is a pause of ours, not a jump."""
        self._step_at, self._monotonic = self.now(), time.monotonic()
