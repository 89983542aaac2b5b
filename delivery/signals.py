"""What other processes have noted for the worker; and the note that the worker is up.

A signal is a moment in the store. One that was noted while no worker ran is heard by the next.
"""

from dataclasses import dataclass

from storage import Store
from store.notes import Note, get_all

HEAR_SECONDS = 1.0  # how often the notes are read
LATELY_SECONDS = 30.0  # the longest that two looks at a worker, or two of its notes, are apart
UP_SECONDS = 10.0  # how often we note that we are up: after a restart, events may be lost since


@dataclass(frozen=True)
class Heard:
    mended: bool = False  # an administrator has mended the set-up, or installed anew
    retry: bool = False  # a look at the portal has found nothing that is in our way
    connected: bool = False  # an operator has connected a line
    events_lost_since: float | None = None  # an event was turned away that may have been real
    replaced: bool = False  # the store is not the one in which we noted that we are up


class Signals:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._hear_at = 0.0
        self._up_at = 0.0
        self._noted_up: float | None = None
        self._known_up: float | None = None  # the last note of any worker, seen when it was new
        self._seen_up: float | None = None  # and when we last looked, new or not
        self._see_at = 0.0
        self._last_heard: dict[Note[float], float | None] = {}
        self._heard_until = 0.0

    def begin(self, up_at: float) -> None:
        """The worker before us was last up at `up_at`, and has heard what was noted until then."""
        self._heard_until = up_at
        self._noted_up = None
        self._hear_at = self._up_at = 0.0  # a store that is replaced now is known by our note

    def hear(self, now: float) -> Heard:
        """What is new since the last call; nothing where that was less than a second ago."""
        if now < self._hear_at:
            return Heard()
        self._hear_at = now + HEAR_SECONDS
        notes = self._store.notes
        up_at, mended, retry, connected, events_lost = get_all(
            notes.up_at, notes.mended_at, notes.retry_at, notes.connected_at, notes.events_lost_at
        )
        if self._noted_up is not None and up_at != self._noted_up:
            return Heard(replaced=True)
        if now >= self._up_at:
            self._up_at = now + UP_SECONDS
            notes.up_at.set(now)
            self._noted_up = self._known_up = now
        return Heard(
            mended=self._news(notes.mended_at, mended) is not None,
            retry=self._news(notes.retry_at, retry) is not None,
            connected=self._news(notes.connected_at, connected) is not None,
            events_lost_since=self._news(notes.events_lost_at, events_lost),
        )

    def saw_worker(self, now: float) -> None:
        """Another process works: remember its note, to know the store by it.

        The note's time may be by another host's clock. So a note counts as new, too, if it is later
        than the one that we saw before.
        """
        if 0 <= now - self._see_at < UP_SECONDS:
            return
        up_at, before = self._store.notes.up_at.get(), self._seen_up
        self._see_at, self._seen_up = now, up_at
        if up_at is None:
            return
        if abs(now - up_at) < 2 * UP_SECONDS or (before is not None and up_at > before):
            self._known_up = up_at

    def knows(self, up_at: float, now: float) -> bool:
        """Whether `up_at` is a note that we saw when it was new, or the next one after it.

        If not, the store is a copy of an earlier time, or no worker was up since then. The worker
        may have noted again after we looked last; a copy has no later note than the one we know.
        """
        if self._known_up is None:
            return False
        looked_lately = 0 <= now - self._see_at < LATELY_SECONDS
        return up_at == self._known_up or (
            looked_lately and 0 < up_at - self._known_up < LATELY_SECONDS
        )

    def set_back(self, now: float) -> None:
        """The clock was set back to `now`."""
        self._hear_at = self._up_at = now
        self._heard_until = min(self._heard_until, now)

    def _news(self, note: Note[float], noted: float | None) -> float | None:
        if noted == self._last_heard.get(note) or (noted or 0.0) < self._heard_until:
            return None
        self._last_heard[note] = noted
        return noted
