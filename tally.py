"""Counts of this process, until one of its jobs adds them to the store (`store/counts.py`).

Only there the counts of all processes are together, so `/metrics` is right whichever process is
asked. Nothing is counted unless `on` is set: who does not read the numbers pays nothing for them.
"""

from bisect import bisect_left
from collections import defaultdict

# The upper ends of a histogram's buckets, in seconds. The portal itself ends a call after 60.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ENDS = (*(str(end) for end in BUCKETS), "+Inf")
BETWEEN = "|"  # the parts of a name

Name = tuple[str, ...]


class Tally:
    """The parts of a name come from the code and have few values: none is made by a request."""

    def __init__(self) -> None:
        self.on = False
        self._counts: defaultdict[Name, float] = defaultdict(float)

    def add(self, *name: str, number: float = 1.0) -> None:
        if self.on:
            self._counts[name] += number

    def time(self, *name: str, seconds: float) -> None:
        """Count what took so long in a histogram: in one bucket, and in the sum."""
        if self.on:
            self._counts[*name, ENDS[bisect_left(BUCKETS, seconds)]] += 1
            self._counts[*name, "sum"] += seconds

    def take(self) -> dict[str, float]:
        """What was counted since the last time, by the names as the store keeps them."""
        taken, self._counts = self._counts, defaultdict(float)
        return {BETWEEN.join(name): number for name, number in taken.items()}

    def give_back(self, counts: dict[str, float]) -> None:
        """The store could not take these: they count with the next ones."""
        for name, number in counts.items():
            self._counts[tuple(name.split(BETWEEN))] += number


process = Tally()
