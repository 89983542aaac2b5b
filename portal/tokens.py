"""The application's own tokens, where the REST client finds and renews them."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rest.replies import Grant
from settings import Bitrix24Settings
from storage import Store

LOCK_SECONDS = 60.0  # longer than any renewal


class StoredTokens:
    """The application's tokens in the store, as the REST client wants them."""

    def __init__(self, store: Store, settings: Bitrix24Settings | None = None) -> None:
        """With `settings`, each renewal notes with which client id and secret it succeeded."""
        self._store = store
        self._settings = settings

    def load(self) -> Grant | None:
        portal = self._store.portal.find()
        if portal is None:
            return None
        return Grant(portal.access_token, portal.refresh_token, portal.expires_at)

    def save(self, grant: Grant) -> None:
        self._store.portal.save_tokens(grant.access_token, grant.refresh_token, grant.expires_at)
        self._store.notes.renewal.clear()
        if self._settings is not None:
            self._store.notes.renewed_with.set(client_digest(self._settings))
            self._store.notes.renewed_at.set(time.time())
            self._store.notes.refused_renewal.clear()

    def begin_renewal(self, old: Grant) -> None:
        if not self.renewal_began(old):
            self._store.notes.renewal.set(_digest(old))

    def renewal_began(self, old: Grant) -> bool:
        return self._store.notes.renewal.get() == _digest(old)

    def renewal_refused(self) -> None:
        self._store.notes.renewal.clear()

    @contextmanager
    def lock(self) -> Iterator[None]:
        with self._store.database.lock("tokens", LOCK_SECONDS):
            yield


def _digest(grant: Grant) -> str:
    """Which pair it is: a new install brings another one, to which the old note says nothing."""
    return hashlib.sha256(grant.refresh_token.encode()).hexdigest()[:32]


def client_digest(settings: Bitrix24Settings) -> str:
    """Which client id and secret these are, without telling them."""
    pair = (settings.client_id, settings.client_secret.get_secret_value())
    return hashlib.sha256(repr(pair).encode()).hexdigest()[:16]
