"""Where a backup or an export may be written: never over what the store itself consists of."""

import contextlib
import os
from pathlib import Path

from operations.archive import Stopped

# Beside its own name: the log, its index, SQLite's journal; then what processes share.
SHARED = (".lock", ".sock")


def check_target(target: Path, store: Path, files: Path) -> None:
    """Raises Stopped where `target` is a part of the store, by whatever path, or would become one.

    `store` is the store's file, `files` the folder of visitors' files.
    """
    for path in (target, Path(os.path.realpath(target))):
        is_beside = _is_same(path.parent, store.parent)
        named_so = path.name.lower().startswith(store.name.lower()) or path.suffix in SHARED
        if (is_beside and named_so) or any(_is_same(one, files) for one in (path, *path.parents)):
            raise Stopped("target_of_store", path=target)
    for part in store.parent.glob(f"{store.name}*"):
        if _is_same(target, part):
            raise Stopped("target_of_store", path=target)


def _is_same(one: Path, other: Path) -> bool:
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    with contextlib.suppress(OSError):  # else a folder that is mounted twice, or a hard link
        return one.samefile(other)
    return False
