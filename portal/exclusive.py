"""Work that one process of all hosts does at a time, and leaves where another one has taken over.

A process that hangs loses its lock. When it wakes up it must not go on with what it had read: it
calls nobody and writes nothing of this work any more.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from rest.lease import only_while
from storage import Store
from store.database import Lock
from store.fence import Fence


@contextmanager
def exclusively(store: Store, name: str, patience: float) -> Iterator[None]:
    """Hold the lock `name`; raises LockHeld where others do for longer than `patience` seconds."""
    with store.database.lock(name, patience) as lock, as_holder(store, name, lock):
        yield


@contextmanager
def as_holder(store: Store, name: str, lock: Lock) -> Iterator[None]:
    """Work under a lock that was taken; raises Superseded once it is another's."""
    fence = Fence(store.database, name)
    fence.take_over(lock)
    with only_while(lock.is_held_now), fence.holds():
        yield
