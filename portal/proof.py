"""Proves that a request comes from our portal, before anything in it is believed.

Tokens are sent to the portal of the settings, and nowhere else.
"""

import hmac
import logging

from addresses import readable
from bitrix import Bitrix
from logs import of_kind
from portal.events import Event
from portal.install_error import InstallError, explained
from portal.place import portal_address
from rates import Rates
from rest.errors import Cause, SetupFault
from settings import Settings
from storage import Store
from store.database import StoreUnavailable
from store.records import TooMany

log = logging.getLogger(__name__)

PROOFS = "proofs"  # the name under which failed proofs are counted
OWN_PROOFS = "proofs of our portal"  # the same, of requests that name our portal


class Proof:
    def __init__(self, settings: Settings, store: Store, bitrix: Bitrix) -> None:
        self._settings = settings
        self._store = store
        self._bitrix = bitrix
        per_minute = settings.limits.failed_proofs_per_minute
        self._uncounted = Rates(per_minute, per_minute / 60)  # while the store cannot be written

    def names_our_portal(self, member_id: str) -> bool:
        """Whether a request names the portal that has installed us. Strangers do not know its id.

        It proves nothing, as all its employees can know the id; it tells them from strangers.
        """
        portal = self._store.portal.find()
        known = portal.member_id if portal else ""
        return bool(known) and same(member_id, known)

    def may_know(self, member_id: str) -> bool:
        """Whether a request names our portal, or none has installed us that it could name."""
        return self._store.portal.find() is None or self.names_our_portal(member_id)

    def prove(self, access_token: str, member_id: str = "") -> None:
        """Raise InstallError unless our portal knows the token as one of our application's.

        Each proof costs a call, so failed proofs are limited, for all askers together (TooMany): a
        flood of forgeries must not use up the calls that the portal allows us. Requests that name
        our portal by its `member_id` have a limit of their own, which strangers cannot use up.
        """
        now = self._store.now()
        counted = OWN_PROOFS if self.names_our_portal(member_id) else PROOFS
        is_stored = self._count(counted, now)
        try:
            code = self._bitrix.app_of_token(access_token)
        except SetupFault as error:
            if error.cause is not Cause.TOKEN:
                raise
            told = of_kind("token")  # anybody can bring a token
            log.warning("a token was not accepted by the portal: %s", error.code, extra=told)
            portal = readable(portal_address(self._settings.bitrix24, self._store))
            raise InstallError("wrong_portal", 403, portal=portal) from None
        if not same(code, self._settings.bitrix24.client_id):
            raise InstallError("wrong_application", 403)
        if is_stored:
            self._store.limits.uncount_hit(counted, now)

    def _count(self, counted: str, now: float) -> bool:
        """Count a proof; raises TooMany. Returns whether the store has counted it.

        Who has to mend a store that can only be read must be shown why: then this process counts.
        """
        try:
            limit = self._settings.limits.failed_proofs_per_minute
            self._store.limits.count_hit(counted, limit, now)
        except StoreUnavailable:
            self._uncounted.take(counted)
            return False
        return True

    def is_from_portal(self, event: Event) -> bool:
        """Whether the event carries our application token.

        We learn it from an event whose access token the portal confirms to be our application's.
        An event without an access token (an uninstall, say) can only match a stored token. After an
        install whose page had no application token, the stored one may belong to the former
        installation. Until an event has proved a new one, the stored one is good for every event
        except an uninstall. Raises InstallError or TooMany if the portal cannot be asked now.
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
            with explained(self._settings.bitrix24, self._store):
                self.prove(auth.access_token)
        except (InstallError, TooMany) as error:
            if matches or (isinstance(error, InstallError) and error.status < 500):
                return matches
            raise  # the portal could not be asked, so the event may be genuine
        self._store.portal.learn_application_token(auth.application_token)
        return True


def same(first: str, second: str) -> bool:
    """Whether two secrets are equal; the time that it takes does not tell where they differ."""
    return hmac.compare_digest(first.encode(), second.encode())
