"""What counts against a delivery: it made a call fail, was refused alone, or was repeated in doubt.

What made a call fail goes alone from then on; what was refused alone goes after all others too.

A call that is refused as a whole says nothing about its items. The portal's own trouble is likelier
than a bad message: so a delivery is given up only after it has failed again and again while other
deliveries of its kind succeeded. Kept in memory: after a restart each has to fail anew.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from delivery.circuits import Kind
from store.records import Delivery

STRIKES = 8  # failures of one delivery, alone, while others succeed; then it is given up
LOSSES = 16  # of one message's answers, alone, while others succeed; then it is given up
REPEATS = 2  # of one message that may have arrived, before it is given up: each may double it


@dataclass
class Strikes:
    """Failures that count against one delivery, and how many calls had succeeded by then."""

    count: int = 0
    passed: int | None = None  # None until it has failed once

    def add(self, passed: int) -> int:
        """Count a failure if other calls have succeeded since the last one; the first never counts.

        `passed`: how many calls of the same kind have succeeded so far.
        """
        if self.passed is not None and passed > self.passed:
            self.count += 1
        self.passed = passed
        return self.count


@dataclass
class Suspect:
    refused_alone: Strikes = field(default_factory=Strikes)
    lost: Strikes = field(default_factory=Strikes)  # its answer, and the portal does not have it
    repeated: Strikes = field(default_factory=Strikes)  # without knowing whether it has arrived
    goes_alone: bool = False


class Quarantine:
    def __init__(self) -> None:
        self._suspects: dict[int, Suspect] = {}  # by delivery id
        self._passed: Counter[Kind] = Counter()  # calls that succeeded

    def passed(self, kind: Kind) -> None:
        """A call of this kind succeeded."""
        self._passed[kind] += 1

    def isolate(self, deliveries: Iterable[Delivery]) -> None:
        """One of these made a call fail: from now on each goes alone."""
        for delivery in deliveries:
            self._suspect(delivery).goes_alone = True

    def refused_alone(self, delivery: Delivery) -> bool:
        """Note that a call with this one alone was refused; whether it is to be given up."""
        suspect = self._suspect(delivery)
        suspect.goes_alone = True
        return suspect.refused_alone.add(self._passed[delivery.kind]) >= STRIKES

    def lost_in_vain(self, delivery: Delivery) -> bool:
        """Note that a call with this one was lost and came to nothing; whether to give it up.

        Something may answer in an odd way to this message, and would do so for ever.
        """
        return self._suspect(delivery).lost.add(self._passed[delivery.kind]) >= LOSSES

    def repeated_in_vain(self, delivery: Delivery) -> bool:
        """Note a repeat of what may have arrived; whether no further one shall be made."""
        return self._suspect(delivery).repeated.add(self._passed[delivery.kind]) >= REPEATS

    def goes_alone(self, delivery: Delivery) -> bool:
        suspect = self._suspects.get(delivery.id)
        return suspect is not None and suspect.goes_alone

    def was_refused_alone(self, delivery: Delivery) -> bool:
        suspect = self._suspects.get(delivery.id)
        return suspect is not None and suspect.refused_alone.passed is not None

    def release(self, deliveries: Iterable[Delivery]) -> None:
        """Forget these deliveries: they have ended."""
        for delivery in deliveries:
            self._suspects.pop(delivery.id, None)

    def _suspect(self, delivery: Delivery) -> Suspect:
        return self._suspects.setdefault(delivery.id, Suspect())
