"""Hosts of two releases at once on one PostgreSQL store: an update goes from host to host."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from postgres import Server
from store_parts import CHAT, LINE, NOW, OTHER, PRICE, RENDERER, answer, due, history, sql, write

from storage import Store
from store import postgresql_schema
from store.database import StoreNewer
from store.moving import tables
from store.postgresql_link import connect
from store.postgresql_schema import FIRST, SCRIPT, SERVED_FROM, script_of
from store.records import Named, Portal, Reached, ReportedFault
from store.schema import MIGRATIONS

PORTAL = Portal("0f" * 16, 1, "access", "refresh", NOW, "application", False, NOW)
AGAIN = "again"  # another schema that a test may spoil
# What the next release may do. Statements with all columns read and write each of these tables.
NEXT = "".join(
    f"alter table {table} add column newer text not null default 'newer';" for table in tables()
)
NEXT += """
create table moods (
    message_id bigint primary key references messages on delete cascade, mood text not null
);
create index moods_by_mood on moods (mood);
create or replace view living_chats as select * from chats where owner is distinct from '';
"""


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[Store]:
    """A host of this release, at work."""
    with closing(Store(url, tmp_path, RENDERER)) as store:
        store.open()
        store.portal.save(PORTAL)
        yield store


@pytest.fixture
def update(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Start a host of the next release, and end it: its schema stays."""

    def start(*scripts: str, served_from: int = SERVED_FROM) -> None:
        with monkeypatch.context() as patch, closing(connect(url)) as session:
            patch.setattr(postgresql_schema, "MIGRATIONS", [*MIGRATIONS, *(scripts or [NEXT])])
            patch.setattr(postgresql_schema, "SERVED_FROM", served_from)
            postgresql_schema.migrate(session, "the store", had_store=True)

    return start


def work(store: Store, number: int = 0) -> None:
    """What a host does, by statements of every kind."""
    written = write(store, f"message {number}", CHAT)
    store.queue.claim(due(store, limit=1), LINE, NOW)
    store.messages.add_from_operators([answer(1000 + number, chat_id=OTHER)], NOW)
    assert store.conversations.latest(CHAT, None, 1)[0] == written
    assert store.chats.find(CHAT) is not None
    assert store.portal.find() is not None
    assert store.chats.find_open(CHAT) is not None
    store.queue.due_confirmations(NOW, 10)


# -- the tables


def test_a_host_goes_on_while_another_one_is_updated(
    store: Store, update: Callable[..., None]
) -> None:
    for number in range(8):  # the driver prepares what it has said five times
        work(store, number)

    update()

    for number in range(8, 20):
        work(store, number)
    assert len(history(store)) == 20


def test_nothing_fails_under_load_while_the_tables_change(
    store: Store, update: Callable[..., None]
) -> None:
    failed: list[Exception] = []
    stop = threading.Event()
    counts = [0] * 4

    def at_work(number: int) -> None:
        while not stop.is_set():
            try:
                write(store, "x", f"chat{number:064}")
                store.conversations.latest(CHAT, None, 10)
            except Exception as error:
                failed.append(error)
            counts[number] += 1

    threads = [threading.Thread(target=at_work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    scripts: list[str] = []
    for number in range(5):
        time.sleep(0.1)
        scripts.append(f"alter table messages add column mood{number} text")
        update(*scripts)
    time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()

    assert failed == []
    assert sum(len(history(store, f"chat{number:064}")) for number in range(4)) <= sum(counts)


def test_a_host_of_the_release_before_starts_again_on_the_newer_tables(
    store: Store, url: str, tmp_path: Path, update: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """It may crash, or its machine may be rebooted, before its turn to be updated comes."""
    write(store, "before")
    update()
    store.close()

    with closing(Store(url, tmp_path, RENDERER)) as again:
        again.open()
        work(again)
        assert history(again) == ["before", "message 0"]
        with again.database.try_lock("sender") as lock:
            assert lock is not None
    told = [one.getMessage() for one in caplog.records if "newer release" in one.getMessage()]
    assert told == [
        f"a newer release has brought the store to schema {len(MIGRATIONS) + 1}; this release,"
        f" with {len(MIGRATIONS)}, works on it until it is updated, too"
    ]


def test_the_release_before_makes_no_copy_that_would_lose_columns(
    store: Store, tmp_path: Path, update: Callable[..., None]
) -> None:
    update()

    with pytest.raises(StoreNewer):
        store.database.back_up(tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_a_release_that_must_not_work_on_newer_tables_any_more_is_told(
    store: Store, url: str, tmp_path: Path, update: Callable[..., None]
) -> None:
    write(store)
    update(NEXT, served_from=len(MIGRATIONS) + 1)

    for one in (store, Store(url, tmp_path, RENDERER)):
        with closing(one), pytest.raises(StoreNewer):
            write(one)
    reader = Store(url, tmp_path, RENDERER, read_only=True)
    with closing(reader), pytest.raises(StoreNewer):
        reader.open()


def test_a_host_goes_on_while_the_update_waits_for_a_long_reading(
    store: Store, url: str, update: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of a table waits for whoever reads it, and all who come later wait behind it."""
    monkeypatch.setattr(postgresql_schema, "TABLE_SECONDS", 0.2)
    monkeypatch.setattr(postgresql_schema, "PAUSE_SECONDS", 0.2)
    work(store)
    with psycopg.connect(url) as reading:
        reading.execute("select count(*) from messages")  # as a backup, which may take minutes
        updating = threading.Thread(target=update)
        updating.start()
        until, count = time.monotonic() + 1.5, 1
        while time.monotonic() < until:
            work(store, count)
            count += 1
        assert updating.is_alive()
    updating.join()

    assert count > 3
    work(store, count)


# -- what is in the tables


def test_what_a_newer_release_stores_beside_what_we_know_is_passed_over(
    store: Store, update: Callable[..., None]
) -> None:
    update()
    store.messages.add_from_operators([answer(1)], NOW)
    fault = ReportedFault("imconnector.send.messages", "ERROR")
    store.notes.fault.set(fault)
    store.notes.tried_sites.set({"https://shop.example": Named(1.0, 2.0, 3)})
    store.notes.reached.set({"portal": Reached("https://chat.example", 1.0, 0)})
    sql(store, """
        update messages set files = replace(files, '{', '{"newer": 1, '), state = 'newer',
            author = 'newer';
        update meta set value = replace(value, '{"', '{"newer": 1, "') where key like 'note.fault';
        update meta set value = replace(value, ', {}]', ', {}, "newer"]')
            where key = 'note.tried_sites';
        update meta set value = replace(value, '"at"', '"newer": 1, "at"')
            where key = 'note.reached';
        insert into meta values ('note.newer', '{"newer": 1}');
        update deliveries set kind = 'newer';
    """)  # fmt: skip

    (message,) = store.conversations.latest(CHAT, None, 10)
    assert message.files == (PRICE,)
    assert store.notes.fault.get() == fault
    assert store.notes.tried_sites.get() == {"https://shop.example": Named(1.0, 2.0, 3)}
    assert store.notes.reached.get() == {"portal": Reached("https://chat.example", 1.0, 0)}
    assert due(store, NOW) == store.queue.due_confirmations(NOW, 10) == []
    assert [one.kind for one in store.counts.waiting()] == ["newer"]
    work(store)


# -- what a migration may do

COLUMNS = """
select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    a.atthasdef or a.attidentity <> ''
from pg_class c join pg_attribute a on a.attrelid = c.oid
where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p', 'v')
    and a.attnum > 0 and not a.attisdropped
"""
RULES = """
select coalesce(c.relname, ''), r.conname, pg_get_constraintdef(r.oid),
    array(select attname::text from pg_attribute where attrelid = c.oid and attnum = any(r.conkey)),
    coalesce((select relname from pg_class where oid = r.confrelid), ''), r.confdeltype::text
from pg_constraint r left join pg_class c on c.oid = r.conrelid
where r.connamespace = current_schema()::regnamespace and r.contype <> 'n'
union all
select c.relname, i.relname, pg_get_indexdef(i.oid),
    array(select attname::text from pg_attribute where attrelid = i.oid), '', ' '
from pg_index x join pg_class c on c.oid = x.indrelid join pg_class i on i.oid = x.indexrelid
where c.relnamespace = current_schema()::regnamespace and x.indisunique
    and not exists (select 1 from pg_constraint r where r.conindid = i.oid)
union all
select c.relname, t.tgname, 'trigger', array[]::text[], '', ' '
from pg_trigger t join pg_class c on c.oid = t.tgrelid
where c.relnamespace = current_schema()::regnamespace and not t.tgisinternal
"""


class Tables:
    """What the tables of a schema are, as far as whoever works on them can tell."""

    def __init__(self, session: psycopg.Connection[Any]) -> None:
        self.columns = {row[:2]: row[2:] for row in session.execute(COLUMNS).fetchall()}
        self.rules = {tuple(map(str, row)): row for row in session.execute(RULES).fetchall()}

    def taken_by(self, newer: "Tables") -> Iterator[str]:
        """What the release of these tables could not do any more on newer ones."""
        tables = {table for table, _ in self.columns}
        for (table, column), (kind, needed, has_default) in self.columns.items():
            if (table, column) not in newer.columns:
                yield f"{table}.{column} is gone"
                continue
            its_kind, its_needed, its_default = newer.columns[table, column]
            if its_kind != kind:
                yield f"{table}.{column} is no {kind}"
            if its_needed and not needed:
                yield f"{table}.{column} may not be null"
            if has_default and not its_default:
                yield f"{table}.{column} has no default"
        new = newer.columns.keys() - self.columns.keys()
        for table, column in new:
            _, needed, has_default = newer.columns[table, column]
            if table in tables and needed and not has_default:
                yield f"{table}.{column} has to be given"
        for key in newer.rules.keys() - self.rules.keys():
            table, name, _, columns, other, on_delete = newer.rules[key]
            is_old = table in tables and not ({(table, one) for one in columns} & new)
            if is_old or (not table and name):
                yield f"{table} has the rule {name}"
            elif other in tables and on_delete not in ("c", "n"):
                yield f"{table} keeps rows of {other}"


@pytest.fixture
def session(postgres: Server) -> Iterator[psycopg.Connection[Any]]:
    """A session with the tables that each release has had, in a transaction that is undone."""
    with psycopg.connect(postgres.url) as session:
        session.execute(f"create schema {AGAIN}; set local search_path = {AGAIN}")
        session.execute(SCRIPT.encode())
        yield session
        session.rollback()


def taken(session: psycopg.Connection[Any], script: str) -> list[str]:
    before = Tables(session)
    session.execute(script.encode())
    return sorted(before.taken_by(Tables(session)))


def test_each_migration_leaves_the_release_before_all_that_it_uses(
    session: psycopg.Connection[Any],
) -> None:
    assert FIRST <= SERVED_FROM <= len(MIGRATIONS)
    for version in range(FIRST + 1, len(MIGRATIONS) + 1):
        lost = taken(session, script_of(version))
        assert version <= SERVED_FROM or lost == [], f"migration {version}"


def test_what_a_migration_may_do(session: psycopg.Connection[Any]) -> None:
    for version in range(FIRST + 1, len(MIGRATIONS) + 1):
        session.execute(script_of(version).encode())
    assert taken(session, NEXT) == []
    assert (
        taken(session, "drop index moods_by_mood; alter table chats alter page drop not null") == []
    )


@pytest.mark.parametrize(
    ("script", "lost"),
    [
        ("drop table blocked", ["blocked.blocked_at is gone", "blocked.chat_id is gone"]),
        ("alter table messages drop column attached", ["messages.attached is gone"]),
        ("alter table blocked rename to turned_away",
         ["blocked.blocked_at is gone", "blocked.chat_id is gone"]),
        ("alter table messages rename attached to beside", ["messages.attached is gone"]),
        ("alter table messages alter revision type int", ["messages.revision is no bigint"]),
        ("alter table messages alter error set not null", ["messages.error may not be null"]),
        ("alter table messages alter edited drop default", ["messages.edited has no default"]),
        ("alter table messages add mood text not null", ["messages.mood has to be given"]),
        ("create unique index one on deliveries (chat_id)", ["deliveries has the rule one"]),
        ("alter table chats add constraint named check (name <> '')",
         ["chats has the rule named"]),
        ("alter domain words add constraint short check (length(value) < 99)",
         [" has the rule short"]),
        ("create table moods (message_id bigint references messages)",
         ["moods keeps rows of messages"]),
        ("drop view living_chats; create view living_chats as select id from chats",
         [f"living_chats.{name} is gone" for name in ("active_at", "closed_at")]),
        ("create function f() returns trigger language plpgsql as 'begin return null; end';"
         " create trigger never before insert on messages for each row execute function f()",
         ["messages has the rule never"]),
    ],
)  # fmt: skip
def test_what_a_migration_may_not_do(
    session: psycopg.Connection[Any], script: str, lost: list[str]
) -> None:
    found = taken(session, script)
    assert found
    assert found == lost or set(lost) < set(found)
