"""Copies of a store on PostgreSQL, and its way from one database to the other."""

import resource
from collections.abc import Iterable
from contextlib import closing
from io import BytesIO
from pathlib import Path

import psycopg
import pytest
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
from store.database import DiskFull, StoreUnavailable
from store.moving import Row, select, tables
from store.postgresql_rows import ServerRows
from store.records import File, Moved, VisitorMessage

KEY = "0123456789abcdef" * 3


def fail(error: StoreUnavailable) -> None:
    raise error


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
    store.notes.moved.set(Moved("an earlier one, from which somebody went back", NOW))
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
    move(URL, url, tmp_path, files, told.append, fail)
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
        assert moved.notes.moved.get() is None
        after = everything(moved)

    back = "sqlite:///back/chats.db"
    move(url, back, tmp_path, files, told.append, fail)
    with closing(Store(back, tmp_path, RENDERER)) as store:
        assert everything(store) == after
        assert write(store, "and on").revision > 0
        assert store.epochs.current(), "it is no copy but the store itself"
        assert store.notes.moved.get() is None
    for former, to in ((URL, "PostgreSQL"), (url, str(tmp_path / "back"))):
        with closing(Store(former, tmp_path, RENDERER)) as store:
            noted = store.notes.moved.get()
            assert noted is not None
            assert noted.to.startswith(to)


def test_a_store_moves_only_into_an_empty_one_while_nobody_works(url: str, tmp_path: Path) -> None:
    def refusal(source: str, target: str) -> str:
        with pytest.raises(Stopped) as caught:
            move(source, target, tmp_path, tmp_path / "files", lambda _: None, fail)
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
            move(URL, url, tmp_path, tmp_path / "files", lambda _: None, fail)

    with closing(Store(url, tmp_path, RENDERER)) as target:
        target.open()
        assert everything(target)["chats"] == []


# SQLite keeps 2 MB in memory.
@pytest.mark.parametrize("size", [10, 3 << 20], ids=["at the end", "on the way"])
def test_a_full_disk_is_told_and_nothing_is_left(url: str, tmp_path: Path, size: int) -> None:
    """The limit of a file's size is the nearest thing to a full disk that a test can have."""
    with closing(Store(url, tmp_path, RENDERER)) as store:
        write(store)
        store.contents.keep(BytesIO(bytes(size)), CHAT, KEY)
        folder, before = tmp_path / "full", resource.getrlimit(resource.RLIMIT_FSIZE)
        folder.mkdir()
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
        try:
            with pytest.raises(Stopped) as caught:
                move(url, f"sqlite:///{folder}/x.db", tmp_path, tmp_path, lambda _: None, fail)
            with pytest.raises(DiskFull):
                store.database.back_up(folder / "copy.db")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert caught.value.why.key == "commands.disk_full"
    assert list(folder.iterdir()) == []
