"""How the service ends and reloads: what gunicorn's master does, and what it tells its workers.

A worker that another one replaces lets its requests finish. Where the whole service ends, nobody
waits for long: whatever was answered is stored, and whoever got no answer asks again.
"""

import logging
import mmap
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

KILL_SECONDS = 10  # after so long at its end, the master kills workers that still run


class Ending:
    """Whether the whole service ends. The master says so, and its workers, its forks, see it."""

    def __init__(self) -> None:
        self._told = mmap.mmap(-1, 1)

    def tell(self) -> None:
        self._told[0] = 1

    @property
    def is_near(self) -> bool:
        return bool(self._told[0])


def watch_over(server: Any, fault: Callable[[], Exception | None]) -> Ending:
    """Let gunicorn's master tell its workers when all end, and reload only without a `fault`.

    `fault` says what is wrong with the settings, if anything: with wrong ones no new worker could
    start, and gunicorn would end the service.
    """
    ending = Ending()
    stop, reload = server.stop, server.handle_hup

    def tell_and_stop(graceful: bool = True) -> None:
        ending.tell()
        server.cfg.set("graceful_timeout", KILL_SECONDS)
        stop(graceful)

    def reload_without_fault() -> None:
        found = fault()
        if found is None:
            reload()
        else:
            for line in str(found).splitlines():
                log.error("not reloaded, the former settings stay: %s", line)

    server.stop = tell_and_stop
    server.handle_hup = reload_without_fault
    return ending
