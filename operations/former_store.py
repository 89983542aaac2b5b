"""A store's file that lies beside a store on a server: it was moved there, or should have been.

The service does not read it, and what it holds is still there.
"""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from settings import ROOT, Settings
from storage import is_of_server, local_file
from store.database import StoreUnavailable
from store.notes import Notes
from store.reading import ReadOnlySQLite
from store.records import Moved


@dataclass(frozen=True)
class Former:
    path: Path
    has_chats: bool | None  # None: it cannot be read
    moved: Moved | None = None


def former_stores(settings: Settings) -> list[Former]:
    """Of a store on a server those files that may hold texts: in the default places alone."""
    if not is_of_server(settings.storage.url):
        return []
    default = local_file(settings.storage.url, ROOT)
    beside_files = (ROOT / settings.storage.files).parent / default.name
    files = {path: _read(path) for path in (default, beside_files)}
    return [one for one in files.values() if one is not None and one.has_chats is not False]


def _read(path: Path) -> Former | None:
    if path.is_symlink() or not path.is_file():
        return None
    with closing(ReadOnlySQLite(path, None)) as database:
        try:
            has_chats = database.row("select 1 from chats limit 1") is not None
            return Former(path, has_chats, Notes(database).moved.get())
        except StoreUnavailable:
            return Former(path, None)


def left_behind(settings: Settings, place: str) -> str:
    """The file whose conversations nobody has moved to the server; "" if there is none."""
    for one in former_stores(settings):
        if one.has_chats and (one.moved is None or one.moved.to != place):
            return str(one.path)
    return ""
