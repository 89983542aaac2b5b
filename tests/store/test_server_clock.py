"""The time on a server is the server's, whatever the clock of the host says."""

import time
from collections.abc import Callable

import pytest
from store_parts import postgres, room, store, store_url, url

from storage import Store
from store import server_clock

__all__ = ["postgres", "room", "store", "store_url", "url"]

NEAR_SECONDS = 2.0  # on a busy machine
HOUR = 3600.0


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    real = time.time

    def ahead(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real() + seconds)

    return ahead


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, 24 * HOUR, -24 * HOUR])
def test_all_hosts_have_the_servers_time(
    room: Store, set_clock: Callable[[float], None], seconds: float
) -> None:
    right = time.time()
    set_clock(seconds)  # also after it was opened: the host's clock is set while it serves

    assert abs(room.now() - right) < NEAR_SECONDS
    assert abs(room.database.clock_ahead() - seconds) < NEAR_SECONDS
    room.close()
    assert abs(room.now() - right) < NEAR_SECONDS, "while the server is away"


def test_a_file_has_the_hosts_own_time(store: Store, set_clock: Callable[[float], None]) -> None:
    set_clock(HOUR)

    assert abs(store.now() - time.time()) < NEAR_SECONDS
    assert store.database.clock_ahead() == 0.0


def test_the_servers_clock_is_looked_at_now_and_then_and_by_no_request(
    room: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = server_clock.TIME.replace("clock_timestamp()", "clock_timestamp() + interval '1 day'")
    monkeypatch.setattr(server_clock, "TIME", later)  # somebody has set it
    right, began = time.time(), time.monotonic()

    room.database.settle()
    assert room.now() - right < HOUR

    monkeypatch.setattr(time, "monotonic", lambda: began + server_clock.LOOK_SECONDS)
    room.now()
    assert room.now() - right < HOUR
    room.database.settle()
    assert room.now() - right > 23 * HOUR


def test_what_took_long_says_nothing(room: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    slowly = server_clock.TIME.replace("select ", "select pg_sleep(0.1), 5 + ")
    monkeypatch.setattr(server_clock, "TIME", slowly)
    monkeypatch.setattr(server_clock, "QUICK_SECONDS", 0.05)
    monkeypatch.setattr(server_clock, "LOOK_SECONDS", 0.0)
    room.database._clock._look_at = 0.0  # type: ignore[attr-defined]
    right = time.time()

    room.database.settle()

    assert room.now() - right < NEAR_SECONDS


def test_the_servers_clock_is_looked_at_at_once_after_the_host_was_suspended(
    room: Store, set_clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The monotonic clock stood meanwhile, the server's did not."""
    room.database.settle()
    later = server_clock.TIME.replace("clock_timestamp()", "clock_timestamp() + interval '1 hour'")
    monkeypatch.setattr(server_clock, "TIME", later)
    right = time.time()

    room.database.settle()
    assert room.now() - right < NEAR_SECONDS, "nobody looks without need"

    set_clock(HOUR)
    room.database.settle()
    assert abs(room.now() - right - HOUR) < NEAR_SECONDS
