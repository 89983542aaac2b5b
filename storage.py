"""The store: opens what `storage.url` names, and gives its groups of tables.

The one place where anything is kept. What must happen together is one method and one transaction;
what a method has written is on the disk when it returns. Safe to share between threads and
greenlets. Every method raises StoreUnavailable when the database cannot be used now.
"""

import re
from pathlib import Path

from store.blocks import BlockTables
from store.chats import ChatTables
from store.contents import ContentTables
from store.conversations import ConversationTables
from store.counts import CountTables
from store.database import Database, StoreUnavailable
from store.dialogs import DialogTables
from store.epochs import EpochTables
from store.found_deleted import FoundDeleted
from store.limits import LimitTables
from store.logins import LoginTables
from store.lost import LostTables
from store.messages import MessageTables
from store.notes import Notes
from store.overview import Overview
from store.past import PastTables
from store.people import PeopleTables
from store.portal import PortalTables
from store.queue import QueueTables
from store.reading import ReadOnlySQLite
from store.releases import ReleaseTables
from store.removal import Removal
from store.rendering import RenderingTables
from store.retention import RetentionTables
from store.schema import MIGRATIONS
from store.sqlite import SQLite
from store.transfer import TransferTables

SERVERS = ("postgresql", "postgres")  # providers write the scheme of PostgreSQL in both ways
COPIES = "chats"  # the folder for copies of a store that has none of its own


class Store:
    """`renderer` is the version of the markup that callers hand in as HTML.

    With `read_only` nothing on the disk changes, whatever is called: what would write raises
    StoreUnavailable, and so does a store that is missing, or of another release.
    """

    def __init__(self, url: str, root: Path, renderer: int, read_only: bool = False) -> None:
        self._read_only = read_only
        self.database = database_of(url, root, read_only)
        self.portal = PortalTables(self.database)
        self.chats = ChatTables(self.database)
        self.dialogs = DialogTables(self.database)
        self.removal = Removal(self.database)
        self.messages = MessageTables(self.database, renderer)
        self.conversations = ConversationTables(self.database)
        self.found_deleted = FoundDeleted(self.database)
        self.queue = QueueTables(self.database)
        self.limits = LimitTables(self.database)
        self.epochs = EpochTables(self.database)
        self.logins = LoginTables(self.database)
        self.overview = Overview(self.database)
        self.counts = CountTables(self.database)
        self.blocks = BlockTables(self.database)
        self.retention = RetentionTables(self.database)
        self.lost = LostTables(self.database, renderer)
        self.past = PastTables(self.database, renderer)
        self.people = PeopleTables(self.database)
        self.transfer = TransferTables(self.database, renderer)
        self.releases = ReleaseTables(self.database)
        self.rendering = RenderingTables(self.database, renderer)
        self.notes = Notes(self.database)
        self.contents = ContentTables(
            self.database, None if is_of_server(url) else self.database.folder
        )

    def open(self) -> None:
        """Make what is missing and bring the schema up to date."""
        self.database.open()

    def now(self) -> float:
        """Unix seconds, by the same clock on all hosts: what is stored has no other times."""
        return self.database.now()

    def write_fault(self) -> StoreUnavailable | None:
        """What keeps the service from writing; of a store that is opened to be read only."""
        return self.database.write_fault() if self._read_only else None

    def hurry(self) -> None:
        """The process is about to end: from now on nobody waits long for others."""
        self.database.hurry()

    def close(self) -> None:
        self.database.close()


def database_of(url: str, root: Path, read_only: bool = False) -> Database:
    """The database of an address such as `sqlite:///chats/chats.db`, relative to `root`."""
    if is_of_server(url):
        return _database_of_server(url, root / COPIES, read_only)
    path = file_of(url, root)
    if read_only:
        return ReadOnlySQLite(path, len(MIGRATIONS))
    return SQLite(path, MIGRATIONS)


def is_of_server(url: str) -> bool:
    """Whether the store is on a server, which hosts may share, and no file of this host."""
    return url.partition("://")[0] in SERVERS


def _database_of_server(url: str, folder: Path, read_only: bool) -> Database:
    # Imported where it is needed: what it needs is installed only for those who use it.
    from store.postgresql import PostgreSQL  # noqa: PLC0415

    return PostgreSQL(url, folder, read_only)


def local_file(url: str, root: Path) -> Path:
    """The store's file. Of a store on a server: where it would be here, among the copies of it.

    The service's user owns that folder, as well as visitors' files.
    """
    return root / COPIES / "chats.db" if is_of_server(url) else file_of(url, root)


def file_of(url: str, root: Path) -> Path:
    """The file in which all of a store is kept."""
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not path:
        known = re.match("([a-z+]+)://", url)  # anything else may be, or hold, a password
        named = f', not "{known[1]}:..."' if known else ""
        meant = "sqlite:///path/to/file.db or postgresql://user@host/name"
        raise ValueError(f"storage.url: use {meant}{named}")
    return root / path
