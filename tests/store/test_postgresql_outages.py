"""A PostgreSQL server that stops, starts again, hangs or is not there."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from postgres import Server
from store_parts import (
    CHAT,
    RENDERER,
    history,
    write,
)

from storage import Store
from store.database import (
    StoreReadOnly,
    StoreUnavailable,
)


@pytest.fixture
def own() -> Iterator[Server]:
    """A server that a test may stop."""
    with closing(Server(durable=True)) as server:
        yield server


def test_a_restart_under_load_loses_nothing_that_was_kept(own: Server, tmp_path: Path) -> None:
    kept, refused, stop = list[str](), 0, threading.Event()
    with closing(Store(own.url, tmp_path, RENDERER)) as store:
        store.open()

        def writing(number: int) -> None:
            nonlocal refused
            count = 0
            while not stop.is_set():
                text = f"{number}.{count}"
                try:
                    write(store, text, client_id=text)
                except StoreUnavailable:
                    refused += 1
                    continue  # the browser repeats it
                kept.append(text)
                count += 1

        threads = [threading.Thread(target=writing, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        with closing(store.database.hints()) as hints:
            for _ in range(2):
                time.sleep(0.3)
                own.control("-m", "immediate", "restart")
            before, until = len(kept), time.monotonic() + 10
            while len(kept) < before + 8 and time.monotonic() < until:
                hints.wait(0.05)
        stop.set()
        for thread in threads:
            thread.join()

        found = history(store)
        assert {*kept} <= {*found}
        assert len(found) == len({*found}), "what was sent twice is stored once"
        assert len(kept) >= before + 8, "it goes on by itself"


def test_a_lock_is_lost_with_the_server_and_its_holder_learns_it(
    own: Server, tmp_path: Path
) -> None:
    with closing(Store(own.url, tmp_path, RENDERER)) as store:
        with store.database.try_lock("sender") as lock:
            assert lock is not None
            own.control("-m", "immediate", "restart")
            time.sleep(1.1)
            assert not lock.is_held()
        with store.database.try_lock("sender") as lock:
            assert lock is not None
            assert lock.is_held()


def test_a_server_that_is_not_there_is_said_without_its_address(tmp_path: Path) -> None:
    url = "postgresql://anna:s3cret@127.0.0.1:1/chat"
    with closing(Store(url, tmp_path, RENDERER)) as store:
        store.hurry()
        with pytest.raises(StoreUnavailable) as caught:
            write(store)
        with pytest.raises(StoreUnavailable) as read:
            store.open()

    for error in (caught.value, read.value):
        told = f"{error} {error.said}"
        assert "refused" in told
        assert not any(part in told for part in ("anna", "s3cret", "127.0.0.1", url))
    assert "s3cret" not in store.database.place


def test_a_server_that_hangs_holds_nobody_for_ever(
    own: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.postgresql_link.Session.patience", 0.5)
    with closing(Store(own.url, tmp_path, RENDERER)) as store:
        write(store)
        store.hurry()
        children = [own.pid, *own.children()]
        for process in children:
            os.kill(process, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                store.conversations.latest(CHAT, None, 1)
            assert time.monotonic() - began < 10
        finally:
            for process in children:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with suppress(StoreUnavailable):
                assert history(store) == ["Hello"]
                return
    pytest.fail("the store did not come back")


def test_a_standby_is_told_from_a_server_that_is_down(
    room: Store, url: str, tmp_path: Path
) -> None:
    address = f"{url}%20-cdefault_transaction_read_only%3Don"

    with closing(Store(address, tmp_path, RENDERER)) as store, pytest.raises(StoreReadOnly):
        write(store)
