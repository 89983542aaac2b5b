"""What the portal granted us: tokens, and the lines on which an operator connected us."""

import secrets
from dataclasses import replace

from store.database import Connection, Group, transaction
from store.notes import forget_new_address, forget_the_portals_build
from store.places import AT_ONCE
from store.records import Portal


class PortalTables(Group):
    def secret_key(self) -> str:
        """The key that signs the visitors' cookies; made at the first call."""
        row = self._database.row("select value from meta where key = 'secret_key'")
        return str(row["value"]) if row else self._make_secret_key()

    @transaction
    def _make_secret_key(self, db: Connection) -> str:
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
    def save(self, db: Connection, portal: Portal, keeps_pair: bool = False) -> None:
        """Keep a proven install's grant in place of any earlier one.

        If it is another portal than before, the ids that the former one gave us are forgotten.
        `keeps_pair`: the tokens are those that were read here; a renewal may have stored others.
        """
        stored = db.execute("select * from portal").fetchone() if keeps_pair else None
        if stored is not None:
            pair = {name: stored[name] for name in ("access_token", "refresh_token", "expires_at")}
            portal = replace(portal, **pair)
        former = db.execute("select value from meta where key = 'member_id'").fetchone()
        if former and portal.member_id and former["value"] != portal.member_id:
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
        self,
        db: Connection,
        access_token: str,
        refresh_token: str,
        expires_at: float,
        *,
        instead_of: str,
    ) -> bool:
        """Store a renewed pair, on the disk when this returns: the old pair may not work now.

        `instead_of` is the refresh token that was renewed. False where another one stands there.
        """
        done = db.execute(
            "update portal set access_token = ?, refresh_token = ?, expires_at = ?"
            " where refresh_token = ?",
            (access_token, refresh_token, expires_at, instead_of),
        )
        return done.rowcount == 1

    @transaction
    def learn_application_token(self, db: Connection, token: str) -> None:
        db.execute("update portal set application_token = ?, token_pending = 0", (token,))

    @transaction
    def forget(self, db: Connection) -> None:
        """Forget tokens, lines and what was agreed about the portal's address after an uninstall.

        Chats and waiting deliveries stay.
        """
        db.execute("delete from portal")
        db.execute("update lines set active = 0")
        forget_new_address(db)

    # -- lines

    @transaction
    def connect_line(self, db: Connection, line: int, now: float) -> None:
        """Note a connected line, and make all queued deliveries due: they may wait for a line."""
        db.execute(
            "insert into lines values (?, 1, ?) on conflict (line)"
            " do update set active = 1, connected_at = excluded.connected_at",
            (line, now),
        )
        db.execute(
            "update deliveries set due = ? where due > ? and state = 'queued'", (AT_ONCE, now)
        )

    @transaction
    def disconnect_line(self, db: Connection, line: int) -> None:
        db.execute("update lines set active = 0 where line = ?", (line,))

    def known_lines(self) -> list[int]:
        """Lines that are connected now or were once."""
        return [row["line"] for row in self._database.rows("select line from lines")]

    def active_lines(self) -> list[int]:
        """Connected lines, the one connected last first."""
        rows = self._database.rows(
            "select line from lines where active = 1 order by connected_at desc"
        )
        return [row["line"] for row in rows]


def _forget_portals_ids(db: Connection) -> None:
    """Forget the former portal's ids; texts stay, and waiting messages go to the new portal."""
    db.execute("update lines set active = 0")
    db.execute("delete from deliveries where kind = 'confirmation'")
    db.execute(
        "update deliveries set state = 'queued', due = 0, called_at = null, line = null,"
        " attempts = 0, error = null, file_as_link = 0, chat_line = 0"
    )
    db.execute("update messages set im_message_id = null, im_chat_id = null")
    db.execute(
        "update chats set line = null, dialog_line = null, portal_chat_id = null,"
        " portal_user_id = null, session_id = null"
    )
    db.execute("delete from dialogs")
    forget_the_portals_build(db)
