"""A file that somebody else holds, that may only be read, or that is gone while it is used."""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from holder import held
from stage import path_of
from store_parts import RENDERER, URL, every_use, history, write
from test_reading import everything

from storage import Store
from store.database import StoreGone, StoreLocked, StoreReadOnly, StoreUnavailable
from store.log import Patience, log_of


@pytest.fixture
def closed(store: Store) -> Store:
    """A store with a message that no process has open."""
    write(store)
    store.close()
    return store


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(URL, tmp_path, RENDERER, read_only=True)) as reader:
        yield reader


# -- whoever only looks


def test_who_only_looks_sees_that_another_program_holds_the_file_and_changes_nothing(
    closed: Store, reader: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.reading.HELD_SECONDS", 0.2)
    assert reader.write_fault() is None
    with held(path_of(closed)):
        index = path_of(closed).with_name("chats.db-shm")
        before = everything(tmp_path), index.read_bytes()

        found = reader.write_fault()

        assert isinstance(found, StoreLocked)
        assert history(reader) == ["Hello"], "it can be read"
        assert (everything(tmp_path), index.read_bytes()) == before
    assert reader.write_fault() is None


def take_rights(path: Path) -> None:
    path.chmod(0o400)
    if os.geteuid() == 0:  # root may write everything of its own
        os.chown(path, 12_345, -1)


@pytest.mark.parametrize("what", ["the file", "the folder", "the disk"])
def test_who_only_looks_sees_that_the_owner_may_not_write(
    closed: Store, reader: Store, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    path = path_of(closed)
    if what == "the disk":
        monkeypatch.setattr("store.reading.is_read_only", lambda _: True)
    else:
        take_rights(path if what == "the file" else path.parent)
    try:
        assert isinstance(reader.write_fault(), StoreReadOnly)
    finally:
        path.parent.chmod(0o700)


def test_a_write_that_is_refused_as_read_only_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_read_only() -> None:
        with store.database.write() as db:
            db.execute("pragma query_only = on")
            db.execute("update chats set name = 'lost'")

    with pytest.raises(StoreReadOnly):
        write_read_only()


# -- whoever waits


def test_a_brief_wait_ends_soon_and_names_the_lock(store: Store) -> None:
    write(store)
    with held(path_of(store)):
        began = time.monotonic()
        with store.database.briefly(0.2), pytest.raises(StoreLocked):
            write(store, "in vain")
        assert time.monotonic() - began < 2
    write(store, "after")


def test_a_brief_wait_goes_on_while_others_write(tmp_path: Path) -> None:
    """A store in heavy use is not held: monitoring must not call it so."""
    path = tmp_path / "chats.db"
    log_of(path).write_bytes(b"")
    wait = Patience(path).begin(0.05)
    for number in range(1, 4):
        log_of(path).write_bytes(bytes(number))
        time.sleep(0.06)
        assert not wait.is_over()

    time.sleep(0.06)

    assert wait.is_over()


def test_nobody_waits_long_once_the_process_is_about_to_end(store: Store) -> None:
    write(store)
    with held(path_of(store)), ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(write, store, text) for text in ("one", "two")]
        time.sleep(0.1)
        began = time.monotonic()

        store.hurry()

        for one in waiting:
            with pytest.raises(StoreUnavailable):
                one.result(10)
        store.database.settle(at_once=True)
        store.close()
        assert time.monotonic() - began < 2


# -- a file that is gone


def remove_folder(path: Path, away: Path) -> None:
    path.parent.rename(away)


def remove_files(path: Path, away: Path) -> None:
    away.mkdir()
    for file in path.parent.glob("chats.db*"):
        file.rename(away / file.name)


def put_back_folder(path: Path, away: Path) -> None:
    away.rename(path.parent)


def put_back_files(path: Path, away: Path) -> None:
    for file in away.iterdir():
        file.rename(path.parent / file.name)


@pytest.mark.parametrize(
    ("remove", "put_back"), [(remove_folder, put_back_folder), (remove_files, put_back_files)]
)
def test_a_store_that_is_gone_is_not_replaced_by_an_empty_one(
    store: Store,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    remove: Callable[[Path, Path], None],
    put_back: Callable[[Path, Path], None],
) -> None:
    caplog.set_level(logging.ERROR, "store.sqlite")
    write(store, "kept")
    path, away = path_of(store), tmp_path / "away"
    remove(path, away)

    for use in every_use(store):
        with pytest.raises(StoreGone):
            use()
    if remove is remove_folder:
        with pytest.raises(StoreGone), store.database.try_lock("sender"):
            pass
        assert not path.parent.exists(), "it would be in the way of the one that is put back"

    assert not path.exists()
    [record] = caplog.records
    assert "sitechat restore FILE" in record.getMessage()
    put_back(path, away)
    assert history(store) == ["kept"]
    write(store, "after")
    assert history(store) == ["kept", "after"]


def test_who_only_looks_tells_a_store_that_is_gone_from_one_that_never_was(
    closed: Store, reader: Store
) -> None:
    with closed.database.try_lock("sender"):
        pass
    shutil.move(path_of(closed), path_of(closed).with_name("elsewhere"))

    with pytest.raises(StoreGone):
        reader.open()
