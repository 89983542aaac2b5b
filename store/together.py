"""Writes together: the writes of a moment share one transaction, and with it one wait for the disk.

Whoever writes waits for a turn; turns come one after the other, in the order of asking. The first
of a batch begins the transaction, and each does its statements within a savepoint of its own. When
nobody waits any more, or the batch is full, it is committed once, and only then all of it go on.
While it is committed the next ones gather.

Each has its own outcome: a fault in one's block undoes that block alone. A transaction that cannot
be begun is the fault of whoever tried; the next one tries again. One that cannot be committed fails
all of its batch. Knows no database: `Transactions` is what one has to offer.
"""

import copy
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from store.database import Connection, StoreLocked, StoreUnavailable, Waiting
from turns import beside

# A full batch takes 10 to 20 ms of the processor, and longer where others need it, too.
BATCH_PARTS = 100
BATCH_SECONDS = 0.05  # then nobody else begins a part
BEGIN, RELEASE, UNDO = "savepoint part", "release part", "rollback to part"
LOOK_SECONDS = 0.1  # between two looks whether one's patience is over

C = TypeVar("C", bound=Connection)
C_co = TypeVar("C_co", bound=Connection, covariant=True)


class Transactions(Protocol[C_co]):
    """A database's transactions, one at a time. After a commit or a rollback, also a failed one,
    the next may begin.

    One greenlet, or thread, begins a transaction, others use it, and again another one ends it.
    """

    def begin(self, wait: Waiting) -> C_co:
        """Begin one; wait for other processes as long as `wait` allows."""
        ...

    def commit(self) -> None:
        """Bring all of it onto the disk. After an error nothing of it is kept.

        Lets other greenlets run meanwhile. No greenlet is killed while it runs; only the end of the
        process breaks it off.
        """
        ...

    def rollback(self) -> None:
        """Undo all of it; the database may have done so itself."""
        ...


class Together(Generic[C]):
    """Gathers writes into the transactions of one database, in one process."""

    def __init__(self, transactions: Transactions[C]) -> None:
        self._transactions = transactions
        self._lock = threading.Lock()  # of the next three; held for no longer than they change
        self._waiting: deque[threading.Event] = deque()
        self._is_taken = False  # somebody has the turn, or a batch is committed
        self._writer: int | None = None  # the thread or greenlet that is within its block
        self._batch: _Batch[C] | None = None  # belongs to whoever has the turn

    @contextmanager
    def write(self, wait: Waiting) -> Iterator[C]:
        """Have a part in a transaction; when this returns, the part is on the disk."""
        if self._writer == threading.get_ident():
            raise RuntimeError("a write within a write would wait for itself")
        self._take_turn(wait)
        try:
            if self._batch is None:
                self._batch = _Batch(self._transactions.begin(wait))
            batch = self._batch
            self._writer = threading.get_ident()
            with batch.part():
                yield batch.db
        finally:
            self._writer = None
            self._end_turn()
        batch.wait_for_end()

    def _take_turn(self, wait: Waiting) -> None:
        called = threading.Event()
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return
            self._waiting.append(called)
        try:
            while not called.wait(min(wait.seconds, LOOK_SECONDS)):
                if wait.is_over():
                    raise StoreLocked("others hold it for too long")
        except BaseException:  # our greenlet may have been killed, too
            with self._lock:
                has_turn = called not in self._waiting  # it came at the very same moment
                if not has_turn:
                    self._waiting.remove(called)
            if has_turn:
                self._end_turn()
            raise

    def _end_turn(self) -> None:
        """Let the next one have its turn; end the batch before, if it is full or nobody waits."""
        batch = self._batch
        with self._lock:
            if batch is None or (self._waiting and batch.has_room()):
                self._call_next()
                return
        # In a greenlet of its own: if the caller is killed now, the batch is committed anyway.
        beside(self._end, batch)

    def _end(self, batch: "_Batch[C]") -> None:
        try:
            if batch.error is None and batch.parts:
                self._transactions.commit()
            else:
                self._transactions.rollback()
        except Exception as error:
            batch.error = batch.error or error
        except BaseException:  # Ctrl+C in a command
            batch.error = StoreUnavailable("the process was interrupted during the commit")
            raise
        finally:
            self._batch = None
            batch.ended.set()
            with self._lock:
                self._call_next()

    def _call_next(self) -> None:
        self._is_taken = bool(self._waiting)
        if self._waiting:
            self._waiting.popleft().set()


class _Batch(Generic[C]):
    """One transaction, and what all who have a part in it need to know."""

    def __init__(self, db: C) -> None:
        self.db = db
        self.parts = 0  # that will be committed
        self.error: Exception | None = None  # why nothing of it is kept
        self.ended = threading.Event()
        self._full_at = time.monotonic() + BATCH_SECONDS

    def has_room(self) -> bool:
        if self.error is not None or self.parts >= BATCH_PARTS:
            return False
        return time.monotonic() < self._full_at

    @contextmanager
    def part(self) -> Iterator[None]:
        """One caller's statements: all of them, or, after any exception, none."""
        try:
            self.db.execute(BEGIN)
            yield
            self.db.execute(RELEASE)
        except BaseException as error:
            self._undo_part(error)
            raise
        self.parts += 1

    def _undo_part(self, reason: BaseException) -> None:
        try:
            self.db.execute(UNDO)
            self.db.execute(RELEASE)
        except Exception as error:
            # The database has ended the transaction itself, because the disk is full, say.
            if isinstance(reason, StoreUnavailable):
                self.error = reason
            else:
                self.error = StoreUnavailable(f"{type(reason).__name__}: {reason}; {error}")

    def wait_for_end(self) -> None:
        """Return when all is on the disk; raises the error, if nothing of it is."""
        self.ended.wait()
        if self.error is not None:
            raise copy.copy(self.error) from self.error  # each caller has its own traceback
