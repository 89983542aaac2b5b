"""Installs our connector at the portal, binds events, connects lines; later checks and mends it."""

import contextlib
import hashlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from bitrix import Bitrix
from portal.events import Placement
from portal.install_error import InstallError, explained
from portal.proof import Proof, same
from rest.replies import Grant
from settings import Settings, origin_of
from storage import Store
from store.database import DiskFull, LockHeld, StoreUnavailable
from store.records import Portal

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

    # -- install

    def is_in_order(self) -> bool:
        """Whether an install succeeded with the present settings, and nothing has failed since."""
        notes = self._store.notes
        return (
            self._store.portal.find() is not None
            and notes.registered.get() == self._registration()
            and notes.fault.get() is None
        )

    def _registration(self) -> str:
        """A digest of the settings that an install tells the portal: a change needs an install."""
        settings = self._settings
        registration = (settings.connector.id, settings.connector.name, settings.handler_url)
        return hashlib.sha256(repr(registration).encode()).hexdigest()[:16]

    def install(self, claim: Claim | None) -> None:
        """Prove and keep a claim's tokens, register the connector and bind the events.

        Without a claim the stored tokens are used. Repeating it is harmless. Raises InstallError
        and TooMany.
        """
        settings = self._settings
        if not settings.bitrix24.complete:
            raise InstallError("no_settings", 503)
        try:
            self._store.open()
            if claim is not None:
                with explained(settings.bitrix24.portal):
                    self._proof.prove(claim.grant.access_token)
        except StoreUnavailable as error:
            raise self._no_store(error) from None
        try:
            # One at a time: two installs at once would bind an event twice.
            with (
                self._store.database.lock("install", LOCK_SECONDS),
                explained(settings.bitrix24.portal),
            ):
                if claim is not None:
                    self._keep(claim)
                elif self._store.portal.find() is None:
                    raise InstallError("not_installed", 409, **self.addresses())
                self._bitrix.register(
                    settings.connector.id,
                    settings.connector.name,
                    icons(),
                    settings.handler_url,
                )
                self._bind_events()
        except LockHeld:
            raise InstallError("busy", 503) from None
        except StoreUnavailable as error:
            raise self._no_store(error) from None
        except InstallError:
            self._forget_success()
            raise
        if claim is not None:
            self._store.notes.fault.clear()
        self._mended()
        self._store.notes.registered.set(self._registration())
        log.info("installed: connector %s registered, events bound", settings.connector.id)

    def _no_store(self, error: StoreUnavailable) -> InstallError:
        log.error("the store cannot be used: %s", error)
        if isinstance(error, DiskFull):
            return InstallError("disk_full", 503, folder=self._store.database.place)
        return InstallError("no_store", 500, folder=self._store.database.place, why=error)

    def addresses(self) -> dict[str, str]:
        """What the admin types into the local application's form."""
        url = self._settings.public_url
        return {"install_url": f"{url}/install", "handler_url": self._settings.handler_url}

    def _keep(self, claim: Claim) -> None:
        """Store a proved claim's tokens, if they are an administrator's."""
        token = claim.grant.access_token
        administrator, user_id = self._bitrix.is_administrator(token)
        if not administrator:
            raise InstallError("not_admin", 403)
        # The lock keeps a renewal under way from storing its pair over the new one.
        with self._store.database.lock("tokens", LOCK_SECONDS):
            stored = self._store.portal.find()
            self._store.portal.save(
                Portal(
                    member_id=claim.member_id,
                    user_id=user_id,
                    access_token=token,
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
        with explained(settings.bitrix24.portal):
            portal = self._store.portal.find()
            if portal is None:
                raise InstallError("not_installed", 409, **self.addresses())
            self._proof.prove(placement.access_token)
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

    def _forget_success(self) -> None:
        with contextlib.suppress(StoreUnavailable):
            self._store.notes.registered.clear()

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
            if held is not None:  # else an install is binding the events now
                self._bind_events()
        connector = self._settings.connector.id
        for line in self._store.portal.active_lines():
            if not self._bitrix.connector_status(connector, line):
                log.warning("line %d: the connector was not active, we activate it again", line)
                self._switch_on(line)
        return finished

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
    """Whether addresses differ at most in scheme, case of the host, default port, last slash."""
    try:
        a, b = urlsplit(first), urlsplit(second)
        hosts = {
            origin_of(url._replace(scheme="https", netloc=_host(url)).geturl()) for url in (a, b)
        }
    except ValueError:
        return False
    return len(hosts) == 1 and a.path.rstrip("/") == b.path.rstrip("/") and a.query == b.query


def _host(url: Any) -> str:
    """Host and port, without the scheme's default port."""
    default = {"http": 80, "https": 443}.get(url.scheme)
    return (url.hostname or "") + ("" if url.port in (None, default) else f":{url.port}")
