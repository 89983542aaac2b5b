"""Sessions with a PostgreSQL server: how they are opened and kept, and what can go wrong with them.

No error says more than the server's own words: what the driver tells of an address stays here.
Knows no tables.
"""

import os
import queue
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import gevent  # type: ignore[import-untyped]
import psycopg
from psycopg import errors
from psycopg.adapt import Buffer
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg.types.string import StrDumperUnknown
from psycopg.waiting import Wait as Wanted

from store.database import (
    DiskFull,
    StoreGone,
    StoreLocked,
    StoreReadOnly,
    StoreUnavailable,
)
from store.log import HURRY_SECONDS, PATIENCE_SECONDS
from store.moving import without_nul
from store.postgresql_faults import PASSING, check_server, reason_of, unusable
from store.postgresql_statements import Statements
from turns import has_greenlets

ANSWER_SECONDS = 15.0  # to a statement; then the server is taken to hang, and the session is closed
FIRST_ANSWER_SECONDS = 5.0  # in a new session; a pooler lets us in before it has one for us
SESSIONS = 8  # of one process, without those of its locks and its hints
TRY_AGAIN_SECONDS = 0.05  # between two tries to reach a server that is about to be back

# Unless the address says otherwise. A server that is cut off is noticed after some 12 seconds.
CONNECTING = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 12_000,
    "application_name": "sitechat",
}
# Of a session, whatever the server's own settings are. A transaction is durable when it is
# committed. The server ends a transaction whose program has been silent for 3 s. That is sooner
# than others, who wait for its lock, give up (`lock_timeout`, 5 s).
SETTINGS = """select
    set_config('synchronous_commit', case current_setting('synchronous_commit')
        when 'remote_apply' then 'remote_apply' else 'on' end, false),
    set_config('default_transaction_isolation', 'read committed', false),
    set_config('lock_timeout', '5s', false),
    set_config('statement_timeout', '12s', false),
    set_config('idle_in_transaction_session_timeout', '3s', false),
    set_config('tcp_keepalives_idle', '5', false),
    set_config('tcp_keepalives_interval', '2', false),
    set_config('tcp_keepalives_count', '3', false)"""
ONLY_READING = "set default_transaction_read_only = on"
# While a statement takes long, so that what a program that was killed holds is soon free; only
# servers on Linux can do so in all releases.
LOOK_FOR_CLIENT = (
    "select set_config('client_connection_check_interval', '2s', {local}) where version() ~ 'linux'"
)
AT_LENGTH = "set statement_timeout = 0; set idle_in_transaction_session_timeout = 0"

KINDS: dict[str, type[StoreUnavailable]] = {
    "25006": StoreReadOnly,  # a standby, or a database that may only be read
    "53100": DiskFull,
    "55P03": StoreLocked,
    "57014": StoreLocked,  # the statement took too long
}
# These come from our own mistakes, as SQLite's: nobody can wait for their end. Their class is kept,
# but of what the server tells only the name of the fault: the rest has the row's values.
OUR_FAULTS = (psycopg.IntegrityError, psycopg.ProgrammingError, psycopg.DataError)
NO_PRIMARY = re.compile("session is read-only|server is in hot standby mode")
WILL_BE_BACK = re.compile("starting up|shutting down|recovery|too many|remaining connection")

IDLE, NO_PIPELINE = psycopg.pq.TransactionStatus.IDLE, psycopg.pq.PipelineStatus.OFF
CLOSED = "the session was closed"

T = TypeVar("T")


class Session(psycopg.Connection[dict[str, Any]]):
    """A connection that waits for no answer for ever."""

    patience: float | None = ANSWER_SECONDS
    version = 0  # of the tables, when it was opened
    only_reads = False  # a write was refused as read-only; a new session may be allowed to write
    _hub: Any = None  # of gevent, in whose loop the watchers of our socket are
    _readable: Any = None
    _writable: Any = None  # only while we wait

    @cached_property
    def statements(self) -> Statements:
        return Statements(self)

    def wait(
        self, gen: Any, interval: float = 0.1, timeout: float | None = None
    ) -> Any:  # the result of the generator
        timeout = self.patience if timeout is None else timeout
        if has_greenlets():  # also if the driver was imported before gevent took its place
            return self._wait_among_greenlets(gen, timeout)
        return super().wait(gen, interval, timeout)

    def _wait_among_greenlets(self, gen: Any, timeout: float | None) -> Any:
        """Let others go on until the server answers, with one watcher for all statements.

        The driver's own way makes one for each wait, which costs more than the rest of it.
        """
        silent = psycopg.OperationalError("the server does not answer")
        try:
            wanted = next(gen)
            with gevent.Timeout(timeout, silent):
                while True:
                    self._wait_for(wanted)
                    wanted = gen.send(wanted)
        except StopIteration as end:
            return end.value

    def _wait_for(self, wanted: int) -> None:
        hub = gevent.get_hub()
        if self._hub is not hub:  # another thread had the session before
            self._forget_watchers()
            self._hub, self._readable = hub, hub.loop.io(self.pgconn.socket, int(Wanted.R))
        if wanted == Wanted.R:
            hub.wait(self._readable)
            return
        # More to send than the system takes at once.
        watcher = self._writable = hub.loop.io(self.pgconn.socket, int(wanted))
        try:
            hub.wait(watcher)
        finally:
            self._writable = None
            watcher.close()

    def _forget_watchers(self) -> None:
        """Whoever waits for one hears at once that the session is closed."""
        hub, watchers = self._hub, (self._readable, self._writable)
        self._hub = self._readable = self._writable = None
        if hub is not None:
            for watcher in watchers:
                hub.cancel_wait(watcher, psycopg.OperationalError(CLOSED), close_watcher=True)

    def close(self) -> None:
        self._forget_watchers()
        super().close()

    def is_free(self) -> bool:
        """Whether it is open and in the middle of nothing."""
        if self.closed or self.pgconn.transaction_status != IDLE:
            return False
        return self.pgconn.pipeline_status == NO_PIPELINE  # else a commit was refused

    def unhurried(self) -> None:
        """From now on an answer may take as long as it does."""
        self.execute(AT_LENGTH, prepare=False)
        self.execute(LOOK_FOR_CLIENT.format(local="false"), prepare=False)
        self.patience = None


class _Text(StrDumperUnknown):
    """Texts without the one character that PostgreSQL cannot keep."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(without_nul(obj))


def connect(url: str, read_only: bool = False) -> Session:
    """A new session. Raises psycopg.Error, whose text may hold the address."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # its text may hold the address
        raise unusable("address") from None
    missing = {name: value for name, value in CONNECTING.items() if name not in given}

    def opened() -> Session:
        session = Session.connect(url, autocommit=True, row_factory=dict_row, **missing)  # type: ignore[arg-type]
        session.patience = FIRST_ANSWER_SECONDS
        return session

    session, began = opened(), time.monotonic()
    try:
        check_server(session, opened)
        session.adapters.register_dumper(str, _Text)
        session.execute(SETTINGS, prepare=False)
        if read_only:
            session.execute(ONLY_READING, prepare=False)
    except BaseException as error:
        session.close()
        is_late = time.monotonic() - began > FIRST_ANSWER_SECONDS
        if is_late and isinstance(error, psycopg.OperationalError) and not error.sqlstate:
            raise unusable("silent") from None
        raise
    del session.patience  # from now on that of all sessions
    return session


# -- errors


def said_by(error: psycopg.Error) -> str:
    """What the server says, without names of users, hosts and databases."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    failed = [line for line in lines if "failed: " in line] or lines[:1]
    said = error.diag.message_primary or failed[-1].rpartition("failed: ")[2]
    return re.sub(r"""(["'])[^"']*\1|\S*://\S*|password=\S+""", "…", said)


def unavailable(error: psycopg.Error) -> StoreUnavailable:
    """The error as our own, with its reason."""
    said = said_by(error)
    reason = reason_of(error)
    if reason is not None:
        return unusable(reason, said)
    if NO_PRIMARY.search(said):  # of the hosts in the address, and only a primary is wanted
        return StoreReadOnly(said, said)
    kind = KINDS.get(error.sqlstate or "", StoreUnavailable)
    return kind(f"{type(error).__name__}: {said}", said)


def is_lost(error: psycopg.Error) -> bool:
    """Whether the same may succeed in another session, maybe a little later."""
    state = error.sqlstate or ""
    if state == errors.FeatureNotSupported.sqlstate:  # a newer release has changed a table
        return True
    if state:
        return state.startswith(("08", "57P", "53300"))
    # Else nobody answers, the session ended, or the server says why it does not begin one.
    reason, said = reason_of(error), str(error)
    if reason is not None:
        return reason in PASSING
    return "FATAL" not in said or WILL_BE_BACK.search(said) is not None


def _without_values(error: psycopg.Error) -> psycopg.Error:
    said = error.diag.message_primary or ""
    if isinstance(error, psycopg.DataError):  # it quotes the value
        said = said_by(error)
    return type(error)(said or type(error).__name__)


@contextmanager
def our_errors() -> Iterator[None]:
    try:
        yield
    except errors.UndefinedTable:
        raise StoreGone("the tables of the store are gone") from None
    except errors.InsufficientPrivilege as error:
        raise unavailable(error) from None
    except OUR_FAULTS as error:
        raise _without_values(error) from None
    except psycopg.Error as error:
        raise unavailable(error) from None


class Patience:
    """How long those who use one server wait for others, or for the server to be back."""

    def __init__(self, seconds: float = PATIENCE_SECONDS) -> None:
        self._seconds = seconds  # with a server that is away
        self._ends_at = float("inf")  # on the monotonic clock: the process is about to end
        self._down_since: float | None = None
        self._brief: ContextVar[float] = ContextVar("brief", default=PATIENCE_SECONDS)

    @contextmanager
    def briefly(self, seconds: float) -> Iterator[None]:
        former = self._brief.set(min(seconds, PATIENCE_SECONDS))
        try:
            yield
        finally:
            self._brief.reset(former)

    def hurry(self) -> None:
        self._ends_at = min(self._ends_at, time.monotonic() + HURRY_SECONDS)

    def begin(self) -> "Wait":
        """Begin to wait for others who write."""
        left = max(0.01, self._ends_at - time.monotonic())
        return Wait(min(self._brief.get(), left), self.latest())

    def latest(self) -> float:
        """On the monotonic clock, when those end to wait who begin now."""
        return min(time.monotonic() + self._seconds, self._ends_at)

    def is_over(self, latest: float) -> bool:
        """Called whenever the server is not to be reached.

        Only the first ones wait for it: who comes during a long outage hears of it at once.
        """
        now = time.monotonic()
        if self._down_since is None:
            self._down_since = now
        return now > min(latest, self._down_since + self._seconds)

    def is_up(self) -> None:
        self._down_since = None


@dataclass(frozen=True)
class Wait:
    """One wait for others who write: as long as they get on, until `latest`."""

    seconds: float  # after which it is worth looking whether they do
    latest: float  # on the monotonic clock

    def is_over(self) -> bool:
        return time.monotonic() > self.latest


class Pool:
    """Sessions that are opened when they are needed, and kept for the next who needs one.

    Whoever cannot have one hears why from the server itself, and a lost one is replaced at once.
    """

    def __init__(self, opened: Callable[[], Session], patience: Patience) -> None:
        self._open = opened
        self._patience = patience
        self._idle: deque[Session] = deque()
        # A semaphore loses a place whenever a greenlet is killed while it has the semaphore's lock.
        self._places: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(SESSIONS):
            self._places.put(None)
        self._process = os.getpid()

    def take(self) -> Session:
        """A session, and a place for it. `give_back` ends this; raises StoreLocked."""
        try:
            self._places.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            raise StoreLocked("too many statements at once") from None
        if self._process != os.getpid():  # those of the process that has forked are not ours
            self._idle, self._process = deque(), os.getpid()
        try:
            with suppress(IndexError):
                return self._idle.pop()
            return self._open()
        except BaseException:
            self._places.put(None)
            raise

    def give_back(self, session: Session) -> None:
        """A session that was closed, or is in the middle of something, is not kept."""
        try:
            if session.only_reads:  # so do others that were opened at that time
                self.forget()
            if session.only_reads or not session.is_free():
                session.close()
            else:
                self._idle.append(session)
        finally:
            self._places.put(None)

    def forget(self) -> None:
        """Close all that nobody uses: one of them was lost, and so the others may be."""
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    def ask(self, question: Callable[[Session], T]) -> T:
        """Ask in a session; if it is lost, in another, as the question changes nothing."""
        session, answer = self.asked(question)
        self.give_back(session)
        return answer

    def asked(self, question: Callable[[Session], T]) -> tuple[Session, T]:
        """As `ask`; the session is the caller's then, who gives it back."""
        latest = self._patience.latest()
        while True:
            session = None
            try:
                session = self.take()
                answer = question(session)
                self._patience.is_up()
                return session, answer
            except BaseException as error:
                if session is not None:
                    if not isinstance(error, OUR_FAULTS):
                        session.close()
                    self.give_back(session)
                if not isinstance(error, psycopg.Error) or not is_lost(error):
                    raise
                self.forget()
                if self._patience.is_over(latest):
                    raise
            time.sleep(TRY_AGAIN_SECONDS)
