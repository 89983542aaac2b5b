"""The time by a server's clock: the one that all hosts have in common.

A host's own clock may be an hour or a day wrong. What it then wrote into the store would make other
hosts look for a message in the wrong time, wait for it, or count limits apart. So each session that
is opened says how late it is at the server, and from then on time goes on by the monotonic clock:
nobody asks for it again during a request, and a host's clock may be set meanwhile.
"""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from store.postgresql_link import Session

LOOK_SECONDS = 60.0  # between two looks: a server's clock is set, too
# A look that took longer says nothing: the worker takes a jump of a second for a changed clock.
QUICK_SECONDS = 1.0
TIME = "select extract(epoch from clock_timestamp())::float8 as now"


class ServerClock:
    def __init__(self) -> None:
        self._offset: float | None = None  # of the server's clock from our monotonic one
        self._look_at = 0.0  # on the monotonic clock

    def now(self) -> float:
        """Unix seconds; by the host's own clock as long as no session was ever opened."""
        return time.time() if self._offset is None else time.monotonic() + self._offset

    def is_due(self) -> bool:
        """Whether the last look is so old that somebody should look again."""
        return time.monotonic() >= self._look_at

    def look(self, session: "Session") -> None:
        """Compare with the server's clock. What is as exact as this look stays as it was."""
        began = time.monotonic()
        self._look_at = began + LOOK_SECONDS
        row = session.execute(TIME).fetchone()
        ended = time.monotonic()
        if row is None:
            return
        offset, inexact = float(row["now"]) - (began + ended) / 2, (ended - began) / 2
        is_better = ended - began <= QUICK_SECONDS and abs(offset - (self._offset or 0.0)) > inexact
        if self._offset is None or is_better:
            self._offset = offset
