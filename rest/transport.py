"""Calls with the application's own tokens, which are renewed at the OAuth server as they expire.

REST calls go to the portal, renewals to its OAuth server, and nowhere else.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from rest.deadline import late_answers_count
from rest.errors import (
    OAUTH,
    OAUTH_APP_INFO,
    RENEWAL_LOST,
    STRANGE_ANSWER,
    BitrixError,
    OutcomeUnknown,
    Refused,
    SetupFault,
    TryLater,
)
from rest.http import Http
from rest.limits import OperatingTimes, clock_difference
from rest.php import php_form
from rest.replies import Grant, grant_from
from settings import Bitrix24Settings

log = logging.getLogger(__name__)

ANSWER_SECONDS = 20.0  # of every call but send.messages
OAUTH_SECONDS = 10.0
RENEW_EARLY_SECONDS = 60.0
RENEW_AGAIN_SECONDS = 10.0  # after a renewal that failed, while the token is still good
TRIES = 2  # of a renewal whose answer is lost


class Tokens(Protocol):
    """Where the application's own tokens live, shared by all processes."""

    def load(self) -> Grant | None: ...

    def lock(self) -> AbstractContextManager[None]:
        """Hold this to renew: a refresh token works once, so of two renewals one would fail."""
        ...

    def begin_renewal(self, old: Grant) -> None:
        """Note that the grant's refresh token goes out now."""
        ...

    def renewal_began(self, old: Grant) -> bool:
        """Whether the refresh token went out and no answer was noted.

        The answer is on its way, was lost, or our process died before its note.
        """
        ...

    def save(self, old: Grant, new: Grant) -> bool:
        """Store the new pair in the place of the old one; the renewal has ended.

        False where another pair stands there by now: whoever hung in a renewal keeps his own.
        """
        ...

    def renewal_refused(self, old: Grant) -> None:
        """The renewal has ended without a new pair, and the old pair is as good as before."""
        ...


class Transport:
    """Makes calls with our tokens, and raises what a failure means."""

    def __init__(
        self, settings: Bitrix24Settings, tokens: Tokens, portal: Callable[[], str] | None = None
    ) -> None:
        """`portal` gives the address that REST calls go to; the setting does, if it is left out."""
        self._settings = settings
        self._tokens = tokens
        self._portal = portal or (lambda: settings.portal)
        self._http = Http(settings.ca_file)
        self._times = OperatingTimes()
        self.clock_seconds: float | None = None  # the portal's clock minus ours, last seen
        self._renew_again_at = 0.0
        self._said_lost = ""  # the refresh token whose loss the log has

    def call(self, method: str, params: dict[str, Any], timeout: float = ANSWER_SECONDS) -> Any:
        """Call with our own token, renewed if it is about to expire.

        If the portal still says that the token has expired, renew it and repeat the call once.
        While an old token is good, a renewal that fails holds nothing up.
        """
        grant = self._tokens.load()
        if grant is None:
            raise SetupFault("NOT_INSTALLED", method)
        if grant.expires_at - RENEW_EARLY_SECONDS < time.time():
            grant = self._renew_early(grant)
        try:
            return self.call_with(method, params, grant.access_token, timeout)
        except SetupFault as error:
            # A renewal whose answer was lost may have ended the old access token, too.
            ended = error.code == "INVALID_TOKEN" and self._tokens.renewal_began(grant)
            if not (error.wants_a_new_token or ended):
                raise
        grant = self._renew(grant)
        return self.call_with(method, params, grant.access_token, timeout)

    def call_with(
        self,
        method: str,
        params: dict[str, Any],
        access_token: str,
        timeout: float = ANSWER_SECONDS,
        portal: str = "",
    ) -> Any:
        """Call with a token that somebody handed us, or with our own.

        Another address than the portal's is given only where it was proved to be the same portal.
        """
        form = dict(php_form(params)) | {"auth": access_token}
        url = f"{portal or self._portal()}/rest/{method}.json"
        began = time.time()
        try:
            answer = self._http.post(url, form, method, timeout)
        except TryLater as error:
            raise self._times.completed(error) from None
        self.clock_seconds = clock_difference(answer.get("time"), began, time.time())
        if "result" not in answer:
            raise OutcomeUnknown(STRANGE_ANSWER, method)
        self._times.note(method, answer)
        return answer["result"]

    def app_info_of_oauth_server(self, access_token: str) -> Any:
        """What the OAuth server says of a token, and of the portal where it is good."""
        url = f"{self._settings.oauth_server}/rest/app.info/"
        answer = self._http.post(url, {"auth": access_token}, OAUTH_APP_INFO, OAUTH_SECONDS)
        if "result" not in answer:
            raise OutcomeUnknown(STRANGE_ANSWER, OAUTH_APP_INFO)
        return answer["result"]

    def renew(self) -> None:
        """Renew our own tokens now; raises BitrixError as a call does."""
        grant = self._tokens.load()
        if grant is None:
            raise SetupFault("NOT_INSTALLED", OAUTH)
        self._renew(grant)

    def _renew_early(self, grant: Grant) -> Grant:
        """The renewed grant; the old one while it is good and its renewal fails."""
        still_good = grant.expires_at > time.time()
        if still_good and time.time() < self._renew_again_at:
            return grant
        try:
            return self._renew(grant)
        except BitrixError as error:
            if not still_good:
                raise
            log.warning("the access token cannot be renewed yet: %s", error.code)
            self._renew_again_at = time.time() + RENEW_AGAIN_SECONDS
            return grant

    def _renew(self, old: Grant) -> Grant:
        """Exchange the refresh token; the new pair is stored before it is used.

        One process at a time renews. Others wait and then use the pair that it stored.
        """
        with self._tokens.lock():
            stored = self._tokens.load()
            if stored is None:
                raise SetupFault("NOT_INSTALLED", OAUTH)
            if stored.access_token != old.access_token:
                return stored
            grant = self._new_pair(stored)
            if self._tokens.save(stored, grant):
                log.info("access token renewed")
                return grant
        later = self._tokens.load()
        if later is None:
            raise SetupFault("NOT_INSTALLED", OAUTH)
        log.warning("another pair of tokens was stored while this one was renewed")
        return later

    def _new_pair(self, old: Grant) -> Grant:
        """The pair that the OAuth server gives for the old one.

        A lost answer may have held the only pair that works. So the old pair is tried once more at
        once; if the server knows it no longer, only a new install helps, and RENEWAL_LOST says so.
        """
        lost = self._tokens.renewal_began(old)
        self._tokens.begin_renewal(old)
        for tries_left in reversed(range(TRIES)):
            try:
                return self._ask_for_pair(old)
            except OutcomeUnknown as error:
                lost = True
                log.warning("the answer of a token renewal was lost: %s", error.code)
                if not tries_left:
                    # The call that needs the token was not made, so it may be repeated.
                    raise TryLater(error.code, OAUTH) from None
            except BitrixError as error:
                if lost and error.code == "INVALID_GRANT":
                    self._say_lost(old)
                    raise SetupFault(RENEWAL_LOST, OAUTH) from None
                if not lost:
                    self._tokens.renewal_refused(old)
                if isinstance(error, Refused):  # our set-up is refused, not the call
                    raise SetupFault(error.code, OAUTH, error.description) from None
                raise
        raise AssertionError("the last try returns or raises")

    def _ask_for_pair(self, old: Grant) -> Grant:
        form = {
            "grant_type": "refresh_token",
            "client_id": self._settings.client_id,
            "client_secret": self._settings.client_secret.get_secret_value(),
            "refresh_token": old.refresh_token,
        }
        url = f"{self._settings.oauth_server}/oauth/token/"
        with late_answers_count():
            answer = self._http.post(url, form, OAUTH, OAUTH_SECONDS)
        grant = grant_from(answer)
        if grant is None:
            raise OutcomeUnknown(STRANGE_ANSWER, OAUTH)
        return grant

    def _say_lost(self, old: Grant) -> None:
        """Log it once for each pair: every call runs into it until somebody installs anew."""
        if self._said_lost != old.refresh_token:
            self._said_lost = old.refresh_token
            log.error(
                "the answer of a token renewal was lost and the old tokens are void: nothing can be"
                " sent until an administrator reinstalls the application in Bitrix24"
            )
