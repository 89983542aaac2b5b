"""Whose turn it is among the processes that write in one folder.

SQLite has no order of its own: a process that has written, and has more to write, begins again
before those that only look now and then.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# We wait no longer for our turn; without it we only write out of turn.
ORDER_SECONDS = 0.1
ORDER_PAUSE_SECONDS = 0.001  # between two looks


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Within it nobody else comes before us.

    Whoever is next holds the folder until they have begun to write. Nobody waits long for it: a
    process may have been stopped just then.
    """
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # no descriptor is left, say
        yield
        return
    try:
        until = time.monotonic() + ORDER_SECONDS
        while _is_taken(held) and time.monotonic() < until:
            time.sleep(ORDER_PAUSE_SECONDS)
        yield
    finally:
        # gevent closes a file only at the next turn of its loop, which may be long after.
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_UN)
        os.close(held)


def _is_taken(file: int) -> bool:
    """Take the lock of an open file; whether somebody else has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a disk on which nobody can hold a folder
        return False
    return False
