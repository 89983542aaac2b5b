"""A large store is read as a whole only where something else than ourselves may have changed it."""

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from copy_parts import copied, opened, texts
from store_parts import RENDERER, history, settle, write

from storage import Store
from store import log, marks
from store.database import StoreUnavailable

ROWS = [f"{number} " + "x" * 1_500 for number in range(20)]


@pytest.fixture(autouse=True)
def _all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.marks.MARKED_BYTES", 1)
    monkeypatch.setattr("store.marks.LATE_SECONDS", 0.05)


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read as a whole."""
    found: list[Path] = []

    def prove(path: Path, how: str = "mode=ro") -> bool:
        if was_read := log.prove(path, how):
            found.append(path)
        return was_read

    monkeypatch.setattr("store.proof.prove", prove)
    monkeypatch.setattr("store.reading.prove", prove)
    return found


@pytest.fixture
def filled(store: Store, folder: Path, readings: list[Path]) -> Path:
    """A store with messages that was closed, and is marked."""
    for text in ROWS:
        write(store, text)
    settle(store)
    store.close()
    readings.clear()
    return folder


def steps_of_proof(path: Path) -> int:
    """How many thousand steps SQLite's machine makes for the proof of a file."""
    steps = 0

    class Counting(sqlite3.Connection):
        def set_progress_handler(self, callback: Any, n: int) -> None:
            def counted() -> int:
                nonlocal steps
                steps += 1
                return int(callback())

            super().set_progress_handler(counted, 1_000)

    connect = sqlite3.connect

    def counting(*arguments: Any, **named: Any) -> sqlite3.Connection:
        return connect(*arguments, factory=Counting, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("store.log.sqlite3.connect", counting)
        log.prove(path)
    return steps


def test_a_store_that_was_stopped_is_not_read_again(filled: Path, readings: list[Path]) -> None:
    assert texts(filled) == ROWS
    assert texts(filled) == ROWS
    assert readings == []


def test_what_was_written_just_before_the_stop_is_marked_too(
    filled: Path, readings: list[Path]
) -> None:
    stores = [opened(filled), opened(filled)]
    for store in stores:
        write(store, "the last")
    for store in stores:
        store.close()

    assert not (filled / "chats.db-wal").exists()
    assert texts(filled) == [*ROWS, "the last", "the last"]
    assert readings == []


def test_the_proof_of_a_marked_file_does_not_grow_with_it(filled: Path) -> None:
    assert steps_of_proof(filled / "chats.db") == 0
    (filled / "chats.db-mark").unlink()
    assert steps_of_proof(filled / "chats.db") > 0


def test_commands_that_look_profit_and_write_nothing(filled: Path, readings: list[Path]) -> None:
    before = sorted((file.name, file.stat().st_ctime_ns) for file in filled.iterdir())
    with closing(Store("sqlite:///chats/chats.db", filled.parent, RENDERER, read_only=True)) as one:
        assert history(one) == ROWS
    assert sorted((file.name, file.stat().st_ctime_ns) for file in filled.iterdir()) == before
    assert readings == []


def test_a_small_store_has_no_mark(
    second: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.marks.MARKED_BYTES", 8 << 20)
    write(second, "hello")
    settle(second)
    second.close()
    assert sorted(file.name for file in (tmp_path / "chats").iterdir()) == ["chats.db", "move.lock"]


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_after_a_crash_its_own_log_is_taken_without_reading_all(
    filled: Path, readings: list[Path], moves: int
) -> None:
    """The files are as kill -9 leaves them: SQLite would move the log when it closes."""
    crashed = opened(filled)
    for number in range(moves):
        write(crashed, f"{number}")
        settle(crashed)
    write(crashed, "the last")

    with closing(opened(filled)) as again:
        assert history(again) == [*ROWS, *map(str, range(moves)), "the last"]
    assert readings == []
    crashed.close()


def test_a_log_that_is_moved_in_part_keeps_the_mark(filled: Path, readings: list[Path]) -> None:
    with closing(opened(filled)) as store:
        write(store, "before")
        with closing(sqlite3.connect(filled / "chats.db")) as reader:
            reader.execute("begin")
            reader.execute("select count(*) from messages").fetchone()
            write(store, "after")
            store.database.settle(at_once=True)
            assert texts(filled) == [*ROWS, "before", "after"]
            write(store, "later")
            assert texts(filled)[-1] == "later"
        settle(store)
        assert texts(filled)[-1] == "later"
    assert texts(filled)[-1] == "later"
    assert readings == []


def test_of_many_that_begin_at_once_one_reads_the_file(filled: Path, readings: list[Path]) -> None:
    (filled / "chats.db-mark").unlink()
    stores = [opened(filled) for _ in range(4)]
    threads = [threading.Thread(target=store.open) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(readings) == 1
    for store in stores:
        store.close()


def test_whoever_begins_while_others_write_and_move_the_log_reads_nothing(
    filled: Path, readings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.marks.LATE_SECONDS", 10.0)  # on a busy machine, too
    stop = threading.Event()
    with closing(opened(filled)) as store:
        store.open()

        def write_on() -> None:
            while not stop.wait(0.02):
                write(store, "more")
                store.database.settle(at_once=True)

        writer = threading.Thread(target=write_on)
        writer.start()
        for _ in range(10):
            with closing(opened(filled)) as another:  # it moves the log when it closes
                another.open()
        stop.set()
        writer.join()

    assert readings == []


def replaced(file: Path) -> None:
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)


def as_before(file: Path) -> None:
    """Somebody writes into the file, and sets its time back."""
    times = file.stat()
    with file.open("r+b") as opened:
        opened.write(b"SQLite")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def by_another(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("insert into meta values ('theirs', '1')")


CHANGES: dict[str, Callable[[Path], object]] = {
    "another file in its place": replaced,
    "copied over by itself": lambda file: file.write_bytes(file.read_bytes()),
    "written into, its time set back": as_before,
    "its time alone": os.utime,
    "by another program of SQLite": by_another,
    "away and back": lambda file: file.rename(file.with_name("away")).rename(file),
    "longer": lambda file: os.truncate(file, file.stat().st_size + 4096),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_somebody_else_changed_is_read_as_a_whole(
    filled: Path, readings: list[Path], change: str
) -> None:
    CHANGES[change](filled / "chats.db")

    assert texts(filled)[:20] == ROWS
    assert len(readings) == 1


def test_a_copy_of_the_whole_folder_is_read_as_a_whole(filled: Path, readings: list[Path]) -> None:
    copy = filled.parent / "copy" / "chats"
    shutil.copytree(filled, copy)  # as `cp -a` does, with all times

    assert texts(copy) == ROWS
    assert readings == [copy / "chats.db"]
    assert texts(copy) == ROWS
    assert len(readings) == 1  # from now on it has a mark of its own


def test_after_a_start_of_the_machine_the_file_is_read_again(
    filled: Path, readings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.marks.boot_id", lambda: "another")

    assert texts(filled) == ROWS
    assert len(readings) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"file": 1}', b"\xff"])
def test_a_mark_that_is_none_counts_nothing(
    filled: Path, readings: list[Path], content: bytes
) -> None:
    (filled / "chats.db-mark").write_bytes(content)

    assert texts(filled) == ROWS
    assert len(readings) == 1


def test_a_change_while_the_service_runs_is_never_marked(
    filled: Path, readings: list[Path]
) -> None:
    with closing(opened(filled)) as store:
        write(store, "one")
        os.utime(filled / "chats.db")  # as after `cp` over the file
        settle(store)
        write(store, "two")
        settle(store)
    assert readings == []

    assert texts(filled) == [*ROWS, "one", "two"]
    assert len(readings) == 1


def test_a_file_without_a_log_that_was_moved_in_part_is_no_whole_one(
    filled: Path, readings: list[Path]
) -> None:
    """The log is taken away: what the file has of it was proved together with it only."""
    store = opened(filled)
    write(store, "before")
    with closing(sqlite3.connect(filled / "chats.db")) as reader:
        reader.execute("begin")
        reader.execute("select count(*) from messages").fetchone()
        write(store, "after")
        store.database.settle(at_once=True)
    mark = marks._read(filled / "chats.db")
    assert mark is not None
    assert mark.page > 0
    assert not mark.name

    empty = filled.parent / "no log"
    assert not marks.fits(filled / "chats.db", empty, "a generation")
    assert marks.fits(filled / "chats.db", filled / "chats.db-wal", "a generation")
    other = filled.parent / "another log"
    other.write_bytes((filled / "chats.db-wal").read_bytes()[: 32 + 24])
    assert not marks.fits(filled / "chats.db", other, "a generation")
    store.close()


def test_a_log_of_another_copy_of_the_file_is_not_taken_unread(
    filled: Path, readings: list[Path]
) -> None:
    """It names the generation that the file has, and was begun on another state of it."""
    copy = copied(filled, "elsewhere", "chats.db")
    with closing(opened(copy)) as elsewhere:
        write(elsewhere, "written elsewhere")
        readings.clear()
        shutil.copy(copy / "chats.db-wal", filled / "chats.db-wal")

        assert texts(filled) == [*ROWS, "written elsewhere"]
    assert readings == [filled / "chats.db"]


def test_a_damaged_store_is_refused_although_it_is_marked(filled: Path) -> None:
    file = filled / "chats.db"
    damaged = bytearray(file.read_bytes())
    for page in range(8, len(damaged) // 4096):
        damaged[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    times = file.stat()
    file.write_bytes(damaged)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    with pytest.raises(StoreUnavailable, match=r"chats\.db is damaged .*: put a backup"):
        texts(filled)
    assert file.read_bytes() == damaged
