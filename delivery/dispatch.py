"""What sending messages and confirming answers have in common: who waits, and what a failure means.

A delivery behind an open circuit is put off in the store until the circuit lets a call pass, so
that it does not take the place of others in the next look at the queue.
"""

import logging
from collections.abc import Callable

from delivery.circuits import Scope
from delivery.health import names_no_cause
from delivery.parts import Parts
from delivery.reaction import to_error
from rest.errors import BitrixError, OutcomeUnknown
from store.records import Delivery, Outcome

log = logging.getLogger(__name__)

TOLERATED = 5  # refusals in a row, each of one delivery alone, before others of the line wait
REFUSAL_SECONDS = 5.0  # the longest such pause: messages that were not tried yet may be fine


def awake(
    parts: Parts, waiting: list[Delivery], line_of: Callable[[Delivery], int | None], now: float
) -> tuple[list[Delivery], bool]:
    """Those that no circuit holds back, first the ones that were never refused alone.

    Also whether any was put off until its circuit lets a call pass. What follows a message in its
    chat waits with it.
    """
    fresh, refused, held_back = [], [], []
    chats: set[str] = set()  # whose first message does not go, so no later one may
    for one in waiting:
        if one.kind == "message" and one.chat.id in chats:
            continue
        was_refused = parts.quarantine.was_refused_alone(one)
        scopes = [Scope(one.kind, line_of(one))]
        if was_refused:
            scopes.append(Scope(one.kind, suspects=True))
        until = parts.health.circuits.open_until(*scopes)
        if until <= now and not was_refused:
            fresh.append(one)
            continue
        chats.add(one.chat.id)
        if until > now:
            held_back.append(Outcome(one, "queued", one.error, until, attempted=False))
        else:
            refused.append(one)
    parts.recorder.record(held_back)
    return fresh + refused, bool(held_back)


def failed(parts: Parts, batch: list[Delivery], error: BitrixError) -> None:
    """A call with these came to nothing, or its answer was lost."""
    if not names_no_cause(error):
        put_off(parts, batch, error)
    elif len(batch) > 1:
        # One of them may be bad; each alone will show which.
        parts.quarantine.isolate(batch)
        parts.recorder.record([Outcome(one, "queued", error.code) for one in batch])
    else:
        refused_alone(parts, batch[0], error)


def refused_alone(parts: Parts, delivery: Delivery, error: BitrixError) -> None:
    """The portal, or what stands before it, refuses a call with this one alone.

    More likely the portal has trouble than this message is bad.
    """
    known = parts.quarantine.was_refused_alone(delivery)
    if parts.quarantine.refused_alone(delivery):
        log.warning("message %d refused: %s", delivery.message.id, error.code)
        parts.quarantine.release([delivery])
        reason = error.code if delivery.kind == "message" else None
        parts.recorder.record([Outcome(delivery, "failed", reason)])
        return
    circuits, now = parts.health.circuits, parts.clock.now()
    parts.health.tell(Scope(delivery.kind), error)
    if known:
        circuits.failed(Scope(delivery.kind, suspects=True), now)
    else:  # others may be refused, too, or only for a while
        line = Scope(delivery.kind, delivery.line)
        circuits.failed(line, now, at_most=REFUSAL_SECONDS, tolerated=TOLERATED)
    due = now + circuits.pause(delivery.attempts + 1)
    parts.recorder.record([Outcome(delivery, "queued", error.code, due)])


def put_off(parts: Parts, batch: list[Delivery], error: BitrixError) -> None:
    """The portal's trouble, not theirs: they wait for its circuit."""
    log.warning("%s: %s (%d waiting)", error.method, error.code, len(batch))
    first = batch[0]
    due = parts.health.failed(error, Scope(first.kind, first.line))
    if isinstance(error, OutcomeUnknown) and first.kind == "message":
        pause = parts.health.circuits.pause(max(one.attempts for one in batch))
        due = max(due, parts.clock.now() + pause)
    parts.recorder.record([to_error(one, error, due) for one in batch])
