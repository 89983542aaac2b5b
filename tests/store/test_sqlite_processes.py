"""Several processes and threads on one file: nothing is lost, and locks that only one has."""

import ast
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from stage import path_of
from store_parts import CHAT, RENDERER, URL, history, write

from storage import Store
from store.database import LockHeld
from store.records import Message

SPAWN = multiprocessing.get_context("spawn")


class Spawned:
    """A process of its own and a pipe to it."""

    def __init__(self, target: Callable[..., None], *args: object) -> None:
        self._pipe, other = SPAWN.Pipe()
        self._process = SPAWN.Process(target=target, args=(*args, other), daemon=True)
        self._process.start()
        other.close()

    def __enter__(self) -> "Spawned":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.join(5)
        self.kill()
        self._process.close()
        self._pipe.close()

    def say(self, word: str) -> None:
        self._pipe.send(word)

    def hear(self) -> Any:
        assert self._pipe.poll(15), "the process says nothing"
        return self._pipe.recv()

    def kill(self) -> None:
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.join(5)


# -- many at once


def test_parallel_threads_lose_nothing(store: Store, second: Store) -> None:
    threads, each = 8, 15
    start = threading.Barrier(threads)

    def write_many(number: int) -> list[Message]:
        start.wait(5)
        ours = store if number % 2 else second
        return [write(ours, f"{number}-{count}") for count in range(each)]

    with ThreadPoolExecutor(threads) as pool:
        written = list(pool.map(write_many, range(threads)))

    messages = store.conversations.latest(CHAT, None, 1000)
    assert sorted(message.text for message in messages) == sorted(
        f"{number}-{count}" for number in range(threads) for count in range(each)
    )
    assert store.queue.waiting() == threads * each
    revisions = [message.revision for message in messages]
    assert revisions == sorted(set(revisions))
    for own in written:  # a thread's own messages stand in the order it wrote them
        assert [message.id for message in own] == sorted(message.id for message in own)


def test_the_same_client_id_from_many_threads_is_one_message(store: Store, second: Store) -> None:
    start = threading.Barrier(8)

    def send(number: int) -> int:
        start.wait(5)
        return write(store if number % 2 else second, f"try {number}", client_id="uuid-1").id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(send, range(8)))

    assert len(ids) == 1
    assert len(history(store)) == 1
    assert store.queue.waiting() == 1


def write_in_a_process(root: Path, number: int, each: int, pipe: Connection) -> None:
    store = Store(URL, root, RENDERER)
    pipe.send("ready")
    pipe.recv()
    pipe.send([write(store, f"{number}-{count}").revision for count in range(each)])
    store.close()


def test_parallel_processes_lose_nothing(store: Store, tmp_path: Path) -> None:
    each = 30
    with (
        Spawned(write_in_a_process, tmp_path, 0, each) as first,
        Spawned(write_in_a_process, tmp_path, 1, each) as other,
    ):
        for process in (first, other):
            assert process.hear() == "ready"
        for process in (first, other):
            process.say("go")
        told = [process.hear() for process in (first, other)]

    messages = store.conversations.latest(CHAT, None, 1000)
    assert sorted(message.text for message in messages) == sorted(
        f"{number}-{count}" for number in range(2) for count in range(each)
    )
    assert store.queue.waiting() == 2 * each
    revisions = [message.revision for message in messages]
    assert revisions == sorted(set(revisions))
    assert sorted(told[0] + told[1]) == revisions
    for revisions_of_one in told:
        assert revisions_of_one == sorted(revisions_of_one)


def write_and_wait(root: Path, pipe: Connection) -> None:
    store = Store(URL, root, RENDERER)
    pipe.send(write(store, "before the kill").id)
    pipe.recv()


def test_a_message_that_was_stored_survives_kill_9(tmp_path: Path) -> None:
    with Spawned(write_and_wait, tmp_path) as process:
        stored = process.hear()
        process.kill()

    with closing(Store(URL, tmp_path, RENDERER)) as store:
        assert [message.id for message in store.conversations.latest(CHAT, None, 50)] == [stored]
        assert store.queue.waiting() == 1


def test_another_program_that_reads_the_file_takes_no_lock_from_us(
    store: Store, tmp_path: Path
) -> None:
    """Closing a second descriptor of the file would drop the locks of our connections."""
    write(store, "one")
    assert history(store) == ["one"]

    def read() -> list[str]:
        code = (
            "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]);"
            "print([row[0] for row in db.execute('select text from messages')]); db.close()"
        )
        output = subprocess.check_output(
            [sys.executable, "-c", code, str(path_of(store))], text=True
        )
        return list(ast.literal_eval(output))

    assert read() == ["one"]
    write(store, "two")

    assert read() == ["one", "two"]
    assert history(store) == ["one", "two"]


# -- locks


def test_a_lock_is_held_by_one_store_at_a_time(store: Store, second: Store) -> None:
    with store.database.try_lock("sender") as held:
        assert held
        with second.database.try_lock("sender") as also_held:
            assert not also_held
        with store.database.try_lock("sender") as again:
            assert not again
        with second.database.try_lock("install") as other:
            assert other

    with second.database.try_lock("sender") as held:
        assert held


def test_a_lock_is_freed_by_an_exception(store: Store, second: Store) -> None:
    with pytest.raises(LookupError), store.database.try_lock("sender"):
        raise LookupError
    with pytest.raises(LookupError), store.database.lock("sender", 0):
        raise LookupError

    with second.database.try_lock("sender") as held:
        assert held


def hold_lock(root: Path, pipe: Connection) -> None:
    with Store(URL, root, RENDERER).database.try_lock("sender") as held:
        pipe.send(held is not None)
        pipe.recv()


def test_a_lock_is_freed_when_its_process_is_killed(store: Store, tmp_path: Path) -> None:
    with Spawned(hold_lock, tmp_path) as process:
        assert process.hear() is True
        with store.database.try_lock("sender") as held:
            assert not held

        process.kill()

        with store.database.try_lock("sender") as held:
            assert held


def test_a_lock_whose_file_was_removed_is_no_longer_held(store: Store, second: Store) -> None:
    with store.database.try_lock("sender") as first:
        assert first is not None
        assert first.is_held()
        path_of(store).with_name("sender.lock").unlink()
        assert not first.is_held()
        with second.database.try_lock("sender") as other:
            assert other is not None
            assert (first.is_held(), other.is_held()) == (False, True)
    with store.database.try_lock("sender") as again:
        assert again is not None
        assert again.is_held()


@pytest.mark.parametrize("patience", [0, 0.2])
def test_whoever_waits_for_a_lock_gives_up_when_their_patience_ends(
    store: Store, second: Store, patience: float
) -> None:
    began = time.monotonic()
    with (
        store.database.lock("tokens", patience=0),
        pytest.raises(LockHeld, match="tokens"),
        second.database.lock("tokens", patience),
    ):
        pass
    assert patience <= time.monotonic() - began < patience + 5

    with second.database.lock("tokens", patience=0):
        pass


def test_whoever_waits_for_a_lock_gets_it_when_it_is_freed(store: Store, second: Store) -> None:
    order = []
    begun = threading.Event()

    def wait() -> None:
        begun.set()
        with second.database.lock("tokens", patience=5):
            order.append("second")

    waiter = threading.Thread(target=wait)
    with store.database.lock("tokens", patience=0):
        waiter.start()
        assert begun.wait(5)
        time.sleep(0.2)  # it has tried meanwhile
        order.append("first")
    waiter.join(5)

    assert order == ["first", "second"]
