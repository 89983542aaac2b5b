"""The worker: takes what waits in the store to Bitrix24, the chats in turn, each in its order.

One process at a time works, so that a chat's order is kept and the portal's limit is shared. Each
visitor's message ends delivered or failed; where an answer was lost, the worker looks for our id
in the dialog before it sends the message again.
"""

import logging
import math
import os
import threading
import time

from bitrix import Bitrix
from delivery.confirmations import Confirmations
from delivery.context import Context
from delivery.doubt import Doubt
from delivery.holder import this_process
from delivery.messages import Messages
from delivery.question import ask
from delivery.reaction import RESTORED
from delivery.signals import Signals
from delivery.upkeep import OVERDUE_SECONDS, SetUp, Upkeep
from logs import Lasting, facts
from rest.errors import DIED
from rest.lease import only_while
from settings import Settings
from storage import Store, is_of_server
from store.database import Connection, Lock, StoreUnavailable
from store.fence import Fence, Superseded
from turns import Turns

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25  # how often a worker looks whether something that waits may go now
# The same where nothing waits: it is woken when any process queues something, so this is for what
# has to be done now and then, and for a hint that was lost.
IDLE_SECONDS = 1.0
# Between two times that it is woken: under a load of messages one look is for several of them.
GATHER_SECONDS = 0.01
RESTORED_SECONDS = 60.0  # with no worker up for so long, the store may be a backup of that age
LOCK_SECONDS = 1.0  # how often a process that does not hold the worker's lock tries to take it
# Whoever cannot reach the portal leaves the lock for so long to processes of other hosts.
AWAY_SECONDS = LOCK_SECONDS + 2.0
OUTAGE_SECONDS = 600.0  # within so long of the last time it goes and comes back without a word
SENDER = "sender"  # the lock of the one process that delivers
LOST = "this process delivers no more: it has lost the lock, and another one may have it"
CUT_OFF = "no connection to the portal comes about here: another host may deliver, if there is one"
REPLACED = (
    "the store was replaced while the service ran, by one in which nothing is installed: the"
    " conversations and tokens are not in it. Stop the service, put the store back or restore a"
    " backup (sitechat restore FILE --replace), and start it again"
)


class Worker:
    def __init__(self, settings: Settings, store: Store, bitrix: Bitrix, set_up: SetUp) -> None:
        self._store = store
        self._fence = Fence(store.database, SENDER)
        self._lock: Lock | None = None
        self._hosts_share = is_of_server(settings.storage.url)
        self._leaves = False  # the lock, to another host
        self._left_at = -math.inf  # on the monotonic clock
        self._was_replaced = False  # the store, and that is not noted yet
        self._context = context = Context.of(settings, store, bitrix)
        self._signals = Signals(store)
        self._upkeep = Upkeep(context, set_up)
        self._confirmations = Confirmations(context)
        self._messages = Messages(context)
        self._doubt = Doubt(context)
        self._doubt_had_a_turn = False
        self._confirmed = False  # in the last step
        self._trouble = Lasting(log)
        self._wake = threading.Event()
        self._woken_at = 0.0  # on the monotonic clock
        self._works = False  # it holds the lock
        self._newest = 0  # the latest delivery for which it was woken

    # -- the loop

    def run(self, stop: threading.Event) -> None:
        """Deliver whatever waits until `stop`, whenever no other process does."""
        while not stop.is_set():
            try:
                with self._fence.holds():
                    self._context.recorder.record_late()
                with self._store.database.try_lock(SENDER) as held:
                    if held is not None:
                        self._works = True
                        self._work(held, stop)
                    else:
                        self._signals.saw_worker(self._store.now())
            except Superseded:
                log.debug("another process has taken over")
            except StoreUnavailable as error:
                self._trouble.met(error)
            except Exception:
                log.exception("the worker failed and goes on")
            finally:
                self._works = False
            if self._leaves:
                self._leaves = False
                stop.wait(AWAY_SECONDS)
            else:
                self._rest(LOCK_SECONDS)

    def _work(self, lock: Lock, stop: threading.Event) -> None:
        """Step after step, as long as we hold the lock. Not every step waits for a call.

        Whoever has lost it, and does not know it yet, calls nobody and writes nothing.
        """
        self._lock = lock
        try:
            with only_while(lock.is_held_now), self._fence.holds():
                self.begin(self._store.now())
                self._trouble.over()
                level = logging.DEBUG if self._left_lately() else logging.INFO
                log.log(level, "this process delivers from now on", extra=facts(pid=os.getpid()))
                turns = Turns()
                while (
                    not stop.is_set() and lock.is_held() and not self._goes_away(self._store.now())
                ):
                    self._wake.clear()  # the step reads all that is there now
                    if not self.step(self._store.now()):
                        self._rest(self._pause(self._store.now()))
                    turns.give_way()
        finally:
            self._lock = None
            if not stop.is_set() and not lock.is_held_now():
                log.warning(LOST, extra=facts(pid=os.getpid()))

    def _goes_away(self, now: float) -> bool:
        """Whether to leave the work to another host, which may reach the portal."""
        if not self._hosts_share or not self._context.health.is_cut_off(now):
            return False
        if not self._left_lately():
            log.warning(CUT_OFF, extra=facts(pid=os.getpid()))
        self._leaves, self._left_at = True, time.monotonic()
        return True

    def _left_lately(self) -> bool:
        return time.monotonic() - self._left_at < OUTAGE_SECONDS

    def begin(self, now: float, replaced: bool = False) -> None:
        """Take over from the worker before us: it may have died in a call, and events been lost.

        `replaced`: the store was replaced by another while we worked.
        """
        replaced = self._was_replaced = self._take_over(now, replaced)
        up_at = min(now, self._store.notes.up_at.get() or now)
        is_backup = not self._store.epochs.current()
        # A store that was only locked for so long is the one that we know.
        was_away = now - up_at > RESTORED_SECONDS and not self._signals.knows(up_at, now)
        if replaced or is_backup or was_away:
            self._store.epochs.begin(up_at, RESTORED)
            self._store.notes.lost_since.set(up_at)
            log.info("the store may have been restored: queued messages are looked for first")
        if replaced and self._store.portal.find() is None:
            self._store.notes.replaced_at.set(now)
            log.error(REPLACED)
        self._signals.begin(up_at)
        self._upkeep.begin(up_at, now)
        self._doubt_had_a_turn = True  # new messages need not wait for what is in doubt elsewhere
        self._context.health.begin()
        self._context.lines.begin()
        self._store.queue.make_due(now)
        self._was_replaced = False

    def _take_over(self, now: float, replaced: bool) -> bool:
        """Take the work from the worker before us; whether this is another store than ours was.

        From now on that worker writes nothing, and what it was sending is in doubt. A lower number
        than we know of is that of an earlier time.
        """
        ours, known = self._fence.number, self._fence.known

        us, before = this_process(now), self._store.notes.sender.get()

        def also(db: Connection) -> None:
            self._store.queue.doubt_interrupted(db, DIED, now)
            if before is not None and before.clock != us.clock:
                self._store.queue.doubt_times(db, now)
            self._store.notes.sender.put(db, us)

        former = self._fence.take_over(self._lock, also, latest=ours if replaced else None)
        return replaced or former < known or self._was_replaced

    def wake(self) -> None:
        """Make an idle worker of this process read the queue at once."""
        self._wake.set()

    def hear_of_writes(self) -> None:
        """Some process has written: wake the worker if this has queued anything new.

        Where another process works, see how far it is. Raises StoreUnavailable.
        """
        if not self._works:
            self._fence.look()
        elif not self._wake.is_set():  # else it reads all that is there anyway
            newest = self._store.queue.newest()
            if newest > self._newest:
                self._wake.set()
            self._newest = newest

    def _pause(self, now: float) -> float:
        """How long to rest when nothing can be done now."""
        may_change = self._store.queue.waiting(1) or not self._context.health.may_call(now)
        return POLL_SECONDS if may_change else IDLE_SECONDS

    def _rest(self, seconds: float) -> None:
        if self._wake.wait(seconds):
            time.sleep(max(0.0, self._woken_at + GATHER_SECONDS - time.monotonic()))
            self._woken_at = time.monotonic()
        self._wake.clear()

    # -- one step

    def step(self, now: float) -> bool:
        """Do one piece of work, usually one call; False when there is nothing to do now."""
        stopped_since, set_back = self._context.clock.begin_step(now)
        try:
            if stopped_since is not None:
                self._upkeep.events_lost(stopped_since)
            if set_back:
                self._forget_times(now)
            self._hear(now)
            if self._context.health.asks_first(now):
                ask(self._context)
                return True
            if not self._context.health.may_call(now):
                return False
            if not self._store.queue.waiting(1) and not self._context.health.reports("lookup"):
                return self._upkeep.step(now, late=0.0)  # one look in place of eight, each second
            self._context.lines.begin_step()
            return (
                self._upkeep.step(now, late=OVERDUE_SECONDS)
                or self._others(now)
                or self._upkeep.step(now, late=0.0)
            )
        finally:
            self._context.clock.end_step()

    def _others(self, now: float) -> bool:
        """Answers that are being put back are confirmed together, once all of a page are there."""
        if self._upkeep.is_comparing:
            return self._send_or_resolve(now)
        return self._confirm_or_send(now)

    def _confirm_or_send(self, now: float) -> bool:
        """Confirmations go first, and then what else waits.

        Where operators write all the time, each call that the portal's limit leaves us would else
        be a confirmation.
        """
        others_first, self._confirmed = self._confirmed, False
        if others_first and self._send_or_resolve(now):
            return True
        self._confirmed = self._confirmations.step(now)
        return self._confirmed or (not others_first and self._send_or_resolve(now))

    def _send_or_resolve(self, now: float) -> bool:
        """Messages in doubt and messages to send take turns: both queues may be long."""
        in_doubt = self._doubt.due(now)
        ready, put_off = self._messages.due(now)
        resolves = bool(in_doubt) and not (ready and self._doubt_had_a_turn)
        self._doubt_had_a_turn = resolves
        if resolves:
            self._doubt.resolve(in_doubt)
        elif ready:
            self._messages.send(ready)
        return resolves or bool(ready) or put_off

    def _hear(self, now: float) -> None:
        heard = self._signals.hear(now)
        if heard.replaced:
            self.begin(now, replaced=True)
        if heard.mended:
            self._upkeep.check_soon()
            if self._context.health.mended():
                self._upkeep.recover_soon()
        if heard.retry and self._context.health.mended():
            self._upkeep.check_soon()
        if heard.connected:
            self._context.lines.connected()
        if heard.events_lost_since is not None:
            self._upkeep.events_lost(min(heard.events_lost_since, now))
        is_back, events_lost_since = self._context.health.comes_back()
        if is_back:
            self._upkeep.recover_soon()
        if events_lost_since is not None:
            self._upkeep.events_lost(events_lost_since)

    def _forget_times(self, now: float) -> None:
        """The clock was set back: nothing may wait for a time that it showed by mistake."""
        log.warning("the clock was set back")
        self._context.health.circuits.close_all()
        self._context.health.outage.ask_at_once()
        self._upkeep.set_back(now)
        self._signals.set_back(now)
        self._store.queue.make_due(now)
