"""What the attacks share: a stage whose worker is watched, and a normal visitor beside them."""

import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Self

import requests

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from stage import Stage

HELD = Path(__file__).parent / "held.py"


class Watched(Stage):
    """A stage of one worker that notes how long each request holds the loop."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.notes = folder / "held.txt"
        self.notes.touch()
        watch = {"GUNICORN_CMD_ARGS": f"--config {HELD}", "HELD_NOTES": str(self.notes)}
        generous = {"SITECHAT_LIMITS__VISITOR_PER_MINUTE": "100000"}
        super().__init__(folder, 1, **watch, **generous, **settings)

    def forget_holds(self) -> None:
        self.notes.write_text("")

    def longest_hold(self) -> tuple[float, float]:
        """The longest hold since `forget_holds`, in milliseconds: of the processor, of the clock.

        The second is of the same hold, not the longest by the clock: a pause of the machine is
        no work of ours.
        """
        lines = [line.split() for line in self.notes.read_text().splitlines()]
        return max(((float(worked), float(passed)) for worked, passed in lines), default=(0.0, 0.0))


class Normal:
    """A visitor who sends a short message ten times a second; `p95` is of the answers' times."""

    def __init__(self, stage: Stage) -> None:
        self._stop = threading.Event()
        self._visitor = stage.visitor()
        self._visitor.send("Hello")
        self.milliseconds: list[float] = []
        self.failed = 0
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        while not self._stop.wait(0.1):
            began = time.perf_counter()
            try:
                self._visitor.send("a word")
            except (AssertionError, requests.RequestException):
                self.failed += 1
            self.milliseconds.append((time.perf_counter() - began) * 1000)

    @property
    def p95(self) -> float:
        count = len(self.milliseconds)
        return statistics.quantiles(self.milliseconds, n=20)[-1] if count > 1 else float("inf")


def memory_mb(pid: int) -> float:
    """Resident memory of a process and of its children."""
    total = 0.0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(
                line.split(":", 1) for line in status.read_text().splitlines() if ":" in line
            )
        except OSError:
            continue
        if status.parent.name == str(pid) or fields["PPid"].strip() == str(pid):
            total += int(fields.get("VmRSS", "0 kB").split()[0]) / 1024
    return total
