"""What one process does for long at once: a newcomer is let in, and the right one is given up."""

from typing import Any

import pytest

from rates import TooOften
from under_way import Place, UnderWay


class Crowd:
    """At most six at once, four of an address, two of a visitor; notes who was given up."""

    def __init__(self) -> None:
        self.under_way = UnderWay(6, 4, 2)
        self.given_up: list[str] = []

    def begin(self, name: str, address: str | None, visitor: str | None, **more: Any) -> Place:
        place = Place(address, visitor, lambda: self.given_up.append(name), **more)
        self.under_way.begin(place)
        return place


@pytest.fixture
def crowd() -> Crowd:
    return Crowd()


def test_a_newcomer_ends_the_longest_of_the_address_that_has_most(crowd: Crowd) -> None:
    for name, address in [("a", "A"), ("b", "B"), ("c", "B"), ("d", "C"), ("e", "C"), ("f", "C")]:
        crowd.begin(name, address, None)

    crowd.begin("g", "D", None)
    crowd.begin("h", "E", None)

    assert crowd.given_up == ["d", "b"], "then B and C have two each, and B was first"
    assert len(crowd.under_way) == 6


def test_of_an_address_the_visitor_who_has_most_loses_one(crowd: Crowd) -> None:
    crowd.begin("a", "A", "anna")
    for name in "bcd":
        crowd.begin(name, "A", None)

    crowd.begin("e", "A", "boris")

    assert crowd.given_up == ["b"]


def test_without_addresses_visitors_are_told_apart_and_the_nameless_are_one(crowd: Crowd) -> None:
    crowd.begin("a", None, "anna")
    crowd.begin("b", None, None)
    for name, visitor in [("c", "c"), ("d", "c"), ("e", None), ("f", None)]:
        crowd.begin(name, None, visitor)

    crowd.begin("g", None, "boris")

    assert crowd.given_up == ["b"]


def test_who_begins_many_ends_their_own(crowd: Crowd) -> None:
    for name in "abc":
        crowd.begin(name, name, None)
    for number in range(20):
        crowd.begin(f"{number}", "flood", None)

    assert crowd.given_up == [f"{number}" for number in range(17)]


def test_a_visitor_above_their_own_limit_is_refused_and_ends_nobody(crowd: Crowd) -> None:
    first = crowd.begin("a", "A", "anna")
    crowd.begin("b", "B", "anna")

    with pytest.raises(TooOften):
        crowd.begin("c", "A", "anna")

    assert crowd.given_up == []
    crowd.under_way.end(first)
    crowd.begin("c", "A", "anna")


def test_what_does_not_wait_for_its_client_is_not_given_up(crowd: Crowd) -> None:
    for name in "abcde":
        crowd.begin(name, name, None, waits=False)
    last = crowd.begin("f", "f", None)

    crowd.begin("g", "g", None, waits=False)

    assert crowd.given_up == ["f"]
    with pytest.raises(TooOften):
        crowd.begin("h", "h", None, waits=False)
    crowd.under_way.end(last)
    assert len(crowd.under_way) == 6
