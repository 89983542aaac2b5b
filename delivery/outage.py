"""Whether the portal answers at all, which is asked by a call that carries no message.

A call that is broken off leaves its messages in doubt for as long as the portal may still work on
them. So after a call that was not answered the next one only asks. While that is not answered
either, nothing else goes out, and the portal is asked every few seconds: an outage takes few
messages along, and once it is over nobody waits for the end of a long pause.
"""

import logging

from delivery.circuits import PORTAL, Circuits, Scope
from logs import facts
from rest.errors import NO_REPLY, NOT_CONNECTED, OAUTH, BitrixError, OutcomeUnknown

log = logging.getLogger(__name__)

LONGEST_PAUSE = 2.5  # between two questions: what is written after an outage arrives within 5 s


class Outage:
    def __init__(self, circuits: Circuits) -> None:
        self._circuits = circuits
        self._opened: set[Scope] = set()  # circuits that calls without an answer have opened
        self._asks = False  # the next call has to ask
        self._next_at = 0.0  # no question before
        self._holds_back = False
        self._is_slow = False
        self._unanswered = 0  # questions in a row

    @property
    def holds_back(self) -> bool:
        """Whether nothing but questions may go out."""
        return self._holds_back

    @property
    def is_slow(self) -> bool:
        """Whether the last question was not answered in time: a message may be taken all the same.

        Or it may be lost, so each goes alone.
        """
        return self._is_slow

    @property
    def unanswered(self) -> int:
        return self._unanswered

    def asks(self, now: float) -> bool:
        """Whether the next call has to ask, and may do so now."""
        return self._asks and now >= self._next_at

    def ask_at_once(self) -> None:
        """Somebody has mended what was in the way, or the clock was set back."""
        self._next_at = 0.0

    # -- what became of calls

    def failed(self, error: BitrixError) -> None:
        """A call has failed, whatever it was for."""
        if is_silence(error):
            self._asks = True

    def opened(self, scope: Scope, until: float, error: BitrixError) -> None:
        """It has opened this circuit. Where nothing was sent, the question waits for its end."""
        if is_silence(error):
            self._opened.add(scope)
            if error.code == NOT_CONNECTED:
                self._next_at = max(self._next_at, until)

    def not_answered(self, error: BitrixError, now: float) -> None:
        """A question has failed. Whatever else is said in place of an answer is one."""
        if not is_silence(error):
            self.answered()
            return
        self._unanswered += 1
        self._next_at = now + min(self._circuits.pause(self._unanswered), LONGEST_PAUSE)
        self._is_slow = error.code == NO_REPLY
        if not (self._is_slow or self._holds_back):
            log.warning("the portal answers nothing", extra=facts(code=error.code))
        self._holds_back = self._asks = not self._is_slow

    def answered(self) -> None:
        """A call was answered. If questions were not, what has waited for that may go at once."""
        if self._unanswered:
            self._circuits.close(PORTAL, *self._opened)
            log.info("the portal answers again")
        self._opened.clear()
        self._asks = self._holds_back = self._is_slow = False
        self._unanswered, self._next_at = 0, 0.0


def is_silence(error: BitrixError) -> bool:
    """Whether an error may mean that nobody answers at the portal, whatever is asked."""
    if error.method == OAUTH:
        return False
    lost = isinstance(error, OutcomeUnknown) and not error.is_odd
    return lost or error.code == NOT_CONNECTED
