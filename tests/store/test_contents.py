"""Visitors' files: in a folder and in the database the same is kept, found, removed and swept."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from store_parts import CHAT, LIMITS, NOW, OTHER, sql, visitor, write

from files import Files
from operations.archive import Stopped
from operations.moving import move_files
from operations.retention import purge
from storage import Store
from store.contents import PIECE_BYTES, REMOVED_TOGETHER
from store.database import DiskFull, StoreUnavailable
from store.file_folder import ARRIVING
from store.records import File, Message, VisitorMessage

DAY = 86_400.0
KEY = "0123456789abcdef" * 3
LARGE = os.urandom(PIECE_BYTES * (REMOVED_TOGETHER + 1) + 5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture(params=[False, True], ids=["in_folder", "in_database"])
def in_database(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def files(store: Store, folder: Path, in_database: bool) -> Files:
    return Files(folder, store.contents, in_database)


@pytest.fixture
def elsewhere(store: Store, folder: Path, in_database: bool) -> Files:
    """The same files, after the setting was changed."""
    return Files(folder, store.contents, not in_database)


def keep(files: Files, content: bytes = LARGE, chat: str = CHAT) -> str:
    arrival = files.arriving(len(content))
    try:
        arrival.write(content)
        return files.keep(arrival, chat)
    finally:
        files.discard(arrival)


def send(store: Store, key: str, chat: str = CHAT, now: float = NOW) -> Message:
    """A message with the file."""
    file = File("a.png", "image", f"https://chat.example/{key}", len(LARGE), key, "image/png")
    message = VisitorMessage(visitor(chat), "see", file=file)
    return store.messages.add_from_visitor(message, LIMITS, now)


def content(files: Files, key: str, chat: str = CHAT) -> bytes | None:
    found = files.open(chat, key)
    if found is None:
        return None
    with found.file as file:
        read = file.read()
    assert len(read) == found.size
    return read


def left(store: Store, folder: Path) -> int:
    """How many files and pieces there are, wherever."""
    rows = sql(store, "select (select count(*) from pieces) + (select count(*) from kept_files)")
    return int(rows[0][0]) + sum(path.is_file() for path in folder.rglob("*"))


def grow_old(store: Store, folder: Path) -> None:
    sql(store, "update kept_files set begun_at = begun_at - 200000")
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 2 * DAY,) * 2)


@pytest.mark.parametrize("size", [1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, len(LARGE)])
def test_what_was_kept_is_read_again(
    files: Files, store: Store, second: Store, folder: Path, in_database: bool, size: int
) -> None:
    key = keep(files, LARGE[:size])

    for host in (files, Files(folder, second.contents, in_database)):
        assert content(host, key) == LARGE[:size]
        assert content(host, key, OTHER) is None
        assert content(host, KEY) is None
    found = files.open(CHAT, key)
    assert found is not None
    assert abs(found.kept_at - time.time()) < 60
    with found.file as file:
        for start in (size // 2, 0, max(0, size - 3)):
            file.seek(start)
            assert file.read(7) == LARGE[:size][start : start + 7]
        assert file.seek(0, os.SEEK_END) == size
    assert os.listdir(folder / ARRIVING) == []


def test_a_file_is_there_as_a_whole_or_not_at_all(
    files: Files, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    class Reads(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            seen.append(files.open(CHAT, KEY))
            if len(seen) == 4:
                raise OSError("the disk is broken")
            return super().read(size)

    with pytest.raises(OSError, match="broken"):
        store.contents.keep(Reads(LARGE), CHAT, KEY)

    assert seen == [None] * 4
    assert left(store, folder) == 0


def test_a_file_that_is_deleted_ends_for_whoever_reads_it(
    files: Files, store: Store, folder: Path, in_database: bool
) -> None:
    found = files.open(CHAT, keep(files))
    assert found is not None
    assert found.file.read(10) == LARGE[:10]

    files.remove_chat(CHAT)

    assert left(store, folder) == 0
    with found.file as file:
        if in_database:
            with pytest.raises(ConnectionResetError):
                file.read()
        else:
            assert found.is_gone()


def test_files_go_one_by_one_and_with_their_chat(
    files: Files, elsewhere: Files, store: Store, folder: Path
) -> None:
    keys = [keep(files), keep(elsewhere), keep(files)]
    other = keep(files, chat=OTHER)

    files.remove(CHAT, keys[0])
    files.remove(CHAT, keys[0])
    assert [content(files, key) is None for key in keys] == [True, False, False]
    files.remove_chat(CHAT)
    files.remove_chat("never-there")

    assert [content(files, key) for key in keys] == [None] * 3
    assert content(files, other, OTHER) == LARGE
    files.remove_chat(OTHER)
    assert left(store, folder) == 0


def test_a_deleted_chat_takes_its_files_along(files: Files, store: Store, folder: Path) -> None:
    send(store, keep(files))

    store.chats.delete(CHAT, NOW, files.remove_chat)

    assert left(store, folder) == 0


def test_what_is_too_old_goes_with_its_files(files: Files, store: Store, folder: Path) -> None:
    for now in (NOW - 10 * DAY, NOW):
        message = send(store, keep(files, chat=OTHER), OTHER, now)
    sql(store, "delete from deliveries")

    removed = purge(store, files, NOW - DAY)

    assert (removed.messages, removed.files) == (1, 1)
    assert content(files, message.files[0].key, OTHER) == LARGE
    files.remove_chat(OTHER)
    assert left(store, folder) == 0


def test_what_uploads_left_is_swept_and_nothing_else(
    files: Files, store: Store, folder: Path, in_database: bool
) -> None:
    write(store)
    broken_off = files.arriving()
    broken_off.write(b"a part")
    broken_off.close()
    if in_database:  # a host died while it wrote
        sql(store, f"insert into kept_files (key, chat_id, begun_at) select 'a', '{CHAT}', 0")
        sql(store, "insert into pieces select 'a', 0, ''")
    keep(files)
    grow_old(store, folder)
    send(store, old := keep(files))
    grow_old(store, folder)
    keys = {old, keep(files), keep(files)}
    under_way = files.arriving()

    swept = files.sweep(store.chats.file_keys, DAY)

    assert swept == (3 if in_database else 2)
    assert {key for key in keys if content(files, key) == LARGE} == keys
    assert Path(under_way.name).exists()
    files.discard(under_way)


def test_clocks_that_are_apart_sweep_nothing_early(
    files: Files, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host whose clock is days ahead, beside one that has just received a file."""
    write(store)
    under_way, key = files.arriving(), keep(files)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10 * DAY)

    assert files.sweep(store.chats.file_keys, DAY) == 0

    assert Path(under_way.name).exists()
    assert content(files, key) == LARGE
    files.discard(under_way)


def test_after_a_change_of_the_setting_all_files_are_found_and_can_be_moved(
    files: Files, elsewhere: Files, store: Store, folder: Path, in_database: bool
) -> None:
    keys = [keep(elsewhere), keep(files), keep(elsewhere)]
    for key in keys:
        send(store, key)
    assert [content(files, key) for key in keys] == [LARGE] * 3
    send(store, KEY, OTHER)

    assert move_files(store, files) == (2, 1)
    assert move_files(store, files) == (0, 1)

    assert [content(files, key) for key in keys] == [LARGE] * 3
    in_folder = sum(path.is_file() for path in folder.rglob("*"))
    assert in_folder == (0 if in_database else 3)
    assert (len(sql(store, "select * from kept_files")) == 3) is in_database


def test_a_move_that_was_broken_off_is_finished(
    files: Files, elsewhere: Files, store: Store, folder: Path, in_database: bool
) -> None:
    send(store, twice := keep(elsewhere))
    arrival = files.arriving()
    arrival.write(LARGE)
    files.keep(arrival, CHAT, twice)
    files.discard(arrival)
    send(store, begun := keep(elsewhere))
    if in_database:
        sql(
            store,
            f"insert into kept_files (key, chat_id, begun_at) values ('{begun}', '{CHAT}', 0)",
        )

    assert move_files(store, files) == (1, 0)

    assert (content(files, twice), content(files, begun)) == (LARGE, LARGE)
    assert sum(path.is_file() for path in folder.rglob("*")) == (0 if in_database else 2)


@pytest.mark.parametrize("in_database", [False])
def test_a_folder_that_is_gone_is_not_begun_anew(
    files: Files, store: Store, folder: Path, in_database: bool
) -> None:
    """Its disk is not mounted: what came into a new one would be hidden later."""
    files.discard(files.arriving())
    send(store, keep(files))
    away = folder.rename(folder.with_name("away"))

    with pytest.raises(StoreUnavailable, match="gone"):
        files.arriving()
    assert not folder.exists()

    away.rename(folder)
    files.discard(files.arriving())


def test_a_chats_folder_that_another_host_removes_while_it_is_empty_is_made_again(
    files: Files, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, times = Path.mkdir, [0]

    def mkdir(path: Path, *given: object, **named: object) -> None:
        made(path, *given, **named)  # type: ignore[arg-type]
        times[0] += path.parent == folder
        if path.parent == folder and times[0] in (1, 3):
            path.rmdir()

    monkeypatch.setattr(Path, "mkdir", mkdir)

    assert content(files, keep(files)) == LARGE


@pytest.mark.sqlite
@pytest.mark.parametrize("in_database", [False])
def test_a_file_that_somebody_reads_on_another_host_keeps_no_chat(
    files: Files, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, in_database: bool
) -> None:
    """NFS keeps it under another name until it is closed, and does not let go of the folder."""
    write(store)
    key = keep(files)
    opened = folder / CHAT / ".nfs000000000000a1b200000001"

    def remove(path: str) -> None:
        (Path(path) / key).rename(opened)
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(shutil, "rmtree", remove)

    files.remove_chat(CHAT)

    grow_old(store, folder)
    assert files.sweep(store.chats.file_keys, DAY) == 0
    assert opened.exists()


@pytest.mark.sqlite
@pytest.mark.parametrize("in_database", [True])
def test_files_in_the_stores_own_file_leave_the_disks_reserve(
    files: Files, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, in_database: bool
) -> None:
    arrival = files.arriving()
    arrival.write(LARGE)
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Usage(free=0))

    with pytest.raises(DiskFull):
        files.keep(arrival, CHAT)

    files.discard(arrival)
    assert left(store, folder) == 0


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def test_other_writers_go_on_while_a_file_is_kept(
    files: Files, store: Store, second: Store, in_database: bool
) -> None:
    """No transaction is open between two pieces, however slowly they are read."""

    class Slow(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert 0 < size <= PIECE_BYTES, "all of it would be in memory"
            write(second)
            return super().read(size)

    with closing(Slow(LARGE)) as slow:
        store.contents.keep(slow, CHAT, KEY)

    assert content(files, KEY) == LARGE


class Broken(BytesIO):
    """A file that cannot be read to its end; something happens before."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__(LARGE)
        self._meanwhile = meanwhile

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            self._meanwhile()
            raise OSError("the disk is broken")
        return super().read(size)


@pytest.mark.parametrize("in_database", [True])
def test_of_two_that_keep_one_file_none_removes_what_the_other_one_has_kept(
    files: Files, store: Store, second: Store, in_database: bool
) -> None:
    def overtake() -> None:
        second.contents.keep(BytesIO(LARGE), CHAT, KEY)

    class Slow(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() == PIECE_BYTES:
                overtake()
            return super().read(size)

    for slow in (Broken(overtake), Slow(LARGE)):
        files.remove(CHAT, KEY)
        with pytest.raises((StoreUnavailable, OSError)) as caught:
            store.contents.keep(slow, CHAT, KEY)
        assert KEY not in str(caught.value)
        assert content(files, KEY) == LARGE

    with pytest.raises(StoreUnavailable, match="another file"):
        store.contents.keep(BytesIO(b"late"), CHAT, KEY)
    assert content(files, KEY) == LARGE


def test_what_a_visitor_deletes_while_files_are_moved_ends_no_move(
    files: Files, elsewhere: Files, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(store, keep(elsewhere))
    copy = shutil.copyfileobj

    def interrupted(source: Any, target: Any, length: int) -> None:
        target.write(source.read(PIECE_BYTES + 1))
        store.chats.delete(CHAT, NOW)
        files.remove_chat(CHAT)
        copy(source, target, length)

    monkeypatch.setattr(shutil, "copyfileobj", interrupted)

    _, lost = move_files(store, files)

    assert lost == 0
    assert left(store, folder) == 0


def test_a_file_that_cannot_be_read_to_its_end_is_not_taken_for_a_deleted_one(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(store, key := keep(Files(folder, store.contents, in_database=True)))

    def away(*_: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(store.contents, "_piece", away)

    with pytest.raises(StoreUnavailable):
        move_files(store, Files(folder, store.contents))
    monkeypatch.undo()
    assert content(Files(folder, store.contents), key) == LARGE


def test_one_process_at_a_time_moves_files(files: Files, store: Store, second: Store) -> None:
    with second.database.try_lock("move-files"), pytest.raises(Stopped) as caught:
        move_files(store, files)

    assert caught.value.why.key == "commands.move_files_runs"
    assert move_files(store, files) == (0, 0)
