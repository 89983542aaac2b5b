"""Chats, messages, deliveries, lines and tokens, in one SQLite file.

What must happen together is one method and one transaction; a method that has returned is on the
disk (WAL, synchronous=FULL). Every change of a message gives it the next `revision`, so "what is
new since" is one indexed question. Knows nothing of HTTP, Bitrix24's methods or markup.
"""

import json
import secrets
import sqlite3
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from database import Database, transaction

Author = Literal["visitor", "operator", "system"]
State = Literal["stored", "delivered", "refused"]
DeliveryState = Literal["queued", "sending", "in doubt"]  # what is delivered or failed is gone

RUN_LIMIT = 10  # messages of one chat that are looked at together

# Each entry takes the schema one version further; entries are never changed once released.
MIGRATIONS = [
    """
    create table meta (key text primary key, value text not null);
    insert into meta values ('revision', '0');

    create table portal (
        id integer primary key check (id = 1),
        member_id text not null, user_id integer not null,
        access_token text not null, refresh_token text not null, expires_at real not null,
        application_token text not null, token_pending integer not null,
        installed_at real not null
    );

    create table lines (
        line integer primary key, active integer not null, connected_at real not null
    );

    create table chats (
        id text primary key,
        name text not null default '', email text not null default '',
        phone text not null default '', page text not null default '',
        line integer, created_at real not null, active_at real not null,
        portal_chat_id integer, portal_user_id integer, session_id integer, closed_at real,
        checked_im_id integer not null default 0
    );
    create index chats_in_conversation on chats (active_at);

    create table messages (
        id integer primary key autoincrement,
        revision integer not null unique, position real not null,
        chat_id text not null references chats on delete cascade,
        author text not null, name text, text text not null,
        extra text not null default '{}',
        html text not null, renderer integer not null,
        sent_at real not null, state text not null, error text,
        client_id text, im_message_id integer unique, im_chat_id integer,
        edited integer not null default 0, deleted integer not null default 0,
        unique (chat_id, client_id)
    );
    create index messages_of_chat on messages (chat_id, position);
    create index messages_by_renderer on messages (renderer);

    create table deliveries (
        id integer primary key autoincrement,
        message_id integer not null unique references messages on delete cascade,
        chat_id text not null references chats on delete cascade,
        kind text not null, line integer,
        due real not null, attempts integer not null default 0,
        sending_since real, error text
    );
    create index deliveries_of_chat on deliveries (chat_id, id);

    create table hits (
        who text not null, minute integer not null, count integer not null,
        primary key (who, minute)
    );
    create table refusals (
        reason text primary key, count integer not null, last_at real not null
    );
    """,
    "create index messages_by_change on messages (chat_id, revision)",
    """
    create table files (
        key text primary key, message_id integer not null references messages on delete cascade
    );
    create index files_of_message on files (message_id);
    alter table deliveries add column by_link integer not null default 0;
    """,
    """
    alter table chats add column consent text;
    alter table chats add column consent_at real;
    create table deleted_chats (id text primary key, deleted_at real not null);
    """,
    """
    create table dialogs (
        portal_chat_id integer primary key,
        chat_id text not null references chats on delete cascade, line integer,
        checked_im_id integer not null default 0
    );
    create index dialogs_of_chat on dialogs (chat_id);
    insert into dialogs select portal_chat_id, id, line, checked_im_id from chats
        where portal_chat_id is not null;
    alter table chats drop column checked_im_id;
    alter table chats add column dialog_line integer;
    delete from refusals;
    """,
    """
    alter table chats add column owner text;
    create index chats_of_owner on chats (owner);
    """,
    """
    alter table deliveries rename column sending_since to called_at;
    alter table deliveries rename column by_link to file_as_link;
    alter table deliveries add column state text not null default 'queued';
    update deliveries set state = case when error is null then 'sending' else 'in doubt' end
        where called_at is not null;
    alter table chats add column turn integer not null default 0;
    create index chats_by_turn on chats (turn);
    """,
]


class Outdated(Exception):
    """The message has changed since it was read to render this one; nothing was kept."""


class TooMany(Exception):
    """A limit is reached; nothing was kept. `seconds` until it is worth another try."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"again in {seconds} s")
        self.seconds = seconds


@dataclass(frozen=True)
class Chat:
    """One visitor on one site; `id` is also user.id and chat.id on the wire."""

    id: str
    name: str
    email: str
    phone: str
    page: str
    line: int | None  # the line it began on; None until first sent
    created_at: float  # Unix seconds, as all times here
    active_at: float
    portal_chat_id: int | None
    portal_user_id: int | None
    session_id: int | None
    closed_at: float | None
    consent: str | None = None  # what the visitor agreed to, word for word
    consent_at: float | None = None
    dialog_line: int | None = None  # the line of the dialog that the portal's ids name
    owner: str | None = None  # the customer's chat of which it is a part, once they logged in
    turn: int = 0  # rises with each call that brings one of its messages: the lowest is next


@dataclass(frozen=True)
class Dialog:
    """A dialog of a chat at the portal; each line that the chat used has one."""

    portal_chat_id: int
    line: int | None
    checked_im_id: int  # the portal's history was compared with ours up to this id
    chat: Chat


@dataclass(frozen=True)
class Message:
    id: int
    revision: int  # rises with every change of any message
    position: float  # where it stands in its chat
    chat_id: str
    author: Author
    name: str | None  # the operator's, from the signature
    text: str  # as it came, with BB codes
    extra: dict[str, Any]  # files and parameters of the portal's message; incomplete: not yet all
    html: str
    sent_at: float
    state: State
    error: str | None
    client_id: str | None
    im_message_id: int | None
    im_chat_id: int | None
    edited: bool
    deleted: bool


@dataclass(frozen=True)
class Delivery:
    """Work for the engine: a visitor's message, or the confirmation of an operator's."""

    id: int
    kind: Literal["message", "confirmation"]
    line: int | None
    attempts: int  # calls that may have brought it to the portal
    called_at: float | None  # when a call with it began, or ended without an answer
    error: str | None  # of the last call
    message: Message
    chat: Chat
    state: DeliveryState = "queued"
    file_as_link: bool = False  # the portal did not take the file: its address goes as a text


@dataclass(frozen=True)
class Portal:
    """What the portal granted us: the installer's tokens and the application token."""

    member_id: str
    user_id: int
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: float
    application_token: str = field(repr=False)  # "" until one is learned
    token_pending: bool  # after an install: the next proven event may bring a new one
    installed_at: float


@dataclass(frozen=True)
class OperatorMessage:
    """An operator's or the portal's message, ready to be stored.

    `own_ids` are the ids of ours that an edit or deletion names. `sent_at` is known only of a
    message that was recovered from the portal's history.
    """

    chat_id: str
    line: int
    im_chat_id: int
    im_message_id: int
    author: Author
    name: str | None
    text: str
    extra: dict[str, Any]
    html: str
    own_ids: tuple[int, ...] = ()
    sent_at: float | None = None


@dataclass(frozen=True)
class File:
    """A visitor's file that lies on the disk; among `files` of its message's `extra`."""

    key: str = field(repr=False)  # whoever has it can read the file
    name: str
    type: str  # image, video, audio or file
    media_type: str
    size: int  # bytes
    link: str = field(repr=False)  # where the portal and the visitor find it


@dataclass(frozen=True)
class Limits:
    """How many messages a minute one visitor and one address may send."""

    address: str  # a digest of it
    visitor_per_minute: int
    address_per_minute: int


@dataclass(frozen=True)
class Refusals:
    """Requests turned away for one reason."""

    reason: str
    count: int
    last_at: float


@dataclass(frozen=True)
class PortalDialog:
    """The portal's ids of a chat's dialog, as far as an answer names them."""

    portal_chat_id: int | None = None
    portal_user_id: int | None = None
    session_id: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a delivery in one call, or in one look for it; `store.record` notes it."""

    delivery: Delivery
    state: Literal["delivered", "failed", "queued", "in doubt"]
    error: str | None = None
    due: float = 0.0  # when a queued one may be sent, one in doubt be looked for
    attempted: bool = True  # whether a call may have brought it to the portal
    file_as_link: bool = False  # the next call brings the file's address only
    dialog: PortalDialog = PortalDialog()

    @property
    def is_final(self) -> bool:
        """Whether the portal has this message or this file, or will never have it."""
        return self.state in ("delivered", "failed") or self.file_as_link


class Store(Database):
    """The one place where anything is kept. Safe to share between threads and greenlets.

    `renderer` is the version of the markup that callers hand in as `html`.
    Every method raises StoreUnavailable when the file cannot be used now.
    """

    def __init__(self, url: str, root: Path, renderer: int) -> None:
        scheme, _, path = url.partition(":///")
        if scheme != "sqlite" or not path:
            scheme = url.partition(":")[0][:20]  # no more of it: it may hold a password
            raise ValueError(f'storage.url: use sqlite:///path/to/file.db, not "{scheme}:..."')
        super().__init__(root / path, MIGRATIONS)
        self.renderer = renderer

    # -- what the application keeps about itself

    @transaction
    def secret_key(self, db: sqlite3.Connection) -> str:
        """The key that signs the visitors' cookies; made at the first call."""
        row = db.execute("select value from meta where key = 'secret_key'").fetchone()
        if row is None:
            key = secrets.token_hex(32)
            db.execute("insert into meta values ('secret_key', ?)", (key,))
            return key
        return str(row["value"])

    def note(self, key: str) -> Any:
        """What `set_note` kept under `key`, or None."""
        row = self.row("select value from meta where key = ?", f"note.{key}")
        return json.loads(row["value"]) if row else None

    @transaction
    def set_note(self, db: sqlite3.Connection, key: str, value: Any) -> None:
        """Keep a small fact about ourselves (JSON) for the admin's page."""
        db.execute("insert or replace into meta values (?, ?)", (f"note.{key}", json.dumps(value)))

    # -- the portal's grant

    def portal(self) -> Portal | None:
        """What the portal granted, or None before an install and after an uninstall."""
        row = self.row("select * from portal")
        if row is None:
            return None
        values = {key: row[key] for key in row.keys() if key != "id"}  # noqa: SIM118
        return Portal(**values | {"token_pending": bool(row["token_pending"])})

    @transaction
    def save_portal(self, db: sqlite3.Connection, portal: Portal) -> None:
        """Keep a proven install's grant in place of any earlier one.

        What another portal told us of its dialogs and messages means nothing at this one.
        """
        kept = db.execute("select value from meta where key = 'member_id'").fetchone()
        if kept and portal.member_id and kept["value"] != portal.member_id:
            _forget_portals_ids(db)
        if portal.member_id:
            db.execute("insert or replace into meta values ('member_id', ?)", (portal.member_id,))
        db.execute(
            "insert or replace into portal values (1, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                portal.member_id,
                portal.user_id,
                portal.access_token,
                portal.refresh_token,
                portal.expires_at,
                portal.application_token,
                portal.token_pending,
                portal.installed_at,
            ),
        )

    @transaction
    def save_tokens(
        self, db: sqlite3.Connection, access_token: str, refresh_token: str, expires_at: float
    ) -> None:
        """Keep a renewed pair. On the disk when this returns: the old pair is already dead."""
        db.execute(
            "update portal set access_token = ?, refresh_token = ?, expires_at = ?",
            (access_token, refresh_token, expires_at),
        )

    @transaction
    def learn_application_token(self, db: sqlite3.Connection, token: str) -> None:
        db.execute("update portal set application_token = ?, token_pending = 0", (token,))

    @transaction
    def forget_portal(self, db: sqlite3.Connection) -> None:
        """After an uninstall: tokens and lines go; chats and what waits for delivery stay."""
        db.execute("delete from portal")
        db.execute("update lines set active = 0")

    # -- lines

    @transaction
    def connect_line(self, db: sqlite3.Connection, line: int, now: float) -> None:
        db.execute("insert or replace into lines values (?, 1, ?)", (line, now))
        # What waited for a line need not wait longer.
        db.execute("update deliveries set due = ? where due > ? and state = 'queued'", (now, now))

    @transaction
    def disconnect_line(self, db: sqlite3.Connection, line: int) -> None:
        db.execute("update lines set active = 0 where line = ?", (line,))

    def active_lines(self) -> list[int]:
        """Connected lines, the one connected last first."""
        rows = self.rows("select line from lines where active order by connected_at desc")
        return [row["line"] for row in rows]

    # -- chats and messages

    def find_chat(self, chat_id: str) -> Chat | None:
        row = self.row("select * from chats where id = ?", chat_id)
        return Chat(**row) if row else None

    def open_chat(self, chat_id: str) -> Chat | None:
        """Where the visitor of this id writes: the chat itself, else the latest part of it.

        None also for a chat that is a part of another one.
        """
        row = self.row(
            "select * from chats where (id = ?1 and owner is null) or owner = ?1"
            " order by id = ?1 desc, created_at desc",
            chat_id,
        )
        return Chat(**row) if row else None

    def parts(self, chat_id: str) -> list[str]:
        """The chat, and those that became parts of it, each with a dialog of its own."""
        owned = self.rows("select id from chats where owner = ?", chat_id)
        return [chat_id, *(row["id"] for row in owned)]

    @transaction
    def make_part(self, db: sqlite3.Connection, chat_id: str, owner: str) -> None:
        """Let a customer go on in the chat they began before they logged in."""
        db.execute(
            "update chats set owner = ?1 where id = ?2 and owner is null"
            " and not exists (select 1 from chats where owner = ?2)"
            " and not exists (select 1 from deleted_chats where id = ?1)",
            (owner, chat_id),
        )
        # Whoever follows either chat shall hear of it.
        for row in db.execute("select id from messages where chat_id = ?", (chat_id,)).fetchall():
            db.execute(
                "update messages set revision = ? where id = ?", (_next_revision(db), row["id"])
            )

    @transaction
    def delete_chat(self, db: sqlite3.Connection, chat_id: str, now: float) -> list[str]:
        """Remove a chat with its parts, messages and deliveries for good; returns their ids.

        Only its id stays, a digest of a random token: by it what the portal still sends for the
        chat is turned away.
        """
        owned = db.execute("select id from chats where owner = ?", (chat_id,)).fetchall()
        parts = [chat_id, *(row["id"] for row in owned)]
        for one in parts:
            db.execute("delete from chats where id = ?", (one,))  # the rest goes with it
            db.execute("delete from hits where who = ?", (one,))
            db.execute("insert or ignore into deleted_chats values (?, ?)", (one, now))
        return parts

    def was_deleted(self, chat_id: str) -> bool:
        return self.row("select 1 from deleted_chats where id = ?", chat_id) is not None

    def is_over(self, chat_id: str) -> bool:
        """Whether the chat was deleted, or is a part of a customer's: its visitor begins anew."""
        row = self.row("select owner from chats where id = ?", chat_id)
        return row["owner"] is not None if row else self.was_deleted(chat_id)

    def messages(self, chat_id: str, before: int | None, limit: int) -> list[Message]:
        """The last `limit` messages (before the message `before`) of all parts, oldest first."""
        rows = [
            row
            for part in self.parts(chat_id)
            for row in self.rows(
                "select * from messages where chat_id = ?1 and (?2 is null or position <"
                " (select position from messages where id = ?2))"
                " order by position desc limit ?3",
                part, before, limit,
            )
        ]  # fmt: skip
        rows.sort(key=lambda row: -row["position"])
        return [_message(row) for row in reversed(rows[:limit])]

    def messages_after(self, chat_id: str, revision: int, limit: int) -> list[Message]:
        """The first `limit` messages of all parts changed after this revision, in their order."""
        rows = [
            row
            for part in self.parts(chat_id)
            for row in self.rows(
                "select * from messages where chat_id = ? and revision > ?"
                " order by revision limit ?",
                part, revision, limit,
            )
        ]  # fmt: skip
        rows.sort(key=lambda row: row["revision"])
        return [_message(row) for row in rows[:limit]]

    def revision(self) -> int:
        """That of the latest change of any message."""
        row = self.row("select value from meta where key = 'revision'")
        return int(row["value"]) if row else 0

    def chats_changed_after(self, revision: int) -> tuple[int, set[str]]:
        """The latest revision, and the chats with messages that changed after the given one.

        What is part of a chat is named with that one.
        """
        # Grouped, SQLite would read the index of all messages ever, and this is asked all the time.
        rows = self.rows(
            "select c.id, c.owner, m.revision"
            " from messages m join chats c on c.id = m.chat_id where m.revision > ?",
            revision,
        )
        latest = max((row["revision"] for row in rows), default=revision)
        return latest, {chat for row in rows for chat in (row["id"], row["owner"]) if chat}

    def chats_deleted_after(self, number: int) -> tuple[int, set[str]]:
        """The number of the latest deletion, and the chats deleted after the given one."""
        rows = self.rows("select rowid, id from deleted_chats where rowid > ?", number)
        latest = max((row["rowid"] for row in rows), default=number)
        return latest, {row["id"] for row in rows}

    @transaction
    def add_visitor_message(
        self,
        db: sqlite3.Connection,
        chat: Chat,
        text: str,
        html: str,
        client_id: str | None,
        limits: Limits,
        now: float,
        file: File | None = None,
    ) -> Message:
        """Store a message and queue it for Bitrix24: both or neither.

        `chat` brings the visitor's latest name, email, phone and page. A `client_id` that
        the chat or a part already has changes nothing: the message stored first is returned. Raises
        TooMany; the limits are counted here, so that all processes count together.
        """
        if client_id is not None:
            row = db.execute(
                "select * from messages where client_id = ?3 and (chat_id = ?1 or chat_id in"
                " (select id from chats where owner in (?1, ?2)))",
                (chat.id, chat.owner, client_id),
            ).fetchone()
            if row is not None:
                return _message(row)
        _count_hit(db, chat.id, limits.visitor_per_minute, now)
        _count_hit(db, limits.address, limits.address_per_minute, now)
        db.execute(
            "insert into chats (id, name, email, phone, page, created_at, active_at, consent,"
            " consent_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " on conflict (id) do update set name = excluded.name,"
            " email = excluded.email, phone = excluded.phone, page = excluded.page,"
            " active_at = excluded.active_at, closed_at = null,"
            " consent = coalesce(chats.consent, excluded.consent),"
            " consent_at = coalesce(chats.consent_at, excluded.consent_at)",
            (chat.id, chat.name, chat.email, chat.phone, chat.page, now, now,
             chat.consent, chat.consent_at),
        )  # fmt: skip
        row = db.execute(
            "insert into messages (revision, position, chat_id, author, name, text, html, renderer,"
            " sent_at, state, client_id, extra)"
            " values (?1, ?1, ?2, 'visitor', ?3, ?4, ?5, ?6, ?7, 'stored', ?8, ?9) returning *",
            (_next_revision(db), chat.id, chat.name, text, html, self.renderer, now, client_id,
             json.dumps({"files": [asdict(file)]} if file else {})),
        ).fetchone()  # fmt: skip
        if file:
            db.execute("insert into files values (?, ?)", (file.key, row["id"]))
        db.execute(
            "insert into deliveries (message_id, chat_id, kind, due) values (?, ?, 'message', ?)",
            (row["id"], chat.id, now),
        )
        return _message(row)

    @transaction
    def add_operator_messages(
        self, db: sqlite3.Connection, messages: list[OperatorMessage], now: float
    ) -> list[Message]:
        """Store the messages not yet known and queue their confirmations; returns the new ones.

        A message is known by its `im_message_id`, which is unique in a portal. A chat that we
        do not have (our file was restored from a backup, say) is made. Raises Outdated where the
        edited text of one that its edit gave first is not that of `messages`.
        """
        ordered = sorted(messages, key=lambda message: message.im_message_id)
        rows = [self._add_operator_message(db, message, now) for message in ordered]
        return [_message(row) for row in rows if row is not None]

    def _add_operator_message(
        self, db: sqlite3.Connection, message: OperatorMessage, now: float, edited: int = 0
    ) -> sqlite3.Row | None:
        """Insert one message and its confirmation; None when it is known.

        None also when the visitor deleted the chat: nothing of it comes back, and without a
        confirmation the operator sees that the message did not arrive.
        """
        if db.execute("select 1 from deleted_chats where id = ?", (message.chat_id,)).fetchone():
            return None
        _touch_chat(db, message, now)
        revision = _next_revision(db)
        row: sqlite3.Row | None = db.execute(
            "insert into messages (revision, position, chat_id, author, name, text, extra, html,"
            " renderer, sent_at, state, im_message_id, im_chat_id, edited)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'stored', ?, ?, ?)"
            " on conflict (im_message_id) do nothing returning *",
            (revision, _position(db, message, revision), message.chat_id, message.author,
             message.name, message.text, json.dumps(message.extra), message.html, self.renderer,
             now if message.sent_at is None else message.sent_at,
             message.im_message_id, message.im_chat_id, edited),
        ).fetchone()  # fmt: skip
        if row is None:
            self._complete(db, message)
        else:
            db.execute(
                "insert into deliveries (message_id, chat_id, kind, line, due)"
                " values (?, ?, 'confirmation', ?, ?)",
                (row["id"], message.chat_id, message.line, now),
            )
        return row

    def _complete(self, db: sqlite3.Connection, message: OperatorMessage) -> None:
        """The event of a message that history or its edit gave first: it alone has all of it.

        An edited text stays: whoever calls brings it, for it is rendered with the files.
        """
        known = db.execute(
            "select * from messages where im_message_id = ?", (message.im_message_id,)
        ).fetchone()
        incomplete = json.loads(known["extra"]).get("incomplete") and not known["deleted"]
        if not incomplete or message.extra.get("incomplete"):
            return
        if known["edited"] and known["text"] != message.text:
            raise Outdated
        db.execute(
            "update messages set author = ?, name = coalesce(?, name), text = ?, extra = ?,"
            " html = ?, renderer = ?, revision = ? where id = ?",
            (message.author, message.name, message.text, json.dumps(message.extra), message.html,
             self.renderer, _next_revision(db), known["id"]),
        )  # fmt: skip

    @transaction
    def edit_message(
        self, db: sqlite3.Connection, message: OperatorMessage, now: float, queued_at: int = 0
    ) -> bool:
        """Give an operator's message its new text; one that is not here yet is stored so.

        `message.extra` names the files it was rendered with: Outdated where they are others now.
        Edits come in any order: one that the portal queued before the last changes nothing. A
        message that was deleted stays so. Returns whether anything changed.
        """
        edited = max(queued_at, 1)
        known = _find_operator_message(db, message)
        if known is None:
            return self._add_operator_message(db, message, now, edited) is not None
        late = 1 < edited < known["edited"]
        changes = not late and not known["deleted"] and known["text"] != message.text
        if queued_at > known["edited"] and not known["deleted"]:
            db.execute("update messages set edited = ? where id = ?", (edited, known["id"]))
        if changes:
            if json.loads(known["extra"]).get("files", []) != message.extra.get("files", []):
                raise Outdated
            db.execute(
                "update messages set text = ?, name = coalesce(?, name), html = ?, renderer = ?,"
                " edited = ?, revision = ? where id = ?",
                (message.text, message.name, message.html, self.renderer, edited,
                 _next_revision(db), known["id"]),
            )  # fmt: skip
        return changes

    @transaction
    def delete_message(self, db: sqlite3.Connection, message: OperatorMessage, now: float) -> bool:
        """Take an operator's message back, its text included.

        One that is not here yet leaves its mark, so that it is not shown when it comes. Returns
        whether anything changed.
        """
        known = _find_operator_message(db, message)
        if known is None:
            known = self._add_operator_message(db, message, now)
        if known is None or known["deleted"]:
            return False
        db.execute(
            "update messages set deleted = 1, text = '', html = '', extra = '{}', revision = ?"
            " where id = ?",
            (_next_revision(db), known["id"]),
        )
        return True

    @transaction
    def note_dialog(
        self,
        db: sqlite3.Connection,
        chat_id: str,
        line: int,
        portal_chat_id: int,
        portal_user_id: int,
        session_id: int,
        closed_at: float | None,
    ) -> None:
        """Keep which portal chat and session the dialog of a chat is, and whether it is over.

        The end is a message of the system, without words: each language has its own.
        """
        chat = db.execute("select * from chats where id = ?", (chat_id,)).fetchone()
        if chat is None or (chat["session_id"] or 0) > session_id:  # an event come late
            return
        if closed_at is not None and chat["closed_at"] is None:
            db.execute(
                "insert into messages (revision, position, chat_id, author, text, extra, html,"
                " renderer, sent_at, state) values (?1, ?1, ?2, 'system', '', ?3, '', ?4, ?5,"
                " 'stored')",
                (_next_revision(db), chat_id, CLOSED, self.renderer, closed_at),
            )
        db.execute(
            "update chats set dialog_line = ?, portal_chat_id = ?, portal_user_id = ?,"
            " session_id = ?, closed_at = ? where id = ?",
            (line, portal_chat_id, portal_user_id, session_id, closed_at, chat_id),
        )
        # What became of a lost answer can be looked for now.
        db.execute(
            "update deliveries set due = 0 where chat_id = ? and state = 'in doubt'",
            (chat_id,),
        )
        _know_dialog(db, chat_id, portal_chat_id, line)

    def dialogs_in_conversation(self, since: float) -> list[Dialog]:
        """The dialogs of chats in which anything happened since then, the latest first."""
        rows = self.rows(
            "select d.portal_chat_id as number, d.line as dialog, d.checked_im_id as checked, c.*"
            " from dialogs d join chats c on c.id = d.chat_id where c.active_at >= ?"
            " order by c.active_at desc",
            since,
        )
        found = []
        for row in map(dict, rows):
            number, line, checked = (row.pop(key) for key in ("number", "dialog", "checked"))
            found.append(Dialog(number, line, checked, Chat(**row)))
        return found

    @transaction
    def note_checked(self, db: sqlite3.Connection, dialog: Dialog, im_message_id: int) -> None:
        db.execute(
            "update dialogs set checked_im_id = ? where portal_chat_id = ?",
            (im_message_id, dialog.portal_chat_id),
        )

    def known_im_message_ids(self, chat_id: str) -> set[int]:
        """The portal's ids of the chat's messages that we have."""
        rows = self.rows(
            "select im_message_id from messages where chat_id = ? and im_message_id is not null",
            chat_id,
        )
        return {row["im_message_id"] for row in rows}

    def find_operator_message(self, message: OperatorMessage) -> Message | None:
        """The message that an edit or deletion means."""
        with self.read() as db:
            row = _find_operator_message(db, message)
        return _message(row) if row else None

    # -- visitors' files

    def find_message_of_file(self, key: str) -> Message | None:
        row = self.row(
            "select m.* from files f join messages m on m.id = f.message_id where f.key = ?", key
        )
        return _message(row) if row else None

    def file_keys(self, chat_id: str) -> set[str] | None:
        """The keys of a chat's files; None for a chat that was never heard of."""
        if self.find_chat(chat_id) is None and not self.was_deleted(chat_id):
            return None
        rows = self.rows(
            "select f.key from files f join messages m on m.id = f.message_id where m.chat_id = ?",
            chat_id,
        )
        return {row["key"] for row in rows}

    # -- who was turned away

    @transaction
    def add_refusals(self, db: sqlite3.Connection, reasons: dict[str, int], now: float) -> None:
        """Count requests that were turned away, by reason."""
        for reason, count in reasons.items():
            db.execute(
                "insert into refusals values (?, ?, ?) on conflict (reason) do update"
                " set count = refusals.count + excluded.count, last_at = excluded.last_at",
                (reason, count, now),
            )

    def refusals(self) -> list[Refusals]:
        return [Refusals(**row) for row in self.rows("select * from refusals order by reason")]

    @transaction
    def count_hit(self, db: sqlite3.Connection, who: str, per_minute: int, now: float) -> None:
        """Count one request of `who`; raises TooMany above so many a minute."""
        _count_hit(db, who, per_minute, now)

    @transaction
    def uncount_hit(self, db: sqlite3.Connection, who: str, now: float) -> None:
        """Take back what was counted at that time."""
        db.execute(
            "update hits set count = count - 1 where who = ? and minute = ?", (who, int(now // 60))
        )

    # -- markup

    def messages_to_render(self, limit: int) -> list[Message]:
        """Some messages whose stored HTML is of an earlier renderer."""
        rows = self.rows(
            "select * from messages where renderer < ? order by renderer, id limit ?",
            self.renderer, limit,
        )  # fmt: skip
        return [_message(row) for row in rows]

    @transaction
    def save_rendered(self, db: sqlite3.Connection, html: dict[int, str]) -> None:
        """Keep new HTML by message id; the message itself has not changed."""
        for message_id, text in html.items():
            db.execute(
                "update messages set html = ?, renderer = ? where id = ?",
                (text, self.renderer, message_id),
            )

    # -- deliveries

    def due_confirmations(self, now: float, limit: int) -> list[Delivery]:
        rows = self.rows(
            f"{DELIVERY} where d.kind = 'confirmation' and d.due <= ? order by d.id limit ?",
            now, limit,
        )  # fmt: skip
        return self._deliveries(rows)

    def due_messages(self, now: float, chats: int, run: int = 1) -> list[Delivery]:
        """Visitors' messages that may be sent now, of so many chats: whose turn was longest ago.

        Of a chat `run` at most, beginning with its oldest unfinished one: where that is not due
        yet, or in doubt, the chat waits and the others do not.
        """
        return [
            one
            for chat_id in self._heads(now, chats, "queued")
            for one in self._run_of(chat_id, run, "queued")
        ]

    def messages_in_doubt(self, now: float, chats: int) -> list[Delivery]:
        """Those with which chats wait because nobody knows whether the portal has them."""
        return [
            one
            for chat_id in self._heads(now, chats, "in doubt")
            for one in self._run_of(chat_id, RUN_LIMIT, "in doubt")
        ]

    def _heads(self, now: float, limit: int, state: DeliveryState) -> list[str]:
        """Chats whose oldest unfinished message is due in this state."""
        rows = self.rows(
            "select d.chat_id from deliveries d join chats c on c.id = d.chat_id where d.id in"
            " (select min(id) from deliveries where kind = 'message' group by chat_id)"
            " and d.due <= ? and d.state = ? order by c.turn, d.id limit ?",
            now, state, limit,
        )  # fmt: skip
        return [row["chat_id"] for row in rows]

    def _run_of(self, chat_id: str, limit: int, state: DeliveryState) -> list[Delivery]:
        """A chat's oldest unfinished messages, as far as all are in this state."""
        rows = self.rows(
            f"{DELIVERY} where d.kind = 'message' and d.chat_id = ? order by d.id limit ?",
            chat_id, limit,
        )  # fmt: skip
        same = [row["state"] == state for row in rows]
        return self._deliveries(rows[: (*same, False).index(False)])

    def _deliveries(self, rows: list[sqlite3.Row]) -> list[Delivery]:
        found = []
        for row in rows:
            message = self.row("select * from messages where id = ?", row["message_id"])
            chat = self.find_chat(row["chat_id"])
            if message is None or chat is None:  # the visitor has just deleted it
                continue
            found.append(Delivery(
                row["id"], row["kind"], row["line"], row["attempts"], row["called_at"],
                row["error"], _message(message), chat, row["state"], bool(row["file_as_link"]),
            ))  # fmt: skip
        return found

    @transaction
    def claim(
        self, db: sqlite3.Connection, deliveries: list[Delivery], line: int, now: float
    ) -> list[Delivery]:
        """Note that a call with these messages begins: if we die in it, they are in doubt.

        Returns them as they are now, without those whose chat was deleted meanwhile, or which
        another process has claimed. Each chat keeps the line of its first call.
        """
        turn = db.execute("select coalesce(max(turn), 0) + 1 as next from chats").fetchone()["next"]
        claimed = []
        for delivery in deliveries:
            changed = db.execute(
                "update deliveries set state = 'sending', called_at = ?, line = ?, error = null"
                " where id = ? and state = 'queued'",
                (now, line, delivery.id),
            )
            if changed.rowcount:
                db.execute(
                    "update chats set line = coalesce(line, ?), turn = ? where id = ?",
                    (line, turn, delivery.chat.id),
                )
                claimed.append(
                    replace(delivery, state="sending", line=line, called_at=now, error=None)
                )
        return claimed

    @transaction
    def doubt_interrupted(self, db: sqlite3.Connection, error: str) -> None:
        """What a process was sending when it died may have arrived."""
        db.execute(
            "update deliveries set state = 'in doubt', error = ? where state = 'sending'", (error,)
        )

    @transaction
    def make_due(self, db: sqlite3.Connection, now: float) -> None:
        """Let nothing wait for a later time: after a restart, or when the clock was set back."""
        db.execute("update deliveries set due = ? where due > ?", (now, now))
        db.execute("update deliveries set called_at = ? where called_at > ?", (now, now))

    @transaction
    def record(self, db: sqlite3.Connection, outcomes: list[Outcome], now: float) -> None:
        """Note what became of deliveries: delivered and failed ones leave the queue."""
        for outcome in outcomes:
            delivery = outcome.delivery
            if outcome.state in ("delivered", "failed"):
                self._finish(db, outcome)
            else:
                in_doubt = outcome.state == "in doubt"
                ended_now = now if outcome.attempted else None  # else as noted before
                db.execute(
                    "update deliveries set state = ?, due = ?, error = ?,"
                    " called_at = case when ? then coalesce(?, called_at, ?) end,"
                    " attempts = attempts + ?, file_as_link = max(file_as_link, ?) where id = ?",
                    (outcome.state, outcome.due, outcome.error, in_doubt, ended_now, now,
                     outcome.attempted, outcome.file_as_link, delivery.id),
                )  # fmt: skip
            self._know_dialog_of(db, outcome)

    def _finish(self, db: sqlite3.Connection, outcome: Outcome) -> None:
        delivery = outcome.delivery
        db.execute("delete from deliveries where id = ?", (delivery.id,))
        # "refused" is the visitor's word for what failed: pages and stores of before know it.
        state = "delivered" if outcome.state == "delivered" else "refused"
        db.execute(
            "update messages set state = ?, error = ? where id = ?",
            (state, outcome.error, delivery.message.id),
        )
        if delivery.kind == "message":  # of a confirmation the visitor sees nothing
            db.execute(
                "update messages set revision = ? where id = ?",
                (_next_revision(db), delivery.message.id),
            )

    def _know_dialog_of(self, db: sqlite3.Connection, outcome: Outcome) -> None:
        dialog, delivery = outcome.dialog, outcome.delivery
        if dialog.portal_user_id is not None:
            db.execute(
                "update chats set portal_user_id = ? where id = ?",
                (dialog.portal_user_id, delivery.chat.id),
            )
        if dialog.portal_chat_id is not None:
            db.execute(
                "update chats set dialog_line = ?, portal_chat_id = ?, session_id = ? where id = ?",
                (delivery.line, dialog.portal_chat_id, dialog.session_id, delivery.chat.id),
            )
            _know_dialog(db, delivery.chat.id, dialog.portal_chat_id, delivery.line)

    def waiting(self) -> int:
        """How many deliveries are in the queue."""
        row = self.row("select count(*) as n from deliveries")
        return int(row["n"]) if row else 0


CLOSED = json.dumps({"kind": "closed"})
DELIVERY = "select d.* from deliveries d"


def _next_revision(db: sqlite3.Connection) -> int:
    row = db.execute(
        "update meta set value = value + 1 where key = 'revision' returning value"
    ).fetchone()
    return int(row["value"])


def _forget_portals_ids(db: sqlite3.Connection) -> None:
    """Of another portal: texts stay, and visitors' messages that wait go to the new one."""
    db.execute("update lines set active = 0")
    db.execute("delete from deliveries where kind = 'confirmation'")
    db.execute(
        "update deliveries set state = 'queued', called_at = null, line = null, attempts = 0"
    )
    db.execute("update messages set im_message_id = null, im_chat_id = null")
    db.execute(
        "update chats set line = null, dialog_line = null, portal_chat_id = null,"
        " portal_user_id = null, session_id = null"
    )
    db.execute("delete from dialogs")
    db.execute("delete from meta where key = 'note.names_sessions'")


def _count_hit(db: sqlite3.Connection, who: str, per_minute: int, now: float) -> None:
    minute = int(now // 60)
    count = db.execute(
        "insert into hits values (?, ?, 1) on conflict (who, minute)"
        " do update set count = hits.count + 1 returning count",
        (who, minute),
    ).fetchone()["count"]
    if count > per_minute:
        raise TooMany(max(1, int(60 - now % 60)))
    if count == 1:  # of others that are gone, or of a time that a clock was set back from
        # The minute before stays: a request of its last moment may be written only now.
        db.execute("delete from hits where abs(minute - ?) > 1", (minute,))


def _position(db: sqlite3.Connection, message: OperatorMessage, revision: int) -> float:
    """Where an operator's message stands: last, or before those the portal wrote after it."""
    following = db.execute(
        "select min(position) from messages where chat_id = ? and im_message_id > ?",
        (message.chat_id, message.im_message_id),
    ).fetchone()[0]
    if following is None:
        return revision
    before = db.execute(
        "select max(position) from messages where chat_id = ? and position < ?",
        (message.chat_id, following),
    ).fetchone()[0]
    between = float((following - 1 if before is None else before) + following) / 2
    if before is None or before < between < following:
        return between
    _renumber(db, message.chat_id)  # there is no number left between the two
    return _position(db, message, revision)


def _renumber(db: sqlite3.Connection, chat_id: str) -> None:
    """Give a chat's messages whole numbers for their positions, in the same order."""
    rows = db.execute("select id from messages where chat_id = ? order by position", (chat_id,))
    for number, row in enumerate(rows.fetchall(), start=1):
        db.execute(
            "update messages set position = ?, revision = ? where id = ?",
            (number, _next_revision(db), row["id"]),
        )


def _find_operator_message(db: sqlite3.Connection, message: OperatorMessage) -> sqlite3.Row | None:
    """The message that an edit or deletion means: by the portal's id, else by ours."""
    row: sqlite3.Row | None = db.execute(
        "select * from messages where im_message_id = ? and chat_id = ?",
        (message.im_message_id, message.chat_id),
    ).fetchone()
    for own_id in message.own_ids if row is None else ():
        row = (
            row
            or db.execute(
                "select * from messages where id = ? and chat_id = ? and author <> 'visitor'",
                (own_id, message.chat_id),
            ).fetchone()
        )
    return row


def _touch_chat(db: sqlite3.Connection, message: OperatorMessage, now: float) -> None:
    """Note that something happened in the chat, and in which of the portal's dialogs."""
    db.execute(
        "insert into chats (id, created_at, active_at, dialog_line, portal_chat_id)"
        " values (?1, ?2, ?2, ?3, ?4) on conflict (id) do update set active_at = ?2,"
        " session_id = case when portal_chat_id = ?4 then session_id end,"
        " dialog_line = ?3, portal_chat_id = ?4",
        (message.chat_id, now, message.line, message.im_chat_id),
    )
    _know_dialog(db, message.chat_id, message.im_chat_id, message.line)


def _know_dialog(
    db: sqlite3.Connection, chat_id: str, portal_chat_id: int, line: int | None
) -> None:
    db.execute(
        "insert into dialogs (portal_chat_id, chat_id, line) select ?1, id, ?3 from chats"
        " where id = ?2 on conflict (portal_chat_id) do nothing",
        (portal_chat_id, chat_id, line),
    )


def _message(row: sqlite3.Row) -> Message:
    values = {key: row[key] for key in row.keys() if key != "renderer"}  # noqa: SIM118
    values["extra"] = json.loads(values["extra"])
    values["edited"] = bool(values["edited"])
    values["deleted"] = bool(values["deleted"])
    return Message(**values)
