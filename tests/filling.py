"""Fills a store with conversations that are over, faster than its own methods would.

The rows are as the product writes them: visitors and operators in turn, all delivered. No index and
no trigger is at work meanwhile: they are made again at the end, as the schema has them.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from bbcode import RENDERER
from storage import Store
from store.rows import A_MILLISECOND

ORIGIN = "5ca1e" + "0" * 27  # of the chats' site: half of each chat's id
DAY_SECONDS = 86_400.0
SECONDS = 180 * DAY_SECONDS  # so long the conversations went on
AGO_SECONDS = 30 * DAY_SECONDS  # until then: no recovery looks for them at the sandbox's portal
TEXT = "Good day, I have a question about my order: when will it come? It has the number %d."

CHAT = (
    "insert into chats (id, name, email, page, line, created_at, active_at, portal_chat_id,"
    " portal_user_id, session_id, dialog_line, closed_at) values (?,?,?,?,?,?,?,?,?,?,?,?)"
)
DIALOG = "insert into dialogs (portal_chat_id, chat_id, line) values (?,?,?)"
MESSAGE = (
    "insert into messages (id, revision, position, chat_id, author, name, text, html, renderer,"
    " sent_at, state, client_id, im_message_id, im_chat_id) values (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
)
WAITING = (
    "insert into deliveries (message_id, chat_id, kind, due, address, place, chat_line)"
    " select id, chat_id, 'message', 0, 'an address',"
    " case when id = min(id) over (partition by chat_id) then id end, ? from"
    " (select id, chat_id from messages where author = 'visitor' order by id limit ?) as waiting"
    " order by id"
)
SUMS = """
    update meta set value = (select coalesce(sum(revision % 1000003), 0) from messages)
        where key = 'sum.messages';
    update meta set value = (select coalesce(max(revision), 0) from messages)
        where key = 'revision';
"""


def fill(folder: Path, messages: int, chats: int, line: int) -> Path:
    """Make a store of so many messages in so many chats, in `folder`; its file."""
    with closing(Store("sqlite:///chats/chats.db", folder, RENDERER)) as store:
        store.open()
    path = folder / "chats/chats.db"
    until = time.time() - AGO_SECONDS
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("pragma synchronous = off")
        db.execute("pragma cache_size = -200000")
        made_again = db.execute(
            "select sql, type, name from sqlite_master where type in ('index', 'trigger')"
            " and tbl_name in ('chats', 'dialogs', 'messages') and sql is not null"
        ).fetchall()
        db.execute("begin")
        for _, kind, name in made_again:
            db.execute(f"drop {kind} {name}")
        db.executemany(CHAT, (_chat(number, chats, until, line) for number in range(chats)))
        db.executemany(DIALOG, ((1_000 + one, chat_id(one), line) for one in range(chats)))
        db.executemany(MESSAGE, _messages(messages, chats, until))
        for sql, _, _ in made_again:
            db.execute(sql)
        db.execute("commit")
        db.executescript(SUMS)
        db.execute("pragma wal_checkpoint(truncate)")
    return path


def let_wait(store: Store, number: int, line: int) -> None:
    """Queue so many of the visitors' messages for the portal, the oldest ones."""
    with store.database.write() as db:
        db.execute(WAITING, (line, number))


def chat_id(number: int) -> str:
    return f"chat{ORIGIN}{number:032x}"


def _chat(number: int, chats: int, until: float, line: int) -> tuple[Any, ...]:
    began = until - SECONDS + number / chats * SECONDS
    return (
        chat_id(number), "Anna", f"anna{number}@example.com" if number % 3 == 0 else "",
        "https://shop.example/cart", line, began, began + 900, 1_000 + number, 500_000 + number,
        900_000 + number, line, began + 900 if number % 10 else None,
    )  # fmt: skip


def _messages(messages: int, chats: int, until: float) -> Iterator[tuple[Any, ...]]:
    """Chat after chat, in the order of time."""
    in_each = messages // chats
    for number in range(messages):
        sent_at = until - SECONDS + number / messages * SECONDS
        # As ids and revisions are given: of the time, and each larger than the one before.
        revision = int(sent_at * 1000) * A_MILLISECOND + number % A_MILLISECOND
        text = TEXT % number
        chat = chat_id(min(number // in_each, chats - 1))
        head = (revision, revision, float(revision), chat)
        body = (text, f"<p>{text}</p>", RENDERER, sent_at)
        if number % 2:
            dialog = 1_000 + min(number // in_each, chats - 1)
            yield (*head, "operator", "Olga", *body, "delivered", None, 7_000_000 + number, dialog)
        else:
            client = f"{number:08x}-0000-4000-8000-000000000000"
            yield (*head, "visitor", "Anna", *body, "delivered", client, None, None)
