"""Sends visitors' messages with `imconnector.send.messages`, the chats in turn."""

import logging
from collections import Counter

from delivery.batch import LONG_BACKLOG, MESSAGES_A_CALL, Batches
from delivery.circuits import Scope
from delivery.context import Context
from delivery.dispatch import failed, sendable
from delivery.reaction import to_result
from logs import facts
from portal.outgoing import wire_message
from rest.errors import BitrixError, Cause, OutcomeUnknown
from rest.replies import ItemResult
from store.records import Delivery, Outcome

log = logging.getLogger(__name__)

NOT_ACTIVE = "NOT_ACTIVE_LINE"
REPAIRS_AT_ONCE = 1  # refusals of an inactive line in a row after which there is no pause yet


class Messages:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._batches = Batches(context.quarantine)

    def due(self, now: float) -> tuple[list[Delivery], bool]:
        """The messages that may be sent now, the chats in turn; and whether any was put off.

        While no line is connected all wait for one, and the queue is not read.
        """
        context, circuits = self._context, self._context.health.circuits
        if circuits.is_open(Scope("message"), now) or not context.lines.are_connected():
            return [], False
        held = context.lines.held(lambda line: circuits.is_open(Scope("message", line), now))
        run = self._batches.run_length(now, context.store.queue.waiting(LONG_BACKLOG + 1))
        waiting = context.store.queue.due_messages(
            now, MESSAGES_A_CALL, run, held, enough=MESSAGES_A_CALL
        )
        return sendable(context, in_turn(waiting), self._line_of, now)

    def send(self, ready: list[Delivery]) -> None:
        """Make one call with as many of these messages as fit in it, beginning with the first."""
        context = self._context
        line = self._line_of(ready[0])
        same_line = [delivery for delivery in ready if self._line_of(delivery) == line]
        if line is None:  # `due` gives no messages then
            raise ValueError("no line is connected")
        now = context.clock.now()
        fitting = self._batches.fitting(same_line, now)
        if context.health.outage.is_slow:  # it may be lost, with all that it carries
            fitting = fitting[:1]
        batch = context.store.queue.claim(fitting, line, now)
        for delivery in batch:
            context.recorder.begun(delivery, line)
        if batch:
            self._call(batch, line)

    def _line_of(self, delivery: Delivery) -> int | None:
        return self._context.lines.line_for(delivery.chat)

    def _call(self, batch: list[Delivery], line: int) -> None:
        context = self._context
        context.health.count_call()
        self._batches.begin_call()
        try:
            results = context.bitrix.send_messages(
                context.settings.connector.id, line, [wire_message(delivery) for delivery in batch]
            )
        except BitrixError as error:
            if isinstance(error, OutcomeUnknown):
                self._batches.lost(len(batch), context.clock.now())
            if error.cause is Cause.LINE_NOT_ACTIVE:
                self._activate(batch, line)
            else:
                failed(context, batch, error)
            return
        self._record(batch, line, results)

    def _record(self, batch: list[Delivery], line: int, results: list[ItemResult]) -> None:
        context = self._context
        now = context.clock.now()
        retry_at = now + context.settings.delivery.retry_seconds
        both = list(zip(batch, results, strict=True))
        taken = {delivery.chat.id for delivery, result in both if result.accepted}
        outcomes = [
            to_result(delivery, result, retry_at, delivery.chat.id in taken)
            for delivery, result in both
        ]
        ended = [outcome.delivery for outcome in outcomes if outcome.state != "in doubt"]
        self._batches.answered(len(batch), len(ended) < len(batch), now)
        context.quarantine.release(ended)
        context.recorder.record(outcomes)  # before everything else that the store may not take now
        if any(result.session_id is not None for result in results):
            context.lines.works(line)
            if not context.store.notes.names_sessions.get():
                context.store.notes.names_sessions.set(True)
        context.quarantine.passed("message")
        context.health.works("message", Scope("message", line))

    def _activate(self, batch: list[Delivery], line: int) -> None:
        """Switch on a line that the portal calls inactive: its own button does half of it only."""
        context = self._context
        context.health.count_call()
        try:
            context.bitrix.activate(context.settings.connector.id, line, True)
            log.warning("the line was not active and has been activated", extra=facts(line=line))
        except BitrixError as error:
            code = facts(line=line, code=error.code)
            log.warning("the line could not be activated", extra=code)
        context.lines.not_active(line, NOT_ACTIVE)
        context.health.circuits.failed(
            Scope("message", line), context.clock.now(), tolerated=REPAIRS_AT_ONCE
        )
        context.recorder.record(
            [Outcome(delivery, "queued", NOT_ACTIVE, attempted=False) for delivery in batch]
        )


def in_turn(waiting: list[Delivery]) -> list[Delivery]:
    """The first message of each chat, then the second ones; the chats keep their order."""
    depth: Counter[str] = Counter()
    places = []
    for delivery in waiting:
        places.append((depth[delivery.chat.id], delivery))
        depth[delivery.chat.id] += 1
    return [delivery for _, delivery in sorted(places, key=lambda place: place[0])]
