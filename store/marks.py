"""Marks: a large file that was proved need not be read as a whole at the next start.

The proof of a store (store/log.py) reads all of it: seconds where there are a million messages. Its
outcome stays true as long as nobody but us changes the file. So the file's state is noted in a mark
beside it: device, inode, length, and the times of its last changes. Whoever copies a file, or
writes into it or puts another in its place, can set one of these times and not the other (`ctime`).
The mark of a folder that was copied fits the original alone. It also holds the name that the
system has for its present run: after the machine stopped, whatever the disk made of the file, it is
read once more.

Only moves of the log change the file. Each makes a new mark, if the file was as marked before it;
if anything else had changed the file, no mark fits any more until it was proved. That is also so
where we die between a move and its mark.

The log goes on all the time, and is no part of that state. A mark says which log belongs to the
file: one that begins with the pages that were moved or proved (SQLite's checksum in the head of
their last page is one of all pages up to it), or one whose generation has the mark's name: it was
begun on the file as it is marked. Pages that follow in such a log are changes of that very state,
and SQLite itself leaves out those that are not whole.

A file without a mark that fits, or with a log that the mark does not name, is read as a whole, as
before there were marks. What a mark cannot tell is a disk that loses what it once had: SQLite finds
it where it reads such a page.
"""

import contextlib
import json
import os
import secrets
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from store.boot import boot_id

MARKED_BYTES = 8 << 20  # a smaller file is read in less than 0.1 s
TICK_SECONDS = 0.02  # two changes within one tick of the system's clock have the same time
LATE_SECONDS = 0.3  # the longest wait for the mark of a move that is being made
LOG_HEAD, PAGE_HEAD = 32, 24  # bytes: of SQLite's log, and of each page in it

State = list[int]


@dataclass(frozen=True)
class Mark:
    file: State
    run: str  # of the system
    name: str  # generations of logs that begin on this state have it; "": a part was moved
    page: int  # of the log that belongs to the file; 0: it was empty
    head: str  # of that page


def mark_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-mark")


def state_of(path: Path) -> State | None:
    """What changes whenever anybody changes the file; None if it is small, or not there."""
    with contextlib.suppress(OSError):
        file = path.stat()
        if file.st_size >= MARKED_BYTES:
            return [file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns]
    return None


def marked_state(path: Path) -> State | None:
    """The state of the file, if it is as it is marked."""
    mark = _mark(path)
    return mark.file if mark else None


def name_of(path: Path) -> str:
    """The name for the generation of a log that begins now; "" if the file is not as marked."""
    mark = _mark(path)
    return mark.name if mark else ""


def fits(path: Path, log: Path, generation: str) -> bool:
    """Whether the file is as it was marked, and the log beside it one that belongs to it.

    `generation` is what the file has together with the log.
    """
    mark = _mark(path)
    if mark is None:
        return False
    if not _is_there(log):
        return not mark.page
    if mark.name and generation.startswith(mark.name):
        return True
    return bool(mark.page) and _head(log, mark.page) == mark.head


def is_awaited(path: Path) -> bool:
    """Whether the file may soon be as marked: who moves its log into it marks it just after that.

    It is not where the mark is that of another file.
    """
    state, mark = state_of(path), _read(path)
    if state is None or mark is None:
        return False
    return mark.file[:2] == state[:2] and mark.file != state


def seen(path: Path, log: Path) -> object:
    """What differs when the file, its mark or the log beside it was changed meanwhile."""
    with contextlib.suppress(OSError):
        file = log.stat()
        return state_of(path), _read(path), file.st_size, file.st_mtime_ns
    return state_of(path), _read(path)


def set_mark(
    path: Path,
    log: Path,
    page: int,
    is_whole: bool,
    nobody_writes: AbstractContextManager[None] | None = None,
) -> None:
    """Mark the file as it is now; the caller knows that it is good, together with its log.

    `page`: the latest page of the log that was moved or proved; 0 where that is all of an empty
    one. `is_whole`: the file has all that was in the log until now. `nobody_writes`: held while we
    look at the log and write the mark. Else a log could be begun in between, without the name, and
    the mark does not know it. Without a mark that fits, also where the disk is full, the next start
    reads the file.
    """
    state, run = state_of(path), boot_id()
    if state is None or not run:
        return
    time.sleep(TICK_SECONDS)
    with nobody_writes or contextlib.nullcontext():
        if state_of(path) != state:
            return
        head = _head(log, page)
        if not head and is_whole:  # whatever was begun since follows on all of the former log
            page, head = 1, _head(log, 1)
        if not head and (not is_whole or _is_there(log)):
            return
        name = f"{secrets.token_hex(8)}." if is_whole else ""
        _write(mark_of(path), json.dumps(asdict(Mark(state, run, name, page if head else 0, head))))


def _mark(path: Path) -> Mark | None:
    """The mark that fits the file as it is now."""
    state = state_of(path)
    if state is None:
        return None
    mark = _read(path)
    return mark if mark and mark.file == state and mark.run == boot_id() else None


def _read(path: Path) -> Mark | None:
    try:
        return Mark(**json.loads(mark_of(path).read_bytes()))
    except (OSError, ValueError, TypeError):  # there is none, or somebody else has written it
        return None


def _write(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    with contextlib.suppress(OSError):  # a full disk, say: the next start reads the file
        new.unlink(missing_ok=True)  # of a process that was killed
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w") as opened:
            opened.write(text)
        new.replace(path)


def _is_there(log: Path) -> bool:
    """Whether the log has anything."""
    with contextlib.suppress(OSError):
        return log.stat().st_size > 0
    return False


def pages_of(log: Path) -> int:
    """How many pages the log has, each change of one counted."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        head = file.read(LOG_HEAD)
        return max(0, os.fstat(file.fileno()).st_size - LOG_HEAD) // _page_bytes(head)
    return 0


def _head(log: Path, page: int) -> str:
    """The head of a page of the log; "" if that is not of the log as it was last begun."""
    with contextlib.suppress(OSError, ValueError), log.open("rb") as file:
        begin = file.read(LOG_HEAD)
        file.seek(LOG_HEAD + (page - 1) * _page_bytes(begin))
        head = file.read(PAGE_HEAD)
        # Both have the two numbers that SQLite gives to each beginning of a log.
        return head.hex() if head[8:16] == begin[16:24] and len(head) == PAGE_HEAD else ""
    return ""


def _page_bytes(head: bytes) -> int:
    """The length of a page in the log, with its own head."""
    return PAGE_HEAD + (int.from_bytes(head[8:12], "big") or 65536)
