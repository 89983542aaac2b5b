"""Looks after the portal: recovers answers whose events were lost, compares its set-up with ours.

One call at a time, in turn with other work. A failure here stops neither sending nor confirming:
they learn of the portal's troubles from their own calls. The administrator is told of a renamed
portal and of its certificate at once.
"""

import logging
from typing import Protocol

from delivery.circuits import PORTAL
from delivery.context import Context
from delivery.recovery import Recovery, RecoveryResult
from logs import facts
from rest.errors import BitrixError, OutcomeUnknown, Refused, SetupFault, TryLater

log = logging.getLogger(__name__)

OVERDUE_SECONDS = 10.0  # due for so long, upkeep goes before messages
CHECK_SECONDS = 3600.0  # between two comparisons of the portal's set-up with ours
CHECK_CALLS = 3  # of one comparison, and one call for each line
FINISH_SECONDS = 60.0  # within which the page of an install tells the portal that it is finished
HANDED_OVER_SECONDS = 20.0  # from one worker to the next; longer, and events were lost meanwhile
TRY_AGAIN_SECONDS = 5.0  # after a call that the portal did not answer
DAY_SECONDS = 86_400.0
RECENT_SECONDS = DAY_SECONDS  # every recovery reads the dialogs of chats that were active so lately
FULL_EVERY_SECONDS = 3600.0  # between two recoveries of all that `active_hours` allows
FULL_PAUSE_SECONDS = 30.0  # at least, between two recoveries that read all dialogs
UNREAD_RETRIES = 5  # recoveries in a row that retry unread dialogs; the next full one reads all


class SetUp(Protocol):
    """The part that can compare the portal's set-up with ours."""

    def check(self) -> bool:
        """Mend what is not as it should be; False if it has to be looked at again soon."""
        ...


class Upkeep:
    def __init__(self, context: Context, set_up: SetUp) -> None:
        self._context = context
        self._set_up = set_up
        self._check_at = 0.0
        self._recover_at = 0.0
        self._recovery: Recovery | None = None  # the one under way
        self._lost_since: float | None = None  # events may be lost since then, of any chat
        self._lost_again = False  # events were lost again since the recovery under way began
        self._next_full_at = 0.0  # no full recovery begins before
        self._full_due_at = 0.0  # a full recovery begins at the latest then
        self._unread: list[int] = []  # what the last recoveries could not read
        self._unread_retries = 0  # recoveries in a row that could not read all
        self._had_a_turn = False

    # -- what other parts of the engine report

    def begin(self, since: float, now: float) -> None:
        """Take over from the worker before us, which was last up at `since`."""
        self._recovery = None
        excused = self._context.store.notes.events_excused_until
        if excused.get() is None or not 0 <= now - since < HANDED_OVER_SECONDS:
            excused.set(now)
        self._read_all(since)

    def events_lost(self, since: float) -> None:
        """Read soon what was said since then: we know why events of that time may be lost."""
        self._context.store.notes.events_excused_until.set(self._context.clock.now())
        self._read_all(since)

    def _read_all(self, since: float) -> None:
        """Read soon all conversations that were active within `active_hours` before `since`."""
        self._lost_since = since if self._lost_since is None else min(since, self._lost_since)
        self._lost_again = True
        if self._recovery is None:
            self._recover_at = min(self._recover_at, self._next_full_at)

    def recover_soon(self) -> None:
        """Read at once: the portal has come back, or its set-up was mended."""
        self._recover_at = 0.0

    def check_soon(self) -> None:
        """Compare at once: an administrator has installed us anew, or connected a line."""
        self._check_at = 0.0

    def set_back(self, now: float) -> None:
        """The clock was set back to `now`."""
        self._context.store.notes.events_excused_until.set(now)
        self._check_at = self._recover_at = now

    @property
    def is_comparing(self) -> bool:
        """Whether answers of dialogs that were read are still to be put back, without a call."""
        return self._recovery is not None and self._recovery.is_comparing

    # -- a step

    def step(self, now: float, late: float) -> bool:
        """Do work that has been due for at least `late` seconds; False when there is none.

        With `late` above 0, every second step is left to other work.
        """
        if late and self._had_a_turn:
            self._had_a_turn = False
            return False
        if now >= self._full_due_at:
            self._full_due_at = now + FULL_EVERY_SECONDS
            self._read_all(now)
        if not self._is_due(now, late):
            return False
        self._had_a_turn = True
        try:
            if now >= self._recover_at:
                self._recover(now)
            else:
                self._check(now)
        except BitrixError as error:
            code = facts(method=error.method, code=error.code)
            log.warning("looking after the portal did not go as it should", extra=code)
            self._put_off(error, now)
        return True

    def _is_due(self, now: float, late: float) -> bool:
        if now < min(self._check_at, self._recover_at) + late:
            return False
        portal = self._context.store.portal.find()
        if portal is None:
            return False
        if portal.installed_at <= now:
            # BX24.installFinish() comes after our page: a check before that would report a fault.
            self._check_at = max(self._check_at, portal.installed_at + FINISH_SECONDS)
        return now >= min(self._check_at, self._recover_at) + late

    def _put_off(self, error: BitrixError, now: float) -> None:
        self._context.health.note_limit(error)
        if error.is_of_the_way:  # nobody need write before the administrator is told
            self._context.health.report(PORTAL, error)
        if error.seconds:
            self._recover_at = max(self._recover_at, now + error.seconds)
            self._check_at = max(self._check_at, now + error.seconds)
        elif isinstance(error, Refused | SetupFault):
            pause = self._context.settings.recovery.seconds
            self._recover_at = max(self._recover_at, now + pause)

    def _check(self, now: float) -> None:
        self._check_at = now + CHECK_SECONDS
        for _ in range(CHECK_CALLS + len(self._context.store.portal.active_lines())):
            self._context.health.count_call()
        try:
            finished = self._set_up.check()
        except (TryLater, OutcomeUnknown) as error:
            if not error.seconds:
                self._check_at = self._context.clock.now() + TRY_AGAIN_SECONDS
            raise
        self._context.health.way_is_free()
        if not finished:
            self._check_at = now + FINISH_SECONDS

    # -- recovery

    def _recover(self, now: float) -> None:
        recovery = self._recovery = self._recovery or self._begin_recovery(now)
        due = self._recover_at
        self._recover_at = now + TRY_AGAIN_SECONDS  # the next try, if the step raises
        result = recovery.step(now)
        self._recover_at = due
        if result is not None:
            self._finish(result, now)

    def _begin_recovery(self, now: float) -> Recovery:
        context, lost, self._lost_again = self._context, self._lost_since, False
        active_seconds = context.settings.recovery.active_hours * 3600
        since = now - RECENT_SECONDS if lost is None else lost - active_seconds
        keep_days = context.settings.chat.keep_days
        oldest = now - keep_days * DAY_SECONDS if keep_days else 0.0
        oldest = max(oldest, context.store.notes.purged_until.get() or 0.0)
        return Recovery(
            context.store, context.bitrix, since, context.health.count_call, self._unread, oldest
        )

    def _finish(self, result: RecoveryResult, now: float) -> None:
        was_full, self._recovery = self._lost_since is not None, None
        self._recover_at = self._context.clock.now() + self._context.settings.recovery.seconds
        self._unread_retries = self._unread_retries + 1 if result.unread else 0
        self._unread = list(result.unread) if self._unread_retries <= UNREAD_RETRIES else []
        if not was_full:
            return
        self._next_full_at = now + FULL_PAUSE_SECONDS
        self._full_due_at = now + FULL_EVERY_SECONDS
        if self._lost_again:
            self._recover_at = min(self._recover_at, self._next_full_at)
        else:
            self._lost_since = None
