"""The file: how it is opened, who may read it, writers beside readers, a file that breaks.

Locks and what needs several processes stand in test_sqlite_processes.py.
"""

import errno
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from stage import path_of
from store_parts import (
    OTHER,
    RENDERER,
    URL,
    every_use,
    found,
    history,
    sql,
    write,
)

from storage import Store
from store.database import StoreUnavailable
from store.datagrams import Datagrams


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- opening


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("mysql://root:secret@host/db", '"mysql:..."'),
        ("secret@host:5432/db", "sqlite:///path"),
        ("password=secret@ host=db", "sqlite:///path"),
        ("sqlite:///", '"sqlite:..."'),
    ],
)
def test_a_wrong_address_is_refused_and_its_password_not_told(
    tmp_path: Path, url: str, named: str
) -> None:
    with pytest.raises(ValueError, match=r"storage\.url") as raised:
        Store(url, tmp_path, 1)

    assert named in str(raised.value)
    assert "secret" not in str(raised.value)


def test_opening_needs_no_folder_and_keeps_what_is_there(tmp_path: Path) -> None:
    for text in ("1", "2"):
        with closing(Store("sqlite:///a/b/chats.db", tmp_path, RENDERER)) as store:
            store.open()
            write(store, text)

    assert (tmp_path / "a/b/chats.db").exists()
    with closing(Store("sqlite:///a/b/chats.db", tmp_path, RENDERER)) as store:
        assert history(store) == ["1", "2"]


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    together, rounds = 4, 100  # a race: each round is another chance to lose it
    start = threading.Barrier(together)

    def open_new(folder: int) -> None:
        with closing(Store(f"sqlite:///{folder}/chats.db", tmp_path, RENDERER)) as store:
            start.wait(5)
            store.open()

    with ThreadPoolExecutor(together) as pool:
        for folder in range(rounds):
            opened = [pool.submit(open_new, folder) for _ in range(together)]
            for opening in opened:
                opening.result(20)


def test_a_store_can_be_closed_twice_and_used_again(store: Store) -> None:
    write(store, "1")
    store.close()
    store.close()

    write(store, "2")

    assert history(store) == ["1", "2"]


def test_only_the_owner_may_read_the_folder_and_the_files(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(Store(URL, tmp_path, RENDERER)) as store:
            write(store)
            with store.database.try_lock("sender"):
                files = sorted(path.name for path in path_of(store).parent.iterdir())
                modes = {mode(path) for path in path_of(store).parent.iterdir()}
    finally:
        os.umask(before)

    assert files == ["chats.db", "chats.db-shm", "chats.db-wal", "sender.lock"]
    assert modes == {0o600}
    assert mode(tmp_path / "chats") == 0o700


def test_what_has_returned_is_on_the_disk(store: Store) -> None:
    """WAL with synchronous=FULL (2) and foreign keys, on the connection that writes."""
    assert store.database.rows("pragma journal_mode")[0]["journal_mode"] == "wal"
    assert store.database.rows("pragma synchronous")[0]["synchronous"] == 2
    assert store.database.rows("pragma foreign_keys")[0]["foreign_keys"] == 1


# -- writers and readers


def test_writers_wait_for_each_other_and_readers_for_nobody(store: Store, second: Store) -> None:
    write(store, "one")
    assert found(second).name == "Anna"
    with ThreadPoolExecutor(1) as pool:
        with store.database.write() as db:
            db.execute("update chats set name = 'changed'")
            waiting = pool.submit(write, second, "two", OTHER)
            time.sleep(0.1)
            assert not waiting.done()
            assert found(second).name == "Anna", "not before it is committed"
        waiting.result(10)

    assert found(second).name == "changed"
    assert history(store, OTHER) == ["two"]


def test_a_new_connection_reads_while_another_process_writes(store: Store, tmp_path: Path) -> None:
    write(store, "there")
    with closing(sqlite3.connect(path_of(store), isolation_level=None)) as other:
        other.execute("begin immediate")
        with closing(Store(URL, tmp_path, RENDERER)) as late:
            assert history(late) == ["there"]
        other.execute("rollback")


@pytest.mark.parametrize("who", ["another process", "another thread"])
def test_a_writer_that_waits_gives_up_after_some_seconds(
    store: Store, second: Store, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    monkeypatch.setattr("store.sqlite.PATIENCE_SECONDS", 0.2)
    waiting = second if who == "another process" else store
    with (
        store.database.write(),
        ThreadPoolExecutor(1) as pool,
        pytest.raises(StoreUnavailable),
    ):
        pool.submit(write, waiting, "one").result(10)

    write(waiting, "two")
    assert history(store) == ["two"]


def test_a_writer_that_waits_pauses_between_two_tries(
    store: Store, second: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would keep a processor busy, and no greenlet of its process could go on."""
    pauses: list[float] = []
    sleep = time.sleep

    def counted(seconds: float) -> None:
        pauses.append(seconds)
        sleep(seconds)

    with ThreadPoolExecutor(1) as pool:
        with store.database.write():
            monkeypatch.setattr(time, "sleep", counted)
            waiting = pool.submit(write, second, "one")
            sleep(0.3)
            assert not waiting.done()
        waiting.result(10)

    assert pauses
    assert 0 < max(pauses) <= 0.1


def test_a_failed_write_leaves_the_connection_usable(store: Store) -> None:
    def fail() -> None:
        with store.database.write() as db:
            db.execute("delete from meta")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    write(store, "one")
    assert history(store) == ["one"]


def test_the_others_hear_of_a_write_after_its_commit_and_not_of_a_failed_one(
    store: Store, second: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[str]] = []
    monkeypatch.setattr(Datagrams, "send", lambda _: told.append(history(second)))
    hints = store.database.hints()

    write(store, "one")
    with pytest.raises(sqlite3.IntegrityError), store.database.write() as db:
        db.execute("insert into files values ('key', 4711)")

    assert told == [["one"]]
    hints.close()
    write(store, "two")
    assert told == [["one"]], "nobody listens any more"


# -- a file that cannot be used


def file_for_folder(root: Path) -> Path:
    (root / "chats").write_text("in the way")
    return root / "chats"


def no_database(root: Path) -> Path:
    path = root / "chats/chats.db"
    path.parent.mkdir()
    path.write_bytes(b"this is no database " * 1000)
    return path


def folder_for_file(root: Path) -> Path:
    (root / "chats/chats.db").mkdir(parents=True)
    return root / "chats/chats.db"


@pytest.mark.parametrize("put", [file_for_folder, no_database, folder_for_file])
def test_a_store_whose_file_cannot_be_opened_is_unavailable_until_it_is_mended(
    tmp_path: Path, put: Callable[[Path], Path]
) -> None:
    path = put(tmp_path)
    before = path.read_bytes() if path.is_file() else b""
    with closing(Store(URL, tmp_path, RENDERER)) as store:
        for use in every_use(store):
            with pytest.raises(StoreUnavailable):
                use()
        if put is file_for_folder:
            with pytest.raises(StoreUnavailable), store.database.try_lock("sender"):
                pass
        if path.is_file():
            assert path.read_bytes() == before, "whatever it is, it stays"
            path.unlink()
        else:
            path.rmdir()

        write(store)
        assert history(store) == ["Hello"]


def test_a_store_whose_file_breaks_is_unavailable_until_it_is_mended(
    store: Store,
) -> None:
    write(store, "before")
    sql(store, "pragma wal_checkpoint(truncate)")
    path_of(store).write_bytes(path_of(store).read_bytes()[:100] + b"\xff" * 100_000)
    files = [path_of(store), *path_of(store).parent.glob("chats.db-*")]

    with pytest.raises(StoreUnavailable):
        write(store, "lost")

    for path in files:
        path.unlink(missing_ok=True)
    write(store, "after")
    assert history(store) == ["after"]


def opened() -> int:
    """How many files this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


def test_a_file_that_was_found_read_only_is_opened_anew_by_readers_and_writers(
    store: Store,
) -> None:
    """SQLite holds on to what one connection found, whatever becomes of the file's rights."""

    def write_read_only() -> None:
        with store.database.write() as db:
            db.execute("pragma query_only = on")
            db.execute("update chats set name = 'lost'")

    store.close()
    before = opened()
    write(store, "before")
    assert history(store) == ["before"]
    assert opened() > before

    with pytest.raises(StoreUnavailable, match="readonly"):
        write_read_only()

    assert opened() == before
    write(store, "after")
    assert history(store) == ["before", "after"]


def test_a_file_that_was_put_in_place_of_the_open_one_is_used_from_then_on(
    store: Store, tmp_path: Path
) -> None:
    """A backup that was restored while we ran; nothing of the file before stays open."""
    write(store, "before")
    assert history(store) == ["before"]
    before = opened()
    for number in range(5):
        with closing(Store(f"sqlite:///{number}/chats.db", tmp_path, RENDERER)) as backup:
            write(backup, f"{number}")
        for ending in ("-wal", "-shm"):
            path_of(store).with_name(f"{path_of(store).name}{ending}").unlink(missing_ok=True)
        (tmp_path / f"{number}" / "chats.db").replace(path_of(store))

        assert history(store) == [f"{number}"]
        write(store, "after")
        assert history(store) == [f"{number}", "after"]

    assert opened() <= before + 1


def test_a_hint_that_cannot_be_sent_fails_no_write(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptor is left, say: what was committed is committed."""

    def no_descriptor_left(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with closing(store.database.hints()):
        monkeypatch.setattr(Path, "glob", no_descriptor_left)

        write(store, "hello")

    monkeypatch.undo()
    assert history(store) == ["hello"]
