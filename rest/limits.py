"""What the field `time` of answers tells: when a method may run again, and how late it is there."""

import time
from typing import Any

from rest.errors import OPERATION_LIMIT, BitrixError, seconds_to_reset

EARLIEST, LATEST = 1_577_836_800, 1 << 32  # Unix seconds; no portal's clock shows other years


class OperatingTimes:
    """Keeps what each method's last successful answer said (bitrix24.md 9.2)."""

    def __init__(self) -> None:
        self._reset_at: dict[str, float] = {}  # by method, of the monotonic clock

    def note(self, method: str, answer: dict[str, Any]) -> None:
        """Keep the moment that a successful answer names."""
        self._reset_at[method] = time.monotonic() + seconds_to_reset(answer.get("time"))

    def completed(self, error: BitrixError) -> BitrixError:
        """The error; one of the limit with the wait that its own answer lacks, if it is known."""
        if error.code == OPERATION_LIMIT and not error.seconds:
            reset_at = self._reset_at.get(error.method, 0.0)
            error.seconds = max(0.0, reset_at - time.monotonic())
        return error


def clock_difference(times: object, began: float, ended: float) -> float | None:
    """The portal's clock minus ours in seconds; None where the answer does not tell.

    `began` and `ended` are the call's by our clock. The portal's `start` and `finish` lie between
    them, so the middles of both are compared: a slow way, or slow work, is no difference.
    """
    if not isinstance(times, dict):
        return None
    start, finish = times.get("start"), times.get("finish")
    if isinstance(start, bool) or not isinstance(start, int | float):
        return None
    if isinstance(finish, bool) or not isinstance(finish, int | float):
        finish = start
    if not (EARLIEST <= start < LATEST and start <= finish < LATEST):
        return None
    return (start + finish) / 2 - (began + ended) / 2
