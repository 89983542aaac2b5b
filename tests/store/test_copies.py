"""A store's file copied at any moment, put back wrongly, damaged: it is whole, or refused."""

import os
import random
import shutil
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from copy_parts import NAMES, copied, opened, texts
from store_parts import LIMITS, history, settle, write

from storage import Store
from store.database import StoreUnavailable
from store.log import Generation, _generation_alone, log_bytes, prove
from store.schema import MIGRATIONS, statements


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
