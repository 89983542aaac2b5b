"""Customers' log-ins that have ended: their tokens are valid no more, though signed by us."""

from store.database import Connection, Group, transaction


class LoginTables(Group):
    @transaction
    def end(self, db: Connection, logins: set[str], now: float, kept_seconds: float) -> None:
        """End log-ins; forget those that ended `kept_seconds` ago: their tokens have expired."""
        for login in logins:
            db.execute(
                "insert into ended_logins values (?, ?) on conflict (login) do nothing",
                (login, now),
            )
        db.execute("delete from ended_logins where ended_at < ?", (now - kept_seconds,))

    def has_ended(self, login: str) -> bool:
        return self._database.row("select 1 from ended_logins where login = ?", login) is not None
