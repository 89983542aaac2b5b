"""Work of the background jobs on very many rows, beside others of the same process.

Prints for each job the longest time of the processor for which it held the process at once, and its
whole time, in milliseconds. The test `test_long_work.py` runs it, and so may you, from the root:
`PYTHONPATH=.:tests .venv/bin/python -m gevent.monkey tests/delivery/long_work.py 100000 no_line`.
"""

import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import gevent  # type: ignore[import-untyped]
import greenlet  # type: ignore[import-untyped]
from fake_portal import LINE, NOW, OTHER_LINE, FakePortal, chat_id, make_worker, states, write

from delivery.circuits import Scope
from delivery.recovery import Recovery
from delivery.worker import Worker
from files import Files
from live import Live
from storage import Store
from store.file_folder import ARRIVING

MOST_STEPS = 10_000


def main(rows: int, names: list[str]) -> None:
    found = {}
    for name in names or JOBS:
        with (
            tempfile.TemporaryDirectory() as folder,
            closing(Store("sqlite:///chats.db", Path(folder), 1)) as store,
        ):
            store.portal.connect_line(LINE, NOW)
            found[name] = held(JOBS[name](store, rows))
    print(json.dumps(found))


def held(work: Callable[[], object]) -> tuple[float, float]:
    gc.collect()
    gc.freeze()  # as gunicorn.conf.py does
    hub, holds, began = gevent.get_hub(), [0.0], [time.thread_time()]

    def switched(_: str, between: tuple[object, object]) -> None:
        if between[0] is hub:
            began[0] = time.thread_time()
        elif between[1] is hub:
            holds.append(time.thread_time() - began[0])

    begin = time.perf_counter()
    greenlet.settrace(switched)
    try:
        gevent.spawn(work).get()
    finally:
        greenlet.settrace(None)
    return max(holds) * 1000, (time.perf_counter() - begin) * 1000


@contextmanager
def filling(store: Store) -> Iterator[Callable[[str, Iterable[tuple[object, ...]]], object]]:
    with store.database.write() as db:
        yield db.executemany  # type: ignore[attr-defined]
    store.database.settle(at_once=True)


def backlog(store: Store, rows: int, line: int | None = None, dialog: bool = False) -> None:
    """So many chats with a message each, which began on the line."""
    numbers = range(1, rows + 1)
    with filling(store) as many:
        many(
            "insert into chats (id, created_at, active_at, line, portal_chat_id)"
            " values (?, 0, ?, ?, ?)",
            ((chat_id(n), NOW + n / rows, line, n if dialog else None) for n in numbers),
        )
        many(
            "insert into messages (id, revision, position, chat_id, author, text, html, renderer,"
            " sent_at, state) values (?, ?, ?, ?, 'visitor', 'hello', '', 1, 0, 'stored')",
            ((n, n, n, chat_id(n)) for n in numbers),
        )
        many(
            "insert into deliveries (message_id, chat_id, kind, due, address, place, chat_line)"
            " values (?, ?, 'message', 0, ?, 1, ?)",
            ((n, chat_id(n), str(n), line or 0) for n in numbers),
        )


def steps(worker: Worker, now: float = NOW) -> int:
    """As the worker's own loop does them, until there is nothing to do."""
    for number in range(MOST_STEPS):
        if not worker.step(now):
            return number
    raise RuntimeError("the worker finds something to do for ever")


def worker_of(store: Store) -> Worker:
    worker = make_worker(store, FakePortal())
    worker.begin(NOW)
    return worker


def no_line(store: Store, rows: int) -> Callable[[], object]:
    backlog(store, rows)
    store.portal.disconnect_line(LINE)
    return partial(steps, worker_of(store))


def open_line(store: Store, rows: int) -> Callable[[], object]:
    backlog(store, rows, LINE)
    worker = worker_of(store)
    worker._context.health.circuits.failed(Scope("message", LINE), NOW)
    return partial(steps, worker)


def one_line_of_two(store: Store, rows: int) -> Callable[[], object]:
    """Behind those of a line that takes nothing, a visitor writes on another one."""
    backlog(store, rows, LINE)
    store.portal.connect_line(OTHER_LINE, NOW + 1)
    worker = worker_of(store)
    worker._context.health.circuits.failed(Scope("message", LINE), NOW, at_least=60)
    write(store, "hello", rows + 1)

    def work() -> None:
        steps(worker)
        assert states(store, rows + 1) == ["delivered"]

    return work


def confirmations(store: Store, rows: int) -> Callable[[], object]:
    backlog(store, rows)
    with store.database.write() as db:
        db.execute("update deliveries set kind = 'confirmation', place = null, line = ?", (LINE,))
    worker = worker_of(store)
    worker._context.health.circuits.failed(Scope("confirmation", LINE), NOW, at_least=60)
    return partial(steps, worker)


def clock_set_back(store: Store, rows: int) -> Callable[[], object]:
    backlog(store, rows)
    with store.database.write() as db:
        db.execute("update deliveries set due = ?", (NOW + 1e6,))
    return partial(store.queue.make_due, NOW)


def restored(store: Store, rows: int) -> Callable[[], object]:
    backlog(store, rows, LINE, dialog=True)
    return partial(store.epochs.begin, NOW, "RESTORED")


def recovery(store: Store, rows: int) -> Callable[[], object]:
    backlog(store, rows, LINE, dialog=True)
    with store.database.write() as db:
        db.execute("insert into dialogs select portal_chat_id, id, line, 0 from chats")
    return partial(Recovery, store, FakePortal(), NOW)  # type: ignore[arg-type]


def doubt(store: Store, rows: int) -> Callable[[], object]:
    """One look at fifty chats with ten messages each."""
    backlog(store, 500, LINE, dialog=True)
    with store.database.write() as db:
        db.execute("update deliveries set state = 'in doubt', error = 'NO_REPLY', line = 7")
        for table in ("messages", "deliveries"):
            db.execute(
                f"update {table} set chat_id = (select id from chats"
                f" where portal_chat_id = 1 + {table}.id % 50)"
            )
        db.execute("update deliveries set place = null where id > 50")
    worker = worker_of(store)
    return partial(worker.step, NOW)


def failed_chats(store: Store, rows: int) -> Callable[[], object]:
    """The only line takes nothing, as very many chats have seen."""
    backlog(store, 100, LINE)
    worker = worker_of(store)
    for number in range(rows):
        for attempts in (1, 2, 3):
            worker._context.lines.took_nothing(LINE, chat_id(number), attempts, "NO_SESSION")
    return partial(worker.step, NOW)


def abandoned_files(store: Store, rows: int) -> Callable[[], object]:
    folder = Path(tempfile.mkdtemp())
    (folder / ARRIVING).mkdir()
    for number in range(rows // 5):
        (folder / ARRIVING / str(number)).touch()
    return partial(Files(folder).sweep, store.chats.file_keys, -60.0)


def deletions(store: Store, rows: int) -> Callable[[], object]:
    with filling(store) as many:
        many(
            "insert into deletions (id, deleted_at) values (?, 0)",
            ((chat_id(n),) for n in range(rows)),
        )
    live = Live(store)
    live._add("a chat")
    return live._look


def counts(store: Store, rows: int) -> Callable[[], object]:
    minute = int(NOW // 60)
    with filling(store) as many:
        many("insert into hits values (?, ?, 1)", ((str(n), minute - 2) for n in range(rows)))
    return partial(store.limits.count_hit, "a visitor", 10, NOW)


def senders(store: Store, rows: int) -> Callable[[], object]:
    backlog(store, rows)
    with store.database.write() as db:
        db.execute("insert into senders select address, 0, 1 from deliveries")
    return partial(store.queue.claim, store.queue.due_messages(NOW, 1), LINE, NOW)


JOBS = {
    job.__name__: job
    for job in (
        *(no_line, open_line, one_line_of_two, confirmations, clock_set_back, restored),
        *(recovery, doubt, failed_chats, abandoned_files, deletions, counts, senders),
    )
}

if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
