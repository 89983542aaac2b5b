"""What the jobs of one application keep while its store cannot be used."""

import json
import os
import threading
import time
from pathlib import Path

import pytest
from apps import storage_in
from stage import wait_until

import services
from operations import turned_away
from operations.turned_away import MOST_REASONS, OTHER_REASONS, REASON_BYTES
from services import Services
from settings import Settings, StorageSettings
from store.database import StoreUnavailable
from store.records import OperatorMessage
from web.asking import reason_of


def test_refusals_that_the_store_cannot_take_are_counted_once_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(turned_away, "NOTE_SECONDS", 0.05)
    file = tmp_path / "chats.db"
    file.mkdir()  # no database can be opened there
    parts = Services.of(Settings(storage=StorageSettings(url=f"sqlite:///{file}")))
    parts.turned_away.counts["forged"] += 2
    parts.turned_away.lost.set()
    stop = threading.Event()
    job = threading.Thread(target=parts.turned_away.run, args=(stop,))
    job.start()
    try:
        wait_until(lambda: "cannot be used" in caplog.text, 10, "a try that fails")
        parts.turned_away.counts["forged"] += 1
        file.rmdir()
        wait_until(parts.store.notes.events_lost_at.get, 10, "the note of a loss")
    finally:
        stop.set()
        job.join()

    (refusals,) = parts.store.limits.refusals()
    assert (refusals.reason, refusals.count) == ("forged", 3)
    parts.store.close()


def test_strangers_make_no_reasons_without_end(tmp_path: Path) -> None:
    parts = Services.of(Settings(storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db")))

    for number in range(10 * MOST_REASONS):
        parts.turned_away.count(f"made up {number}")
    parts.turned_away.count("made up 0")

    assert len(parts.turned_away.counts) == MOST_REASONS + 1
    assert parts.turned_away.counts["made up 0"] == 2
    assert parts.turned_away.counts[OTHER_REASONS] == 9 * MOST_REASONS
    parts.store.close()


def test_a_reason_is_no_longer_than_every_store_takes(tmp_path: Path) -> None:
    parts = Services.of(Settings(storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db")))
    values = {f"value {number}": "漢😀" * 100 for number in range(8)}

    reason = reason_of("/handler", "reasons.others", values)
    parts.turned_away.count(reason)
    parts.turned_away.count("漢" * REASON_BYTES)

    assert parts.turned_away.counts == {reason: 1, OTHER_REASONS: 1}
    place, key, kept = json.loads(reason)
    assert (place, key, [*kept]) == ("/handler", "reasons.others", [*values])
    assert all(value.startswith("漢😀漢") for value in kept.values())
    parts.store.close()


def test_a_loss_is_noted_also_where_no_refusal_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turned_away, "NOTE_SECONDS", 0.05)
    parts = Services.of(Settings(storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db")))
    parts.turned_away.counts["forged"] += 1
    parts.turned_away.lost.set()

    def refuse(*_: object) -> None:
        raise StoreUnavailable("the index takes no such row")

    monkeypatch.setattr(parts.store.limits, "add_refusals", refuse)
    stop = threading.Event()
    job = threading.Thread(target=parts.turned_away.run, args=(stop,))
    job.start()
    try:
        wait_until(parts.store.notes.events_lost_at.get, 10, "the note of a loss")
    finally:
        stop.set()
        job.join()

    assert parts.turned_away.counts == {"forged": 1}
    parts.store.close()


def test_files_without_a_message_are_swept_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "SWEEP_SECONDS", 0.05)
    storage = storage_in(tmp_path)
    parts = Services.of(Settings(storage=storage))
    under_way, long_ago = parts.files.arriving(), time.time() - services.ABANDONED_SECONDS - 10
    stop = threading.Event()
    job = threading.Thread(target=parts.sweep_files, args=(stop,))
    job.start()
    try:
        for _ in range(2):
            abandoned = Path(under_way.name).parent / "abandoned"
            abandoned.touch()
            os.utime(abandoned, (long_ago, long_ago))
            wait_until(lambda left=abandoned: not left.exists(), 10)  # type: ignore[misc]
    finally:
        stop.set()
        job.join()

    assert Path(under_way.name).exists()
    parts.files.discard(under_way)
    parts.store.close()


def test_files_of_this_host_are_swept_soon_after_another_host_has_swept_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "SWEEP_AGAIN_SECONDS", 0.05)
    parts, stop = Services.of(Settings(storage=storage_in(tmp_path))), threading.Event()
    arrival = parts.files.arriving()
    arrival.close()
    abandoned = Path(arrival.name)
    os.utime(abandoned, (1.0, 1.0))
    job = threading.Thread(target=parts.sweep_files, args=(stop,))
    try:
        with parts.store.database.try_lock("files"):
            job.start()
            stop.wait(0.3)
            assert abandoned.exists()
        wait_until(lambda: not abandoned.exists(), 10)
    finally:
        stop.set()
        job.join()
    parts.store.close()


def test_a_folder_in_which_no_file_can_be_kept_is_named_by_the_log_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = storage_in(tmp_path)
    (tmp_path / "files").touch()
    parts, stop = Services.of(Settings(storage=storage)), threading.Event()
    job = threading.Thread(target=parts.sweep_files, args=(stop,))
    job.start()
    try:
        wait_until(lambda: f"nothing can be written to {tmp_path}/files" in caplog.text, 10)
    finally:
        stop.set()
        job.join()
    parts.store.close()


def test_a_deletion_that_a_full_disk_interrupted_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "DELETION_SECONDS", 0.05)
    storage = storage_in(tmp_path)
    parts = Services.of(Settings(storage=storage))
    chat = "chat" + "a" * 64
    parts.store.messages.add_from_operators([operators_message(chat)], 0.0)
    picture = tmp_path / "files" / chat / "picture"
    picture.parent.mkdir(parents=True)
    picture.touch()

    def fail(_: str) -> None:
        raise StoreUnavailable("no room on the disk")

    with pytest.raises(StoreUnavailable):
        parts.store.chats.delete(chat, time.time(), fail)
    assert picture.exists()
    stop = threading.Event()
    job = threading.Thread(target=parts.finish_deletions, args=(stop,))
    job.start()
    try:
        wait_until(lambda: not parts.store.database.rows("select 1 from chats"), 10, "the end")
    finally:
        stop.set()
        job.join()

    assert not picture.parent.exists()
    parts.store.close()


def operators_message(chat: str) -> OperatorMessage:
    return OperatorMessage(
        chat_id=chat,
        line=7,
        im_chat_id=1,
        im_message_id=1,
        author="operator",
        name="Olga",
        text="Hello",
        text_html="Hello",
    )
