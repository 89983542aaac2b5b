"""Whether the portal may be called now, and which fault the admin is shown while it may not.

Every call is counted in the bucket; every failure opens the circuit that its error reaches; every
success closes the circuits that contain it. Knows nothing of what is sent.
"""

import logging

from delivery.bucket import Bucket
from delivery.circuits import PORTAL, Circuits, Kind, Scope
from delivery.clock import STOPPED_SECONDS, Clock
from delivery.outage import Outage
from rest.errors import (
    NOT_CONNECTED,
    OAUTH,
    BitrixError,
    OutcomeUnknown,
    Reach,
    Refused,
    SetupFault,
    TryLater,
    is_of_the_way,
)
from settings import DeliverySettings
from storage import Store
from store.records import ReportedFault

log = logging.getLogger(__name__)

CUT_OFF_SECONDS = 15.0  # without one connection, before another host may have a try
TOLERATED_LOSSES = 2  # lost answers in a row, before others of the line wait: it may be the message


class Health:
    def __init__(self, settings: DeliverySettings, store: Store, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self.circuits = Circuits(settings)
        self.outage = Outage(self.circuits)
        self._bucket = Bucket()
        self._reported: Scope | None = None  # the scope whose fault the admin's page shows
        # That fault lasts no longer than until a call with our tokens succeeds, whatever it is:
        # no safe connection to the portal's own address, or no renewal of the tokens.
        self._stops_all = False
        self._failing_since: float | None = None
        self._events_lost_since: float | None = None
        self._is_back = False
        self._is_calling = False  # nothing is known of the latest call yet, or it did well
        self._unconnected = 0  # calls in a row for which there was no connection
        self._unconnected_since = 0.0

    def begin(self) -> None:
        """A fault that the worker before us reported ends with our first success."""
        self._unconnected = 0
        if fault := self._store.notes.fault.get():
            self._reported = PORTAL
            self._stops_all = is_of_the_way(fault.code) or fault.method == OAUTH

    def may_call(self, now: float) -> bool:
        if self.outage.holds_back or self.circuits.is_open(PORTAL, now):
            return False
        return self._bucket.wait_seconds(now) <= 0

    def asks_first(self, now: float) -> bool:
        """Whether the next call has to ask whether the portal answers, and may do so now."""
        return self.outage.asks(now) and self._bucket.wait_seconds(now) <= 0

    def count_call(self) -> None:
        """Must be called before each call to the portal."""
        if self._is_calling:
            self._unconnected = 0
        self._is_calling = True
        self._bucket.count_call(self._clock.now())

    def failed(self, error: BitrixError, line_scope: Scope) -> float:
        """Open the circuit that the error reaches, never a narrower one than `line_scope`.

        Returns when what failed is due again. For a fault of the set-up that is now: the open
        circuit still holds it back, and is closed as soon as somebody mends the set-up.
        """
        now = self._clock.now()
        self.note_limit(error)
        scope = reached(error, line_scope)
        if isinstance(error, SetupFault):
            self.report(scope, error)
            self.circuits.failed(scope, now, at_least=self._settings.retry_limit_seconds)
            return now
        if error.is_of_the_way:
            self.report(scope, error)
        if isinstance(error, TryLater | OutcomeUnknown) and self._failing_since is None:
            self._failing_since = now
        tolerated = TOLERATED_LOSSES if isinstance(error, OutcomeUnknown) else 0
        until = self.circuits.failed(scope, now, at_least=error.seconds, tolerated=tolerated)
        self.outage.opened(scope, until, error)
        return until

    def is_cut_off(self, now: float) -> bool:
        """Whether we have had no connection for some time; another host may have one."""
        return self._unconnected > 1 and now - self._unconnected_since >= CUT_OFF_SECONDS

    def note_limit(self, error: BitrixError) -> None:
        """Must be called with each error that a call raised."""
        self._is_calling = False
        self.outage.failed(error)
        if error.code != NOT_CONNECTED:
            self._unconnected = 0
        else:
            if not self._unconnected:
                self._unconnected_since = self._clock.now()
            self._unconnected += 1
        if error.fills_the_bucket:
            self._bucket.overrun(self._clock.now())

    def works(self, kind: Kind, *scopes: Scope) -> None:
        """A call of this kind, and of these scopes, did what it should."""
        self._unconnected = 0
        self.outage.answered()
        self.circuits.close(PORTAL, Scope(kind), *scopes)
        if self._reported in (PORTAL, Scope(kind), *scopes):
            self.fault_is_over()
        since, self._failing_since = self._failing_since, None
        if since is not None:
            self._is_back = True
            if self._clock.now() - since > STOPPED_SECONDS:
                self._events_lost_since = since

    def report(self, scope: Scope, error: BitrixError) -> None:
        """Show the admin what stands still, until a call of this scope works again."""
        self._reported = scope
        self._stops_all = error.is_of_the_way or error.method == OAUTH
        self._store.notes.fault.set(ReportedFault(error.method, error.code, error.address))

    def way_is_free(self) -> None:
        """The portal has answered a call with our tokens that is no delivery."""
        self._unconnected = 0
        self.outage.answered()
        if self._reported == PORTAL and self._stops_all:
            self.fault_is_over()

    def fault_is_over(self) -> None:
        self._reported = None
        self._store.notes.fault.clear()

    def reports(self, kind: Kind) -> bool:
        """Whether the admin is shown that calls of this kind stand still, all or some of them."""
        return self._reported is not None and self._reported.kind == kind

    def mended(self) -> bool:
        """Somebody has mended the set-up: try all at once; returns whether a fault was shown."""
        if self._reported is None:
            return False
        self.circuits.close_all()
        self.outage.ask_at_once()
        return True

    def comes_back(self) -> tuple[bool, float | None]:
        """Whether the portal has come back since the last question; since when events may be lost.

        While we could not reach the portal, the portal may not have reached us either.
        """
        back, since = self._is_back, self._events_lost_since
        self._is_back, self._events_lost_since = False, None
        return back, since


def reached(error: BitrixError, line_scope: Scope) -> Scope:
    """The scope that an error concerns, when the call was made for `line_scope`."""
    if error.reach is Reach.PORTAL:
        return PORTAL
    return Scope(line_scope.kind) if error.reach is Reach.METHOD else line_scope


def names_no_cause(error: BitrixError) -> bool:
    """Whether the call was refused as a whole, so that one of its items may be the reason."""
    return isinstance(error, Refused | SetupFault) and error.reach is Reach.ITEM
