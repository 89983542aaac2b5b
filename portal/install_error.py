"""The errors of an install or connect, each with the text that explains it to the administrator."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from addresses import readable
from logs import of_kind
from rest.errors import RENEWAL_LOST, BitrixError, Cause

log = logging.getLogger(__name__)

# The text that explains each cause, and the HTTP status of the page that says it.
EXPLAINED: dict[Cause, tuple[str, int]] = {
    Cause.BUSY: ("portal_busy", 503),
    Cause.UNREACHABLE: ("unreachable", 503),
    Cause.NOT_A_PORTAL: ("not_a_portal", 502),
    Cause.BLOCKED: ("portal_blocked", 502),
    Cause.ENDED: ("portal_ended", 502),
    Cause.TOKEN: ("setup", 502),
    Cause.SETUP: ("setup", 502),
    Cause.RENEWAL: ("renewal_lost", 502),
}


class InstallError(Exception):
    """An install or connect that failed; `key` names the text that says how to mend it."""

    def __init__(self, key: str, status: int, **values: object) -> None:
        super().__init__(key)
        self.key = key
        self.status = status  # the HTTP status of the page
        self.values = values


def fault_key(code: str) -> str:
    """The text that tells the administrator why delivery stands still."""
    return "fault_renewal" if code == RENEWAL_LOST else "fault"


@contextmanager
def explained(portal: str) -> Iterator[None]:
    """Turn a BitrixError into an InstallError that says what to do."""
    try:
        yield
    except BitrixError as error:
        log.warning("%s failed: %s", error.method, error.code, extra=of_kind(error.method))
        key, status = EXPLAINED.get(error.cause, ("refused", 502))
        raise InstallError(
            key,
            status,
            method=error.method,
            code=error.code,
            portal=readable(portal),
            description=error.description[:300],
        ) from None
