"""A host that cannot connect to the portal leaves the work to another one that may."""

import logging
import threading

import pytest
from fake_portal import NOW, SEND, FakePortal, write

import delivery.health
from delivery.clock import Clock
from delivery.health import CUT_OFF_SECONDS, Health
from delivery.worker import AWAY_SECONDS, CUT_OFF, LOCK_SECONDS, Worker
from rest.errors import BitrixError, OutcomeUnknown, TryLater
from settings import DeliverySettings
from storage import Store

UNREACHABLE = TryLater("NOT_CONNECTED", SEND)


class Stop(threading.Event):
    """Ends the loop when it has gone away so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.waits = list[float | None]()
        self._times = times

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        if len(self.waits) >= self._times:
            self.set()
        return self.is_set()


@pytest.fixture
def cut_off(
    store: Store, worker: Worker, bitrix: FakePortal, monkeypatch: pytest.MonkeyPatch
) -> Worker:
    """A worker of a store that hosts share, and out of the portal's reach."""
    monkeypatch.setattr(delivery.health, "CUT_OFF_SECONDS", 0.1)
    monkeypatch.setattr(worker._context.health.circuits, "pause", lambda _: 0.02)
    worker._hosts_share = True
    bitrix.says |= dict.fromkeys(("send", "server.time", "app.info"), UNREACHABLE)
    write(store, "hello")
    return worker


def test_who_reaches_no_portal_leaves_the_work_for_a_while_and_says_so_once(
    cut_off: Worker, bitrix: FakePortal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "delivery.worker")
    stop = Stop(times=3)

    cut_off.run(stop)

    assert stop.waits == [AWAY_SECONDS] * 3
    assert AWAY_SECONDS > LOCK_SECONDS, "others have a look meanwhile"
    assert len(bitrix.calls) >= 6, "it comes back each time that nobody else has come"
    assert bitrix.sizes == [1]
    assert caplog.text.count(CUT_OFF) == 1
    assert caplog.text.count("delivers from now on") == 1


def test_where_there_is_no_other_host_nobody_leaves(cut_off: Worker, bitrix: FakePortal) -> None:
    cut_off._hosts_share = False
    stop = Stop(times=1)
    threading.Timer(0.4, stop.set).start()

    cut_off.run(stop)

    assert stop.waits == []
    assert len(bitrix.calls) > 1


@pytest.mark.parametrize(
    ("errors", "is_cut_off"),
    [
        ([UNREACHABLE, UNREACHABLE], True),
        ([UNREACHABLE], False),
        ([UNREACHABLE, None, UNREACHABLE], False),
        ([UNREACHABLE, OutcomeUnknown("NO_REPLY", SEND), UNREACHABLE], False),
        ([None, UNREACHABLE, UNREACHABLE], True),
    ],
)
def test_cut_off_is_who_had_nothing_but_calls_without_a_connection(
    store: Store, errors: list[BitrixError | None], is_cut_off: bool
) -> None:
    clock = Clock()
    clock.begin_step(NOW)
    health = Health(DeliverySettings(), store, clock)
    for error in errors:
        health.count_call()
        if error is not None:
            health.note_limit(error)

    assert not health.is_cut_off(NOW + CUT_OFF_SECONDS - 2)
    assert health.is_cut_off(NOW + CUT_OFF_SECONDS + 2) == is_cut_off
    health.begin()
    assert not health.is_cut_off(NOW + CUT_OFF_SECONDS + 2)
