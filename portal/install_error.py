"""The errors of an install or connect, each with the text that explains it to the administrator."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from addresses import both_forms, readable
from logs import of_kind
from portal.place import asked, portal_address
from rest.errors import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_NOT_YET_VALID,
    CERTIFICATE_OF_ANOTHER_HOST,
    CERTIFICATE_SELF_SIGNED,
    CERTIFICATE_UNKNOWN,
    LOCK_LOST,
    NO_REPLY,
    BitrixError,
    Cause,
    answered_nothing,
)
from settings import Bitrix24Settings
from storage import Store

log = logging.getLogger(__name__)

# The text that explains each cause, and the HTTP status of the page that says it.
EXPLAINED: dict[Cause, tuple[str, int]] = {
    Cause.BUSY: ("portal_busy", 503),
    Cause.UNREACHABLE: ("unreachable", 503),
    Cause.NOT_A_PORTAL: ("not_a_portal", 502),
    Cause.CERTIFICATE: ("certificate_refused", 503),
    Cause.RENAMED: ("renamed", 503),
    Cause.BLOCKED: ("portal_blocked", 502),
    Cause.ENDED: ("portal_ended", 502),
    Cause.TOKEN: ("setup", 502),
    Cause.SETUP: ("setup", 502),
    Cause.RENEWAL: ("renewal_lost", 502),
}

# The texts of the faults of a certificate that have a cure of their own.
CERTIFICATES = {
    CERTIFICATE_UNKNOWN: "certificate_unknown",
    CERTIFICATE_SELF_SIGNED: "certificate_self_signed",
    CERTIFICATE_EXPIRED: "certificate_expired",
    CERTIFICATE_NOT_YET_VALID: "certificate_not_yet_valid",
    CERTIFICATE_OF_ANOTHER_HOST: "certificate_of_another_host",
}


class InstallError(Exception):
    """An install or connect that failed; `key` names the text that says how to mend it."""

    def __init__(self, key: str, status: int, **values: object) -> None:
        super().__init__(key)
        self.key = key
        self.status = status  # the HTTP status of the page
        self.values = values


def explanation(code: str, cause: Cause) -> tuple[str, int]:
    """The text that says what to do about an error, and the HTTP status of its page."""
    if code == LOCK_LOST:
        return "busy", 503
    key, status = EXPLAINED.get(cause, ("refused", 502))
    if cause is Cause.UNREACHABLE and not answered_nothing(code):
        key = "server_slow" if code == NO_REPLY else "server_error"
    return CERTIFICATES.get(code, key), status


@contextmanager
def explained(settings: Bitrix24Settings, store: Store, place: str = "") -> Iterator[None]:
    """Turn a BitrixError into an InstallError that says what to do.

    `place` is the portal's address that is called, if it is not the one of all other calls.
    """
    try:
        yield
    except BitrixError as error:
        log.warning("%s failed: %s", error.method, error.code, extra=of_kind(error.method))
        key, status = explanation(error.code, error.cause)
        place = place or portal_address(settings, store)
        raise InstallError(
            key,
            status,
            method=error.method,
            code=error.code,
            portal=readable(asked(settings, place, error.method)),
            description=error.description[:300],
            address=both_forms(error.address),
            new_portal=error.address,
        ) from None
