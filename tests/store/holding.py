"""Another process that holds a lock, and can be stopped; with leases that are short."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

LEASE, SPEAK, MARGIN = 1.0, 0.2, 0.2  # seconds; shorter than in use, so that nobody waits long

SHORT = f"""
import store.postgresql_locks as locks
locks.LEASE_SECONDS, locks.SPEAK_SECONDS, locks.MARGIN_SECONDS = {LEASE}, {SPEAK}, {MARGIN}
"""


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, too."""
    monkeypatch.setattr("store.postgresql_locks.LEASE_SECONDS", LEASE)
    monkeypatch.setattr("store.postgresql_locks.SPEAK_SECONDS", SPEAK)
    monkeypatch.setattr("store.postgresql_locks.MARGIN_SECONDS", MARGIN)


class Holder:
    """Another process, which holds a lock, and maybe more."""

    def __init__(self, program: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program.replace("SHORT", SHORT), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def asked(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.says()

    def stop(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)


@contextmanager
def another(program: str, *arguments: str) -> Iterator[Holder]:
    holder = Holder(program, *arguments)
    try:
        assert holder.says() == "held"
        yield holder
    finally:
        holder.process.kill()
        holder.process.communicate()
