"""The time by a server's clock: the one that all hosts have in common.

A host's own clock may be an hour or a day wrong. What it then wrote into the store would make other
hosts look for a message in the wrong time, wait for it, or count limits apart. So each session that
is opened says how late it is at the server, and from then on time goes on by the monotonic clock:
nobody asks for it again during a request, and a host's clock may be set meanwhile. The monotonic
clock stands while the machine is suspended, and its own clock does not: after that somebody looks
at once.
"""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from store.postgresql_link import Session

LOOK_SECONDS = 60.0  # between two looks: a server's clock is set, too
# A look that took longer is not used: an error of a second would look to the worker like a clock
# that was set.
QUICK_SECONDS = 1.0
JUMP_SECONDS = 1.0  # of the host's two clocks apart: it was suspended, or one of them was set
TIME = "select extract(epoch from clock_timestamp())::float8 as now"


class ServerClock:
    def __init__(self) -> None:
        self._offset: float | None = None  # of the server's clock from our monotonic one
        self._look_at = 0.0  # on the monotonic clock
        self._apart = 0.0  # the host's two clocks, at the last look

    def now(self) -> float:
        """Unix seconds; by the host's own clock as long as no session was ever opened."""
        return time.time() if self._offset is None else time.monotonic() + self._offset

    def is_due(self) -> bool:
        """Whether somebody should look again: the last look is old, or the host was suspended."""
        now = time.monotonic()
        return now >= self._look_at or abs(time.time() - now - self._apart) > JUMP_SECONDS

    def look(self, session: "Session") -> None:
        """Compare with the server's clock.

        The offset stays if it differs by less than this look's own uncertainty.
        """
        began = time.monotonic()
        self._look_at, self._apart = began + LOOK_SECONDS, time.time() - began
        row = session.execute(TIME).fetchone()
        ended = time.monotonic()
        if row is None:
            return
        offset, inexact = float(row["now"]) - (began + ended) / 2, (ended - began) / 2
        is_better = ended - began <= QUICK_SECONDS and abs(offset - (self._offset or 0.0)) > inexact
        if self._offset is None or is_better:
            self._offset = offset
