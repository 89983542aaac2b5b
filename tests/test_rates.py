"""How often someone may ask: a bucket for each, filled with time."""

import pytest

import rates
from rates import Rates, TooOften


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buckets(clock: Clock) -> Rates:
    return Rates(burst=3, per_second=0.5, clock=clock)


def test_a_burst_is_allowed_and_then_the_rate(buckets: Rates, clock: Clock) -> None:
    for _ in range(3):
        buckets.take("anna")
    for _ in range(2):  # a refused request counts for nothing
        with pytest.raises(TooOften) as refused:
            buckets.take("anna")
        assert refused.value.seconds == 2

    clock.now += 1.9
    with pytest.raises(TooOften):
        buckets.take("anna")
    clock.now += 0.1
    buckets.take("anna")
    with pytest.raises(TooOften):
        buckets.take("anna")


def test_nobody_waits_for_another(buckets: Rates) -> None:
    for _ in range(3):
        buckets.take("anna")

    buckets.take("berta")


def test_who_has_not_asked_for_long_is_forgotten(
    buckets: Rates, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "FORGET_EVERY", 10)
    for number in range(9):
        buckets.take(f"{number}")
    clock.now += 60

    buckets.take("anna")

    assert len(buckets) == 1
