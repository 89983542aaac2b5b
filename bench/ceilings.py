"""What many hosts share, and how much of it there is: `make ceilings`.

On PostgreSQL all processes of all hosts have one order of writes, one channel of hints, and one
server that answers each process what is new. Each of the three has an end; docs/architecture.md
says at which load it comes. Prints one table; what is on the machine beside it spoils the figures.
"""

import itertools
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.processes import processor_seconds
from bench.results import p95, rounded
from bench.wheel import server_maker

if TYPE_CHECKING:
    from storage import Store

SECONDS = 5.0
WRITERS = ((1, 1), (1, 64), (2, 64), (4, 64), (4, 1), (16, 1))  # processes, visitors in each
LISTENERS = (1, 10, 80)  # a server takes 100 sessions, unless it is told otherwise
HINTS_A_SECOND = 100
QUESTIONS = 2_000
MICROSECONDS = 1_000_000
CHAT = "c0ffee" + "0" * 26


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, int]]:
    """A PostgreSQL with its own settings, on the disk; its address and its process."""
    with server_maker(folder / "run")(folder / "data") as running:
        running.psql("create database ceilings")
        yield running.get_uri(database="ceilings"), running.get_pid() or 0


# -- the parts, each in a process of its own


def write(url: str, visitors: int, name: str) -> None:
    """Let visitors write as fast as they can; print each message's milliseconds."""
    import gevent  # type: ignore[import-untyped]

    from store.records import Chat, Limits, VisitorMessage

    limits = Limits("address", 10**9, 10**9)
    times: list[float] = []

    def visitor(number: int) -> None:
        now = time.time()
        chat = Chat(
            f"{name}{number:04}".rjust(64, "0"), "Anna", "", "", "https://shop.example/", None,
            now, now, None, None, None, None,
        )  # fmt: skip
        while time.monotonic() < until:
            began = time.perf_counter()
            store.messages.add_from_visitor(VisitorMessage(chat, "Hello"), limits, time.time())
            times.append((time.perf_counter() - began) * 1000)

    with closing(_store(url)) as store:
        store.open()
        print("ready", flush=True)
        sys.stdin.readline()
        until = time.monotonic() + SECONDS
        gevent.joinall([gevent.spawn(visitor, n) for n in range(visitors)], raise_error=True)
    print("\n".join(f"{one:.3f}" for one in times))


def listen(url: str, sessions: int) -> None:
    """Wait for hints in so many sessions; print how late each came, in milliseconds."""
    import psycopg

    late: list[float] = []

    def session() -> None:
        with psycopg.connect(url, autocommit=True) as one:
            one.execute("listen ceilings")
            listening.release()
            for hint in one.notifies(timeout=SECONDS + 2):
                late.append((time.monotonic() - float(hint.payload)) * 1000)

    listening = threading.Semaphore(0)
    threads = [threading.Thread(target=session) for _ in range(sessions)]
    for thread in threads:
        thread.start()
    for _ in threads:
        listening.acquire()
    print("ready", flush=True)
    for thread in threads:
        thread.join()
    print("\n".join(f"{one:.3f}" for one in late))


def _store(url: str) -> "Store":
    from bbcode import RENDERER  # not before the process is patched
    from storage import Store

    return Store(url, Path(tempfile.gettempdir()), RENDERER)


# -- what is measured


def part(*arguments: str) -> "subprocess.Popen[str]":
    begun = subprocess.Popen(
        [sys.executable, "-m", "bench.ceilings", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert begun.stdout is not None
    assert begun.stdout.readline() == "ready\n"
    return begun


def numbers(begun: "subprocess.Popen[str]") -> list[float]:
    said, _ = begun.communicate(timeout=SECONDS * 10)
    return [float(line) for line in said.split()]


def writes(url: str, processes: int, visitors: int) -> str:
    begun = [part("write", url, str(visitors), chr(97 + n)) for n in range(processes)]
    for one in begun:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    times = list(itertools.chain.from_iterable(map(numbers, begun)))
    spread = f"p50 {rounded(statistics.median(times))}, p95 {rounded(p95(times))} ms"
    return f"{rounded(len(times) / SECONDS)} messages a second; {spread}"


def hints(url: str, pid: int, sessions: int) -> str:
    import psycopg

    begun = part("listen", url, str(sessions))
    with psycopg.connect(url, autocommit=True) as writer:
        used, sent = processor_seconds([pid]), 0
        began = time.monotonic()
        while time.monotonic() < began + SECONDS:
            writer.execute(f"notify ceilings, '{time.monotonic()}'", prepare=False)
            sent += 1
            time.sleep(max(0.0, began + sent / HINTS_A_SECOND - time.monotonic()))
        used = processor_seconds([pid]) - used
    late = numbers(begun)
    lost = sent * sessions - len(late)
    spread = f"p50 {rounded(statistics.median(late))}, p95 {rounded(p95(late))} ms late"
    each = rounded(used / sent * MICROSECONDS)
    return f"{each} µs of the server's processor a hint; {spread}; {lost} lost"


def questions(url: str, pid: int) -> str:
    """What it costs to answer one process, after a hint, what is new."""
    with closing(_store(url)) as store:
        latest = store.messages.revision()
        own, used = time.process_time(), processor_seconds([pid])
        for _ in range(QUESTIONS):
            store.messages.chats_changed_after(latest)
        own = (time.process_time() - own) / QUESTIONS * MICROSECONDS
        used = (processor_seconds([pid]) - used) / QUESTIONS * MICROSECONDS
    return f"{rounded(used)} µs of the server's processor, {rounded(own)} µs of the host's"


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="ceilings-", dir="/var/tmp") as folder,
        server(Path(folder)) as (url, pid),
    ):
        with closing(_store(url)) as store:
            store.open()
        for processes, visitors in WRITERS:
            told = writes(url, processes, visitors)
            print(f"{processes} processes, {visitors} visitors write in each: {told}", flush=True)
        for sessions in LISTENERS:
            told = hints(url, pid, sessions)
            print(f"{HINTS_A_SECOND} hints a second to {sessions} processes: {told}", flush=True)
        print(f"what is new, asked by one process: {questions(url, pid)}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", url, visitors, name]:
            from gevent import monkey

            monkey.patch_all()
            write(url, int(visitors), name)
        case ["listen", url, sessions]:
            listen(url, int(sessions))
        case _:
            main()
