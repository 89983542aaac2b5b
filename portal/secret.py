"""Whether the application's client secret is the right one: a renewal of the tokens tells.

Nothing else asks for the secret, so a wrong one would be found when the first tokens expire, an
hour after an install that seemed to succeed.
"""

import logging

from bitrix import Bitrix
from logs import of_kind
from portal.install_error import InstallError
from portal.tokens import client_digest
from rest.errors import RENEWAL_LOST, BitrixError, OutcomeUnknown, TryLater
from settings import Bitrix24Settings
from storage import Store
from store.records import Portal, ReportedFault

log = logging.getLogger(__name__)

# What the OAuth server says of a wrong client_id or client_secret.
NOT_OUR_SECRET = {"WRONG_CLIENT", "INVALID_CLIENT", "INVALID_CREDENTIALS"}


class Secret:
    def __init__(self, settings: Bitrix24Settings, store: Store, bitrix: Bitrix) -> None:
        self._settings = settings
        self._store = store
        self._bitrix = bitrix

    def is_proved(self) -> bool:
        """Whether a renewal has succeeded with the client_id and the secret of the settings."""
        return self._store.notes.renewed_with.get() == client_digest(self._settings)

    def prove_at_install(self, former: Portal | None) -> None:
        """Renew the pair that an install has just brought; `former` is the grant before it.

        Raises InstallError for a wrong secret, and BitrixError if the new pair was lost. An OAuth
        server that cannot be asked now, or says anything else, fails no install.
        """
        tried = self._store.portal.find()
        error = self._try()
        if error is None:
            return
        if error.code in NOT_OUR_SECRET:
            raise InstallError("wrong_secret", 503, code=error.code)
        if error.code == RENEWAL_LOST:
            raise error
        if error.code == "INVALID_GRANT" and former is not None and tried is not None:
            # An old form, posted again: its pair was used before, and the one that we had lives.
            self._store.portal.save_tokens(
                former.access_token, former.refresh_token, former.expires_at,
                instead_of=tried.refresh_token,
            )  # fmt: skip
            self._store.notes.refused_renewal.clear()

    def prove_if_changed(self) -> bool:
        """Renew once with another client_id or secret than the last renewal had.

        Returns False if the OAuth server cannot be asked now: to be tried again soon.
        """
        if self.is_proved():
            return True
        return not isinstance(self._try(), TryLater | OutcomeUnknown)

    def _try(self) -> BitrixError | None:
        """Renew now. A refusal is noted until a renewal succeeds (portal/tokens.py)."""
        try:
            self._bitrix.renew()
        except BitrixError as error:
            told = of_kind(error.method)
            if error.code in NOT_OUR_SECRET:
                log.error("the OAuth server refuses the client secret: %s", error.code, extra=told)
            else:
                log.warning("the client secret cannot be tried now: %s", error.code, extra=told)
            self._store.notes.refused_renewal.set(ReportedFault(error.method, error.code))
            return error
        return None
