"""Removes what is older than `chat.keep_days`, and its traces: by command, and by itself each hour.

Copies of the store that lie beside it, of before an update or a restore, hold old messages too.
They go when they are as old as the messages may become.
"""

import contextlib
import logging
import shutil
import threading
from pathlib import Path

from files import Files
from operations.former_store import former_stores
from settings import Settings
from storage import Store
from store.database import StoreUnavailable
from store.retention import Removed

log = logging.getLogger(__name__)

PURGE_SECONDS = 3_600.0  # between two purges
DAY_SECONDS = 86_400.0
COPIES = ("before-schema-*.db", "before-restore-*")


class Retention:
    """The background job; `keep_days` is 0 where everything is kept."""

    def __init__(self, store: Store, files: Files, keep_days: int) -> None:
        self._store = store
        self._files = files
        self._keep_days = keep_days

    def run(self, stop: threading.Event) -> None:
        while self._keep_days and not stop.is_set():
            try:
                with self._store.database.try_lock("retention") as held:
                    if held is not None:  # else another process does it now
                        before = self._store.now() - self._keep_days * DAY_SECONDS
                        purge(self._store, self._files, before, stop)
            except (StoreUnavailable, OSError) as error:
                log.error("old messages cannot be removed: %s", error)
            stop.wait(PURGE_SECONDS)


def purge(
    store: Store, files: Files, before: float, stop: threading.Event | None = None
) -> Removed:
    """Remove messages from before this time, their files, and chats of which nothing is left."""
    stopped = (lambda: False) if stop is None else stop.is_set
    store.notes.purged_until.change(lambda until: max(until or 0.0, before))
    removed = store.retention.purge(before, files.remove, files.remove_chat, stopped)
    for copy in copies_beside(store.database.folder):
        with contextlib.suppress(OSError):
            if is_old(copy, before):
                shutil.rmtree(copy) if copy.is_dir() else copy.unlink()
                log.info("%s is older than messages may be, and was removed", copy.name)
    if removed != Removed():
        log.info(
            "purged: %d messages, %d files, %d chats",
            removed.messages, removed.files, removed.chats,
        )  # fmt: skip
    return removed


def copies_beside(folder: Path) -> list[Path]:
    """Copies of the store of before an update or a restore."""
    return sorted(path for pattern in COPIES for path in folder.glob(pattern))


def all_copies(settings: Settings, folder: Path) -> list[Path]:
    """Those, and the files from which the store was moved to a server: nothing removes them."""
    return [*copies_beside(folder), *(one.path for one in former_stores(settings))]


def is_old(copy: Path, before: float) -> bool:
    """Whether a copy is as old as the messages that are removed, and goes with them."""
    with contextlib.suppress(FileNotFoundError):
        return copy.stat().st_mtime < before
    return True
