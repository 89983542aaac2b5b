"""However much waits, a step of the queue reads little: counted in steps of SQLite's machine."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from store_parts import NOW

from storage import Store
from store.connections import Connections
from store.counts import AT_ONCE, Waiting
from store.database import Row
from store.queue import QueueTables

MUCH = 8_000  # deliveries
# A step of the machine is some 10 ns. What reads all of the queue takes 10 steps a delivery.
STEPS = 20_000
HELD = (1, 2)


def fill(store: Store, chats: int, lines: int, state: str, kind: str) -> None:
    with store.database.write() as db:
        many = "with recursive n (n) as (select 1 union all select n + 1 from n where n < ?)"
        db.execute(
            f"{many} insert into chats (id, created_at, active_at, line)"
            " select 'chat' || (n % ?), 0, 0, n % ? from n",
            (chats, chats, lines),
        )
        db.execute(
            f"{many} insert into messages (id, revision, position, chat_id, author, text, html,"
            " renderer, sent_at, state)"
            " select n, n, n, 'chat' || (n % ?), 'visitor', '', '', 0, 0, 'stored' from n",
            (MUCH, chats),
        )
        db.execute(
            "insert into deliveries (message_id, chat_id, kind, due, address, state, place,"
            " chat_line, line) select m.id, m.chat_id, k.kind, 0, 'one address', k.state,"
            " case when m.id <= :chats and k.kind = 'message' then m.id end, m.id % :lines,"
            " case when k.kind = 'confirmation' then m.id % :lines end from messages m,"
            " (select cast(:kind as text) as kind, cast(:state as text) as state) k order by m.id",
            {"kind": kind, "state": state, "chats": chats, "lines": lines},
        )


@contextmanager
def counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The steps of the machine, in hundreds, that everything takes on this store."""
    steps: list[int] = []
    connect = Connections.connect

    def counting(self: Connections, connection: object) -> sqlite3.Connection:
        db = connect(self, connection)  # type: ignore[arg-type]
        db.set_progress_handler(lambda: steps.append(1) or 0, 100)  # type: ignore[func-returns-value]
        return db

    monkeypatch.setattr(Connections, "connect", counting)
    yield steps


def interrupted(queue: QueueTables) -> None:
    with queue._database.write() as db:
        queue.doubt_interrupted(db, "DIED", NOW)


QUESTIONS: dict[str, Callable[[QueueTables], object]] = {
    "due_messages": lambda queue: queue.due_messages(NOW, 30, 1),
    "due_messages, some lines held": lambda queue: queue.due_messages(NOW, 30, 1, HELD),
    "due_confirmations": lambda queue: queue.due_confirmations(NOW, 50),
    "due_confirmations, some lines held": lambda queue: queue.due_confirmations(NOW, 50, HELD),
    "messages_in_doubt": lambda queue: queue.messages_in_doubt(NOW, 5),
    "is_in_doubt": lambda queue: queue.is_in_doubt(),
    "waiting": lambda queue: queue.waiting(1000),
    "newest": lambda queue: queue.newest(),
    "doubt_interrupted": interrupted,
}
LATER = NOW + 1
SHAPES = {
    "all due": "due = 0",
    "none due": f"due = {LATER}",
    "the newest due": f"due = case when id > {MUCH - 9} then 0 else {LATER} end",
    "every other due": f"due = case when id / 4 % 2 = 1 then {LATER} else 0 end",
}


@pytest.mark.parametrize(
    ("chats", "state", "kind"),
    [
        (MUCH, "queued", "message"),
        (6, "queued", "message"),
        (MUCH, "in doubt", "message"),
        (MUCH, "queued", "confirmation"),
    ],
)
def test_a_step_of_the_queue_reads_little_however_much_waits(
    store: Store, monkeypatch: pytest.MonkeyPatch, chats: int, state: str, kind: str
) -> None:
    found = {}
    fill(store, chats, 4, state, kind)
    for shape, due in SHAPES.items():
        with store.database.write() as db:
            db.execute(f"update deliveries set {due}")
        for name, ask in QUESTIONS.items():
            with counted(store, monkeypatch) as steps:
                ask(store.queue)
            monkeypatch.undo()
            found[f"{shape}: {name}"] = len(steps) * 100

    assert {what: steps for what, steps in found.items() if steps > STEPS} == {}


def test_what_the_few_due_among_many_give_is_what_the_many_give(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ways of asking, one answer."""
    fill(store, 90, 5, "queued", "message")
    with store.database.write() as db:
        db.execute("update deliveries set due = ? where id % 3 = 0", (NOW + 1,))
        db.execute(
            "update deliveries set kind = 'confirmation', place = null, line = chat_line"
            " where id > 90"
        )

    def asked() -> list[list[int]]:
        held: list[tuple[int, ...]] = [(), (0,), HELD, (0, 1, 2, 3, 4)]
        return [
            [delivery.id for delivery in ask(NOW, 20, held=lines)]
            for lines in held
            for ask in (store.queue.due_messages, store.queue.due_confirmations)
        ]

    few = asked()
    monkeypatch.setattr("store.queue.FEW", 3)

    assert asked() == few
    assert [len(ids) for ids in few[:2]] == [20, 20]
    assert few[-2:] == [[], []]


def test_what_waits_is_counted_in_pieces_of_which_none_is_much(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 90, 5, "queued", "message")
    with store.database.write() as db:
        db.execute("update deliveries set state = 'in doubt' where id % 8 = 0")
        db.execute("update deliveries set kind = 'confirmation', place = null where id % 2 = 1")
        db.execute("update messages set sent_at = id")
    pieces: list[int] = []
    rows = store.database.rows

    def counting(sql: str, *values: object) -> list[Row]:
        found = rows(sql, *values)
        pieces.extend(row["n"] for row in found if "n" in row.keys())  # noqa: SIM118
        return found

    monkeypatch.setattr(store.database, "rows", counting)

    assert store.counts.waiting() == [
        Waiting("confirmation", "queued", MUCH // 2, 1),
        Waiting("message", "in doubt", MUCH // 8, 8),
        Waiting("message", "queued", MUCH * 3 // 8, 2),
    ]
    assert sum(pieces) == MUCH
    assert max(pieces) <= AT_ONCE
