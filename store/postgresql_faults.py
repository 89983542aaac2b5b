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

# What each reason is called in the log; `doctor.server_…` says it at length.
REASONS = {
    "login": "the server does not accept the user and password of storage.url",
    "closed": "the server lets nobody in from this host (pg_hba.conf)",
    "unencrypted": "the server lets nobody in without TLS",
    "no_database": "the database of storage.url does not exist",
    "no_schema": "the schema that storage.url names does not exist",
    "rights": "the user of storage.url may not make or use the tables",
    "connections": "the server has no free connection",
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
PASSING = {"connections", "no_host", "away"}  # this may be over in a moment
BY_STATE = {
    "28P01": "login",
    "28000": "login",
    "3D000": "no_database",
    "42501": "rights",
    "53300": "connections",
}
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
    if error.sqlstate:
        return BY_STATE.get(error.sqlstate)
    said = str(error)
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
