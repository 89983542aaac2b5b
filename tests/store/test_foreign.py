"""What lies in the store's place and is none: another program's file, or an empty one."""

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from stage import path_of
from store_parts import RENDERER, URL, every_use, history, sql, write

from storage import Store
from store.database import StoreGone, StoreMissing, StoreNoFile
from store.log import StoreDamaged, StoreForeign

MAKE = {
    "one table": "create table a (b)",
    "with names of ours": "create table meta (key, value); create table messages (id)",
    "with a version": "create table a (b); pragma user_version = 5",
    "a version alone": "pragma user_version = 78",
    "a view": "create view v as select 1",
}


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Store]:
    """A store that nobody has opened yet."""
    with closing(Store(URL, tmp_path, RENDERER)) as new:
        yield new


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(URL, tmp_path, RENDERER, read_only=True)) as reader:
        yield reader


def make(path: Path, script: str) -> None:
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)


@pytest.mark.parametrize("script", MAKE.values(), ids=MAKE.keys())
def test_the_file_of_another_program_is_refused_and_not_one_byte_is_written(
    new: Store, reader: Store, script: str
) -> None:
    path = path_of(new)
    make(path, script)
    before = path.read_bytes()

    for use in (*every_use(new), reader.open):
        with pytest.raises(StoreForeign, match=r"chats\.db is no store of this program"):
            use()

    assert path.read_bytes() == before
    assert not list(path.parent.glob("chats.db-*"))


def test_it_goes_on_once_the_store_is_put_back(store: Store, tmp_path: Path) -> None:
    """Also where the file was put there while the service runs."""
    write(store, "kept")
    path, away = path_of(store), tmp_path / "away.db"
    store.close()
    path.rename(away)
    make(path, "create table a (b)")
    with pytest.raises(StoreForeign):
        write(store, "lost")

    os.replace(away, path)

    write(store, "after")
    assert history(store) == ["kept", "after"]


def test_an_empty_file_in_the_place_of_a_store_in_use_is_no_new_store(
    store: Store, reader: Store, tmp_path: Path
) -> None:
    write(store, "kept")
    path, away = path_of(store), tmp_path / "away"
    away.mkdir()
    with store.database.try_lock("sender"):
        pass
    for file in path.parent.glob("chats.db*"):
        file.rename(away / file.name)
    path.touch()

    for use in (*every_use(store), reader.open):
        with pytest.raises(StoreGone):
            use()

    assert path.stat().st_size == 0
    for file in away.iterdir():
        file.replace(path.parent / file.name)
    assert history(store) == ["kept"]


@pytest.mark.parametrize(
    ("age", "level", "words"),
    [
        (None, logging.INFO, "a new store was begun"),
        (0.0, logging.INFO, "a new store was begun"),  # by a process that begins as we do
        (3600.0, logging.WARNING, "chats.db was empty"),
    ],
)
def test_a_store_that_begins_empty_is_told_once(
    new: Store,
    second: Store,
    caplog: pytest.LogCaptureFixture,
    age: float | None,
    level: int,
    words: str,
) -> None:
    caplog.set_level(logging.INFO, "store")
    path = path_of(new)
    if age is not None:
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (time.time() - age,) * 2)

    new.open()
    second.open()

    [record] = caplog.records
    assert record.levelno == level
    assert words in record.getMessage()


def test_a_file_with_a_first_page_alone_is_no_store_of_an_earlier_release(
    new: Store, reader: Store
) -> None:
    make(path_of(new), "pragma journal_mode = wal")

    with pytest.raises(StoreMissing):
        reader.open()
    new.open()
    assert sql(new, "select count(*) from messages") == [(0,)]


def test_what_sqlite_says_is_known_without_our_words(reader: Store, tmp_path: Path) -> None:
    path = tmp_path / "chats" / "chats.db"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"no database" * 1000)

    with pytest.raises(StoreDamaged) as raised:
        reader.open()
    assert raised.value.said == "file is not a database"

    path.unlink()
    path.mkdir()
    with pytest.raises(StoreNoFile) as no_file:
        reader.open()
    assert no_file.value.said == ""
