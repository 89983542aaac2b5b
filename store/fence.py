"""Fences: whoever has lost a lock, and does not know it yet, writes nothing.

Each holder takes a number, which is higher than those of all before. While it works, each of its
write transactions looks first whether that number still stands in the store. Transactions come one
after the other on all hosts, so nothing of a former holder is written after the first transaction
of the next one.

Each of its transactions also raises the number. So a lower one than a process has seen before is
that of an earlier state of the store: of a copy that lacks the last moments, say, to which a server
has failed over. Nobody else's writes hide that, as they would with the revision of the messages.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from store.database import Connection, Database, Lock, StoreUnavailable

NUMBER = "select value from meta where key = ?"
STEP = "update meta set value = ? where key = ? and value = ?"

_fences: ContextVar[tuple["Fence", ...]] = ContextVar("fences", default=())


class Superseded(StoreUnavailable):
    """Another process holds the lock now; nothing of the call was kept."""


class Fence:
    """What keeps one process from writing when another one has taken over its work."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._key = f"fence.{name}"
        self.number = 0  # the latest that we took, and raised since
        self._seen = 0  # the latest of any holder

    @property
    def known(self) -> int:
        """The highest number that this process knows of: the store had it once."""
        return max(self.number, self._seen)

    def look(self) -> None:
        """See how far the present holder is."""
        row = self._database.row(NUMBER, self._key)
        self._seen = max(self._seen, int(row["value"]) if row else 0)

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
            number = max(former, self.known) + 1
            if latest is not None and former > latest:
                raise Superseded("another process has taken over")
            if lock is not None and not lock.is_held():
                raise Superseded("the lock was lost before its work began")
            db.execute(
                "insert into meta values (?, ?) on conflict (key) do update"
                " set value = excluded.value",
                (self._key, str(number)),
            )
            also(db)
        self.number = number
        return former

    @contextmanager
    def holds(self) -> Iterator[None]:
        """Within it this thread writes only as long as nobody has taken over."""
        before = _fences.set((*_fences.get(), self))
        try:
            yield
        finally:
            _fences.reset(before)

    def is_of(self, database: Database) -> bool:
        return database is self._database

    def step(self, db: Connection) -> None:
        """Raise the number in the store; raises Superseded where it is not ours."""
        values = (str(self.number + 1), self._key, str(self.number))
        if db.execute(STEP, values).rowcount:
            return
        if self.number or self._found(db):
            raise Superseded("another process has taken over")
        db.execute("insert into meta values (?, '1')", (self._key,))  # nobody ever took it

    def _found(self, db: Connection) -> int:
        row = db.execute(NUMBER, (self._key,)).fetchone()
        return int(row["value"]) if row else 0


@contextmanager
def unfenced() -> Iterator[None]:
    """Within it this thread writes what must be kept, whoever has taken over meanwhile."""
    before = _fences.set(())
    try:
        yield
    finally:
        _fences.reset(before)


@contextmanager
def fences_of(database: Database) -> Iterator[Callable[[Connection], None]]:
    """Around a write transaction; what it gives must be called when the transaction has begun.

    That raises Superseded where a number is not ours.
    """
    fences = [fence for fence in _fences.get() if fence.is_of(database)]

    def begin(db: Connection) -> None:
        for fence in fences:
            fence.step(db)

    yield begin
    for fence in fences:  # after an error, or without an answer, the number is as it was
        fence.number += 1
