"""Lines: which one a message takes, one that is not active, and one that takes nothing."""

from fake_portal import (
    DIALOG,
    LINE,
    NO_REPLY,
    NO_SESSION,
    NOT_ACTIVE,
    NOW,
    OTHER_LINE,
    FakePortal,
    chat_id,
    pauses,
    run,
    run_each,
    said,
    seconds_of,
    states,
    states_of,
    write,
    write_to_all,
)

from delivery.lines import ROUNDS
from delivery.worker import Worker
from rest.errors import Refused
from storage import Store

ON_LINE = f"send on {LINE}"


def dialog_line(store: Store, chat: int) -> int | None:
    found = store.chats.find(chat_id(chat))
    return found.dialog_line if found else None


def rows_of_queue(store: Store) -> list[list[object]]:
    rows = store.database.rows("select * from deliveries order by id")
    return [[row[key] for key in row.keys()] for row in rows]  # noqa: SIM118


# -- which line


def test_a_chat_keeps_its_line_and_a_new_one_takes_the_line_connected_last(
    store: Store, worker: Worker
) -> None:
    write(store, "one", 1)
    run(worker, NOW)
    store.portal.connect_line(OTHER_LINE, NOW + 1)
    write(store, "two", 1)
    write(store, "hello", 2)
    run(worker, NOW + 1)

    lines = [chat.line if (chat := store.chats.find(chat_id(number))) else 0 for number in (1, 2)]
    assert lines == [LINE, OTHER_LINE]


def test_without_a_line_messages_wait_for_one(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    store.portal.disconnect_line(LINE)
    write(store, "hello")
    run(worker, NOW)
    assert bitrix.sent == []

    store.portal.connect_line(OTHER_LINE, NOW + 1)
    run(worker, NOW + 1)

    assert bitrix.sent == [["hello"]]


def test_what_waits_for_a_line_is_sent_at_once_whenever_one_is_connected(
    store: Store, worker: Worker
) -> None:
    """However long it has waited, and the second time as the first."""
    for number, begin, end in ((1, 0, 300), (2, 301, 303), (3, 304, 350)):
        store.portal.disconnect_line(LINE)
        write(store, f"{number}")
        run_each(worker, range(begin, end))
        assert states(store) == ["delivered"] * (number - 1) + ["stored"]

        store.portal.connect_line(LINE, NOW + end)
        run(worker, NOW + end)

        assert states(store) == ["delivered"] * number


def test_while_no_line_is_connected_the_queue_stays_as_it_is(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """However many wait, a step has nothing to do, and all are due when a line is connected."""
    store.portal.disconnect_line(LINE)
    write_to_all(store, "hello", range(100))
    stored = rows_of_queue(store)
    run(worker, NOW)

    assert not any(worker.step(NOW + second) for second in range(1, 600))

    assert rows_of_queue(store) == stored
    assert bitrix.sent == []


def test_the_chats_of_a_held_line_are_not_put_off_one_by_one(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """They are passed over, in their order, and those of another line go."""
    write_to_all(store, "first", range(100))
    run(worker, NOW, steps=200)
    store.portal.connect_line(OTHER_LINE, NOW + 1)
    bitrix.says[ON_LINE] = NOT_ACTIVE
    write_to_all(store, "second", range(100))
    write(store, "of the other line", 1000)
    run(worker, NOW + 2)

    due = store.queue.due_messages(NOW + 2, 200, 1)

    assert states(store, 1000) == ["delivered"]
    assert len(due) == 100, "no row was changed to pass over it"
    assert not worker.step(NOW + 2.1)


# -- a line that is not active


def test_an_inactive_line_is_activated_and_tried_again(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says[ON_LINE] = [NOT_ACTIVE]
    write(store, "hello")

    run(worker, NOW)

    assert [(call.method, call.target) for call in bitrix.calls] == [
        ("send", LINE),
        ("activate", LINE),
        ("send", LINE),
    ]
    assert states(store) == ["delivered"]


def test_a_line_that_stays_inactive_is_activated_again_after_growing_pauses(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says[ON_LINE] = NOT_ACTIVE
    write(store, "hello")

    seconds = seconds_of("activate", bitrix, worker, range(600))

    assert seconds[0] == 0
    assert len(bitrix.made("activate")) == len(seconds) + 1, "at once again, the first time"
    assert 8 <= len(seconds) <= 18, "1, 2, 4 ... 60, 60 s"
    assert max(pauses(seconds)) <= 60 * 1.2 + 1
    assert {call.method for call in bitrix.calls} == {"send", "activate"}
    assert states(store) == ["stored"]


def test_an_inactive_line_that_works_again_is_no_dead_line_and_is_activated_at_once_next_time(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says[ON_LINE] = NOT_ACTIVE
    write(store, "first")
    run_each(worker, range(200))
    assert store.notes.dead_lines.get() == {LINE: "NOT_ACTIVE_LINE"}
    bitrix.says.clear()
    run_each(worker, range(200, 300))
    assert states(store) == ["delivered"]
    assert not store.notes.dead_lines.get()

    bitrix.says[ON_LINE] = [NOT_ACTIVE]
    write(store, "second")
    run(worker, NOW + 300)

    assert states(store) == ["delivered"] * 2


def test_a_line_that_cannot_be_activated_is_tried_all_the_same(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["activate"] = Refused("ERROR", "imconnector.activate")
    bitrix.says[ON_LINE] = NOT_ACTIVE
    write(store, "hello")
    run(worker, NOW)
    assert states(store) == ["stored"]

    del bitrix.says[ON_LINE]
    run_each(worker, range(1, 5))

    assert states(store) == ["delivered"]


def test_an_inactive_line_holds_up_no_other_line(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write_to_all(store, "first", range(1, 6))
    run(worker, NOW)
    store.portal.connect_line(OTHER_LINE, NOW + 1)
    bitrix.says[ON_LINE] = NOT_ACTIVE
    write_to_all(store, "second", range(1, 6))
    write(store, "of the other line", chat=9)

    run(worker, NOW + 2)

    assert states(store, 9) == ["delivered"]
    assert len(bitrix.made("activate")) <= 3, "it is activated after pauses, not once a chat"


def test_a_line_that_is_inactive_in_three_rounds_is_left_for_another(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    store.portal.connect_line(OTHER_LINE, NOW - 60)
    bitrix.says[ON_LINE] = NOT_ACTIVE
    write(store, "hello")

    run_each(worker, range(60))

    assert bitrix.lines == [LINE] * ROUNDS + [OTHER_LINE]


def test_a_line_that_works_leaves_other_lines_named_as_dead(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    store.portal.connect_line(OTHER_LINE, NOW - 60)
    bitrix.says |= {ON_LINE: NOT_ACTIVE, f"send on {OTHER_LINE}": NOT_ACTIVE}
    write_to_all(store, "hello", range(3))
    run_each(worker, range(200))
    assert set(store.notes.dead_lines.get() or {}) == {LINE, OTHER_LINE}

    del bitrix.says[ON_LINE]
    run_each(worker, range(200, 400))

    assert states_of(store, range(3)) == [["delivered"]] * 3
    assert set(store.notes.dead_lines.get() or {}) == {OTHER_LINE}


# -- a line that accepts and stores nothing, as one that was deleted while we were down


def test_a_chat_without_a_dialog_leaves_a_line_after_three_rounds_and_the_admin_is_told(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    store.portal.connect_line(OTHER_LINE, NOW - 60)
    write(store, "has a dialog", chat=2)
    run(worker, NOW)
    bitrix.says[ON_LINE] = NO_SESSION
    bitrix.calls.clear()

    write(store, "hello", chat=1)
    for minute in range(ROUNDS + 1):
        run(worker, NOW + 60 * minute)
        assert (states(store) == ["delivered"]) is (minute == ROUNDS)
    assert bitrix.lines == [LINE] * ROUNDS + [OTHER_LINE]
    assert store.notes.dead_lines.get() == {LINE: "NO_SESSION"}

    bitrix.calls.clear()
    write(store, "new", chat=3)
    run(worker, NOW + 300)
    write(store, "again", chat=2)
    run(worker, NOW + 301)

    assert bitrix.lines == [OTHER_LINE, LINE], "whoever has a dialog there stays"
    assert states(store, 3) == ["delivered"], "at once: the line is known to be dead"


def test_a_line_that_fails_two_chats_is_left_by_all(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    store.portal.connect_line(OTHER_LINE, NOW - 60)
    for chat in (1, 2, 3):
        write(store, "first", chat)
        run(worker, NOW)
    bitrix.says[ON_LINE] = NO_SESSION
    write_to_all(store, "second", (1, 2))
    run_each(worker, range(0, 480, 60))
    assert states(store, 1) == states(store, 2) == ["delivered"] * 2
    bitrix.calls.clear()

    write(store, "second", chat=3)
    run(worker, NOW + 600)

    assert bitrix.lines == [OTHER_LINE], "also by whoever has a dialog there"


def test_one_chat_that_a_line_does_not_take_moves_no_other_chat(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    store.portal.connect_line(OTHER_LINE, NOW - 60)
    write(store, "hello", chat=2)
    run(worker, NOW)
    bitrix.says[ON_LINE] = NO_SESSION
    write(store, "troublesome")
    run_each(worker, range(0, 60 * (ROUNDS + 1), 60))
    bitrix.says.clear()

    write(store, "again", chat=2)
    run(worker, NOW + 600)

    assert states(store, 2) == ["delivered"] * 2
    assert dialog_line(store, 2) == LINE
    assert not store.notes.dead_lines.get(), "the line works"


def test_messages_that_fail_side_by_side_are_one_round_and_make_no_line_dead(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    store.portal.connect_line(OTHER_LINE, NOW - 60)
    bitrix.says[ON_LINE] = NO_SESSION
    write_to_all(store, "hello", range(20))

    run_each(worker, (0, 60), steps=100)
    bitrix.says.clear()
    run_each(worker, (120, 180, 240), steps=100)

    assert {dialog_line(store, chat) for chat in range(20)} == {LINE}


def test_a_message_that_is_found_in_its_dialog_shows_that_its_line_works(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "first")
    run(worker, NOW)
    bitrix.histories[DIALOG] = [said(10 + n, f"{n}") for n in range(10)]
    for hour in range(1, 4):
        bitrix.says["send"] = [NOT_ACTIVE, NOT_ACTIVE, NO_REPLY]
        write(store, f"{hour}")
        run_each(worker, range(3600 * hour, 3600 * hour + 250))
        assert bitrix.says["send"] == []

    assert states(store) == ["delivered"] * 4
    assert not store.notes.dead_lines.get(), "it never failed three times in a row"
