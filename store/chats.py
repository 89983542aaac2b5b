"""Chats, each of one visitor on one site: their parts, their heirs, deletion.

A chat that a customer began before they logged in becomes a part of the customer's chat. A chat
that has ended for its visitor has an heir: the chat in which that visitor goes on.
"""

import secrets
from collections.abc import Callable

from store.blocks import pass_block
from store.database import Connection, Group, transaction
from store.limits import forget_hits
from store.records import Chat, Writer
from store.removal import Removal
from store.rows import chat_of, was_deleted, writer_of
from store.sent_again import SentAgain

SITE_LENGTH = 36  # letters of a chat's id that stand for the site, "chat" included
SPELLINGS_READ = 50  # chats
FAR_HEIRS = 16  # the longest way from heir to heir that is not shortened
HEIRS_AT_ONCE = 1000  # in one read, which takes up to 10 ms
DELETIONS_AT_ONCE = 1000  # in one read, which takes up to 5 ms


class ChatTables(Group):
    def find(self, chat_id: str) -> Chat | None:
        row = self._database.row("select * from living_chats where id = ?", chat_id)
        return chat_of(row) if row else None

    @transaction
    def begin_on(self, db: Connection, chat_id: str, line: int, now: float) -> None:
        """Let the messages of a new chat take this line, as long as it is connected."""
        db.execute(
            "insert into chats (id, created_at, active_at, line) values (?, ?, ?, ?)"
            " on conflict (id) do nothing",
            (chat_id, now, now, line),
        )

    def find_open(self, chat_id: str) -> Chat | None:
        """The chat that new messages of this visitor go to: the chat itself, else its latest part.

        None if there is neither, and for a chat that is a part of another chat.
        """
        row = self._database.row(
            "select * from chats where (id = :chat and owner is null) or owner = :chat"
            " order by id = :chat desc, created_at desc",
            chat=chat_id,
        )
        return chat_of(row) if row else None

    def find_writer(self, chat_id: str) -> Writer:
        """`find_open`, and what else a request of this chat's visitor has to know."""
        (row,) = self._database.rows(
            "select c.*, exists (select 1 from blocked where chat_id = :chat) as is_blocked,"
            " exists (select 1 from chats where owner = :chat) as has_parts,"
            " (select max(revision) from messages where chat_id = :chat) as latest,"
            " (select value from meta where key = 'revision') as revision,"
            " (select value from meta where key = 'epoch') as epoch"
            " from (select 1) as one left join chats c"
            " on (c.id = :chat and c.owner is null) or c.owner = :chat"
            " order by c.id = :chat desc, c.created_at desc limit 1",
            chat=chat_id,
        )
        return writer_of(row)

    def make_part(self, chat_id: str, owner: str) -> bool:
        """Make a chat that a customer began before they logged in a part of their chat `owner`.

        Whoever still asks for the chat itself is no customer, and goes on in a new chat. Returns
        False, and changes nothing, if `owner` was deleted.
        """
        made = self._make_part(chat_id, owner)
        if made:
            SentAgain(self._database).send([chat_id])
        return made is not None

    @transaction
    def _make_part(self, db: Connection, chat_id: str, owner: str) -> bool | None:
        """None if `owner` was deleted."""
        if was_deleted(db, owner):
            return None
        made = db.execute(
            "update chats set owner = :owner where id = :chat and owner is null"
            " and not exists (select 1 from chats where owner = :chat)",
            {"owner": owner, "chat": chat_id},
        ).rowcount
        if made:
            pass_block(db, chat_id, owner)
            _give_heir(db, chat_id, _new_id(chat_id))
        return made > 0

    def join(self, chat_id: str, owner: str) -> None:
        """Make a customer's chat, and all its parts, parts of the same customer's chat `owner`.

        Whoever still asks for the chat itself is that customer, and goes on in `owner`.
        """
        SentAgain(self._database).send(self._join(chat_id, owner))

    @transaction
    def _join(self, db: Connection, chat_id: str, owner: str) -> list[str]:
        if was_deleted(db, owner) or was_deleted(db, chat_id):
            return []  # during this request; the customer's next log-in finds what is left
        parts = db.execute(
            "update chats set owner = :owner where id = :chat or owner = :chat returning id",
            {"owner": owner, "chat": chat_id},
        ).fetchall()
        _give_heir(db, chat_id, owner)
        return [part["id"] for part in parts]

    def is_known(self, chat_id: str) -> bool:
        """Whether the chat is here, or was deleted here, or leads to the chat of its visitor."""
        row = self._database.row(
            "select exists (select 1 from chats where id = :chat) or exists"
            " (select 1 from deletions where id = :chat) or exists"
            " (select 1 from heirs where id = :chat or heir = :chat) as known",
            chat=chat_id,
        )
        return bool(row and row["known"])

    def spellings(self, email: str) -> set[str]:
        """How visitors gave this e-mail, itself in lower case, in the first SPELLINGS_READ chats.

        Anybody may write under anybody's e-mail, in any spelling, so there may be very many.
        """
        rows = self._database.rows(
            "select email from chats where lower(email) = ? and email <> ''"
            " order by created_at limit ?",
            email, SPELLINGS_READ,
        )  # fmt: skip
        return {row["email"] for row in rows}

    # -- the chat in which a visitor goes on

    def latest_heir(self, chat_id: str) -> str:
        """The chat in which the visitor of this chat goes on: itself, unless it has an heir.

        A way over more than FAR_HEIRS is shortened, so the work does not grow with the number of
        chats that the visitor has deleted.
        """
        row = self._database.row(
            "with recursive way (id, length) as (select heir, 1 from heirs where id = :chat"
            " union all select h.heir, w.length + 1 from way w join heirs h on h.id = w.id"
            " where w.length < :most) select id, length from way order by length desc limit 1",
            chat=chat_id, most=HEIRS_AT_ONCE,
        )  # fmt: skip
        if row is None:
            return chat_id
        if row["length"] > FAR_HEIRS:
            self._shorten(chat_id, row["id"])
        return str(row["id"]) if row["length"] < HEIRS_AT_ONCE else self.latest_heir(chat_id)

    @transaction
    def _shorten(self, db: Connection, chat_id: str, heir: str) -> None:
        db.execute("update heirs set heir = ? where id = ?", (heir, chat_id))

    @transaction
    def give_heir(self, db: Connection, chat_id: str, heir: str) -> None:
        """Note in which chat the visitor of a chat that is over goes on, unless it is known."""
        _give_heir(db, chat_id, heir)

    def is_taken_by(self, site: str, shared: str) -> bool:
        """Whether a chat that several sites shared is this one's, which it is if it was nobody's.

        `site` is the beginning of the ids of its chats.
        """
        taken, read = f"taken {shared}", "select heir from heirs where id = ?"
        row = self._database.row(read, taken)
        if row is None:
            self.give_heir(taken, site)
            row = self._database.row(read, taken)
        return row is not None and bool(row["heir"] == site)

    @transaction
    def part(self, db: Connection, chat_id: str) -> str:
        """Let the visitor of a chat go on in a new one on the same site, in place of its heir's."""
        db.execute("delete from heirs where id = ?", (chat_id,))
        heir = _new_id(chat_id)
        _give_heir(db, chat_id, heir)
        return heir

    def over_without_heir(self, chat_ids: list[str]) -> set[str]:
        """Those of some hundred chats that are over without an heir: earlier releases ended them.

        They gave no heirs: the name of the visitor's next chat is made of the name before.
        """
        places = ", ".join("?" * len(chat_ids))
        rows = self._database.rows(
            f"select id from (select id from deletions where id in ({places}) union"  # noqa: S608
            f" select id from chats where owner is not null and id in ({places})) as ended"
            " where id not in (select id from heirs)",
            *chat_ids, *chat_ids,
        )  # fmt: skip
        return {row["id"] for row in rows}

    # -- deletion

    def delete(
        self, chat_id: str, now: float, remove_files: Callable[[str], None] = lambda _: None
    ) -> list[str]:
        """Remove a chat with its parts, messages and deliveries for good; returns the chats' ids.

        It is over in one moment, for its visitor, the portal and the queue; what it had is removed
        in pieces, and is gone when this returns. Only the ids stay, digests of random tokens: by
        them we turn away what the portal still sends for a deleted chat. In the same moment the
        chat gets an heir, one for all tabs and devices of the visitor; two deletions of one chat at
        once count as one. Where there is no chat nothing is written.
        """
        ended = self._end(chat_id, now)
        if ended:
            Removal(self._database).remove(ended, remove_files)
        return ended

    @transaction
    def _end(self, db: Connection, chat_id: str, now: float) -> list[str]:
        """Take the chat and its parts from the living ones; they keep nothing about the visitor."""
        rows = db.execute(
            "update chats set owner = '', name = '', email = '', phone = '', page = '',"
            " refused_contacts = '', consent = null where id = :chat or owner = :chat returning id",
            {"chat": chat_id},
        ).fetchall()
        ended = [row["id"] for row in rows]
        for one in {chat_id, *ended} if ended else ():
            forget_hits(db, one)
            db.execute(
                "delete from deliveries where id ="
                " (select min(id) from deliveries where chat_id = ? and kind = 'message')",
                (one,),
            )  # its oldest one alone has a place in the queue
            db.execute(
                "insert into deletions (id, deleted_at) values (?, ?) on conflict (id) do nothing",
                (one, now),
            )
        if ended:  # the visitor of a part goes on elsewhere already
            _give_heir(db, chat_id, _new_id(chat_id))
        return ended

    def was_deleted(self, chat_id: str) -> bool:
        return self._database.row("select 1 from deletions where id = ?", chat_id) is not None

    def latest_deletion(self) -> int:
        """The number of the latest deletion; 0 if there was none."""
        row = self._database.row("select coalesce(max(number), 0) as latest from deletions")
        return int(row["latest"]) if row else 0

    def deleted_after(self, number: int) -> tuple[int, set[str]]:
        """The chats of the first deletions after deletion `number`, and the last one's number."""
        rows = self._database.rows(
            "select number, id from deletions where number > ? order by number limit ?",
            number, DELETIONS_AT_ONCE,
        )  # fmt: skip
        latest = max((row["number"] for row in rows), default=number)
        return latest, {row["id"] for row in rows}

    def is_over(self, chat_id: str) -> bool:
        """Whether the chat was deleted or is a part of another: its visitor needs another chat."""
        row = self._database.row("select owner from chats where id = ?", chat_id)
        return row["owner"] is not None if row else self.was_deleted(chat_id)

    # -- visitors' files

    def file_keys(self, chat_id: str) -> set[str] | None:
        """The keys of a chat's files; None for a chat that this store has never had."""
        if self.find(chat_id) is None and not self.was_deleted(chat_id):
            return None
        rows = self._database.rows(
            "select f.key from files f join messages m on m.id = f.message_id where m.chat_id = ?",
            chat_id,
        )
        return {row["key"] for row in rows}


def _new_id(chat_id: str) -> str:
    """A random id on the same site, for the chat that follows after this one."""
    return chat_id[:SITE_LENGTH] + secrets.token_hex(16)


def _give_heir(db: Connection, chat_id: str, heir: str) -> None:
    """Give a chat its heir; the first one stays. A block goes with its visitor."""
    given = db.execute(
        "insert into heirs values (?, ?) on conflict (id) do nothing",
        (chat_id, heir),
    ).rowcount
    if given:
        pass_block(db, chat_id, heir)
