"""The store at its edges: limits, equal times, what stands beside what is changed.

As test_storage.py, through the store's own methods, on a real file.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stage import path_of
from test_storage import CHAT, LIMITS, OTHER, URL, answer, due, history, texts, visitor, write

from storage import Store
from store.database import LockHeld, StoreUnavailable
from store.records import (
    Chat,
    Delivery,
    Dialog,
    File,
    Limits,
    Outcome,
    Portal,
    PortalDialog,
    TooMany,
    VisitorMessage,
)
from store.schema import MIGRATIONS
from store.sqlite import Datagrams

NOW = 1_790_000_000.0
MINUTE = 60.0
LINE = 7
THIRD = "chat" + "c" * 64
PORTAL = Portal("first", 1, "access", "refresh", NOW, "application", False, NOW)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(URL, tmp_path, 3)) as store:
        store.open()
        yield store


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Store]:
    """Another store on the same file, as another process would have it."""
    with closing(Store(URL, tmp_path, 3)) as store:
        yield store


def found(store: Store, chat_id: str = CHAT) -> Chat:
    chat = store.chats.find(chat_id)
    assert chat is not None
    return chat


def deliver(store: Store, text: str, chat: str = CHAT, **ids: Any) -> None:
    """Write a message and note that the portal took it."""
    write(store, text, chat)
    one = next(one for one in due(store, NOW + MINUTE) if one.message.text == text)
    (begun,) = store.queue.claim([one], LINE, NOW)
    dialog = replace(PortalDialog(5120, 2001, 3301), **ids)
    store.queue.record([Outcome(begun, "delivered", dialog=dialog)], NOW)


# -- opening


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("mysql://root:secret@host/db", '"mysql:..."'),
        ("secret-alone-of-more-than-twenty-letters", '"secret-alone-of-more:..."'),
        ("sqlite:///", '"sqlite:..."'),
    ],
)
def test_a_wrong_address_is_refused_by_its_scheme_and_its_password_not_told(
    tmp_path: Path, url: str, named: str
) -> None:
    with pytest.raises(ValueError, match=r"storage\.url") as raised:
        Store(url, tmp_path, 1)

    assert named in str(raised.value)
    assert "secret@" not in str(raised.value)


def test_writers_wait_for_each_other_and_readers_for_nobody(store: Store, second: Store) -> None:
    write(store, "one")
    assert found(second).name == "Anna"
    with ThreadPoolExecutor(1) as pool:
        with store.database.write() as db:
            db.execute("update chats set name = 'changed'")
            waiting = pool.submit(write, second, "two", OTHER)
            time.sleep(0.1)
            assert not waiting.done()
            assert found(second).name == "Anna", "not before it is committed"
        waiting.result(10)

    assert found(second).name == "changed"
    assert history(store, OTHER) == ["two"]


def test_a_writer_gives_up_after_some_seconds(
    store: Store, second: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.sqlite.PATIENCE_SECONDS", 0.2)
    with store.database.write(), pytest.raises(StoreUnavailable):
        write(second, "one")

    write(second, "two")
    assert history(store) == ["two"]


def test_whoever_waits_for_the_connection_of_another_thread_gives_up_after_some_seconds(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.sqlite.PATIENCE_SECONDS", 0.1)
    with store.database.write(), ThreadPoolExecutor(1) as pool, pytest.raises(StoreUnavailable):
        pool.submit(write, store, "one").result(10)

    write(store, "two")
    assert history(store) == ["two"]


def test_a_waiting_writer_does_not_keep_the_processor_busy(store: Store, second: Store) -> None:
    with ThreadPoolExecutor(1) as pool:
        with store.database.write():
            waiting = pool.submit(write, second, "one")
            used = time.process_time()
            time.sleep(0.5)
            used = time.process_time() - used
            assert not waiting.done()
        waiting.result(10)

    assert used < 0.3


def test_a_file_that_was_put_in_place_of_the_open_one_is_used_from_then_on(
    store: Store, tmp_path: Path
) -> None:
    """A backup that was restored while we ran."""
    write(store, "before")
    with closing(Store("sqlite:///backup/chats.db", tmp_path, 3)) as backup:
        write(backup, "of the backup")
        assert history(store) == ["before"]
    path_of(store).with_name(f"{path_of(store).name}-wal").unlink(missing_ok=True)
    path_of(store).with_name(f"{path_of(store).name}-shm").unlink(missing_ok=True)
    (tmp_path / "backup" / "chats.db").replace(path_of(store))

    assert history(store) == ["of the backup"]
    write(store, "after")
    assert history(store) == ["of the backup", "after"]


def test_a_file_that_was_replaced_leaves_no_descriptor_open(store: Store, tmp_path: Path) -> None:
    def opened() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    write(store, "one")
    history(store)
    before = opened()
    for number in range(5):
        with closing(Store(f"sqlite:///{number}/chats.db", tmp_path, 3)) as other:
            write(other, f"{number}")
        for ending in ("-wal", "-shm"):
            path_of(store).with_name(f"{path_of(store).name}{ending}").unlink(missing_ok=True)
        (tmp_path / f"{number}" / "chats.db").replace(path_of(store))
        assert history(store) == [f"{number}"]
        write(store, "more")

    assert opened() <= before + 1


def test_a_write_is_told_after_its_commit_and_a_failed_one_is_not(
    store: Store, second: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[str]] = []
    monkeypatch.setattr(Datagrams, "send", lambda _: told.append(history(second)))
    hints = store.database.hints()

    write(store, "one")
    with pytest.raises(sqlite3.IntegrityError), store.database.write() as db:
        db.execute("insert into files values ('key', 4711)")

    assert told == [["one"]]
    hints.close()
    write(store, "two")
    assert told == [["one"]], "nobody listens any more"


def test_a_failed_write_leaves_the_connection_usable(store: Store) -> None:
    def fail() -> None:
        with store.database.write() as db:
            db.execute("delete from meta")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    write(store, "one")
    assert history(store) == ["one"]


@pytest.mark.parametrize(("patience", "held"), [(0.0, 0.5), (0.6, 0.2)])
def test_a_lock_is_waited_for_as_long_as_the_patience_lasts(
    store: Store, second: Store, patience: float, held: float
) -> None:
    taken = threading.Event()

    def hold() -> None:
        with second.database.lock("install", 5):
            taken.set()
            time.sleep(held)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        taken.wait(10)
        if patience > held:
            with store.database.lock("install", patience + 5):
                assert holding.done() or held
        else:
            with pytest.raises(LockHeld), store.database.lock("install", patience):
                pass
        holding.result(10)


def test_locks_of_other_names_are_free(store: Store, second: Store) -> None:
    with store.database.try_lock("install") as one, second.database.try_lock("tokens") as other:
        assert one is not None
        assert other is not None


def test_a_lock_whose_file_was_removed_is_no_longer_held(store: Store, second: Store) -> None:
    with store.database.try_lock("sender") as first:
        assert first is not None
        assert first.is_held()
        path_of(store).with_name("sender.lock").unlink()
        assert not first.is_held()
        with second.database.try_lock("sender") as other:
            assert other is not None
            assert (first.is_held(), other.is_held()) == (False, True)
    with store.database.try_lock("sender") as again:
        assert again is not None
        assert again.is_held()


def test_a_migration_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Store(URL, tmp_path, 3)) as store:
        write(store, "one")
    monkeypatch.setattr("storage.MIGRATIONS", [*MIGRATIONS, "create table x (y); bad"])
    with closing(Store(URL, tmp_path, 3)) as broken, pytest.raises(StoreUnavailable):
        broken.open()
    monkeypatch.undo()

    with closing(Store(URL, tmp_path, 3)) as store:
        assert history(store) == ["one"]
        assert store.database.row("select 1 from sqlite_master where name = 'x'") is None


# -- the portal


def test_another_portal_takes_away_every_id_and_line_that_the_first_gave(store: Store) -> None:
    store.portal.save(PORTAL)
    store.portal.connect_line(LINE, NOW)
    deliver(store, "sent")
    store.messages.add_from_operators([answer(903311)], NOW)
    write(store, "doubtful")
    (doubtful,) = store.queue.claim(due(store), LINE, NOW)
    store.queue.record([Outcome(doubtful, "in doubt", "NO_REPLY", NOW)], NOW)
    store.notes.names_sessions.set(True)
    store.notes.up_at.set(NOW)

    store.portal.save(replace(PORTAL, member_id="second"))

    chat = found(store)
    assert (chat.line, chat.dialog_line, chat.portal_chat_id) == (None, None, None)
    assert (chat.portal_user_id, chat.session_id) == (None, None)
    assert store.portal.active_lines() == []
    assert store.chats.dialogs_in_conversation(0) == []
    assert store.messages.known_im_message_ids(CHAT) == set()
    assert [one.im_chat_id for one in store.messages.latest(CHAT, None, 10)] == [None] * 3
    assert store.queue.messages_in_doubt(NOW, 10) == []
    (waits,) = store.queue.due_messages(NOW, 10)
    assert (waits.state, waits.line, waits.attempts) == ("queued", None, 0)
    assert waits.called_at is None
    assert store.queue.due_confirmations(NOW, 10) == []
    assert (store.notes.names_sessions.get(), store.notes.up_at.get()) == (None, NOW)


def test_a_portal_that_does_not_name_itself_is_the_same_one(store: Store) -> None:
    store.portal.save(PORTAL)
    deliver(store, "sent")

    store.portal.save(replace(PORTAL, member_id=""))
    assert found(store).portal_chat_id == 5120
    store.portal.save(replace(PORTAL, member_id="second"))

    assert found(store).portal_chat_id is None


def test_the_portal_is_known_again_after_an_uninstall(store: Store) -> None:
    store.portal.save(PORTAL)
    deliver(store, "sent")
    store.portal.forget()

    store.portal.save(PORTAL)

    assert found(store).portal_chat_id == 5120


def test_whether_a_token_is_pending_is_kept(store: Store) -> None:
    for pending in (True, False):
        store.portal.save(replace(PORTAL, token_pending=pending))
        assert store.portal.find() == replace(PORTAL, token_pending=pending)


# -- lines


def test_what_waits_for_a_later_time_is_due_when_a_line_is_connected_and_what_is_unsure_not(
    store: Store,
) -> None:
    write(store, "waits")
    write(store, "unsure", OTHER)
    waits, unsure = due(store)
    store.queue.record([Outcome(waits, "queued", "NO_LINE", NOW + 900)], NOW)
    (begun,) = store.queue.claim([unsure], LINE, NOW)
    store.queue.record([Outcome(begun, "in doubt", "NO_REPLY", NOW + 900)], NOW)

    store.portal.connect_line(LINE, NOW + 10)

    assert texts(store.queue.due_messages(NOW + 10, 10)) == ["waits"]
    assert store.queue.due_messages(NOW + 9, 10) == []
    assert store.queue.messages_in_doubt(NOW + 899, 10) == []
    assert texts(store.queue.messages_in_doubt(NOW + 900, 10)) == ["unsure"]


def test_a_disconnected_line_takes_no_other_with_it(store: Store) -> None:
    for line in (7, 9, 12):
        store.portal.connect_line(line, NOW + line)

    store.portal.disconnect_line(9)

    assert store.portal.active_lines() == [12, 7]
    store.portal.connect_line(9, NOW)
    assert store.portal.active_lines() == [12, 7, 9]


# -- limits


@pytest.mark.parametrize(("at", "seconds"), [(0, 60), (1, 59), (30.5, 29), (59.5, 1)])
def test_whoever_is_above_the_limit_is_told_the_seconds_to_the_minutes_end(
    store: Store, at: float, seconds: int
) -> None:
    minute = NOW - NOW % 60 + at
    store.limits.count_hit("who", 1, minute)

    with pytest.raises(TooMany) as told:
        store.limits.count_hit("who", 1, minute)

    assert told.value.seconds == seconds
    store.limits.count_hit("who", 1, NOW - NOW % 60 + 60)


def test_what_is_taken_back_was_not_counted(store: Store) -> None:
    for _ in range(5):
        store.limits.count_hit("who", 2, NOW)
        store.limits.uncount_hit("who", NOW)
    store.limits.count_hit("other", 1, NOW)
    store.limits.uncount_hit("who", NOW + MINUTE)
    store.limits.count_hit("who", 2, NOW)
    store.limits.count_hit("who", 2, NOW)

    with pytest.raises(TooMany):
        store.limits.count_hit("who", 2, NOW)
    with pytest.raises(TooMany):
        store.limits.count_hit("other", 1, NOW)


def counters(store: Store) -> int:
    return len(store.database.rows("select 1 from hits"))


def test_the_counters_of_minutes_long_gone_are_removed(store: Store) -> None:
    for minute in range(20):
        for who in range(5):
            store.limits.count_hit(f"{who}", 10, NOW + MINUTE * minute)

    assert counters(store) <= 15
    store.limits.count_hit("after the clock was set back", 10, NOW - 600)
    assert counters(store) == 1


def test_a_deleted_chats_counter_goes_and_others_stay(store: Store) -> None:
    limits = Limits("an address", 1, 100)
    for chat in (CHAT, OTHER):
        store.messages.add_from_visitor(VisitorMessage(visitor(chat), "one", "", None), limits, NOW)

    store.chats.delete(CHAT, NOW)

    assert {row["who"] for row in store.database.rows("select who from hits")} == {
        OTHER,
        "an address",
    }


def test_refusals_of_one_reason_are_added_up_with_their_last_time(store: Store) -> None:
    store.limits.add_refusals({"flood": 2, "forged": 1}, NOW)
    store.limits.add_refusals({"flood": 3}, NOW + 1)

    counts = [(one.reason, one.count, one.last_at) for one in store.limits.refusals()]
    assert counts == [("flood", 5, NOW + 1), ("forged", 1, NOW)]


# -- history and changes


def test_a_page_of_history_ends_before_its_message_and_holds_no_more_than_asked(
    store: Store,
) -> None:
    ids = [write(store, f"{number}").id for number in range(5)]
    write(store, "of another", OTHER)

    assert [one.text for one in store.messages.latest(CHAT, ids[3], 2)] == ["1", "2"]
    assert [one.text for one in store.messages.latest(CHAT, None, 2)] == ["3", "4"]
    assert store.messages.latest(CHAT, ids[0], 2) == []


def test_the_parts_of_a_chat_are_read_as_one(store: Store) -> None:
    write(store, "one", CHAT)
    write(store, "two", OTHER)
    write(store, "three", CHAT)
    write(store, "of nobody", THIRD)
    store.chats.make_part(OTHER, CHAT)
    store.chats.make_part(OTHER, THIRD)

    assert store.messages.parts(CHAT) == [CHAT, OTHER]
    assert [one.text for one in store.messages.latest(CHAT, None, 10)] == ["one", "two", "three"]
    assert [one.text for one in store.messages.latest(CHAT, None, 2)] == ["two", "three"]
    revisions = [one.revision for one in store.messages.changed_after(CHAT, 0, 10)]
    assert revisions == sorted(revisions)
    assert len(revisions) == 3


def test_what_changed_after_a_revision_is_given_first_change_first(store: Store) -> None:
    messages = [write(store, f"{number}") for number in range(5)]
    write(store, "of another", OTHER)

    changed = store.messages.changed_after(CHAT, messages[1].revision, 2)

    assert [one.text for one in changed] == ["2", "3"]
    assert store.messages.changed_after(CHAT, messages[4].revision, 2) == []


def test_which_chats_changed_is_told_with_their_owners(store: Store) -> None:
    one = write(store, "one")
    latest, chats = store.messages.chats_changed_after(0)
    assert (latest, chats) == (one.revision, {CHAT})
    assert store.messages.chats_changed_after(latest) == (latest, set())

    write(store, "other", OTHER)
    store.chats.make_part(OTHER, THIRD)

    after, chats = store.messages.chats_changed_after(latest)
    assert after == store.messages.revision() > latest
    assert chats == {OTHER, THIRD}


def test_which_chats_were_deleted_is_told_once(store: Store) -> None:
    for chat in (CHAT, OTHER):
        write(store, "one", chat)
    assert store.chats.deleted_after(0) == (0, set())
    store.chats.delete(CHAT, NOW)
    number, chats = store.chats.deleted_after(0)
    assert chats == {CHAT}

    store.chats.delete(OTHER, NOW)

    later, chats = store.chats.deleted_after(number)
    assert later > number
    assert chats == {OTHER}
    assert store.chats.deleted_after(later) == (later, set())


def test_a_chat_is_deleted_with_its_parts_and_nothing_else(store: Store) -> None:
    for chat in (CHAT, OTHER, THIRD):
        write(store, "one", chat)
    store.chats.make_part(OTHER, CHAT)

    assert store.chats.delete(CHAT, NOW) == [CHAT, OTHER]

    assert store.queue.waiting() == 1
    assert store.chats.find(THIRD) is not None
    assert [store.chats.was_deleted(one) for one in (CHAT, OTHER, THIRD)] == [True, True, False]
    assert [store.chats.is_over(one) for one in (CHAT, OTHER, THIRD, "unknown")] == [
        True, True, False, False,
    ]  # fmt: skip


def test_a_part_of_a_chat_is_over_and_the_chat_is_not(store: Store) -> None:
    for chat in (CHAT, OTHER):
        write(store, "one", chat)
    store.chats.make_part(OTHER, CHAT)

    assert (store.chats.is_over(CHAT), store.chats.is_over(OTHER)) == (False, True)


def test_a_part_has_one_owner_and_no_parts_of_its_own(store: Store) -> None:
    for chat in (CHAT, OTHER, THIRD):
        write(store, "one", chat)
    store.chats.make_part(OTHER, CHAT)

    store.chats.make_part(OTHER, THIRD)  # it has an owner
    store.chats.make_part(CHAT, THIRD)  # it has a part

    assert found(store, OTHER).owner == CHAT
    assert found(store, CHAT).owner is None
    assert found(store, THIRD).owner is None


def test_the_open_chat_is_the_chat_itself_else_its_latest_part(store: Store) -> None:
    assert store.chats.find_open(CHAT) is None
    write(store, "older part", OTHER, now=NOW)
    write(store, "newer part", THIRD, now=NOW + 1)
    for part in (OTHER, THIRD):
        store.chats.make_part(part, CHAT)
    open_chat = store.chats.find_open(CHAT)
    assert open_chat is not None
    assert open_chat.id == THIRD
    assert store.chats.find_open(OTHER) is None

    write(store, "itself", CHAT)

    open_chat = store.chats.find_open(CHAT)
    assert open_chat is not None
    assert open_chat.id == CHAT


# -- dialogs


def test_the_end_of_a_dialog_is_one_message_of_the_system(store: Store) -> None:
    write(store, "one")
    before = store.messages.revision()

    store.chats.note_dialog(CHAT, LINE, 5120, 2001, 3301, None)
    assert history(store) == ["one"]
    for _ in range(2):
        store.chats.note_dialog(CHAT, LINE, 5120, 2001, 3301, NOW + 5)

    _, end = store.messages.latest(CHAT, None, 10)
    assert (end.author, end.text, end.ends_dialog, end.sent_at) == ("system", "", True, NOW + 5)
    assert end.revision > before
    assert found(store).closed_at == NOW + 5
    store.chats.note_dialog(CHAT, LINE, 5120, 2001, 3302, None)
    assert found(store).closed_at is None
    store.chats.note_dialog(CHAT, LINE, 5120, 2001, 3302, NOW + 6)
    assert len(store.messages.latest(CHAT, None, 10)) == 3


def test_a_message_of_the_visitor_opens_the_dialog_again(store: Store) -> None:
    write(store, "one")
    store.chats.note_dialog(CHAT, LINE, 5120, 2001, 3301, NOW)

    write(store, "two")

    assert found(store).closed_at is None


@pytest.mark.parametrize(("session", "known"), [(3300, 3301), (3301, 3301), (3302, 3302)])
def test_an_event_of_an_earlier_session_changes_nothing(
    store: Store, session: int, known: int
) -> None:
    write(store, "one")
    store.chats.note_dialog(CHAT, LINE, 5120, 2001, 3301, None)

    store.chats.note_dialog(CHAT, 12, 5121, 2002, session, NOW)

    chat = found(store)
    assert chat.session_id == known
    late = session < 3301
    assert (chat.dialog_line, chat.portal_chat_id, chat.portal_user_id, chat.closed_at) == (
        (LINE, 5120, 2001, None) if late else (12, 5121, 2002, NOW)
    )


def test_a_dialog_of_a_chat_that_we_do_not_have_is_not_noted(store: Store) -> None:
    store.chats.note_dialog(CHAT, LINE, 5120, 2001, 3301, NOW)

    assert store.chats.find(CHAT) is None
    assert store.chats.dialogs_in_conversation(0) == []


def test_a_named_dialog_lets_its_unsure_messages_be_looked_for_at_once(store: Store) -> None:
    for chat in (CHAT, OTHER):
        write(store, f"of {chat[-1]}", chat)
    begun = store.queue.claim(due(store), LINE, NOW)
    store.queue.record([Outcome(one, "in doubt", "NO_REPLY", NOW + 900) for one in begun], NOW)
    write(store, "waits", THIRD)
    (waits,) = store.queue.due_messages(NOW, 10)
    store.queue.record([Outcome(waits, "queued", "X", NOW + 900)], NOW)

    for chat in (CHAT, THIRD):
        store.chats.note_dialog(chat, LINE, ord(chat[-1]), 2001, 3301, None)

    assert texts(store.queue.messages_in_doubt(NOW, 10)) == ["of a"]
    assert store.queue.due_messages(NOW, 10) == []


def test_each_line_that_a_chat_used_has_a_dialog_with_its_own_mark(store: Store) -> None:
    write(store, "one", now=NOW)
    write(store, "other", OTHER, now=NOW + 2)
    store.chats.note_dialog(CHAT, LINE, 5120, 2001, 3301, None)
    store.chats.note_dialog(CHAT, 12, 5121, 2001, 3302, None)
    store.chats.note_dialog(OTHER, LINE, 6000, 2002, 3303, None)

    def marks() -> list[tuple[int, int | None, int, str]]:
        dialogs = store.chats.dialogs_in_conversation(NOW)
        return [(one.portal_chat_id, one.line, one.checked_im_id, one.chat.id) for one in dialogs]

    assert marks()[0] == (6000, LINE, 0, OTHER), "the latest first"
    assert sorted(marks()[1:]) == [(5120, LINE, 0, CHAT), (5121, 12, 0, CHAT)]
    store.chats.note_checked(Dialog(5121, 12, 0, found(store)), 77)
    store.chats.note_dialog(CHAT, 12, 5121, 2001, 3302, None)

    assert sorted(marks()[1:]) == [(5120, LINE, 0, CHAT), (5121, 12, 77, CHAT)]
    assert [one.chat.id for one in store.chats.dialogs_in_conversation(NOW + 1)] == [OTHER]


def test_an_answer_of_another_dialog_forgets_the_session_and_one_of_the_same_does_not(
    store: Store,
) -> None:
    deliver(store, "sent")

    store.messages.add_from_operators([answer(10)], NOW + 1)
    assert (found(store).session_id, found(store).active_at) == (3301, NOW + 1)
    store.messages.add_from_operators([answer(11, im_chat_id=5121, line=12)], NOW + 2)

    chat = found(store)
    assert (chat.session_id, chat.portal_chat_id, chat.dialog_line) == (None, 5121, 12)


def test_which_of_the_portals_messages_are_known_is_told_by_chat(store: Store) -> None:
    write(store, "one")
    store.messages.add_from_operators([answer(10), answer(11, chat_id=OTHER, im_chat_id=6000)], NOW)

    assert store.messages.known_im_message_ids(CHAT) == {10}


# -- operators' messages


def test_an_answer_that_came_late_stands_between_those_of_the_portals_order(store: Store) -> None:
    store.messages.add_from_operators([answer(10, "10")], NOW)
    write(store, "typed")
    store.messages.add_from_operators([answer(30, "30")], NOW)

    for number in (20, 5, 25, 40):
        store.messages.add_from_operators([answer(number, f"{number}")], NOW)

    assert history(store) == ["5", "10", "typed", "20", "25", "30", "40"]
    assert len({one.position for one in store.messages.latest(CHAT, None, 10)}) == 7


def test_an_answer_is_placed_among_those_of_its_own_chat(store: Store) -> None:
    store.messages.add_from_operators([answer(30, "30", chat_id=OTHER, im_chat_id=6000)], NOW)
    write(store, "typed")

    store.messages.add_from_operators([answer(20, "20")], NOW)

    assert history(store) == ["typed", "20"]


@pytest.mark.parametrize("sent_at", [None, 0.0, NOW - 900])
def test_an_answer_is_dated_when_it_was_sent_if_that_is_known(
    store: Store, sent_at: float | None
) -> None:
    store.messages.add_from_operators([answer(10, sent_at=sent_at)], NOW)

    (kept,) = store.messages.latest(CHAT, None, 10)
    assert kept.sent_at == (NOW if sent_at is None else sent_at)
    assert (kept.edited, kept.deleted, kept.state) == (False, False, "stored")


def test_nothing_of_a_deleted_chat_comes_back_and_others_are_heard(store: Store) -> None:
    write(store, "one")
    store.chats.delete(CHAT, NOW)

    assert store.messages.add_from_operators([answer(10)], NOW) == []
    assert (
        len(store.messages.add_from_operators([answer(11, chat_id=OTHER, im_chat_id=1)], NOW)) == 1
    )

    assert store.chats.find(CHAT) is None
    assert store.queue.waiting() == 1


INCOMPLETE = {"files": (), "files_html": "", "incomplete": True}


@pytest.mark.parametrize(
    ("first", "event", "text"),
    [
        (INCOMPLETE, {}, "whole"),
        (INCOMPLETE, INCOMPLETE, "first"),
        ({}, {}, "first"),
    ],
)
def test_only_what_is_incomplete_is_completed_and_only_by_what_is_whole(
    store: Store, first: dict[str, Any], event: dict[str, Any], text: str
) -> None:
    store.messages.add_from_operators([answer(10, "first", name=None, **first)], NOW)
    before = store.messages.revision()

    assert store.messages.add_from_operators([answer(10, "whole", **event)], NOW) == []

    (kept,) = store.messages.latest(CHAT, None, 10)
    assert kept.text == text
    assert kept.name == ("Olga" if text == "whole" else None)
    assert (kept.revision > before) is (text == "whole")
    assert len(store.queue.due_confirmations(NOW, 10)) == 1


def test_a_message_that_was_deleted_is_not_completed(store: Store) -> None:
    store.messages.add_from_operators([answer(10, "first", **INCOMPLETE)], NOW)
    store.messages.take_back(answer(10), NOW)

    store.messages.add_from_operators([answer(10, "whole")], NOW)

    assert history(store) == [""]


def test_an_edit_before_its_message_is_completed_with_the_edited_text_alone(store: Store) -> None:
    assert store.messages.edit(answer(10, "edited", **INCOMPLETE), NOW, 100) is True

    store.messages.add_from_operators([answer(10, "first")], NOW)
    store.messages.add_from_operators([answer(10, "second")], NOW)

    (kept,) = store.messages.latest(CHAT, None, 10)
    assert (kept.text, kept.edited, kept.incomplete) == ("edited", True, False)
    assert (kept.files, kept.html) == (answer().files, "<p>edited</p><br>price.pdf")


@pytest.mark.parametrize(
    ("queued", "text"), [((200, 100), "first"), ((100, 200), "second"), ((100, 100), "second")]
)
def test_the_edit_that_the_portal_queued_last_wins(
    store: Store, queued: tuple[int, int], text: str
) -> None:
    store.messages.add_from_operators([answer(10, "original")], NOW)

    for at, one in zip(queued, ("first", "second"), strict=True):
        store.messages.edit(answer(10, one), NOW, at)

    (kept,) = store.messages.latest(CHAT, None, 10)
    assert (kept.text, kept.edited) == (text, True)


def test_edits_without_a_time_come_as_they_come(store: Store) -> None:
    store.messages.add_from_operators([answer(10, "original")], NOW)

    assert store.messages.edit(answer(10, "first"), NOW) is True
    assert store.messages.edit(answer(10, "second"), NOW) is True
    assert store.messages.edit(answer(10, "second"), NOW) is False

    assert history(store) == ["second"]


def test_an_edit_to_the_same_text_counts_as_the_later_one(store: Store) -> None:
    """There and back again: the edit between comes late."""
    store.messages.add_from_operators([answer(10, "original")], NOW)

    assert store.messages.edit(answer(10, "original"), NOW, 300) is False
    assert store.messages.edit(answer(10, "between"), NOW, 200) is False

    assert history(store) == ["original"]


def test_an_edit_leaves_the_name_where_it_brings_none(store: Store) -> None:
    store.messages.add_from_operators([answer(10, "original")], NOW)

    store.messages.edit(answer(10, "edited", name=None), NOW, 100)
    assert store.messages.latest(CHAT, None, 1)[0].name == "Olga"
    store.messages.edit(answer(10, "edited again", name="Ivan"), NOW, 200)

    assert store.messages.latest(CHAT, None, 1)[0].name == "Ivan"


def test_a_deletion_says_whether_it_changed_anything(store: Store) -> None:
    store.messages.add_from_operators([answer(10)], NOW)
    before = store.messages.revision()

    assert store.messages.take_back(answer(10), NOW) is True
    assert store.messages.take_back(answer(10), NOW) is False
    assert store.messages.edit(answer(10, "edited"), NOW, 100) is False

    (kept,) = store.messages.latest(CHAT, None, 10)
    assert (kept.text, kept.html, kept.files, kept.deleted) == ("", "", (), True)
    assert kept.revision > before


def test_of_several_ids_of_ours_the_first_that_is_known_is_meant(store: Store) -> None:
    typed = write(store, "typed")
    one, two = store.messages.add_from_operators([answer(10, "one"), answer(11, "two")], NOW)

    def edit(im_message_id: int, text: str, **others: Any) -> None:
        store.messages.edit(answer(im_message_id, text, **others), NOW)

    edit(99, "edited", own_ids=(4711, typed.id, two.id, one.id))
    assert history(store) == ["typed", "one", "edited"]
    edit(10, "of another chat", chat_id=OTHER, own_ids=(one.id,))
    assert history(store) == ["typed", "one", "edited"]
    edit(10, "by the portal's id", own_ids=(two.id,))
    assert history(store) == ["typed", "by the portal's id", "edited"]
    edit(99, "a visitor's is not meant", own_ids=(typed.id,))
    assert history(store)[:3] == ["typed", "by the portal's id", "edited"]


# -- files


def test_a_file_is_found_by_its_key_and_listed_with_its_chat(store: Store) -> None:
    def attach(key: str, chat: str) -> None:
        file = File("a.pdf", "file", f"https://x.example/{key}", 10, key, "application/pdf")
        message = VisitorMessage(visitor(chat), key, key, None, file)
        store.messages.add_from_visitor(message, LIMITS, NOW)

    attach("one", CHAT)
    attach("two", CHAT)
    attach("three", OTHER)
    write(store, "no file", THIRD)

    message = store.messages.find_with_file("two")
    assert message is not None
    assert (message.text, message.files[0].key) == ("two", "two")
    assert store.messages.find_with_file("four") is None
    assert store.chats.file_keys(CHAT) == {"one", "two"}
    assert store.chats.file_keys(THIRD) == set()
    assert store.chats.file_keys("unknown") is None
    store.chats.delete(CHAT, NOW)
    assert store.chats.file_keys(CHAT) == set()
    assert store.messages.find_with_file("two") is None


# -- the consent, and what the visitor tells


def test_the_first_consent_is_kept_and_the_latest_name(store: Store) -> None:
    def say(name: str, consent: str | None, at: float | None) -> None:
        chat = replace(visitor(name=name), consent=consent, consent_at=at)
        store.messages.add_from_visitor(VisitorMessage(chat, name, "", None), LIMITS, NOW)

    say("Anna", None, None)
    say("Anja", "I agree", NOW)
    say("Hanna", "I agree again", NOW + 1)

    chat = found(store)
    assert (chat.name, chat.consent, chat.consent_at) == ("Hanna", "I agree", NOW)


# -- deliveries


def test_the_heads_of_a_number_of_chats_are_due_and_no_more(store: Store) -> None:
    for chat in (CHAT, OTHER, THIRD):
        for number in range(3):
            write(store, f"{chat[-1]}{number}", chat)

    assert texts(store.queue.due_messages(NOW, 2, 2)) == ["a0", "a1", "b0", "b1"]
    assert texts(store.queue.due_messages(NOW, 2)) == ["a0", "b0"]
    assert store.queue.due_messages(NOW - 1, 2) == []
    assert store.queue.waiting() == 9


def test_a_run_ends_before_a_message_whose_outcome_is_unknown(store: Store) -> None:
    for number in range(4):
        write(store, f"{number}")
    run = store.queue.due_messages(NOW, 1, 10)
    (begun,) = store.queue.claim([run[2]], LINE, NOW)

    assert texts(store.queue.due_messages(NOW, 1, 10)) == ["0", "1"], "its call is under way"
    store.queue.doubt_interrupted("DIED")
    assert texts(store.queue.due_messages(NOW, 1, 10)) == ["0", "1"]
    assert store.queue.messages_in_doubt(NOW, 10) == [], "its chat waits for the first"
    store.queue.claim(run[:2], LINE, NOW)
    assert store.queue.messages_in_doubt(NOW, 10) == [], "the call of the first is under way"
    store.queue.doubt_interrupted("DIED")
    assert texts(store.queue.messages_in_doubt(NOW, 10)) == ["0", "1", "2"]
    assert store.queue.due_messages(NOW, 1, 10) == []
    assert begun.called_at == NOW


def test_at_most_ten_unsure_messages_of_a_chat_are_looked_for_together(store: Store) -> None:
    for number in range(15):
        write(store, f"{number}")
    store.queue.claim(store.queue.due_messages(NOW, 1, 20), LINE, NOW)
    store.queue.doubt_interrupted("DIED")

    assert len(store.queue.messages_in_doubt(NOW, 5)) == 10


def outcome_of(store: Store, make: Callable[[Delivery], Outcome], now: float = NOW) -> Delivery:
    """Write a message, begin with it, note how it ended, and read it again."""
    write(store, "one")
    (begun,) = store.queue.claim(store.queue.due_messages(NOW, 1), LINE, NOW)
    store.queue.record([make(begun)], now)
    (again,) = due(store, NOW + 900)
    return again


def test_an_outcome_leaves_due_error_tries_and_since_when_it_is_unsure(store: Store) -> None:
    again = outcome_of(
        store, lambda one: Outcome(one, "in doubt", "NO_REPLY", NOW + 5), now=NOW + 3
    )

    assert (again.attempts, again.error, again.called_at) == (1, "NO_REPLY", NOW + 3)
    assert again.line == LINE
    assert store.queue.messages_in_doubt(NOW + 4.9, 1) == []
    store.queue.record([Outcome(again, "in doubt", "NO_REPLY", NOW + 9, attempted=False)], NOW + 8)
    (again,) = store.queue.messages_in_doubt(NOW + 9, 1)
    assert (again.attempts, again.called_at) == (1, NOW + 3)
    store.queue.record([Outcome(again, "queued", "NO_REPLY", NOW + 9, attempted=False)], NOW + 9)
    (again,) = store.queue.due_messages(NOW + 9, 1)
    assert (again.attempts, again.called_at, again.file_as_link) == (1, None, False)


def test_once_a_file_goes_as_a_link_it_does_so_until_it_is_there(store: Store) -> None:
    again = outcome_of(store, lambda one: Outcome(one, "queued", "NO_FILE", file_as_link=True))
    assert again.file_as_link is True

    store.queue.record([Outcome(again, "queued", "NOT_CONNECTED")], NOW)

    (again,) = store.queue.due_messages(NOW, 1)
    assert again.file_as_link is True


def test_an_outcome_of_one_message_leaves_the_others_of_its_chat_alone(store: Store) -> None:
    write(store, "one")
    write(store, "two")
    first, _ = store.queue.due_messages(NOW, 1, 2)
    revision = store.messages.latest(CHAT, None, 2)[1].revision

    store.queue.record(
        [Outcome(first, "failed", "why", dialog=PortalDialog(portal_user_id=2001))], NOW
    )

    one, two = store.messages.latest(CHAT, None, 2)
    assert (one.state, one.error, two.state, two.error) == ("refused", "why", "stored", None)
    assert one.revision > revision == two.revision
    assert texts(store.queue.due_messages(NOW, 1, 2)) == ["two"]
    assert found(store).portal_user_id == 2001


def test_a_chat_keeps_the_line_of_its_first_call(store: Store) -> None:
    deliver(store, "one")
    write(store, "two")

    (begun,) = store.queue.claim(store.queue.due_messages(NOW, 1), 12, NOW)

    assert begun.line == 12
    assert found(store).line == LINE
    assert found(store).dialog_line == LINE


def test_what_was_deleted_meanwhile_is_not_begun(store: Store) -> None:
    for chat in (CHAT, OTHER):
        write(store, f"of {chat[-1]}", chat)
    waiting = store.queue.due_messages(NOW, 10)
    store.chats.delete(CHAT, NOW)

    assert texts(store.queue.claim(waiting, LINE, NOW)) == ["of b"]


def test_a_later_time_is_made_due_and_an_earlier_one_stays(store: Store) -> None:
    for chat, at in ((CHAT, NOW + 900), (OTHER, NOW - 900)):
        write(store, f"of {chat[-1]}", chat)
        one = next(one for one in store.queue.due_messages(NOW, 10) if one.chat.id == chat)
        store.queue.record([Outcome(one, "queued", "X", at)], NOW)

    store.queue.make_due(NOW)

    assert texts(store.queue.due_messages(NOW - 1, 10)) == ["of b"]
    assert texts(store.queue.due_messages(NOW, 10)) == ["of a", "of b"]


# -- markup


def test_messages_of_earlier_renderers_are_given_oldest_renderer_first(
    store: Store, tmp_path: Path
) -> None:
    for number in range(3):
        write(store, f"{number}")
    with store.database.write() as db:
        db.execute("update messages set renderer = 4 where text = '1'")
        db.execute("update messages set renderer = 5 where text = '2'")

    with closing(Store(URL, tmp_path, 5)) as newer:
        assert [one.text for one in newer.messages.to_render(10)] == ["0", "1"]
        assert [one.text for one in newer.messages.to_render(1)] == ["0"]
        before = newer.messages.revision()
        newer.messages.save_rendered({newer.messages.to_render(1)[0]: ("new", "")})
        assert [one.text for one in newer.messages.to_render(10)] == ["1"]
        assert newer.messages.revision() == before
        assert newer.messages.latest(CHAT, None, 3)[0].html == "new"


def test_what_changed_while_it_was_rendered_again_keeps_its_change(
    store: Store, tmp_path: Path
) -> None:
    store.messages.add_from_operators([answer(10, "original"), answer(11, "other")], NOW)
    with closing(Store(URL, tmp_path, 5)) as newer:
        read = newer.messages.to_render(10)
        store.messages.edit(answer(10, "edited"), NOW, 100)

        newer.messages.save_rendered(dict.fromkeys(read, ("new", "file")))

        assert [one.text for one in newer.messages.to_render(10)] == ["edited"]
        html = [one.html for one in newer.messages.latest(CHAT, None, 10)]
    assert html == ["<p>edited</p><br>price.pdf", "new<br>file"]
