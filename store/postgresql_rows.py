"""All rows of a PostgreSQL store, read and filled in one transaction (store/moving.py)."""

from collections.abc import Iterable, Iterator

from store.moving import CONTENT, NUMBERED, OF_A_NEW_STORE, Row, at_once, columns_of, select
from store.postgresql_link import Session


class ServerRows:
    """The rows of a PostgreSQL store, in a transaction of the session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read(self, table: str) -> Iterator[Row]:
        """The server keeps the result, and gives it in pieces."""
        with self._session.cursor(f"all_{table}") as cursor:
            cursor.itersize = at_once(table)
            cursor.execute(select(table).encode())
            for row in cursor:
                yield tuple(row.values())

    def latest(self, table: str) -> int:
        name = f"{table}_{NUMBERED[table]}_seq"
        found = self._session.execute(f"select last_value as latest from {name}".encode())  # noqa: S608
        row = found.fetchone()
        return int(row["latest"]) if row else 0

    def is_empty(self) -> bool:
        return self._session.execute(CONTENT).fetchone() is None

    def fill(self, table: str, rows: Iterable[Row]) -> None:
        if table in OF_A_NEW_STORE:
            self._session.execute(OF_A_NEW_STORE[table].encode())
        names = ", ".join(columns_of(table))
        into = f"copy {table} ({names}) from stdin".encode()
        with self._session.cursor() as cursor, cursor.copy(into) as copy:
            for row in rows:
                copy.write_row(row)
        # Else the server knows nothing of so many rows until it looks by itself, minutes later.
        self._session.execute(f"analyze {table}".encode(), prepare=False)

    def go_on_after(self, table: str, number: int) -> None:
        name = f"{table}_{NUMBERED[table]}_seq"
        self._session.execute("select setval(%s, %s)", [name, max(number, 1)])
