"""What the portal granted us: tokens, and the lines on which an operator connected us."""

import secrets

from store.database import Connection, Group, transaction
from store.notes import forget_the_portals_build
from store.records import Portal


class PortalTables(Group):
    @transaction
    def secret_key(self, db: Connection) -> str:
        """The key that signs the visitors' cookies; made at the first call."""
        row = db.execute("select value from meta where key = 'secret_key'").fetchone()
        if row is None:
            key = secrets.token_hex(32)
            db.execute("insert into meta values ('secret_key', ?)", (key,))
            return key
        return str(row["value"])

    # -- the grant

    def find(self) -> Portal | None:
        """What the portal granted, or None before an install and after an uninstall."""
        row = self._database.row("select * from portal")
        if row is None:
            return None
        values = {key: row[key] for key in row.keys() if key != "id"}  # noqa: SIM118
        return Portal(**values | {"token_pending": bool(row["token_pending"])})

    @transaction
    def save(self, db: Connection, portal: Portal) -> None:
        """Keep a proven install's grant in place of any earlier one.

        What another portal told us of its dialogs and messages means nothing at this one.
        """
        kept = db.execute("select value from meta where key = 'member_id'").fetchone()
        if kept and portal.member_id and kept["value"] != portal.member_id:
            _forget_portals_ids(db)
        if portal.member_id:
            db.execute(
                "insert into meta values ('member_id', ?)"
                " on conflict (key) do update set value = excluded.value",
                (portal.member_id,),
            )
        db.execute("delete from portal")
        db.execute(
            "insert into portal values (1, ?, ?, ?, ?, ?, ?, ?, ?)",
            (portal.member_id, portal.user_id, portal.access_token, portal.refresh_token,
             portal.expires_at, portal.application_token, int(portal.token_pending),
             portal.installed_at),
        )  # fmt: skip

    @transaction
    def save_tokens(
        self, db: Connection, access_token: str, refresh_token: str, expires_at: float
    ) -> None:
        """Keep a renewed pair. It is on the disk when this returns: the old pair may be dead."""
        db.execute(
            "update portal set access_token = ?, refresh_token = ?, expires_at = ?",
            (access_token, refresh_token, expires_at),
        )

    @transaction
    def learn_application_token(self, db: Connection, token: str) -> None:
        db.execute("update portal set application_token = ?, token_pending = 0", (token,))

    @transaction
    def forget(self, db: Connection) -> None:
        """After an uninstall: tokens and lines go; chats and what waits for delivery stay."""
        db.execute("delete from portal")
        db.execute("update lines set active = 0")

    # -- lines

    @transaction
    def connect_line(self, db: Connection, line: int, now: float) -> None:
        """Whatever waited for a line need not wait longer."""
        db.execute(
            "insert into lines values (?, 1, ?) on conflict (line)"
            " do update set active = 1, connected_at = excluded.connected_at",
            (line, now),
        )
        db.execute("update deliveries set due = ? where due > ? and state = 'queued'", (now, now))

    @transaction
    def disconnect_line(self, db: Connection, line: int) -> None:
        db.execute("update lines set active = 0 where line = ?", (line,))

    def active_lines(self) -> list[int]:
        """Connected lines, the one connected last first."""
        rows = self._database.rows(
            "select line from lines where active = 1 order by connected_at desc"
        )
        return [row["line"] for row in rows]


def _forget_portals_ids(db: Connection) -> None:
    """Of another portal: texts stay, and visitors' messages that wait go to the new one."""
    db.execute("update lines set active = 0")
    db.execute("delete from deliveries where kind = 'confirmation'")
    db.execute(
        "update deliveries set state = 'queued', due = 0, called_at = null, line = null,"
        " attempts = 0, error = null, file_as_link = 0"
    )
    db.execute("update messages set im_message_id = null, im_chat_id = null")
    db.execute(
        "update chats set line = null, dialog_line = null, portal_chat_id = null,"
        " portal_user_id = null, session_id = null"
    )
    db.execute("delete from dialogs")
    forget_the_portals_build(db)
