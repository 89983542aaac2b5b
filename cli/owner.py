"""Whose a store is, and whether root may touch it: its folder may be the service's user's own.

Whoever owns a folder can put a link into it, and a link in its place. So the owner of a store is
that of its folder, links within it are not followed for root, those on the way must be root's or
the owner's, and where root is the owner, all the way must be root's. Nothing is changed here.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOST_LINKS = 40  # on the way to a folder, as Linux follows


class Untrusted(Exception):
    """Root must not act here; `key` names the text that says why, `values` fill it."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key)
        self.key = key
        self.values = values


@dataclass(frozen=True)
class Step:
    """A folder or a link on the way to a folder."""

    path: Path
    info: os.stat_result


def owner_of(store: Path) -> tuple[int, int]:
    """The user and the group of the store's folder; of the next one above, where there is none."""
    info = _way_to(store.parent)[-1].info
    return info.st_uid, info.st_gid


def check_place(store: Path, files: Path, writes: bool) -> None:
    """Raise Untrusted where root would act for whoever has put a link, or a pipe, into the way."""
    owner, _ = owner_of(store)
    ways = [_way_to(store.parent), _way_to(files.parent)]
    for step in [step for way in ways for step in way]:
        if stat.S_ISLNK(step.info.st_mode) and step.info.st_uid not in (0, owner):
            raise Untrusted("others_link", path=step.path, user=step.info.st_uid)
    for path in (*_own_files(store), files):
        _check_kind(path)
    if owner == 0 and writes:  # another owner's own rights say what can be done
        for way in ways:
            _check_roots_way(way)


def _own_files(store: Path) -> Iterator[Path]:
    endings = ("", "-wal", "-shm", "-journal", "-mark")
    yield from (store.with_name(store.name + ending) for ending in endings)
    with suppress(OSError):
        yield from sorted(store.parent.glob("*.lock"))


def _check_kind(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # it is not there: whoever opens it finds out
    if stat.S_ISLNK(mode):
        raise Untrusted("is_link", path=path)
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):  # a pipe would never end
        raise Untrusted("no_ordinary_file", path=path)


def _check_roots_way(way: list[Step]) -> None:
    """Raise Untrusted where others than root can put something else in the folder's place."""
    for step in way:
        mode, folder = step.info.st_mode, way[-1].path
        if step.info.st_uid != 0:
            raise Untrusted("others_folder", path=folder, above=step.path, user=step.info.st_uid)
        if stat.S_ISLNK(mode):
            continue
        by_all = mode & stat.S_IWOTH and (step is way[-1] or not mode & stat.S_ISVTX)
        by_group = step is way[-1] and mode & stat.S_IWGRP and step.info.st_gid != 0
        if by_all or by_group:
            raise Untrusted("shared_folder", path=step.path)


def _way_to(folder: Path) -> list[Step]:
    """All folders and links that lead to a folder, or to the nearest above it that is there."""
    left = list(reversed(folder.absolute().parts[1:]))
    here, links = Path("/"), 0
    way = [Step(here, here.lstat())]
    while left:
        name = left.pop()
        if name == "..":
            here = here.parent
            continue
        try:
            info = (here / name).lstat()
        except (FileNotFoundError, PermissionError):
            return _ending_in(way, here)
        way.append(Step(here / name, info))
        if stat.S_ISLNK(info.st_mode):
            links += 1
            target = Path(os.readlink(here / name))
            if links > MOST_LINKS or not (here / target).exists():
                raise Untrusted("dead_link", path=here / name)
            here = Path("/") if target.is_absolute() else here
            left += reversed([part for part in target.parts if part != "/"])
        elif stat.S_ISDIR(info.st_mode):
            here = here / name
        else:
            raise NotADirectoryError(20, os.strerror(20), str(here / name))
    return _ending_in(way, here)


def _ending_in(way: list[Step], here: Path) -> list[Step]:
    """The way with the folder to which it leads as its last step."""
    return [*(step for step in way if step.path != here), Step(here, here.lstat())]
