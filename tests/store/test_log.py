"""The write-ahead log: moved into the file in time, after a crash and on a full disk; cleaned."""

import resource
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from copy_parts import NAMES, copied, is_store, opened, texts
from store_parts import CHAT, NOW, OTHER, RENDERER, answer, history, settle, write

from storage import Store
from store.database import StoreUnavailable
from store.log import move_log

SECRET = "a text that must not stay"


# -- moved


def test_when_it_is_quiet_the_file_alone_holds_everything(store: Store, folder: Path) -> None:
    write(store, "hello")

    settle(store)

    assert texts(copied(folder, "copy", "chats.db")) == ["hello"]
    assert (folder / "chats.db-wal").stat().st_size == 0


def test_a_quiet_store_is_not_written(store: Store, folder: Path) -> None:
    write(store, "hello")
    settle(store)
    before = [(folder / name).stat().st_mtime_ns for name in NAMES]

    for _ in range(3):
        settle(store)

    assert [(folder / name).stat().st_mtime_ns for name in NAMES] == before


def test_a_long_log_is_moved_even_while_others_write(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.sqlite.LOG_BYTES", 100_000)
    for _ in range(30):
        write(store, "hello" * 200)
        store.database.settle()

    assert (folder / "chats.db-wal").stat().st_size < 130_000


def test_after_a_clean_stop_no_log_is_left(store: Store, second: Store, folder: Path) -> None:
    write(store, "hello")
    write(second, "hello too")

    store.close()
    second.close()

    assert not (folder / "chats.db-wal").exists()
    assert texts(copied(folder, "copy", "chats.db")) == ["hello", "hello too"]


def test_a_crash_at_any_moment_loses_nothing(store: Store, folder: Path) -> None:
    written: list[str] = []
    for number in range(12):
        written.append(f"{number}")
        write(store, written[-1])
        if number % 4 == 1:
            store.database.settle(at_once=True)
        assert texts(copied(folder, f"crash {number}")) == written


def test_a_crash_while_the_log_is_moved_loses_nothing(store: Store, folder: Path) -> None:
    write(store, "hello")
    with closing(sqlite3.connect(folder / "chats.db")) as db:
        db.execute("pragma wal_checkpoint(passive)")  # moved, and not yet emptied

        assert texts(copied(folder, "crash")) == ["hello"]


@contextmanager
def no_file_longer_than(limit: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [1, 5, 20, 60])
def test_a_disk_that_was_full_while_the_file_had_to_grow_costs_nothing(
    folder: Path, store: Store, room: int
) -> None:
    """The log is moved in part: the file counts pages that are still in the log alone."""
    written = [f"{number} " + "x" * 9_000 for number in range(80)]
    for text in written[:50]:
        write(store, text)
    settle(store)
    for text in written[50:]:
        write(store, text)
    size = (folder / "chats.db").stat().st_size
    with no_file_longer_than(size + room * 4096):
        with pytest.raises(StoreUnavailable):
            store.database.settle(at_once=True)
        store.close()
    assert (folder / "chats.db-wal").stat().st_size > 0

    with closing(Store("sqlite:///chats/chats.db", folder.parent, RENDERER, read_only=True)) as one:
        assert history(one) == written
    assert texts(copied(folder, "crash")) == written
    with closing(opened(folder)) as again:
        assert history(again) == written
        write(again, "later")
        settle(again)
    assert texts(copied(folder, "after", "chats.db")) == [*written, "later"]


def test_while_a_backup_is_made_the_log_is_not_moved(store: Store, folder: Path) -> None:
    write(store, "hello")
    with store.database.lock("move", 1):
        store.database.settle(at_once=True)
        assert (folder / "chats.db-wal").stat().st_size > 0

    store.database.settle()

    assert (folder / "chats.db-wal").stat().st_size == 0


def test_a_move_of_the_log_waits_for_who_reads_an_earlier_state(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.log.READERS_MILLISECONDS", 5_000)
    write(store, "before")
    with closing(sqlite3.connect(folder / "chats.db", check_same_thread=False)) as reader:
        reader.execute("begin")
        reader.execute("select count(*) from messages").fetchone()
        write(store, "after")
        reading = threading.Timer(0.3, reader.execute, ["commit"])
        reading.start()

        store.database.settle(at_once=True)
        reading.join()

    assert (folder / "chats.db-wal").stat().st_size == 0
    assert texts(copied(folder, "moved", "chats.db")) == ["before", "after"]


def test_a_log_is_moved_also_where_somebody_writes_without_a_pause(
    store: Store, folder: Path
) -> None:
    write(store, "before")
    stop = threading.Event()

    def write_on() -> None:
        while not stop.is_set():
            write(store, "more")

    writing = threading.Thread(target=write_on)
    writing.start()
    try:
        for _ in range(20):
            store.database.settle(at_once=True)
            if is_moved := is_store(copied(folder, "moved", "chats.db")):
                break
    finally:
        stop.set()
        writing.join()

    assert is_moved


# -- what was deleted


def traces(folder: Path) -> int:
    return sum(file.read_bytes().count(SECRET.encode()) for file in folder.iterdir())


def fill(store: Store) -> None:
    for number in range(30):
        write(store, f"{number} {SECRET} " * 20)
        write(store, "another's", chat=OTHER)
    store.messages.add_from_operators([answer(text=SECRET, text_html=SECRET)], NOW)


def test_of_a_deleted_chat_no_trace_stays(store: Store, folder: Path) -> None:
    fill(store)
    assert traces(folder) > 0

    store.chats.delete(CHAT, NOW)

    assert traces(folder) == 0
    assert len(history(store, OTHER)) == 30


def test_what_cannot_be_cleaned_at_once_is_cleaned_a_second_later(
    store: Store, second: Store, folder: Path
) -> None:
    fill(store)
    with closing(sqlite3.connect(folder / "chats.db")) as reader:
        reader.execute("begin")
        reader.execute("select count(*) from messages").fetchone()
        store.chats.delete(CHAT, NOW)
        assert traces(folder) > 0
        write(store, "others write on", chat=OTHER)

    store.database.settle()

    assert traces(folder) == 0


def test_of_a_deleted_answer_no_trace_stays(store: Store, folder: Path) -> None:
    store.messages.add_from_operators([answer(text=SECRET, text_html=SECRET)], NOW)

    store.messages.take_back(answer(text=""), NOW)
    settle(store)

    assert traces(folder) == 0


def test_of_many_deletions_at_once_one_move_of_the_log_serves_all(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves, chats = [], [f"chat{number}" for number in range(8)]
    for chat in chats:
        write(store, SECRET, chat)

    def move_slowly(db: sqlite3.Connection, path: Path) -> bool:
        moves.append(path)
        time.sleep(0.2)
        return move_log(db, path)

    monkeypatch.setattr("store.sqlite.move_log", move_slowly)
    left: list[int] = []

    def delete(chat: str) -> None:
        store.chats.delete(chat, NOW)
        with closing(sqlite3.connect(folder / "chats.db")) as db:
            left.extend(db.execute("select 1 from messages where chat_id = ?", (chat,)))

    threads = [threading.Thread(target=delete, args=(chat,)) for chat in chats]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(moves) <= 4
    assert left == []
    assert traces(folder) == 0
