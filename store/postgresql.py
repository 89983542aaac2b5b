"""PostgreSQL: one database for all processes of all hosts, as `storage.url` names it.

What a transaction has committed is on the server's disk. Revisions are in the order of commits,
because one transaction at a time writes, as in SQLite. Has transactions, locks and hints; knows no
table.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from store.database import (
    Connection,
    Hints,
    Lock,
    OnlyReading,
    Row,
    StoreReadOnly,
    StoreUnavailable,
)
from store.moving import write_copy_of
from store.postgresql_link import (
    Dialect,
    Patience,
    Pool,
    Session,
    connect,
    in_dialect,
    our_errors,
)
from store.postgresql_schema import check_schema, migrate
from store.postgresql_signals import HELD, Listening, Locks, number_of, patient_lock

WRITE = "write"  # the lock that each write transaction holds


class PostgreSQL:
    """A `store.database.Database`. Nothing is opened before the first use."""

    def __init__(self, url: str, folder: Path, read_only: bool = False) -> None:
        """`folder` is where copies of the store are kept on this host."""
        self.url = url
        self._folder = folder
        self._read_only = read_only
        self._name = conninfo_to_dict(url).get("dbname") or "postgres"
        self._schema = ""  # as the first session finds it
        self._had_store = False  # this process has used one
        self._patience = Patience()
        self._pool = Pool(self._open_session, self._patience)
        self._locks = Locks(self._open_session)

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
        session = connect(self.url, self._read_only)
        try:
            if self._read_only:
                check_schema(session, self.place)
            else:
                migrate(session, self.place, self._had_store)
                self._had_store = True
            if not self._schema:
                row = session.execute("select current_schema() as name").fetchone()
                self._schema = str(row["name"]) if row else ""
        except BaseException:
            session.close()
            raise
        return session

    # -- transactions

    def rows(self, sql: str, *values: object, **named: object) -> list[Row]:
        statement, given = in_dialect(sql), named or values

        def question(session: Session) -> list[Row]:
            return session.execute(statement, given).fetchall()  # type: ignore[return-value]

        with our_errors():
            return self._pool.ask(question)

    def row(self, sql: str, *values: object, **named: object) -> Row | None:
        rows = self.rows(sql, *values, **named)
        return rows[0] if rows else None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        if self._read_only:
            raise OnlyReading
        with our_errors():
            session, _ = self._pool.asked(self._begin)
            try:
                yield Dialect(session)
                # If the server's answer to this is lost nobody knows whether it was committed:
                # whoever asked hears that it was not, and asks again for the same.
                session.execute(f"notify {self._channel()}; commit", prepare=False)
            except BaseException:
                with suppress(psycopg.Error):
                    session.execute("rollback", prepare=False)
                raise
            finally:
                self._pool.give_back(session)

    def _begin(self, session: Session) -> None:
        """Begin a write transaction when it is its turn; nothing is written before."""
        number = number_of(self._schema, WRITE)
        latest = self._patience.latest()
        before = None
        while True:
            milliseconds = int(self._patience.seconds() * 1000)
            try:
                session.execute(
                    f"begin; set local lock_timeout = {milliseconds};"
                    f" select pg_advisory_xact_lock({number}); set local lock_timeout = '5s'",
                    prepare=False,
                )
                return
            except errors.LockNotAvailable:
                session.execute("rollback", prepare=False)
                # Whoever waits briefly waits on as long as others get on.
                holder = self._holder(session, number)
                if time.monotonic() > latest or holder == before:
                    raise
                before = holder

    def _holder(self, session: Session, number: int) -> str | None:
        """The transaction that writes now."""
        held = HELD.replace("select 1", "select virtualtransaction as name")
        row = session.execute(held, [number]).fetchone()
        return str(row["name"]) if row else None

    def _channel(self) -> str:
        return f"sitechat_{number_of(self._schema, 'hints') & (2**64 - 1):x}"

    def briefly(self, seconds: float) -> AbstractContextManager[None]:
        return self._patience.briefly(seconds)

    def hurry(self) -> None:
        self._patience.hurry()

    def settle(self, at_once: bool = False) -> None:
        """Nothing: the server does it."""

    def write_fault(self) -> StoreUnavailable | None:
        """What would keep a service from writing, as far as that can be seen; None if nothing."""
        row = self.row(
            "select pg_is_in_recovery() as standby,"
            " has_table_privilege('messages', 'insert, update, delete') as may_write"
        )
        if row is not None and (row["standby"] or not row["may_write"]):
            return StoreReadOnly("the database may only be read")
        return None

    def back_up(self, target: Path) -> None:
        with self.reading() as session:
            write_copy_of(session, target)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees the store as it is at one moment, however long it reads."""
        with our_errors():
            session = self._open_session()
            try:
                session.unhurried()
                session.execute("begin isolation level repeatable read read only", prepare=False)
                yield session
            finally:
                session.close()

    # -- between processes

    @contextmanager
    def try_lock(self, name: str) -> Iterator[Lock | None]:
        if not self._schema:
            self.open()
        number = number_of(self._schema, name)
        if not self._read_only:
            with self._locks.try_lock(name, number) as lock:
                yield lock
            return
        with our_errors():  # a look alone: it is not taken from anybody
            found = self._pool.ask(lambda session: session.execute(HELD, [number]).fetchone())
        yield None if found else _NobodysLock()

    def lock(self, name: str, patience: float) -> AbstractContextManager[None]:
        return patient_lock(self.try_lock, name, patience)

    def hints(self) -> Hints:
        if self._read_only:
            raise OnlyReading
        return Listening(self._open_session, self._channel)


class _NobodysLock:
    """What a look at a lock gives when nobody holds it."""

    def is_held(self) -> bool:
        return False
