"""Sends visitors' messages with `imconnector.send.messages`, the chats in turn."""

import logging
from collections import Counter

from delivery.batch import MESSAGES_A_CALL, Batches
from delivery.circuits import Scope
from delivery.dispatch import awake, failed
from delivery.parts import Parts
from delivery.reaction import to_result
from portal.outgoing import wire_message
from rest.errors import BitrixError, Cause, OutcomeUnknown
from rest.replies import ItemResult
from store.records import Delivery, Outcome

log = logging.getLogger(__name__)

NOT_ACTIVE = "NOT_ACTIVE_LINE"
NO_LINE = "NO_LINE"
REPAIRS_AT_ONCE = 1  # calls of an inactive line in a row after which it is tried again at once


class Messages:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._batches = Batches(parts.quarantine)

    def due(self, now: float) -> tuple[list[Delivery], bool]:
        """What may be sent now, the chats in turn; and whether any was put off meanwhile."""
        parts = self._parts
        if parts.health.circuits.is_open(Scope("message"), now):
            return [], False
        run = self._batches.run_length(now, parts.store.queue.waiting())
        waiting = parts.store.queue.due_messages(now, MESSAGES_A_CALL, run)
        return awake(parts, in_turn(waiting), self._line_of, now)

    def send(self, ready: list[Delivery]) -> None:
        """Make one call with those that fit in it, beginning with the first."""
        parts = self._parts
        line = self._line_of(ready[0])
        if line is None:  # so there is none for the others either, until one is connected
            due = parts.clock.now() + parts.settings.delivery.retry_limit_seconds
            parts.recorder.record(
                [Outcome(one, "queued", NO_LINE, due, attempted=False) for one in ready]
            )
            return
        same_line = [one for one in ready if self._line_of(one) == line]
        if not same_line:  # it was disconnected just now
            return
        batch = self._batches.fitting(same_line, parts.store.queue.waiting())
        batch = parts.store.queue.claim(batch, line, parts.clock.now())
        if batch:
            self._call(batch, line)

    def _line_of(self, delivery: Delivery) -> int | None:
        return self._parts.lines.line_for(delivery.chat)

    def _call(self, batch: list[Delivery], line: int) -> None:
        parts = self._parts
        parts.health.count_call()
        self._batches.begin_call()
        try:
            results = parts.bitrix.send_messages(
                parts.settings.connector.id, line, [wire_message(one) for one in batch]
            )
        except BitrixError as error:
            if isinstance(error, OutcomeUnknown):
                self._batches.lost(len(batch))
            if error.cause is Cause.LINE_NOT_ACTIVE:
                self._activate(batch, line)
            else:
                failed(parts, batch, error)
            return
        self._note(batch, line, results)

    def _note(self, batch: list[Delivery], line: int, results: list[ItemResult]) -> None:
        parts = self._parts
        now = parts.clock.now()
        retry_at = now + parts.settings.delivery.retry_seconds
        outcomes = [
            to_result(one, result, retry_at) for one, result in zip(batch, results, strict=True)
        ]
        for outcome in outcomes:
            if outcome.state == "failed":
                log.warning("message %d refused: %s", outcome.delivery.message.id, outcome.error)
            elif outcome.file_as_link:
                log.warning("the file of message %d is sent as a link", outcome.delivery.message.id)
        passed_over = [one for one in outcomes if one.state == "in doubt"]
        self._batches.answered(len(batch), bool(passed_over), now)
        parts.quarantine.release(one.delivery for one in outcomes if one.state != "in doubt")
        parts.recorder.record(outcomes)  # before everything else that the store may not take now
        if any(result.session_id is not None for result in results):
            parts.lines.works(line)
            if not parts.store.notes.names_sessions.get():
                parts.store.notes.names_sessions.set(True)
        parts.quarantine.passed("message")
        parts.health.works("message", Scope("message", line))

    def _activate(self, batch: list[Delivery], line: int) -> None:
        """Switch on a line that the portal calls inactive: its own button does half of it only."""
        parts = self._parts
        parts.health.count_call()
        try:
            parts.bitrix.activate(parts.settings.connector.id, line, True)
            log.warning("line %d was not active and has been activated", line)
        except BitrixError as error:
            log.warning("line %d could not be activated: %s", line, error.code)
        parts.lines.not_active(line, NOT_ACTIVE)
        parts.health.circuits.failed(
            Scope("message", line), parts.clock.now(), tolerated=REPAIRS_AT_ONCE
        )
        parts.recorder.record(
            [Outcome(one, "queued", NOT_ACTIVE, attempted=False) for one in batch]
        )


def in_turn(waiting: list[Delivery]) -> list[Delivery]:
    """The first message of each chat, then the second ones; the chats keep their order."""
    depth: Counter[str] = Counter()
    places = []
    for one in waiting:
        places.append((depth[one.chat.id], one))
        depth[one.chat.id] += 1
    return [one for _, one in sorted(places, key=lambda place: place[0])]
