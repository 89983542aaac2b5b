"""Tells the portal that operators' messages have arrived here; repeating it is harmless."""

from delivery.circuits import Scope
from delivery.dispatch import awake, failed
from delivery.parts import Parts
from portal.outgoing import wire_confirmation
from rest.errors import BitrixError
from store.records import Delivery, Outcome

CONFIRMATIONS_A_CALL = 50  # the portal names no limit; 50 is what a `batch` takes


class Confirmations:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def step(self, now: float) -> bool:
        """Confirm what is due of one line; False when there is nothing to do now.

        Goes ahead of messages: the portal marks an answer as undelivered after a minute.
        """
        if self._parts.health.circuits.is_open(Scope("confirmation"), now):
            return False
        waiting = self._parts.store.queue.due_confirmations(now, CONFIRMATIONS_A_CALL)
        ready, _ = awake(self._parts, waiting, lambda one: one.line, now)
        if ready:
            self._confirm(self._batch(ready))
        return bool(waiting)

    def _batch(self, ready: list[Delivery]) -> list[Delivery]:
        goes_alone = self._parts.quarantine.goes_alone
        first = ready[0]
        if goes_alone(first):
            return [first]
        return [one for one in ready if one.line == first.line and not goes_alone(one)]

    def _confirm(self, batch: list[Delivery]) -> None:
        parts, line = self._parts, batch[0].line
        if line is None:  # never stored so
            raise ValueError(f"confirmation {batch[0].id} has no line")
        parts.health.count_call()
        try:
            parts.bitrix.confirm_delivery(
                parts.settings.connector.id, line, [wire_confirmation(one) for one in batch]
            )
        except BitrixError as error:
            failed(parts, batch, error)
            return
        parts.quarantine.release(batch)
        parts.recorder.record([Outcome(one, "delivered") for one in batch])
        parts.quarantine.passed("confirmation")
        parts.health.works("confirmation", Scope("confirmation", line))
