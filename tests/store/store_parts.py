"""What the tests of the store share: two stores on the same tables, words to fill and read them.

A real file in a folder of the test's own, or a real server with a schema that is empty. Time is
passed in: NOW and what is counted from it.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from postgres import Server
from stage import path_of

from storage import Store
from store.postgresql import PostgreSQL
from store.records import (
    Chat,
    Delivery,
    File,
    Limits,
    Message,
    OperatorMessage,
    Outcome,
    PortalDialog,
    VisitorMessage,
)

NOW = 1_790_000_000.0
MINUTE = 60.0
RENDERER = 3
LIMITS = Limits("an address", 10_000, 10_000)
LINE = 7
CHAT = "chat" + "a" * 64
OTHER = "chat" + "b" * 64
THIRD = "chat" + "c" * 64
URL = "sqlite:///chats/chats.db"
PRICE = File("price.pdf", "file", "https://portal.example/price.pdf", 10)


ROOM = "room"  # a schema that a test may spoil
SCHEMA = "chat"
FAILURES = (sqlite3.Error, psycopg.Error)  # of a statement that a trigger stops


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """One server for all tests of a process that need one."""
    with closing(Server()) as server:
        server.ask(f"create schema {SCHEMA}")
        with closing(PostgreSQL(server.url_of(SCHEMA), Path())) as database:
            database.open()
        yield server


@pytest.fixture
def store_url(request: pytest.FixtureRequest) -> str:
    """The address of an empty store; `request.param` says in which database."""
    if request.param == "sqlite":
        return URL
    server: Server = request.getfixturevalue("postgres")
    server.empty(SCHEMA)
    return server.url_of(SCHEMA)


@pytest.fixture
def store(store_url: str, tmp_path: Path) -> Iterator[Store]:
    with closing(Store(store_url, tmp_path, RENDERER)) as store:
        store.open()
        yield store


@pytest.fixture
def second(store_url: str, tmp_path: Path) -> Iterator[Store]:
    """Another store on the same tables, as another process would have it."""
    with closing(Store(store_url, tmp_path, RENDERER)) as store:
        yield store


@pytest.fixture
def url(postgres: Server) -> str:
    """The address of a schema in which there is nothing at all."""
    postgres.ask(f"drop schema if exists {ROOM} cascade; create schema {ROOM}")
    return postgres.url_of(ROOM)


@pytest.fixture
def room(url: str, tmp_path: Path) -> Iterator[Store]:
    with closing(Store(url, tmp_path, RENDERER)) as store:
        store.open()
        yield store


# -- filling it


def visitor(chat_id: str = CHAT, name: str = "Anna") -> Chat:
    return Chat(
        id=chat_id,
        name=name,
        email="anna@example.com",
        phone="+100",
        page="https://shop.example/cart",
        line=None,
        created_at=0.0,
        active_at=0.0,
        portal_chat_id=None,
        portal_user_id=None,
        session_id=None,
        closed_at=None,
    )


def write(
    store: Store,
    text: str = "Hello",
    chat: str = CHAT,
    client_id: str | None = None,
    now: float = NOW,
    limits: Limits = LIMITS,
    **told: Any,
) -> Message:
    """A visitor's message; `told` is what they tell with it, such as their name."""
    message = VisitorMessage(replace(visitor(chat), **told), text, f"<p>{text}</p>", client_id)
    return store.messages.add_from_visitor(message, limits, now)


def answer(
    im_message_id: int = 903311, text: str = "Good morning", **other: Any
) -> OperatorMessage:
    message = OperatorMessage(
        chat_id=CHAT,
        line=LINE,
        im_chat_id=5120,
        im_message_id=im_message_id,
        author="operator",
        name="Olga",
        text=text,
        text_html=f"<p>{text}</p>",
        files=(PRICE,),
        files_html="price.pdf",
    )
    return replace(message, **other)


def deliver(store: Store, text: str, chat: str = CHAT, **ids: Any) -> None:
    """Write a message and note that the portal took it."""
    write(store, text, chat)
    waiting = due(store, NOW + MINUTE)
    (written,) = [delivery for delivery in waiting if delivery.message.text == text]
    (claimed,) = store.queue.claim([written], LINE, NOW)
    dialog = replace(PortalDialog(5120, 2001, 3301), **ids)
    store.queue.record([Outcome(claimed, "delivered", dialog=dialog)], NOW)


# -- reading it


def found(store: Store, chat_id: str = CHAT) -> Chat:
    chat = store.chats.find(chat_id)
    assert chat is not None
    return chat


def found_open(store: Store, chat_id: str) -> Chat:
    """The chat in which this visitor writes."""
    chat = store.chats.find_open(chat_id)
    assert chat is not None
    return chat


def only_message(store: Store, chat: str = CHAT) -> Message:
    (message,) = store.conversations.latest(chat, None, 1000)
    return message


def history(store: Store, chat: str = CHAT) -> list[str]:
    return [message.text for message in store.conversations.latest(chat, None, 1000)]


def interrupt(store: Store, now: float = NOW) -> None:
    """Whoever was sending has died, and the next process takes over."""
    with store.database.write() as db:
        store.queue.doubt_interrupted(db, "DIED", now)


def due(store: Store, now: float = NOW, limit: int = 100, chat_limit: int = 100) -> list[Delivery]:
    """All that is due, whether it may be sent or has to be looked for."""
    return store.queue.due_messages(now, limit, chat_limit) + store.queue.messages_in_doubt(
        now, limit
    )


def texts(deliveries: list[Delivery]) -> list[str]:
    return [delivery.message.text for delivery in deliveries]


def sql(store: Store, statement: str) -> list[Any]:
    """Run a statement on the database past the store."""
    if isinstance(store.database, PostgreSQL):
        with psycopg.connect(store.database.url, autocommit=True) as session:
            cursor = session.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []
    with closing(sqlite3.connect(path_of(store), isolation_level=None)) as db:
        return db.execute(statement).fetchall()


def refuse(store: Store, what: str, when: str = "1 = 1") -> None:
    """Let a kind of statement fail, such as "insert on deliveries", until `accept`."""
    if not isinstance(store.database, PostgreSQL):
        sql(
            store,
            f"create trigger refused before {what} when {when}"
            " begin select raise(abort, 'not today'); end",
        )
        return
    sql(
        store,
        "create function refuse() returns trigger language plpgsql as $$ begin"
        f" if {when} then raise integrity_constraint_violation; end if; return new; end $$;"
        f" create trigger refused before {what} for each row execute function refuse()",
    )


def accept(store: Store) -> None:
    if isinstance(store.database, PostgreSQL):
        sql(store, "drop function refuse cascade")
    else:
        sql(store, "drop trigger refused")


# -- using it


def every_use(store: Store) -> list[Callable[[], object]]:
    """Something of everything: reading, writing, opening."""
    return [
        store.open,
        lambda: write(store),
        lambda: store.conversations.latest(CHAT, None, 50),
        lambda: store.messages.add_from_operators([answer()], NOW),
        lambda: due(store),
        lambda: store.queue.due_confirmations(NOW, 10),
        store.portal.find,
        store.portal.secret_key,
        store.queue.waiting,
    ]


def settle(store: Store) -> None:
    """What happens within two seconds without a write."""
    store.database.settle()
    store.database.settle()
