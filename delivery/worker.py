"""The worker: takes what waits in the store to Bitrix24, oldest first.

One process at a time works, so that a chat's order is kept and the portal's limit is shared. Each
visitor's message ends delivered or failed; where an answer was lost, the worker looks for our id
in the dialog before it repeats.
"""

import logging
import threading
import time

from bitrix import Bitrix
from delivery.confirmations import Confirmations
from delivery.doubt import Doubt
from delivery.messages import Messages
from delivery.parts import Parts
from delivery.signals import Signals
from delivery.upkeep import OVERDUE_SECONDS, SetUp, Upkeep
from rest.errors import DIED
from settings import Settings
from storage import Store
from store.database import Lock, StoreUnavailable

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25  # how often an idle worker looks for what other processes have queued
LOCK_SECONDS = 1.0  # how often one that is not the worker tries to become it


class Worker:
    def __init__(self, settings: Settings, store: Store, bitrix: Bitrix, set_up: SetUp) -> None:
        self._store = store
        self._parts = parts = Parts.of(settings, store, bitrix)
        self._signals = Signals(store)
        self._upkeep = Upkeep(parts, set_up)
        self._confirmations = Confirmations(parts)
        self._messages = Messages(parts)
        self._doubt = Doubt(parts)
        self._doubt_had_a_turn = False
        self._wake = threading.Event()

    # -- the loop

    def run(self, stop: threading.Event) -> None:
        """Deliver whatever waits until `stop`, whenever no other process does."""
        while not stop.is_set():
            try:
                self._parts.recorder.record_late()
                with self._store.database.try_lock("sender") as held:
                    if held is not None:
                        self._work(held, stop)
            except StoreUnavailable as error:
                log.error("the store cannot be used: %s", error)
            except Exception:
                log.exception("the worker failed and goes on")
            self._rest(LOCK_SECONDS)

    def _work(self, lock: Lock, stop: threading.Event) -> None:
        """Step after step, as long as nobody else can believe to be the worker."""
        self.begin(time.time())
        while not stop.is_set() and lock.is_held():
            if not self.step(time.time()):
                self._rest(LOOK_SECONDS)

    def begin(self, now: float) -> None:
        """Take over from whoever worked before us: they may have died, and events with them."""
        up_at = min(now, self._store.notes.up_at.get() or now)
        self._signals.begin(up_at)
        self._upkeep.begin(up_at)
        self._parts.health.begin()
        self._parts.lines.begin()
        self._store.queue.doubt_interrupted(DIED)
        self._store.queue.make_due(now)

    def wake(self) -> None:
        """Say that something was queued."""
        self._wake.set()

    def _rest(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()

    # -- one step

    def step(self, now: float) -> bool:
        """Make one call for what is due; False when there is nothing to do now."""
        stopped_since, set_back = self._parts.clock.begin_step(now)
        try:
            if stopped_since is not None:
                self._upkeep.events_lost(stopped_since)
            if set_back:
                self._forget_times(now)
            self._hear(now)
            if not self._parts.health.may_call(now):
                return False
            return (
                self._upkeep.step(now, late=OVERDUE_SECONDS)
                or self._confirmations.step(now)
                or self._send_or_settle(now)
                or self._upkeep.step(now, late=0.0)
            )
        finally:
            self._parts.clock.end_step()

    def _send_or_settle(self, now: float) -> bool:
        """Messages in doubt and messages to send take turns: both may have much to do."""
        in_doubt = self._doubt.due(now)
        ready, put_off = self._messages.due(now)
        settles = bool(in_doubt) and not (ready and self._doubt_had_a_turn)
        self._doubt_had_a_turn = settles
        if settles:
            self._doubt.settle(in_doubt)
        elif ready:
            self._messages.send(ready)
        return settles or bool(ready) or put_off

    def _hear(self, now: float) -> None:
        heard = self._signals.hear(now)
        if heard.mended and self._parts.health.mended():
            self._upkeep.look_soon()
        if heard.connected:
            self._parts.lines.connected()
        if heard.events_lost_since is not None:
            self._upkeep.events_lost(min(heard.events_lost_since, now))
        is_back, events_lost_since = self._parts.health.comes_back()
        if is_back:
            self._upkeep.look_soon()
        if events_lost_since is not None:
            self._upkeep.events_lost(events_lost_since)

    def _forget_times(self, now: float) -> None:
        """The clock was set back: nothing may wait for a time that it showed by mistake."""
        log.warning("the clock was set back")
        self._parts.health.circuits.close_all()
        self._upkeep.set_back(now)
        self._signals.set_back(now)
        self._store.queue.make_due(now)
