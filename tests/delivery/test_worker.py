"""The worker's loop: one process works, the others wait, and nobody runs in vain."""

import logging
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from fake_portal import LINE, NOW, SEND, FakePortal, make_worker, run, write
from stage import path_of, wait_until

from delivery.worker import GATHER_SECONDS, POLL_SECONDS, Worker
from rest.errors import CONNECTION_LOST, TryLater
from storage import Store
from store.database import Row, StoreLocked
from store.records import Holder, Outcome


class Rounds(threading.Event):
    """Stops a loop after a while, and counts how often it looked."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.looks = 0
        self._until = time.perf_counter() + seconds

    def is_set(self) -> bool:
        self.looks += 1
        return time.perf_counter() > self._until

    def end(self) -> None:
        self._until = 0.0


def is_at_rest(stop: Rounds) -> bool:
    """Whether the loop has looked, and does not look for a while."""
    looks = stop.looks
    time.sleep(0.1)
    return 0 < stop.looks == looks


def test_whoever_is_not_the_worker_asks_for_the_lock_about_once_a_second(
    store: Store, worker: Worker, tmp_path: Path
) -> None:
    stop = Rounds(0.5)
    with (
        closing(Store("sqlite:///chats.db", tmp_path, 1)) as other,
        other.database.try_lock("sender") as held,
    ):
        assert held
        worker.run(stop)

    assert stop.looks <= 6


def test_a_worker_looks_some_times_a_second_while_anything_waits_and_else_about_once(
    store: Store, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[float] = []
    monkeypatch.setattr(worker, "step", steps.append)
    worker.run(Rounds(2.4))
    nothing = len(steps)
    monkeypatch.setattr(store.queue, "waiting", lambda _: 1)  # which may not go now
    worker.run(Rounds(1.2))

    assert 2 <= nothing <= 4
    assert 4 <= len(steps) - nothing <= 6


def test_a_step_with_nothing_to_do_asks_the_store_little(
    store: Store, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.begin(NOW)
    while worker.step(NOW):
        pass
    asked: list[str] = []
    rows = store.database.rows

    def counted(sql: str, *values: object, **named: object) -> list[Row]:
        asked.append(sql)
        return rows(sql, *values, **named)

    monkeypatch.setattr(store.database, "rows", counted)

    assert not worker.step(NOW + 1.5)
    assert len(asked) <= 3, asked


def test_an_idle_worker_is_woken_by_what_another_process_queues_and_by_nothing_else(
    store: Store, bitrix: FakePortal, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # here time passes as it does
    monkeypatch.setattr("delivery.worker.IDLE_SECONDS", 60.0)
    stop = Rounds(60)
    thread = threading.Thread(target=worker.run, args=(stop,), daemon=True)
    thread.start()
    for text in ("one", "two"):
        wait_until(lambda: is_at_rest(stop))
        before, looks = len(bitrix.sent), stop.looks
        store.notes.fault.clear()
        worker.hear_of_writes()
        time.sleep(0.05)
        assert stop.looks == looks

        write(store, text)
        worker.hear_of_writes()
        wait_until(lambda: len(bitrix.sent) > before, 5)  # noqa: B023

    stop.end()
    worker.wake()
    thread.join(30)
    assert bitrix.sent == [["one"], ["two"]]


def test_under_a_load_of_messages_one_look_is_for_several(store: Store, worker: Worker) -> None:
    stop, enough = Rounds(0.5), threading.Event()

    def wake() -> None:
        while not enough.wait(0.0005):
            worker.wake()

    waking = threading.Thread(target=wake)
    waking.start()
    worker.run(stop)
    enough.set()
    waking.join()

    assert stop.looks <= 0.5 / GATHER_SECONDS + 6


@pytest.mark.parametrize("heir", ["itself", "another process"])
def test_a_store_that_was_only_locked_for_long_is_not_taken_for_a_restored_one(
    store: Store, bitrix: FakePortal, worker: Worker, caplog: pytest.LogCaptureFixture, heir: str
) -> None:
    caplog.set_level(logging.INFO, "delivery.worker")
    other = make_worker(store, bitrix)
    worker.begin(NOW)
    worker.step(NOW)
    other._signals.saw_worker(NOW + 1)
    epoch = store.epochs.current()

    begins = worker if heir == "itself" else other
    begins.begin(NOW + 100)

    assert store.epochs.current() == epoch
    assert "restored" not in caplog.text
    make_worker(store, bitrix).begin(NOW + 100)
    assert store.epochs.current() != epoch, "who has just started cannot know it"
    assert "restored" in caplog.text


def test_a_fault_of_the_store_that_lasts_is_told_once_and_when_it_is_over(
    store: Store,
    worker: Worker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO, "delivery.worker")
    monkeypatch.setattr("delivery.worker.LOCK_SECONDS", 0.001)
    begin, stop, tries = worker.begin, threading.Event(), iter(range(6))

    def begin_late(now: float) -> None:
        if next(tries) < 5:
            raise StoreLocked("database is locked")
        stop.set()
        begin(now)

    monkeypatch.setattr(worker, "begin", begin_late)
    worker.run(stop)

    told = [one.getMessage() for one in caplog.records if "store" in one.getMessage()]
    assert told == [
        "the store cannot be used: database is locked",
        "over: the store cannot be used",
    ]


def test_while_the_portal_must_not_be_called_a_step_says_that_nothing_can_be_done(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """Else the loop would not rest."""
    bitrix.says["send"] = TryLater("NOT_CONNECTED", SEND)
    write(store, "hello")
    assert worker.step(NOW)

    assert not worker.step(NOW)

    assert bitrix.sent == [["hello"]]


def test_a_worker_whose_lock_file_is_gone_leaves_the_work_to_the_next(
    store: Store, bitrix: FakePortal, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # here time passes as it does
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,), daemon=True)
    thread.start()
    write(store, "before")
    wait_until(lambda: bitrix.sent)

    (path_of(store).parent / "sender.lock").unlink()
    with store.database.try_lock("sender") as held:
        assert held
        time.sleep(3 * POLL_SECONDS)
        write(store, "after")
        time.sleep(6 * POLL_SECONDS)
        assert bitrix.sent == [["before"]]

    wait_until(lambda: len(bitrix.sent) == 2)
    stop.set()
    thread.join(30)


@pytest.mark.parametrize("apart", [-300, 300])
def test_hosts_whose_clocks_are_minutes_apart_take_over_from_each_other(
    store: Store, bitrix: FakePortal, caplog: pytest.LogCaptureFixture, apart: float
) -> None:
    """A message whose call was under way is left alone for as long as a call may take."""
    caplog.set_level(logging.INFO, "delivery.worker")
    seconds = {"timeout_seconds": 15, "settle_seconds": 5}
    theirs, ours = (make_worker(store, bitrix, **seconds) for _ in range(2))
    theirs.begin(NOW + apart)
    write(store, "first")
    for second in (0, 10, 20):
        run(theirs, NOW + apart + second)
        ours._signals.saw_worker(NOW + second + 5)
    run(theirs, NOW + apart + 31)  # its last note is newer than our last look
    store.notes.sender.set(Holder("host-1", 1, "another clock", NOW))
    write(store, "under way")
    write(store, "unknown", chat=2)
    under_way, unknown = store.queue.due_messages(NOW + 1000, 10)
    store.queue.claim([under_way, unknown], LINE, NOW + apart + 32)
    lost = Outcome(unknown, "in doubt", CONNECTION_LOST, NOW + apart + 33)
    store.queue.record([lost], NOW + apart + 33)
    epoch, before = store.epochs.current(), len(bitrix.sent)

    ours.begin(NOW + 43)
    for second in range(43, 58):
        run(ours, NOW + second)
    assert len(bitrix.sent) == before, "the portal may still work on them"
    for second in range(58, 120):
        run(ours, NOW + second)

    assert sorted(text for texts in bitrix.sent[before:] for text in texts) == [
        "under way", "unknown"
    ]  # fmt: skip
    assert store.epochs.current() == epoch
    assert "restored" not in caplog.text


def test_what_could_not_be_noted_is_left_to_whoever_has_taken_over(
    store: Store, bitrix: FakePortal, worker: Worker, tmp_path: Path
) -> None:
    """They have looked for it meanwhile, and may have sent it."""
    with closing(Store("sqlite:///chats.db", tmp_path, 1)) as other:
        worker.begin(NOW)
        write(store, "hello")
        (delivery,) = store.queue.claim(store.queue.due_messages(NOW, 1), LINE, NOW)
        worker._context.recorder._unrecorded.append(([Outcome(delivery, "delivered")], NOW))
        make_worker(other, bitrix).begin(NOW)

        stop = threading.Event()
        thread = threading.Thread(target=worker.run, args=(stop,))
        with other.database.try_lock("sender"):
            thread.start()
            wait_until(lambda: not worker._context.recorder._unrecorded)
            stop.set()
            thread.join()

        (row,) = store.database.rows("select state, error from deliveries")
        assert (row["state"], row["error"]) == ("in doubt", "DIED")


def test_a_worker_that_was_taken_over_says_so_once_and_works_no_more(
    store: Store,
    bitrix: FakePortal,
    worker: Worker,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()  # here time passes as it does
    caplog.set_level(logging.INFO, "delivery.worker")
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    wait_until(lambda: "from now on" in caplog.text)
    with closing(Store("sqlite:///chats.db", tmp_path, 1)) as other:
        (path_of(store).parent / "sender.lock").unlink()
        with other.database.try_lock("sender"):
            make_worker(other, bitrix).begin(time.time())
            time.sleep(4 * POLL_SECONDS)
            stop.set()
            thread.join()

    assert caplog.text.count("delivers no more") == 1


def test_an_older_store_in_the_place_of_ours_is_known_by_its_number(
    store: Store, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "delivery.worker")
    worker.begin(NOW)
    worker.begin(NOW)
    epoch = store.epochs.current()
    with store.database.write() as db:
        db.execute("update meta set value = '1' where key = 'fence.sender'")

    worker.begin(NOW)

    assert "may have been restored" in caplog.text
    assert store.epochs.current() != epoch


def test_a_copy_without_the_last_moments_is_known_to_whoever_takes_over(
    store: Store, worker: Worker, bitrix: FakePortal
) -> None:
    """A server has failed over to it; nothing in it is old."""
    waiting = make_worker(store, bitrix)
    worker.begin(NOW)
    with worker._fence.holds():
        store.notes.up_at.set(NOW)
        former = store.database.row("select value from meta where key = 'fence.sender'")
        assert former is not None
        store.notes.up_at.set(NOW)
    waiting.hear_of_writes()
    epoch = store.epochs.current()
    with store.database.write() as db:
        db.execute("update meta set value = ? where key = 'fence.sender'", (former["value"],))

    waiting.begin(NOW)

    assert store.epochs.current() != epoch
