"""The application's own tokens, where the REST client finds and renews them."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from rest.errors import RENEWAL_LOST
from rest.lease import only_while
from rest.replies import Grant
from settings import Bitrix24Settings
from storage import Store
from store.fence import unfenced

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
        # The REST client compares with the clock of this host; the store has times of its own.
        expires_at = portal.expires_at + self._store.database.clock_ahead()
        return Grant(portal.access_token, portal.refresh_token, expires_at)

    def save(self, old: Grant, new: Grant) -> bool:
        is_saved = self._store.portal.save_tokens(
            new.access_token,
            new.refresh_token,
            new.expires_at - self._store.database.clock_ahead(),
            instead_of=old.refresh_token,
        )
        self._end_renewal(old)
        if is_saved and self._settings is not None:
            self._store.notes.renewed_with.set(client_digest(self._settings))
            self._store.notes.renewed_at.set(self._store.now())
            self._store.notes.refused_renewal.clear()
        fault = self._store.notes.fault.get()
        if is_saved and fault is not None and fault.code == RENEWAL_LOST:
            # It was not lost, only late: another host may have tried the old pair meanwhile.
            self._store.notes.mended_at.set(self._store.now())
        return is_saved

    def begin_renewal(self, old: Grant) -> None:
        if not self.renewal_began(old):
            self._store.notes.renewal.set(_digest(old))

    def renewal_began(self, old: Grant) -> bool:
        return self._store.notes.renewal.get() == _digest(old)

    def renewal_refused(self, old: Grant) -> None:
        self._end_renewal(old)

    def _end_renewal(self, old: Grant) -> None:
        """Another host may have begun one with another pair by now: its note stays."""
        if self.renewal_began(old):
            self._store.notes.renewal.clear()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Within it a new pair is kept by whoever got it, even if another one delivers by now.

        It is the only one that works. Whoever has lost this lock begins no renewal.
        """
        with (
            self._store.database.lock("tokens", LOCK_SECONDS) as lock,
            only_while(lock.is_held_now),
            unfenced(),
        ):
            yield


def _digest(grant: Grant) -> str:
    """Which pair it is: a new install brings another one, to which the old note says nothing."""
    return hashlib.sha256(grant.refresh_token.encode()).hexdigest()[:32]


def client_digest(settings: Bitrix24Settings) -> str:
    """Which client id and secret these are, without telling them."""
    pair = (settings.client_id, settings.client_secret.get_secret_value())
    return hashlib.sha256(repr(pair).encode()).hexdigest()[:16]
