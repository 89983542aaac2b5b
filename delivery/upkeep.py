"""Looks after the portal: recovers answers whose events were lost, compares its set-up with ours.

One call at a time, in turn with other work. A failure holds up nothing else: what sends and
confirms finds out for itself.
"""

import logging
from typing import Protocol

from delivery.parts import Parts
from delivery.recovery import Look, Recovered
from rest.errors import BitrixError, OutcomeUnknown, Refused, SetupFault, TryLater
from store.records import Dialog

log = logging.getLogger(__name__)

OVERDUE_SECONDS = 10.0  # so long a look may wait for messages
CHECK_SECONDS = 3600.0  # between two comparisons of the portal's set-up with ours
CHECK_CALLS = 2  # of one comparison, and one call for each line
FINISH_SECONDS = 60.0  # within which the page of an install tells the portal that it is finished
LOOK_AGAIN_SECONDS = 5.0  # after a look that the portal did not answer
RECENT_SECONDS = 86_400.0  # every look reads the dialogs of chats that were active so lately
WHOLE_LOOKS_SECONDS = 3600.0  # so often all dialogs are read, in case a loss was not noticed
WHOLE_LOOK_SECONDS = 30.0  # between two looks into all dialogs, however many events are lost
ROUNDS = 5  # looks in a row into dialogs that cannot be read; then they wait for the next whole one


class SetUp(Protocol):
    """Whoever can compare the portal's set-up with ours."""

    def check(self) -> bool:
        """Mend what is not as it should be; False while the installation is not finished."""
        ...


class Upkeep:
    def __init__(self, parts: Parts, set_up: SetUp) -> None:
        self._parts = parts
        self._set_up = set_up
        self._check_at = 0.0
        self._recover_at = 0.0
        self._look: Look | None = None  # under way
        self._lost_since: float | None = None  # events may be lost since then, of any chat
        self._lost_again = False  # also since the look under way began
        self._whole_look_at = 0.0  # no look into all dialogs before
        self._whole_due_at = 0.0  # and one at the latest then
        self._unread: list[Dialog] = []  # what the last looks could not read
        self._rounds = 0  # looks in a row that could not read all
        self._had_a_turn = False

    # -- what others tell

    def begin(self, since: float) -> None:
        """Take over from whoever sent before us and was last up then."""
        self._look = None
        self.events_lost(since)

    def events_lost(self, since: float) -> None:
        """Look soon into all conversations that were alive then, not only into recent ones."""
        self._lost_since = since if self._lost_since is None else min(since, self._lost_since)
        self._lost_again = True
        if self._look is None:
            self._recover_at = min(self._recover_at, self._whole_look_at)

    def look_soon(self) -> None:
        """The portal has come back, or its set-up was mended."""
        self._recover_at = 0.0

    def set_back(self, now: float) -> None:
        """The clock was set back to `now`."""
        self._check_at = self._recover_at = now

    # -- a step

    def step(self, now: float, late: float) -> bool:
        """Make one call that has been due for at least `late` seconds; False when there is none.

        With `late` above 0 every second step is left to other work.
        """
        if late and self._had_a_turn:
            self._had_a_turn = False
            return False
        if now >= self._whole_due_at:
            self._whole_due_at = now + WHOLE_LOOKS_SECONDS
            self.events_lost(now)
        if not self._is_due(now, late):
            return False
        self._had_a_turn = True
        try:
            if now >= self._recover_at:
                self._recover(now)
            else:
                self._check(now)
        except BitrixError as error:
            log.warning("looking after the portal: %s: %s", error.method, error.code)
            self._put_off(error, now)
        return True

    def _is_due(self, now: float, late: float) -> bool:
        if now < min(self._check_at, self._recover_at) + late:
            return False
        portal = self._parts.store.portal.find()
        if portal is None:
            return False
        if portal.installed_at <= now:
            # BX24.installFinish() comes after our page: a check before that would report a fault.
            self._check_at = max(self._check_at, portal.installed_at + FINISH_SECONDS)
        return now >= min(self._check_at, self._recover_at) + late

    def _put_off(self, error: BitrixError, now: float) -> None:
        self._parts.health.note_limit(error)
        if error.seconds:
            self._recover_at = max(self._recover_at, now + error.seconds)
            self._check_at = max(self._check_at, now + error.seconds)
        elif isinstance(error, Refused | SetupFault):
            pause = self._parts.settings.recovery.seconds
            self._recover_at = max(self._recover_at, now + pause)

    def _check(self, now: float) -> None:
        self._check_at = now + CHECK_SECONDS
        for _ in range(CHECK_CALLS + len(self._parts.store.portal.active_lines())):
            self._parts.health.count_call()
        try:
            finished = self._set_up.check()
        except (TryLater, OutcomeUnknown) as error:
            if not error.seconds:
                self._check_at = self._parts.clock.now() + LOOK_AGAIN_SECONDS
            raise
        if not finished:
            self._check_at = now + FINISH_SECONDS

    # -- looks

    def _recover(self, now: float) -> None:
        look = self._look = self._look or self._begin_look(now)
        due, self._recover_at = self._recover_at, now + LOOK_AGAIN_SECONDS
        recovered = look.step(now)
        self._recover_at = due
        if recovered is not None:
            self._finish(recovered, now)

    def _begin_look(self, now: float) -> Look:
        parts, lost, self._lost_again = self._parts, self._lost_since, False
        active_seconds = parts.settings.recovery.active_hours * 3600
        since = now - RECENT_SECONDS if lost is None else lost - active_seconds
        return Look(parts.store, parts.bitrix, since, parts.health.count_call, self._unread)

    def _finish(self, recovered: Recovered, now: float) -> None:
        whole, self._look = self._lost_since is not None, None
        self._recover_at = self._parts.clock.now() + self._parts.settings.recovery.seconds
        self._rounds = self._rounds + 1 if recovered.unread else 0
        self._unread = list(recovered.unread) if self._rounds <= ROUNDS else []
        if not whole:
            return
        self._whole_look_at = now + WHOLE_LOOK_SECONDS
        self._whole_due_at = now + WHOLE_LOOKS_SECONDS
        if self._lost_again:
            self._recover_at = min(self._recover_at, self._whole_look_at)
        else:
            self._lost_since = None
