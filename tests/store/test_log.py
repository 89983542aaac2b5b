"""The file and its write-ahead log: copied at any moment, put back wrongly, damaged, cleaned."""

import os
import random
import resource
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from store_parts import CHAT, LIMITS, NOW, OTHER, RENDERER, answer, history, write

from storage import Store
from store.database import StoreUnavailable
from store.log import Generation, _generation_alone, log_bytes, move_log, prove
from store.schema import MIGRATIONS, statements

SECRET = "a text that must not stay"
NAMES = ("chats.db", "chats.db-wal")


@pytest.fixture
def folder(store: Store, tmp_path: Path) -> Path:
    return tmp_path / "chats"


def copied(folder: Path, name: str, *names: str) -> Path:
    """A copy of some files as they are now, as after a crash or by `cp` while the store is used."""
    target = folder.parent / name / "chats"
    target.mkdir(parents=True, exist_ok=True)
    for file in names or NAMES:
        shutil.copy(folder / file, target / file)
    return target


def opened(folder: Path) -> Store:
    return Store("sqlite:///chats/chats.db", folder.parent, RENDERER)


def texts(folder: Path) -> list[str]:
    with closing(opened(folder)) as store:
        return history(store)


def is_store(folder: Path) -> bool:
    """Whether it has messages; a file into which a log is moved in part is refused."""
    try:
        return bool(texts(folder))
    except StoreUnavailable:
        return False


def settle(store: Store) -> None:
    """What happens within two seconds without a write."""
    store.database.settle()
    store.database.settle()


# -- copies


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


def test_copies_under_writes_are_whole_or_refused(store: Store, folder: Path) -> None:
    stop = threading.Event()
    unlimited = replace(LIMITS, visitor_per_minute=10**9, address_per_minute=10**9)

    def write_on() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            write(store, f"{number} " + "x" * random.randint(0, 9_000), limits=unlimited)
            if number % 20 == 0:
                store.database.settle(at_once=True)

    writer = threading.Thread(target=write_on)
    writer.start()
    outcomes = []
    for number in range(15):
        names = random.sample(NAMES, 2)
        try:
            found = texts(copied(folder, f"copy {number}", *names))
        except StoreUnavailable as error:
            outcomes.append(str(error))
        else:
            numbers = [int(text.partition(" ")[0]) for text in found]
            assert numbers == list(range(1, len(numbers) + 1))
            outcomes.append("whole")
    stop.set()
    writer.join()

    assert "whole" in outcomes
    for outcome in outcomes:
        assert outcome == "whole" or "chats.db" in outcome


def pages_of(file: Path) -> list[bytes]:
    content = file.read_bytes()
    return [content[start : start + 4096] for start in range(0, len(content), 4096)]


@pytest.mark.parametrize("how", ["first pages old", "last pages old", "one page old"])
def test_a_file_copied_while_the_log_was_moved_is_whole_or_refused(
    store: Store, folder: Path, how: str
) -> None:
    """Some pages as they were before, the rest as they were after; with a log or without one."""
    for number in range(1, 20):
        write(store, f"{number} " + "x" * 1_500)
    settle(store)
    before = pages_of(copied(folder, "before", "chats.db") / "chats.db")
    for number in range(20, 40):
        write(store, f"{number} " + "x" * 1_500)
    settle(store)
    after = pages_of(copied(folder, "after", "chats.db") / "chats.db")
    write(store, "40 x")

    outcomes = Counter[int]()
    for page in range(len(before)):
        torn = {
            "first pages old": before[:page] + after[page:],
            "last pages old": after[:page] + before[page:],
            "one page old": [*after[:page], before[page], *after[page + 1 :]],
        }[how]
        for with_log in (True, False):
            file = "chats.db-wal" if with_log else "chats.db"
            target = copied(folder, f"torn {page} {with_log}", file)
            (target / "chats.db").write_bytes(b"".join(torn))
            try:
                numbers = [int(text.partition(" ")[0]) for text in texts(target)]
            except StoreUnavailable:
                outcomes[0] += 1
                continue
            assert numbers in (list(range(1, last + 1)) for last in (19, 39, 40)), page
            outcomes[len(numbers)] += 1
    assert outcomes[0] > 10, outcomes


@pytest.mark.parametrize("with_log", [True, False])
@pytest.mark.parametrize(
    "loss",
    [
        "delete from messages where text like '5 %'",
        "delete from deliveries where id = 5",
        "update messages set revision = 7 where text like '5 %'",
    ],
)
def test_a_copy_that_lacks_one_change_and_is_no_worse_is_refused(
    store: Store, folder: Path, loss: str, with_log: bool
) -> None:
    """All pages of one change are of an earlier time; SQLite finds nothing wrong in such a file."""
    for number in range(1, 40):
        write(store, f"{number} " + "x" * 1_500)
    settle(store)
    torn = copied(folder, "torn", "chats.db")
    write(store, "40 x")
    with closing(sqlite3.connect(torn / "chats.db")) as db:
        sums = db.execute("select value, key from meta where key like 'sum.%'").fetchall()
        assert db.execute(loss).rowcount == 1
        db.executemany("update meta set value = ? where key = ?", sums)
        db.commit()
        db.execute("pragma wal_checkpoint(truncate)")
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    if with_log:
        shutil.copy(folder / "chats.db-wal", torn / "chats.db-wal")

    with pytest.raises(StoreUnavailable, match=r"of different times|messages are missing"):
        texts(torn)


def test_a_backup_is_whole_private_and_knows_that_it_is_a_copy(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    write(store, "hello")
    backup = tmp_path / "backup.db"

    store.database.back_up(backup)
    write(store, "later")

    assert backup.stat().st_mode & 0o777 == 0o600
    target = tmp_path / "restored" / "chats"
    target.mkdir(parents=True)
    shutil.copy(backup, target / "chats.db")
    with closing(opened(target)) as copy:
        assert history(copy) == ["hello"]
        assert copy.epochs.current() == ""
    assert store.epochs.current() != ""


def test_a_backup_replaces_no_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "backup.db").write_text("another")

    with pytest.raises(StoreUnavailable):
        store.database.back_up(tmp_path / "backup.db")

    assert (tmp_path / "backup.db").read_text() == "another"


def test_while_a_backup_is_made_the_log_is_not_moved(store: Store, folder: Path) -> None:
    write(store, "hello")
    with store.database.lock("move", 1):
        store.database.settle(at_once=True)
        assert (folder / "chats.db-wal").stat().st_size > 0

    store.database.settle()

    assert (folder / "chats.db-wal").stat().st_size == 0


# -- put back wrongly


@pytest.fixture
def mixtures(store: Store, folder: Path) -> dict[str, Path]:
    """A file and a log of two different times, put together."""
    write(store, "first")
    settle(store)
    early = copied(folder, "early")
    write(store, "second")
    early_with_log = copied(folder, "early with log")
    write(store, "on the same log")
    settle(store)
    write(store, "third")
    late = copied(folder, "late")

    def mixed(name: str, file: Path, log: Path) -> Path:
        target = folder.parent / name / "chats"
        target.mkdir(parents=True)
        shutil.copy(file / "chats.db", target / "chats.db")
        shutil.copy(log / "chats.db-wal", target / "chats.db-wal")
        return target

    return {
        "an old file beside a new log": mixed("a", early, late),
        "a new file beside an old log": mixed("b", late, early_with_log),
        "an empty file beside a log": mixed("c", empty(folder), late),
    }


def empty(folder: Path) -> Path:
    target = folder.parent / "empty"
    target.mkdir()
    (target / "chats.db").touch()
    return target


@pytest.mark.parametrize(
    "name",
    [
        "an old file beside a new log",
        "a new file beside an old log",
        "an empty file beside a log",
    ],
)
def test_a_mixture_is_refused_with_a_sentence_and_stays_as_it_was(
    mixtures: dict[str, Path], name: str
) -> None:
    folder = mixtures[name]
    before = [(folder / file).read_bytes() for file in NAMES]

    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=r"chats\.db and chats\.db-wal are of different"):
            texts(folder)

    assert [(folder / file).read_bytes() for file in NAMES] == before


@pytest.mark.parametrize("quiet", [True, False])
def test_a_backup_beside_a_log_that_was_left_there_is_refused(
    store: Store, folder: Path, tmp_path: Path, quiet: bool
) -> None:
    for number in range(60):
        write(store, f"{number} " + "x" * 900)
    store.database.back_up(tmp_path / "backup.db")
    settle(store)
    write(store, "later")
    if not quiet:
        for number in range(60):
            write(store, f"{number} " + "y" * 900)
    target = tmp_path / "restored" / "chats"
    target.mkdir(parents=True)
    shutil.copy(tmp_path / "backup.db", target / "chats.db")
    shutil.copy(folder / "chats.db-wal", target / "chats.db-wal")

    with pytest.raises(StoreUnavailable, match="are of different times"):
        texts(target)


@pytest.mark.parametrize("pages", [1, 2, 5])
def test_a_move_that_stopped_after_some_pages_loses_nothing(
    store: Store, folder: Path, pages: int
) -> None:
    """A crash, or a disk that became full: alone the file is no store, with its log it is whole."""
    write(store, "first")
    settle(store)
    for number in range(40):
        write(store, f"{number} " + "x" * 3_000)
    stopped, whole = copied(folder, "stopped"), copied(folder, "whole")
    with closing(sqlite3.connect(whole / "chats.db")) as db:
        db.execute("pragma wal_checkpoint(truncate)")
    moved = (whole / "chats.db").read_bytes()[: pages * 4096]
    with (stopped / "chats.db").open("r+b") as file:
        file.write(moved)

    assert texts(stopped) == ["first", *(f"{number} " + "x" * 3_000 for number in range(40))]


def test_no_file_is_taken_with_the_log_of_another_time(
    store: Store, second: Store, folder: Path
) -> None:
    """Refused, or all messages up to one, whatever two processes and a reader have done."""
    seed = int(os.environ["SEED"])
    chance = random.Random(seed)
    reader = sqlite3.connect(folder / "chats.db", isolation_level=None)
    written, read_state, copies = 0, 0, []
    for number in range(60):
        step = chance.choice(["write", "write", "write", "settle", "settle", "read", "end"])
        one = chance.choice([store, second])
        if step == "write":
            written += 1
            write(one, f"{written} " + "x" * chance.randint(0, 4_000))
        elif step == "settle":
            if reader.in_transaction and read_state < written:
                reader.execute("commit")  # the move waits for those who read an earlier state
            one.database.settle(at_once=True)
        elif step == "read" and not reader.in_transaction:
            reader.execute("begin")
            reader.execute("select count(*) from messages").fetchone()
            read_state = written
        elif step == "end" and reader.in_transaction:
            reader.execute("commit")
        copies.append(copied(folder, f"moment {number}"))
    reader.close()

    outcomes = Counter[str]()
    for number in range(200):
        file, log = chance.sample(copies, 2)
        target = folder.parent / f"mixed {number}" / "chats"
        target.mkdir(parents=True)
        shutil.copy(file / "chats.db", target / "chats.db")
        shutil.copy(log / "chats.db-wal", target / "chats.db-wal")
        try:
            found = texts(target)
        except StoreUnavailable as error:
            outcomes[str(error)[:40]] += 1
            continue
        numbers = [int(text.partition(" ")[0]) for text in found]
        assert numbers == list(range(1, len(numbers) + 1)), f"seed {seed}"
        with closing(sqlite3.connect(target / "chats.db")) as db:
            assert db.execute("pragma integrity_check").fetchone() == ("ok",), f"seed {seed}"
        outcomes["whole"] += 1
    assert all(" are of differe" in one for one in outcomes if one != "whole"), outcomes
    assert len(outcomes) == 2, outcomes


def test_a_mixture_is_mended_by_taking_the_log_away(mixtures: dict[str, Path]) -> None:
    folder = mixtures["an old file beside a new log"]
    with closing(opened(folder)) as store:
        with pytest.raises(StoreUnavailable):
            history(store)

        for name in ("chats.db-wal", "chats.db-shm"):
            (folder / name).unlink(missing_ok=True)

        assert history(store) == ["first"]


def test_a_damaged_file_is_refused_and_stays_as_it_was(store: Store, folder: Path) -> None:
    for _ in range(20):
        write(store, "hello" * 400)
    store.close()
    file = folder / "chats.db"
    damaged = bytearray(file.read_bytes())
    for page in range(8, len(damaged) // 4096):
        damaged[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    file.write_bytes(damaged)

    with pytest.raises(StoreUnavailable, match=r"chats\.db is damaged .*: put a backup"):
        texts(folder)

    assert file.read_bytes() == damaged


def test_a_file_of_an_earlier_release_that_crashed_is_taken_with_its_log(tmp_path: Path) -> None:
    folder = tmp_path / "chats"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "chats.db", isolation_level=None)) as db:
        db.execute("pragma journal_mode = wal")
        for script in MIGRATIONS[:8]:
            for statement in statements(script):
                db.execute(statement)
        db.execute("pragma user_version = 8")
        db.execute("insert into meta values ('secret_key', 'a key')")
        copy = copied(folder, "crash")
    with closing(opened(copy)) as store:
        assert store.portal.secret_key() == "a key"


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


def test_a_log_that_is_moved_and_begun_anew_while_a_file_is_proved_is_taken(
    store: Store, second: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_another_log(path: Path) -> Generation | None:
        found = _generation_alone(path)
        second.close()  # moves the log, if nobody reads it
        write(second, "2")
        return found

    write(second, "1")
    store.close()
    monkeypatch.setattr("store.log._generation_alone", then_another_log)

    prove(folder / "chats.db")
    monkeypatch.undo()

    assert history(store) == ["1", "2"]


def test_a_file_that_becomes_a_store_while_it_is_proved_is_taken(
    second: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_a_store(path: Path) -> int:
        monkeypatch.undo()
        write(second, "1")
        return log_bytes(path)

    path = tmp_path / "chats/chats.db"
    path.parent.mkdir()
    path.touch()
    monkeypatch.setattr("store.log.log_bytes", then_a_store)

    prove(path)


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
