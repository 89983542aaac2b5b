"""Fences: a former holder of a lock writes nothing, whatever others write beside it."""

import threading
from collections.abc import Iterator

import pytest
from store_parts import CHAT, LINE, NOW, due, history, write

from storage import Store
from store.database import Connection
from store.fence import Fence, Superseded, unfenced
from store.records import Outcome


@pytest.fixture
def former(store: Store) -> Fence:
    fence = Fence(store.database, "sender")
    fence.take_over()
    return fence


@pytest.fixture
def taken_over(former: Fence, second: Store) -> Iterator[Fence]:
    """Within it this thread works as the former holder, and another one has taken over."""
    Fence(second.database, "sender").take_over()
    with former.holds():
        yield former


def test_who_holds_the_lock_writes(store: Store, former: Fence) -> None:
    with former.holds():
        write(store, "written")

    assert history(store) == ["written"]


def test_whoever_was_taken_over_writes_nothing(store: Store, taken_over: Fence) -> None:
    with unfenced():
        write(store, "before")
        (delivery,) = due(store)
    before = [dict(row) for row in store.database.rows("select * from deliveries")]

    for use in (
        lambda: store.queue.claim([delivery], LINE, NOW),
        lambda: store.queue.record([Outcome(delivery, "delivered")], NOW),
        lambda: store.queue.make_due(NOW - 1),
        lambda: store.notes.up_at.set(NOW),
        lambda: write(store, "late"),
    ):
        with pytest.raises(Superseded):
            use()

    assert [dict(row) for row in store.database.rows("select * from deliveries")] == before
    assert store.notes.up_at.get() is None
    assert history(store) == ["before"]


def test_others_write_in_the_same_moment(store: Store, taken_over: Fence) -> None:
    """The writes of one process share a transaction; a refused one takes no other along."""
    begun, go_on, failed = threading.Event(), threading.Event(), list[Exception]()

    def slow() -> None:
        with store.database.write() as db:
            begun.set()
            go_on.wait(10)
            db.execute("insert into meta values ('of another', 'x')")

    def late() -> None:
        with taken_over.holds():
            try:
                store.notes.up_at.set(NOW)
            except Superseded as error:
                failed.append(error)

    threads = [threading.Thread(target=slow), threading.Thread(target=late)]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join()

    assert len(failed) == 1
    assert store.database.row("select 1 from meta where key = 'of another'")
    assert store.notes.up_at.get() is None


def test_a_number_is_higher_than_all_before(store: Store, second: Store, former: Fence) -> None:
    fences = [Fence(store.database, "sender"), Fence(second.database, "sender"), former]

    assert [fence.take_over() for fence in fences] == [1, 2, 3]
    assert [fence.number for fence in fences] == [2, 3, 4]
    assert Fence(store.database, "another").take_over() == 0, "of each lock for itself"


def test_what_is_written_with_the_number_is_written_with_it_or_not_at_all(
    store: Store, former: Fence
) -> None:
    def also(db: Connection) -> None:
        db.execute("insert into meta values ('also', 'x')")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        former.take_over(also=also)

    assert former.number == 1
    assert store.database.row("select 1 from meta where key = 'also'") is None
    with former.holds():
        write(store, "still the holder")


class Lost:
    """A lock that went while its holder waited for its turn to write."""

    def is_held(self) -> bool:
        return False

    def is_held_now(self) -> bool:
        return False


def test_whoever_lost_the_lock_before_the_work_began_takes_nothing(
    store: Store, second: Store, former: Fence
) -> None:
    with pytest.raises(Superseded):
        Fence(second.database, "sender").take_over(Lost())
    with pytest.raises(Superseded):
        Fence(second.database, "sender").take_over(latest=0)

    with former.holds():
        write(store, "the holder writes on")


def test_a_fence_is_of_one_store_and_one_thread(
    store: Store, second: Store, taken_over: Fence
) -> None:
    write(second, "by another store object")
    thread = threading.Thread(target=write, args=(store, "by a visitor's request"))
    thread.start()
    thread.join()

    assert history(store) == ["by another store object", "by a visitor's request"]
    assert store.chats.find(CHAT) is not None


def test_each_write_of_a_holder_raises_its_number(
    store: Store, second: Store, former: Fence
) -> None:
    with former.holds():
        store.notes.up_at.set(NOW)
        with pytest.raises(RuntimeError, match="stop"), store.database.write():
            raise RuntimeError("stop")
        store.notes.up_at.set(NOW + 1)

    assert former.number == 3
    assert Fence(second.database, "sender").take_over() == 3


def test_an_earlier_state_is_known_whatever_others_have_written_since(
    store: Store, second: Store, former: Fence
) -> None:
    """A server that fails over to a copy has forgotten the last writes; its clock goes on."""
    waits = Fence(second.database, "sender")
    with former.holds():
        store.notes.up_at.set(NOW)
        waits.look()
    with store.database.write() as db:
        db.execute("update meta set value = '1' where key = 'fence.sender'")  # of before that write
    write(store, "by a visitor's request")

    with former.holds(), pytest.raises(Superseded):
        store.notes.up_at.set(NOW + 1)
    waits.look()
    known = waits.known
    assert (known, waits.take_over()) == (2, 1)
    assert waits.number == 3, "higher than all that the store has had"
