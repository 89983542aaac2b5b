"""The fixtures of the delivery tests: a real store, a portal that answers as told, and a worker."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fake_portal import LINE, NOW, FakePortal, make_worker

from delivery.worker import Worker
from storage import Store


@pytest.fixture(autouse=True)
def no_time_in_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, no time passes but what a test says."""
    monkeypatch.setattr(time, "monotonic", lambda: 1.0)


@pytest.fixture(autouse=True)
def small_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our messages have the ids 1, 2, ..., as an earlier release gave them: tests can name them."""
    for module in ("messages", "rows"):
        monkeypatch.setattr(f"store.{module}.message_id_after", lambda latest, _: latest + 1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store("sqlite:///chats.db", tmp_path, 1)) as store:
        store.portal.connect_line(LINE, NOW)
        yield store


@pytest.fixture
def bitrix() -> FakePortal:
    return FakePortal()


@pytest.fixture
def worker(store: Store, bitrix: FakePortal) -> Worker:
    return make_worker(store, bitrix)
