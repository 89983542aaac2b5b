"""The proof of one SQLite file in one process: made once for each file, marked for the others.

Knows nothing of connections and transactions; store/log.py says what is proved, store/marks.py what
is remembered of it.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from store import marks
from store.database import StoreUnavailable
from store.log import (
    PROOF_SECONDS,
    Patience,
    StoreDamaged,
    inode_of,
    log_bytes,
    log_of,
    patiently,
    prove,
)

FileState = tuple[int, int, int, int]
LockFor = Callable[[str, float], AbstractContextManager[object]]


class Proof:
    """`lock` holds a lock across all processes, for some seconds at most."""

    def __init__(self, path: Path, patience: Patience, lock: LockFor) -> None:
        self._path = path
        self._patience = patience
        self._lock = lock
        self._proved: int | None = None  # the file that was proved, by its inode
        self._refused: tuple[FileState, StoreDamaged] | None = None  # what was found damaged

    @contextmanager
    def of_file(self) -> Iterator[None]:
        """Raise StoreDamaged for a file that must not be used; within it the file is opened.

        Of several processes that begin at once one proves a large file, and the others wait for its
        mark. Whoever would wait too long proves it, too.
        """
        if self._proved == inode_of(self._path):
            yield
            return
        with ExitStack() as stack:
            if marks.state_of(self._path) is not None:
                with suppress(StoreUnavailable):
                    stack.enter_context(self._lock("proof", PROOF_SECONDS))
            may_mark = self._prove()
            yield
            if may_mark:
                pages = marks.pages_of(log_of(self._path))
                marks.set_mark(self._path, log_of(self._path), pages, pages == 0)

    def _prove(self) -> bool:
        """Whether the file was read as a whole, and nobody changed it meanwhile."""
        inode = inode_of(self._path)
        if self._proved == inode:
            return False
        state, before = _state(self._path), marks.state_of(self._path)
        if self._refused is not None and self._refused[0] == state:
            raise self._refused[1]
        try:
            was_read = patiently(lambda: prove(self._path), self._patience.begin())
        except StoreDamaged as error:
            self._refused = state, error
            raise
        self._proved, self._refused = inode, None
        return was_read and before == marks.state_of(self._path)


def _state(path: Path) -> FileState:
    """What changes when an administrator puts another file or another log in its place."""
    file = path.stat()
    return file.st_ino, file.st_mtime_ns, file.st_size, log_bytes(path)
