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


class Readiness:
    """Whether a worker serves. It says so itself, and the master, its parent, sees it."""

    def __init__(self) -> None:
        self._told = mmap.mmap(-1, 1)

    def tell(self) -> None:
        self._told[0] = 1

    def __bool__(self) -> bool:
        return bool(self._told[0])


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
    start, and gunicorn would end the service. The former workers go on until the new ones serve,
    and another reload waits for that, too: else nobody would answer for some seconds.
    """
    ending = Ending()
    stop, reload, manage = server.stop, server.handle_hup, server.manage_workers
    put_off = False

    def tell_and_stop(graceful: bool = True) -> None:
        ending.tell()
        server.cfg.set("graceful_timeout", KILL_SECONDS)
        stop(graceful)

    def all_serve() -> bool:
        return all(worker.serves for worker in server.WORKERS.values())

    def reload_in_turn() -> None:
        nonlocal put_off
        put_off = not all_serve()
        if put_off:
            log.info("the reload waits until the workers serve that are starting now")
            return
        found = fault()
        if found is None:
            reload()
        else:
            for line in str(found).splitlines():
                log.error("not reloaded, the former settings stay: %s", line)

    def manage_and_reload() -> None:  # gunicorn calls it once a second
        if all_serve() or len(server.WORKERS) <= server.num_workers:
            manage()  # starts what is missing, and ends the oldest of too many
        if put_off and all_serve():
            reload_in_turn()

    server.stop = tell_and_stop
    server.handle_hup = reload_in_turn
    server.manage_workers = manage_and_reload
    return ending
