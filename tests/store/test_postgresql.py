"""PostgreSQL: what is its own. What both databases do is asked in the modules beside this one."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path

import psycopg
import pytest
from postgres import Server
from store_parts import (
    CHAT,
    LIMITS,
    LINE,
    NOW,
    OTHER,
    RENDERER,
    THIRD,
    URL,
    answer,
    history,
    sql,
    visitor,
    write,
)

from operations.archive import Stopped
from operations.moving import Table, move
from storage import Store
from store.database import (
    OnlyReading,
    StoreGone,
    StoreLocked,
    StoreMissing,
    StoreOlder,
    StoreReadOnly,
    StoreUnavailable,
)
from store.moving import Row, select, tables
from store.postgresql import PostgreSQL
from store.postgresql_rows import ServerRows
from store.postgresql_schema import OURS, DatabaseForeign
from store.postgresql_statements import PREPARED, in_dialect
from store.records import File, VisitorMessage
from store.schema import MIGRATIONS

KEY = "0123456789abcdef" * 3
ROOM = "room"  # a schema that a test may spoil
TYPES = {"text": "text", "integer": "bigint", "real": "double precision", "blob": "bytea"}


@pytest.fixture
def url(postgres: Server) -> str:
    """The address of a schema in which there is nothing at all."""
    postgres.ask(f"drop schema if exists {ROOM} cascade; create schema {ROOM}")
    return postgres.url_of(ROOM)


@pytest.fixture
def room(url: str, tmp_path: Path) -> Iterator[Store]:
    with closing(Store(url, tmp_path, RENDERER)) as store:
        store.open()
        yield store


@pytest.fixture
def own() -> Iterator[Server]:
    """A server that a test may stop."""
    with closing(Server(durable=True)) as server:
        yield server


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


# -- a server that goes and comes


def test_a_restart_under_load_loses_nothing_that_was_kept(own: Server, tmp_path: Path) -> None:
    kept, refused, stop = list[str](), 0, threading.Event()
    with closing(Store(own.url, tmp_path, RENDERER)) as store:
        store.open()

        def writing(number: int) -> None:
            nonlocal refused
            count = 0
            while not stop.is_set():
                text = f"{number}.{count}"
                try:
                    write(store, text, client_id=text)
                except StoreUnavailable:
                    refused += 1
                    continue  # the browser repeats it
                kept.append(text)
                count += 1

        threads = [threading.Thread(target=writing, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        with closing(store.database.hints()) as hints:
            for _ in range(2):
                time.sleep(0.3)
                own.control("-m", "immediate", "restart")
            before, until = len(kept), time.monotonic() + 10
            while len(kept) < before + 8 and time.monotonic() < until:
                hints.wait(0.05)
        stop.set()
        for thread in threads:
            thread.join()

        found = history(store)
        assert {*kept} <= {*found}
        assert len(found) == len({*found}), "what was sent twice is stored once"
        assert len(kept) >= before + 8, "it goes on by itself"


def test_a_lock_is_lost_with_the_server_and_its_holder_learns_it(
    own: Server, tmp_path: Path
) -> None:
    with closing(Store(own.url, tmp_path, RENDERER)) as store:
        with store.database.try_lock("sender") as lock:
            assert lock is not None
            own.control("-m", "immediate", "restart")
            time.sleep(1.1)
            assert not lock.is_held()
        with store.database.try_lock("sender") as lock:
            assert lock is not None
            assert lock.is_held()


def test_a_server_that_is_not_there_is_said_without_its_address(tmp_path: Path) -> None:
    url = "postgresql://anna:s3cret@127.0.0.1:1/chat"
    with closing(Store(url, tmp_path, RENDERER)) as store:
        store.hurry()
        with pytest.raises(StoreUnavailable) as caught:
            write(store)
        with pytest.raises(StoreUnavailable) as read:
            store.open()

    for error in (caught.value, read.value):
        told = f"{error} {error.said}"
        assert "refused" in told
        assert not any(part in told for part in ("anna", "s3cret", "127.0.0.1", url))
    assert "s3cret" not in store.database.place


def test_a_server_that_hangs_holds_nobody_for_ever(
    own: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.postgresql_link.Session.patience", 0.5)
    with closing(Store(own.url, tmp_path, RENDERER)) as store:
        write(store)
        store.hurry()
        children = [own.pid, *own.children()]
        for process in children:
            os.kill(process, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                store.conversations.latest(CHAT, None, 1)
            assert time.monotonic() - began < 10
        finally:
            for process in children:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with suppress(StoreUnavailable):
                assert history(store) == ["Hello"]
                return
    pytest.fail("the store did not come back")


def test_a_standby_is_told_from_a_server_that_is_down(
    room: Store, url: str, tmp_path: Path
) -> None:
    address = f"{url}%20-cdefault_transaction_read_only%3Don"

    with closing(Store(address, tmp_path, RENDERER)) as store, pytest.raises(StoreReadOnly):
        write(store)


# -- copies


def test_a_backup_is_a_store_in_a_file_with_all_rows(room: Store, tmp_path: Path) -> None:
    write(room, "Hello")
    room.messages.add_from_operators([answer()], NOW)
    target = tmp_path / "chats" / "copy.db"
    target.parent.mkdir()

    room.database.back_up(target)

    with closing(Store("sqlite:///chats/copy.db", tmp_path, RENDERER)) as copy:
        copy.open()
        assert history(copy) == history(room) == ["Hello", "Good morning"]
        assert copy.epochs.current() == "", "whoever works with it knows that it is a copy"
        assert write(copy, "next").id > 0


# -- moving


def fill(store: Store) -> None:
    """A row in every table that `sitechat migrate` moves, but for those that a move leaves."""
    write(store, "Hello \N{GRINNING FACE}", client_id="uuid")
    write(store, "a\0b", OTHER)
    store.messages.add_from_operators([answer()], NOW)
    store.dialogs.note_dialog(CHAT, LINE, 5120, 7, 8, NOW)
    store.portal.secret_key()
    store.portal.connect_line(LINE, NOW)
    store.notes.up_at.set(NOW)
    store.chats.delete(THIRD, NOW)
    write(store, "gone", THIRD)
    store.chats.delete(THIRD, NOW)
    store.blocks.block(OTHER, NOW)
    store.counts.add({"streams": 0.1}, NOW)
    store.limits.add_refusals({"robot": 2}, NOW, 10, "others")
    store.logins.end({"one"}, NOW, 100.0)
    store.releases.keep("digest", {"chat.js": b"chat"}, NOW)
    store.contents.keep(BytesIO(bytes(range(1, 256)) * 3_000), CHAT, KEY)
    file = File("a.pdf", "file", "https://chat.example/a", 765_000, KEY)
    store.messages.add_from_visitor(VisitorMessage(visitor(), "see", file=file), LIMITS, NOW)


def everything(store: Store) -> dict[str, list[str]]:
    """All rows; in `meta` without what belongs to a file."""
    return {
        table: sorted(
            repr([*row]) for row in sql(store, select(table)) if not str(row[0]).startswith("sum.")
        )
        for table in tables()
    }


def test_a_store_moves_over_and_back_row_by_row(url: str, tmp_path: Path) -> None:
    files, told = tmp_path / "files", list[Table]()
    with closing(Store(URL, tmp_path, RENDERER)) as store:
        store.open()
        fill(store)
        before = everything(store)
        assert [table for table, rows in before.items() if not rows] == ["portal"]
    with closing(Store(url, tmp_path, RENDERER)) as new:  # a service has begun there already
        new.releases.keep("1" * 12, {"a.js": b"a"}, NOW)
    move(URL, url, tmp_path, files, told.append)
    with psycopg.connect(url) as session:
        known = "select reltuples > 0 from pg_class where oid = 'messages'::regclass"
        assert session.execute(known).fetchone() == (True,), "the server plans without a guess"
    with closing(Store(url, tmp_path, RENDERER)) as moved:
        after = everything(moved)
        assert after == {
            table: [row.replace("\\x00", "\ufffd") for row in rows]
            for table, rows in before.items()
        }
        assert [(one.name, one.rows) for one in told] == [
            (table, len(rows)) for table, rows in after.items()
        ]
        assert write(moved, "next").revision > 0
        write(moved, "gone", THIRD[:-1])
        assert moved.chats.delete(THIRD[:-1], NOW), "its number is a new one"
        after = everything(moved)

    back = "sqlite:///back/chats.db"
    move(url, back, tmp_path, files, told.append)
    with closing(Store(back, tmp_path, RENDERER)) as store:
        assert everything(store) == after
        assert write(store, "and on").revision > 0
        assert store.epochs.current(), "it is no copy but the store itself"


def test_a_store_moves_only_into_an_empty_one_while_nobody_works(url: str, tmp_path: Path) -> None:
    def refusal(source: str, target: str) -> str:
        with pytest.raises(Stopped) as caught:
            move(source, target, tmp_path, tmp_path / "files", lambda _: None)
        return caught.value.why.key.removeprefix("commands.")

    with closing(Store(URL, tmp_path, RENDERER)) as store:
        write(store)
        assert refusal(URL, "sqlite:///other.db") == "move_kinds"
        with store.database.try_lock("sender"):
            assert refusal(URL, url) == "service_runs"
        with closing(Store(url, tmp_path, RENDERER)) as target:
            write(target, "there")
            assert refusal(URL, url) == "move_not_empty"
            assert refusal(url, URL) == "move_not_empty"
            with target.database.try_lock("sender"):
                assert refusal(url, "sqlite:///other.db") == "service_runs"
            assert history(target) == ["there"]
        assert history(store) == ["Hello"]


def test_a_move_that_would_lose_a_row_keeps_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Store(URL, tmp_path, RENDERER)) as store:
        write(store, "1")
        write(store, "2")

        whole = ServerRows.fill

        def lossy(self: ServerRows, table: str, rows: Iterable[Row]) -> None:
            whole(self, table, list(rows)[:1] if table == "messages" else rows)

        monkeypatch.setattr(ServerRows, "fill", lossy)
        with pytest.raises(Stopped, match="messages"):
            move(URL, url, tmp_path, tmp_path / "files", lambda _: None)

    with closing(Store(url, tmp_path, RENDERER)) as target:
        target.open()
        assert everything(target)["chats"] == []
