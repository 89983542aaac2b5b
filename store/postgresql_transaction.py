"""What is done in one transaction of PostgreSQL, with few waits for the server.

A statement goes to the server, with those before it, when somebody asks for a result, or at the end
of a part. So most parts wait three times, and not once for each statement. Knows no tables.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import errors

from store.postgresql_link import Session, our_errors
from store.postgresql_statements import Result, Statement, arriving
from store.together import RELEASE, UNDO


class Transaction:
    """A session within a transaction, which takes the statements that are written for SQLite.

    A statement that fails is known when one of a later result is asked for, and at the end of its
    part at the latest; nothing that was said after it was done.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._statements = session.statements
        self.transformer = self._statements.transformer
        self._waiting: list[Statement | Result] = []
        session.pgconn.enter_pipeline_mode()

    def execute(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = (), /) -> Result:
        with our_errors():
            if sql == UNDO and self._waiting:
                self._arrive()  # what failed, or was not done, is undone now
            statement, prepares = self._statements.send(sql, values)
            result = Result(self, statement)
            is_end = sql == RELEASE and bool(self._waiting)
            self._waiting += [statement, result] if prepares else [result]
        if is_end:
            self.fetch()
        return result

    def fetch(self) -> None:
        """Wait for all results; raises the error of the statement that failed."""
        with our_errors():
            for one in self._arrive():
                if one.error is not None:
                    if isinstance(one.error, errors.ReadOnlySqlTransaction):
                        self._session.only_reads = True
                    raise one.error

    def end(self) -> None:
        """Wait for all results; from now on the session may be used for something else."""
        self.fetch()
        with our_errors():
            self._session.pgconn.exit_pipeline_mode()

    def _arrive(self) -> list[Statement | Result]:
        waiting, self._waiting = self._waiting, []
        pgconn = self._session.pgconn
        try:
            if waiting:
                pgconn.pipeline_sync()
                self._session.wait(arriving(pgconn, waiting, in_pipeline=True))
        except BaseException:
            self._session.close()  # nobody could tell the next results from these
            raise
        return waiting
