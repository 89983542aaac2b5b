"""Calls that may begin only as long as something holds: a lock that others take, if we hang.

Whoever asks late, after a slow connection or as a process that stood still, sends nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


def _always() -> bool:
    return True


_holds: ContextVar[Callable[[], bool]] = ContextVar("holds", default=_always)


@contextmanager
def only_while(holds: Callable[[], bool]) -> Iterator[None]:
    """No call of this thread begins unless `holds()`; of two, one within the other, the inner."""
    before = _holds.set(holds)
    try:
        yield
    finally:
        _holds.reset(before)


def may_send() -> bool:
    """Whether a call may send its next bytes now."""
    return _holds.get()()
