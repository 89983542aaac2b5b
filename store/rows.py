"""What several groups of tables need: rows as records, and the order of changes."""

import json
import secrets
from dataclasses import asdict, fields
from operator import itemgetter

from store.database import Connection, Row
from store.records import Chat, File, Message, Writer, known

A_MILLISECOND = 1024  # so many numbers for each: more are never needed
DELETION = "select 1 from deletions where id = ?"
_NOW = f"(select cast(now * 1000 as bigint) * {A_MILLISECOND} from clock)"  # noqa: S608
NEXT_REVISION = (
    f"update meta set value = case when cast(value as bigint) < {_NOW} then {_NOW}"  # noqa: S608
    " else cast(value as bigint) + 1 end where key = 'revision' returning value"
)
LATEST_ID = "select coalesce(max(id), 0) as id from messages"
values_of_chat = itemgetter(*(field.name for field in fields(Chat)))


def was_deleted(db: Connection, chat_id: str) -> bool:
    """Whether the chat was deleted by its visitor; nothing is written to it any more."""
    found = db.execute(DELETION, (chat_id,)).fetchone()
    return found is not None


def chat_of(row: Row) -> Chat:
    """The chat in a row, which may have more columns than `chats`."""
    return Chat(*values_of_chat(row))


def writer_of(row: Row) -> Writer:
    """The row that `ChatTables.find_writer` asks for."""
    return Writer(
        chat=chat_of(row) if row["id"] is not None else None,
        is_blocked=bool(row["is_blocked"]),
        has_parts=bool(row["has_parts"]),
        latest=row["latest"] or 0,
        revision=int(row["revision"] or 0),
        epoch=row["epoch"] or "",
    )


def message_of(row: Row) -> Message:
    """A row of `messages`."""
    return Message(
        id=row["id"],
        revision=row["revision"],
        position=row["position"],
        chat_id=row["chat_id"],
        author=row["author"],
        name=row["name"],
        text=row["text"],
        text_html=row["html"],
        files=files_of(row["files"]),
        files_html=row["files_html"],
        sent_at=row["sent_at"],
        state=row["state"],
        error=row["error"],
        client_id=row["client_id"],
        im_message_id=row["im_message_id"],
        im_chat_id=row["im_chat_id"],
        edited=bool(row["edited"]),
        deleted=bool(row["deleted"]),
        asks_vote=bool(row["asks_vote"]),
        ends_dialog=bool(row["ends_dialog"]),
        incomplete=bool(row["incomplete"]),
        attached=row["attached"],
        renderer=row["renderer"],
    )


def files_of(stored: str) -> tuple[File, ...]:
    # Most messages have none.
    return tuple(known(File, values) for values in json.loads(stored)) if stored != "[]" else ()


def stored_files(files: tuple[File, ...]) -> str:
    return json.dumps([asdict(file) for file in files]) if files else "[]"


def next_message_id(db: Connection, now: float) -> int:
    """The id of a new message: a higher one than all others, and one that never was another's."""
    return message_id_after(db.execute(LATEST_ID).fetchone()["id"], now)


def message_id_after(latest: int, now: float) -> int:
    """As `next_message_id`, where `latest` is the highest id.

    The portal knows our messages by their ids. A store that was restored from a backup has
    forgotten which ids it gave since, so the time is in each, and a random part. Scripts can keep
    it in a double.
    """
    return max(latest + 1, _of_time(now) + secrets.randbelow(A_MILLISECOND))


def next_revision(db: Connection) -> int:
    """The next revision: each change of any message takes one.

    Like an id it is never given twice: a page that has seen a change which the store has forgotten
    is given all later ones. So the time in it is that of the database's machine: after a failover
    that lost the last changes, a host whose clock is behind would give numbers that pages know.
    """
    row = db.execute(NEXT_REVISION).fetchone()
    return int(row["value"])


def _of_time(seconds: float) -> int:
    return int(seconds * 1000) * A_MILLISECOND


def delete_message(db: Connection, message_id: int) -> None:
    """Delete a message of an operator or of the system, its text included."""
    db.execute(
        "update messages set deleted = 1, text = '', html = '', files = '[]', files_html = '',"
        " attached = '', asks_vote = 0, ends_dialog = 0, incomplete = 0, revision = ? where id = ?",
        (next_revision(db), message_id),
    )


def know_dialog(db: Connection, chat_id: str, portal_chat_id: int, line: int | None) -> None:
    """Remember a dialog of a chat, if the chat was not deleted."""
    db.execute(
        "insert into dialogs (portal_chat_id, chat_id, line) select ?, id, ? from living_chats"
        " where id = ? on conflict (portal_chat_id) do nothing",
        (portal_chat_id, line, chat_id),
    )


def give_up_claim(db: Connection, chat_id: str, im_message_id: int) -> None:
    """Take the portal's number from a message of another chat that only claims it (store/past.py).

    What the portal itself has said of a message names its dialog, too.
    """
    db.execute(
        "update messages set im_message_id = null where im_message_id = ? and chat_id <> ?"
        " and im_chat_id is null and author <> 'visitor'",
        (im_message_id, chat_id),
    )
