"""What a service costs while nothing happens, and that it sleeps through nothing."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import Stage, Visitor, wait_until

WAKES = 8.0  # a second, of all threads of a worker, which take some 40 µs each


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Two workers whose own looks into the store come too late to be of use."""
    stage = Stage(tmp_path, workers=2)
    stage.constants = {
        "delivery.worker.IDLE_SECONDS": 600.0,
        "live.LOOK_SECONDS": 600.0,
    }
    with stage:
        stage.install()
        yield stage


def of_workers(stage: Stage) -> list[int]:
    assert stage.app is not None
    children = Path(f"/proc/{stage.app.pid}/task/{stage.app.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


def wakes(pid: int) -> int:
    """How often the threads of a process have gone to sleep so far."""
    told = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    lines = [line for text in told for line in text.splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))


def test_a_message_taken_by_any_process_is_sent_at_once(stage: Stage) -> None:
    visitors = [stage.visitor() for _ in range(4)]

    for number in range(12):
        visitor: Visitor = visitors[number % len(visitors)]
        visitor.http.close()  # so that any of the two workers takes it
        chat = str(visitor.send(f"message {number}")["chat"])
        wait_until(lambda: f"message {number}" in stage.texts(chat), 10, f"message {number}")  # noqa: B023


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells it")
def test_a_worker_that_has_nothing_to_do_sleeps(tmp_path: Path) -> None:
    with Stage(tmp_path, workers=2) as stage:
        stage.install()
        workers = of_workers(stage)
        time.sleep(3.0)  # what the start and the install have to do

        before, began = [wakes(pid) for pid in workers], time.monotonic()
        time.sleep(4.0)
        took = time.monotonic() - began
        counted = [(wakes(pid) - had) / took for pid, had in zip(workers, before, strict=True)]

        assert max(counted) <= WAKES, counted
