"""Messages of visitors, operators and the system; each new one with the delivery that it needs.

Callers render the HTML before the transaction: a text of 20,000 letters takes up to 400 ms, in
turns with others, and nobody can write during a transaction. Text and files have separate HTML, so
that the event of a message and the event of its edit may come in any order.
"""

from dataclasses import replace

from store.counts import count
from store.database import Connection, Database, Group, Row, StoreUnavailable, transaction
from store.limits import count_message
from store.places import AT_ONCE, enqueue
from store.records import Chat, Limits, Message, OperatorMessage, VisitorMessage
from store.rows import (
    delete_message,
    give_up_claim,
    know_dialog,
    message_id_after,
    message_of,
    next_message_id,
    next_revision,
    stored_files,
    was_deleted,
)

# Without `or`, which makes PostgreSQL read the whole table, or the whole of an index.
BY_CLIENT_ID = (
    "select * from messages where client_id = :client and chat_id in (select :chat union all"
    " select id from chats where owner = :chat union all"
    " select id from chats where owner = :owner)"
)
# All that decides about a visitor's next message, but the limits; the chat's columns are null where
# there is none.
NEXT = (
    "select exists (select 1 from deletions where id = :chat) as deleted,"
    " (select coalesce(max(id), 0) from messages) as latest,"
    " c.id as known, c.name, c.email, c.phone, c.page, c.consent, c.portal_chat_id"
    " from (select 1) as one left join chats c on c.id = :chat"
)
CHANGES_AT_ONCE = 100  # in one read: more are hardly ever new


class MessageTables(Group):
    """`renderer` is the version of the markup that callers hand in as HTML."""

    def __init__(self, database: Database, renderer: int) -> None:
        super().__init__(database)
        self.renderer = renderer

    # -- reading

    def revision(self) -> int:
        """The revision of the latest change of any message."""
        row = self._database.row("select value from meta where key = 'revision'")
        return int(row["value"]) if row else 0

    def chats_changed_after(self, revision: int) -> tuple[int, set[str]]:
        """The latest revision, and the chats with messages that changed after `revision`.

        A part is named together with the chat that owns it.
        """
        # Without `group by`, which makes SQLite read the whole index: this runs every second. And
        # with a limit: without one, PostgreSQL reads a whole table that it does not know well yet.
        latest, chats = revision, set[str]()
        while True:
            rows = self._database.rows(
                "select m.chat_id, (select owner from chats where id = m.chat_id) as owner,"
                " m.revision from messages m where m.revision > ? order by m.revision limit ?",
                latest, CHANGES_AT_ONCE,
            )  # fmt: skip
            for row in rows:
                chats |= {row["chat_id"], row["owner"] or row["chat_id"]}
            if rows:
                latest = rows[-1]["revision"]
            if len(rows) < CHANGES_AT_ONCE:
                return latest, chats

    def find(self, message_id: int) -> Message | None:
        row = self._database.row("select * from messages where id = ?", message_id)
        return message_of(row) if row else None

    def is_answered(self, message: Message) -> bool:
        """Whether an operator has written in the message's chat since."""
        sql = "select 1 from messages where chat_id = ? and author = 'operator' and id > ?"
        return self._database.row(sql, message.chat_id, message.id) is not None

    def find_with_file(self, key: str) -> Message | None:
        """The message to which the visitor's file of this key belongs."""
        row = self._database.row(
            "select m.* from files f join messages m on m.id = f.message_id"
            " join living_chats c on c.id = m.chat_id where f.key = ?",
            key,
        )
        return message_of(row) if row else None

    def known_im_message_ids(self, chat_id: str) -> set[int]:
        """The portal's ids of the chat's messages that we have."""
        rows = self._database.rows(
            "select im_message_id from messages where chat_id = ? and im_message_id is not null",
            chat_id,
        )
        return {row["im_message_id"] for row in rows}

    def find_changed(self, message: OperatorMessage) -> Message | None:
        """The stored message that an edit or deletion names."""
        wanted = "select * from messages where chat_id = ? and author <> 'visitor' and"
        row = self._database.row(
            f"{wanted} im_message_id = ?", message.chat_id, message.im_message_id
        )
        for own_id in message.own_ids if row is None else ():
            row = row or self._database.row(f"{wanted} id = ?", message.chat_id, own_id)
        return message_of(row) if row else None

    # -- visitors' messages

    def find_sent(self, chat: Chat, client_id: str | None) -> Message | None:
        """The message with which this `client_id` was stored; the chat or a part of it has it."""
        if client_id is None:
            return None
        row = self._database.row(BY_CLIENT_ID, **_client_id(chat, client_id))
        return message_of(row) if row else None

    @transaction
    def add_from_visitor(
        self, db: Connection, message: VisitorMessage, limits: Limits, now: float
    ) -> Message:
        """Store a message and queue it for Bitrix24: both or neither.

        A `client_id` that the chat or a part of it already has changes nothing: the message stored
        first is returned. Raises TooMany; the limits are counted here, so that all processes count
        together. Raises StoreUnavailable if the chat was deleted during the request.
        """
        chat = message.chat
        # What is asked before a result is used goes to a server together.
        next_one = db.execute(NEXT, {"chat": chat.id})
        if message.client_id is not None:
            named = _client_id(chat, message.client_id)
            sent = db.execute(BY_CLIENT_ID, named).fetchone()
        known = next_one.fetchone()
        if known["deleted"]:  # a repeat finds the visitor's next chat
            raise StoreUnavailable("the conversation has just been deleted")
        if message.client_id is not None and sent:
            return message_of(sent)
        count_message(db, chat.id, limits, now, begins_chat=known["known"] is None)
        _touch_visitors_chat(db, chat, known, now)
        count(db, "taken", "visitor")
        new_id = message_id_after(known["latest"], now)
        stored = _insert(db, message, new_id, self.renderer, now)
        enqueue(db, new_id, chat.id, limits.address, is_new=known["portal_chat_id"] is None)
        return stored

    # -- operators' messages

    @transaction
    def add_from_operators(
        self, db: Connection, messages: list[OperatorMessage], now: float
    ) -> list[Message]:
        """Store the messages not yet known and queue their confirmations; returns the new ones.

        A message is known by its `im_message_id`, which is unique in a portal. A chat that we
        do not have (our file was restored from a backup, say) is made.
        """
        ordered = sorted(messages, key=lambda message: message.im_message_id)
        rows = [self._add(db, message, now) for message in ordered]
        return [message_of(row) for row in rows if row is not None]

    def _add(
        self, db: Connection, message: OperatorMessage, now: float, edited: int = 0
    ) -> Row | None:
        """Insert one message and its confirmation; None when it is known.

        None also when the visitor deleted the chat: nothing of it comes back, and without a
        confirmation the operator sees that the message did not arrive.
        """
        if was_deleted(db, message.chat_id):
            return None
        _touch_operators_chat(db, message, now)
        give_up_claim(db, message.chat_id, message.im_message_id)
        revision = next_revision(db)
        row: Row | None = db.execute(
            "insert into messages (id, revision, position, chat_id, author, name, text, html,"
            " files, files_html, renderer, sent_at, state, im_message_id, im_chat_id, edited,"
            " asks_vote, incomplete, attached)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'stored', ?, ?, ?, ?, ?, ?)"
            " on conflict (im_message_id) do nothing returning *",
            (next_message_id(db, now), revision, _position(db, message, revision),
             message.chat_id, message.author, message.name, message.text, message.text_html,
             stored_files(message.files), message.files_html, self.renderer,
             now if message.sent_at is None else message.sent_at,
             message.im_message_id, message.im_chat_id, edited, int(message.asks_vote),
             int(message.incomplete), message.attached),
        ).fetchone()  # fmt: skip
        if row is None:
            self._complete(db, message)
        else:
            count(db, "taken" if message.sent_at is None else "recovered", message.author)
            db.execute(
                "insert into deliveries (message_id, chat_id, kind, line, due)"
                " values (?, ?, 'confirmation', ?, ?)",
                (row["id"], message.chat_id, message.line, AT_ONCE),
            )
        return row

    def _complete(self, db: Connection, message: OperatorMessage) -> None:
        """Fill in the fields that a message stored from the history or from an edit still lacks.

        Only the message's own event has them all. A text that was edited stays.
        """
        stored = db.execute(
            "select * from messages where im_message_id = ?", (message.im_message_id,)
        ).fetchone()
        if message.incomplete or not stored["incomplete"] or stored["deleted"]:
            return
        db.execute(
            "update messages set author = ?, name = coalesce(?, name), files = ?, files_html = ?,"
            " attached = ?, asks_vote = ?, incomplete = 0, revision = ?, renderer = ? where id = ?",
            (message.author, message.name, stored_files(message.files), message.files_html,
             message.attached, int(message.asks_vote), next_revision(db),
             _earlier_of(self.renderer, stored), stored["id"]),
        )  # fmt: skip
        if not stored["edited"]:
            db.execute(
                "update messages set text = ?, html = ?, renderer = ? where id = ?",
                (message.text, message.text_html, self.renderer, stored["id"]),
            )

    @transaction
    def edit(
        self, db: Connection, message: OperatorMessage, now: float, queued_at: int = 0
    ) -> bool:
        """Give an operator's message its new text; a message that we do not have yet is stored.

        Edits may come in any order: one that the portal queued before the last one changes
        nothing, nor does an edit of a deleted message. Returns whether anything changed.
        """
        edited = max(queued_at, 1)  # 0 in the column means that the message was never edited
        stored = _find(db, message)
        if stored is None:
            return self._add(db, replace(message, incomplete=True), now, edited) is not None
        late = 1 < edited < stored["edited"]
        changes = not late and not stored["deleted"] and stored["text"] != message.text
        if queued_at > stored["edited"] and not stored["deleted"]:
            db.execute("update messages set edited = ? where id = ?", (edited, stored["id"]))
        if changes:
            db.execute(
                "update messages set text = ?, name = coalesce(?, name), html = ?, edited = ?,"
                " revision = ?, renderer = ? where id = ?",
                (message.text, message.name, message.text_html, edited,
                 next_revision(db), _earlier_of(self.renderer, stored), stored["id"]),
            )  # fmt: skip
        return bool(changes)

    @transaction
    def take_back(self, db: Connection, message: OperatorMessage, now: float) -> bool:
        """Delete an operator's message, its text included.

        A message that we do not have yet is stored as deleted, so that it is not shown when its
        event comes. Returns whether anything changed.
        """
        stored = _find(db, message)
        if stored is None:
            stored = self._add(db, message, now)
        if stored is None or stored["deleted"]:
            return False
        delete_message(db, stored["id"])
        return True


def _earlier_of(renderer: int, stored: Row) -> int:
    """The renderer of a message one part of whose HTML is made anew, and the other part stays.

    Each of both may be the earlier one: during an update two releases are at work at once. So a
    part that is still an earlier one's is rendered again.
    """
    return min(renderer, int(stored["renderer"]))


def _insert(
    db: Connection, message: VisitorMessage, new_id: int, renderer: int, now: float
) -> Message:
    """Store a visitor's message with its file; returns it as it is stored."""
    files = (message.file,) if message.file else ()
    revision, name = next_revision(db), message.chat.name
    db.execute(
        "insert into messages (id, revision, position, chat_id, author, name, text, html,"
        " renderer, sent_at, state, client_id, files, files_html)"
        " values (:id, :revision, :revision, :chat, 'visitor', :name, :text, :html,"
        " :renderer, :now, 'stored', :client, :files, :files_html)",
        {"id": new_id, "revision": revision, "chat": message.chat.id,
         "name": name, "text": message.text, "html": message.text_html,
         "renderer": renderer, "now": now, "client": message.client_id,
         "files": stored_files(files), "files_html": message.file_html},
    )  # fmt: skip
    for file in files:
        db.execute("insert into files values (?, ?)", (file.key, new_id))
    return Message(
        new_id, revision, float(revision), message.chat.id, "visitor", name, message.text,
        message.text_html, files, message.file_html, now, "stored", None, message.client_id,
        None, None, edited=False, deleted=False, asks_vote=False, ends_dialog=False,
        incomplete=False, renderer=renderer,
    )  # fmt: skip


def _client_id(chat: Chat, client_id: str) -> dict[str, str | None]:
    """The values of BY_CLIENT_ID."""
    return {"client": client_id, "chat": chat.id, "owner": chat.owner}


def _touch_visitors_chat(db: Connection, chat: Chat, known: Row, now: float) -> None:
    """Note that the chat is in use; what the visitor tells is written only where it is new.

    `known` is a row of NEXT.
    """
    told = (chat.name, chat.email, chat.phone, chat.page)
    if (
        known["known"] is not None
        and told == (known["name"], known["email"], known["phone"], known["page"])
        and (chat.consent is None or known["consent"] is not None)
    ):
        db.execute("update chats set active_at = ?, closed_at = null where id = ?", (now, chat.id))
        return
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


def _touch_operators_chat(db: Connection, message: OperatorMessage, now: float) -> None:
    """Note that the chat was active now, and in which of the portal's dialogs."""
    db.execute(
        "insert into chats (id, created_at, active_at, dialog_line, portal_chat_id)"
        " values (:chat, :now, :now, :line, :dialog) on conflict (id) do update set"
        " active_at = excluded.active_at, dialog_line = excluded.dialog_line,"
        " session_id = case when chats.portal_chat_id = excluded.portal_chat_id"
        " then chats.session_id end, portal_chat_id = excluded.portal_chat_id",
        {"chat": message.chat_id, "now": now, "line": message.line, "dialog": message.im_chat_id},
    )
    know_dialog(db, message.chat_id, message.im_chat_id, message.line)


def _position(db: Connection, message: OperatorMessage, revision: int) -> float:
    """The position of an operator's message: last, but before those with a higher portal id."""
    following = db.execute(
        "select min(position) as position from messages where chat_id = ? and im_message_id > ?",
        (message.chat_id, message.im_message_id),
    ).fetchone()["position"]
    if following is None:
        return revision
    before = db.execute(
        "select max(position) as position from messages where chat_id = ? and position < ?",
        (message.chat_id, following),
    ).fetchone()["position"]
    between = float((following - 1 if before is None else before) + following) / 2
    if before is None or before < between < following:
        return between
    _renumber(db, message.chat_id)  # there is no number left between the two
    return _position(db, message, revision)


def _renumber(db: Connection, chat_id: str) -> None:
    """Give a chat's messages whole numbers for their positions, in the same order."""
    rows = db.execute("select id from messages where chat_id = ? order by position", (chat_id,))
    for number, row in enumerate(rows.fetchall(), start=1):
        db.execute(
            "update messages set position = ?, revision = ? where id = ?",
            (number, next_revision(db), row["id"]),
        )


def _find(db: Connection, message: OperatorMessage) -> Row | None:
    """The stored message that an edit or deletion names: by the portal's id, else by our ids."""
    if was_deleted(db, message.chat_id):
        return None
    row: Row | None = db.execute(
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
