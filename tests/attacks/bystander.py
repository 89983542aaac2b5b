"""A normal visitor who writes while an attack lasts, and how long each message took.

A process of its own, so that the attack's own work does not count: `Bystander` starts it and reads
its figures. Each message comes on a connection of its own, as a new visitor's does.
"""

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import requests

PAUSE_SECONDS = 0.05  # between two messages
PATIENCE_SECONDS = 10.0  # a message that takes longer is counted as failed
MESSAGES_A_VISITOR = 100  # of 300 a minute
ALLOWED_MS = 50.0  # at the 95th percentile


class Bystander:
    """Use as a context around the attack; afterwards `report` has the figures."""

    def __init__(self, chat: str, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._command = [sys.executable, str(Path(__file__)), chat, str(pause_seconds)]
        self.times: list[float] = []
        self.failures = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        output, _error = self._process.communicate("", timeout=60)
        found: dict[str, Any] = json.loads(output)
        self.times, self.failures = found["times"], found["failures"]

    @property
    def p95(self) -> float:
        """Milliseconds."""
        ordered = sorted(self.times)
        return ordered[int(len(ordered) * 0.95)] if ordered else float("inf")

    @property
    def is_served(self) -> bool:
        return not self.failures and self.p95 <= ALLOWED_MS

    def report(self) -> str:
        worst = max(self.times, default=float("inf"))
        return (
            f"a normal visitor's messages: {len(self.times)} sent, {self.failures} failed,"
            f" p95 {self.p95:.0f} ms, worst {worst:.0f} ms"
        )


def write(chat: str, pause_seconds: float) -> None:
    """Write until standard input is closed; then print the figures."""
    import select

    times: list[float] = []
    failures = 0
    cookies: Any = None
    while not select.select([sys.stdin], [], [], pause_seconds)[0]:
        if (len(times) + failures) % MESSAGES_A_VISITOR == 0:
            cookies = None
        form = {"type": "send_message", "name": "Anna", "message": "hello"}
        begun = time.perf_counter()
        with suppress(requests.RequestException):
            answer = requests.post(f"{chat}/ajax", form, cookies=cookies, timeout=PATIENCE_SECONDS)
            if answer.status_code == 200:
                times.append((time.perf_counter() - begun) * 1000)
                cookies = cookies or answer.cookies
                continue
        failures += 1
    print(json.dumps({"times": times, "failures": failures}))


if __name__ == "__main__":
    write(sys.argv[1], float(sys.argv[2]))
