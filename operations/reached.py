"""Notes when somebody outside has reached us at `public_url`, and how many proxies named them.

Only that proves how we are reached: this server itself may reach its own name by another way, or
not at all. It is kept in memory and written rarely, so that no request waits for it.
"""

from typing import Literal

from storage import Store
from store.records import Reached

REPEAT_SECONDS = 60.0  # until what is known already is written again

Who = Literal["portal", "visitors"]  # a proved event; what a browser says, which anybody can forge


class ReachedFromOutside:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[str, Reached] = {}  # the last one of each
        self._written: dict[str, Reached] = {}

    def saw(self, who: Who, reached: Reached) -> None:
        """A request has come to the address of `public_url`."""
        self._seen[who] = reached

    def write(self) -> bool:
        """Put what is new into the store, and once a minute what is known already.

        Returns whether there was anything to write.
        """
        news = {who: one for who, one in self._seen.items() if self._is_news(who, one)}
        if not news:
            return False
        self._store.notes.reached.change(lambda kept: {**(kept or {}), **news})
        self._written |= news
        return True

    def _is_news(self, who: str, reached: Reached) -> bool:
        before = self._written.get(who)
        if before is None or (before.url, before.forwarded) != (reached.url, reached.forwarded):
            return True
        return not 0 <= reached.at - before.at < REPEAT_SECONDS
