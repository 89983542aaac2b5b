"""PostgreSQL: what is its own. What both databases do is asked in the modules beside this one."""

import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest
from postgres import Server
from store_parts import (
    CHAT,
    RENDERER,
    ROOM,
    history,
    sql,
    visitor,
    write,
)

from storage import Store
from store.database import (
    OnlyReading,
    StoreGone,
    StoreLocked,
    StoreMissing,
    StoreOlder,
)
from store.moving import tables
from store.postgresql import PostgreSQL
from store.postgresql_link import SESSIONS
from store.postgresql_schema import OURS, DatabaseForeign
from store.postgresql_statements import PREPARED, in_dialect
from store.schema import MIGRATIONS

TYPES = {"text": "text", "integer": "bigint", "real": "double precision", "blob": "bytea"}


# -- the dialect and the schema


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [
        ("select 1 where a = ? and b = ?", "select 1 where a = $1 and b = $2", ()),
        ("a = :name or b = :name2_", "a = $1 or b = $2", ("name", "name2_")),
        ("a = :a or b = :b or c = :a", "a = $1 or b = $2 or c = $1", ("a", "b")),
        ("like 'open|%' and a = ?", "like 'open|%' and a = $1", ()),
        ("'it''s a ? and a :name' = ?", "'it''s a ? and a :name' = $1", ()),
        ("a::text = :a", "a::text = $1", ("a",)),
    ],
)
def test_places_are_those_of_the_server(ours: str, theirs: str, names: tuple[str, ...]) -> None:
    assert in_dialect(ours) == (theirs.encode(), names)


@pytest.mark.parametrize("last", ["insert into lines values (2, 1, 1)", None])
def test_a_part_is_undone_whenever_its_fault_is_known(room: Store, last: str | None) -> None:
    def write(number: int) -> None:
        with room.database.write() as db:
            db.execute("insert into lines values (?, 1, 1)", (number,))
            db.execute("insert into lines values (1, 1, 1)")
            if last is None:
                raise RuntimeError("nobody has asked for a result yet")
            db.execute(last)

    with pytest.raises((psycopg.IntegrityError, RuntimeError)):
        write(1)
    assert room.database.rows("select line from lines") == []
    with suppress(RuntimeError):
        write(3)
    assert len(room.database.rows("select line from lines")) == (0 if last is None else 3)


def test_results_may_be_asked_for_in_any_order(room: Store) -> None:
    with room.database.write() as db:
        first = db.execute("insert into lines values (1, 1, 1) returning line")
        both = db.execute("insert into lines values (2, 1, 1), (3, 1, 1)")
        all_lines = db.execute("select line from lines order by line")
        assert [all_lines.fetchone(), both.rowcount] == [{"line": 1}, 2]
        assert [first.fetchone(), first.fetchone(), first.rowcount] == [{"line": 1}, None, 1]
        assert [row["line"] for row in all_lines.fetchall()] == [2, 3]


def test_a_session_keeps_statements_that_it_is_asked_often(room: Store) -> None:
    for number in range(1500):  # more than a session knows
        columns = ", ".join(["value"] * (1 + number % 300))
        room.database.rows(f"select {columns} from meta where key = ?", "revision")
        room.database.rows("select 1 as one from meta where key = ?", "revision")
    kept = room.database.rows("select statement from pg_prepared_statements")
    assert "select 1 as one from meta where key = $1" in [row["statement"] for row in kept]
    assert len(kept) <= PREPARED


def test_no_request_reads_a_table_that_the_server_does_not_know_yet(room: Store) -> None:
    """Nothing has been counted there: the server takes a large table for a small one."""
    with room.database.write() as db:
        chats = "insert into chats (id, created_at, active_at)"
        db.execute(f"{chats} select 'chat' || n, 0, 0 from generate_series(1, 5000) as n")
        db.execute(
            "insert into messages (id, revision, position, chat_id, author, text, html, renderer,"
            " sent_at, state, client_id) select n, n, n, 'chat' || (n % 5000 + 1), 'visitor', '',"
            " '', 0, 0, 'stored', 'c' || n from generate_series(1, 20000) as n"
        )

    def reads() -> int:
        room.database.rows("select pg_stat_force_next_flush()")
        (row,) = room.database.rows(
            "select coalesce(sum(seq_scan), 0) as n from pg_stat_user_tables"
            " where schemaname = ? and relname in ('messages', 'chats')",
            ROOM,
        )
        return int(row["n"])

    assert len(room.messages.chats_changed_after(19_500)[1]) == 500, "in several reads"
    before = reads()
    for number in range(8):  # the server plans a statement anew until it knows it
        _, changed = room.messages.chats_changed_after(19_990)
        assert changed - {CHAT} == {f"chat{n % 5000 + 1}" for n in range(19_991, 20_001)}
        write(room, client_id=str(number))
        write(room, client_id=str(number))
        room.messages.find_sent(visitor(), str(number))
        room.conversations.latest(CHAT, None, 50)
        room.conversations.changed_after(CHAT, 19_990, 1)
        room.chats.find_writer(CHAT)
    assert reads() == before


def test_both_databases_have_the_same_tables_and_columns(store: Store, room: Store) -> None:
    found = sql(
        room,
        "select table_name, column_name, data_type, is_nullable = 'NO', column_default is not null"
        f" or is_identity = 'YES' from information_schema.columns where table_schema = '{ROOM}'"
        f" and table_name not in ('living_chats', 'clock', '{OURS}')",
    )
    ours = {
        (table, one.name, TYPES[one.type], one.is_needed or (one.is_key), one.has_default)
        for table, columns in tables().items()
        for one in columns
    }
    given = {("deliveries", "id"), ("deletions", "number")}  # which SQLite gives by itself

    assert {(*row[:4], row[4] and row[:2] not in given) for row in found} == ours
    for column in ("living_chats",):
        view = sql(
            room,
            "select column_name from information_schema.columns"
            f" where table_schema = '{ROOM}' and table_name = '{column}'",
        )
        assert [name for (name,) in view] == [one.name for one in tables()["chats"]]


def test_hosts_that_start_at_once_begin_one_store(url: str, tmp_path: Path) -> None:
    stores = [Store(url, tmp_path, RENDERER) for _ in range(6)]
    failed: list[Exception] = []

    def start(store: Store) -> None:
        try:
            store.open()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=start, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    assert sql(stores[0], f"select version from {OURS}") == [(len(MIGRATIONS),)]
    for store in stores:
        store.close()


def test_the_database_of_another_program_is_left_alone(url: str, tmp_path: Path) -> None:
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("create table chats (id text)")

    for read_only in (False, True):
        store = Store(url, tmp_path, RENDERER, read_only)
        with closing(store), pytest.raises(DatabaseForeign):
            store.open()

    with psycopg.connect(url) as session:
        found = session.execute(f"select tablename from pg_tables where schemaname = '{ROOM}'")
        assert found.fetchall() == [("chats",)]


def test_whoever_only_reads_makes_nothing(url: str, tmp_path: Path) -> None:
    with closing(Store(url, tmp_path, RENDERER, read_only=True)) as reader:
        with pytest.raises(StoreMissing):
            reader.open()
        with closing(Store(url, tmp_path, RENDERER)) as store:
            store.open()
            written = write(store)
            assert reader.conversations.latest(CHAT, None, 10) == [written]
            assert reader.write_fault() is None
            with pytest.raises(OnlyReading):
                write(reader)
            with reader.database.try_lock("sender") as free, store.database.try_lock("sender"):
                assert free is not None
                with reader.database.try_lock("sender") as seen:
                    assert seen is None


def test_a_store_of_an_earlier_release_is_said_to_be(room: Store, url: str, tmp_path: Path) -> None:
    sql(room, f"update {OURS} set version = version - 1")

    reader = Store(url, tmp_path, RENDERER, read_only=True)
    with closing(reader), pytest.raises(StoreOlder):
        reader.open()


def test_tables_that_went_are_not_made_anew_by_who_has_used_them(
    room: Store, postgres: Server
) -> None:
    write(room)
    postgres.ask(f"drop schema {ROOM} cascade; create schema {ROOM}")

    for _ in range(3):
        with pytest.raises(StoreGone):
            write(room)

    room.close()
    room.open()
    assert history(room) == []


# -- what is written


@pytest.mark.parametrize("given", ["off", "local", "remote_apply"])
def test_what_is_committed_is_on_the_disk_whatever_the_server_does_else(
    url: str, tmp_path: Path, given: str
) -> None:
    address = f"{url}%20-csynchronous_commit%3D{given}"

    with closing(PostgreSQL(address, tmp_path)) as database:
        row = database.row("show synchronous_commit")

    assert row is not None
    assert row["synchronous_commit"] == ("remote_apply" if given == "remote_apply" else "on")


def test_a_text_that_postgresql_cannot_keep_is_kept_but_for_that_letter(room: Store) -> None:
    write(room, "a\0b")

    assert history(room) == ["a\ufffdb"]


def test_a_reader_of_what_is_new_misses_nothing(room: Store, url: str, tmp_path: Path) -> None:
    """Revisions are in the order of commits: several hosts write, one asks for what came since."""
    stop, seen, after = threading.Event(), list[int](), 0

    def writing(number: int) -> None:
        with closing(Store(url, tmp_path, RENDERER)) as store:
            for one in range(15):
                write(store, f"{number}.{one}")

    def reading() -> None:
        nonlocal after
        while True:
            last_look = stop.is_set()
            for message in room.conversations.changed_after(CHAT, after, 1000):
                seen.append(message.id)
                after = message.revision
            if last_look:
                return

    threads = [threading.Thread(target=writing, args=(number,)) for number in range(4)]
    reader = threading.Thread(target=reading)
    for thread in (reader, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    reader.join()

    assert len(seen) == len({*seen}) == 60


def test_who_holds_the_store_for_long_is_waited_for_and_then_named(
    room: Store, url: str, tmp_path: Path
) -> None:
    write(room)
    with closing(Store(url, tmp_path, RENDERER)) as other, room.database.write():
        began = time.monotonic()
        with other.database.briefly(0.1), pytest.raises(StoreLocked):
            write(other)

        assert 0.1 <= time.monotonic() - began < 3
        assert other.conversations.latest(CHAT, None, 1), "it can be read"


# -- between processes


def test_a_hint_comes_at_once(room: Store, url: str, tmp_path: Path) -> None:
    with closing(Store(url, tmp_path, RENDERER)) as other, closing(other.database.hints()) as hints:
        hints.wait(0.01)  # from now on it listens
        waits = []
        for number in range(20):
            timer = threading.Timer(0.02, write, (room, f"{number}"))
            began = time.monotonic()
            timer.start()
            hints.wait(5)
            timer.join()
            waits.append(time.monotonic() - began)
        hints.wake()
        hints.wait(5)

        assert sorted(waits)[10] < 0.5
        began = time.monotonic()
        hints.wait(0.05)
        assert time.monotonic() - began >= 0.05, "no hint is left"


def test_a_lock_is_of_one_at_a_time_in_all_processes(room: Store, url: str, tmp_path: Path) -> None:
    with closing(Store(url, tmp_path, RENDERER)) as other:
        with room.database.try_lock("sender") as ours:
            assert ours is not None
            assert ours.is_held()
            for database in (room.database, other.database):
                with database.try_lock("sender") as second, database.try_lock("else") as third:
                    assert second is None
                    assert third is not None
        with other.database.try_lock("sender") as theirs:
            assert theirs is not None


HOLDER = """
import sys, time
from pathlib import Path
from store.postgresql import PostgreSQL
with PostgreSQL(sys.argv[1], Path()).try_lock("sender") as lock:
    print("held" if lock else "free", flush=True)
    time.sleep(60)
"""


def test_a_process_that_dies_loses_its_locks_at_once(room: Store, url: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with room.database.try_lock("sender") as lock:
            assert lock is None
        holder.kill()
        with room.database.lock("sender", 5):
            pass


GEVENT = """
import gevent.monkey; gevent.monkey.patch_all()
import sys, time, gevent
from pathlib import Path
from store.database import StoreUnavailable
from store.postgresql import PostgreSQL
from store.postgresql_link import Session
database = PostgreSQL(sys.argv[1], Path())
database.open()
worst, last, stop = 0.0, time.monotonic(), False
def beat():
    global worst, last
    while not stop:
        gevent.sleep(0.005)
        worst, last = max(worst, time.monotonic() - last - 0.005), time.monotonic()
beating = gevent.spawn(beat)
began = time.monotonic()
sleepers = [gevent.spawn(database.rows, "select pg_sleep(0.5)") for _ in range(8)]
gevent.joinall(sleepers, raise_error=True)
hints = database.hints()
hints.wait(0.3)
def write():
    with database.write() as db:
        db.execute("insert into meta values (?, 'x')", (f"{time.monotonic()} {id(object())}",))
gevent.joinall([gevent.spawn(write) for _ in range(20)], raise_error=True)
hints.wait(5)
stop = True
took = time.monotonic() - began
written = database.rows("select 1 from meta where value = 'x'")
print(round(took, 1), round(worst, 3), len(written))
large = "x" * 3_000_000  # more than the system takes at once
with database.write() as db:
    for name in ("large 1", "large 2"):
        db.execute("insert into meta values (?, ?)", (name, large))
found = database.rows("select value from meta where key like 'large%'")
print([row["value"] == large for row in found])
Session.patience = 0.3
try:
    with database.write() as db:
        db.execute("select pg_sleep(1)").fetchone()
except StoreUnavailable as error:
    print(error.said)
print(len(database.rows("select 1")))
hints.close(); database.close()
"""


def test_greenlets_wait_side_by_side_and_hold_nobody(room: Store, url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GEVENT, url], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stderr
    figures, large, silence, after = done.stdout.splitlines()
    took, worst, written = figures.split()
    assert float(took) < 3, "eight statements of half a second each"
    assert float(worst) < 0.4
    assert int(written) == 20
    assert (large, silence, after) == ("[True, True]", "the server does not answer", "1")


KILLED = """
import gevent.monkey; gevent.monkey.patch_all()
import random, gevent
from store import postgresql_link as link
class Session:
    closed = only_reads = False
    def is_free(self): return not self.closed
    def close(self): self.closed = True
pool = link.Pool(Session, link.Patience())
def ask():
    pool.ask(lambda session: gevent.sleep(random.random() * 0.005))
for seconds in (0.5, 0.05):
    asking = [gevent.spawn(ask) for _ in range(1500)]
    for one in asking:
        gevent.spawn_later(random.random() * seconds, one.kill, block=False)
    gevent.joinall(asking)
link.PATIENCE_SECONDS, free = 0.1, 0
try:
    while pool.take():
        free += 1
except link.StoreLocked:
    print(free)
"""


def test_a_request_that_is_killed_while_it_waits_leaves_its_place_to_others() -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.stdout == f"{SESSIONS}\n", done.stderr
