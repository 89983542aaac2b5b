"""Tells the portal that operators' messages have arrived here; repeating it is harmless."""

from dataclasses import replace

from delivery.circuits import Scope
from delivery.context import Context
from delivery.dispatch import failed, sendable
from portal.outgoing import wire_confirmation
from rest.errors import BitrixError
from store.records import Delivery, Outcome

CONFIRMATIONS_A_CALL = 50  # the portal names no limit; 50 is what a `batch` takes


class Confirmations:
    def __init__(self, context: Context) -> None:
        self._context = context

    def step(self, now: float) -> bool:
        """Confirm what is due of one line; False when there is nothing to do now.

        Goes ahead of messages: the portal marks an answer as undelivered after a minute.
        """
        circuits, store = self._context.health.circuits, self._context.store
        if circuits.is_open(Scope("confirmation"), now):
            return False
        held = [
            line
            for line in store.portal.known_lines()
            if circuits.is_open(Scope("confirmation", line), now)
        ]
        waiting = store.queue.due_confirmations(now, CONFIRMATIONS_A_CALL, held)
        ready, _ = sendable(self._context, waiting, lambda delivery: delivery.line, now)
        if ready:
            self._confirm(self._batch(ready))
        return bool(waiting)

    def _batch(self, ready: list[Delivery]) -> list[Delivery]:
        goes_alone = self._context.quarantine.goes_alone
        first = ready[0]
        if goes_alone(first):
            return [first]
        return [
            delivery
            for delivery in ready
            if delivery.line == first.line and not goes_alone(delivery)
        ]

    def _confirm(self, batch: list[Delivery]) -> None:
        context, line = self._context, batch[0].line
        if line is None:  # never stored so
            raise ValueError(f"confirmation {batch[0].id} has no line")
        context.health.count_call()
        # Only the log needs to know: whatever becomes of the call, it may simply be repeated.
        batch = [replace(delivery, called_at=context.clock.now()) for delivery in batch]
        try:
            context.bitrix.confirm_delivery(
                context.settings.connector.id,
                line,
                [wire_confirmation(delivery) for delivery in batch],
            )
        except BitrixError as error:
            failed(context, batch, error)
            return
        context.quarantine.release(batch)
        context.recorder.record([Outcome(delivery, "delivered") for delivery in batch])
        context.quarantine.passed("confirmation")
        context.health.works("confirmation", Scope("confirmation", line))
