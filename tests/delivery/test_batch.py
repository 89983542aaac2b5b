"""How many messages share a call."""

from collections import Counter

import pytest
from fake_portal import (
    DIALOG,
    NO_REPLY,
    NO_SESSION,
    NOW,
    OTHER_LINE,
    SEND,
    FakePortal,
    chat_id,
    know_dialog,
    run,
    run_each,
    said,
    write,
    write_to_all,
)

from delivery.batch import CALL_BYTES, CALL_SECONDS, FIRST_ITEMS, LONG_BACKLOG, Batches
from delivery.worker import Worker
from rest.errors import OutcomeUnknown, TryLater
from storage import Store
from store.database import Row
from store.queue import RUN_LIMIT


@pytest.mark.parametrize(("waiting", "first"), [(3, 1), (4, 4)])
def test_three_that_wait_are_no_backlog_and_four_are(
    store: Store, bitrix: FakePortal, worker: Worker, waiting: int, first: int
) -> None:
    write_to_all(store, "hello", range(waiting))

    worker.step(NOW)

    assert bitrix.sizes == [first]


def test_messages_in_doubt_are_no_backlog(store: Store, bitrix: FakePortal, worker: Worker) -> None:
    write_to_all(store, "lost", range(10, 20))
    bitrix.says["send"] = [NO_REPLY]
    run(worker, NOW)
    assert bitrix.sizes == [10]
    bitrix.calls.clear()
    write_to_all(store, "hello", range(3))

    run(worker, NOW + 3)

    assert bitrix.sizes == [1, 1, 1]


@pytest.mark.parametrize(("after", "ready", "sizes"), [
    (29, 10, [1] * 10), (29, 11, [10]), (31, 10, [10]), (31, 2, [1] * 3),
])  # fmt: skip
def test_after_a_message_lost_its_answer_alone_ten_are_no_backlog(
    store: Store,
    bitrix: FakePortal,
    worker: Worker,
    after: float,
    ready: int,
    sizes: list[int],
) -> None:
    bitrix.says["send of odd"] = NO_REPLY
    write(store, "odd", 100)
    run(worker, NOW)
    assert bitrix.sizes == [1]
    bitrix.calls.clear()
    write_to_all(store, "hello", range(ready))

    run(worker, NOW + after)

    assert bitrix.sizes[: len(sizes)] == sizes


def test_a_backlog_of_many_chats_goes_out_together_and_each_chat_in_order(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    for number in range(40):
        for chat in range(10):
            write(store, f"{chat}-{number}", chat)

    run_each(worker, (0, 30), steps=100)

    shared = [size for size in bitrix.sizes if size > 1]
    assert sum(bitrix.sizes) == 400
    assert sum(shared) / len(shared) >= 10
    for chat in range(10):
        own = [text for call in bitrix.sent for text in call if text.startswith(f"{chat}-")]
        assert own == [f"{chat}-{number}" for number in range(40)]


def test_calls_grow_from_ten_to_forty_messages_while_they_work(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write_to_all(store, "hello", range(200))

    run_each(worker, range(10), steps=1)

    assert bitrix.sizes[:4] == [10, 20, 40, 40]


@pytest.mark.parametrize(
    ("error", "sizes"), [(NO_REPLY, [40, 20, 40]), (TryLater("NOT_DONE", SEND), [40, 40, 40])]
)
def test_only_a_call_whose_answer_was_lost_makes_the_next_half_as_large(
    store: Store,
    bitrix: FakePortal,
    worker: Worker,
    error: OutcomeUnknown | TryLater,
    sizes: list[int],
) -> None:
    write_to_all(store, "hello", range(200))
    run_each(worker, range(3), steps=1)
    bitrix.says["send"] = [error]
    bitrix.calls.clear()

    run_each(worker, range(3, 10))

    assert bitrix.sizes[:3] == sizes


class SlowPortal:
    """Lets each message of a call take its time, on the clock that a worker sees."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.seconds = seconds
        self._now = 1.0
        monkeypatch.setattr("time.monotonic", lambda: self._now)

    def work(self, items: int) -> None:
        self._now += self.seconds * items


@pytest.mark.parametrize("answered", [True, False])
def test_a_call_carries_what_the_portal_takes_in_time(
    store: Store,
    bitrix: FakePortal,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    answered: bool,
) -> None:
    """Also when it took too long and we never heard the answer."""
    bitrix.work = SlowPortal(monkeypatch, 2.5).work
    bitrix.says["send"] = [] if answered else [NO_REPLY]
    write_to_all(store, "hello", range(100))

    run_each(worker, range(0, 20_000, 200), steps=1)

    assert sum(bitrix.sizes) >= 100
    assert bitrix.sizes[0] == FIRST_ITEMS
    assert max(bitrix.sizes[1:]) <= CALL_SECONDS / 2.5
    if not answered:
        assert bitrix.sizes[1] <= FIRST_ITEMS / 2


def test_calls_grow_little_by_little_once_a_slow_portal_is_quick_again(
    store: Store, bitrix: FakePortal, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal = SlowPortal(monkeypatch, 2.0)
    bitrix.work = portal.work
    write_to_all(store, "hello", range(200))
    run_each(worker, range(0, 400, 100), steps=1)
    assert bitrix.sizes == [10, 12, 12, 12]

    portal.seconds = 0.1
    run_each(worker, range(400, 1000, 100), steps=1)

    quick = bitrix.sizes[4:9]
    assert quick == sorted(quick), "little by little"
    assert quick[1] <= 20
    assert quick[-1] == 40


def test_short_messages_fill_a_call_to_its_number_and_long_ones_to_its_size(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write_to_all(store, "hello", range(30))
    run_each(worker, range(2), steps=1)
    write_to_all(store, "x" * 22_000, range(30, 60))
    run_each(worker, range(2, 8), steps=1)

    assert bitrix.sizes[:2] == [10, 20]
    assert bitrix.sizes[2] == 20, "of 22,000 bytes and about 2,000 around them"
    for call in bitrix.sent:
        assert sum(map(len, call)) <= 500_000 - 2_000 * len(call)


def test_letters_count_as_many_bytes_as_they_take_on_the_way(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    """So that no proxy refuses the call for its size."""
    write_to_all(store, "ы" * 20_000, range(20))

    run(worker, NOW, steps=40)

    assert sum(bitrix.sizes) == 20
    assert max(bitrix.sizes) == CALL_BYTES // (20_000 * len("%D1%8B"))


def test_a_message_larger_than_a_call_should_be_goes_alone(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    for chat in range(8):
        write(store, "ы" * 90_000 if chat == 0 else "hello", chat)

    run(worker, NOW)

    assert bitrix.sizes[0] == 1
    assert sum(bitrix.sizes) == 8


def test_a_message_whose_answer_was_lost_twice_goes_alone(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    for chat in range(1, 9):
        write(store, f"of {chat}", chat)
    bitrix.says["send of of 3"] = OutcomeUnknown("HTTP_502", SEND)

    for second in range(200):
        run(worker, NOW + second)
        if len(bitrix.sent) > 2 and store.queue.waiting() < 4:
            write_to_all(store, "hello", range(20, 26))
        if sum("of 3" in call for call in bitrix.sent) >= 3:
            break

    assert [len(call) > 1 for call in bitrix.sent if "of 3" in call] == [True, True, False]


# -- several messages of one chat


@pytest.mark.parametrize(("waiting", "together"), [(29, 1), (32, RUN_LIMIT)])
def test_only_a_long_backlog_goes_out_in_runs_of_one_chat(
    store: Store, bitrix: FakePortal, worker: Worker, waiting: int, together: int
) -> None:
    for number in range(4):
        write(store, f"{number}", chat=2)
    run_each(worker, range(12))
    bitrix.calls.clear()

    for number in range(waiting):
        write(store, f"{number}")
    worker.step(NOW + 60)

    assert bitrix.sizes == [together]


def test_runs_of_one_chat_begin_after_three_calls_that_passed_over_none_and_keep_its_order(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    for number in range(300):
        write(store, str(number))

    run_each(worker, range(6), steps=1)
    assert bitrix.sizes[:4] == [1, 1, 1, RUN_LIMIT]
    run_each(worker, range(6, 46), steps=50)

    assert [text for call in bitrix.sent for text in call] == [str(n) for n in range(300)]
    assert len(bitrix.sent) < 300 / RUN_LIMIT + LONG_BACKLOG + 10


def test_after_a_message_was_passed_over_each_call_carries_one_of_a_chat(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    for number in range(4):
        write(store, str(number))
    run_each(worker, range(12))
    bitrix.says["send"] = NO_SESSION
    write(store, "passed over")
    run(worker, NOW + 60, steps=5)
    bitrix.says.clear()
    bitrix.calls.clear()
    for number in range(100):
        write(store, str(number), chat=2)

    run(worker, NOW + 65, steps=60)

    assert {*bitrix.sizes} == {1}


def test_runs_begin_again_after_ten_calm_seconds_and_three_calls(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "first")
    run(worker, NOW)
    bitrix.says["send"] = NO_SESSION
    write(store, "passed over")
    worker.step(NOW)
    bitrix.says.clear()
    bitrix.calls.clear()
    bitrix.histories[DIALOG] = [said(11, "2")]
    for number in range(100):
        write(store, str(number), chat=2)

    run_each(worker, range(11, 20), steps=1)

    assert bitrix.sizes[:4] == [1, 1, 1, RUN_LIMIT]


def test_runs_of_one_chat_pause_for_ten_seconds_after_a_message_was_passed_over(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    for number in range(200):
        write(store, f"{number}")
    run_each(worker, range(6), steps=1)
    bitrix.says["send"] = NO_SESSION
    worker.step(NOW + 6)
    bitrix.says.clear()
    know_dialog(store, 1)
    bitrix.histories[DIALOG] = [said(1000 + n, f"{n}") for n in range(1, 41)]
    bitrix.calls.clear()

    runs = []
    for half in range(13, 120):
        before = len(bitrix.sizes)
        worker.step(NOW + half / 2)
        runs += [half / 2 for size in bitrix.sizes[before:] if size > 1]

    assert 16 < runs[0] <= 22


@pytest.mark.parametrize(
    ("chats", "read"), [(15, [1] * 10), (6, [2, 2, 2, 2, 1, 1]), (2, [5, 5]), (1, [9])]
)
def test_no_more_is_read_of_a_long_backlog_than_a_call_carries(
    store: Store, worker: Worker, monkeypatch: pytest.MonkeyPatch, chats: int, read: list[int]
) -> None:
    monkeypatch.setattr("delivery.messages.MESSAGES_A_CALL", 10)
    monkeypatch.setattr(Batches, "run_length", lambda *_: RUN_LIMIT)
    run(worker, NOW)
    for number in range(9):
        for chat in range(chats):
            write(store, f"{number}", chat)
    rows, found = store.database.rows, list[int]()

    def counting(sql: str, *values: object, **named: object) -> list[Row]:
        answer = rows(sql, *values, **named)
        found.append(len(answer) if "from messages" in sql else 0)
        return answer

    monkeypatch.setattr(store.database, "rows", counting)
    worker._context.lines.begin_step()
    ready, _ = worker._messages.due(NOW)

    assert sorted(Counter(one.chat.id for one in ready).values(), reverse=True) == read
    assert sum(found) == sum(read)


def test_chats_of_another_line_fill_no_call_and_only_their_first_messages_are_read(
    store: Store, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delivery.messages.MESSAGES_A_CALL", 10)
    monkeypatch.setattr(Batches, "run_length", lambda *_: RUN_LIMIT)
    run(worker, NOW)
    for number in range(9):
        for chat in range(4):
            write(store, f"{number}", chat)
    with store.database.write() as db:
        db.execute(
            "update deliveries set chat_line = ? where chat_id in (?, ?)",
            (OTHER_LINE, chat_id(1), chat_id(3)),
        )

    worker._context.lines.begin_step()
    ready, _ = worker._messages.due(NOW)

    of_chats = Counter(one.chat.id for one in ready)
    assert [of_chats[chat_id(chat)] for chat in range(4)] == [5, 1, 5, 1]
