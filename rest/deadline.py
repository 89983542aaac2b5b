"""One deadline for all calls that one page makes: whoever waits for it waits no longer than that.

Only for calls with a token that somebody handed us: a renewal of our own that is cut off may lose
the only pair of tokens that works.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_until: ContextVar[float] = ContextVar("until", default=math.inf)
_late: ContextVar[bool] = ContextVar("late", default=False)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Every call of this thread ends within so many seconds from now, or fails as unanswered."""
    before = _until.set(min(_until.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _until.reset(before)


def left(seconds: float) -> float:
    """How long a call may take that would else have so many seconds; 0 or less: no time is left."""
    return min(seconds, _until.get() - time.monotonic())


@contextmanager
def late_answers_count() -> Iterator[None]:
    """An answer that is there already counts when the time of a call of this thread is over.

    A process that stood still finds both at once: the answer, and that it has waited too long.
    """
    before = _late.set(True)
    try:
        yield
    finally:
        _late.reset(before)


def counts_late() -> bool:
    return _late.get()
