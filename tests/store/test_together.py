"""Writes together: one commit for many, and yet each has its own outcome.

The database is a list here, which can be told to fail; how SQLite keeps what was answered stands in
test_together_file.py.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from store.database import DiskFull, StoreLocked, StoreUnavailable, Waiting
from store.together import Together

PATIENCE_SECONDS = 5.0


class Listed:
    """A connection whose transactions hold what was executed in them, with savepoints."""

    def __init__(self) -> None:
        self.kept: list[str] = []  # what was committed
        self.commits = 0
        self.begun: list[str] | None = None
        self.savepoint = 0
        self.commit: Callable[[], None] = lambda: None
        self.begin: Callable[[], None] = lambda: None
        self.is_lost = False  # the database has ended the transaction itself

    def execute(self, sql: str, _: object = ()) -> Any:
        assert self.begun is not None, "outside a transaction"
        if self.is_lost:
            raise RuntimeError("no such savepoint")
        if sql.startswith("savepoint"):
            self.savepoint = len(self.begun)
        elif sql.startswith("rollback to"):
            del self.begun[self.savepoint :]
        elif not sql.startswith("release"):
            self.begun.append(sql)


class ListedTransactions:
    def __init__(self) -> None:
        self.db = Listed()

    def begin(self, _: Waiting) -> Listed:
        self.db.begin()
        assert self.db.begun is None, "one at a time"
        self.db.begun, self.db.is_lost = [], False
        return self.db

    def commit(self) -> None:
        written, self.db.begun = self.db.begun, None
        assert written is not None
        self.db.commit()
        self.db.commits += 1
        self.db.kept += written

    def rollback(self) -> None:
        self.db.begun = None


class Patient:
    def __init__(self, seconds: float = PATIENCE_SECONDS) -> None:
        self.seconds = seconds
        self._until = time.monotonic() + seconds

    def is_over(self) -> bool:
        return time.monotonic() > self._until


class Writers:
    """Writers in threads, and a first one within its block, so that the others gather."""

    def __init__(self) -> None:
        self.transactions = ListedTransactions()
        self.db = self.transactions.db
        self.together = Together(self.transactions)
        self._pool = ThreadPoolExecutor(40)

    def write(self, *words: str, fault: BaseException | None = None) -> None:
        with self.together.write(Patient()) as db:
            for word in words:
                db.execute(word)
            if fault is not None:
                raise fault

    @contextmanager
    def gathering(self, fault: BaseException | None = None) -> Iterator["Writers"]:
        inside, go = threading.Event(), threading.Event()

        def first() -> None:
            with self.together.write(Patient()) as db:
                db.execute("first")
                inside.set()
                assert go.wait(5)
                if fault is not None:
                    raise fault

        self.first = self._pool.submit(first)
        assert inside.wait(5)
        try:
            yield self
        finally:
            go.set()

    def later(self, *words: str, fault: BaseException | None = None) -> Any:
        """Begin to write, and return when the writer waits for its turn."""
        before = len(self.together._waiting)
        result = self._pool.submit(self.write, *words, fault=fault)
        until = time.monotonic() + 5
        while len(self.together._waiting) == before and time.monotonic() < until:
            time.sleep(0.001)
        return result

    def close(self) -> None:
        self._pool.shutdown()


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Writers]:
    # On a busy machine those that a test needs gather for longer than a batch may take.
    monkeypatch.setattr("store.together.BATCH_SECONDS", 60.0)
    writers = Writers()
    yield writers
    writers.close()


def test_who_gathers_shares_one_commit_in_the_order_of_coming(writers: Writers) -> None:
    with writers.gathering():
        results = [writers.later(f"{number}") for number in range(20)]
    for result in results:
        result.result(5)

    assert writers.db.kept == ["first", *(f"{number}" for number in range(20))]
    assert writers.db.commits == 1


def test_a_write_returns_after_the_commit_and_not_before(writers: Writers) -> None:
    may_commit = threading.Event()
    writers.db.commit = lambda: assert_soon(may_commit)
    with writers.gathering():
        results = [writers.later("one"), writers.later("two")]
    time.sleep(0.05)

    assert not any(result.done() for result in [writers.first, *results])
    may_commit.set()
    for result in results:
        result.result(5)
    assert writers.db.kept == ["first", "one", "two"]


def assert_soon(event: threading.Event) -> None:
    assert event.wait(5)


def test_who_comes_during_a_commit_gathers_for_the_next(writers: Writers) -> None:
    began, may_commit = threading.Event(), threading.Event()

    def commit() -> None:
        began.set()
        assert_soon(may_commit)

    writers.db.commit = commit
    first = writers._pool.submit(writers.write, "first")
    assert began.wait(5)
    results = [writers.later(f"{number}") for number in range(10)]
    may_commit.set()
    for result in [first, *results]:
        result.result(5)

    assert writers.db.commits == 2


@pytest.mark.parametrize("fault", [LookupError("own"), DiskFull("own"), SystemExit("own")])
def test_a_fault_in_one_block_is_its_own(writers: Writers, fault: BaseException) -> None:
    with writers.gathering():
        good, bad, last = (
            writers.later("good"),
            writers.later("bad", fault=fault),
            writers.later("last"),
        )

    with pytest.raises(type(fault), match="own"):
        bad.result(5)
    good.result(5)
    last.result(5)
    assert writers.db.kept == ["first", "good", "last"]
    assert writers.db.commits == 1


@pytest.mark.parametrize("others", [0, 2])
def test_who_fails_first_or_last_leaves_the_others_nothing_undone(
    writers: Writers, others: int
) -> None:
    with writers.gathering(LookupError("first")):
        results = [writers.later(f"{number}") for number in range(others)]
        last = writers.later("last", fault=LookupError("last"))

    for failed in (writers.first, last):
        with pytest.raises(LookupError):
            failed.result(5)
    for result in results:
        result.result(5)
    writers.write("after")
    assert writers.db.kept == [*(f"{number}" for number in range(others)), "after"]


def test_a_commit_that_fails_fails_all_of_its_batch_and_nobody_after(writers: Writers) -> None:
    def fail() -> None:
        writers.db.commit = lambda: None
        raise DiskFull("no room", "said")

    writers.db.commit = fail
    with writers.gathering():
        results = [writers.later("one"), writers.later("two", fault=LookupError("own"))]

    for result in (writers.first, results[0]):
        with pytest.raises(DiskFull, match="no room") as told:
            result.result(5)
        assert told.value.said == "said"
    with pytest.raises(LookupError):
        results[1].result(5)
    writers.write("after")
    assert writers.db.kept == ["after"]


def test_a_transaction_that_the_database_has_ended_fails_all_of_its_batch(
    writers: Writers,
) -> None:
    """A full disk in one's block, say: SQLite then keeps nothing of the whole transaction."""

    def lose() -> None:
        with writers.together.write(Patient()):
            writers.db.is_lost = True
            raise DiskFull("no room")

    with writers.gathering():
        good = writers.later("good")
        before = len(writers.together._waiting)
        lost = writers._pool.submit(lose)
        while len(writers.together._waiting) == before:
            time.sleep(0.001)
        next_batch = writers.later("next")

    for result in (writers.first, good, lost):
        with pytest.raises(DiskFull):
            result.result(5)
    next_batch.result(5)
    assert writers.db.kept == ["next"]


def test_a_transaction_that_cannot_be_begun_is_the_fault_of_who_tried(writers: Writers) -> None:
    def fail() -> None:
        writers.db.begin = lambda: None
        raise StoreLocked("others hold it")

    began, may_commit = threading.Event(), threading.Event()

    def commit() -> None:
        began.set()
        assert_soon(may_commit)

    writers.db.commit = commit
    first = writers._pool.submit(writers.write, "first")
    assert began.wait(5)
    writers.db.begin = fail
    results = [writers.later("one"), writers.later("two")]
    may_commit.set()
    first.result(5)

    with pytest.raises(StoreLocked):
        results[0].result(5)
    results[1].result(5)
    assert writers.db.kept == ["first", "two"]


def test_a_batch_is_bounded(writers: Writers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.together.BATCH_PARTS", 4)
    with writers.gathering():
        results = [writers.later(f"{number}") for number in range(11)]
    for result in results:
        result.result(5)

    assert len(writers.db.kept) == 12
    assert writers.db.commits == 3


def test_a_batch_ends_in_time_however_many_come(
    writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.together.BATCH_SECONDS", 0.05)
    with writers.gathering():
        results = [writers.later(f"{number}") for number in range(3)]
        time.sleep(0.06)  # the first one's block is long
    for result in results:
        result.result(5)

    assert writers.db.commits == 2


def test_who_waits_in_vain_gives_up_and_is_not_called(writers: Writers) -> None:
    def impatient() -> None:
        with writers.together.write(Patient(0.05)) as db:
            db.execute("impatient")

    with writers.gathering():
        with pytest.raises(StoreLocked):
            writers._pool.submit(impatient).result(5)
        good = writers.later("good")

    good.result(5)
    assert writers.db.kept == ["first", "good"]


def test_a_write_within_a_write_is_refused_at_once(writers: Writers) -> None:
    with writers.together.write(Patient()) as db:
        db.execute("outer")
        with pytest.raises(RuntimeError, match="within a write"):
            writers.write("inner")

    assert writers.db.kept == ["outer"]


def test_a_commit_that_is_interrupted_leaves_nobody_waiting(writers: Writers) -> None:
    """Ctrl+C in a command whose main thread commits for others, too."""

    def interrupt() -> None:
        writers.db.commit = lambda: None
        raise KeyboardInterrupt

    writers.db.commit = interrupt
    with writers.gathering():
        last = writers.later("last")

    with pytest.raises(KeyboardInterrupt):
        last.result(5)
    with pytest.raises(StoreUnavailable, match="interrupted"):
        writers.first.result(5)
    writers.write("after")
    assert writers.db.kept == ["after"]
