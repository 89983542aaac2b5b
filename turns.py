"""Long work in short turns, so that all others of the same process are served in between.

A worker serves its requests in one loop, and only what waits lets another go on. Whoever works for
long therefore ends its turn now and then. Knows nothing of the product.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import gevent  # type: ignore[import-untyped]

TURN_SECONDS = 0.004
# gevent reads its sockets between two turns only if they are a timer apart: after `sleep(0)` it
# first resumes what is ready up to 50 times.
PAUSE_SECONDS = 0.001

R = TypeVar("R")

_line = threading.Lock()


class Turns:
    """The turns of one long work; the first has begun."""

    def __init__(self) -> None:
        self._end = time.perf_counter() + TURN_SECONDS

    def give_way(self) -> None:
        """Call it often, outside transactions. If the turn is over, let the others go on first.

        Of several long works only one has a turn before whoever waits is served again.
        """
        if time.perf_counter() < self._end:
            return
        with _line:
            time.sleep(PAUSE_SECONDS)
        self._end = time.perf_counter() + TURN_SECONDS


def apart(function: Callable[[str], R], text: str) -> R:
    """Call a function that lets go of Python's lock, in a thread; others go on meanwhile."""
    return gevent.get_hub().threadpool.apply(function, (text,))  # type: ignore[no-any-return]
