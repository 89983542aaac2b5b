"""What an error of Bitrix24 means: what became of the call, whom else it concerns, and why.

Four classes say what the caller may do next. One table gives class, reach and cause of each code;
the portal's codes are compared here, in upper case, and nowhere else. Sources: docs/bitrix24.md,
sections 8 and 9.
"""

import re
import time
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from rest.php import number, words

CODE_LENGTH = 100  # of a code that the log and the admin's page show
DESCRIPTION_LENGTH = 1000
UNFIT = re.compile(
    r"[^\w.:-]+"
)  # no code has such characters, and no line of the log may end there
LONGEST_LIMIT_SECONDS = 3600.0  # the longest wait after OPERATION_TIME_LIMIT (section 9.2)
SHORTEST_LIMIT_SECONDS = 1.0  # the portal names whole seconds: its moment may have passed already
# The portal may refuse to let us read one dialog or all; it then still takes messages.
HISTORY_METHODS = {
    "im.dialog.messages.get",
    "imopenlines.session.history.get",
    "imopenlines.dialog.get",
}
OAUTH = "oauth/token"  # the method's name in the errors of a token renewal
OAUTH_APP_INFO = "oauth/app.info"  # the same, of the question what the OAuth server says of a token
OF_OAUTH_SERVER = {OAUTH, OAUTH_APP_INFO}
ALREADY_BOUND = "already binded"  # the code of this error differs between builds, its text does not
EVENT_IS_BOUND = "ERROR_EVENT_BINDING_EXISTS"
NO_DIALOG = "DIALOG_NOT_FOUND"
METHOD_NOT_FOUND = "ERROR_METHOD_NOT_FOUND"
OPERATION_LIMIT = "OPERATION_TIME_LIMIT"
DIED = "DIED"  # our own code: we stopped between a call and the note of its answer
NOT_CONNECTED = "NOT_CONNECTED"  # our own code: no connection came about, so nothing was sent
NO_REPLY = "NO_REPLY"  # our own code: it was connected, and no answer came in time
CONNECTION_LOST = "CONNECTION_LOST"  # our own code: the connection broke before an answer
STRANGE_ANSWER = "STRANGE_ANSWER"  # our own code: an answer of another shape than documented
RENEWAL_LOST = "RENEWAL_LOST"  # our own code: a renewal's answer was lost, the old tokens are void
PORTAL_RENAMED = "PORTAL_RENAMED"  # our own code: a redirect to the same path of another host
# Our own codes: there is no safe connection, so nothing was sent.
CERTIFICATE_UNKNOWN = "CERTIFICATE_UNKNOWN"  # its issuer is not known
CERTIFICATE_SELF_SIGNED = "CERTIFICATE_SELF_SIGNED"
CERTIFICATE_EXPIRED = "CERTIFICATE_EXPIRED"
CERTIFICATE_NOT_YET_VALID = "CERTIFICATE_NOT_YET_VALID"
CERTIFICATE_OF_ANOTHER_HOST = "CERTIFICATE_OF_ANOTHER_HOST"
CERTIFICATE_REFUSED = "CERTIFICATE_REFUSED"  # for another reason, which the log names
# Our own code: another process has our work, or may have it, so nothing was sent.
LOCK_LOST = "LOCK_LOST"
NO_SESSION = "NO_SESSION"  # our own code: a message was accepted and no session was named


class Reach(Enum):
    """Which calls will fail while the error lasts."""

    ITEM = "item"  # perhaps only this one: the reason may be in its own data
    LINE = "line"  # calls of the same method for the same line
    METHOD = "method"  # calls of the same method
    PORTAL = "portal"  # all calls


class Cause(Enum):
    """What an administrator can be told of an error."""

    BUSY = "busy"  # a limit of the portal is reached
    UNREACHABLE = "unreachable"  # no answer, or none that can be understood
    NOT_A_PORTAL = "not a portal"  # something else answered: a proxy, another site
    CERTIFICATE = "certificate"  # the certificate does not prove that the right server answers
    RENAMED = "renamed"  # the portal answers from another address
    BLOCKED = "blocked"  # Bitrix24 has blocked the portal's REST interface
    ENDED = "ended"  # the portal's plan has lapsed, or the portal is gone
    TOKEN = "token"  # the portal does not take the token  # noqa: S105
    SETUP = "setup"  # rights, scope or registration are missing
    RENEWAL = "renewal"  # our tokens are void, for the answer with the new ones was lost
    LINE_NOT_ACTIVE = "line not active"
    NOT_THERE = "not there"  # what was asked for does not exist
    IS_THERE = "is there"  # what was to be made exists already
    REFUSED = "refused"  # anything else that the portal does not want


class BitrixError(Exception):
    """Bitrix24 did not do what we asked.

    `code` is its own error code or ours, in upper case; `description` the portal's words, for the
    admin's page only. The classes below say what became of the call.
    """

    usual_reach: ClassVar[Reach] = Reach.LINE
    usual_cause: ClassVar[Cause] = Cause.UNREACHABLE

    def __init__(
        self,
        code: str,
        method: str,
        description: str = "",
        seconds: float = 0.0,
        address: str = "",
    ) -> None:
        super().__init__(f"{method}: {code.upper()}")
        self.code = code.upper()
        self.method = method
        self.description = description
        self.seconds = seconds  # the shortest wait that the portal asks for; 0 if it names none
        self.address = address  # of a renamed portal, as its redirect says

    @property
    def reach(self) -> Reach:
        """Which calls will fail as this one did."""
        if self.method == OAUTH:
            return Reach.PORTAL
        if self.seconds:
            return Reach.METHOD
        meaning = MEANINGS.get(self.code)
        return meaning.reach if meaning and isinstance(self, meaning.kind) else self.usual_reach

    @property
    def wants_a_new_token(self) -> bool:
        """Whether the same call may succeed at once with a renewed access token."""
        return self.code == "EXPIRED_TOKEN"

    @property
    def is_odd(self) -> bool:
        """Whether something answered in time, and what it said means nothing to anybody."""
        return self.code == STRANGE_ANSWER or self.code.startswith(("HTTP_1", "HTTP_2", "HTTP_3"))

    @property
    def is_of_the_method(self) -> bool:
        """Whether the method was not taken as such, which says nothing of other methods."""
        return self.code in (METHOD_NOT_FOUND, STRANGE_ANSWER) or self.cause is Cause.NOT_A_PORTAL

    @property
    def is_of_the_way(self) -> bool:
        """Whether a person must mend the way to the portal: its address or its certificate."""
        return is_of_the_way(self.code)

    @property
    def fills_the_bucket(self) -> bool:
        """Whether the portal takes no call at all for now, because there were too many."""
        return self.cause is Cause.BUSY and self.reach is Reach.PORTAL

    @property
    def cause(self) -> Cause:
        if self.code.startswith("HTTP_4") and isinstance(self, Refused | SetupFault):
            return Cause.NOT_A_PORTAL
        meaning = MEANINGS.get(self.code)
        return meaning.cause if meaning and isinstance(self, meaning.kind) else self.usual_cause


class TryLater(BitrixError):
    """Nothing was done; the same call may succeed later, after `seconds` at the earliest."""


class Refused(BitrixError):
    """Nothing was done, and repeating the same call will not help."""

    usual_reach = Reach.ITEM
    usual_cause = Cause.REFUSED


class OutcomeUnknown(BitrixError):
    """The reply was lost: the call may have been carried out."""


class SetupFault(BitrixError):
    """Nothing was done, and nothing will be until a person mends the set-up.

    An unknown code may come from a firewall, which rejects one message.
    """

    usual_reach = Reach.ITEM
    usual_cause = Cause.SETUP


@dataclass(frozen=True)
class Meaning:
    """What a code means, unless the method that was called gives it another meaning."""

    kind: type[BitrixError]
    reach: Reach
    cause: Cause


MEANINGS: dict[str, Meaning] = {
    "QUERY_LIMIT_EXCEEDED": Meaning(TryLater, Reach.PORTAL, Cause.BUSY),
    "HTTP_429": Meaning(TryLater, Reach.PORTAL, Cause.BUSY),
    OPERATION_LIMIT: Meaning(TryLater, Reach.METHOD, Cause.BUSY),
    NOT_CONNECTED: Meaning(TryLater, Reach.PORTAL, Cause.UNREACHABLE),
    LOCK_LOST: Meaning(TryLater, Reach.PORTAL, Cause.UNREACHABLE),
    CERTIFICATE_UNKNOWN: Meaning(TryLater, Reach.PORTAL, Cause.CERTIFICATE),
    CERTIFICATE_SELF_SIGNED: Meaning(TryLater, Reach.PORTAL, Cause.CERTIFICATE),
    CERTIFICATE_EXPIRED: Meaning(TryLater, Reach.PORTAL, Cause.CERTIFICATE),
    CERTIFICATE_NOT_YET_VALID: Meaning(TryLater, Reach.PORTAL, Cause.CERTIFICATE),
    CERTIFICATE_OF_ANOTHER_HOST: Meaning(TryLater, Reach.PORTAL, Cause.CERTIFICATE),
    CERTIFICATE_REFUSED: Meaning(TryLater, Reach.PORTAL, Cause.CERTIFICATE),
    PORTAL_RENAMED: Meaning(SetupFault, Reach.PORTAL, Cause.RENAMED),
    "OVERLOAD_LIMIT": Meaning(SetupFault, Reach.PORTAL, Cause.BLOCKED),
    "PAYMENT_REQUIRED": Meaning(SetupFault, Reach.PORTAL, Cause.ENDED),
    "PORTAL_DELETED": Meaning(SetupFault, Reach.PORTAL, Cause.ENDED),
    "PORTAL_MOVED": Meaning(SetupFault, Reach.ITEM, Cause.NOT_A_PORTAL),
    "NO_AUTH_FOUND": Meaning(SetupFault, Reach.PORTAL, Cause.TOKEN),
    "WRONG_AUTH_TYPE": Meaning(SetupFault, Reach.PORTAL, Cause.TOKEN),
    "INVALID_TOKEN": Meaning(SetupFault, Reach.PORTAL, Cause.TOKEN),
    "EXPIRED_TOKEN": Meaning(SetupFault, Reach.PORTAL, Cause.TOKEN),
    RENEWAL_LOST: Meaning(SetupFault, Reach.PORTAL, Cause.RENEWAL),
    "INVALID_GRANT": Meaning(SetupFault, Reach.PORTAL, Cause.SETUP),
    "WRONG_CLIENT": Meaning(SetupFault, Reach.PORTAL, Cause.SETUP),
    "INVALID_CLIENT": Meaning(SetupFault, Reach.PORTAL, Cause.SETUP),
    "INVALID_CREDENTIALS": Meaning(SetupFault, Reach.PORTAL, Cause.SETUP),
    "INVALID_REQUEST": Meaning(SetupFault, Reach.PORTAL, Cause.SETUP),
    "NOT_INSTALLED": Meaning(SetupFault, Reach.PORTAL, Cause.SETUP),
    "IMCONNECTOR_NOT_SPECIFIED_CORRECT_CONNECTOR": Meaning(SetupFault, Reach.PORTAL, Cause.SETUP),
    "ACCESS_DENIED": Meaning(SetupFault, Reach.METHOD, Cause.SETUP),
    "INSUFFICIENT_SCOPE": Meaning(SetupFault, Reach.METHOD, Cause.SETUP),
    METHOD_NOT_FOUND: Meaning(SetupFault, Reach.METHOD, Cause.SETUP),
    "USER_ACCESS_ERROR": Meaning(SetupFault, Reach.METHOD, Cause.SETUP),
    "NOT_ACTIVE_LINE": Meaning(Refused, Reach.LINE, Cause.LINE_NOT_ACTIVE),
    "IMCONNECTOR_NOT_ACTIVE_LINE": Meaning(Refused, Reach.LINE, Cause.LINE_NOT_ACTIVE),
    NO_DIALOG: Meaning(Refused, Reach.ITEM, Cause.NOT_THERE),
    EVENT_IS_BOUND: Meaning(Refused, Reach.ITEM, Cause.IS_THERE),
}
# Codes of a history method that may not read a dialog.
CLOSED_TO_US = {"ACCESS_DENIED", "INSUFFICIENT_SCOPE", METHOD_NOT_FOUND}


def error_of_answer(answer: dict[str, Any], method: str, status: int) -> BitrixError:
    """The error that a JSON answer of this HTTP status means.

    The code decides, because HTTP 503 may mean a full bucket or a blocked portal (section 9). With
    HTTP 5xx and an unknown code the outcome is unknown: the call had begun.
    """
    try:
        code = code_of(answer["error"], status)
        description = words(answer.get("error_description") or answer.get("error_msg"))
    except TypeError:  # it says that it failed, but nothing that anybody knows
        return OutcomeUnknown(STRANGE_ANSWER, method)
    description = description[:DESCRIPTION_LENGTH]
    if ALREADY_BOUND in description.lower():
        code = EVENT_IS_BOUND
    if method in HISTORY_METHODS:
        if code in CLOSED_TO_US or (status in (401, 403) and code not in MEANINGS):
            return Refused(code, method, description)
        if method == "imopenlines.dialog.get" and code.endswith("NOT_FOUND"):
            return Refused(NO_DIALOG, method, description)
    kind = MEANINGS[code].kind if code in MEANINGS else Refused
    if kind is Refused and status >= 500:
        kind = OutcomeUnknown
    elif code not in MEANINGS and status in (401, 403):
        kind = SetupFault
    # Every answer has a reset time, minutes ahead; only with this code must we wait for it.
    times = answer.get("time") if code == OPERATION_LIMIT else None
    return kind(code, method, description, seconds_to_reset(times))


def code_of(error: object, status: int) -> str:
    """The code that an answer's `error` gives, in upper case; TypeError where it gives none."""
    if isinstance(error, dict):  # some methods put the code one level deeper
        error = error.get("error", status)
    code = "_".join(UNFIT.sub(" ", words(error)[:CODE_LENGTH]).split())
    return code.upper() or f"HTTP_{status}"


def is_of_the_way(code: str) -> bool:
    """Whether the code says that no safe connection to the portal's own address is possible."""
    meaning = MEANINGS.get(code)
    return meaning is not None and meaning.cause in (Cause.CERTIFICATE, Cause.RENAMED)


def error_of_page(method: str, status: int, redirects: bool, renamed: str = "") -> BitrixError:
    """The error that an answer without the portal's JSON means.

    A 4xx page comes from a proxy or firewall in front of the portal and may concern one message
    only: a firewall may reject its text, a proxy its length. So may a redirect. A renamed portal
    sends one to the same path of its new address, `renamed`.
    """
    if renamed:
        return SetupFault(PORTAL_RENAMED, method, address=renamed)
    if redirects:
        return SetupFault("PORTAL_MOVED", method)
    if status == 429:
        return TryLater("HTTP_429", method)
    if 400 <= status < 500:
        return Refused(f"HTTP_{status}", method)
    return OutcomeUnknown(f"HTTP_{status}", method)


def answered_nothing(code: str) -> bool:
    """Whether no connection to the server held: with another code it was reached.

    It then answers with an error of its own, or with what is no answer, or too slowly.
    """
    return code in (NOT_CONNECTED, CONNECTION_LOST, DIED)


def may_go_on(code: str | None) -> bool:
    """Whether the portal may still work on a call that ended with this code, its outcome unknown.

    The portal works until its own time limit, even if the connection broke, our process died or a
    proxy gave up waiting (HTTP 504, 524) long before. After NO_REPLY that limit has passed; any
    other HTTP 5xx means that the work has ended.
    """
    return code in (DIED, CONNECTION_LOST, "HTTP_504", "HTTP_524")


def seconds_to_reset(times: object) -> float:
    """Seconds from the end of the call to `operating_reset_at`, both by the portal's clock."""
    if not isinstance(times, dict):
        return 0.0
    reset_at, finish = number(times.get("operating_reset_at")), number(times.get("finish"))
    if reset_at is None:
        return 0.0
    now = time.time() if finish is None else finish
    return min(max(SHORTEST_LIMIT_SECONDS, reset_at - now), LONGEST_LIMIT_SECONDS)
