"""When a method that has run too long may be called again, where the refusal does not say so."""

import time
from typing import Any

from rest.errors import OPERATION_LIMIT, BitrixError, seconds_to_reset


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
