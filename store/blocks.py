"""Which visitors an administrator has turned away: they read on, and can send nothing.

A block is of a conversation, and follows it: whoever deletes it, or logs in, goes on blocked.
"""

from store.database import Connection, Group, transaction


class BlockTables(Group):
    def is_blocked(self, chat_id: str) -> bool:
        found = self._database.row("select 1 from blocked where chat_id = ?", chat_id)
        return found is not None

    def all(self) -> list[str]:
        rows = self._database.rows("select chat_id from blocked order by blocked_at, chat_id")
        return [row["chat_id"] for row in rows]

    @transaction
    def block(self, db: Connection, chat_id: str, now: float) -> None:
        """Turn away whoever has this chat: in it, in its parts and in the chat it is a part of."""
        for one in _same_visitor(db, chat_id):
            db.execute(
                "insert into blocked values (?, ?) on conflict (chat_id) do nothing", (one, now)
            )

    @transaction
    def unblock(self, db: Connection, chat_id: str) -> bool:
        """Take the block back; returns whether there was one."""
        ended = [
            db.execute("delete from blocked where chat_id = ?", (one,)).rowcount
            for one in _same_visitor(db, chat_id)
        ]
        return sum(ended) > 0


def pass_block(db: Connection, chat_id: str, heir: str) -> None:
    """Block the chat in which the visitor of a blocked chat goes on."""
    db.execute(
        "insert into blocked select ?, blocked_at from blocked where chat_id = ?"
        " on conflict (chat_id) do nothing",
        (heir, chat_id),
    )


def _same_visitor(db: Connection, chat_id: str) -> set[str]:
    """The chat and all others of its visitor: those in which they write and those they have left.

    Heirs lead from a chat that has ended to that in which its visitor goes on.
    """
    found, new = set[str](), {chat_id}
    while new:
        found |= new
        one = new.pop()
        rows = db.execute(
            "select coalesce(nullif(owner, ''), id) as id from chats where id = :chat"
            " union select id from chats where owner = :chat"
            " union select heir from heirs where id = :chat"
            " union select id from heirs where heir = :chat",
            {"chat": one},
        )
        new |= {row["id"] for row in rows.fetchall()} - found
    return found
