"""Notes in the store what became of deliveries, and keeps what the store cannot take now.

What is noted is also a step of the message's way in the log.
"""

import logging
import re

import way
from delivery.clock import Clock
from storage import Store
from store.database import StoreUnavailable
from store.fence import Superseded
from store.records import Delivery, Outcome

WAITING = 10_000  # deliveries of which is known why they wait; more are told again
STEPS = {
    ("message", "delivered"): "confirmed",
    ("message", "failed"): "refused",
    ("message", "queued"): "waits",
    ("message", "in doubt"): "in doubt",
    ("confirmation", "delivered"): "confirmed",
    ("confirmation", "failed"): "not confirmed",
    ("confirmation", "queued"): "waits for its confirmation",
}
# What the portal's own sentence about a message may quote of it: anything in quotation marks, an
# e-mail, a number.
QUOTED = re.compile(r'"[^"]*"|«[^»]*»|“[^”]*”|\S*@\S*|\+?\d[\d ()-]{4,}')
LEAST_TEXT = 4  # letters of a name or text that could be recognised


class Recorder:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._unrecorded: list[tuple[list[Outcome], float]] = []
        self._waits: dict[int, str | None] = {}  # deliveries, and why they wait, as the log says

    def begun(self, delivery: Delivery, line: int) -> None:
        """A call with this delivery begins. Of one that is tried often it is said once."""
        if delivery.id not in self._waits:
            attempt = delivery.attempts + 1 if delivery.attempts else None
            way.step("sent", delivery.message.id, delivery.chat.id, line=line, attempt=attempt)

    def record(self, outcomes: list[Outcome]) -> None:
        """Note outcomes. Where the store is not available, keep those that must be noted for later.

        The others stay in the store as they are: another process may have begun with them by
        then. Raises StoreUnavailable.
        """
        if not outcomes:
            return
        now = self._clock.now()
        try:
            self._store.queue.record(outcomes, now)
        except Superseded:
            raise
        except StoreUnavailable:
            self._unrecorded.append(
                ([outcome for outcome in outcomes if outcome.must_be_noted], now)
            )
            raise
        self._tell(outcomes, now)

    def record_late(self) -> None:
        """Note what could not be noted before; raises StoreUnavailable.

        Where another process has taken over, it looks itself for what has become of these.
        """
        while self._unrecorded:
            try:
                self._store.queue.record(*self._unrecorded[0])
            except Superseded:
                self._unrecorded.clear()
                raise
            self._tell(*self._unrecorded.pop(0))

    def _tell(self, outcomes: list[Outcome], now: float) -> None:
        for outcome in outcomes:
            if self._is_news(outcome):
                tell(outcome, now)

    def _is_news(self, outcome: Outcome) -> bool:
        """Whether the log does not have this of the delivery yet: in an outage all are tried often.

        A message in doubt is looked for again and again, too.
        """
        delivery = outcome.delivery
        if outcome.state != "queued":
            self._waits.pop(delivery.id, None)
            return outcome.state != delivery.state
        if not outcome.attempted and outcome.error == delivery.error:
            return False  # nothing has happened: another's trouble holds it back
        if len(self._waits) >= WAITING:
            self._waits.clear()
        is_news = self._waits.get(delivery.id, "") != outcome.error
        self._waits[delivery.id] = outcome.error
        return is_news


def tell(outcome: Outcome, now: float) -> None:
    """Write a step of a message's way."""
    delivery = outcome.delivery
    in_doubt = delivery.state == "in doubt"  # it was looked for in the portal's history
    is_over = outcome.state in ("delivered", "failed")
    is_well = outcome.state in ("delivered", "queued")
    called_at = None if in_doubt else delivery.called_at
    way.step(
        STEPS[delivery.kind, outcome.state],
        delivery.message.id,
        delivery.chat.id,
        logging.INFO if is_well else logging.WARNING,
        line=delivery.line,
        code=reason(outcome),
        found=True if in_doubt and (outcome.state == "delivered" or outcome.file_as_link) else None,
        session=outcome.dialog.session_id,
        ms=None if called_at is None else round((now - called_at) * 1000, 1),
        age_s=round(now - delivery.message.sent_at, 1) if is_over else None,
    )


def reason(outcome: Outcome) -> str | None:
    """Why; of the portal's own sentence without what it may quote of the visitor's words."""
    delivery = outcome.delivery
    code = outcome.error or (None if delivery.state == "queued" else delivery.error)
    if code is None or code.isupper():
        return code
    chat, text = delivery.chat, delivery.message.text
    for words in (text, *text.split(), chat.name, chat.email, chat.phone):
        if len(words) >= LEAST_TEXT:
            code = code.replace(words, "…")
    return QUOTED.sub("…", code)
