"""What sending messages and confirming answers have in common: who waits, and what a failure means.

What waits for a whole line is passed over when the queue is read, because very much may wait. A
single delivery behind an open circuit is put off in the store until the circuit lets a call pass,
so that it does not take the place of others when the queue is read next.
"""

import logging
from collections.abc import Callable

from delivery.circuits import Scope
from delivery.context import Context
from delivery.health import names_no_cause
from delivery.reaction import to_error
from logs import facts
from rest.errors import BitrixError, OutcomeUnknown
from store.records import Delivery, Outcome

log = logging.getLogger(__name__)

TOLERATED = 5  # refusals in a row, each of one delivery alone, before others of the line wait
REFUSAL_SECONDS = 5.0  # the longest such pause: messages that were not tried yet may be fine


def sendable(
    context: Context, waiting: list[Delivery], line_of: Callable[[Delivery], int | None], now: float
) -> tuple[list[Delivery], bool]:
    """The deliveries that may be sent now, and whether any was put off.

    First come those that were never refused alone. A delivery whose circuit is open is put off
    until the circuit lets a call pass; later messages of the same chat wait with it.
    """
    fresh, refused, held_back = [], [], []
    held_chats: set[str] = set()  # whose oldest message does not go, so no later one may
    for delivery in waiting:
        if delivery.kind == "message" and delivery.chat.id in held_chats:
            continue
        was_refused = context.quarantine.was_refused_alone(delivery)
        scopes = [Scope(delivery.kind, line_of(delivery))]
        if was_refused:
            scopes.append(Scope(delivery.kind, refused_alone=True))
        until = context.health.circuits.open_until(*scopes)
        if until <= now and not was_refused:
            fresh.append(delivery)
            continue
        held_chats.add(delivery.chat.id)
        if until > now:
            held_back.append(Outcome(delivery, "queued", delivery.error, until, attempted=False))
        else:
            refused.append(delivery)
    context.recorder.record(held_back)
    return fresh + refused, bool(held_back)


def failed(context: Context, batch: list[Delivery], error: BitrixError) -> None:
    """A call with these deliveries came to nothing, or its answer was lost."""
    if not names_no_cause(error):
        put_off(context, batch, error)
    elif len(batch) > 1:
        # One of the deliveries may be bad; calls with each alone will show which.
        context.quarantine.isolate(batch)
        context.recorder.record([Outcome(delivery, "queued", error.code) for delivery in batch])
    else:
        refused_alone(context, batch[0], error)


def refused_alone(context: Context, delivery: Delivery, error: BitrixError) -> None:
    """The portal, or a proxy before it, refuses a call that carries only this delivery.

    More likely the portal has trouble than this message is bad.
    """
    refused_before = context.quarantine.was_refused_alone(delivery)
    if context.quarantine.refused_alone(delivery):
        context.quarantine.release([delivery])
        reason = error.code if delivery.kind == "message" else None
        context.recorder.record([Outcome(delivery, "failed", reason)])
        return
    circuits, now = context.health.circuits, context.clock.now()
    context.health.report(Scope(delivery.kind), error)
    if refused_before:
        circuits.failed(Scope(delivery.kind, refused_alone=True), now)
    else:  # the portal may refuse others too, or refuse only for a while
        line = Scope(delivery.kind, delivery.line)
        circuits.failed(line, now, at_most=REFUSAL_SECONDS, tolerated=TOLERATED)
    due = now + circuits.pause(delivery.attempts + 1)
    context.recorder.record([Outcome(delivery, "queued", error.code, due)])


def put_off(context: Context, batch: list[Delivery], error: BitrixError) -> None:
    """The portal has trouble: the deliveries wait until its circuit lets a call pass.

    After a lost answer they wait for a pause of their own, too: the trouble may be theirs alone.
    """
    waiting = facts(method=error.method, code=error.code, waiting=len(batch))
    log.warning("the portal does not answer as it should", extra=waiting)
    first = batch[0]
    due = context.health.failed(error, Scope(first.kind, first.line))
    if isinstance(error, OutcomeUnknown):
        if error.is_odd or len(batch) == 1:  # what may be the reason takes no other with it again
            context.quarantine.isolate(batch)
        pause = context.health.circuits.pause(max(delivery.attempts for delivery in batch))
        due = max(due, context.clock.now() + pause)
    context.recorder.record([to_error(delivery, error, due) for delivery in batch])
