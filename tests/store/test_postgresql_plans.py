"""However much is kept, PostgreSQL reads little of it for each question: counted in rows."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import pytest
from postgres import Server
from store_parts import MINUTE, NOW, RENDERER
from test_queue_plans import MUCH, QUESTIONS, SHAPES, fill

from storage import Store
from store.postgresql_link import Session
from store.queue import QueueTables

ROOM = "plans"
ROWS = 3_000  # some questions look at the 2,000 newest; what reads all reads at least 8,000
DAY = 86_400.0
EXPLAIN = b"explain (analyze, buffers, timing off, format json) "


@pytest.fixture(scope="module")
def filled(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    postgres.ask(f"drop schema if exists {ROOM} cascade; create schema {ROOM}")
    with closing(Store(postgres.url_of(ROOM), tmp_path_factory.mktemp("r"), RENDERER)) as store:
        store.open()
        yield store
    postgres.ask(f"drop schema {ROOM} cascade")


def rows_of(plan: dict[str, Any]) -> int:
    """How many rows a plan has read of tables and indexes, also those that were not wanted."""
    own = 0
    if "Scan" in plan["Node Type"] and "Subquery" not in plan["Node Type"]:
        seen = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        own = (seen + plan.get("Rows Removed by Index Recheck", 0)) * plan["Actual Loops"]
    return int(own) + sum(rows_of(part) for part in plan.get("Plans", []))


@contextmanager
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """The rows that each question reads, by its words and its plan."""
    told: dict[str, int] = {}
    execute = Session.execute

    def explaining(self: Session, query: Any, params: Any = None, **how: Any) -> Any:
        text = query if isinstance(query, bytes) else str(query).encode()
        if text.lstrip().startswith((b"select", b"with")):
            row = execute(self, EXPLAIN + text, params, prepare=False).fetchone()
            plan = row["QUERY PLAN"][0]["Plan"] if row else {}
            told[f"{text.decode()} {json.dumps(plan)}"] = rows_of(plan)
        return execute(self, query, params, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "execute", explaining)
        yield told


def of_queue(ask: Callable[[QueueTables], object], store: Store) -> object:
    return ask(store.queue)


CHAT = "chat5"
ASKED: dict[str, Callable[[Store], object]] = {
    **{name: partial(of_queue, ask) for name, ask in QUESTIONS.items()},
    "history": lambda store: store.conversations.latest(CHAT, None, 50),
    "the page": lambda store: store.chats.find_open(CHAT),
    "what is new": lambda store: store.messages.chats_changed_after(MUCH - 5),
    "waiting, said by the doctor": lambda store: store.overview.waiting(1000),
    "lines": lambda store: store.overview.waiting_lines(),
    "refused": lambda store: store.overview.refused(NOW - 7 * DAY),
    "to tell": lambda store: store.overview.refusal_to_tell(NOW - DAY),
    "unannounced": lambda store: store.overview.unannounced(NOW - MINUTE),
    "what is new in a chat": lambda store: store.conversations.changed_after(CHAT, MUCH - 5, 100),
    "parts": lambda store: store.conversations.parts(CHAT),
    "conversations that go on": lambda store: store.dialogs.in_conversation(NOW),
    "former messages of the portal": lambda store: store.messages.known_im_message_ids(CHAT),
    "the latest": lambda store: store.overview.last_messages(),
    "deletions": lambda store: store.removal.unfinished(NOW),
    "former renderers": lambda store: store.messages.to_render(50),
}


@pytest.mark.parametrize(
    ("chats", "state", "kind"),
    [
        (MUCH, "queued", "message"),
        (6, "queued", "message"),
        (MUCH, "in doubt", "message"),
        (MUCH, "queued", "confirmation"),
    ],
)
def test_a_question_reads_little_however_much_is_kept(
    postgres: Server, filled: Store, monkeypatch: pytest.MonkeyPatch, chats: int, state: str,
    kind: str,
) -> None:  # fmt: skip
    found = {}
    postgres.empty(ROOM)
    fill(filled, chats, 4, state, kind)
    postgres.ask(f"update {ROOM}.messages set renderer = {RENDERER}")
    for shape in ("all due", "the newest due"):
        with filled.database.write() as db:
            db.execute(f"update deliveries set {SHAPES[shape]}")
        postgres.ask(f"set search_path = {ROOM}; analyze")  # as the server does by itself
        postgres.ask(f"vacuum {ROOM}.deliveries, {ROOM}.messages")
        for name, ask in ASKED.items():
            with read(monkeypatch) as told:
                ask(filled)
            found[f"{shape}: {name}"] = told

    many = {what: max(told, key=told.__getitem__) for what, told in found.items()
            if sum(told.values()) > ROWS}  # fmt: skip
    assert many == {}
