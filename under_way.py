"""What one process does for long at once, and what of it ends so that a newcomer can begin."""

from collections.abc import Callable
from dataclasses import dataclass

from rates import TooOften

WAIT_SECONDS = 5  # until who was refused may try again


@dataclass(eq=False)
class Place:
    """One upload or save under way; `give_up` ends it at once."""

    address: str | None  # None: not known
    visitor: str | None  # None: they have no chat yet
    give_up: Callable[[], None]
    waits: bool = True  # for its client; while it does not, it is not given up

    @property
    def asker(self) -> str | None:
        """Whoever shares the process with others; those of whom we know nothing are one."""
        return self.address or self.visitor


class UnderWay:
    """Those of one kind: at most `most`, `of_address` of an address, and `of_visitor` of a visitor.

    Above a visitor's limit another one is refused: nobody else is kept out by that. Above the other
    limits a newcomer is always let in, and one is given up: of the address that has most, and there
    of the visitor who has most, the one that has lasted longest. So nobody can keep others out by
    being slow, and who has only one loses it to nobody who has more.
    """

    def __init__(self, most: int, of_address: int, of_visitor: int) -> None:
        self._most = most
        self._of_address = of_address
        self._of_visitor = of_visitor
        self._places: list[Place] = []  # whichever has lasted longest is the first

    def begin(self, place: Place) -> None:
        """Count it until `end`; raises TooOften."""
        if place.visitor and self._count("visitor", place) >= self._of_visitor:
            raise TooOften(WAIT_SECONDS)
        self._places.append(place)
        if place.address and self._count("address", place) > self._of_address:
            same = [other for other in self._places if other.address == place.address]
            self._give_up_one(same, place)
        if len(self._places) > self._most:
            self._give_up_one(self._places, place)

    def end(self, place: Place) -> None:
        """It has ended; also one that was given up may be ended."""
        if place in self._places:
            self._places.remove(place)

    def _count(self, kind: str, place: Place) -> int:
        return sum(getattr(other, kind) == getattr(place, kind) for other in self._places)

    def _give_up_one(self, places: list[Place], newcomer: Place) -> None:
        found = [place for place in places if place.waits]
        for kind in ("asker", "visitor"):
            groups: dict[str | None, list[Place]] = {}
            for place in found:
                groups.setdefault(getattr(place, kind), []).append(place)
            found = max(groups.values(), key=len, default=[])  # of equals, who came first
        longest = found[0] if found else newcomer
        self.end(longest)
        if longest is newcomer:  # none of the others waits
            raise TooOften(WAIT_SECONDS)
        longest.give_up()

    def __len__(self) -> int:
        return len(self._places)
