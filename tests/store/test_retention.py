"""What is older than the settings let it be goes, with its traces; what waits stays."""

import pytest
from stage import path_of
from store_parts import (
    CHAT,
    LIMITS,
    LINE,
    NOW,
    OTHER,
    THIRD,
    answer,
    deliver,
    due,
    found,
    history,
    sql,
    visitor,
    write,
)

from storage import Store
from store.records import File, Outcome, VisitorMessage
from store.retention import Removed

DAY = 86_400.0
SECRET = "a text of which nothing may be left, not even in free pages of the file"


class Disk:
    """What a purge has removed of visitors' files."""

    def __init__(self) -> None:
        self.files: list[tuple[str, str]] = []
        self.chats: list[str] = []

    def remove(self, chat_id: str, key: str) -> None:
        self.files.append((chat_id, key))


@pytest.fixture
def disk() -> Disk:
    return Disk()


def purge(store: Store, disk: Disk, before: float) -> Removed:
    return store.retention.purge(before, disk.remove, disk.chats.append)


def deliver_all(store: Store, now: float) -> None:
    while waiting := due(store, now + DAY):
        claimed = store.queue.claim(waiting[:1], LINE, now)
        store.queue.record([Outcome(claimed[0], "delivered")], now)
    for confirmation in store.queue.due_confirmations(now + DAY, 100):
        store.queue.record([Outcome(confirmation, "delivered")], now)


def test_old_messages_go_and_later_ones_stay(store: Store, disk: Disk) -> None:
    for day in range(4):
        write(store, f"day {day}", now=NOW + day * DAY)
    deliver_all(store, NOW + 4 * DAY)

    expected = store.retention.count(NOW + 2 * DAY)

    assert purge(store, disk, NOW + 2 * DAY) == expected == Removed(messages=2)
    assert history(store) == ["day 2", "day 3"]
    assert found(store).name == "Anna"
    assert purge(store, disk, NOW + 2 * DAY) == Removed()


def test_what_waits_for_bitrix24_stays_however_old_it_is(store: Store, disk: Disk) -> None:
    write(store, "waits")
    store.messages.add_from_operators([answer()], NOW)

    assert purge(store, disk, NOW + 1000 * DAY) == Removed()
    assert history(store) == ["waits", "Good morning"]


def test_of_a_chat_without_messages_nothing_is_left(store: Store, disk: Disk) -> None:
    for chat in (CHAT, OTHER):
        deliver(store, f"in {chat}", chat)
    write(store, "later", OTHER, now=NOW + DAY)
    deliver_all(store, NOW + DAY)

    assert purge(store, disk, NOW + DAY) == Removed(messages=2, chats=1)

    assert store.chats.find(CHAT) is None
    assert disk.chats == [CHAT]
    assert not store.chats.was_deleted(CHAT)
    assert history(store, OTHER) == ["later"]


def test_visitor_and_operator_go_on_in_a_chat_that_was_purged(store: Store, disk: Disk) -> None:
    deliver(store, "old")
    purge(store, disk, NOW + DAY)

    store.messages.add_from_operators([answer()], NOW + 2 * DAY)
    write(store, "new", now=NOW + 3 * DAY)

    assert history(store) == ["Good morning", "new"]


def test_files_go_with_their_message(store: Store, disk: Disk) -> None:
    file = File("photo.png", "image", "", 10, "k" * 48, "image/png")
    message = VisitorMessage(visitor(), "see", file=file)
    store.messages.add_from_visitor(message, LIMITS, NOW)
    deliver_all(store, NOW)

    assert purge(store, disk, NOW + DAY) == Removed(messages=1, files=1, chats=1)
    assert disk.files == [(CHAT, file.key)]


@pytest.mark.sqlite
def test_nothing_of_a_text_is_left_in_the_files_of_the_store(store: Store, disk: Disk) -> None:
    write(store, "stays", OTHER, now=NOW + 2 * DAY)
    write(store, SECRET)
    deliver_all(store, NOW)
    files = [*path_of(store).parent.glob("chats.db*")]
    assert any(SECRET.encode() in file.read_bytes() for file in files)

    purge(store, disk, NOW + DAY)

    assert not any(SECRET.encode() in file.read_bytes() for file in files)


def test_what_was_purged_is_not_taken_for_a_lost_answer(store: Store, disk: Disk) -> None:
    deliver(store, "hello", portal_chat_id=5120)
    store.messages.add_from_operators([answer(903311), answer(903312, "later")], NOW)
    deliver_all(store, NOW)
    write(store, "new", now=NOW + 2 * DAY)

    purge(store, disk, NOW + DAY)

    assert store.dialogs.find([5120])[5120].checked_im_id == 903312


def test_a_part_stays_with_its_customer_but_nothing_it_told(store: Store, disk: Disk) -> None:
    deliver(store, "before the log-in")
    write(store, "as a customer", OTHER, now=NOW + 2 * DAY)
    store.chats.make_part(CHAT, OTHER)

    purge(store, disk, NOW + DAY)

    assert sql(store, f"select owner, name, email from chats where id = '{CHAT}'") == [
        (OTHER, "", "")
    ]
    store.messages.add_from_operators([answer()], NOW + 3 * DAY)
    assert history(store, OTHER) == ["as a customer", "Good morning"]


def test_a_chat_that_is_being_deleted_is_left_to_its_deletion(store: Store, disk: Disk) -> None:
    deliver(store, "hello", THIRD)
    sql(store, f"update chats set owner = '' where id = '{THIRD}'")

    purge(store, disk, NOW + DAY)

    assert disk.chats == []
