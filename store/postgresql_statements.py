"""Statements in a session with PostgreSQL, by the driver's own parts and with little work for each.

A cursor of the driver costs twice what the server does for one of our short statements. And within
a transaction a statement goes to the server only when somebody asks for a result: what was said
until then goes together, with one wait for all of it. Knows no tables.
"""

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import psycopg
from psycopg import errors, pq
from psycopg.abc import Transformer
from psycopg.waiting import Ready, Wait

PREPARED_AFTER = 3  # uses of a statement in a session: then the server keeps its plan
PREPARED = 200  # statements of one session; what is asked often is asked soon
KNOWN = 1000  # statements: some have a place for each of a few hundred values

FAILED = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED)
TEXT = psycopg.adapt.PyFormat.TEXT

Values = Sequence[Any] | Mapping[str, Any]
Waits = Generator[Wait, Ready | int, None]

_PLACES = re.compile(r"'(?:[^']|'')*'|(\?)|(?<![:\w]):([a-z_][a-z_0-9]*)")


@lru_cache(2000)
def in_dialect(sql: str) -> tuple[bytes, tuple[str, ...]]:
    """The statement with the server's places, `$1`, for `?` and `:name`; and the names in order."""
    names: dict[str, int] = {}
    unnamed = 0

    def place(found: re.Match[str]) -> str:
        nonlocal unnamed
        if found[1]:
            unnamed += 1
            return f"${unnamed}"
        if found[2]:
            return f"${names.setdefault(found[2], len(names) + 1)}"
        return found[0]

    return _PLACES.sub(place, sql).encode(), tuple(names)


def error_of(result: pq.abc.PGresult) -> psycopg.Error | None:
    """Why a statement failed, or was not done because the one before it failed."""
    return errors.error_from_result(result) if result.status in FAILED else None


class Statement:
    """A statement with values of certain types, and what a session knows of it."""

    def __init__(self, text: bytes, types: tuple[int, ...]) -> None:
        self.text = text
        self.types = types
        self.uses = 0
        self.name = b""  # once the server has been told to keep it
        self.columns: tuple[str, ...] = ()
        self.error: psycopg.Error | None = None  # of its last preparation

    def take(self, result: pq.abc.PGresult) -> None:
        """Hear whether the server keeps it."""
        self.error = error_of(result)
        if self.error is not None:
            self.name = b""


class Asked(Protocol):
    """Whoever can bring the results of what was sent."""

    transformer: Transformer

    def fetch(self) -> None: ...


class Result:
    """A `store.database.Cursor`, whose rows are dictionaries."""

    def __init__(self, asked: Asked, statement: Statement) -> None:
        self._asked = asked
        self._statement = statement
        self._result: pq.abc.PGresult | None = None
        self.error: psycopg.Error | None = None
        self._next = 0  # row

    def take(self, result: pq.abc.PGresult) -> None:
        self._result = result
        self.error = error_of(result)

    @property
    def rowcount(self) -> int:
        return self._arrived().command_tuples or 0

    def fetchone(self) -> Any:
        rows = self._rows(self._next + 1)
        return rows[0] if rows else None

    def fetchall(self) -> list[Any]:
        return self._rows(self._arrived().ntuples)

    def _arrived(self) -> pq.abc.PGresult:
        if self._result is None:
            self._asked.fetch()
        if self.error is not None:
            raise self.error
        assert self._result is not None  # noqa: S101
        return self._result

    def _rows(self, end: int) -> list[dict[str, Any]]:
        result = self._arrived()
        first, self._next = self._next, min(end, result.ntuples)
        statement = self._statement
        if len(statement.columns) != result.nfields or not statement.name:
            names = [result.fname(number) or b"" for number in range(result.nfields)]
            statement.columns = tuple(name.decode() for name in names)
        columns, transformer = statement.columns, self._asked.transformer
        transformer.set_pgresult(result)
        return transformer.load_rows(
            first, self._next, lambda values: dict(zip(columns, values, strict=True))
        )


class Statements:
    """The statements of one session, and which of them its server keeps."""

    def __init__(self, session: psycopg.Connection[Any]) -> None:
        self.session = session
        self.transformer: Transformer = psycopg.adapt.Transformer.from_context(session)
        self._known: dict[tuple[bytes, tuple[int, ...]], Statement] = {}
        self._prepared = 0  # in all, so that no name is given twice

    def send(self, sql: str, values: Values) -> tuple[Statement, bool]:
        """Send one statement in a pipeline.

        Returns it, and whether a result of its preparation comes before its own.
        """
        statement, given = self._of(sql, values)
        prepares = self._prepare(statement)
        self._send(statement, given)
        return statement, prepares

    def ask(self, sql: str, values: Values) -> list[dict[str, Any]]:
        """The rows of one statement outside of transactions."""
        statement, given = self._of(sql, values)
        if self._prepare(statement):
            self.session.wait(arriving(self.session.pgconn, [statement]))
        self._send(statement, given)
        result = Result(self, statement)
        self.session.wait(arriving(self.session.pgconn, [result]))
        return result.fetchall()

    def run(self, script: str) -> list[dict[str, Any]]:
        """The rows of the last of several statements without values, which go together."""
        pgconn = self.session.pgconn
        pgconn.send_query(script.encode())
        *_, last = self.session.wait(_all_results(pgconn))
        result = Result(self, Statement(b"", ()))
        result.take(last)  # after one that failed nothing is done
        return result.fetchall()

    def fetch(self) -> None:
        """Nothing: `ask` has the result before anybody asks for it."""

    def _of(self, sql: str, values: Values) -> tuple[Statement, list[Any]]:
        text, names = in_dialect(sql)
        if isinstance(values, Mapping):
            values = [values[name] for name in names]
        given = list(self.transformer.dump_sequence(values, [TEXT] * len(values)))
        key = text, self.transformer.types or ()
        statement = self._known.get(key)
        if statement is None:
            if len(self._known) >= KNOWN:
                self._known = {key: one for key, one in self._known.items() if one.name}
            statement = self._known[key] = Statement(*key)
        statement.uses += 1
        return statement, given

    def _prepare(self, statement: Statement) -> bool:
        if statement.name or statement.uses <= PREPARED_AFTER or self._prepared >= PREPARED:
            return False
        self._prepared += 1
        statement.name = f"s{self._prepared}".encode()
        self.session.pgconn.send_prepare(statement.name, statement.text, statement.types)
        return True

    def _send(self, statement: Statement, given: list[Any]) -> None:
        pgconn = self.session.pgconn
        if statement.name:
            pgconn.send_query_prepared(statement.name, given)
        else:
            pgconn.send_query_params(statement.text, given, statement.types)


def _all_results(pgconn: pq.abc.PGconn) -> Generator[Wait, Ready | int, list[pq.abc.PGresult]]:
    yield from _sent(pgconn)
    results = []
    while (result := (yield from _result(pgconn))) is not None:
        results.append(result)
    return results


def arriving(
    pgconn: pq.abc.PGconn, waiting: Iterable[Statement | Result], in_pipeline: bool = False
) -> Waits:
    """Send all that was said, and give each one who waits its result.

    As the driver's own generators: it says what it waits for, and is told when that is there.
    """
    yield from _sent(pgconn)
    for one in waiting:
        one.take((yield from _next_result(pgconn)))
        while (yield from _result(pgconn)) is not None:
            pass
    if in_pipeline:
        yield from _next_result(pgconn)  # that the server has come so far


def _sent(pgconn: pq.abc.PGconn) -> Waits:
    while pgconn.flush():
        if (yield Wait.RW) & Ready.R:
            pgconn.consume_input()


def _next_result(pgconn: pq.abc.PGconn) -> Generator[Wait, Ready | int, pq.abc.PGresult]:
    result = yield from _result(pgconn)
    if result is None:
        raise psycopg.OperationalError("the connection is lost")
    return result


def _result(pgconn: pq.abc.PGconn) -> Generator[Wait, Ready | int, pq.abc.PGresult | None]:
    while pgconn.is_busy():
        if (yield Wait.R):
            pgconn.consume_input()
    return pgconn.get_result()
