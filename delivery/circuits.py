"""Circuits: what has failed is not tried again at once, and what works goes on.

A circuit is closed while calls work. A failure opens it for a pause that doubles each time; after
the pause one call is tried, which closes it or opens it for longer. Times are Unix seconds.
"""

import math
import random
from dataclasses import dataclass
from typing import Literal

from settings import DeliverySettings

Kind = Literal["message", "confirmation", "lookup"]  # of calls: a look asks what has arrived


@dataclass(frozen=True)
class Scope:
    """Which calls a circuit holds back: all of them, or those that have all these things."""

    kind: Kind | None = None
    line: int | None = None
    chat: str | None = None
    refused_alone: bool = False  # only deliveries whose call was refused when it carried no other


PORTAL = Scope()  # every call


class Circuits:
    def __init__(self, settings: DeliverySettings) -> None:
        self._settings = settings
        self._failures: dict[Scope, int] = {}  # in a row
        self._open_until: dict[Scope, float] = {}

    def open_until(self, *scopes: Scope) -> float:
        """When the last of these circuits lets a call pass; 0 where all are closed."""
        return max((self._open_until.get(scope, 0.0) for scope in scopes), default=0.0)

    def is_open(self, scope: Scope, now: float) -> bool:
        return now < self.open_until(scope)

    def failed(
        self,
        scope: Scope,
        now: float,
        at_least: float = 0.0,
        at_most: float = math.inf,
        tolerated: int = 0,
    ) -> float:
        """Count a failure, and open the circuit unless so many in a row are tolerated.

        Returns when the next call may be tried.
        """
        failures = self._failures[scope] = self._failures.get(scope, 0) + 1
        if failures <= tolerated:
            return now
        pause = min(max(self.pause(failures - tolerated), at_least), at_most)
        self._open_until[scope] = now + pause
        return now + pause

    def close(self, *scopes: Scope) -> None:
        """Calls of these scopes work."""
        for scope in scopes:
            self._failures.pop(scope, None)
            self._open_until.pop(scope, None)

    def close_all(self) -> None:
        """The cause of all failures is gone, or the times no longer mean anything."""
        self._failures.clear()
        self._open_until.clear()

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures: doubling up to the setting's limit, with jitter.

        Without the jitter, what failed together would come back together.
        """
        settings = self._settings
        pause = settings.retry_seconds * 2.0 ** min(max(failures - 1, 0), 20)
        return min(pause, settings.retry_limit_seconds) * random.uniform(0.8, 1.2)  # noqa: S311
