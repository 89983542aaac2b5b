"""The schema: a file of an earlier release opens, keeps everything, and delivers what waited."""

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fake_portal import DIALOG, FakePortal, make_worker, run, said
from new_stores import one_script
from store_parts import CHAT, LINE, NOW, OTHER, RENDERER, URL, every_use, history, sql, write

from bbcode import RENDERER as NEWEST
from portal.inbox import render_outdated
from storage import Store
from store.database import StoreUnavailable
from store.records import File
from store.schema import MIGRATIONS, statements

BEFORE = 6  # the schema's version before the engine had a state and messages named fields
FILE = {"name": "a.pdf", "type": "file", "link": "https://portal.example/a", "size": 9}
OWN: dict[str, Any] = {
    "key": "k" * 32, "name": "b.png", "type": "image", "media_type": "image/png", "size": 5,
    "link": "https://site.example/ajax?type=file&key=k",
}  # fmt: skip


def insert(db: sqlite3.Connection, table: str, **values: Any) -> None:
    names = ", ".join(values)
    places = ", ".join("?" * len(values))
    db.execute(f"insert into {table} ({names}) values ({places})", tuple(values.values()))


def message(db: sqlite3.Connection, number: int, author: str, text: str, **values: Any) -> None:
    extra = json.dumps(values.pop("extra", {}))
    base = {
        "id": number, "revision": number, "position": number, "chat_id": CHAT, "author": author,
        "name": None, "text": text, "extra": extra, "html": f"<p>{text}</p>", "renderer": 3,
        "sent_at": NOW - 100 + number, "state": "stored",
    }  # fmt: skip
    insert(db, "messages", **base | values)


def test_the_one_script_of_the_tests_makes_what_all_migrations_make(tmp_path: Path) -> None:
    found = []
    for name, scripts in ("at once", [one_script()]), ("in turn", MIGRATIONS):
        with closing(sqlite3.connect(tmp_path / name, isolation_level=None)) as db:
            for script in scripts:
                for statement in statements(script):
                    db.execute(statement)
            schema = "select type, name, tbl_name, sql from sqlite_master order by type, name"
            objects = list(db.execute(schema))
            rows = {
                name: sorted(db.execute(f"select * from {name}"))
                for kind, name, *_ in objects
                if kind == "table"
            }
        epoch = dict(rows["meta"]).pop("epoch")
        rows["meta"].remove(("epoch", epoch))
        found.append((objects, rows, len(epoch)))

    assert found[0] == found[1]


@pytest.fixture
def written_before(tmp_path: Path) -> Path:
    """The file as the release before wrote it, with something in each table."""
    path = tmp_path / "chats.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for script in MIGRATIONS[:BEFORE]:
            for statement in statements(script):
                db.execute(statement)
        db.execute(f"pragma user_version = {BEFORE}")
        insert(db, "lines", line=LINE, active=1, connected_at=NOW)
        for chat in (CHAT, OTHER):
            insert(db, "chats", id=chat, name="Anna", created_at=NOW, active_at=NOW, line=LINE,
                   portal_chat_id=5120 if chat == CHAT else None, portal_user_id=2001,
                   dialog_line=LINE)  # fmt: skip
        insert(db, "dialogs", portal_chat_id=5120, chat_id=CHAT, line=LINE)
        insert(db, "deleted_chats", id="chat-gone", deleted_at=NOW)
        message(db, 1, "visitor", "delivered", state="delivered", client_id="uuid-1")
        message(db, 2, "operator", "Please vote", im_message_id=10, im_chat_id=5120,
                extra={"files": [FILE], "params": {"IMOL_VOTE": "1", "CLASS": "x"}})  # fmt: skip
        message(db, 3, "operator", "recovered", im_message_id=11, im_chat_id=5120,
                extra={"files": [], "params": {}, "incomplete": True})  # fmt: skip
        message(db, 4, "system", "", extra={"kind": "closed"})
        message(db, 5, "visitor", "died in it", extra={"files": [OWN]})
        message(db, 6, "visitor", "waits behind it")
        message(db, 7, "visitor", "answer lost", chat_id=OTHER)
        message(db, 8, "visitor", "waits", chat_id=OTHER)
        insert(db, "files", key=OWN["key"], message_id=5)
        for number, chat, since, error in (
            (5, CHAT, NOW - 60, None),
            (6, CHAT, None, None),
            (7, OTHER, NOW - 60, "NO_REPLY"),
            (8, OTHER, None, "NOT_CONNECTED"),
        ):
            insert(
                db, "deliveries", message_id=number, chat_id=chat, kind="message", line=LINE,
                due=NOW, sending_since=since, error=error, attempts=int(bool(error)),
            )  # fmt: skip
        insert(db, "deliveries", message_id=2, chat_id=CHAT, kind="confirmation", line=LINE,
               due=NOW)  # fmt: skip
        insert(db, "meta", key="note.fault", value=json.dumps({"method": "m", "code": "C"}))
        insert(db, "meta", key="note.dead_lines", value=json.dumps({"7": "NO_SESSION"}))
        db.execute("update meta set value = '8' where key = 'revision'")
    return path


def opened(path: Path) -> Store:
    return Store(f"sqlite:///{path.name}", path.parent, NEWEST)


def test_a_file_of_an_earlier_release_keeps_what_it_holds(written_before: Path) -> None:
    with closing(opened(written_before)) as store:
        first, vote, recovered, end, *_ = store.conversations.latest(CHAT, None, 50)
        died = store.messages.find_with_file("k" * 32)

        assert (first.state, first.client_id, first.html) == (
            "delivered", "uuid-1", "<p>delivered</p>",
        )  # fmt: skip
        assert vote.files == (File("a.pdf", "file", "https://portal.example/a", 9),)
        assert [message.asks_vote for message in (first, vote, recovered)] == [False, True, False]
        assert [message.incomplete for message in (first, vote, recovered)] == [False, False, True]
        assert [message.ends_dialog for message in (vote, end)] == [False, True]
        assert died is not None
        assert died.files == (File(OWN["name"], "image", OWN["link"], 5, OWN["key"], "image/png"),)
        assert store.chats.was_deleted("chat-gone")
        assert store.chats.deleted_after(0)[1] == {"chat-gone"}
        assert store.notes.dead_lines.get() == {7: "NO_SESSION"}
        fault = store.notes.fault.get()
        assert fault is not None
        assert (fault.method, fault.code) == ("m", "C")


def test_what_was_rendered_before_is_rendered_again_with_its_files(written_before: Path) -> None:
    with closing(opened(written_before)) as store:
        assert render_outdated(store, threading.Event()) == 8

        vote = store.conversations.latest(CHAT, None, 50)[1]
        assert vote.text_html == "Please vote"
        assert "a.pdf" in vote.files_html
        assert vote.html == f"Please vote<br>{vote.files_html}"
        assert render_outdated(store, threading.Event()) == 0


def test_what_waited_in_a_file_of_an_earlier_release_is_delivered_once_and_in_order(
    written_before: Path,
) -> None:
    bitrix = FakePortal()
    bitrix.histories[DIALOG] = [said(20, "5", from_connector=True, files=({"name": "b.png"},))]
    with closing(opened(written_before)) as store:
        worker = make_worker(store, bitrix)
        worker.begin(NOW)
        for minute in range(6):
            run(worker, NOW + 60 * minute)

        assert store.queue.waiting() == 0
        assert {message.state for message in store.conversations.latest(OTHER, None, 9)} == {
            "delivered"
        }
    sent = [text for call in bitrix.sent for text in call]
    assert "died in it" not in sent, "the portal has it"
    assert sent.count("waits behind it") == 1
    assert [text for text in sent if text in ("answer lost", "waits")] == ["answer lost", "waits"]
    assert bitrix.confirmed == [[2]]


def test_a_migration_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Store(URL, tmp_path, RENDERER)) as store:
        write(store, "one")
    monkeypatch.setattr("storage.MIGRATIONS", [*MIGRATIONS, "create table x (y); bad"])
    with closing(Store(URL, tmp_path, RENDERER)) as broken, pytest.raises(StoreUnavailable):
        broken.open()
    monkeypatch.undo()

    with closing(Store(URL, tmp_path, RENDERER)) as store:
        assert history(store) == ["one"]
        assert store.database.row("select 1 from sqlite_master where name = 'x'") is None


def test_a_file_of_a_newer_release_is_refused_and_left_alone(store: Store, second: Store) -> None:
    write(store)
    store.close()
    sql(store, "pragma user_version = 1000")

    for use in every_use(second):
        with pytest.raises(StoreUnavailable, match="newer release"):
            use()

    assert sql(store, "pragma user_version") == [(1000,)]
    assert sql(store, "select text from messages") == [("Hello",)]


def copies(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "chats").glob("before-*"))


def test_a_store_is_copied_before_it_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Store(URL, tmp_path, RENDERER)) as store:
        write(store, "one")
    newer = len(MIGRATIONS) + 1
    with monkeypatch.context() as patch:
        patch.setattr("storage.MIGRATIONS", [*MIGRATIONS, "drop table messages"])
        with closing(Store(URL, tmp_path, RENDERER)) as updated:
            updated.open()

    assert copies(tmp_path) == [f"before-schema-{newer}.db"]
    copy = tmp_path / "chats" / f"before-schema-{newer}.db"
    assert copy.stat().st_mode & 0o777 == 0o600
    copy.rename(tmp_path / "chats" / "chats.db")
    with closing(Store(URL, tmp_path, RENDERER)) as store:
        assert history(store) == ["one"]
        assert store.epochs.current() == ""  # whoever works with it knows that it is a copy


def test_what_is_new_or_empty_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Store(URL, tmp_path, RENDERER)) as store:
        store.open()
    monkeypatch.setattr("storage.MIGRATIONS", [*MIGRATIONS, "create table x (y)"])
    with closing(Store(URL, tmp_path, RENDERER)) as updated:
        updated.open()

    assert copies(tmp_path) == []


def test_each_copy_is_kept_and_those_of_failed_updates_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Store(URL, tmp_path, RENDERER)) as store:
        write(store, "one")
    newer = len(MIGRATIONS) + 1
    earlier = tmp_path / "chats" / f"before-schema-{newer}.db"
    earlier.write_text("of an earlier try to update")
    monkeypatch.setattr("storage.MIGRATIONS", [*MIGRATIONS, "create table x (y); bad"])
    with closing(Store(URL, tmp_path, RENDERER)) as broken:
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                broken.open()
    assert copies(tmp_path) == [earlier.name]

    monkeypatch.setattr("storage.MIGRATIONS", [*MIGRATIONS, "create table x (y)"])
    with closing(Store(URL, tmp_path, RENDERER)) as updated:
        updated.open()

    assert copies(tmp_path) == [f"before-schema-{newer}-2.db", earlier.name]
    assert earlier.read_text() == "of an earlier try to update"
