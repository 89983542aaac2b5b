"""Who speaks: whoever claims to be the portal is asked for proof.

A token is shown to the portal of the settings, and nowhere else.
"""

import hmac
import logging
import time

from bitrix import Bitrix
from portal.events import Event
from portal.install_error import InstallError, explained
from rest.errors import Cause, SetupFault
from settings import Settings
from storage import Store
from store.records import TooMany

log = logging.getLogger(__name__)

PROOFS = "proofs"  # what failed ones are counted under


class Proof:
    def __init__(self, settings: Settings, store: Store, bitrix: Bitrix) -> None:
        self._settings = settings
        self._store = store
        self._bitrix = bitrix

    def prove(self, access_token: str) -> None:
        """Raise InstallError unless our portal knows the token as one of our application's.

        Each proof costs a call, so those that fail are limited, whoever asks (TooMany): a flood
        of forgeries must leave the portal's limit to the messages.
        """
        now = time.time()
        limit = self._settings.limits.failed_proofs_per_minute
        self._store.limits.count_hit(PROOFS, limit, now)
        try:
            code = self._bitrix.app_of_token(access_token)
        except SetupFault as error:
            if error.cause is not Cause.TOKEN:
                raise
            log.warning("a token was not accepted by the portal: %s", error.code)
            raise InstallError("wrong_portal", 403, portal=self._settings.bitrix24.portal) from None
        if not same(code, self._settings.bitrix24.client_id):
            raise InstallError("wrong_application", 403)
        self._store.limits.uncount_hit(PROOFS, now)

    def is_from_portal(self, event: Event) -> bool:
        """Whether the event carries our application token.

        The first one is learned from an event whose access token the portal confirms to be our
        application's; an event without one (an uninstall, say) can only match what is known.
        After an install whose page had no token, the known token may belong to the installation
        before. Until an event has proved one, we accept it for every event except an uninstall.
        Raises InstallError or TooMany where that cannot be asked for now.
        """
        portal = self._store.portal.find()
        if portal is None:
            return False
        auth = event.auth
        stored_token = portal.application_token
        matches = bool(stored_token) and same(auth.application_token, stored_token)
        if not portal.token_pending:
            return matches
        if event.name == "ONAPPUNINSTALL":
            return False
        if not auth.access_token or auth.member_id != (portal.member_id or auth.member_id):
            return matches
        try:
            with explained(self._settings.bitrix24.portal):
                self.prove(auth.access_token)
        except (InstallError, TooMany) as error:
            if matches or (isinstance(error, InstallError) and error.status < 500):
                return matches
            raise  # we could not ask; the event is not known to be forged
        self._store.portal.learn_application_token(auth.application_token)
        return True


def same(one: str, other: str) -> bool:
    """Whether two secrets are equal; how long it takes says nothing of where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())
