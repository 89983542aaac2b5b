"""Tickets: what lets the forms of our pages in the portal act for an administrator.

Such a page is a frame without cookies, so its forms carry the right in themselves: signed with the
store's key, for one purpose and for a limited time. What a ticket was made for, the portal that has
installed us for one, must still be so when it comes back.
"""

from collections.abc import Callable
from typing import Any

from itsdangerous import BadData, SignatureExpired, TimestampSigner, URLSafeTimedSerializer

from storage import Store


class TicketRefused(Exception):
    """The ticket is none of ours, or what it was made for is so no longer."""


class TicketExpired(TicketRefused):
    """The ticket is one of ours, and its time is over."""


class _Signer(TimestampSigner):
    """Signs with the time of the store: another host may take the form, by a clock of its own."""

    def __init__(self, *given: Any, now: Callable[[], float], **named: Any) -> None:
        super().__init__(*given, **named)
        self._now = now

    def get_timestamp(self) -> int:
        return int(self._now())


def serializer(key: str, purpose: str, now: Callable[[], float]) -> URLSafeTimedSerializer:
    """Signs and reads for one purpose; `now` is the store's time."""
    return URLSafeTimedSerializer(key, purpose, signer=_Signer, signer_kwargs={"now": now})


class Tickets:
    """The tickets of one purpose."""

    def __init__(self, store: Store, purpose: str, seconds: int) -> None:
        self._store = store
        self._purpose = f"sitechat {purpose}"
        self._seconds = seconds

    def issue(self, *values: str | int | float) -> str:
        """A ticket that holds these values. Everybody who has it can read them."""
        return str(self._serializer().dumps(values))

    def read(self, ticket: str) -> list[Any]:
        """The values of a ticket; raises TicketRefused."""
        try:
            values = self._serializer().loads(ticket, max_age=self._seconds)
        except SignatureExpired:
            raise TicketExpired from None
        except (BadData, ValueError, TypeError):
            raise TicketRefused from None
        if not isinstance(values, list):
            raise TicketRefused
        return values

    def _serializer(self) -> URLSafeTimedSerializer:
        return serializer(self._store.portal.secret_key(), self._purpose, self._store.now)
