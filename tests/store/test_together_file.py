"""Writes together in a process of greenlets, on a real file: killed greenlets, killed processes."""

import json
import os
import secrets
import signal
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from stage import path_of, wait_until
from starter import starter
from store_parts import RENDERER, URL, sql

from storage import Store

START = """
from gevent import monkey
monkey.patch_all()
import json, os, sys, time
from pathlib import Path
import gevent
from storage import Store
from store.sqlite import FileTransactions

store = Store("sqlite:///chats/chats.db", Path(sys.argv[1]), 3)
store.open()

def write(name, block=lambda: None):
    with store.database.write() as db:
        db.execute("insert into meta values (?, 'test')", (name,))
        block()

def kept():
    rows = store.database.rows("select key from meta where value = 'test' order by key")
    return [row["key"] for row in rows]
"""
# A greenlet is killed in each of the phases that a write has.
KILLED = """
commit, begin, slow = FileTransactions.commit, FileTransactions.begin, 0.0

def slow_commit(self):
    gevent.sleep(slow)
    commit(self)

def slow_begin(self, wait):
    gevent.sleep(slow)
    return begin(self, wait)

FileTransactions.commit, FileTransactions.begin = slow_commit, slow_begin
outcomes = []

def run(name, block=lambda: None):
    try:
        write(name, block)
        outcomes.append(name)
    except BaseException as error:
        outcomes.append(f"{name} {type(error).__name__}")

def all_within(seconds, *writers):
    assert gevent.joinall(writers, timeout=seconds) and all(one.dead for one in writers), "hangs"

# while it begins the transaction; another one waits for its turn and gets it
slow = 0.2
one, two = gevent.spawn(run, "begins"), gevent.spawn(run, "after begins")
gevent.sleep(0.05); one.kill(); all_within(5, one, two)
# within its block, where another one has its part already, and a third one waits
slow = 0.0
def long(): gevent.sleep(0.2)
one, two, three = [gevent.spawn(run, f"block {n}", long if n == 2 else lambda: None)
                   for n in (1, 2, 3)]
gevent.sleep(0.1); two.kill(); all_within(5, one, two, three)
# while it waits for its turn, and at the moment of its turn
one = gevent.spawn(run, "holds", long); gevent.sleep(0.05)
two, three = gevent.spawn(run, "waits"), gevent.spawn(run, "waits too"); gevent.sleep(0.05)
two.kill(); all_within(5, one, two, three)
def kill_next(): gevent.spawn(lambda: None); victim.append(True); two.kill(block=False)
victim = []
one = gevent.spawn(run, "kills", lambda: (gevent.sleep(0.05), kill_next()))
two = gevent.spawn(run, "called"); three = gevent.spawn(run, "called after")
all_within(5, one, two, three)
# while its batch is committed, the last one of the batch and the first one
slow = 0.2
one, two = gevent.spawn(run, "commits 1"), gevent.spawn(run, "commits 2")
three = gevent.spawn(run, "commits 3")
gevent.sleep(0.3); one.kill(block=False); three.kill(block=False); all_within(5, one, two, three)
slow = 0.0
run("the end")
print(json.dumps([outcomes, kept()]))
"""
# The disk takes 300 ms for a commit; a greenlet that does nothing else sees how it is served.
APART = """
from store import sqlite
real = sqlite.apart
def slowly(function, *arguments):
    def call():
        monkey.get_original("time", "sleep")(0.3)
        return function(*arguments)
    return real(call)
sqlite.apart = slowly
longest, over = 0.0, False
# Look-ups of names that are not answered have all of gevent's own threads.
for _ in range(20):
    gevent.get_hub().threadpool.spawn(monkey.get_original("time", "sleep"), 4)
def watch():
    global longest
    last = time.perf_counter()
    while not over:
        gevent.sleep(0.001)
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
watcher = gevent.spawn(watch)
began = time.perf_counter()
gevent.joinall([gevent.spawn(write, f"{n}") for n in range(20)], raise_error=True)
took, over = time.perf_counter() - began, True
watcher.join()
print(json.dumps([took, longest, len(kept())]), flush=True)
os._exit(0)  # the end of a process waits for its threads, the look-ups among them
"""
QUEUE = """
import fcntl
folder = os.open(Path(sys.argv[1]) / "chats", os.O_RDONLY)
write("done", lambda: fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB))
print(json.dumps(kept()))
"""
FAIR = """
def writer(number):
    while time.time() < end:
        began = time.perf_counter()
        write(f"{os.getpid()}-{number}-{began}")
        waits.append(time.perf_counter() - began)

print("ready", flush=True)
told = Path(sys.argv[1], "end")
while not told.exists():
    gevent.sleep(0.01)
waits, end = [], float(told.read_text())
gevent.joinall([gevent.spawn(writer, number) for number in range(16)], raise_error=True)
print(json.dumps([len(waits), max(waits)]))
"""
KILLED_PROCESS = """
answered = os.open(Path(sys.argv[1]) / "answered", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def writer(number):
    count = 0
    while True:
        name = f"{os.getpid()}-{number}-{count}"
        write(name)
        os.write(answered, f"{name}\\n".encode())
        count += 1
print("ready", flush=True)
gevent.joinall([gevent.spawn(writer, number) for number in range(32)], raise_error=True)
"""


class Running:
    """A program in a process of its own, which may be killed."""

    def __init__(self, program: str, folder: Path) -> None:
        name = secrets.token_hex(4)
        self._output, self._log = folder / f"{name}.out", folder / f"{name}.log"
        code = [START + program, str(folder)]
        self._process = starter("store").start(
            code, dict(os.environ), self._log, output=self._output
        )

    def wait_until_ready(self) -> None:
        wait_until(lambda: self._said().startswith("ready\n"))

    def answer(self) -> Any:
        """What it has printed last, at its end."""
        code = self._process.wait()
        assert code == 0, self._log.read_text()
        return json.loads(self._said().splitlines()[-1])

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _said(self) -> str:
        return self._output.read_text() if self._output.exists() else ""


def printed(program: str, folder: Path) -> Any:
    return Running(program, folder).answer()


def test_a_greenlet_that_is_killed_in_any_phase_holds_up_and_takes_along_nobody(
    tmp_path: Path,
) -> None:
    outcomes, kept = printed(KILLED, tmp_path)

    killed = {name for name in outcomes if name.endswith("GreenletExit")}
    assert killed >= {f"{name} GreenletExit" for name in ("begins", "block 2", "waits")}
    assert {"after begins", "block 1", "block 3", "holds", "waits too", "kills"} <= set(outcomes)
    assert {"called after", "commits 2", "the end"} <= set(outcomes)
    assert {"begins", "block 2", "waits"}.isdisjoint(kept)
    # Whoever was killed while the disk worked has a part in what was kept, as all of the batch.
    assert {"commits 1", "commits 2", "commits 3"} <= set(kept)
    assert {name for name in outcomes if " G" not in name} <= set(kept)


def test_a_slow_disk_holds_up_only_who_writes_and_is_waited_for_together(tmp_path: Path) -> None:
    took, longest, kept = printed(APART, tmp_path)

    assert kept == 20
    assert took < 20 * 0.3 / 2, "each has waited for a commit of its own, or for a thread"
    assert longest < 0.2, "the disk has held up the loop"


def test_who_is_next_may_queue_as_soon_as_we_have_begun(tmp_path: Path) -> None:
    """Not only when we have ended: then we ourselves would be the next again."""
    assert printed(QUEUE, tmp_path) == ["done"]


def test_two_processes_write_in_turn(tmp_path: Path) -> None:
    """Without an order one of them writes for seconds, while the other one only looks."""
    running = [Running(FAIR, tmp_path) for _ in range(2)]
    try:
        for one in running:
            one.wait_until_ready()
        (tmp_path / "told").write_text(str(time.time() + 2))
        (tmp_path / "told").rename(tmp_path / "end")
        results = [one.answer() for one in running]
    finally:
        for one in running:
            one.kill()

    for written, longest in results:
        assert written > 100
        assert longest < 1
    assert max(results)[0] < 3 * min(results)[0]


@pytest.mark.parametrize("processes", [1, 2])
def test_what_was_answered_survives_kill_9_again_and_again(tmp_path: Path, processes: int) -> None:
    answered = tmp_path / "answered"
    for _ in range(5):
        before = answered.stat().st_size if answered.exists() else 0
        running = [Running(KILLED_PROCESS, tmp_path) for _ in range(processes)]
        try:
            for one in running:
                one.wait_until_ready()
            until = time.monotonic() + 20
            while time.monotonic() < until and (
                not answered.exists() or answered.stat().st_size < before + 3000
            ):
                time.sleep(0.01)
        finally:
            for one in running:
                one.kill()

    names = answered.read_text().split("\n")[:-1]
    assert len(names) > 5 * 32
    with closing(Store(URL, tmp_path, RENDERER)) as store:
        store.open()
        kept = {name for (name,) in sql(store, "select key from meta where value = 'test'")}
        assert sql(store, "pragma integrity_check") == [("ok",)]
        assert path_of(store).exists()
    assert set(names) <= kept
    assert len(kept - set(names)) <= 5 * 32 * processes, "only those who had no answer yet"
