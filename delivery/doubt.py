"""Finds out what became of messages whose call was never answered, before any is sent again."""

import logging
from itertools import groupby

from delivery.circuits import Scope
from delivery.context import Context
from delivery.health import reached
from delivery.lookup import Findings, Lookup, Run, can_be_asked
from delivery.reaction import (
    NO_FILE,
    NO_REPLY,
    SETTLES_OF_A_FIRST_MESSAGE,
    Finding,
    look_again_at,
    to_finding,
)
from logs import facts
from rest.errors import DIED, NO_SESSION, BitrixError, Cause, Reach, may_go_on
from store.records import Delivery, Outcome
from turns import Turns

log = logging.getLogger(__name__)

CHATS_A_LOOKUP = 50
NOTED_AT_ONCE = 20  # messages, or a few more, in one transaction
TOLERATED_LOOKS = 2  # in a row that failed, each at one dialog, before all others wait, too
LOOKUP = Scope("lookup")


class Doubt:
    def __init__(self, context: Context) -> None:
        self._settings = context.settings.delivery
        self._store = context.store
        self._bitrix = context.bitrix
        self._clock = context.clock
        self._health = context.health
        self._quarantine = context.quarantine
        self._lines = context.lines
        self._recorder = context.recorder
        self._lookup = Lookup(
            context.bitrix,
            context.settings.connector.id,
            context.health.count_call,
            context.store.found_deleted.earlier_of_visitor,
        )
        self._turns = Turns()
        self._outcomes: list[Outcome] = []  # of this step
        self._answers = False  # whether the portal has answered a lookup of this step

    def due(self, now: float) -> list[Delivery]:
        """Messages in doubt that are due for a lookup, each chat's from its oldest on."""
        if self._health.circuits.is_open(LOOKUP, now):
            return []
        in_doubt = self._store.queue.messages_in_doubt(now, CHATS_A_LOOKUP)
        if not in_doubt and self._health.reports("lookup") and not self._store.queue.is_in_doubt():
            self._health.fault_is_over()  # no message is in doubt any more
        return in_doubt

    def resolve(self, in_doubt: list[Delivery]) -> None:
        """Read the newest messages of all their dialogs, then search one dialog further back.

        Only one dialog a step, because other work waits for its turn.
        """
        try:
            self._resolve(in_doubt)
        finally:
            self._note()

    def _note(self) -> None:
        """Note together what was found out: one by one, each would wait for the disk."""
        outcomes, self._outcomes = self._outcomes, []
        self._recorder.record(outcomes)

    def _resolve(self, in_doubt: list[Delivery]) -> None:
        runs = [
            list(run)
            for _, run in groupby(in_doubt, key=lambda delivery: (delivery.chat.id, delivery.line))
        ]
        self._answers = False
        try:
            newest = self._lookup.read_newest(runs)
        except BitrixError as error:
            self._put_off(in_doubt, error, LOOKUP)
            return
        self._answers = newest is not None
        concluded: list[Run] = []
        may_search = True
        for run in runs:
            found = {
                delivery.id: newest[delivery.id]
                for delivery in run
                if newest and delivery.id in newest
            }
            missing = [delivery for delivery in run if delivery.id not in found]
            if missing and can_be_asked(run[0]):
                if not may_search:
                    continue
                may_search = False
                try:
                    found |= self._search(run, missing)
                except BitrixError as error:
                    # A dialog that cannot be read holds up no other while others can be.
                    alone = error.reach in (Reach.ITEM, Reach.LINE)
                    if alone and newest is None:
                        now = self._clock.now()
                        self._health.circuits.failed(LOOKUP, now, tolerated=TOLERATED_LOOKS)
                    self._put_off(missing, error, _lookup_of(run) if alone else LOOKUP)
                    if not alone:
                        return
                    continue
            if not self._conclude_all(run, found):
                return
            concluded.append(run)
            if len(self._outcomes) >= NOTED_AT_ONCE:
                self._note()
        self._note()
        if self._answers:
            self._health.works("lookup", *map(_lookup_of, concluded))

    def _search(self, run: Run, missing: list[Delivery]) -> Findings:
        findings = self._lookup.search(run, missing)
        self._answers = True
        return findings

    def _put_off(self, deliveries: list[Delivery], error: BitrixError, scope: Scope) -> None:
        in_doubt = facts(method=error.method, code=error.code, waiting=len(deliveries))
        log.warning("it cannot be found out what has arrived", extra=in_doubt)
        due = self._health.failed(error, scope)
        pause = self._health.circuits.pause(max(delivery.attempts for delivery in deliveries))
        due = max(due, self._health.circuits.open_until(scope), self._clock.now() + pause)
        if error.cause is Cause.NOT_A_PORTAL:
            self._health.report(reached(error, scope), error)
        self._recorder.record(
            [
                Outcome(delivery, "in doubt", delivery.error, due, attempted=False)
                for delivery in deliveries
            ]
        )

    def _conclude_all(self, run: Run, found: Findings) -> bool:
        """Conclude each delivery of the run: it has arrived, is sent again, or is looked up later.

        False while the portal answers nothing at all.
        """
        for delivery in run:
            self._turns.give_way()
            try:
                self._conclude(delivery, found.get(delivery.id, "hidden"))
            except BitrixError as error:
                self._put_off([delivery], error, LOOKUP)
                return False
        return True

    def _conclude(self, delivery: Delivery, found: Finding) -> None:
        now = self._clock.now()
        since = delivery.called_at or now
        settle_time_ends = since + self._settle_seconds(delivery, found)
        names_sessions = bool(self._store.notes.names_sessions.get())
        outcome = Outcome(delivery, "queued", NO_REPLY, attempted=False)  # to be sent again
        match to_finding(delivery, found, now >= settle_time_ends, names_sessions):
            case "arrived":
                outcome = Outcome(delivery, "delivered")
                self._lines.works(delivery.line or 0)
            case "arrived without its file":
                outcome = Outcome(delivery, "queued", NO_FILE, file_as_link=True)
                self._lines.works(delivery.line or 0)
            case "not known yet":
                pause = self._health.circuits.pause(delivery.attempts)
                due = look_again_at(now, since, settle_time_ends, pause)
                outcome = Outcome(delivery, "in doubt", delivery.error, due, attempted=False)
            case "lost" if delivery.error not in (NO_SESSION, DIED) and (
                self._quarantine.lost_in_vain(delivery)
            ):
                outcome = Outcome(delivery, "failed")
            case "nobody can tell" if self._is_given_up(delivery):
                outcome = Outcome(delivery, "failed")
            case _:
                if delivery.error == NO_SESSION and delivery.line is not None:
                    attempts = delivery.attempts
                    self._lines.took_nothing(delivery.line, delivery.chat.id, attempts, NO_SESSION)
        if outcome.must_be_noted:
            self._quarantine.release([delivery])
        self._outcomes.append(outcome)

    def _settle_seconds(self, delivery: Delivery, found: Finding) -> float:
        """How long after the call the portal may still store the message or name its dialog."""
        seconds = self._settings.settle_seconds
        if may_go_on(delivery.error):
            seconds = max(seconds, self._settings.timeout_seconds)
        if found == "hidden" and not can_be_asked(delivery):
            seconds *= SETTLES_OF_A_FIRST_MESSAGE
        return seconds

    def _is_given_up(self, delivery: Delivery) -> bool:
        """Whether a message that nobody can tell of is given up instead of sent again.

        A repeat may double it. Raises BitrixError while the portal answers nothing at all: then
        it is neither repeated nor given up.
        """
        if self._settings.unconfirmed == "keep":
            return True
        if not self._answers:
            self._health.count_call()
            self._bitrix.is_installed()
            self._answers = True
        return self._quarantine.repeated_in_vain(delivery)


def _lookup_of(run: Run) -> Scope:
    """Lookups in one chat's dialog."""
    return Scope("lookup", chat=run[0].chat.id)
