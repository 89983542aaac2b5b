"""All that a store keeps as plain records, to go on elsewhere: given out and taken in.

The HTML of messages is left out: whoever takes records in renders it anew. Places in the queue,
counts and notes are of one store only, and are not given out either.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from store.database import Connection, Database, Group, transaction
from store.moving import Column, columns_of
from store.places import renew_head
from store.rows import A_MILLISECOND, files_of, next_revision, was_deleted

PIECE = 200  # rows in one read
Record = dict[str, Any]

# What is given out, in this order, so that what a record refers to comes before it.
TABLES = {
    "line": "lines",
    "chat": "living_chats",
    "dialog": "dialogs",
    "heir": "heirs",
    "deletion": "deletions",
    "ended_login": "ended_logins",
    "blocked": "blocked",
}
INTO = TABLES | {"chat": "chats", "message": "messages", "delivery": "deliveries"}
# Columns that the store gives by itself, or that are rendered.
OWN = {
    "messages": {"html", "files_html", "renderer"},
    "deliveries": {"id", "message_id", "chat_id", "place", "chat_line", "set_back"},
    "deletions": {"number"},
}
WORDS = {  # what a column may hold
    ("messages", "author"): ("visitor", "operator", "system"),
    ("messages", "state"): ("stored", "delivered", "refused"),
    ("deliveries", "kind"): ("message", "confirmation"),
    ("deliveries", "state"): ("queued", "sending", "in doubt"),
}
# Names of folders are made of chats' ids, and names of files of their keys.
IDS = ("id", "chat_id", "owner", "heir")
CHAT_ID, KEY = re.compile(r"(taken )?[A-Za-z0-9_-]{1,200}"), re.compile(r"([0-9a-f]{48})?")
TYPES: dict[str, tuple[type, ...]] = {"text": (str,), "integer": (int,), "real": (int, float)}
LATEST = 4e9  # Unix seconds: no message is of later than 2096
LARGEST = 1 << 53  # scripts keep larger numbers only roughly
# Ids and revisions hold the time (store/rows.py), so none is higher than those of LATEST; the next
# ones are counted on from the highest.
HIGHEST = int(LATEST) * 1000 * A_MILLISECOND
COUNTED_ON = {("messages", "id"), ("messages", "revision")}
LONGEST_TEXT = 8 << 20  # letters; nothing that comes in is larger


class Unfit(Exception):
    """A record that cannot be taken in. `key` names a text, `values` fill it."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key)
        self.key = key
        self.values = values


@dataclass(frozen=True)
class Arrival:
    """A record to be taken in."""

    kind: str  # a key of INTO, or "message"
    record: Record
    html: tuple[str, str] = ("", "")  # of a message's text and of its files
    exported_at: float = 0.0
    doubt: str = ""  # the error of what may have been sent since it was given out


class TransferTables(Group):
    def __init__(self, database: Database, renderer: int) -> None:
        super().__init__(database)
        self._renderer = renderer

    # -- out

    def secrets(self) -> Record:
        """The key of the visitors' cookies, and what the portal has granted."""
        key = self._database.row("select value from meta where key = 'secret_key'")
        portal = self._database.row("select * from portal")
        return {
            "secret_key": key["value"] if key else None,
            "portal": _record(portal, {"id"}) if portal else None,
        }

    def records(self) -> Iterator[tuple[str, Record]]:
        """Everything but messages, each with its kind."""
        for kind, table in TABLES.items():
            [key] = (name for name, one in columns_of(INTO[kind]).items() if one.is_key)
            start = "" if columns_of(INTO[kind])[key].type == "text" else -1
            query = f"select {table}.*, {key} as place from {table}"  # noqa: S608
            for row in self._pieces(query, start):
                yield kind, _record(row, {"place", *OWN.get(table, ())})

    def messages(self) -> Iterator[Record]:
        """Every message with its delivery, if it waits; those that wait come last, in their order.

        Without messages of chats that are being deleted.
        """
        living = "on d.message_id = m.id where m.chat_id in (select id from living_chats)"
        gone = "select m.*, m.id as place from messages m left join deliveries d " + living  # noqa: S608
        for row in self._pieces(f"{gone} and d.id is null"):
            yield _record(row, {"place", *OWN["messages"]}) | {"delivery": None}
        waiting = "select m.*, d.id as place from messages m join deliveries d " + living  # noqa: S608
        for row in self._pieces(waiting):
            delivery = self._database.row("select * from deliveries where id = ?", row["place"])
            yield _record(row, {"place", *OWN["messages"]}) | {
                "delivery": _record(delivery, OWN["deliveries"]) if delivery else None
            }

    def _pieces(self, query: str, last: object = -1) -> Iterator[Any]:
        while rows := self._database.rows(
            f"select * from ({query}) as every where place > ? order by place limit ?",  # noqa: S608
            last, PIECE,
        ):  # fmt: skip
            yield from rows
            last = rows[-1]["place"]

    # -- in

    @transaction
    def add_secrets(self, db: Connection, secrets: Record) -> bool:
        """Take over key and grant where there are none; returns whether the key is the same now.

        A key that has signed cookies stays: with another one no visitor would be known again.
        """
        key = secrets.get("secret_key")
        if not isinstance(key, str) or len(key) < 32:
            raise Unfit("record_value", column="secret_key")
        if not db.execute("select 1 from messages limit 1").fetchone():
            db.execute("delete from meta where key = 'secret_key'")
        db.execute("insert into meta values ('secret_key', ?) on conflict (key) do nothing", (key,))
        portal = secrets.get("portal")
        if portal is not None and not db.execute("select 1 from portal").fetchone():
            values = _checked("portal", portal) | {"id": 1}
            _insert(db, "portal", values)
            db.execute(
                "insert into meta values ('member_id', ?) on conflict (key) do nothing",
                (values["member_id"],),
            )
        stored = db.execute("select value from meta where key = 'secret_key'").fetchone()
        return bool(stored["value"] == key)

    @transaction
    def add(self, db: Connection, arrivals: list["Arrival"]) -> list[bool | Unfit]:
        """Take records in; what became of each, in their order.

        False: it is here already, or is of a chat that was deleted here.
        """
        results: list[bool | Unfit] = []
        for arrival in arrivals:
            db.execute("savepoint arrival")
            try:
                results.append(self._add(db, arrival))
            except Unfit as error:
                db.execute("rollback to arrival")
                results.append(error)
            db.execute("release arrival")
        return results

    def _add(self, db: Connection, arrival: "Arrival") -> bool:
        if arrival.kind == "message":
            return self._add_message(db, arrival)
        values = _checked(INTO[arrival.kind], arrival.record)
        chat_id = values["id"] if arrival.kind == "chat" else values.get("chat_id")
        if chat_id is not None and was_deleted(db, chat_id):
            return False
        if arrival.kind == "dialog":
            _check_chat(db, values["chat_id"])
        return _insert(db, INTO[arrival.kind], values)

    def _add_message(self, db: Connection, arrival: "Arrival") -> bool:
        """A message with its delivery: both or neither."""
        record = arrival.record
        delivery = record.get("delivery")
        values = _checked("messages", record, "delivery")
        if was_deleted(db, values["chat_id"]):
            return False
        _check_chat(db, values["chat_id"])
        taken = "select 1 from messages where revision = ?"
        if db.execute(taken, (values["revision"],)).fetchone():
            values["revision"] = next_revision(db)
        text_html, files_html = arrival.html
        values |= {"html": text_html, "files_html": files_html, "renderer": self._renderer}
        if not _insert(db, "messages", values):
            return False
        for file in files_of(values.get("files", "[]")):
            if file.key:
                db.execute(
                    "insert into files values (?, ?) on conflict (key) do nothing",
                    (file.key, values["id"]),
                )
        db.execute(
            "update meta set value = case when cast(value as bigint) < :latest then :latest"
            " else cast(value as bigint) end where key = 'revision'",
            {"latest": values["revision"]},
        )
        if delivery is not None:
            self._add_delivery(db, delivery, values, arrival)
        return True

    def _add_delivery(
        self, db: Connection, record: Record, message: Record, arrival: "Arrival"
    ) -> None:
        """What waited when it was given out may have been sent since, from where it came.

        It is in doubt, if the portal can be asked for it.
        """
        values = _checked("deliveries", record)
        values |= {"message_id": message["id"], "chat_id": message["chat_id"]}
        values["due"] = min(values["due"], arrival.exported_at)  # what waits is tried at once
        is_message = values["kind"] == "message"
        known = db.execute(
            "select 1 from chats where id = ?"
            " and coalesce(portal_chat_id, portal_user_id, session_id) is not null",
            (message["chat_id"],),
        ).fetchone()
        if values["state"] == "sending" or (values["state"] == "queued" and known):
            if is_message:
                since, error = arrival.exported_at, arrival.doubt
                values |= {"state": "in doubt", "called_at": since, "error": error}
            else:  # it is harmless to confirm twice
                values["state"] = "queued"
        _insert(db, "deliveries", values)
        if is_message:
            renew_head(db, message["chat_id"])


def _record(row: Any, without: set[str]) -> Record:
    return {key: row[key] for key in row.keys() if key not in without}  # noqa: SIM118


def _checked(table: str, record: Record, *besides: str) -> Record:
    """The columns of a record, each of the type that the table wants. Raises Unfit."""
    if not isinstance(record, dict):
        raise Unfit("record_shape")
    columns = columns_of(table)
    own = OWN.get(table, set())
    values = {}
    for name, value in record.items():
        if name in besides:
            continue
        if name not in columns or name in own:
            raise Unfit("record_column", column=name[:50])
        _check_value(table, columns[name], value)
        values[name] = value
    for name, column in columns.items():
        given_by_us = name in own or (table == "portal" and name == "id")
        needed = (column.is_needed or column.is_key) and not column.has_default
        if needed and not given_by_us and values.get(name) is None:
            raise Unfit("record_lacks", column=name)
    return values


def _check_value(table: str, column: Column, value: object) -> None:
    name = column.name
    if value is None:
        if column.is_needed:
            raise Unfit("record_value", column=name)
        return
    fits = isinstance(value, TYPES[column.type]) and not isinstance(value, bool)
    if isinstance(value, str):
        fits = fits and "\0" not in value and len(value) <= LONGEST_TEXT and _is_unicode(value)
    elif (table, name) == ("messages", "position"):
        fits = fits and is_number(value, -LARGEST, LARGEST)
    elif column.type == "real":
        fits = fits and is_moment(value)
    else:
        most = HIGHEST if (table, name) in COUNTED_ON else LARGEST - 1
        fits = fits and is_number(value, 0, most)
    if name in IDS and isinstance(value, str):
        fits = fits and CHAT_ID.fullmatch(value) is not None
    if (table, name) in WORDS:
        fits = fits and value in WORDS[table, name]
    elif (table, name) == ("messages", "files"):
        fits = fits and _are_files(str(value))
    if not fits:
        raise Unfit("record_value", column=name)


def is_moment(value: object) -> bool:
    """Whether this can be a time, in Unix seconds."""
    return is_number(value, 0, LATEST)


def is_number(value: object, least: float, most: float) -> bool:
    """Whether this is a number, none of the endless ones, within these bounds."""
    return type(value) in (int, float) and least <= value <= most  # type: ignore[operator]


def _is_unicode(value: str) -> bool:
    """Whether a text can be stored: JSON may hold halves of letters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _are_files(stored: str) -> bool:
    """Whether the list of a message's files can be read again."""
    try:
        if not all(isinstance(values, dict) for values in json.loads(stored)):
            return False
        files = files_of(stored)
    except (ValueError, TypeError, RecursionError):
        return False
    return all(
        all(isinstance(one, str) for one in (file.name, file.type, file.link, file.media_type))
        and isinstance(file.key, str)
        and KEY.fullmatch(file.key)
        and (file.size is None or (type(file.size) is int and is_number(file.size, 0, LARGEST)))
        for file in files
    )


def _check_chat(db: Connection, chat_id: str) -> None:
    if not db.execute("select 1 from chats where id = ?", (chat_id,)).fetchone():
        raise Unfit("record_no_chat")


def _insert(db: Connection, table: str, values: Record) -> bool:
    names, places = ", ".join(values), ", ".join(f":{name}" for name in values)
    statement = f"insert into {table} ({names}) values ({places})"  # noqa: S608
    return db.execute(f"{statement} on conflict do nothing", values).rowcount > 0
