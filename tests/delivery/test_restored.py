"""A store that was restored from a backup: nothing is sent twice, lost or mixed up."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from fake_portal import (
    DAY,
    DIALOG,
    NO_REPLY,
    NOW,
    FakePortal,
    answer,
    chat_id,
    install,
    make_worker,
    run,
    run_each,
    said,
    states,
    write,
)

from delivery.worker import Worker
from files import Files
from operations.retention import purge
from settings import ChatSettings, Settings
from storage import Store
from store.records import Message


@pytest.fixture(autouse=True)
def small_ids() -> None:
    """Here our messages have the ids that the product gives them."""


def restored(store: Store, tmp_path: Path, backup: Path) -> Store:
    """Another process on the backup, in the place of the store."""
    store.close()
    for name in ("chats.db", "chats.db-wal", "chats.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(backup, tmp_path / "chats.db")
    return Store("sqlite:///chats.db", tmp_path, 1)


def taken_over(store: Store, bitrix: FakePortal, second: float) -> Worker:
    """A new process, which begins to work in this second."""
    worker = make_worker(store, bitrix)
    worker.begin(NOW + second)
    return worker


def backed_up(store: Store, tmp_path: Path) -> Path:
    store.close()  # moves all that was written into the file
    return Path(shutil.copy(tmp_path / "chats.db", tmp_path / "backup.db"))


def own_messages(store: Store) -> list[Message]:
    messages = store.conversations.latest(chat_id(1), None, 1000)
    return [message for message in messages if message.author == "visitor"]


def test_no_id_at_the_portal_comes_twice(
    store: Store, bitrix: FakePortal, worker: Worker, tmp_path: Path
) -> None:
    run(worker, NOW)
    backup = backed_up(store, tmp_path)
    write(store, "after the backup", now=NOW + 1)
    [lost] = own_messages(store)

    with closing(restored(store, tmp_path, backup)) as later:
        write(later, "after the restore", now=NOW + 2)
        [new] = own_messages(later)

    assert new.id > lost.id


def test_a_lookup_does_not_take_a_message_of_before_the_restore_for_a_new_one(
    store: Store, bitrix: FakePortal, worker: Worker, tmp_path: Path
) -> None:
    write(store, "hello")
    run(worker, NOW)
    backup = backed_up(store, tmp_path)
    write(store, "lost by the restore", now=NOW + 1)
    old = own_messages(store)[-1]

    with closing(restored(store, tmp_path, backup)) as later:
        worker = make_worker(later, bitrix)
        run(worker, NOW + 1)
        write(later, "new", now=NOW + 2)
        bitrix.says["send"] = [NO_REPLY]
        bitrix.histories[DIALOG] = [said(10, str(old.id), from_connector=True)]
        run_each(worker, range(2, 90))

        assert bitrix.sent[-2:] == [["new"], ["new"]]
        assert states(later) == ["delivered"] * 2


def test_what_was_queued_in_the_backup_is_looked_for_before_it_is_sent(
    store: Store, bitrix: FakePortal, worker: Worker, tmp_path: Path
) -> None:
    write(store, "hello")
    run(worker, NOW)
    for text in ("arrived", "not arrived"):
        write(store, text)
    arrived = own_messages(store)[1]
    backup = backed_up(store, tmp_path)
    bitrix.histories[DIALOG] = [said(10, str(arrived.id), from_connector=True)]

    with closing(restored(store, tmp_path, backup)) as later:
        run_each(taken_over(later, bitrix, 600), range(600, 640))

        assert bitrix.sent == [["hello"], ["not arrived"]]
        assert states(later) == ["delivered"] * 3


def test_after_a_short_restart_nothing_is_looked_for(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "hello")
    run(worker, NOW)
    write(store, "queued")
    epoch = store.epochs.current()

    run(taken_over(store, bitrix, 50), NOW + 50)

    assert bitrix.sent == [["hello"], ["queued"]]
    assert store.epochs.current() == epoch


def test_a_store_that_is_replaced_while_we_work_is_noticed(
    store: Store, bitrix: FakePortal, worker: Worker, tmp_path: Path
) -> None:
    write(store, "hello")
    run(worker, NOW)
    write(store, "arrived")
    [_, arrived] = own_messages(store)
    backup = backed_up(store, tmp_path)
    run_each(worker, range(1, 30))
    epoch = store.epochs.current()
    bitrix.histories[DIALOG] = [said(10, str(arrived.id), from_connector=True)]
    before = list(bitrix.sent)

    restored(store, tmp_path, backup).close()
    run_each(worker, range(30, 60))

    assert bitrix.sent == before
    assert states(store) == ["delivered"] * 2
    assert store.epochs.current() != epoch


def test_a_store_that_is_replaced_by_one_without_an_installation_is_said_to_be(
    store: Store,
    bitrix: FakePortal,
    worker: Worker,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(worker, NOW)
    assert store.notes.replaced_at.get() is None
    with closing(Store("sqlite:///empty.db", tmp_path, 1)) as empty:
        empty.open()

    restored(store, tmp_path, tmp_path / "empty.db").close()
    run_each(worker, range(1, 5))

    assert store.notes.replaced_at.get() is not None
    [record] = [one for one in caplog.records if one.levelname == "ERROR"]
    assert "sitechat restore FILE" in record.getMessage()


def test_a_page_is_given_all_changes_since_the_restore(
    store: Store, bitrix: FakePortal, worker: Worker, tmp_path: Path
) -> None:
    write(store, "hello")
    run(worker, NOW)
    backup = backed_up(store, tmp_path)
    write(store, "lost by the restore")
    seen = store.messages.revision()

    with closing(restored(store, tmp_path, backup)) as later:
        write(later, "new")

        changed = later.conversations.changed_after(chat_id(1), seen, 50)
        assert [message.text for message in changed] == ["new"]


def test_answers_that_were_given_and_confirmed_after_the_backup_come_back(
    store: Store, bitrix: FakePortal, worker: Worker, tmp_path: Path
) -> None:
    install(store)
    write(store, "hello")
    run(worker, NOW)
    backup = backed_up(store, tmp_path)
    answer(store, 11)
    run(worker, NOW + 1)
    confirmation = bitrix.made("confirm")[0].items[0]["message"]["id"][0]

    bitrix.histories[DIALOG] = [
        said(10, str(own_messages(store)[0].id), from_connector=True),
        said(11, confirmation, text="hello"),
    ]
    with closing(restored(store, tmp_path, backup)) as later:
        run_each(taken_over(later, bitrix, 5 * DAY), (5 * DAY, 5 * DAY + 5), steps=5)

        texts = [message.text for message in later.conversations.latest(chat_id(1), None, 50)]
        assert texts == ["hello", "hello"]


def test_what_visitors_wrote_after_the_backup_comes_back_under_its_own_id_and_place(
    store: Store, bitrix: FakePortal, worker: Worker, tmp_path: Path
) -> None:
    install(store)
    write(store, "hello")
    run(worker, NOW)
    backup = backed_up(store, tmp_path)
    write(store, "lost", now=NOW + 1)
    write(store, "lost, too", now=NOW + 2)
    ids = [message.id for message in own_messages(store)]

    bitrix.histories[DIALOG] = [
        said(10 + number, str(own_id), from_connector=True, text=text, sent_at=NOW + number)
        for number, (own_id, text) in enumerate(
            zip(ids, ("hello", "lost", "lost, too"), strict=True)
        )
    ]
    with closing(restored(store, tmp_path, backup)) as later:
        write(later, "written since", now=NOW + 4)
        run_each(taken_over(later, bitrix, 600), range(600, 610), steps=5)

        found = own_messages(later)
        texts = ["hello", "lost", "lost, too", "written since"]
        assert [message.text for message in found] == texts
        assert [message.id for message in found[:3]] == ids
        assert {message.state for message in found[:3]} == {"delivered"}
        assert bitrix.sent.count(["lost"]) <= 1, "what comes back is not sent again"


@pytest.mark.parametrize(
    ("keep_days", "purged"),
    [(1, NOW + 2), (1, NOW - 1), (0, NOW + DAY), (30, NOW + DAY)],
    ids=["the whole chat", "nothing yet", "by command alone", "by command, more than is set"],
)
def test_what_is_too_old_to_be_kept_does_not_come_back(
    store: Store, bitrix: FakePortal, tmp_path: Path, keep_days: int, purged: float
) -> None:
    """It is at the portal still, and is not taken for lost."""
    settings = Settings(chat=ChatSettings(keep_days=keep_days))
    worker = Worker(settings, store, bitrix, bitrix)  # type: ignore[arg-type]
    install(store)
    write(store, "hello")
    run(worker, NOW)
    [hello] = own_messages(store)
    answer(store, 11)
    run(worker, NOW + 1)
    purge(store, Files(tmp_path / "files"), purged)
    purge(store, Files(tmp_path / "files"), NOW - 10 * DAY)  # an earlier moment changes nothing
    kept = [message.text for message in store.conversations.latest(chat_id(1), None, 50)]
    later = 2 * DAY
    write(store, "later", now=NOW + later)
    bitrix.histories[DIALOG] = [
        said(10, str(hello.id), from_connector=True, text="hello"),
        said(11, "1", text="an answer"),
        said(12, text="missed, and too old"),
        said(13, text="missed", sent_at=NOW + later),
    ]

    worker = Worker(settings, store, bitrix, bitrix)  # type: ignore[arg-type]
    worker.begin(NOW + later)
    run_each(worker, range(int(later), int(later) + 400, 20), steps=5)

    texts = [message.text for message in store.conversations.latest(chat_id(1), None, 50)]
    assert texts == [*kept, "later", "missed"]
