"""Fences: whoever has lost a lock, and does not know it yet, writes nothing.

Each holder takes a number, which is higher than those of all before. While it works, each of its
write transactions looks first whether that number still stands in the store. Transactions come one
after the other on all hosts, so nothing of a former holder is written after the first transaction
of the next one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from store.database import Connection, Database, Lock, StoreUnavailable

_fences: ContextVar[tuple["Fence", ...]] = ContextVar("fences", default=())


class Superseded(StoreUnavailable):
    """Another process holds the lock now; nothing of the call was kept."""


class Fence:
    """What keeps one process from writing when another one has taken over its work."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._key = f"fence.{name}"
        self.number = 0  # the latest that we took

    def take_over(
        self,
        lock: Lock | None = None,
        also: Callable[[Connection], object] = lambda db: None,
        latest: int | None = None,
    ) -> int:
        """Take the next number, with whatever `also` writes; returns the one that stood there.

        Raises Superseded where the lock was lost before, or where a number above `latest` stands.
        """
        with unfenced(), self._database.write() as db:
            former = self._found(db)
            if latest is not None and former > latest:
                raise Superseded("another process has taken over")
            if lock is not None and not lock.is_held():
                raise Superseded("the lock was lost before its work began")
            db.execute(
                "insert into meta values (?, ?) on conflict (key) do update"
                " set value = excluded.value",
                (self._key, str(max(former, self.number) + 1)),
            )
            also(db)
        self.number = max(former, self.number) + 1
        return former

    @contextmanager
    def holds(self) -> Iterator[None]:
        """Within it this thread writes only as long as nobody has taken over."""
        before = _fences.set((*_fences.get(), self))
        try:
            yield
        finally:
            _fences.reset(before)

    def check(self, database: Database, db: Connection) -> None:
        if database is self._database and self._found(db) != self.number:
            raise Superseded("another process has taken over")

    def _found(self, db: Connection) -> int:
        row = db.execute("select value from meta where key = ?", (self._key,)).fetchone()
        return int(row["value"]) if row else 0


@contextmanager
def unfenced() -> Iterator[None]:
    """Within it this thread writes what must be kept, whoever has taken over meanwhile."""
    before = _fences.set(())
    try:
        yield
    finally:
        _fences.reset(before)


def check_fences(database: Database, db: Connection) -> None:
    """At the beginning of a write transaction: raises Superseded where a number is not ours."""
    for fence in _fences.get():
        fence.check(database, db)
