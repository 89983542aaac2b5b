"""Installs our connector at the portal, binds events, connects lines; later checks and mends it."""

import contextlib
import hashlib
import logging
from dataclasses import dataclass

from addresses import both_forms
from bitrix import Bitrix
from logs import of_kind
from portal.events import Placement
from portal.exclusive import as_holder, exclusively
from portal.install_error import InstallError, explained
from portal.presence import EVENTS, Presence
from portal.proof import Proof, same
from portal.secret import Secret
from portal.uninstall import Undone, Uninstall
from rest.errors import BitrixError
from rest.replies import Grant
from settings import Settings
from storage import Store, is_of_server
from store.database import (
    DiskFull,
    LockHeld,
    StoreGone,
    StoreNewer,
    StoreNoFile,
    StoreUnavailable,
)
from store.fence import Superseded
from store.log import StoreDamaged
from store.records import KeptClaim, Portal

__all__ = ["EVENTS", "Claim", "Connector", "Undone"]

log = logging.getLogger(__name__)

LOCK_SECONDS = 60.0  # the longest wait for another process that installs or renews tokens
LOST = (StoreDamaged, StoreGone, StoreNewer, StoreNoFile)  # of a store that there was, or another
REPEAT_SECONDS = 3600.0  # after an install, the page may be sent again: as long as its token lasts


@dataclass(frozen=True)
class Claim:
    """What an install page or ONAPPINSTALL hands over, to be proved before it is believed."""

    grant: Grant
    member_id: str
    application_token: str  # "" where the form has none

    def digest(self) -> str:
        """What a repeat of the same claim is known by."""
        tokens = (self.grant.access_token, self.grant.refresh_token)
        whole = (*tokens, self.member_id, self.application_token)
        return hashlib.sha256(repr(whole).encode()).hexdigest()[:32]


class Connector:
    def __init__(self, settings: Settings, store: Store, bitrix: Bitrix, proof: Proof) -> None:
        self._settings = settings
        self._store = store
        self._bitrix = bitrix
        self._proof = proof
        self._presence = Presence(settings, store, bitrix)
        self._secret = Secret(settings.bitrix24, store, bitrix)
        self._was_installed = False  # as far as `check_installed` has seen

    # -- install

    def check_installed(self) -> None:
        """Raise the InstallError that says how to install, until an install has succeeded.

        It reads a row, calls nobody and holds nothing, so anybody may ask. While the store cannot
        be read, what was seen last is so.
        """
        try:
            self._was_installed = self._store.portal.find() is not None
        except StoreUnavailable as error:
            if not self._was_installed:
                raise self._no_store(error) from None
        if not self._was_installed:
            is_complete = self._settings.bitrix24.complete
            key, status = ("not_installed", 409) if is_complete else ("no_settings", 503)
            raise InstallError(key, status, **self.addresses())

    def install(self, claim: Claim) -> bool:
        """Prove and keep a claim's tokens, register the connector and bind the events.

        Returns whether the portal had not installed us before. Repeating it is harmless. Raises
        InstallError and TooMany. Who waits for the lock has been proved to be an administrator, so
        nobody else keeps an administrator waiting.
        """
        settings = self._settings
        if not settings.bitrix24.complete:
            raise InstallError("no_settings", 503)
        try:
            self._store.open()
            user_id = self._proved_administrator(claim)
            # One at a time: two installs at once would bind an event twice.
            with exclusively(self._store, "install", LOCK_SECONDS):
                former = self._keep(claim, user_id)
                self._install_kept(former)
        except LockHeld:
            raise InstallError("busy", 503) from None
        except StoreUnavailable as error:
            raise self._no_store(error) from None
        log.info("installed: connector %s registered, events bound", settings.connector.id)
        return former is None

    def _proved_administrator(self, claim: Claim) -> int:
        """The id of the administrator whose token a claim has."""
        # The token of a repeated claim may have ended as we renewed it: ours is the same user's.
        repeated = self._kept_before(claim)
        token = repeated.access_token if repeated else claim.grant.access_token
        with explained(self._settings.bitrix24, self._store):
            self._proof.prove(token, claim.member_id)
            administrator, user_id = self._bitrix.is_administrator(token)
        if not administrator:
            raise InstallError("not_admin", 403)
        return user_id

    def _kept_before(self, claim: Claim) -> Portal | None:
        """What we have of the portal, if the same claim was proved and kept in the last hour.

        A page is posted again when it is reloaded. Its refresh token has been used by then.
        """
        kept, portal = self._store.notes.kept_claim.get(), self._store.portal.find()
        if portal is None or kept is None or not same(kept.digest, claim.digest()):
            return None
        return portal if 0 <= self._store.now() - kept.at < REPEAT_SECONDS else None

    def _install_kept(self, former: Portal | None) -> None:
        """Try the secret, register and bind with the tokens just kept.

        A failure is retried by the next check. `former` is the grant before this install.
        """
        try:
            with explained(self._settings.bitrix24, self._store):
                self._secret.prove_at_install(former)
                self._presence.register()
                self._presence.bind_events()
        except InstallError:
            with contextlib.suppress(StoreUnavailable):
                self._store.notes.registered.clear()
            raise
        finally:
            self._mended()
        try:
            self._presence.tell_lines()
        except BitrixError as error:  # the next check does it
            log.warning("the lines are not told the chat's address yet: %s", error.code)
        self._store.notes.fault.clear()
        self._store.notes.is_unfinished.clear()
        self._store.notes.replaced_at.clear()

    def _no_store(self, error: StoreUnavailable) -> InstallError:
        if isinstance(error, Superseded):
            return InstallError("busy", 503)
        log.error("the store cannot be used: %s", error, extra=of_kind("store"))
        if isinstance(error, DiskFull):
            return InstallError("disk_full", 503, folder=self._store.database.place)
        # What was installed is not installed anew: its tokens and conversations may be put back.
        is_lost = self._was_installed or isinstance(error, LOST)
        key, status = ("store_lost", 503) if is_lost else ("no_store", 500)
        if key == "no_store" and is_of_server(self._settings.storage.url):
            key, status = "store_away", 503
        said = f" ({error.said})" if error.said else ""
        return InstallError(key, status, folder=self._store.database.place, said=said)

    def addresses(self) -> dict[str, str]:
        """What the admin types into the local application's form."""
        install_url = both_forms(f"{self._settings.public_url}/install")
        return {"install_url": install_url, "handler_url": both_forms(self._settings.handler_url)}

    def _keep(self, claim: Claim, user_id: int) -> Portal | None:
        """Store the tokens of a claim that an administrator was proved to have brought.

        Returns what was stored before of the same portal.
        """
        # The lock keeps a renewal under way from storing its pair over the new one.
        with self._store.database.lock("tokens", LOCK_SECONDS):
            stored, repeated = self._store.portal.find(), self._kept_before(claim)
            grant = repeated or claim.grant  # a pair that was used must not replace its successor
            ahead = 0.0 if repeated else self._store.database.clock_ahead()
            self._store.portal.save(
                Portal(
                    member_id=claim.member_id,
                    user_id=user_id,
                    access_token=grant.access_token,
                    refresh_token=grant.refresh_token,
                    expires_at=grant.expires_at - ahead,
                    # A reinstall changes the token; a page that lacks it does not say whether.
                    application_token=claim.application_token
                    or (stored.application_token if stored else ""),
                    token_pending=not claim.application_token,
                    installed_at=self._store.now(),
                ),
                keeps_pair=repeated is not None,
            )
            if repeated is None:
                self._store.notes.kept_claim.set(KeptClaim(claim.digest(), self._store.now()))
        return stored if stored and stored.member_id == claim.member_id else None

    # -- connect

    def connect(self, placement: Placement) -> None:
        """Switch the connector on (or off) for the line whose settings page was opened.

        The page's token only proves who asks; the calls are made with the application's token.
        """
        settings = self._settings
        if not settings.bitrix24.complete:
            raise InstallError("no_settings", 503)
        if placement.connector not in ("", settings.connector.id):
            raise InstallError("other_connector", 400, connector=settings.connector.id)
        with explained(settings.bitrix24, self._store):
            portal = self._store.portal.find()
            if portal is None:
                raise InstallError("not_installed", 409, **self.addresses())
            self._proof.prove(placement.access_token, placement.member_id)
            token = placement.application_token
            if token and portal.application_token and not portal.token_pending:
                if not same(token, portal.application_token):
                    raise InstallError("wrong_application", 403)
            elif token and self._bitrix.is_administrator(placement.access_token)[0]:
                self._store.portal.learn_application_token(token)
            if not placement.active:
                self._presence.switch_off(placement.line)
                self._store.portal.disconnect_line(placement.line)
                return
            self._presence.switch_on(placement.line)
            self._store.portal.connect_line(placement.line, self._store.now())
        self._store.notes.fault.clear()
        self._store.notes.connected_at.set(self._store.now())
        self._mended()
        log.info("line %d: connector switched on", placement.line)

    def _mended(self) -> None:
        """Let the delivery worker try again at once, if it waits for that."""
        self._store.notes.mended_at.set(self._store.now())

    # -- the hourly check

    def check(self) -> bool:
        """Compare what the portal has of us with what it should have; mend or report it.

        Uninstalls, updates and the portal's own buttons remove bindings and lines without telling
        us (bitrix24.md sections 7 and 8). Returns False if it has to be looked at again soon, as
        the installation is not finished or the secret could not be tried; raises BitrixError when
        the portal cannot be asked.
        """
        is_tried = self._secret.prove_if_changed()
        finished = self._bitrix.is_installed()
        self._store.notes.is_unfinished.set(not finished)
        if not finished:
            log.error("app.info: the installation is not finished, so the portal sends no events")
        with self._store.database.try_lock("install") as held:
            if held is not None:  # else an install does it now
                with as_holder(self._store, "install", held):
                    self._presence.register_if_needed()
                    self._presence.bind_events()
        self._presence.look_after_lines()
        return finished and is_tried

    # -- uninstall

    def uninstall(self, erase: bool = False, offline: bool = False) -> list[Undone]:
        """Take back from the portal what it has of us, and forget it; says what was left undone.

        Histories stay, unless `erase`. Raises InstallError if the portal cannot be asked now: then
        it has forgotten no token, and can be tried again; `offline`: the portal is not asked.
        """
        try:
            with (
                exclusively(self._store, "install", LOCK_SECONDS),
                explained(self._settings.bitrix24, self._store),
            ):
                return Uninstall(self._settings, self._store, self._presence).run(erase, offline)
        except LockHeld:
            raise InstallError("busy", 503) from None
        except StoreUnavailable as error:
            raise self._no_store(error) from None
