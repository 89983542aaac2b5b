"""However much waits, PostgreSQL finds what is asked for by an index: counted by the server."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from postgres import Server
from store_parts import CHAT, NOW, RENDERER, answer, write
from test_queue_plans import QUESTIONS, fill

from storage import Store
from store.queue import QueueTables
from store.records import Outcome

ROOM = "plans"
BIG = "chats", "deliveries", "dialogs", "files", "messages"
TIMES = 7  # after five the server may plan without the values
LATER = NOW + 1
MOST = 5 * TIMES  # rows that may be read until one is found that does: where nearly each does
SHAPES = {
    "all due": "0",
    "every other due": f"case when id / 4 % 2 = 1 then {LATER} else 0 end",
}


@pytest.fixture(scope="module", params=["queued", "in doubt"])
def url(
    request: pytest.FixtureRequest, postgres: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    postgres.ask(f"drop schema if exists {ROOM} cascade; create schema {ROOM}")
    url = postgres.url_of(ROOM)
    with closing(Store(url, tmp_path_factory.mktemp("plans"), RENDERER)) as store:
        store.open()
        fill(store, 4_000, 4, request.param, "message")
        confirm = "kind = 'confirmation', place = null, line = chat_line where id % 5 = 0"
        with store.database.write() as db:
            db.execute(f"update deliveries set {confirm}")
    postgres.ask("analyze")
    yield url
    postgres.ask(f"drop schema {ROOM} cascade")


def read_in_sequence(server: Server) -> dict[str, int]:
    """Rows of each big table that were not found by an index, so far."""
    rows = server.ask(
        "select relname, seq_tup_read from pg_stat_user_tables where schemaname = %s", ROOM
    )
    return {name: number for name, number in rows if name in BIG}


def of_the_queue(ask: Callable[[QueueTables], object], store: Store) -> None:
    ask(store.queue)


def a_step(store: Store) -> None:
    due = store.queue.due_messages(NOW, 5)
    claimed = store.queue.claim(due, 7, NOW)
    store.queue.record([Outcome(one, "delivered") for one in claimed], NOW)


def of_a_visitor(store: Store) -> None:
    """What a send, a page, a history, a stream and an operator's answer ask."""
    message = write(store, "hello")
    store.messages.add_from_operators([answer(message.id % 1_000_000_000)], NOW)
    conversations, chats = store.conversations, store.chats
    conversations.latest(CHAT, None, 50)
    versions = conversations.latest_versions(CHAT, None, 50)
    conversations.read([version.id for version in versions])
    conversations.changed_after(CHAT, message.revision - 1, 1)
    conversations.before_latest(CHAT, 50)
    conversations.words_before(message, 50)
    conversations.parts(CHAT)
    store.messages.chats_changed_after(message.revision - 1)
    store.messages.revision()
    store.messages.is_answered(message)
    store.messages.known_im_message_ids(CHAT)
    chats.find_writer(CHAT)
    chats.is_over(CHAT)
    chats.is_known(CHAT)
    chats.latest_deletion()
    chats.deleted_after(0)
    chats.file_keys(CHAT)
    chats.spellings("anna@example.com")
    store.dialogs.find([1, 2, 3])
    store.dialogs.in_conversation(NOW - 60)


# What /metrics, /healthz and the watch ask.
OF_AN_ADMINISTRATOR: dict[str, Callable[[Store], object]] = {
    "counts.waiting": lambda store: store.counts.waiting(),
    "counts.all": lambda store: store.counts.all(),
    "counts.open": lambda store: store.counts.open(),
    "overview.waiting": lambda store: store.overview.waiting(1000),
    "overview.waiting_lines": lambda store: store.overview.waiting_lines(),
    "overview.refused": lambda store: store.overview.refused(NOW - 60),
    "overview.unannounced": lambda store: store.overview.unannounced(NOW - 60),
    "overview.last_messages": lambda store: store.overview.last_messages(),
    "overview.refusal_to_tell": lambda store: store.overview.refusal_to_tell(NOW - 60),
    "removal.unfinished": lambda store: store.removal.unfinished(NOW),
}
ALL: dict[str, Callable[[Store], object]] = {
    **{name: partial(of_the_queue, ask) for name, ask in QUESTIONS.items()},
    "a step": a_step,
    "a visitor": of_a_visitor,
    **OF_AN_ADMINISTRATOR,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_question_reads_a_big_table_from_its_beginning(
    postgres: Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    monkeypatch.setattr("store.counts.AT_ONCE", 200)  # little beside all that waits
    with closing(Store(url, tmp_path, RENDERER)) as store, store.database.write() as db:
        db.execute(f"update deliveries set due = {SHAPES[shape]}")
    postgres.ask("analyze")

    def read_by(names: Iterable[str]) -> dict[str, int]:
        before = read_in_sequence(postgres)
        with closing(Store(url, tmp_path, RENDERER)) as store:  # its sessions tell at their end
            for name in names:
                for _ in range(TIMES):
                    ALL[name](store)
        after = read_in_sequence(postgres)
        return {table: rows for table in BIG if (rows := after[table] - before[table]) > MOST}

    if read_by(ALL):  # by which of them?
        assert {name: read for name in ALL if (read := read_by([name]))} == {}
