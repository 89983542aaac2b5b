"""PostgreSQL: one database for all processes of all hosts, as `storage.url` names it.

What a transaction has committed is on the server's disk. Revisions are in the order of commits,
because one transaction at a time writes, as in SQLite. Has transactions, locks and hints; knows no
table.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from urllib.parse import unquote, urlsplit

from psycopg import errors

from store.as_owner import as_owner_of
from store.database import (
    Connection,
    DiskFull,
    Hints,
    Lock,
    NobodysLock,
    OnlyReading,
    Row,
    StoreNewer,
    StoreReadOnly,
    StoreUnavailable,
    Waiting,
    patient_lock,
)
from store.fence import fences_of
from store.log import PATIENCE_SECONDS
from store.moving import write_copy_of
from store.postgresql_faults import check_room
from store.postgresql_link import (
    Patience,
    Pool,
    Session,
    connect,
    our_errors,
)
from store.postgresql_locks import HELD, Locks, number_of
from store.postgresql_rows import ServerRows
from store.postgresql_schema import VERSION, WRITE, Found, check_schema, found_in, migrate
from store.postgresql_signals import Listening
from store.postgresql_transaction import Transaction
from store.schema import MIGRATIONS
from store.server_clock import ServerClock
from store.together import Together

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2  # whoever only looks says at once that the server is away


class PostgreSQL:
    """A `store.database.Database`. Nothing is opened before the first use."""

    def __init__(self, url: str, folder: Path, read_only: bool = False) -> None:
        """`folder` is where copies of the store are kept on this host."""
        self.url = url
        self._folder = folder
        self._read_only = read_only
        self._name = unquote(urlsplit(url).path.removeprefix("/"))
        self._schema = ""  # as the first session finds it
        self._had_store = False  # this process has used one
        self._version = 0  # of its tables, as the latest session found them
        self._clock = ServerClock()
        self._patience = Patience(LOOK_SECONDS if read_only else PATIENCE_SECONDS)
        self._pool = Pool(self._open_session, self._patience)
        self._locks = Locks(self._open_session)
        self._together = Together(ServerTransactions(self._pool, self.number_of, self.channel))

    @property
    def place(self) -> str:
        return f"PostgreSQL {self._name}"

    @property
    def folder(self) -> Path:
        return self._folder

    def open(self) -> None:
        self.rows("select 1")

    def close(self) -> None:
        self._pool.forget()
        self._locks.close()
        self._had_store = False  # whoever opens it again begins as if it were the first time

    def _open_session(self) -> Session:
        with as_owner_of(self._folder) if self._read_only else nullcontext():
            session = connect(self.url, self._read_only)
        try:
            if self._read_only:
                found = check_schema(session, self.place)
            else:
                found = migrate(session, self.place, self._had_store)
                self._had_store = True
            session.version = found.version
            self._clock.look(session)
            self._tell(found)
            if not self._schema:
                row = session.execute("select current_schema() as name").fetchone()
                self._schema = str(row["name"]) if row else ""
        except BaseException:
            session.close()
            raise
        return session

    def _tell(self, found: Found) -> None:
        """Say once that hosts of a newer release are at work, or will be."""
        if len(MIGRATIONS) < found.version != self._version:
            log.warning(
                "a newer release has brought the store to schema %d; this release, with %d, works"
                " on it until it is updated, too", found.version, len(MIGRATIONS),
            )  # fmt: skip
        self._version = found.version

    # -- transactions

    def rows(self, sql: str, *values: object, **named: object) -> list[Row]:
        def question(session: Session) -> list[Row]:
            return session.statements.ask(sql, named or values)  # type: ignore[return-value]

        with our_errors():
            return self._pool.ask(question)

    def row(self, sql: str, *values: object, **named: object) -> Row | None:
        rows = self.rows(sql, *values, **named)
        return rows[0] if rows else None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        if self._read_only:
            raise OnlyReading
        with fences_of(self) as begin, self._together.write(self._patience.begin()) as db:
            begin(db)
            yield db

    def channel(self) -> str:
        """Of the hints of this store."""
        return f"sitechat_{self.number_of('hints') & (2**64 - 1):x}"

    def number_of(self, name: str) -> int:
        """Of a lock of this store, which is in one schema of the database."""
        return number_of(self._schema, name)

    def briefly(self, seconds: float) -> AbstractContextManager[None]:
        return self._patience.briefly(seconds)

    def hurry(self) -> None:
        self._patience.hurry()

    def settle(self, at_once: bool = False) -> None:
        """Look at the server's clock now and then; the rest the server does."""
        if not at_once and self._clock.is_due():
            with our_errors():
                self._pool.ask(self._clock.look)

    def check_room(self) -> None:
        with our_errors():
            self._pool.ask(check_room)

    def write_fault(self) -> StoreUnavailable | None:
        """What would keep a service from writing, as far as that can be seen; None if nothing."""
        try:
            self.check_room()
        except DiskFull as error:
            return error
        row = self.row(
            "select pg_is_in_recovery() as standby, (select reset_val from pg_settings"
            " where name = 'default_transaction_read_only') as read_only,"
            " has_table_privilege('messages', 'insert, update, delete') as may_write"
        )
        if row is None:
            return None
        if row["standby"] or not row["may_write"]:
            return StoreReadOnly("the database may only be read")
        if row["read_only"] == "on":  # providers set it where a disk is nearly full
            return StoreReadOnly("the database may only be read", "default_transaction_read_only")
        return None

    def now(self) -> float:
        return self._clock.now()

    def clock_ahead(self) -> float:
        return time.time() - self._clock.now()

    def back_up(self, target: Path) -> None:
        with self._at_length() as session:
            session.execute("begin isolation level repeatable read read only", prepare=False)
            write_copy_of(ServerRows(session), target)

    @contextmanager
    def alone(self) -> Iterator[ServerRows]:
        """All rows, to be read or filled in one transaction; nobody else writes meanwhile."""
        with self._at_length() as session:
            session.execute("select pg_advisory_lock(%s)", [self.number_of(WRITE)])
            session.execute("begin isolation level repeatable read", prepare=False)
            yield ServerRows(session)
            session.execute("commit")

    @contextmanager
    def _at_length(self) -> Iterator[Session]:
        """A session in which a statement may take as long as it does; its end undoes all."""
        with our_errors():
            session = self._open_session()
            try:
                # This release does not know all tables and columns of a newer one.
                if found_in(session).version > len(MIGRATIONS):
                    raise StoreNewer(self.place)
                session.unhurried()
                yield session
            finally:
                session.close()

    # -- between processes

    @contextmanager
    def try_lock(self, name: str) -> Iterator[Lock | None]:
        if not self._schema:
            self.open()
        number = self.number_of(name)
        if not self._read_only:
            with self._locks.try_lock(name, number) as lock:
                yield lock
            return
        with our_errors():  # a look alone: it is not taken from anybody
            found = self._pool.ask(lambda session: session.execute(HELD, [number]).fetchone())
        yield None if found else NobodysLock()

    def lock(self, name: str, patience: float) -> AbstractContextManager[Lock]:
        return patient_lock(self.try_lock, name, patience)

    def hints(self) -> Hints:
        if self._read_only:
            raise OnlyReading
        return Listening(self._open_session, self.channel)


class ServerTransactions:
    """The write transactions of one process, for `Together`; one process has its turn at a time."""

    def __init__(
        self, pool: Pool, number_of: Callable[[str], int], channel: Callable[[], str]
    ) -> None:
        self._pool = pool
        self._number_of = number_of
        self._channel = channel
        self._session: Session | None = None  # that of the present transaction
        self._transaction: Transaction | None = None

    def begin(self, wait: Waiting) -> Transaction:
        with our_errors():
            self._session, _ = self._pool.asked(lambda session: self._begin(session, wait))
        self._transaction = Transaction(self._session)
        return self._transaction

    def _begin(self, session: Session, wait: Waiting) -> None:
        """Begin when it is our turn; nothing is written before, so it may be tried again."""
        number = self._number_of(WRITE)
        before = None
        while True:
            milliseconds = max(10, int(wait.seconds * 1000))
            try:
                found = session.statements.run(
                    f"begin; set local lock_timeout = {milliseconds};"
                    f" select pg_advisory_xact_lock({number}); set local lock_timeout = '5s';"
                    f" {VERSION}"
                )
            except errors.LockNotAvailable:
                session.statements.run("rollback")
                holder = self._holder(session, number)
                if wait.is_over() or holder == before:
                    raise
                before = holder  # whoever waits briefly waits on as long as others get on
                continue
            if not found or found[0]["version"] != session.version:
                # What this session has prepared gives the columns of before.
                raise errors.FeatureNotSupported("a newer release has changed the tables")
            return

    def _holder(self, session: Session, number: int) -> str | None:
        """The transaction that writes now."""
        held = HELD.replace("select 1", "select virtualtransaction as name")
        row = session.execute(held, [number]).fetchone()
        return str(row["name"]) if row else None

    def commit(self) -> None:
        """Commit, and send a hint with it.

        If the server's answer is lost nobody knows whether it was committed: whoever asked hears
        that it was not, and asks again for the same.
        """
        self._end(f"notify {self._channel()}", "commit")

    def rollback(self) -> None:
        self._end("rollback")

    def _end(self, *statements: str) -> None:
        session, self._session = self._session, None
        transaction, self._transaction = self._transaction, None
        # Together begins before it ends.
        assert session is not None and transaction is not None  # noqa: S101, PT018
        try:
            for statement in statements:
                transaction.execute(statement)
            transaction.end()
        finally:
            self._pool.give_back(session)
