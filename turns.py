"""Long work in short turns, so that all others of the same process are served in between.

A worker serves its requests in one loop, and only what waits lets another go on. Whoever works for
long therefore ends its turn now and then. Knows nothing of the product.
"""

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import gevent  # type: ignore[import-untyped]
from gevent import monkey
from gevent.threadpool import ThreadPool  # type: ignore[import-untyped]

TURN_SECONDS = 0.004  # of the processor: a machine that is busy otherwise shortens no turn
# Until then nobody asks for the processor's time: that is a system call, and most works are over
# before.
SHORT_SECONDS = TURN_SECONDS / 2
# gevent reads its sockets between two turns only if they are a timer apart: after `sleep(0)` it
# first resumes what is ready up to 50 times.
PAUSE_SECONDS = 0.001
THREADS = 4  # more than wait for a disk at once: one writes, one moves the log, one makes a copy
HANGING_THREADS = 16

P = ParamSpec("P")
R = TypeVar("R")

# Long works that wait for their next turn, in the order in which they came. A lock would have no
# order: under a flood of requests whoever waits could stay behind newcomers for ever.
_waiting: deque[threading.Event] = deque()
_pools: WeakKeyDictionary[object, ThreadPool] = WeakKeyDictionary()  # of each thread's loop
_hanging: WeakKeyDictionary[object, ThreadPool] = WeakKeyDictionary()  # the same


class Turns:
    """The turns of one long work; the first has begun."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._began: float | None = None  # by the processor's time; None: not asked yet
        self._end = time.perf_counter() + SHORT_SECONDS

    def give_way(self) -> None:
        """Call it often, outside transactions. If the turn is over, let the others go on first.

        Of several long works only one has a turn before whoever waits is served again, and each
        has its turn in the order in which it gave way.
        """
        now = time.perf_counter()  # the quicker of the two clocks
        if now < self._end:
            return
        used = time.thread_time()
        if self._began is None:
            # As if it had used all the time since it began: that is the most that it can have used.
            self._began = used - (now - self._end + SHORT_SECONDS)
        left = TURN_SECONDS - (used - self._began)
        if left > 0:
            self._end = time.perf_counter() + left
            return
        self._end_turn()

    def rest(self) -> None:
        """End the turn, whose end was up to the caller; the others have as long as it was."""
        time.sleep(TURN_SECONDS)
        self._end_turn()

    def _end_turn(self) -> None:
        called = threading.Event()
        _waiting.append(called)
        try:
            if _waiting[0] is not called:
                called.wait()
            time.sleep(PAUSE_SECONDS)
        finally:
            _waiting.remove(called)
            with suppress(IndexError):  # nobody waits
                _waiting[0].set()
        self._begin()


def apart(function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """Call a function that lets go of Python's lock, in a thread; others go on meanwhile."""
    return _called(_threads(_pools, THREADS), lambda: function(*arguments, **named))


def apart_for(seconds: float, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """As `apart`, of a function that may hang, as one that uses another machine's disk does.

    Raises TimeoutError after so many seconds. What hangs goes on, in one of a few threads that
    nobody else needs; while all of them hang the others wait as long.
    """
    pool = _threads(_hanging, HANGING_THREADS)
    late = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    with gevent.Timeout(seconds, late):
        return _called(pool, lambda: function(*arguments, **named))


def _called(pool: ThreadPool, function: Callable[[], R]) -> R:
    results: list[R] = []
    errors: list[BaseException] = []  # the pool would print them

    def call() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    pool.apply(call)
    if errors:
        raise errors[0]
    return results[0]


def _threads(pools: WeakKeyDictionary[object, ThreadPool], count: int) -> ThreadPool:
    """Threads of our own: those of gevent may all wait for a name server that does not answer."""
    hub = gevent.get_hub()
    if hub not in pools:
        pools[hub] = ThreadPool(count, hub=hub)
    return pools[hub]


def has_greenlets() -> bool:
    """Whether this process serves many in one loop, as the service does and a command does not."""
    return bool(monkey.is_module_patched("threading"))


def beside(function: Callable[P, object], *arguments: P.args, **named: P.kwargs) -> None:
    """Call a function that nobody may interrupt, in a greenlet of its own; do not wait for it.

    So it comes to its end also if our greenlet is killed. In a process without greenlets it has
    come to its end when this returns.
    """
    if has_greenlets():
        gevent.spawn(function, *arguments, **named)
    else:
        function(*arguments, **named)
