"""Copies of a store's files, as a crash or an administrator makes them."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from store_parts import RENDERER, history

from storage import Store
from store.database import StoreUnavailable

NAMES = ("chats.db", "chats.db-wal")


@pytest.fixture
def folder(store: Store, tmp_path: Path) -> Path:
    return tmp_path / "chats"


def copied(folder: Path, name: str, *names: str) -> Path:
    """A copy of some files as they are now, as after a crash or by `cp` while the store is used."""
    target = folder.parent / name / "chats"
    target.mkdir(parents=True, exist_ok=True)
    for file in names or NAMES:
        shutil.copy(folder / file, target / file)
    return target


def opened(folder: Path) -> Store:
    return Store("sqlite:///chats/chats.db", folder.parent, RENDERER)


def texts(folder: Path) -> list[str]:
    with closing(opened(folder)) as store:
        return history(store)


def is_store(folder: Path) -> bool:
    """Whether it has messages; a file into which a log is moved in part is refused."""
    try:
        return bool(texts(folder))
    except StoreUnavailable:
        return False
