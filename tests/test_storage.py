"""The store: what it promises of transactions, order, locks and its file, on a real file."""

import ast
import contextlib
import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from stage import path_of

from live import Live
from storage import Store
from store.database import StoreUnavailable
from store.records import (
    Chat,
    Delivery,
    File,
    LastRecovery,
    Limits,
    Message,
    OperatorMessage,
    Outcome,
    Portal,
    PortalDialog,
    ReportedFault,
    TooMany,
    VisitorMessage,
)

NOW = 1_790_000_000.0
MINUTE = 60.0
RENDERER = 3
LIMITS = Limits("an address", 10_000, 10_000)
CHAT = "chat" + "a" * 64
OTHER = "chat" + "b" * 64
URL = "sqlite:///chats/chats.db"
TOKENS = ("the-access-token", "the-refresh-token", "the-application-token")
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(URL, tmp_path, RENDERER)) as store:
        store.open()
        yield store


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Store]:
    """Another store on the same file, as another process would have it."""
    with closing(Store(URL, tmp_path, RENDERER)) as store:
        yield store


PRICE = File("price.pdf", "file", "https://portal.example/price.pdf", 10)


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
) -> Message:
    return store.messages.add_from_visitor(
        VisitorMessage(visitor(chat), text, f"<p>{text}</p>", client_id), LIMITS, now
    )


def answer(
    im_message_id: int = 903311, text: str = "Good morning", **other: Any
) -> OperatorMessage:
    message = OperatorMessage(
        chat_id=CHAT,
        line=7,
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


def due(store: Store, now: float = NOW, limit: int = 100, chat_limit: int = 100) -> list[Delivery]:
    """All that is due, whether it may be sent or has to be looked for."""
    return store.queue.due_messages(now, limit, chat_limit) + store.queue.messages_in_doubt(
        now, limit
    )


def texts(deliveries: list[Delivery]) -> list[str]:
    return [delivery.message.text for delivery in deliveries]


def history(store: Store, chat: str = CHAT) -> list[str]:
    return [message.text for message in store.messages.latest(chat, None, 1000)]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def sql(store: Store, statement: str) -> list[Any]:
    """Run a statement on the file past the store."""
    with closing(sqlite3.connect(path_of(store), isolation_level=None)) as db:
        return db.execute(statement).fetchall()


def refuse_deliveries(store: Store, when: str = "1") -> None:
    sql(
        store,
        f"create trigger no_delivery before insert on deliveries when {when}"
        " begin select raise(abort, 'no deliveries today'); end",
    )


# -- visitors' messages


def test_a_visitors_message_is_stored_with_all_it_came_with(store: Store) -> None:
    written = store.messages.add_from_visitor(
        VisitorMessage(visitor(), "a < b", "<p>a &lt; b</p>", "uuid-1"), LIMITS, NOW
    )

    (message,) = store.messages.latest(CHAT, None, 50)
    assert message == written
    assert (message.chat_id, message.author, message.name) == (CHAT, "visitor", "Anna")
    assert (message.text, message.html) == ("a < b", "<p>a &lt; b</p>")
    assert (message.sent_at, message.state, message.error) == (NOW, "stored", None)
    assert (message.client_id, message.im_message_id) == ("uuid-1", None)
    assert (message.edited, message.deleted, message.files) == (False, False, ())


def test_text_is_kept_to_the_character(store: Store) -> None:
    text = "\"quotes\" 'single' <b> 😀 Привет\r\n\ttab ; -- ? %s \\ \u202e"

    write(store, text)

    assert history(store) == [text]


def test_a_visitors_message_makes_and_updates_its_chat(store: Store) -> None:
    assert store.chats.find(CHAT) is None

    write(store)
    store.chats.note_dialog(CHAT, 7, 5120, 2114, 3301, closed_at=NOW)
    store.messages.add_from_visitor(
        VisitorMessage(visitor(name="Maria"), "again", "", None), LIMITS, NOW + MINUTE
    )

    chat = store.chats.find(CHAT)
    assert chat is not None
    assert (chat.name, chat.email, chat.phone) == ("Maria", "anna@example.com", "+100")
    assert chat.page == "https://shop.example/cart"
    assert (chat.created_at, chat.active_at) == (NOW, NOW + MINUTE)
    assert (chat.portal_chat_id, chat.portal_user_id, chat.session_id) == (5120, 2114, 3301)
    assert chat.closed_at is None


def test_a_message_is_stored_with_its_delivery_or_not_at_all(store: Store) -> None:
    write(store, "before")
    refuse_deliveries(store)

    with pytest.raises(sqlite3.Error):
        store.messages.add_from_visitor(
            VisitorMessage(visitor(OTHER), "lost", "", "uuid-1"), LIMITS, NOW
        )
    with pytest.raises(sqlite3.Error):
        store.messages.add_from_visitor(
            VisitorMessage(visitor(name="Maria"), "lost", "", None), LIMITS, NOW + 1
        )

    assert store.messages.latest(OTHER, None, 50) == []
    assert store.chats.find(OTHER) is None
    assert history(store) == ["before"]
    chat = store.chats.find(CHAT)
    assert chat is not None
    assert (chat.name, chat.active_at) == ("Anna", NOW)
    assert store.queue.waiting() == 1


def test_the_store_goes_on_after_a_failed_transaction(store: Store) -> None:
    refuse_deliveries(store)
    with pytest.raises(sqlite3.Error):
        write(store, "lost", client_id="uuid-1")
    sql(store, "drop trigger no_delivery")

    write(store, "kept", client_id="uuid-1")

    assert history(store) == ["kept"]
    assert store.queue.waiting() == 1


def test_the_same_client_id_gives_the_message_stored_first(store: Store, second: Store) -> None:
    first = write(store, "first", client_id="uuid-1")

    assert write(store, "again", client_id="uuid-1", now=NOW + 1) == first
    assert write(second, "again", client_id="uuid-1", now=NOW + 2) == first

    assert history(store) == ["first"]
    assert store.queue.waiting() == 1
    chat = store.chats.find(CHAT)
    assert chat is not None
    assert chat.active_at == NOW


def test_a_client_id_is_its_chats_own(store: Store) -> None:
    first = write(store, "one", client_id="uuid-1")
    other = write(store, "two", chat=OTHER, client_id="uuid-1")

    assert other.id != first.id
    assert history(store, OTHER) == ["two"]


def test_messages_without_a_client_id_are_all_stored(store: Store) -> None:
    write(store, "same")
    write(store, "same")

    assert history(store) == ["same", "same"]
    assert store.queue.waiting() == 2


# -- many at once


def test_parallel_threads_lose_nothing(store: Store, second: Store) -> None:
    threads, each = 8, 15
    start = threading.Barrier(threads)

    def write_many(number: int) -> list[Message]:
        start.wait(5)
        one = store if number % 2 else second
        return [write(one, f"{number}-{count}") for count in range(each)]

    with ThreadPoolExecutor(threads) as pool:
        written = list(pool.map(write_many, range(threads)))

    messages = store.messages.latest(CHAT, None, 1000)
    assert sorted(message.text for message in messages) == sorted(
        f"{number}-{count}" for number in range(threads) for count in range(each)
    )
    assert store.queue.waiting() == threads * each
    revisions = [message.revision for message in messages]
    assert revisions == sorted(set(revisions))
    for own in written:  # a thread's own messages stand in the order it wrote them
        assert [message.id for message in own] == sorted(message.id for message in own)


def test_the_same_client_id_from_many_threads_is_one_message(store: Store, second: Store) -> None:
    start = threading.Barrier(8)

    def send(number: int) -> int:
        start.wait(5)
        return write(store if number % 2 else second, f"try {number}", client_id="uuid-1").id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(send, range(8)))

    assert len(ids) == 1
    assert len(history(store)) == 1
    assert store.queue.waiting() == 1


def write_in_a_process(root: Path, number: int, each: int, pipe: Connection) -> None:
    store = Store(URL, root, RENDERER)
    pipe.send("ready")
    pipe.recv()
    pipe.send([write(store, f"{number}-{count}").revision for count in range(each)])
    store.close()


def test_parallel_processes_lose_nothing(store: Store, tmp_path: Path) -> None:
    each = 30
    with (
        spawned(write_in_a_process, tmp_path, 0, each) as one,
        spawned(write_in_a_process, tmp_path, 1, each) as two,
    ):
        for process in (one, two):
            assert process.hear() == "ready"
        for process in (one, two):
            process.say("go")
        told = [process.hear() for process in (one, two)]

    messages = store.messages.latest(CHAT, None, 1000)
    assert sorted(message.text for message in messages) == sorted(
        f"{number}-{count}" for number in range(2) for count in range(each)
    )
    assert store.queue.waiting() == 2 * each
    revisions = [message.revision for message in messages]
    assert revisions == sorted(set(revisions))
    assert sorted(told[0] + told[1]) == revisions
    for revisions_of_one in told:
        assert revisions_of_one == sorted(revisions_of_one)


def write_and_wait(root: Path, pipe: Connection) -> None:
    store = Store(URL, root, RENDERER)
    pipe.send(write(store, "before the kill").id)
    pipe.recv()


def test_a_message_that_was_stored_survives_kill_9(tmp_path: Path) -> None:
    with spawned(write_and_wait, tmp_path) as process:
        stored = process.hear()
        process.kill()

    with closing(Store(URL, tmp_path, RENDERER)) as store:
        assert [message.id for message in store.messages.latest(CHAT, None, 50)] == [stored]
        assert store.queue.waiting() == 1


class Spawned:
    """A process of its own and a pipe to it."""

    def __init__(self, target: Callable[..., None], *args: object) -> None:
        self._pipe, other = SPAWN.Pipe()
        self._process = SPAWN.Process(target=target, args=(*args, other), daemon=True)
        self._process.start()
        other.close()

    def __enter__(self) -> "Spawned":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.join(5)
        self.kill()
        self._process.close()
        self._pipe.close()

    def say(self, word: str) -> None:
        self._pipe.send(word)

    def hear(self) -> Any:
        assert self._pipe.poll(15), "the process says nothing"
        return self._pipe.recv()

    def kill(self) -> None:
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.join(5)


def spawned(target: Callable[..., None], *args: object) -> Spawned:
    return Spawned(target, *args)


# -- operators' messages


def test_an_operators_message_is_stored_with_its_confirmation(store: Store) -> None:
    (message,) = store.messages.add_from_operators([answer()], NOW)

    assert store.messages.latest(CHAT, None, 50) == [message]
    assert (message.author, message.name, message.text) == ("operator", "Olga", "Good morning")
    assert message.files == (PRICE,)
    assert (message.im_chat_id, message.im_message_id) == (5120, 903311)
    (delivery,) = store.queue.due_confirmations(NOW, 10)
    assert (delivery.kind, delivery.line, delivery.message) == ("confirmation", 7, message)


def test_an_operators_message_is_stored_once(store: Store, second: Store) -> None:
    store.messages.add_from_operators([answer()], NOW)

    assert store.messages.add_from_operators([answer()], NOW + 1) == []
    assert second.messages.add_from_operators([answer(text="other", chat_id=OTHER)], NOW + 1) == []

    assert history(store) == ["Good morning"]
    assert history(store, OTHER) == []
    assert store.queue.waiting() == 1


def test_an_operators_message_twice_in_one_event_is_stored_once(store: Store) -> None:
    added = store.messages.add_from_operators([answer(), answer()], NOW)

    assert len(added) == len(history(store)) == store.queue.waiting() == 1


def test_only_the_new_ones_of_several_are_returned(store: Store) -> None:
    store.messages.add_from_operators([answer(2, "two")], NOW)

    added = store.messages.add_from_operators(
        [answer(3, "three"), answer(2, "two"), answer(1)], NOW
    )

    assert [message.im_message_id for message in added] == [1, 3]


def test_operators_messages_of_one_call_are_stored_in_the_portals_order(store: Store) -> None:
    store.messages.add_from_operators([answer(3, "3"), answer(1, "1"), answer(2, "2")], NOW)

    assert history(store) == ["1", "2", "3"]


def test_operators_messages_are_stored_all_or_none(store: Store) -> None:
    refuse_deliveries(store, "(select count(*) from deliveries) > 0")

    with pytest.raises(sqlite3.Error):
        store.messages.add_from_operators([answer(1), answer(2)], NOW)

    assert history(store) == []
    assert store.chats.find(CHAT) is None
    assert store.queue.waiting() == 0


def test_an_answer_in_a_chat_we_lost_makes_the_chat(store: Store) -> None:
    store.messages.add_from_operators([answer()], NOW)

    chat = store.chats.find(CHAT)
    assert chat is not None
    assert (chat.name, chat.portal_chat_id, chat.created_at) == ("", 5120, NOW)


def test_an_answer_leaves_what_the_visitor_told_alone(store: Store) -> None:
    write(store)

    store.messages.add_from_operators([answer()], NOW + MINUTE)

    chat = store.chats.find(CHAT)
    assert chat is not None
    assert (chat.name, chat.email, chat.created_at) == ("Anna", "anna@example.com", NOW)
    assert (chat.active_at, chat.portal_chat_id) == (NOW + MINUTE, 5120)


# -- editing and deleting


def test_an_edit_gives_new_text_and_a_new_revision(store: Store) -> None:
    (message,) = store.messages.add_from_operators([answer()], NOW)

    assert store.messages.edit(answer(text="Good evening", name=None), NOW) is True

    (edited,) = store.messages.latest(CHAT, None, 50)
    assert (edited.text, edited.text_html) == ("Good evening", "<p>Good evening</p>")
    assert (edited.id, edited.name, edited.sent_at) == (message.id, "Olga", NOW)
    assert edited.edited is True
    assert edited.revision > message.revision


@pytest.mark.parametrize(
    "change",
    [
        answer(),  # it says so already
        answer(text="Good evening", chat_id=OTHER),  # of another chat
    ],
)
def test_an_edit_that_changes_nothing_says_so(store: Store, change: OperatorMessage) -> None:
    store.messages.add_from_operators([answer()], NOW)
    before = store.messages.latest(CHAT, None, 50)

    assert store.messages.edit(change, NOW) is False

    assert store.messages.latest(CHAT, None, 50) == before


def test_edits_may_come_in_any_order(store: Store) -> None:
    store.messages.add_from_operators([answer()], NOW)

    for queued_at, text in ((7, "first"), (9, "last"), (8, "late"), (9, "same second"), (0, "old")):
        store.messages.edit(answer(text=text), NOW, queued_at)

    # Without the portal's word, what comes last is the last.
    assert history(store) == ["old"]
    store.messages.edit(answer(903312, "overtakes"), NOW, 9)
    store.messages.edit(answer(903312, "late"), NOW, 8)
    assert history(store)[-1] == "overtakes"
    for queued_at, text in ((7, "first"), (9, "last"), (8, "late")):
        store.messages.edit(answer(text=text), NOW, queued_at)
    assert history(store)[0] == "last"
    store.messages.edit(answer(text="first"), NOW, 10)
    store.messages.edit(answer(text="first"), NOW, 20)  # as it is, but later
    store.messages.edit(answer(text="between"), NOW, 15)
    assert history(store)[0] == "first"


def test_a_deleted_message_leaves_nothing_of_its_content(store: Store) -> None:
    (message,) = store.messages.add_from_operators([answer()], NOW)

    assert store.messages.take_back(answer(text=""), NOW) is True

    (deleted,) = store.messages.latest(CHAT, None, 50)
    assert deleted.deleted is True
    assert (deleted.text, deleted.html, deleted.files) == ("", "", ())
    assert deleted.revision > message.revision


def test_a_deleted_message_stays_deleted(store: Store) -> None:
    store.messages.add_from_operators([answer()], NOW)
    store.messages.take_back(answer(text=""), NOW)
    before = store.messages.latest(CHAT, None, 50)

    assert store.messages.take_back(answer(text=""), NOW) is False
    assert store.messages.edit(answer(text="back again"), NOW) is False
    assert store.messages.add_from_operators([answer()], NOW) == []

    assert store.messages.latest(CHAT, None, 50) == before


def test_nothing_is_deleted_by_another_chat(store: Store) -> None:
    store.messages.add_from_operators([answer()], NOW)

    assert store.messages.take_back(answer(text="", chat_id=OTHER, own_ids=(1,)), NOW) is False

    assert history(store) == ["Good morning"]


def test_a_change_finds_its_message_by_our_id_too(store: Store) -> None:
    (message,) = store.messages.add_from_operators([answer()], NOW)

    assert store.messages.edit(answer(904000, "Good evening", own_ids=(message.id,)), NOW) is True

    assert history(store) == ["Good evening"]


def test_our_id_does_not_reach_a_visitors_message(store: Store) -> None:
    message = write(store)

    store.messages.take_back(answer(904000, "", own_ids=(message.id,)), NOW)

    assert store.messages.latest(CHAT, None, 50)[0].deleted is False


def test_an_edit_that_overtakes_its_message_wins(store: Store) -> None:
    assert store.messages.edit(answer(text="Good evening"), NOW) is True
    assert store.messages.add_from_operators([answer()], NOW) == []

    (message,) = store.messages.latest(CHAT, None, 50)
    assert (message.text, message.edited) == ("Good evening", True)
    assert [one.message.id for one in store.queue.due_confirmations(NOW, 50)] == [message.id]


def test_a_deletion_that_overtakes_its_message_wins(store: Store) -> None:
    assert store.messages.take_back(answer(text=""), NOW) is True
    assert store.messages.add_from_operators([answer()], NOW) == []

    (message,) = store.messages.latest(CHAT, None, 50)
    assert (message.text, message.deleted) == ("", True)


def test_answers_that_come_late_stand_where_they_belong(store: Store) -> None:
    write(store, "question")
    store.messages.add_from_operators([answer(10, "first")], NOW)
    write(store, "thanks")
    store.messages.add_from_operators([answer(30, "third"), answer(40, "fourth")], NOW)

    store.messages.add_from_operators([answer(20, "second")], NOW)
    store.messages.add_from_operators([answer(5, "zeroth")], NOW)
    store.messages.add_from_operators([answer(25, "second and a half")], NOW)

    assert history(store) == [
        *("question", "zeroth", "first", "thanks", "second", "second and a half"),
        *("third", "fourth"),
    ]


def test_the_event_completes_what_history_gave_first(store: Store) -> None:
    recovered = answer(name=None, incomplete=True, files=(), files_html="", sent_at=NOW - MINUTE)
    store.messages.add_from_operators([recovered], NOW)

    store.messages.add_from_operators([answer()], NOW)
    store.messages.add_from_operators([recovered], NOW)

    (message,) = store.messages.latest(CHAT, None, 50)
    assert (message.name, message.files) == ("Olga", (PRICE,))
    assert message.sent_at == NOW - MINUTE


def test_the_event_completes_what_its_edit_gave_first_and_leaves_the_text(store: Store) -> None:
    edit = answer(
        text="Good evening", name=None, author="system", files=(), files_html="", asks_vote=False
    )
    store.messages.edit(edit, NOW)
    (message,) = store.messages.latest(CHAT, None, 50)
    assert message.html == "<p>Good evening</p>"

    store.messages.add_from_operators([answer(asks_vote=True)], NOW)
    store.messages.add_from_operators([answer(text="once more")], NOW)

    (message,) = store.messages.latest(CHAT, None, 50)
    assert (message.author, message.name, message.asks_vote) == ("operator", "Olga", True)
    assert (message.text, message.html) == ("Good evening", "<p>Good evening</p><br>price.pdf")
    assert message.files == (PRICE,)
    assert message.edited


def test_an_edit_brings_a_text_only_and_the_files_stay(store: Store) -> None:
    store.messages.add_from_operators([answer()], NOW)

    store.messages.edit(answer(text="Good evening", files=(), files_html=""), NOW)

    (message,) = store.messages.latest(CHAT, None, 50)
    assert (message.text, message.files) == ("Good evening", (PRICE,))
    assert message.html == "<p>Good evening</p><br>price.pdf"


def test_a_confirmation_that_ends_hides_no_edit_made_meanwhile(store: Store) -> None:
    store.messages.add_from_operators([answer()], NOW)
    (confirmation,) = store.queue.due_confirmations(NOW, 50)
    store.messages.edit(answer(text="Good evening"), NOW)
    edited = store.messages.revision()

    store.queue.record([Outcome(confirmation, "delivered")], NOW)

    (message,) = store.messages.changed_after(CHAT, edited - 1, 50)
    assert (message.text, message.revision) == ("Good evening", edited)


def test_another_portal_knows_nothing_of_the_first_ones_ids(store: Store) -> None:
    store.portal.save(granted(member_id="first"))
    store.portal.connect_line(7, NOW)
    write(store, "sent")
    (delivery,) = due(store)
    (delivery,) = store.queue.claim([delivery], 7, NOW)
    store.queue.record([Outcome(delivery, "delivered", dialog=PortalDialog(5120, 2001, 3301))], NOW)
    store.messages.add_from_operators([answer(903311)], NOW)
    write(store, "doubtful")
    store.queue.claim(due(store), 7, NOW)

    store.portal.save(granted(member_id="first"))
    assert store.portal.active_lines() == [7], "a reinstall changes nothing"
    store.portal.forget()
    store.portal.save(granted(member_id="second"))
    store.portal.connect_line(7, NOW)

    assert store.queue.due_confirmations(NOW, 50) == []
    (delivery,) = due(store)
    assert (delivery.message.text, delivery.called_at) == ("doubtful", None)
    chat = store.chats.find(CHAT)
    assert chat
    assert (chat.portal_chat_id, chat.portal_user_id, chat.session_id) == (None, None, None)
    (added,) = store.messages.add_from_operators([answer(903311, "of the second")], NOW)
    assert [one.text for one in store.messages.latest(CHAT, None, 50)][-1] == added.text


def test_the_portals_ids_name_the_dialog_of_one_line(store: Store) -> None:
    write(store)
    (delivery,) = store.queue.claim(due(store), 7, NOW)
    store.queue.record([Outcome(delivery, "delivered", dialog=PortalDialog(5120, 2001, 3301))], NOW)

    store.messages.add_from_operators([answer(line=12, im_chat_id=5121)], NOW)

    chat = store.chats.find(CHAT)
    assert chat
    assert (chat.line, chat.dialog_line, chat.portal_chat_id) == (7, 12, 5121)
    assert (chat.session_id, chat.portal_user_id) == (None, 2001)


def test_nothing_waits_for_a_time_that_a_clock_showed_by_mistake(store: Store) -> None:
    write(store, "later", OTHER)
    write(store, "doubtful")
    doubtful, later = sorted(due(store), key=lambda one: one.message.text)
    store.queue.claim([doubtful], 7, NOW + 900)
    store.queue.record([Outcome(later, "queued", "NOT_CONNECTED", NOW + 900)], NOW)
    store.queue.doubt_interrupted("DIED")

    store.queue.make_due(NOW)

    assert [one.called_at for one in due(store)] == [None, NOW]


def test_a_visitor_above_the_limit_is_told_to_wait_and_nothing_is_kept(store: Store) -> None:
    limits = Limits("an address", 2, 100)
    for text in ("one", "two"):
        store.messages.add_from_visitor(VisitorMessage(visitor(), text, "", None), limits, NOW)

    with pytest.raises(TooMany) as told:
        store.messages.add_from_visitor(VisitorMessage(visitor(), "three", "", None), limits, NOW)
    store.messages.add_from_visitor(
        VisitorMessage(visitor(OTHER), "of another visitor", "", None), limits, NOW
    )
    store.messages.add_from_visitor(
        VisitorMessage(visitor(), "later", "", None), limits, NOW + MINUTE
    )

    assert 1 <= told.value.seconds <= 60
    assert history(store) == ["one", "two", "later"]


def test_an_address_above_the_limit_is_told_to_wait(store: Store, second: Store) -> None:
    limits = Limits("an address", 100, 2)
    store.messages.add_from_visitor(VisitorMessage(visitor(), "one", "", None), limits, NOW)
    second.messages.add_from_visitor(VisitorMessage(visitor(OTHER), "two", "", None), limits, NOW)

    with pytest.raises(TooMany):
        store.messages.add_from_visitor(VisitorMessage(visitor(), "three", "", None), limits, NOW)
    elsewhere = replace(limits, address="another address")
    store.messages.add_from_visitor(
        VisitorMessage(visitor(), "from elsewhere", "", None), elsewhere, NOW
    )


def test_requests_that_cross_a_minutes_end_in_any_order_are_all_counted(store: Store) -> None:
    """Two workers write their requests in another order than they came."""
    ends = NOW + MINUTE - NOW % MINUTE
    passed = 0
    for _ in range(10):
        for now in (ends - 0.01, ends + 0.01):
            with contextlib.suppress(TooMany):
                store.limits.count_hit("a flood", 2, now)
                passed += 1

    assert passed == 4
    store.limits.count_hit("another", 2, ends + 10 * MINUTE)
    assert len(store.database.rows("select * from hits")) == 1


def test_refusals_are_counted_by_reason(store: Store, second: Store) -> None:
    store.limits.add_refusals({"event": 2, "install": 1}, NOW)
    second.limits.add_refusals({"event": 3}, NOW + 1)

    assert [(one.reason, one.count, one.last_at) for one in store.limits.refusals()] == [
        ("event", 5, NOW + 1),
        ("install", 1, NOW),
    ]


# -- history


def test_the_history_is_the_last_messages_oldest_first(store: Store) -> None:
    for number in range(1, 8):
        write(store, str(number))
        write(store, f"other {number}", chat=OTHER)

    last = store.messages.latest(CHAT, None, 3)

    assert [message.text for message in last] == ["5", "6", "7"]


def test_the_history_can_be_read_page_by_page_to_its_beginning(store: Store) -> None:
    for number in range(1, 8):
        write(store, str(number))
        write(store, f"other {number}", chat=OTHER)

    pages, before = [], None
    while page := store.messages.latest(CHAT, before, 3):
        pages.append([message.text for message in page])
        before = page[0].id

    assert pages == [["5", "6", "7"], ["2", "3", "4"], ["1"]]


def test_a_page_before_the_first_message_or_of_no_chat_is_empty(store: Store) -> None:
    first = write(store)

    assert store.messages.latest(CHAT, first.id, 50) == []
    assert store.messages.latest(CHAT, 0, 50) == []
    assert store.messages.latest(OTHER, None, 50) == []


# -- what is due


def test_deliveries_are_due_in_the_order_of_writing(store: Store) -> None:
    for number in range(5):
        write(store, str(number), now=NOW - number)  # a clock that runs backwards changes nothing

    assert texts(due(store)) == ["0", "1", "2", "3", "4"]


def test_the_chat_that_waits_longest_comes_first_and_its_messages_together(store: Store) -> None:
    write(store, "a1")
    write(store, "b1", chat=OTHER)
    write(store, "a2")

    assert texts(due(store)) == ["a1", "a2", "b1"]


def test_no_chat_gets_more_than_its_share_of_a_call(store: Store) -> None:
    for number in range(1, 4):
        write(store, f"a{number}")
    write(store, "b1", chat=OTHER)

    assert texts(due(store, chat_limit=2)) == ["a1", "a2", "b1"]
    assert texts(due(store, chat_limit=1)) == ["a1", "b1"]
    assert texts(due(store, limit=1, chat_limit=2)) == ["a1", "a2"]


def test_what_is_unsure_of_a_chat_comes_together_and_apart_from_the_rest(store: Store) -> None:
    for number in range(1, 5):
        write(store, f"a{number}")
    store.queue.claim(due(store)[:2], 7, NOW)
    assert store.queue.messages_in_doubt(NOW, 100) == [], "their call is under way"
    store.queue.doubt_interrupted("DIED")

    assert store.queue.due_messages(NOW, 100, 100) == []
    (first, second) = store.queue.messages_in_doubt(NOW, 100)
    assert texts([first, second]) == ["a1", "a2"]
    store.queue.record([Outcome(first, "queued", "NO_REPLY", NOW)], NOW)
    assert texts(store.queue.due_messages(NOW, 100, 100)) == ["a1"], "the second is still unsure"
    assert store.queue.messages_in_doubt(NOW, 100) == []


def test_what_another_process_has_begun_is_not_begun_again(store: Store, second: Store) -> None:
    write(store)
    both = due(store), due(second)

    assert len(store.queue.claim(both[0], 7, NOW)) == 1
    assert second.queue.claim(both[1], 7, NOW) == []


def test_however_many_answers_come_late_they_stand_in_order(store: Store) -> None:
    """Each halves the gap before the last one, until no number is left in it."""
    write(store)
    store.messages.add_from_operators([answer(5000)], NOW)
    write(store)

    for number in range(1000, 1200):
        store.messages.add_from_operators([answer(number)], NOW)
    for number in range(999, 900, -1):
        store.messages.add_from_operators([answer(number)], NOW)

    ids = [one.im_message_id for one in store.messages.latest(CHAT, None, 1000)]
    assert ids == [None, *range(901, 1200), 5000, None]


def test_nothing_is_due_before_its_time(store: Store) -> None:
    write(store)

    assert due(store, now=NOW - 1) == []
    assert len(due(store, now=NOW)) == 1


def test_a_postponed_message_holds_its_own_chat_only(store: Store) -> None:
    write(store, "a1")
    write(store, "a2")
    write(store, "b1", chat=OTHER)
    (head, *_) = due(store)

    store.queue.record([Outcome(head, "queued", "NOT_CONNECTED", NOW + MINUTE)], NOW)
    write(store, "a3")

    assert texts(due(store)) == ["b1"]
    assert texts(due(store, now=NOW + MINUTE)) == ["a1", "a2", "a3", "b1"]


def test_confirmations_and_messages_do_not_hold_each_other(store: Store) -> None:
    store.messages.add_from_operators([answer()], NOW)
    write(store, "a1")
    (confirmation,) = store.queue.due_confirmations(NOW, 10)
    store.queue.record([Outcome(confirmation, "queued", "NO_REPLY", NOW + MINUTE)], NOW)

    assert texts(due(store)) == ["a1"]
    assert store.queue.due_confirmations(NOW, 10) == []
    assert len(store.queue.due_confirmations(NOW + MINUTE, 10)) == 1


def test_confirmations_are_due_oldest_first_and_not_before_their_time(store: Store) -> None:
    store.messages.add_from_operators([answer(1, "1"), answer(2, "2"), answer(3, "3")], NOW)

    assert texts(store.queue.due_confirmations(NOW, 2)) == ["1", "2"]
    assert store.queue.due_confirmations(NOW - 1, 2) == []


def test_a_delivery_carries_its_message_and_chat(store: Store) -> None:
    message = write(store)

    (delivery,) = due(store)

    assert delivery.message == message
    assert delivery.chat == store.chats.find(CHAT)
    assert (delivery.kind, delivery.attempts, delivery.called_at) == ("message", 0, None)


# -- sending


def test_a_begun_sending_is_remembered_by_the_next_process(store: Store, second: Store) -> None:
    write(store)
    store.queue.claim(due(store), 7, NOW + 1)
    store.close()

    assert due(second, now=NOW + 2) == []
    second.queue.doubt_interrupted("DIED")
    (delivery,) = due(second, now=NOW + 2)

    assert (delivery.state, delivery.error) == ("in doubt", "DIED")
    assert (delivery.called_at, delivery.attempts) == (NOW + 1, 0)
    assert (delivery.line, delivery.chat.line) == (7, 7)


def test_tries_are_counted(store: Store) -> None:
    write(store)
    for number in range(3):
        (delivery,) = due(store)
        assert delivery.attempts == number
        store.queue.record([Outcome(delivery, "queued", "A_TRY", NOW)], NOW)
        store.queue.record([Outcome(delivery, "queued", "NO_TRY", NOW, attempted=False)], NOW)


def test_a_delivered_message_leaves_the_queue_and_brings_the_portals_ids(store: Store) -> None:
    message = write(store)
    (delivery,) = store.queue.claim(due(store), 7, NOW)

    store.queue.record([Outcome(delivery, "delivered", dialog=PortalDialog(5120, 2114, 3301))], NOW)

    (delivered,) = store.messages.latest(CHAT, None, 50)
    assert (delivered.state, delivered.error) == ("delivered", None)
    assert delivered.revision > message.revision
    assert (store.queue.waiting(), due(store, NOW + MINUTE)) == (0, [])
    chat = store.chats.find(CHAT)
    assert chat is not None
    assert (chat.portal_chat_id, chat.portal_user_id, chat.session_id) == (5120, 2114, 3301)


def test_an_outcome_without_ids_leaves_the_ones_known_alone(store: Store) -> None:
    write(store)
    store.chats.note_dialog(CHAT, 7, 5120, 2114, 3301, None)

    store.queue.record([Outcome(due(store)[0], "delivered")], NOW)

    chat = store.chats.find(CHAT)
    assert chat is not None
    assert (chat.portal_chat_id, chat.portal_user_id, chat.session_id) == (5120, 2114, 3301)


def test_a_portal_chat_without_a_user_leaves_the_user_known_alone(store: Store) -> None:
    write(store)
    store.chats.note_dialog(CHAT, 7, 5120, 2114, 3301, None)

    store.queue.record(
        [Outcome(due(store)[0], "delivered", dialog=PortalDialog(5121, None, 3302))], NOW
    )

    chat = store.chats.find(CHAT)
    assert chat is not None
    assert (chat.portal_chat_id, chat.portal_user_id, chat.session_id) == (5121, 2114, 3302)


def test_a_refused_message_leaves_the_queue_and_says_why(store: Store) -> None:
    message = write(store)

    store.queue.record([Outcome(due(store)[0], "failed", "EMAIL_INVALID")], NOW)

    (refused,) = store.messages.latest(CHAT, None, 50)
    assert (refused.state, refused.error) == ("refused", "EMAIL_INVALID")
    assert refused.revision > message.revision
    assert store.queue.waiting() == 0


def test_a_postponed_message_was_surely_not_sent(store: Store) -> None:
    message = write(store)
    (delivery,) = store.queue.claim(due(store), 7, NOW)

    store.queue.record([Outcome(delivery, "queued", "NOT_CONNECTED", NOW + 5)], NOW)

    assert due(store, NOW + 4) == []
    (delivery,) = due(store, NOW + 5)
    assert (delivery.called_at, delivery.error) == (None, "NOT_CONNECTED")
    assert delivery.attempts == 1
    assert delivery.message == message


def test_an_unknown_outcome_is_dated_when_the_call_ended(store: Store) -> None:
    write(store)
    (delivery,) = store.queue.claim(due(store), 7, NOW)

    store.queue.record([Outcome(delivery, "in doubt", "NO_REPLY", NOW + 5)], NOW + 1)

    assert due(store, NOW + 4) == []
    (delivery,) = due(store, NOW + 5)
    assert (delivery.called_at, delivery.error) == (NOW + 1, "NO_REPLY")

    store.queue.record(
        [Outcome(delivery, "in doubt", "NO_REPLY", NOW + 9, attempted=False)], NOW + 8
    )
    (looked_for,) = due(store, NOW + 9)
    assert looked_for.called_at == NOW + 1


def test_an_unknown_outcome_is_noted_with_a_delivery_read_before_the_sending(store: Store) -> None:
    write(store)
    read_before = due(store)
    store.queue.claim(read_before, 7, NOW)

    store.queue.record([Outcome(read_before[0], "in doubt", "NO_REPLY", NOW)], NOW)

    assert due(store)[0].called_at == NOW


def test_a_confirmation_leaves_the_queue_without_a_new_revision(store: Store) -> None:
    (message,) = store.messages.add_from_operators([answer()], NOW)

    store.queue.record([Outcome(store.queue.due_confirmations(NOW, 10)[0], "delivered")], NOW)

    (confirmed,) = store.messages.latest(CHAT, None, 50)
    assert store.queue.waiting() == 0
    assert confirmed.revision == message.revision


def test_outcomes_are_noted_all_or_none(store: Store) -> None:
    write(store, "1")
    write(store, "2")
    one, two = due(store)
    sql(
        store,
        "create trigger no_end before delete on deliveries when old.id > 1"
        " begin select raise(abort, 'not this one'); end",
    )

    with pytest.raises(sqlite3.Error):
        store.queue.record([Outcome(one, "delivered"), Outcome(two, "delivered")], NOW)

    assert [message.state for message in store.messages.latest(CHAT, None, 50)] == [
        "stored",
        "stored",
    ]
    assert store.queue.waiting() == 2


# -- revisions


def test_every_change_gives_the_next_revision(store: Store) -> None:
    def revision() -> int:
        return max(message.revision for message in store.messages.latest(CHAT, None, 50))

    write(store)
    seen = [revision()]
    for change in (
        lambda: store.messages.add_from_operators([answer()], NOW),
        lambda: store.messages.edit(answer(text="edited"), NOW),
        lambda: store.queue.record([Outcome(due(store)[0], "delivered")], NOW),
        lambda: store.messages.take_back(answer(text=""), NOW),
    ):
        change()
        seen.append(revision())

    assert seen == sorted(set(seen))


# -- what the application keeps about itself


def test_the_secret_key_is_made_once(store: Store, second: Store) -> None:
    key = store.portal.secret_key()

    assert len(key) >= 32
    assert store.portal.secret_key() == second.portal.secret_key() == key


def test_two_stores_have_two_secret_keys(store: Store, tmp_path: Path) -> None:
    with closing(Store("sqlite:///other/chats.db", tmp_path, RENDERER)) as other:
        assert other.portal.secret_key() != store.portal.secret_key()


def test_a_note_is_kept_as_it_was_given(store: Store, second: Store) -> None:
    assert store.notes.fault.get() is None

    store.notes.fault.set(ReportedFault("batch", "OVERLOAD_LIMIT"))
    assert second.notes.fault.get() == ReportedFault("batch", "OVERLOAD_LIMIT")
    store.notes.dead_lines.set({7: "NO_SESSION"})
    assert second.notes.dead_lines.get() == {7: "NO_SESSION"}
    store.notes.recovery.set(LastRecovery(1, 2, 3, NOW))
    assert second.notes.recovery.get() == LastRecovery(1, 2, 3, NOW)

    second.notes.fault.clear()
    assert store.notes.fault.get() is None


# -- the portal


def granted(**other: Any) -> Portal:
    portal = Portal(
        member_id="0f" * 16,
        user_id=1,
        access_token=TOKENS[0],
        refresh_token=TOKENS[1],
        expires_at=NOW,
        application_token=TOKENS[2],
        token_pending=True,
        installed_at=NOW,
    )
    return replace(portal, **other)


def test_a_grant_is_kept_until_it_is_forgotten(store: Store, second: Store) -> None:
    assert store.portal.find() is None

    store.portal.save(granted())
    assert second.portal.find() == granted()

    store.portal.save(granted(user_id=2))
    assert second.portal.find() == granted(user_id=2)

    store.portal.forget()
    assert second.portal.find() is None


def test_renewed_tokens_replace_the_pair_and_nothing_else(store: Store) -> None:
    store.portal.save(granted())

    store.portal.save_tokens("new-access", "new-refresh", NOW + MINUTE)

    assert store.portal.find() == granted(
        access_token="new-access", refresh_token="new-refresh", expires_at=NOW + MINUTE
    )


def test_tokens_renewed_after_an_uninstall_install_nothing(store: Store) -> None:
    store.portal.save_tokens("new-access", "new-refresh", NOW + MINUTE)

    assert store.portal.find() is None


def test_a_learned_application_token_is_no_longer_pending(store: Store) -> None:
    store.portal.save(granted(application_token=""))

    store.portal.learn_application_token("learned")

    assert store.portal.find() == granted(application_token="learned", token_pending=False)


def test_an_uninstall_keeps_chats_and_what_waits(store: Store) -> None:
    write(store)
    store.portal.save(granted())
    store.portal.connect_line(7, NOW)

    store.portal.forget()

    assert history(store) == ["Hello"]
    assert store.queue.waiting() == 1
    assert store.portal.active_lines() == []


def test_a_portal_shows_no_token(store: Store) -> None:
    store.portal.save(granted())

    portal = store.portal.find()

    assert portal == granted()
    for picture in (repr(portal), str(portal), repr([portal])):
        assert "0f0f" in picture
        assert not any(token in picture for token in TOKENS)


# -- lines


def test_the_line_connected_last_comes_first(store: Store) -> None:
    store.portal.connect_line(7, NOW)
    store.portal.connect_line(9, NOW + 1)
    assert store.portal.active_lines() == [9, 7]

    store.portal.connect_line(7, NOW + 2)
    assert store.portal.active_lines() == [7, 9]

    store.portal.disconnect_line(7)
    store.portal.disconnect_line(8)
    assert store.portal.active_lines() == [9]


def test_what_waited_for_a_line_is_due_once_one_is_connected(store: Store) -> None:
    write(store, "waits")
    write(store, "in doubt", chat=OTHER)
    waits, unknown = due(store)
    store.queue.record([Outcome(waits, "queued", "NO_LINE", NOW + MINUTE)], NOW)
    store.queue.record([Outcome(unknown, "in doubt", "NO_REPLY", NOW + MINUTE)], NOW)

    store.portal.connect_line(7, NOW + 1)

    assert texts(due(store, NOW + 1)) == ["waits"]


# -- markup


def test_messages_of_an_earlier_renderer_are_found_and_rendered_anew(
    store: Store, tmp_path: Path
) -> None:
    written = write(store)
    assert store.messages.to_render(10) == []

    with closing(Store(URL, tmp_path, RENDERER + 1)) as newer:
        (old,) = newer.messages.to_render(10)
        assert old == written
        newer.messages.save_rendered({old: ("<p>new</p>", "file")})

        assert newer.messages.to_render(10) == []
        (rendered,) = newer.messages.latest(CHAT, None, 50)

    assert rendered == replace(written, text_html="<p>new</p>", files_html="file")


# -- locks


def test_a_stranger_who_reads_the_file_takes_nothing_from_us(store: Store, tmp_path: Path) -> None:
    """Closing a second descriptor of the file would drop the locks of our connections."""
    write(store, "one")
    assert history(store) == ["one"]

    def read() -> list[str]:
        code = (
            "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]);"
            "print([row[0] for row in db.execute('select text from messages')]); db.close()"
        )
        output = subprocess.check_output(
            [sys.executable, "-c", code, str(path_of(store))], text=True
        )
        return list(ast.literal_eval(output))

    assert read() == ["one"]
    write(store, "two")

    assert read() == ["one", "two"]
    assert history(store) == ["one", "two"]


def test_a_lock_is_held_by_one_store_at_a_time(store: Store, second: Store) -> None:
    with store.database.try_lock("sender") as held:
        assert held
        with second.database.try_lock("sender") as also_held:
            assert not also_held
        with store.database.try_lock("sender") as again:
            assert not again
        with second.database.try_lock("install") as other:
            assert other

    with second.database.try_lock("sender") as held:
        assert held


def test_a_lock_is_freed_by_an_exception(store: Store, second: Store) -> None:
    with pytest.raises(LookupError), store.database.try_lock("sender"):
        raise LookupError
    with pytest.raises(LookupError), store.database.lock("sender", 0):
        raise LookupError

    with second.database.try_lock("sender") as held:
        assert held


def hold_lock(root: Path, pipe: Connection) -> None:
    with Store(URL, root, RENDERER).database.try_lock("sender") as held:
        pipe.send(held is not None)
        pipe.recv()


def test_a_lock_is_freed_when_its_process_is_killed(store: Store, tmp_path: Path) -> None:
    with spawned(hold_lock, tmp_path) as process:
        assert process.hear() is True
        with store.database.try_lock("sender") as held:
            assert not held

        process.kill()

        with store.database.try_lock("sender") as held:
            assert held


def test_waiting_for_a_lock_ends_with_the_patience(store: Store, second: Store) -> None:
    with (
        store.database.lock("tokens", patience=0),
        pytest.raises(StoreUnavailable, match="tokens"),
        second.database.lock("tokens", patience=0),
    ):
        pass

    with second.database.lock("tokens", patience=0):
        pass


def test_whoever_waits_gets_the_lock_when_it_is_freed(store: Store, second: Store) -> None:
    order = []
    begun = threading.Event()

    def wait() -> None:
        begun.set()
        with second.database.lock("tokens", patience=5):
            order.append("second")

    waiter = threading.Thread(target=wait)
    with store.database.lock("tokens", patience=0):
        waiter.start()
        assert begun.wait(5)
        order.append("first")
    waiter.join(5)

    assert order == ["first", "second"]


# -- the file


def test_folder_and_files_are_the_owners_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(Store(URL, tmp_path, RENDERER)) as store:
            write(store)
            with store.database.try_lock("sender"):
                files = sorted(path.name for path in path_of(store).parent.iterdir())
                modes = {mode(path) for path in path_of(store).parent.iterdir()}
    finally:
        os.umask(before)

    assert files == ["chats.db", "chats.db-shm", "chats.db-wal", "sender.lock"]
    assert modes == {0o600}
    assert mode(tmp_path / "chats") == 0o700


def test_what_has_returned_is_on_the_disk(store: Store) -> None:
    """WAL with synchronous=FULL (2) and foreign keys, on the connection that writes."""
    assert store.database.rows("pragma journal_mode")[0]["journal_mode"] == "wal"
    assert store.database.rows("pragma synchronous")[0]["synchronous"] == 2
    assert store.database.rows("pragma foreign_keys")[0]["foreign_keys"] == 1


def test_a_store_can_be_closed_twice_and_used_again(store: Store) -> None:
    write(store, "1")
    store.close()
    store.close()

    write(store, "2")

    assert history(store) == ["1", "2"]


def test_opening_needs_no_folder_and_keeps_what_is_there(tmp_path: Path) -> None:
    for text in ("1", "2"):
        with closing(Store("sqlite:///a/b/chats.db", tmp_path, RENDERER)) as store:
            store.open()
            write(store, text)

    assert (tmp_path / "a/b/chats.db").exists()
    with closing(Store("sqlite:///a/b/chats.db", tmp_path, RENDERER)) as store:
        assert history(store) == ["1", "2"]


def every_use(store: Store) -> list[Callable[[], object]]:
    return [
        store.open,
        lambda: write(store),
        lambda: store.messages.latest(CHAT, None, 50),
        lambda: store.messages.add_from_operators([answer()], NOW),
        lambda: due(store),
        lambda: store.queue.due_confirmations(NOW, 10),
        store.portal.find,
        store.portal.secret_key,
        store.queue.waiting,
    ]


def test_a_file_in_place_of_the_folder_makes_the_store_unavailable_until_mended(
    tmp_path: Path,
) -> None:
    (tmp_path / "chats").write_text("in the way")
    with closing(Store(URL, tmp_path, RENDERER)) as store:
        for use in every_use(store):
            with pytest.raises(StoreUnavailable):
                use()
        with pytest.raises(StoreUnavailable), store.database.try_lock("sender"):
            pass

        (tmp_path / "chats").unlink()

        write(store)
        assert history(store) == ["Hello"]


def test_a_file_that_is_no_database_makes_the_store_unavailable_until_mended(
    tmp_path: Path,
) -> None:
    path = tmp_path / "chats/chats.db"
    path.parent.mkdir()
    path.write_bytes(b"this is no database " * 1000)
    with closing(Store(URL, tmp_path, RENDERER)) as store:
        for use in every_use(store):
            with pytest.raises(StoreUnavailable):
                use()
        assert path.read_bytes().startswith(b"this is no database")

        path.unlink()

        write(store)
        assert history(store) == ["Hello"]


def test_a_folder_in_place_of_the_file_makes_the_store_unavailable(tmp_path: Path) -> None:
    (tmp_path / "chats/chats.db").mkdir(parents=True)

    with closing(Store(URL, tmp_path, RENDERER)) as store, pytest.raises(StoreUnavailable):
        store.open()


def test_a_file_that_breaks_while_running_makes_the_store_unavailable_until_mended(
    store: Store,
) -> None:
    write(store, "before")
    sql(store, "pragma wal_checkpoint(truncate)")
    path_of(store).write_bytes(path_of(store).read_bytes()[:100] + b"\xff" * 100_000)
    files = [path_of(store), *path_of(store).parent.glob("chats.db-*")]

    with pytest.raises(StoreUnavailable):
        write(store, "lost")

    for path in files:
        path.unlink(missing_ok=True)
    write(store, "after")
    assert history(store) == ["after"]


def test_a_file_of_a_newer_release_is_refused_and_left_alone(store: Store, second: Store) -> None:
    write(store)
    store.close()
    sql(store, "pragma user_version = 1000")

    for use in every_use(second):
        with pytest.raises(StoreUnavailable, match="newer release"):
            use()

    assert sql(store, "pragma user_version") == [(1000,)]
    assert sql(store, "select text from messages") == [("Hello",)]


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    together, rounds = 4, 100  # a race: each round is another chance to lose it
    start = threading.Barrier(together)

    def open_new(folder: int) -> None:
        with closing(Store(f"sqlite:///{folder}/chats.db", tmp_path, RENDERER)) as store:
            start.wait(5)
            store.open()

    with ThreadPoolExecutor(together) as pool:
        for folder in range(rounds):
            opened = [pool.submit(open_new, folder) for _ in range(together)]
            for one in opened:
                one.result(20)


# -- who logs in


def test_what_a_customer_began_before_the_log_in_is_part_of_their_chat(store: Store) -> None:
    customer = "chat" + "c" * 64
    before, _ = write(store, "Hello"), write(store, "of another", OTHER)
    store.chats.make_part(CHAT, customer)
    store.messages.add_from_operators([answer()], NOW)
    revision = store.messages.revision()

    assert history(store, customer) == ["Hello", "Good morning"]
    assert store.messages.parts(customer) == [customer, CHAT]
    open_chat = store.chats.find_open(customer)
    assert open_chat is not None
    assert open_chat.id == CHAT, "the dialog with the operator goes on"
    assert (store.chats.find_open(CHAT), store.chats.is_over(CHAT), store.chats.is_over(OTHER)) == (
        None,
        True,
        False,
    )
    assert store.messages.chats_changed_after(before.revision) == (
        revision,
        {customer, CHAT, OTHER},
    )
    changed = store.messages.changed_after(customer, before.revision, 10)
    assert [one.text for one in changed] == ["Hello", "Good morning"], "live on other devices"


def test_a_customer_who_has_a_chat_writes_there_and_reads_both(store: Store) -> None:
    write(store, "as customer", OTHER)
    write(store, "before the log-in")
    store.chats.make_part(CHAT, OTHER)
    last = write(store, "again as customer", OTHER)
    store.messages.add_from_operators([answer()], NOW)

    open_chat = store.chats.find_open(OTHER)
    assert open_chat is not None
    assert open_chat.id == OTHER
    all_four = ["as customer", "before the log-in", "again as customer", "Good morning"]
    assert history(store, OTHER) == all_four
    assert [one.text for one in store.messages.latest(OTHER, last.id, 1)] == ["before the log-in"]
    assert [one.text for one in store.messages.changed_after(OTHER, 0, 3)] == all_four[:3]
    store.chats.make_part(OTHER, "chat" + "d" * 64)
    assert store.chats.find_open(OTHER) == open_chat, "a customer's chat is no part of another's"

    store.chats.delete(OTHER, NOW)

    assert history(store, OTHER) == []
    assert store.chats.was_deleted(CHAT)
    assert sql(store, "select * from messages") == []


def test_a_stream_from_before_the_log_in_ends_with_it(store: Store) -> None:
    """Whoever holds the anonymous token must not hear what the customer goes on to say."""
    write(store, "Hello")
    stream = Live(store).follow(CHAT, 0)
    assert next(stream) is None
    first = next(stream)
    assert first is not None
    store.chats.make_part(CHAT, OTHER)
    open_chat = store.chats.find_open(OTHER)
    assert open_chat is not None
    store.messages.add_from_visitor(
        VisitorMessage(open_chat, "the customer's", "", None), LIMITS, NOW
    )

    assert list(stream) == []


def test_nothing_becomes_part_of_what_was_deleted(store: Store) -> None:
    write(store, "Hello")
    store.chats.delete(OTHER, NOW)

    store.chats.make_part(CHAT, OTHER)

    assert store.messages.parts(OTHER) == [OTHER]
    assert history(store) == ["Hello"]


def test_a_message_repeated_after_the_log_in_is_one(store: Store) -> None:
    customer = write(store, "mine", OTHER)
    before = write(store, "unanswered", client_id="6c1f0c1e-0000-4000-8000-000000000001")
    store.chats.make_part(CHAT, OTHER)
    open_chat = store.chats.find_open(OTHER)
    assert open_chat is not None

    again = store.messages.add_from_visitor(
        VisitorMessage(open_chat, "unanswered", "", "6c1f0c1e-0000-4000-8000-000000000001"),
        LIMITS,
        NOW,
    )

    assert (again.id, again.chat_id) == (before.id, CHAT)
    assert customer.chat_id == OTHER
    assert history(store, OTHER) == ["mine", "unanswered"]


# -- once more


def test_a_refused_message_is_queued_once_more_and_stays_in_its_place(store: Store) -> None:
    message = write(store, "refused")
    write(store, "after it")
    store.queue.record([Outcome(due(store)[0], "failed", "BAD")], NOW)

    again = store.queue.retry(CHAT, message.id, LIMITS, NOW + 1)
    once = store.queue.retry(CHAT, message.id, LIMITS, NOW + 1)

    assert again is not None
    assert (again.state, again.error, again.position) == ("stored", None, message.position)
    assert again == once, "it is queued already"
    assert texts(due(store, NOW + 1, chat_limit=9)) == ["after it", "refused"]
    assert store.messages.changed_after(CHAT, again.revision - 1, 9) == [again]


def test_what_is_not_refused_or_not_the_visitors_is_not_queued_once_more(store: Store) -> None:
    message = write(store)
    (told,) = store.messages.add_from_operators([answer()], NOW)

    assert store.queue.retry(CHAT, message.id, LIMITS, NOW) == message
    assert store.queue.retry(OTHER, message.id, LIMITS, NOW) is None
    assert store.queue.retry(CHAT, told.id, LIMITS, NOW) is None
    assert store.queue.waiting() == 2


def test_a_refused_message_counts_when_it_is_queued_once_more(store: Store) -> None:
    message = write(store)
    store.queue.record([Outcome(due(store)[0], "failed", "BAD")], NOW)

    with pytest.raises(TooMany):
        store.queue.retry(CHAT, message.id, Limits("an address", 1, 100), NOW)

    assert store.messages.latest(CHAT, None, 1)[0].state == "refused"
    assert store.queue.waiting() == 0


def test_a_new_connection_reads_while_another_process_writes(store: Store, tmp_path: Path) -> None:
    write(store, "there")
    with closing(sqlite3.connect(path_of(store), isolation_level=None)) as other:
        other.execute("begin immediate")
        with closing(Store(URL, tmp_path, RENDERER)) as late:
            assert history(late) == ["there"]
        other.execute("rollback")


def test_a_conversation_that_was_just_deleted_is_not_begun_anew(store: Store) -> None:
    write(store, "hello")
    store.chats.delete(CHAT, NOW)

    with pytest.raises(StoreUnavailable):
        write(store, "under way meanwhile")

    assert store.chats.find(CHAT) is None
    assert store.queue.waiting() == 0


def test_a_late_note_of_a_failure_changes_nothing_that_was_settled_meanwhile(store: Store) -> None:
    write(store, "hello")
    (delivery,) = store.queue.claim(due(store), 7, NOW)
    store.queue.record([Outcome(delivery, "delivered")], NOW)

    store.queue.record([Outcome(delivery, "failed", "BAD")], NOW + 1)

    (message,) = store.messages.latest(CHAT, None, 1)
    assert (message.state, message.error) == ("delivered", None)
