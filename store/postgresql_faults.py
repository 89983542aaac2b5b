"""What keeps a PostgreSQL server from being our store until somebody changes something.

Before a session exists the server tells its reason as a sentence alone, in its own language, so
these are known by their words in English and in Russian. Knows no tables.
"""

import re
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import psycopg

from store.database import ServerUnusable

OLDEST = 14  # release of PostgreSQL: the first that ends the session of a host that hangs
LOOKS = 3  # at the server's processes, until a shared one has shown itself

# Rows of some 140 KB that have to be kept for a moment, with the least memory that there can be.
KEEP_ON_DISK = """begin; set local work_mem = '64kB';
    select count(*) from generate_series(1, 10000); commit"""

# What each reason is called in the log; `doctor.server_…` says it at length.
REASONS = {
    "login": "the server does not accept the user and password of storage.url",
    "closed": "the server lets nobody in from this host (pg_hba.conf)",
    "unencrypted": "the server lets nobody in without TLS",
    "no_database": "the database of storage.url does not exist",
    "no_schema": "the schema that storage.url names does not exist",
    "rights": "the user of storage.url may not make or use the tables",
    "connections": "the server has no free connection",
    "silent": "the server lets us in and does not answer; a pooler before it may have no free"
    " connection",
    "no_host": "the host of storage.url is not known",
    "away": "nobody answers at the host and port of storage.url",
    "no_tls": "storage.url asks for TLS, which the server does not have",
    "certificate": "the server's certificate is not the one that storage.url asks for",
    "not_postgresql": "what answers at the host and port of storage.url is no PostgreSQL server",
    "address": "storage.url has a part that the server or its driver does not know",
    "pooled": "a pooler between us and the server gives one session to several of ours: it must be"
    " in session mode",
    "old": f"PostgreSQL {OLDEST} or newer is needed",
    "encoding": "the database must be in UTF8",
}  # fmt: skip
PASSING = {"connections", "silent", "no_host", "away"}  # this may be over in a moment
BY_STATE = {
    "28P01": "login",
    "28000": "login",
    "3D000": "no_database",
    "42501": "rights",
    "53300": "connections",
}
OF_CONNECTIONS = "08"  # what poolers say of themselves has this state, or none
OF_POOLERS = (
    "query_wait_timeout|no more connections allowed|connections? (limit )?exceeded"
    "|max clients reached|timed.out waiting (to acquire|for) .*connection"
)
# The first that is found counts.
BY_WORDS = [
    (reason, re.compile(words, re.IGNORECASE))
    for reason, words in (
        ("unencrypted", "pg_hba.conf .*(no encryption|SSL off|без шифрования|SSL выкл)"),
        ("closed", "pg_hba.conf"),
        ("rights", "permission denied for|доступ к базе .* запрещён|нет доступа к"),
        ("no_database", "database .* does not exist|база данных .* не существует"),
        ("login", "authentication failed|no password supplied|not permitted to log in"),
        ("login", "role .* does not exist|роль .* не существует|проверку подлинности|вход запрещ"),
        ("connections", "too many (connections|clients)|remaining connection slots"),
        ("connections", "слишком много (подключений|клиентов)|оставшиеся слоты"),
        ("connections", OF_POOLERS),
        ("pooled", "pooling mode"),
        ("not_postgresql", "invalid response to SSL|unexpected response|expected authentication"),
        ("no_tls", "does not support SSL"),
        ("certificate", "certificate"),
        ("address", "unrecognized configuration|unsupported startup|нераспознанный параметр"),
        ("address", "invalid .*(value|option|port)|connection is bad: invalid"),
        ("no_host", "failed to resolve host|could not translate host"),
        ("away", "connection (refused|timeout)|failed: (connection timed out|timeout expired)"),
        ("away", "no route to host|network is unreachable"),
        ("away", "no such file or directory|host is down|permission denied$"),
    )
]  # fmt: skip


def reason_of(error: psycopg.Error) -> str | None:
    """A key of REASONS, or None where it is something else."""
    said, state = str(error), error.sqlstate or ""
    if state.startswith(OF_CONNECTIONS) and re.search(OF_POOLERS, said, re.IGNORECASE):
        return "connections"
    if state:
        return BY_STATE.get(state)
    return next((reason for reason, words in BY_WORDS if words.search(said)), None)


def unusable(reason: str, said: str = "") -> ServerUnusable:
    """`said` is what the server says, without secrets."""
    return ServerUnusable(reason, REASONS[reason] + (f" ({said})" if said else ""), said)


def check_server(
    session: psycopg.Connection[Any], opened: Callable[[], psycopg.Connection[Any]]
) -> None:
    """Raise ServerUnusable where a new session's server cannot keep what we write, or our locks.

    `opened` gives another session with the same server.
    """
    info = session.info
    if info.server_version < OLDEST * 10_000:
        raise unusable("old", f"PostgreSQL {info.server_version // 10_000}")
    encoding = info.parameter_status("server_encoding") or "UTF8"
    if encoding != "UTF8":
        raise unusable("encoding", encoding)
    # Whoever stands between answers for the server, and gives a number of its own.
    if _process(session) != info.backend_pid and _is_shared(session, opened):
        raise unusable("pooled")


def check_room(session: psycopg.Connection[Any]) -> None:
    """Raise psycopg.errors.DiskFull where the disk of the database has no room.

    A row that is changed often finds room in its own page even then. Rows that do not fit into
    memory go into a temporary file beside the tables: that needs no lock, and leaves nothing.
    """
    try:
        session.execute(KEEP_ON_DISK, prepare=False)
    except psycopg.errors.ConfigurationLimitExceeded:  # `temp_file_limit`: nobody can tell
        session.execute("rollback", prepare=False)
    except psycopg.errors.DiskFull:
        session.execute("rollback", prepare=False)
        raise


def _is_shared(
    session: psycopg.Connection[Any], opened: Callable[[], psycopg.Connection[Any]]
) -> bool:
    """Whether two sessions of ours have had one process of the server, or one has had two."""
    with suppress(psycopg.OperationalError), closing(opened()) as other:
        pairs = [(_process(session), _process(other)) for _ in range(LOOKS)]
        return len({*pairs}) > 1 or pairs[0][0] == pairs[0][1]
    return False


def _process(session: psycopg.Connection[Any]) -> int:
    row = session.execute("select pg_backend_pid()", prepare=False).fetchone()
    return int(next(iter(row.values())) if isinstance(row, dict) else row[0]) if row else 0
