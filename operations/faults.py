"""What an administrator is told of an error of Bitrix24: one finding for each cause."""

from addresses import both_forms, readable
from operations.findings import Finding, Level
from portal.install_error import CERTIFICATES
from rest.errors import (
    MEANINGS,
    NO_REPLY,
    OAUTH,
    BitrixError,
    Cause,
    SetupFault,
    answered_nothing,
)
from store.records import ReportedFault

WRONG_SECRET = {"INVALID_CLIENT", "WRONG_CLIENT", "INVALID_CREDENTIALS"}  # of the OAuth server
NO_CONNECTOR = "IMCONNECTOR_NOT_SPECIFIED_CORRECT_CONNECTOR"
NO_RIGHTS = {"ACCESS_DENIED", "INSUFFICIENT_SCOPE", "ERROR_METHOD_NOT_FOUND", "USER_ACCESS_ERROR"}
KEYS = {
    Cause.BUSY: "server_busy",
    Cause.UNREACHABLE: "server_unreachable",
    Cause.NOT_A_PORTAL: "not_a_portal",
    Cause.CERTIFICATE: "certificate_refused",
    Cause.RENAMED: "portal_renamed",
    Cause.BLOCKED: "portal_blocked",
    Cause.ENDED: "portal_ended",
    Cause.TOKEN: "token_refused",
    Cause.SETUP: "setup_refused",
    Cause.RENEWAL: "renewal_lost",
}
SECRET_KEYS = {"secret_wrong", "grant_void", "renewal_lost"}  # only new tokens or a setting help


def finding_of(error: BitrixError, check: str, server: str) -> Finding:
    """What the error says of the server that was asked."""
    key = fault_key(error.method, error.code, error.cause)
    return _finding(check, key, error.method, error.code, server, error.address)


def finding_of_fault(fault: ReportedFault, check: str, server: str) -> Finding:
    """The same of a fault that delivery has noted."""
    meaning = MEANINGS.get(fault.code)
    cause = meaning.cause if meaning else SetupFault.usual_cause
    key = fault_key(fault.method, fault.code, cause)
    return _finding(check, key, fault.method, fault.code, server, fault.address)


def fault_key(method: str, code: str, cause: Cause) -> str:
    """The text that explains an error and says what to do."""
    if method == OAUTH and code in WRONG_SECRET:
        return "secret_wrong"
    if method == OAUTH and code == "INVALID_GRANT":
        return "grant_void"
    if code == NO_CONNECTOR:
        return "connector_unknown"
    if code in NO_RIGHTS:
        return "method_refused"
    if cause is Cause.UNREACHABLE and not answered_nothing(code):
        return "server_slow" if code == NO_REPLY else "server_error"
    return CERTIFICATES.get(code, KEYS.get(cause, "setup_refused"))


def _finding(check: str, key: str, method: str, code: str, server: str, address: str) -> Finding:
    level = Level.ATTENTION if key == "server_busy" else Level.BROKEN
    if key in SECRET_KEYS:
        check = "secret"
    values = {
        "method": method,
        "code": code,
        "server": readable(server),
        "address": both_forms(address),
    }
    return Finding(check, level, key, values)
