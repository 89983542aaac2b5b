"""The portal's limit of calls: every call counts, and no more are made than the portal takes."""

import pytest
from fake_portal import (
    LINE,
    NOT_ACTIVE,
    NOW,
    FakePortal,
    answer,
    install,
    know_dialog,
    put_in_doubt,
    run,
    seconds_of,
    states,
    write,
)

from delivery.bucket import BURST, Bucket
from delivery.worker import Worker
from rest.errors import TryLater
from storage import Store


def confirmations_at_once(
    store: Store, bitrix: FakePortal, worker: Worker, now: float, first: int
) -> int:
    """How many calls the limit leaves at this moment, each on a line of its own."""
    for number in range(50):
        answer(store, first + number, line=100 + number)
    bitrix.calls.clear()
    run(worker, now, steps=60)
    return len(bitrix.confirmed)


def test_a_full_bucket_lets_a_call_pass_within_two_seconds() -> None:
    bucket = Bucket()
    calls = 0
    while bucket.wait_seconds(NOW) == 0 and calls < 1000:
        bucket.count_call(NOW)
        calls += 1

    assert 5 <= calls <= BURST
    assert 0 < bucket.wait_seconds(NOW) < 2
    assert bucket.wait_seconds(NOW + 1) == 0
    bucket.overrun(NOW + 60)
    assert 0 < bucket.wait_seconds(NOW + 60) < 2


def test_no_more_calls_are_made_at_once_than_the_portal_takes(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    assert confirmations_at_once(store, bitrix, worker, NOW, 100) == 10, "after a start"
    assert confirmations_at_once(store, bitrix, worker, NOW + 3600, 1000) == 45
    assert confirmations_at_once(store, bitrix, worker, NOW + 3610, 2000) == 19, "1.9 a second"


@pytest.mark.parametrize(
    ("trouble", "calls"),
    [
        ("none", ["send"]),
        ("inactive", ["send", "activate", "send"]),
        ("in doubt", ["app.info", "send"]),
        ("in doubt, with a dialog", ["batch", "send"]),
    ],
)
def test_each_call_counts(
    store: Store, bitrix: FakePortal, worker: Worker, trouble: str, calls: list[str]
) -> None:
    run(worker, NOW)
    write(store, "hello")
    if trouble == "inactive":
        bitrix.says[f"send on {LINE}"] = [NOT_ACTIVE]
    elif trouble != "none":
        put_in_doubt(store)
    if trouble == "in doubt, with a dialog":
        know_dialog(store, 1)
    run(worker, NOW + 3600)
    assert states(store) == ["delivered"]
    assert [call.method for call in bitrix.calls] == calls

    left = confirmations_at_once(store, bitrix, worker, NOW + 3600, 100)

    assert left == 45 - len(calls)


def test_the_calls_of_a_check_count_three_and_one_a_line(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    install(store)
    for line in range(20, 38):  # 19 with the first
        store.portal.connect_line(line, NOW)
    run(worker, NOW)
    while len(bitrix.made("check")) == 1:
        worker.step(NOW + 3700)

    left = confirmations_at_once(store, bitrix, worker, NOW + 3700, 100)

    assert left == 45 - (3 + 19)


def test_a_check_that_the_portal_refuses_for_its_limit_lets_the_bucket_drain(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    install(store)
    run(worker, NOW - 60)  # what was called before our start is no matter then
    bitrix.says["check"] = [TryLater("QUERY_LIMIT_EXCEEDED", "app.info")]
    assert seconds_of("check", bitrix, worker, [4000])
    write(store, "hello")

    run(worker, NOW + 4000)
    assert bitrix.sent == []
    run(worker, NOW + 4001)

    assert bitrix.sent == [["hello"]]
