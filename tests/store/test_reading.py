"""A store opened to be read only: nothing in its folder changes, whatever state it is in."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from store_parts import NOW, RENDERER, URL, every_use, history, sql, write

from storage import Store
from store.database import OnlyReading, StoreMissing, StoreNewer, StoreOlder, StoreUnavailable


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(URL, tmp_path, RENDERER, read_only=True)) as reader:
        yield reader


def everything(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Each file below the folder with its inode, time and content, and each folder.

    Without the content of an index that this very process has open: its threads share that one.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.stat()
        shared = path.name.endswith("-shm") and path.parent.parent.name != "killed"
        read = path.is_file() and not shared
        content = hashlib.sha256(path.read_bytes()).hexdigest() if read else ""
        found[str(path.relative_to(folder))] = (state.st_ino, state.st_mtime_ns, content)
    return found


def use(store: Store) -> None:
    """Everything that a store can do, whether it may or not."""
    for call in every_use(store):
        with suppress(StoreUnavailable):
            call()
    for name in ("sender", "another"):
        with store.database.try_lock(name):
            pass


def leave_running(store: Store, tmp_path: Path) -> Path:
    write(store)
    return tmp_path


def leave_settled(store: Store, tmp_path: Path) -> Path:
    write(store)
    store.database.settle()
    store.database.settle()
    return tmp_path


def leave_closed(store: Store, tmp_path: Path) -> Path:
    write(store)
    store.close()
    return tmp_path


def leave_killed(store: Store, tmp_path: Path) -> Path:
    """All files as they lie there when no process has them open any more."""
    write(store)
    (tmp_path / "killed").mkdir()
    shutil.copytree(tmp_path / "chats", tmp_path / "killed" / "chats")
    return tmp_path / "killed"


def leave_without_index(store: Store, tmp_path: Path) -> Path:
    killed = leave_killed(store, tmp_path)
    (killed / "chats" / "chats.db-shm").unlink()
    return killed


@pytest.mark.parametrize(
    "leave", [leave_running, leave_settled, leave_closed, leave_killed, leave_without_index]
)
def test_all_is_read_and_nothing_is_written(
    store: Store, tmp_path: Path, leave: Callable[[Store, Path], Path]
) -> None:
    folder = leave(store, tmp_path)
    before = everything(folder)

    with closing(Store(URL, folder, RENDERER, read_only=True)) as reader:
        texts = history(reader)
        use(reader)

    assert texts == ["Hello"]
    assert everything(folder) == before


def test_a_reader_sees_at_once_what_is_written(store: Store, reader: Store) -> None:
    for number in range(3):
        write(store, str(number))

        assert history(reader)[-1] == str(number)
    store.close()
    assert len(history(reader)) == 3
    write(store, "again")
    assert history(reader)[-1] == "again"


def test_where_there_is_no_store_none_is_made(reader: Store, tmp_path: Path) -> None:
    use(reader)

    with pytest.raises(StoreMissing):
        reader.open()
    assert everything(tmp_path) == {}


def test_an_empty_file_is_no_store_and_stays_empty(reader: Store, tmp_path: Path) -> None:
    (tmp_path / "chats").mkdir()
    (tmp_path / "chats" / "chats.db").touch()
    before = everything(tmp_path)

    with pytest.raises(StoreMissing):
        reader.open()

    assert everything(tmp_path) == before


@pytest.mark.parametrize(("change", "error"), [(-1, StoreOlder), (1, StoreNewer)])
def test_a_store_of_another_release_is_left_as_it_is(
    store: Store, reader: Store, tmp_path: Path, change: int, error: type[StoreUnavailable]
) -> None:
    (version,) = sql(store, "pragma user_version")[0]
    sql(store, f"pragma user_version = {version + change}")
    store.close()
    before = everything(tmp_path)

    with pytest.raises(error, match="release"):
        reader.open()

    assert everything(tmp_path) == before


def test_what_is_no_database_is_said(reader: Store, tmp_path: Path) -> None:
    (tmp_path / "chats").mkdir()
    (tmp_path / "chats" / "chats.db").write_bytes(b"no database" * 1000)

    with pytest.raises(StoreUnavailable, match="damaged"):
        reader.open()


def test_whoever_would_write_is_told(store: Store, reader: Store) -> None:
    store.open()

    with pytest.raises(OnlyReading):
        write(reader)
    with pytest.raises(OnlyReading):
        reader.queue.record([], NOW)


def test_a_reader_sees_who_holds_a_lock_and_takes_it_from_nobody(
    store: Store, reader: Store
) -> None:
    store.open()
    with reader.database.try_lock("sender") as seen:
        assert seen is not None  # nobody has ever held it
    with store.database.try_lock("sender") as held:
        assert held is not None
        with reader.database.try_lock("sender") as seen:
            assert seen is None
    with reader.database.try_lock("sender") as seen:
        assert seen is not None
        with store.database.try_lock("sender") as held:
            assert held is not None


def test_the_secret_key_is_read_without_a_write(store: Store, reader: Store) -> None:
    assert store.portal.secret_key() == reader.portal.secret_key()


def test_nothing_is_left_of_a_copy_that_a_reader_needed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, copies = leave_without_index(store, tmp_path), tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))

    with closing(Store(URL, folder, RENDERER, read_only=True)) as reader:
        assert history(reader) == ["Hello"]
        assert os.listdir(copies) != []

    assert os.listdir(copies) == []
