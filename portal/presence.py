"""What the portal has of us: our connector, the bindings of our events, the connector's lines.

Tells it, compares it with what it should be, and takes it back. Knows nothing of who may ask for
that.
"""

import hashlib
import logging
from pathlib import Path
from urllib.parse import quote

from addresses import DEFAULT_PORTS, web_address
from bitrix import NOT_UNREGISTERED, Bitrix
from rest.errors import Reach, Refused, SetupFault
from settings import Settings
from storage import Store
from store.records import ReportedFault

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
ANY_LINE = 1  # an unregistration needs a connected line, which need not exist (bitrix24.md 6.7)


class Presence:
    def __init__(self, settings: Settings, store: Store, bitrix: Bitrix) -> None:
        self._settings = settings
        self._store = store
        self._bitrix = bitrix

    # -- the connector

    def register(self) -> None:
        """Make our connector at the portal, or update it; the caller holds the lock `install`."""
        connector, notes = self._settings.connector, self._store.notes
        handler = self._settings.handler_url
        try:
            self._bitrix.register(connector.id, connector.name, icons(), handler)
        except (Refused, SetupFault) as error:
            notes.refused_registration.set(ReportedFault(error.method, error.code))
            raise
        notes.refused_registration.clear()
        notes.registered.set(self.registration())

    def registration(self) -> str:
        """A digest of what the portal is told of the settings: a change has to be told it anew."""
        settings = self._settings
        return _digest(settings.connector.id, settings.connector.name, settings.handler_url)

    def register_if_needed(self) -> None:
        """Tell the portal the present settings, if it was told others or knows us no more.

        Only sending would tell that it does not: status and activate do not look whether a
        connector is registered (bitrix24.md 6.7).
        """
        was_told = self._store.notes.registered.get() == self.registration()
        if was_told and self._is_registered():
            return
        try:
            self.register()
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

    def unregister(self) -> None:
        """Make the portal forget our connector, whatever is connected; raises BitrixError.

        The portal does that only for a connector that is connected to a line (bitrix24.md 6.11).
        """
        connector = self._settings.connector.id
        if self._bitrix.unregister(connector) or connector not in self._bitrix.connectors():
            return
        line = next(iter(self._store.portal.known_lines()), ANY_LINE)
        self._bitrix.activate(connector, line, True)
        if not self._bitrix.unregister(connector):
            self._bitrix.activate(connector, line, False)
            raise Refused(NOT_UNREGISTERED, "imconnector.unregister")

    # -- events

    def bind_events(self) -> None:
        """Make the portal post each event to our address exactly once.

        The portal takes another spelling of the same address for another handler and would
        then post everything twice (bitrix24.md section 9). Where we have moved, it would go on
        posting to the former address, which is remembered until no event is bound to it.
        """
        handler, noted = self._settings.handler_url, self._store.notes.own_handlers
        known = noted.get() or []
        if handler not in known:
            noted.set([*known, handler])
        former = [url for url in known if url != handler]
        bound = self._bitrix.bound_events()
        for event in EVENTS:
            ours = [
                url
                for name, url in bound
                if name == event.upper() and any(_same_url(url, one) for one in (handler, *former))
            ]
            if handler not in ours:
                self._bitrix.bind_event(event, handler)
            for url in dict.fromkeys(ours):
                if url != handler:
                    self._bitrix.unbind_event(event, url)
        if former:
            noted.set([handler])
            log.warning("events come to %s now and to our former address no longer", handler)

    def unbind_events(self) -> None:
        """Make the portal post nothing to us any more, also not at our former addresses."""
        ours = [self._settings.handler_url, *(self._store.notes.own_handlers.get() or [])]
        for event, url in dict.fromkeys(self._bitrix.bound_events()):
            if any(_same_url(url, one) for one in ours):
                self._bitrix.unbind_event(event, url)

    # -- lines

    def switch_on(self, line: int) -> None:
        """Switch the connector on for a line, and tell the line where the chat is."""
        self._bitrix.activate(self._settings.connector.id, line, True)
        self._tell_line(line)

    def switch_off(self, line: int) -> None:
        self._bitrix.activate(self._settings.connector.id, line, False)

    def see_off(self, line: int) -> None:
        """Switch the connector off for a line, unless its unregistration has done so."""
        if self._bitrix.connector_status(self._settings.connector.id, line):
            self.switch_off(line)

    def look_after_lines(self) -> None:
        """Switch on what is off, and tell each line a changed address or name of the chat."""
        connector = self._settings.connector.id
        for line in self._store.portal.active_lines():
            if not self._bitrix.connector_status(connector, line):
                log.warning("line %d: the connector was not active, we activate it again", line)
                self.switch_on(line)
        self.tell_lines()

    def tell_lines(self) -> None:
        """Tell each connected line where the chat is, unless it was told so before."""
        told, widget = self._store.notes.told_lines.get() or {}, self._widget()
        for line in self._store.portal.active_lines():
            if told.get(line) == widget:
                continue
            try:
                self._tell_line(line)
            except (Refused, SetupFault) as error:
                if error.reach is Reach.PORTAL:
                    raise
                log.warning("line %d is not told the chat's address: %s", line, error.code)

    def _tell_line(self, line: int) -> None:
        settings, noted = self._settings, self._store.notes.told_lines
        if settings.widget_uri and settings.connector.widget_name:
            self._bitrix.set_connector_data(
                settings.connector.id, line, settings.widget_uri, settings.connector.widget_name
            )
        noted.set((noted.get() or {}) | {line: self._widget()})

    def _widget(self) -> str:
        """A digest of what a line is told of the settings."""
        connector = self._settings.connector
        return _digest(connector.id, self._settings.widget_uri, connector.widget_name)


def icons() -> tuple[str, str]:
    """Our tile's icons, on and off, as the data: URIs that `imconnector.register` takes."""
    on, off = (
        "data:image/svg+xml;charset=US-ASCII," + quote((ICONS / name).read_text("ascii").strip())
        for name in ("on.svg", "off.svg")
    )
    return on, off


def _digest(*values: str) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


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
