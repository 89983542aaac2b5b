"""The connector at the portal: install, connect, and who may tell us so.

Whoever claims to be the portal is asked for proof: a token is shown to the portal of the settings,
and nowhere else. Knows nothing of Flask; faults are named for the page that explains them.
"""

import contextlib
import hmac
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from bbcode import take_signature, to_html
from bitrix import Bitrix
from events import Event, IncomingMessage, Placement
from files import files_html
from rest.errors import BitrixError, Cause, SetupFault
from rest.replies import Grant
from settings import Settings, origin_of
from storage import Store
from store.database import LockHeld, StoreUnavailable
from store.records import File, OperatorMessage, Portal, TooMany

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
ICONS = Path(__file__).parent / "static" / "connector"
LOCK_SECONDS = 60.0
PROOFS = "proofs"  # what failed ones are counted under
# The text that explains each cause, and the HTTP status of the page that says it.
EXPLAINED: dict[Cause, tuple[str, int]] = {
    Cause.BUSY: ("portal_busy", 503),
    Cause.UNREACHABLE: ("unreachable", 503),
    Cause.NOT_A_PORTAL: ("not_a_portal", 502),
    Cause.BLOCKED: ("portal_blocked", 502),
    Cause.ENDED: ("portal_ended", 502),
    Cause.TOKEN: ("setup", 502),
    Cause.SETUP: ("setup", 502),
}


class Fault(Exception):
    """An install or connect that failed; `key` names the text that says how to mend it."""

    def __init__(self, key: str, status: int, **values: object) -> None:
        super().__init__(key)
        self.key = key
        self.status = status  # of HTTP
        self.values = values


@dataclass(frozen=True)
class Claim:
    """What an install page or ONAPPINSTALL hands over, to be proved before it is believed."""

    grant: Grant
    member_id: str
    application_token: str  # "" where the form has none


class TokenKeeper:
    """The application's tokens in the store, as the REST client wants them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self) -> Grant | None:
        portal = self._store.portal.find()
        if portal is None:
            return None
        return Grant(portal.access_token, portal.refresh_token, portal.expires_at)

    def save(self, grant: Grant) -> None:
        self._store.portal.save_tokens(grant.access_token, grant.refresh_token, grant.expires_at)

    @contextmanager
    def lock(self) -> Iterator[None]:
        with self._store.database.lock("tokens", LOCK_SECONDS):
            yield


class Connector:
    def __init__(self, settings: Settings, store: Store, bitrix: Bitrix) -> None:
        self._settings = settings
        self._store = store
        self._bitrix = bitrix

    # -- install

    def install(self, claim: Claim | None) -> None:
        """Prove and keep a claim's tokens, register the connector and bind the events.

        Without a claim, with the tokens kept earlier. Repeating it is harmless. Raises Fault, or
        TooMany.
        """
        settings = self._settings
        if not settings.bitrix24.complete:
            raise Fault("no_settings", 503)
        try:
            self._store.open()
            if claim is not None:
                with self._explained():
                    self._prove(claim.grant.access_token)
        except StoreUnavailable as error:
            raise self._no_store(error) from None
        try:
            # One at a time: two installs at once would bind an event twice.
            with self._store.database.lock("install", LOCK_SECONDS), self._explained():
                if claim is not None:
                    self._keep(claim)
                elif self._store.portal.find() is None:
                    raise Fault("not_installed", 409, **self.addresses())
                self._bitrix.register(
                    settings.connector.id,
                    settings.connector.name,
                    icons(),
                    settings.handler_url,
                )
                self._bind_events()
        except LockHeld:
            raise Fault("busy", 503) from None
        except StoreUnavailable as error:
            raise self._no_store(error) from None
        except Fault:
            self._forget_success()
            raise
        if claim is not None:
            self._store.notes.fault.clear()
        self._mended()
        self._store.notes.install_works.set(True)
        log.info("installed: connector %s registered, events bound", settings.connector.id)

    def _no_store(self, error: StoreUnavailable) -> Fault:
        log.error("the store cannot be used: %s", error)
        return Fault("no_store", 500, folder=self._store.database.place, why=error)

    def addresses(self) -> dict[str, str]:
        """What the admin types into the local application's form."""
        url = self._settings.public_url
        return {"install_url": f"{url}/install", "handler_url": self._settings.handler_url}

    def _keep(self, claim: Claim) -> None:
        """Store a proved claim's tokens, if they are an administrator's."""
        token = claim.grant.access_token
        administrator, user_id = self._bitrix.is_administrator(token)
        if not administrator:
            raise Fault("not_admin", 403)
        # A renewal under way would put the old pair over the new one.
        with self._store.database.lock("tokens", LOCK_SECONDS):
            known = self._store.portal.find()
            self._store.portal.save(
                Portal(
                    member_id=claim.member_id,
                    user_id=user_id,
                    access_token=token,
                    refresh_token=claim.grant.refresh_token,
                    expires_at=claim.grant.expires_at,
                    # It changes with a reinstall, which a page without it cannot be told from.
                    application_token=claim.application_token
                    or (known.application_token if known else ""),
                    token_pending=not claim.application_token,
                    installed_at=time.time(),
                )
            )

    def _prove(self, access_token: str) -> None:
        """Raise Fault unless our portal knows the token as one of our application's.

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
            raise Fault("wrong_portal", 403, portal=self._settings.bitrix24.portal) from None
        if not _same(code, self._settings.bitrix24.client_id):
            raise Fault("wrong_application", 403)
        self._store.limits.uncount_hit(PROOFS, now)

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

        The page's token only proves who asks: the calls are made with the application's own.
        """
        settings = self._settings
        if not settings.bitrix24.complete:
            raise Fault("no_settings", 503)
        if placement.connector not in ("", settings.connector.id):
            raise Fault("other_connector", 400, connector=settings.connector.id)
        with self._explained():
            portal = self._store.portal.find()
            if portal is None:
                raise Fault("not_installed", 409, **self.addresses())
            self._prove(placement.access_token)
            token = placement.application_token
            if token and portal.application_token and not portal.token_pending:
                if not _same(token, portal.application_token):
                    raise Fault("wrong_application", 403)
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
            self._store.notes.install_works.clear()

    def _mended(self) -> None:
        """Let the sender try again at once, if it waits for that."""
        self._store.notes.mended_at.set(time.time())

    # -- keeping it so

    def check(self) -> bool:
        """Compare what the portal has of us with what it should have; mend or report it.

        Uninstalls, updates and the portal's own buttons take bindings and lines away without
        a word (bitrix24.md sections 7 and 8). Returns whether the installation is finished;
        raises BitrixError when the portal cannot be asked.
        """
        finished = self._bitrix.is_installed()
        self._store.notes.is_unfinished.set(not finished)
        if not finished:
            log.error("app.info: the installation is not finished, no event will come")
        self._bind_events()
        connector = self._settings.connector.id
        for line in self._store.portal.active_lines():
            if not self._bitrix.connector_status(connector, line):
                log.warning("line %d: the connector was not active and is activated", line)
                self._switch_on(line)
        return finished

    def _switch_on(self, line: int) -> None:
        settings = self._settings
        self._bitrix.activate(settings.connector.id, line, True)
        if settings.widget_uri and settings.connector.widget_name:
            self._bitrix.set_connector_data(
                settings.connector.id, line, settings.widget_uri, settings.connector.widget_name
            )

    # -- events

    def is_from_portal(self, event: Event) -> bool:
        """Whether the event carries our application token.

        The first one is learned from an event whose access token the portal confirms to be our
        application's; an event without one (an uninstall, say) can only match what is known.
        After an install whose page had no token, what we know may be of the installation before,
        whose uninstall comes late: it is believed in all else until an event has proved it.
        Raises Fault or TooMany where that cannot be asked for now.
        """
        portal = self._store.portal.find()
        if portal is None:
            return False
        auth = event.auth
        known = portal.application_token
        matches = bool(known) and _same(auth.application_token, known)
        if not portal.token_pending:
            return matches
        if event.name == "ONAPPUNINSTALL":
            return False
        if not auth.access_token or auth.member_id != (portal.member_id or auth.member_id):
            return matches
        try:
            with self._explained():
                self._prove(auth.access_token)
        except (Fault, TooMany) as error:
            if matches or (isinstance(error, Fault) and error.status < 500):
                return matches
            raise  # we could not ask; the event is not known to be forged
        self._store.portal.learn_application_token(auth.application_token)
        return True

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the portal's errors into faults that say what to do."""
        portal = self._settings.bitrix24.portal
        try:
            yield
        except BitrixError as error:
            log.warning("%s failed: %s", error.method, error.code)
            key, status = EXPLAINED.get(error.cause, ("refused", 502))
            raise Fault(
                key,
                status,
                method=error.method,
                code=error.code,
                portal=portal,
                description=error.description[:300],
            ) from None


def operator_message(incoming: IncomingMessage, line: int) -> OperatorMessage:
    """An event's message as it is kept: the signature off the text and in the name.

    An unsigned text of the portal itself is the system's; a line may hide its operators, so
    an unsigned text of a person stays the operator's.
    """
    name, text = take_signature(incoming.text)
    text = text or incoming.params.get("IMOL_VOTE_TEXT", "")
    files = tuple(File(one.name, one.type, one.link, one.size) for one in incoming.files)
    return OperatorMessage(
        chat_id=incoming.chat_id,
        line=line,
        im_chat_id=incoming.im_chat_id,
        im_message_id=incoming.im_message_id,
        author="system" if incoming.is_system and name is None else "operator",
        name=name,
        text=text,
        text_html=text_html(text),
        files=files,
        files_html=files_html(files),
        asks_vote="IMOL_VOTE" in incoming.params,
        own_ids=incoming.own_ids,
    )


def text_html(text: str) -> str:
    """What is shown of a message's text; the mark of a dialog's end has none."""
    return to_html(text) if text else ""


def render_outdated(store: Store) -> int:
    """Render again what an earlier renderer wrote; returns how many messages."""
    count = 0
    while messages := store.messages.to_render(limit=200):
        store.messages.save_rendered(
            {one: (text_html(one.text), files_html(one.files)) for one in messages}
        )
        count += len(messages)
    return count


def icons() -> tuple[str, str]:
    """Our tile's icons, on and off, as the data: URIs that `imconnector.register` takes."""
    on, off = (
        "data:image/svg+xml;charset=US-ASCII," + quote((ICONS / name).read_text("ascii").strip())
        for name in ("on.svg", "off.svg")
    )
    return on, off


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _same_url(one: str, other: str) -> bool:
    """Whether two addresses are spellings of one: case of the host, port, scheme, last slash."""
    try:
        a, b = urlsplit(one), urlsplit(other)
        hosts = {
            origin_of(url._replace(scheme="https", netloc=_host(url)).geturl()) for url in (a, b)
        }
    except ValueError:
        return False
    return len(hosts) == 1 and a.path.rstrip("/") == b.path.rstrip("/") and a.query == b.query


def _host(url: Any) -> str:
    """Host and port, a scheme's default port left out."""
    default = {"http": 80, "https": 443}.get(url.scheme)
    return (url.hostname or "") + ("" if url.port in (None, default) else f":{url.port}")
