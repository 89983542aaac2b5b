"""How often someone may ask: a bucket for each, filled with time. And who waits for whom."""

import pytest

import rates
from rates import Pace, Rates, TooOften


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


class PacedClock(Clock):
    """Nobody really sleeps: notes how long each would."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> PacedClock:
    clock = PacedClock()
    monkeypatch.setattr(rates, "time", clock)
    return clock


def pace(clock: PacedClock) -> Pace:
    return Pace(Rates(burst=2, per_second=0.5, clock=clock), seconds=0.1, patience=0.25)


def test_whoever_asks_seldom_waits_for_no_flood(paced: PacedClock) -> None:
    lane = pace(paced)

    for _ in range(5):  # three more than may go on at once
        lane.wait("a flood")
    assert paced.slept == [0, 0.1, 0.2]

    lane.wait("anna")
    assert len(paced.slept) == 3


def test_a_flood_goes_on_in_turn_whatever_address_it_has(paced: PacedClock) -> None:
    lane = pace(paced)
    for flood in ("one", "another"):
        for _ in range(2):
            lane.wait(flood)

    lane.wait("one")
    lane.wait("another")
    assert paced.slept == [0, 0.1]

    paced.now += 1.5  # a turn that nobody took is not kept
    lane.wait("one")
    lane.wait("one")
    assert paced.slept == [0, 0.1, 0, 0.1]


def test_nobody_waits_for_longer_than_the_patience(paced: PacedClock) -> None:
    lane = pace(paced)
    for _ in range(5):
        lane.wait("a flood")

    with pytest.raises(TooOften) as refused:
        lane.wait("a flood")
    assert refused.value.seconds == 2

    paced.now += 0.1  # who was refused has taken no turn
    lane.wait("a flood")
    assert paced.slept == [0, 0.1, 0.2, 0.2]
