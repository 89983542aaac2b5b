"""Installs our connector at the portal, binds events, connects lines; later checks and mends it."""

import contextlib
import hashlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from addresses import DEFAULT_PORTS, both_forms, web_address
from bitrix import Bitrix
from logs import of_kind
from portal.events import Placement
from portal.install_error import InstallError, explained
from portal.proof import Proof, same
from rest.errors import Reach, Refused, SetupFault
from rest.replies import Grant
from settings import Settings
from storage import Store
from store.database import DiskFull, LockHeld, StoreUnavailable
from store.records import Portal, ReportedFault

log = logging.getLogger(__name__)

EVENTS = (
    "OnImConnectorMessageAdd",
    "OnImConnectorMessageUpdate",
    "OnImConnectorMessageDelete",
    "OnImConnectorDialogStart",
    "OnImConnectorDialogFinish",
    "OnImConnectorStatusDelete",
    "OnImConnectorLineDelete",
    "OnAppUninstall",
)
ICONS = Path(__file__).parent.parent / "static" / "connector"
LOCK_SECONDS = 60.0  # the longest wait for another process that installs or renews tokens


@dataclass(frozen=True)
class Claim:
    """What an install page or ONAPPINSTALL hands over, to be proved before it is believed."""

    grant: Grant
    member_id: str
    application_token: str  # "" where the form has none


class Connector:
    def __init__(self, settings: Settings, store: Store, bitrix: Bitrix, proof: Proof) -> None:
        self._settings = settings
        self._store = store
        self._bitrix = bitrix
        self._proof = proof
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

    def install(self, claim: Claim) -> None:
        """Prove and keep a claim's tokens, register the connector and bind the events.

        Repeating it is harmless. Raises InstallError and TooMany. Who waits for the lock has been
        proved to be an administrator, so nobody else keeps an administrator waiting.
        """
        settings = self._settings
        if not settings.bitrix24.complete:
            raise InstallError("no_settings", 503)
        try:
            self._store.open()
            user_id = self._proved_administrator(claim)
            # One at a time: two installs at once would bind an event twice.
            with self._store.database.lock("install", LOCK_SECONDS):
                self._keep(claim, user_id)
                self._install_kept()
        except LockHeld:
            raise InstallError("busy", 503) from None
        except StoreUnavailable as error:
            raise self._no_store(error) from None
        log.info("installed: connector %s registered, events bound", settings.connector.id)

    def _proved_administrator(self, claim: Claim) -> int:
        """The id of the administrator whose token a claim has."""
        token = claim.grant.access_token
        with explained(self._settings.bitrix24, self._store):
            self._proof.prove(token, claim.member_id)
            administrator, user_id = self._bitrix.is_administrator(token)
        if not administrator:
            raise InstallError("not_admin", 403)
        return user_id

    def _install_kept(self) -> None:
        """Register and bind with the tokens just kept. A failure is retried by the next check."""
        try:
            with explained(self._settings.bitrix24, self._store):
                self._register()
                self._bind_events()
        except InstallError:
            with contextlib.suppress(StoreUnavailable):
                self._store.notes.registered.clear()
            raise
        finally:
            self._mended()
        self._store.notes.fault.clear()
        self._store.notes.is_unfinished.clear()

    def _register(self) -> None:
        """Make our connector at the portal, or update it; the caller holds the lock `install`."""
        connector, notes = self._settings.connector, self._store.notes
        handler = self._settings.handler_url
        try:
            self._bitrix.register(connector.id, connector.name, icons(), handler)
        except (Refused, SetupFault) as error:
            notes.refused_registration.set(ReportedFault(error.method, error.code))
            raise
        notes.refused_registration.clear()
        notes.registered.set(self._registration())

    def _registration(self) -> str:
        """A digest of what the portal is told of the settings: a change has to be told it anew."""
        settings = self._settings
        registration = (settings.connector.id, settings.connector.name, settings.handler_url)
        return hashlib.sha256(repr(registration).encode()).hexdigest()[:16]

    def _no_store(self, error: StoreUnavailable) -> InstallError:
        log.error("the store cannot be used: %s", error, extra=of_kind("store"))
        if isinstance(error, DiskFull):
            return InstallError("disk_full", 503, folder=self._store.database.place)
        return InstallError("no_store", 500, folder=self._store.database.place, why=error)

    def addresses(self) -> dict[str, str]:
        """What the admin types into the local application's form."""
        install_url = both_forms(f"{self._settings.public_url}/install")
        return {"install_url": install_url, "handler_url": both_forms(self._settings.handler_url)}

    def _keep(self, claim: Claim, user_id: int) -> None:
        """Store the tokens of a claim that an administrator was proved to have brought."""
        # The lock keeps a renewal under way from storing its pair over the new one.
        with self._store.database.lock("tokens", LOCK_SECONDS):
            stored = self._store.portal.find()
            self._store.portal.save(
                Portal(
                    member_id=claim.member_id,
                    user_id=user_id,
                    access_token=claim.grant.access_token,
                    refresh_token=claim.grant.refresh_token,
                    expires_at=claim.grant.expires_at,
                    # A reinstall changes the token; a page that lacks it does not say whether.
                    application_token=claim.application_token
                    or (stored.application_token if stored else ""),
                    token_pending=not claim.application_token,
                    installed_at=time.time(),
                )
            )

    def _bind_events(self) -> None:
        """Make the portal post each event to our address exactly once.

        The portal takes another spelling of the same address for another handler and would
        then post everything twice (bitrix24.md section 9).
        """
        handler = self._settings.handler_url
        bound = self._bitrix.bound_events()
        for event in EVENTS:
            ours = [url for name, url in bound if name == event.upper() and _same_url(url, handler)]
            if handler not in ours:
                self._bitrix.bind_event(event, handler)
            for url in ours:
                if url != handler:
                    self._bitrix.unbind_event(event, url)

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
                self._bitrix.activate(settings.connector.id, placement.line, False)
                self._store.portal.disconnect_line(placement.line)
                return
            self._switch_on(placement.line)
            self._store.portal.connect_line(placement.line, time.time())
        self._store.notes.fault.clear()
        self._store.notes.connected_at.set(time.time())
        self._mended()
        log.info("line %d: connector switched on", placement.line)

    def _mended(self) -> None:
        """Let the delivery worker try again at once, if it waits for that."""
        self._store.notes.mended_at.set(time.time())

    # -- the hourly check

    def check(self) -> bool:
        """Compare what the portal has of us with what it should have; mend or report it.

        Uninstalls, updates and the portal's own buttons remove bindings and lines without telling
        us (bitrix24.md sections 7 and 8). Returns whether the installation is finished; raises
        BitrixError when the portal cannot be asked.
        """
        finished = self._bitrix.is_installed()
        self._store.notes.is_unfinished.set(not finished)
        if not finished:
            log.error("app.info: the installation is not finished, so the portal sends no events")
        with self._store.database.try_lock("install") as held:
            if held is not None:  # else an install does it now
                self._register_if_needed()
                self._bind_events()
        connector = self._settings.connector.id
        for line in self._store.portal.active_lines():
            if not self._bitrix.connector_status(connector, line):
                log.warning("line %d: the connector was not active, we activate it again", line)
                self._switch_on(line)
        return finished

    def _register_if_needed(self) -> None:
        """Tell the portal the present settings, if it was told others or knows us no more.

        Only sending would tell that it does not: status and activate do not look whether a
        connector is registered (bitrix24.md 6.7).
        """
        if self._store.notes.registered.get() == self._registration() and self._is_registered():
            return
        try:
            self._register()
        except Refused as error:  # the bindings and lines are looked after all the same
            log.error("the connector is not registered anew: %s", error.code)
        else:
            log.warning("connector %s registered anew", self._settings.connector.id)

    def _is_registered(self) -> bool:
        """Whether the portal lists our connector; believed where it does not let us ask."""
        try:
            return self._settings.connector.id in self._bitrix.connectors()
        except (Refused, SetupFault) as error:
            if error.reach is Reach.PORTAL:
                raise
            log.warning("the portal does not list its connectors: %s", error.code)
            return True

    def _switch_on(self, line: int) -> None:
        settings = self._settings
        self._bitrix.activate(settings.connector.id, line, True)
        if settings.widget_uri and settings.connector.widget_name:
            self._bitrix.set_connector_data(
                settings.connector.id, line, settings.widget_uri, settings.connector.widget_name
            )


def icons() -> tuple[str, str]:
    """Our tile's icons, on and off, as the data: URIs that `imconnector.register` takes."""
    on, off = (
        "data:image/svg+xml;charset=US-ASCII," + quote((ICONS / name).read_text("ascii").strip())
        for name in ("on.svg", "off.svg")
    )
    return on, off


def _same_url(first: str, second: str) -> bool:
    """Whether addresses differ at most in their scheme and in how they are spelled."""
    try:
        return _with_https(first) == _with_https(second)
    except ValueError:
        return False


def _with_https(url: str) -> str:
    """The one form of an address as if it were of HTTPS, without the port that its scheme means."""
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    port = f":{DEFAULT_PORTS.get(scheme.lower())}"
    return web_address(f"https://{host.removesuffix(port)}/{path}")
