"""Locks on PostgreSQL: whoever hangs loses them in time, whoever lives keeps them; all know it."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from holding import LEASE, SPEAK, another, shorten
from postgres import Server
from store_parts import RENDERER, SCHEMA, history, write

from storage import Store
from store.database import ServerOld, StoreUnavailable
from store.postgresql_link import SETTINGS

# Another host: holds the lock, and says whether it still does whenever it is asked.
HOLDER = f"""
import sys
ask = sys.stdin.readline
if sys.argv[2] == "greenlets":
    import gevent.monkey; gevent.monkey.patch_all()
    import functools, gevent
    ask = functools.partial(gevent.get_hub().threadpool.apply, sys.stdin.readline)
import time
from contextlib import closing
from pathlib import Path
from storage import Store
SHORT
with closing(Store(sys.argv[1], Path(), {RENDERER})) as store:
    with store.database.try_lock("sender") as lock:
        print("held" if lock else "free", flush=True)
        while lock and ask():
            print(lock.is_held(), lock.is_held_now(), flush=True)
"""


@pytest.fixture(autouse=True)
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


@pytest.fixture
def url(postgres: Server) -> str:
    postgres.empty(SCHEMA)
    return postgres.url_of(SCHEMA)


@pytest.fixture
def ours(url: str, tmp_path: Path) -> Iterator[Store]:
    with closing(Store(url, tmp_path, RENDERER)) as store:
        store.open()
        yield store


def test_a_holder_that_hangs_is_taken_over_within_its_lease_and_learns_it(
    ours: Store, url: str
) -> None:
    with another(HOLDER, url, "greenlets") as holder:
        assert holder.asked() == "True True"
        holder.stop()
        began = time.monotonic()
        with ours.database.try_lock("sender") as none:
            assert none is None, "it may only be slow"
        with ours.database.lock("sender", 5 * LEASE) as lock:
            assert time.monotonic() - began < LEASE + 1
            assert lock.is_held()
        holder.wake()
        assert holder.asked() == "False False"


@pytest.mark.parametrize("kind", ["greenlets", "threads"])
def test_a_holder_that_lives_keeps_its_lock_for_longer_than_a_lease(
    ours: Store, url: str, kind: str
) -> None:
    with another(HOLDER, url, kind) as holder:
        time.sleep(1.5 * LEASE)
        with ours.database.try_lock("sender") as lock:
            assert lock is None
        assert holder.asked() == "True True"


def test_a_holder_whose_session_is_ended_learns_it_when_it_asks(
    ours: Store, postgres: Server
) -> None:
    with ours.database.try_lock("sender") as lock:
        assert lock is not None
        postgres.ask(
            "select pg_terminate_backend(pid) from pg_locks"
            " where locktype = 'advisory' and objsubid = 1"
        )
        assert not lock.is_held_now()
        assert not lock.is_held()
    with ours.database.try_lock("sender") as lock:
        assert lock is not None, "it can be taken again"


def test_a_process_without_locks_speaks_no_more_and_takes_the_next_one_all_the_same(
    ours: Store,
) -> None:
    with ours.database.try_lock("sender"):
        pass
    time.sleep(LEASE + 3 * SPEAK)  # the server has ended the session

    with ours.database.try_lock("sender") as lock:
        assert lock is not None
        assert lock.is_held_now()


def test_whoever_hangs_within_a_transaction_is_only_a_pause_for_the_others(
    ours: Store, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait for it for longer than the server does."""
    limits = dict(re.findall(r"'(\w+)', '(\d+)s'", SETTINGS))
    assert int(limits["idle_in_transaction_session_timeout"]) < int(limits["lock_timeout"])
    monkeypatch.setattr("store.postgresql_link.SETTINGS", SETTINGS.replace("'3s'", "'300ms'"))
    ended: list[Exception] = []

    def hang() -> None:
        try:
            with other.database.write() as db:
                db.execute("insert into meta values ('late', 'x')")
                begun.set()
                go_on.wait(10)
        except StoreUnavailable as error:
            ended.append(error)

    begun, go_on = threading.Event(), threading.Event()
    with closing(Store(url, tmp_path, RENDERER)) as other:
        other.open()
        thread = threading.Thread(target=hang)
        thread.start()
        assert begun.wait(10)
        write(ours, "meanwhile")
        go_on.set()
        thread.join()

    assert len(ended) == 1
    assert history(ours) == ["meanwhile"]
    assert ours.database.row("select 1 from meta where key = 'late'") is None


def test_a_server_without_leases_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.postgresql_link.OLDEST_SERVER", 990_000)
    for read_only in (False, True):
        store = Store(url, tmp_path, RENDERER, read_only)
        with closing(store), pytest.raises(ServerOld, match="99 or newer is needed"):
            store.open()
