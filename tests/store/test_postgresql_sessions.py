"""A session of PostgreSQL in which something went wrong: what becomes of it, and what is said."""

import socket
import time
import traceback
from contextlib import suppress
from functools import partial
from unittest.mock import Mock

import gevent  # type: ignore[import-untyped]
import psycopg
import pytest
from psycopg.waiting import Wait
from store_parts import NOW, sql

from storage import Store
from store import postgresql_link
from store.database import StoreLocked
from store.postgresql_faults import reason_of
from store.postgresql_link import CLOSED, Session

SOON_SECONDS = 5.0  # far less than a session waits for an answer


def test_a_session_whose_commit_the_server_refuses_is_not_used_again(room: Store) -> None:
    room.notes.up_at.set(NOW)
    sql(
        room,
        "create function refuse() returns trigger language plpgsql as"
        " $$ begin raise sqlstate '55P03'; end $$;"
        " create constraint trigger refused after update on meta deferrable initially deferred"
        " for each row when (new.key = 'note.up_at') execute function refuse()",
    )

    for _ in range(2):
        with pytest.raises(StoreLocked):
            room.notes.up_at.set(NOW + 1)
        began = time.monotonic()
        assert room.notes.up_at.get() == NOW
        assert time.monotonic() - began < SOON_SECONDS


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("connection timeout expired", "away"),
        ('connection to server at "10.0.0.1", port 5432 failed: timeout expired', "away"),
        ('connection to server at "10.0.0.1", port 5432 failed: Connection timed out', "away"),
        ("wait timeout expired", None),
        ("canceling statement due to statement timeout", None),
    ],
)
def test_nobody_answers_only_where_there_is_no_session_yet(said: str, reason: str | None) -> None:
    assert reason_of(psycopg.OperationalError(said)) == reason


SECRET = "what-a-visitor-wrote"
NULL = (
    "insert into messages (id, revision, position, chat_id, author, text, html, sent_at)"
    f" values (1, 1, 1, 'c', null, '{SECRET}', '', 1)"
)


@pytest.mark.parametrize(
    ("fault", "statement", "values", "told"),
    [
        (psycopg.errors.NotNullViolation, NULL, (), "author"),
        (psycopg.DataError, "select cast(? as bigint)", (SECRET,), "bigint"),
        (psycopg.ProgrammingError, f"select nothing, '{SECRET}' from chats", (), "nothing"),
    ],
)
def test_our_own_mistake_is_named_without_what_the_row_holds(
    room: Store, fault: type[psycopg.Error], statement: str, values: tuple[str, ...], told: str
) -> None:
    for ask in (room.database.rows, partial(_within_a_write, room)):
        with pytest.raises(fault) as raised:
            ask(statement, *values)
        shown = "".join(traceback.format_exception(raised.value)).replace(statement, "")
        assert SECRET not in shown
        assert told in str(raised.value)


def _within_a_write(room: Store, statement: str, *values: str) -> None:
    with room.database.write() as db:
        db.execute(statement, values).fetchone()


def test_whoever_waits_in_a_session_that_another_closes_hears_of_it_at_once(
    room: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_link, "has_greenlets", lambda: True)
    session = postgresql_link.connect(url)
    waits = gevent.spawn(session.execute, "select pg_sleep(20)")
    gevent.sleep(0.1)
    assert not waits.ready()

    session.close()

    with pytest.raises(psycopg.OperationalError):
        waits.get(timeout=SOON_SECONDS)


@pytest.mark.parametrize("wanted", [Wait.R, Wait.W])
def test_nobody_waits_any_more_for_what_a_closed_session_would_say_or_take(wanted: Wait) -> None:
    session = Mock(_hub=None, _readable=None, _writable=None)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with suppress(BlockingIOError):
        while ours.send(bytes(100_000)):
            pass
    session.pgconn.socket = ours.fileno()
    session._forget_watchers = partial(Session._forget_watchers, session)
    waits = gevent.spawn(Session._wait_for, session, int(wanted))
    gevent.sleep(0.01)
    assert not waits.ready()

    session._forget_watchers()

    with pytest.raises(psycopg.OperationalError, match=CLOSED):
        waits.get(timeout=SOON_SECONDS)
    ours.close()
    theirs.close()


def test_a_session_that_another_thread_uses_leaves_nothing_in_the_loop_of_the_former(
    room: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_link, "has_greenlets", lambda: True)
    session, former = postgresql_link.connect(url), Mock()
    ours = session._readable
    session._hub = former

    session.execute("select 1")

    assert [call.args[0] for call in former.cancel_wait.call_args_list if call.args[0]] == [ours]
    session.close()
