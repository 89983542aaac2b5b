"""The sender: takes what waits in the store to Bitrix24, oldest first.

One process at a time sends, so that a chat's order is kept and the portal's limit shared. Each
visitor's message ends delivered or refused; where an answer was lost we look for our id in the
dialog before we repeat. Knows nothing of web requests.
"""

import logging
import threading
import time
from collections import Counter
from dataclasses import replace
from typing import Literal
from urllib.parse import quote_plus

from bitrix import (
    CONNECTION_LOST,
    Bitrix,
    BitrixError,
    ItemResult,
    OutcomeUnknown,
    Refused,
    SetupFault,
    TryLater,
)
from connector import Connector
from database import StoreUnavailable
from lookup import Found, Lookup, can_be_asked
from pace import EVERYTHING, Pace, Rests
from recovery import Look
from settings import Settings
from storage import RUN_LIMIT, Chat, Delivery, Outcome, Store
from wire import wire_confirmation, wire_message

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25  # how often an idle sender looks for work that other processes queued
NOTICE_SECONDS = 1.0  # how often it looks for what they have noted
CONFIRMATIONS_A_CALL = 50
ALONE_UP_TO = 3  # so many waiting messages are no backlog: each gets a call of its own
MESSAGES_A_CALL = 25  # of 2 s each they still fit, should the portal slow down at once
CALL_BYTES = 500_000  # of a call's texts; proxies take 1 MiB at least
ITEM_BYTES = 2_000  # of a message's other fields
TURNS_KEPT = 10_000
LONG_BACKLOG = 30  # messages
TRUSTED_CALLS = 3  # with messages, of which none was passed over
TRUST_SECONDS = 10.0  # since one was
CALL_SECONDS = 25.0  # what a call may take by our reckoning; the portal ends it after 60
SUSPECT_TRIES = 2  # in calls with others
TRIES = 8  # of what the portal refuses as a whole while it takes others of its kind
TOLERATED = 5  # such refusals in a row, before the line rests
REFUSAL_SECONDS = 5.0  # the longest such rest: what was not yet tried may pass
CHATS_LOOKED_AT = 50
FIRST_ITEMS = 10  # of the first call, until we know how long a message takes
LINE_TRIES = 3  # of a message on a line that does not take it
CHATS_FAILED = 2  # so, and the line is left for others by all
ITEM_SECONDS = 0.25  # a message's share of a call, until measured
CHECK_SECONDS = 3600.0  # between two comparisons of the portal's set-up with ours
CHECK_CALLS = 2  # and one a line
FINISH_SECONDS = 60.0  # within which an install should be finished
LOOK_AGAIN_SECONDS = 5.0  # after a look that the portal did not answer
OVERDUE_SECONDS = 10.0  # so long a look may wait for messages
GAP_SECONDS = 30.0  # a step so late means that we were stopped, and events were lost
UP_SECONDS = 60.0  # how often we note that we are up
RECENT_SECONDS = 86_400.0  # conversations that every look reads; all others
WHOLE_LOOKS_SECONDS = 3600.0  # are read so often, in case an event was lost without our knowing
FAILED_LOOKS = 5  # whole looks that are repeated soon because some dialogs could not be read
WHOLE_LOOK_SECONDS = 30.0  # between two looks into all, however many events are lost
FIRST_SETTLES = 3
LOOKS = 4  # the pause between two is this part of the time since the answer was lost
UNCONFIRMED_REPEATS = 2  # while others pass, of what may have arrived and nobody lets us look

Ended = Literal["delivered", "refused", "postponed", "unknown"]
ENDS = ("delivered", "refused")
Work = Literal["message", "confirmation", "look"]  # each rests for itself
LINE_FAULTS = {"NOT_ACTIVE_LINE", "IMCONNECTOR_NOT_ACTIVE_LINE"}
EVERY_METHOD = {"QUERY_LIMIT_EXCEEDED", "NOT_CONNECTED", "HTTP_429"}  # concern them all
ONE_METHOD = {"ACCESS_DENIED", "INSUFFICIENT_SCOPE", "ERROR_METHOD_NOT_FOUND", "USER_ACCESS_ERROR"}


class Sender:
    def __init__(
        self, settings: Settings, store: Store, bitrix: Bitrix, connector: Connector
    ) -> None:
        self._connector = connector
        self._settings = settings
        self._store = store
        self._bitrix = bitrix
        self._lookup = Lookup(bitrix, settings.connector.id, self._count_call)
        self._pace = Pace()
        self._rests = Rests(settings.delivery)
        self._item_seconds = ITEM_SECONDS
        self._most = FIRST_ITEMS  # doubled by each call that works, halved by one that does not
        self._failing_since: float | None = None  # when calls began to come to nothing
        self._fault: str | None = None  # the work whose fault the admin is told of
        self._alone: set[int] = set()  # deliveries that spoiled a call for others
        self._clean = 0  # calls with messages since one was passed over
        self._doubted_at = 0.0
        self._turn = 0
        self._turns: dict[str, int] = {}  # of chats: when they last had one
        self._passes: Counter[str] = Counter()  # calls that worked, by kind of delivery
        self._refusals: dict[int, tuple[int, int]] = {}  # while others passed; passes at the last
        self._repeats: dict[int, tuple[int, int]] = {}  # the same of what may have arrived
        self._names_sessions = False  # whether this build of the portal does
        # Rounds in which a line took nothing of a chat; of "", for reasons of its own.
        self._line_failures: Counter[tuple[int, str]] = Counter()
        self._check_at = 0.0
        self._recover_at = 0.0
        self._whole_look_at = 0.0  # not again before
        self._whole_due_at = 0.0  # and then at the latest
        self._failed_looks = 0  # whole ones in a row that could not read all dialogs
        self._lost_since: float | None = None  # events may be lost since then, of any chat
        self._lost_again = False  # also since the look under way began
        self._look: Look | None = None  # under way
        self._looked_last = False
        self._settled_last = False
        self._answers = False  # the portal, since the latest look for lost answers began
        self._notices_at = 0.0
        self._heard: dict[str, float | None] = {}  # the latest notes of other processes
        self._up_at = 0.0
        self._stepped_at = 0.0
        self._step_began = time.monotonic()
        self._unrecorded: list[tuple[list[Outcome], float]] = []
        self._wake = threading.Event()

    # -- the loop

    def run(self, stop: threading.Event) -> None:
        """Send whatever waits until `stop`, whenever no other process does."""
        while not stop.is_set():
            try:
                self._record_late()
                with self._store.try_lock("sender") as held:
                    lock = self._store.lock_inode("sender")
                    if held:
                        self.begin(time.time())
                    while held and not stop.is_set() and lock == self._store.lock_inode("sender"):
                        if not self.step(time.time()):
                            self._rest(LOOK_SECONDS)
            except StoreUnavailable as error:
                log.error("the store cannot be used: %s", error)
            except Exception:
                log.exception("the sender failed and goes on")
            self._rest(1.0)

    def _record(self, outcomes: list[Outcome]) -> None:
        """Note outcomes; what the portal has ended, when the store cannot be used now, once it can.

        All else is left as it stands in the store: another sender may have begun with it by then.
        """
        now = self._time()
        try:
            self._store.record(outcomes, now)
        except StoreUnavailable:
            ended = [one for one in outcomes if one.by_link or one.state in ENDS]
            self._unrecorded.append((ended, now))
            raise

    def _record_late(self) -> None:
        while self._unrecorded:
            self._store.record(*self._unrecorded[0])
            self._unrecorded.pop(0)

    def begin(self, now: float) -> None:
        """Take over from whoever sent before us: they may have died, and events with them."""
        self._look = None
        self._events_lost(min(now, self._store.note("up_at") or now))
        self._names_sessions = bool(self._store.note("names_sessions"))
        if self._store.note("fault"):
            self._fault = EVERYTHING
        self._store.make_due(now)

    def wake(self) -> None:
        """Say that something was queued."""
        self._wake.set()

    def _rest(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()

    # -- one step

    def step(self, now: float) -> bool:
        """Make one call for what is due; False when there is nothing to do now."""
        self._notice_clock(now)
        self._stepped_at, self._step_began = now, time.monotonic()
        try:
            self._hear_notices(now)
            if self._rests.last(EVERYTHING, now) or self._pace.wait_seconds(now) > 0:
                return False
            return (
                self._look_after(now, OVERDUE_SECONDS)
                or self._confirm_due(now)
                or self._messages_due(now)
                or self._look_after(now, 0.0)
            )
        finally:
            self._stepped_at, self._step_began = self._time(), time.monotonic()

    def _time(self) -> float:
        """Now, also after a long call of this step; no clock that is set in between counts."""
        return self._stepped_at + time.monotonic() - self._step_began

    def _count_call(self) -> None:
        self._pace.count_call(self._time())

    def _notice_clock(self, now: float) -> None:
        """A step that comes late means that we were stopped, one that comes early that the clock
        was set back: then nothing may wait for the time that it showed."""
        if not self._stepped_at:
            return
        if now - self._stepped_at > GAP_SECONDS:
            self._events_lost(self._stepped_at)
        elif now < self._stepped_at - 1:
            log.warning("the clock was set back by %.0f s", self._stepped_at - now)
            self._rests.clear()
            self._check_at = self._recover_at = self._notices_at = self._up_at = now
            self._store.make_due(now)

    def _hear_notices(self, now: float) -> None:
        """What other processes, and those before us, have noted; and that we are up."""
        if now < self._notices_at:
            return
        self._notices_at = now + NOTICE_SECONDS
        if self._news("mended") and self._fault is not None:
            self._rests.clear()
            self._recover_at = 0.0
        if self._news("connected"):
            self._line_failures.clear()
            self._store.set_note("dead_lines", None)
        if lost_at := self._news("events_lost_at"):
            self._events_lost(min(lost_at, now))
        if now >= self._whole_due_at:
            self._whole_due_at = now + WHOLE_LOOKS_SECONDS
            self._events_lost(now)
        if now >= self._up_at:
            self._up_at = now + UP_SECONDS
            self._store.set_note("up_at", now)

    def _news(self, key: str) -> float | None:
        """A moment that was noted since we last asked."""
        noted: float | None = self._store.note(key)
        if noted == self._heard.get(key):
            return None
        self._heard[key] = noted
        return noted

    def _events_lost(self, since: float) -> None:
        """Look soon into all conversations that were alive then, not only into recent ones."""
        self._lost_since = since if self._lost_since is None else min(since, self._lost_since)
        self._lost_again = True
        if self._look is None:
            self._recover_at = min(self._recover_at, self._whole_look_at)

    # -- looking after the portal

    def _look_after(self, now: float, late: float) -> bool:
        """Recover answers whose events were lost, or check the set-up, when so late for it.

        A call at a time, in turn with other work. A failure holds up nothing else: what sends and
        confirms finds out for itself.
        """
        if late and self._looked_last:
            self._looked_last = False
            return False
        if now < min(self._check_at, self._recover_at) + late:
            return False
        portal = self._store.portal()
        if portal is None:
            return False
        if portal.installed_at <= now:
            # BX24.installFinish() comes after our page: before, every check would find fault.
            self._check_at = max(self._check_at, portal.installed_at + FINISH_SECONDS)
        if now < min(self._check_at, self._recover_at) + late:
            return False
        self._looked_last = True
        try:
            if now >= self._recover_at:
                self._recover(now)
            else:
                self._check(now)
        except BitrixError as error:
            log.warning("looking after the portal: %s: %s", error.method, error.code)
            if error.code == "QUERY_LIMIT_EXCEEDED":
                self._pace.overrun(self._time())
            if isinstance(error, TryLater) and error.seconds:
                self._recover_at = max(self._recover_at, now + error.seconds)
                self._check_at = max(self._check_at, now + error.seconds)
            elif isinstance(error, Refused | SetupFault):
                self._recover_at = max(self._recover_at, now + self._settings.recovery.seconds)
            else:
                self._check_at = min(self._check_at, self._time() + LOOK_AGAIN_SECONDS)
        return True

    def _recover(self, now: float) -> None:
        recovery = self._settings.recovery
        if self._look is None:
            lost, self._lost_again = self._lost_since, False
            alive = now - RECENT_SECONDS if lost is None else lost - recovery.active_hours * 3600
            self._look = Look(self._store, self._bitrix, alive, self._count_call)
        due, self._recover_at = self._recover_at, now + LOOK_AGAIN_SECONDS
        found = self._look.step(now)
        self._recover_at = due
        if found is None:
            return
        self._look = None
        self._recover_at = self._time() + recovery.seconds
        if self._lost_since is None:
            return
        self._whole_look_at = now + WHOLE_LOOK_SECONDS
        self._whole_due_at = now + WHOLE_LOOKS_SECONDS
        self._failed_looks = self._failed_looks + 1 if found.failed else 0
        if self._lost_again:
            self._recover_at = min(self._recover_at, self._whole_look_at)
        elif not 0 < self._failed_looks <= FAILED_LOOKS:  # else the next one is whole again
            self._lost_since = None

    def _check(self, now: float) -> None:
        self._check_at = now + CHECK_SECONDS
        for _ in range(CHECK_CALLS + len(self._store.active_lines())):
            self._count_call()
        if not self._connector.check():
            self._check_at = now + FINISH_SECONDS

    # -- what is due

    def _confirm_due(self, now: float) -> bool:
        """Ahead of messages: the portal marks an answer as undelivered after a minute.

        Confirmations that fail rest for themselves, and messages go on.
        """
        if self._rests.last("confirmation", now):
            return False
        waiting = self._store.due_confirmations(now, CONFIRMATIONS_A_CALL)
        if not waiting:
            return False
        awake = self._awake(waiting, now)
        if awake:
            first = awake[0]
            batch = [one for one in awake if one.line == first.line and not self._suspect(one)]
            self._confirm([first] if self._suspect(first) else batch)
        return True

    def _awake(self, waiting: list[Delivery], now: float) -> list[Delivery]:
        """What does not rest, that first which was not yet refused alone.

        The others are due when their rest ends: they must not take the place of those behind
        them. What follows a message in its chat rests with it.
        """
        fresh, refused, resting = [], [], []
        held: set[str] = set()
        for one in waiting:
            if one.kind == "message" and one.chat.id in held:
                continue
            line = self._line_of(one.chat) if one.kind == "message" else one.line
            until = self._rests.until(_on_line(one.kind, line))
            if one.id in self._refusals:
                until = max(until, self._rests.until(f"refused {one.kind}"))
            if until > now:
                resting.append(Outcome(one, "postponed", one.error, until, tried=False))
            elif one.id in self._refusals:
                refused.append(one)
            else:
                fresh.append(one)
                continue
            held.add(one.chat.id)
        if resting:
            self._record(resting)
        return fresh + refused

    def _messages_due(self, now: float) -> bool:
        # A chat waits for its unsettled message, the others do not: they take turns.
        unsure: list[Delivery] = []
        ready: list[Delivery] = []
        if not self._rests.last("look", now):
            unsure = self._store.unsure_messages(now, CHATS_LOOKED_AT)
        if not self._rests.last("message", now):
            ready = self._store.due_messages(now, MESSAGES_A_CALL, self._run_length(now))
            if ready and not (ready := self._awake(self._in_turn(ready), now)) and not unsure:
                return True
        if unsure and not (ready and self._settled_last):
            self._settled_last = True
            self._settle(unsure)
            return True
        self._settled_last = False
        if not ready:
            return False
        line = self._line_of(ready[0].chat)
        if line is None:  # so there is none for the others either
            until = self._rests.begin("no line", now)
            self._record(
                [Outcome(one, "postponed", "NO_LINE", until, tried=False) for one in ready]
            )
            return True
        self._rests.end("no line")
        same_line = [one for one in ready if self._line_of(one.chat) == line]
        self._send(self._fitting(same_line), line)
        return True

    def _fitting(self, waiting: list[Delivery]) -> list[Delivery]:
        """As many as one call shall carry: several while a backlog stands, else the first."""
        if self._store.waiting() <= ALONE_UP_TO or self._goes_alone(waiting[0]):
            return waiting[:1]
        room = max(1, min(self._most, int(CALL_SECONDS / self._item_seconds)))
        fitting: list[Delivery] = []
        left_out: set[str] = set()  # chats: what follows a message waits for it
        size = 0
        for one in waiting:
            size += len(quote_plus(one.message.text)) + ITEM_BYTES
            if fitting and (len(fitting) == room or size > CALL_BYTES):
                break
            if self._goes_alone(one):
                left_out.add(one.chat.id)
            if one.chat.id not in left_out:
                fitting.append(one)
        return fitting

    def _run_length(self, now: float) -> int:
        """How many messages of one chat a call may carry.

        One, because whether the next may go depends on what becomes of it: more only while much
        waits, and the portal has stored one after the other for a while (a lost answer does not
        disturb their order, a message passed over does).
        """
        trusted = now - self._doubted_at > TRUST_SECONDS and self._clean >= TRUSTED_CALLS
        return RUN_LIMIT if trusted and self._store.waiting() > LONG_BACKLOG else 1

    def _in_turn(self, ready: list[Delivery]) -> list[Delivery]:
        """First one of each chat, then a second: whoever had a turn lets the others have theirs."""
        depth: Counter[str] = Counter()
        places = []
        for one in ready:
            places.append((depth[one.chat.id], self._turns.get(one.chat.id, 0), one))
            depth[one.chat.id] += 1
        return [one for _, _, one in sorted(places, key=lambda place: place[:2])]

    def _take_turn(self, batch: list[Delivery]) -> None:
        if len(self._turns) > TURNS_KEPT:
            self._turns.clear()
        self._turn += 1
        self._turns |= {one.chat.id: self._turn for one in batch}

    def _goes_alone(self, delivery: Delivery) -> bool:
        """Whether the message may be what the portal stumbles over, or waits for.

        It fetches files before it answers.
        """
        suspect = self._suspect(delivery) or delivery.attempts >= SUSPECT_TRIES
        return suspect or bool(delivery.message.extra.get("files"))

    def _suspect(self, delivery: Delivery) -> bool:
        return delivery.id in self._alone or delivery.id in self._refusals

    def _line_of(self, chat: Chat) -> int | None:
        """The line the chat began on while it is connected, else the one connected last.

        A line that is connected and takes nothing all the same, as one that was deleted, is
        used only where there is no other.
        """
        lines = self._store.active_lines()
        lines = [one for one in lines if self._takes(one, chat)] or lines
        if chat.line in lines:
            return chat.line
        return lines[0] if lines else None

    def _takes(self, line: int, chat: Chat) -> bool:
        """Whether a line may be used for a chat.

        What came to nothing in one chat may be that chat's fault: who has a dialog on the line
        sees for himself.
        """
        failures = self._line_failures.items()
        failed = {one for (at, one), n in failures if at == line and n >= LINE_TRIES}
        if failed & {"", chat.id} or len(failed) >= CHATS_FAILED:
            return False
        return not failed or chat.dialog_line == line

    # -- calls

    def _send(self, batch: list[Delivery], line: int) -> None:
        connector = self._settings.connector.id
        batch = self._store.begin_sending(batch, line, self._time())
        if not batch:
            return
        self._take_turn(batch)
        began = time.monotonic()
        self._count_call()
        try:
            results = self._bitrix.send_messages(
                connector, line, [wire_message(one) for one in batch]
            )
        except BitrixError as error:
            if error.code in LINE_FAULTS:
                self._repair_line(batch, line)
            elif _names_no_cause(error):
                self._refused(batch, error)
            else:
                if isinstance(error, OutcomeUnknown):
                    self._measure(time.monotonic() - began, len(batch))
                self._put_off(batch, error)
            return
        self._measure(time.monotonic() - began, len(batch))
        self._most = min(MESSAGES_A_CALL, self._most * 2)
        outcomes = [self._outcome(one, result) for one, result in zip(batch, results, strict=True)]
        self._forget([one.delivery for one in outcomes if one.state != "unknown"])
        self._record(outcomes)  # before all else that the store may not take now
        if any(result.session_id is not None for result in results):
            self._line_works(line)
            if not self._names_sessions:
                self._names_sessions = True
                self._store.set_note("names_sessions", True)
        self._clean += 1
        if any(one.state == "unknown" for one in outcomes):
            self._clean, self._doubted_at = 0, self._time()
        self._works("message")
        self._rests.end(_on_line("message", line))

    def _outcome(self, one: Delivery, result: ItemResult) -> Outcome:
        if _lacks_file(one, result):
            # It could not fetch it, or would not. The operator shall have it all the same.
            log.warning("the file of message %d is sent as a link", one.message.id)
            return replace(
                _by_link(one),
                portal_chat_id=result.portal_chat_id,
                portal_user_id=result.portal_user_id,
                session_id=result.session_id,
            )
        if not result.accepted:
            reason = "; ".join(result.errors)[:300]
            log.warning("message %d refused: %s", one.message.id, reason)
            return Outcome(one, "refused", reason)
        if result.session_id is None:
            due = self._time() + self._settings.delivery.retry_seconds
            user_id = result.portal_user_id
            return Outcome(one, "unknown", "NO_SESSION", due, portal_user_id=user_id)
        return Outcome(
            one,
            "delivered",
            portal_chat_id=result.portal_chat_id,
            portal_user_id=result.portal_user_id,
            session_id=result.session_id,
        )

    def _confirm(self, batch: list[Delivery]) -> None:
        """Tell the portal that operators' messages are ours now; repeating is harmless."""
        line = batch[0].line
        if line is None:  # never stored so
            raise ValueError(f"confirmation {batch[0].id} has no line")
        self._count_call()
        try:
            self._bitrix.confirm_delivery(
                self._settings.connector.id, line, [wire_confirmation(one) for one in batch]
            )
        except BitrixError as error:
            if _names_no_cause(error):
                self._refused(batch, error)
            else:
                self._put_off(batch, error)
        else:
            self._end(batch, "delivered", None)
            self._works("confirmation")
            self._rests.end(_on_line("confirmation", line))

    def _refused(self, batch: list[Delivery], error: BitrixError) -> None:
        """The portal, or what stands before it, refuses a call as a whole and names no item of it.

        Its own trouble is likelier than a message's: one that is refused alone is given up only
        when it is so again and again while others pass.
        """
        if len(batch) > 1:  # one of them may be bad; each alone will show which
            self._alone.update(one.id for one in batch)
            outcomes = [Outcome(one, "postponed", error.code) for one in batch]
            self._record(outcomes)
            return
        one = batch[0]
        known = one.id in self._refusals
        if self._count(self._refusals, one) >= TRIES:
            log.warning("message %d refused: %s", one.message.id, error.code)
            self._end(batch, "refused", error.code if one.kind == "message" else None)
            return
        self._tell(one.kind, error.method, error.code)
        now = self._time()
        if known:
            self._rests.begin(f"refused {one.kind}", now)
        else:  # others may be refused, too, or only for a while
            work = _on_line(one.kind, one.line)
            self._rests.begin(work, now, at_most=REFUSAL_SECONDS, tolerated=TOLERATED)
        self._postpone(batch, error.code)

    def _count(self, failures: dict[int, tuple[int, int]], one: Delivery) -> int:
        """How often it came to nothing, but for the first time, while others of its kind passed."""
        passes = self._passes[one.kind]
        count, before = failures.get(one.id, (0, passes))
        count += passes > before
        failures[one.id] = count, passes
        return count

    def _repair_line(self, batch: list[Delivery], line: int) -> None:
        """Activate a line that the portal calls inactive: its own button does half of it only."""
        self._count_call()
        try:
            self._bitrix.activate(self._settings.connector.id, line, True)
            log.warning("line %d was not active and has been activated", line)
        except BitrixError as error:
            log.warning("line %d could not be activated: %s", line, error.code)
        self._line_failed(line, "", self._line_failures[line, ""] + 1, "NOT_ACTIVE_LINE")
        work = _on_line("message", line)
        self._rests.begin(work, self._time(), tolerated=1)  # at once, the first time
        self._record([Outcome(one, "postponed", "NOT_ACTIVE_LINE", tried=False) for one in batch])

    def _line_failed(self, line: int, chat_id: str, tries: int, code: str) -> None:
        """Count a round in which a message came to nothing on a line, after so many tries of it.

        A chat's messages that fail side by side are one round.
        """
        key = line, chat_id
        failures = self._line_failures[key]
        self._line_failures[key] = max(failures, min(failures + 1, tries))
        if failures < LINE_TRIES <= self._line_failures[key]:
            log.error("line %d takes no message (%s)", line, code)
            self._store.set_note(
                "dead_lines", (self._store.note("dead_lines") or {}) | {line: code}
            )

    def _line_works(self, line: int) -> None:
        self._rests.end(_on_line("message", line))
        failures = [
            self._line_failures.pop(one) for one in [*self._line_failures] if one[0] == line
        ]
        if max(failures, default=0) >= LINE_TRIES:
            lines = self._store.note("dead_lines") or {}
            self._store.set_note(
                "dead_lines", {one: code for one, code in lines.items() if one != str(line)}
            )

    # -- lost answers

    def _settle(self, unsure: list[Delivery]) -> None:
        """Find out which messages arrived whose call was never answered.

        One look at all their dialogs; then one at a time where that does not tell.
        """
        try:
            found = self._lookup.find_together(unsure)
        except BitrixError as error:
            self._not_settled(unsure, error, "look")
            return
        looked = self._answers = False
        for one in unsure:
            known = one.id in (found or {})
            asks = not known and can_be_asked(one)
            if asks and looked:
                continue
            looked = looked or asks
            try:
                self._conclude(one, found[one.id] if found and known else self._lookup.find(one))
            except BitrixError as error:
                # One dialog that cannot be read holds up no other, while others can be.
                alone = asks and found is not None and isinstance(error, OutcomeUnknown)
                self._not_settled([one], error, _look_at(one) if alone else "look")
                if not alone:
                    return
            else:
                self._rests.end(_look_at(one))
        if found is not None or looked or self._answers:
            self._works("look")

    def _in_vain(self, delivery: Delivery) -> bool:
        """Whether a repeat that may double the message is of no use, for others pass.

        Raises BitrixError while the portal answers nothing at all: then none is made.
        """
        if not self._answers:
            self._count_call()
            self._bitrix.is_installed()
            self._answers = True
        return self._count(self._repeats, delivery) >= UNCONFIRMED_REPEATS

    def _not_settled(self, unsure: list[Delivery], error: BitrixError, work: str) -> None:
        log.warning("%s: %s (%d to settle)", error.method, error.code, len(unsure))
        at = self._rest_after("look", error, work)
        self._record([Outcome(one, "unknown", one.error, at, tried=False) for one in unsure])

    def _conclude(self, delivery: Delivery, found: Found) -> None:
        """End or repeat a message, now that we know as much as can be known of it."""
        settings = self._settings.delivery
        now = self._time()
        since = delivery.sending_since or now
        settle_seconds = settings.settle_seconds
        if delivery.error in (None, CONNECTION_LOST):
            # It broke, or we died in it: the portal works on as long as it would have let us wait.
            settle_seconds = max(settle_seconds, settings.timeout_seconds)
        if found is None and not can_be_asked(delivery):
            # A chat's first message: the event that names its dialog may still be on its way.
            settle_seconds *= FIRST_SETTLES
        settled = now >= since + settle_seconds
        message_id = delivery.message.id
        believed = delivery.error == "NO_SESSION" and not self._names_sessions and settled
        if found or (found is None and believed):
            # Builds that name no session have taken it all the same (bitrix24.md section 4).
            log.info("message %d had arrived, its answer was lost", message_id)
            if found and not found.files and _has_file(delivery):
                self._record([_by_link(delivery)])
            else:
                self._end([delivery], "delivered", None)
            self._line_works(delivery.line or 0)
        elif not settled:
            pause = max(self._rests.pause(delivery.attempts), (now - since) / LOOKS)
            due = min(now + pause, since + settle_seconds)
            outcome = Outcome(delivery, "unknown", delivery.error, due, tried=False)
            self._record([outcome])
        elif found is None and (settings.unconfirmed == "keep" or self._in_vain(delivery)):
            log.warning("message %d may have arrived; it is not sent again", message_id)
            self._end([delivery], "refused", None)
        else:
            log.info("message %d is sent again, its answer was lost", message_id)
            if delivery.error == "NO_SESSION" and delivery.line is not None:
                self._line_failed(delivery.line, delivery.chat.id, delivery.attempts, "NO_SESSION")
            outcome = Outcome(delivery, "postponed", "NO_REPLY", tried=False)
            self._record([outcome])

    # -- ends

    def _end(self, batch: list[Delivery], state: Ended, error: str | None) -> None:
        self._forget(batch)
        self._record([Outcome(one, state, error) for one in batch])

    def _forget(self, batch: list[Delivery]) -> None:
        """What was against them is settled."""
        for one in batch:
            self._alone.discard(one.id)
            self._refusals.pop(one.id, None)
            self._repeats.pop(one.id, None)

    def _put_off(self, batch: list[Delivery], error: BitrixError) -> None:
        """A call came to nothing: note what that means for each, and give the portal a rest."""
        log.warning("%s: %s (%d waiting)", error.method, error.code, len(batch))
        first = batch[0]
        kind = first.kind
        at = self._rest_after(kind, error, _on_line(kind, first.line))
        unknown = isinstance(error, OutcomeUnknown)
        if unknown and kind == "message":
            # Fewer next time: the call may have been too much, or one of them is.
            self._most = max(1, len(batch) // 2)
            pause = self._rests.pause(max(one.attempts for one in batch))
            at = max(at, self._time() + pause)
        state: Ended = "unknown" if unknown else "postponed"
        outcomes = [Outcome(one, state, error.code, at, tried=unknown) for one in batch]
        self._record(outcomes)

    def _rest_after(self, kind: Work, error: BitrixError, work: str) -> float:
        """Leave the portal alone for a while: in all, in a kind of work, or in what failed.

        Returns when what was asked is due again.
        """
        now = self._time()
        if isinstance(error, SetupFault):
            # It stands still until an install or the next look, so nothing is put off.
            stopped = kind if error.code.upper() in ONE_METHOD else EVERYTHING
            self._tell(stopped, error.method, error.code)
            pause = self._settings.delivery.retry_limit_seconds
            self._rests.begin(stopped, now, at_least=pause)
            return now
        self._failing_since = self._failing_since or now
        everything = error.code in EVERY_METHOD or error.method == "oauth/token"
        if error.code == "QUERY_LIMIT_EXCEEDED":
            self._pace.overrun(now)
        at_least = error.seconds if isinstance(error, TryLater) else 0.0
        if at_least:  # a limit of the method, whatever it is called for
            work = kind
        return self._rests.begin(EVERYTHING if everything else work, now, at_least)

    def _tell(self, work: str, method: str, code: str) -> None:
        """Let the admin know what stands still, until it works again."""
        self._fault = work
        self._store.set_note("fault", {"method": method, "code": code})

    def _postpone(self, batch: list[Delivery], code: str) -> None:
        now = self._time()
        outcomes = []
        for one in batch:
            due = now + self._rests.pause(one.attempts + 1)
            outcomes.append(Outcome(one, "postponed", code, due))
        self._record(outcomes)

    def _works(self, work: Work) -> None:
        """A call for this work did what it should."""
        self._passes[work] += 1
        self._rests.worked(work)
        if self._fault in (work, EVERYTHING):
            self._fault = None
            self._store.set_note("fault", None)
        since, self._failing_since = self._failing_since, None
        if since is not None:
            # While the portal could not be reached from here, we may not have been from there.
            self._recover_at = 0.0
            if self._time() - since > GAP_SECONDS:
                self._events_lost(since)

    def _measure(self, seconds: float, items: int) -> None:
        """Learn from a call how long a message takes: at once when it is longer, else slowly."""
        took = seconds / items
        self._item_seconds = max(took, self._item_seconds + (took - self._item_seconds) * 0.3)


def _names_no_cause(error: BitrixError) -> bool:
    """Whether a call was refused for something in it, perhaps: a text that a firewall dislikes, or
    more than a proxy lets pass, is answered by a page of theirs."""
    return isinstance(error, Refused) or (
        isinstance(error, SetupFault) and error.code.startswith("HTTP_4")
    )


def _on_line(kind: Work, line: int | None) -> str:
    """The work of one kind on one line: it rests for itself."""
    return f"line {line}" if kind == "message" else f"{kind}s of line {line}"


def _look_at(delivery: Delivery) -> str:
    """The look at one chat's dialog, as a work that rests."""
    return f"look at {delivery.chat.id}"


def _has_file(delivery: Delivery) -> bool:
    return not delivery.by_link and bool(delivery.message.extra.get("files"))


def _by_link(delivery: Delivery) -> Outcome:
    """Its file goes once more, as a link."""
    return Outcome(delivery, "postponed", "NO_FILE", by_link=True)


def _lacks_file(delivery: Delivery, result: ItemResult) -> bool:
    """Whether the message had a file and the portal did not get it (bitrix24.md section 5).

    Text with a file that fails is taken without the file; a file alone is refused.
    """
    if not _has_file(delivery):
        return False
    if result.accepted:
        return result.files == 0 and result.session_id is not None
    return not delivery.message.text.strip()
