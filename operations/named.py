"""Names that anybody can invent, such as the sites that want to show the chat: which to keep.

A stranger must not drive out what is real by naming much else. So each address has one vote, and
shares it among all that it has named; a name of several visitors stays, however many others one
address invents. Where all visitors have one address, behind a proxy that does not tell them apart,
the name that comes oftenest stays.

The votes are in the store, and so the same for all processes.
"""

from collections import Counter
from collections.abc import Mapping
from random import random

from store.records import Named

MOST_KEPT = 60
MOST_VOTERS = 10  # addresses that are remembered for a name
# Between two writes: new names of one address, and addresses. Of more, chance decides.
NEW_NAMES, MOST_ASKERS = 5, 1_000
OTHERS = ""  # all further addresses together

Tries = Mapping[str, Mapping[str, int]]  # how often each name was said, by address and name


class Pending:
    """What was named since the last write. Whoever uses it has a lock."""

    def __init__(self) -> None:
        self.known: frozenset[str] = frozenset()  # the names that the store has
        self.has_new = False
        self._tries: dict[str, dict[str, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._tries)

    def add(self, name: str, asker: str) -> None:
        """Somebody at the address `asker` has named this."""
        if asker not in self._tries and len(self._tries) >= MOST_ASKERS:
            asker = OTHERS
        names = self._tries.setdefault(asker, {})
        if name not in names and name not in self.known:
            self.has_new = True
            new = [one for one in names if one not in self.known]
            if len(new) >= NEW_NAMES:
                del names[min(new, key=lambda one: (names[one], random()))]  # noqa: S311
        names[name] = names.get(name, 0) + 1

    def take(self) -> Tries:
        """What was named, which is then forgotten here."""
        tries, self._tries, self.has_new = self._tries, {}, False
        return tries

    def forget(self, name: str) -> None:
        """This is no longer of interest, and new if it comes again."""
        self.known -= {name}
        for names in self._tries.values():
            names.pop(name, None)


def merged(kept: Mapping[str, Named], tries: Tries, now: float) -> dict[str, Named]:
    """What is kept, and what was named since, the best MOST_KEPT first."""
    found = dict(kept)
    for asker, names in tries.items():
        for name, count in names.items():
            before = found.get(name, Named(now, now, 0))
            voters = {**before.voters, asker: now}
            found[name] = Named(before.first_at, now, before.count + count, voters)
    weights = votes(found)
    found = {
        name: Named(one.first_at, one.last_at, one.count, strongest(one.voters, weights))
        for name, one in found.items()
    }
    return {name: found[name] for name in ranked(found)[:MOST_KEPT]}


def ranked(names: Mapping[str, Named]) -> list[str]:
    """The names by the votes for them, then by how often and when they came; the best first."""
    weights = votes(names)

    def rank(name: str) -> tuple[float, int, float]:
        one = names[name]
        return round(sum(weights[who] for who in one.voters), 6), one.count, one.last_at

    return sorted(names, key=rank, reverse=True)


def votes(names: Mapping[str, Named]) -> dict[str, float]:
    """What the vote of each address is worth for one of its names."""
    held = Counter(who for one in names.values() for who in one.voters)
    return {who: 1 / number for who, number in held.items()}


def strongest(voters: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """The MOST_VOTERS whose votes are worth most, so that no other can take a place of theirs."""
    best = sorted(voters, key=lambda who: (weights[who], voters[who]), reverse=True)
    return {who: voters[who] for who in best[:MOST_VOTERS]}
