"""The portal's own state: users, lines, tokens, connectors, event bindings.

One lock guards all of it and the dialogs; nobody waits or makes an HTTP
request while holding it. Knows nothing of Flask. Numbers such as 8.2 are
those of bitrix24.md.
"""

import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from .events import EventQueue
from .options import NotFound, Options, RestError
from .tokens import Tokens
from .troubles import Bucket, Dice, Troubles


@dataclass
class User:
    id: int
    name: str
    last_name: str
    admin: bool = False
    connector: bool = False  # a visitor, not an employee
    position: str = ""
    online: bool = True

    @property
    def full_name(self) -> str:
        return f"{self.name} {self.last_name}".strip()


@dataclass
class ConnectedLine:
    """A connector's state on one line; the connector works there if all three flags are set.

    It is kept apart from the connectors: a connector need not be registered to have one (6.7).
    """

    active: bool = False
    connection: bool = False
    register: bool = False
    data: dict[str, str] = field(default_factory=dict)

    @property
    def works(self) -> bool:
        return self.active and self.connection and self.register


@dataclass
class Connector:
    id: str
    name: str
    placement_handler: str
    icon: dict[str, str]
    icon_disabled: dict[str, str]
    flags: dict[str, bool]
    app: str
    lines: dict[int, ConnectedLine]  # the same dict as `Portal.lines_of`


@dataclass(frozen=True)
class Binding:
    id: int
    event: str
    handler: str
    user_id: int
    auth_type: int
    offline: bool = False


class Portal:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.tokens = Tokens(options, lambda: self.troubles)
        self.events = EventQueue(lambda: self.troubles)
        self.reset()

    def reset(self) -> None:
        """As new: nothing is installed, no connector is registered, no trouble is on."""
        with self.lock:
            self.tokens.reset()
            self.application_token = secrets.token_hex(16)
            self.installed = False
            self.version = 0
            self.users = {
                1: User(1, "Olga", "Petrova", admin=True, position="Manager"),
                18: User(18, "Ivan", "Smirnov", position="Consultant"),
                25: User(25, "Анна", "Ёлкина", admin=True, online=False),
            }
            self.lines = {1: "Support", 7: "Sales", 12: "Поддержка"}
            self.line_settings: dict[int, dict[str, Any]] = {}  # what differs from the defaults
            self.connectors: dict[str, Connector] = {}
            self._connected: dict[str, dict[int, ConnectedLine]] = {}
            self.bindings: list[Binding] = []
            self.notifications: list[dict[str, Any]] = []
            self.spec_violations: list[dict[str, str]] = []
            self.troubles = Troubles(limit=self.options.limit)
            self.operation_reset_at = 0.0
            self.bucket = Bucket()
            self.dice = Dice()
            self.counts = {"calls": 0, "refused": 0, "oauth": 0}
            self._next_id = {"binding": 40, "visitor": 2000, "notification": 70_000}
            self.events.clear()
            self.touch()

    def touch(self) -> None:
        """Wake the pages that show this portal."""
        with self.lock:
            self.version += 1
            self.changed.notify_all()

    def now(self) -> float:
        """Unix seconds by the portal's own clock."""
        return time.time() + self.troubles.clock_offset_seconds

    def next_id(self, kind: str) -> int:
        with self.lock:
            self._next_id[kind] += 1
            return self._next_id[kind]

    def user(self, user_id: int) -> User:
        try:
            return self.users[user_id]
        except KeyError:
            raise NotFound(f"no user {user_id}") from None

    def employees(self) -> list[User]:
        """The users who are not visitors."""
        return [user for user in self.users.values() if not user.connector]

    # Connectors

    def connector(self, connector_id: object) -> Connector:
        try:
            return self.connectors[str(connector_id).lower()]
        except KeyError:
            raise RestError(
                "IMCONNECTOR_NOT_SPECIFIED_CORRECT_CONNECTOR", "The connector is not specified"
            ) from None

    def lines_of(self, connector_id: str) -> dict[int, ConnectedLine]:
        """The lines of a connector, which need not be registered."""
        return self._connected.setdefault(connector_id.lower(), {})

    def connected_line(self, connector_id: str, line: int) -> ConnectedLine:
        return self.lines_of(connector_id).setdefault(line, ConnectedLine())

    def disconnect(self, connector_id: str, line: int, user_id: int) -> bool:
        """Delete the line's state; StatusDelete is the only sign of it (bitrix24.md 7.5).

        The event is fired also if there was no state (6.6). Returns whether there was one.
        """
        with self.lock:
            had_state = self.lines_of(connector_id).pop(line, None) is not None
            data = {"connector": connector_id.lower(), "line": line}
            connector = self.connectors.get(connector_id.lower())
            self.fire("ONIMCONNECTORSTATUSDELETE", data, user_id, connector)
            self.touch()
            return had_state

    def delete_line(self, line: int, user_id: int) -> None:
        """LineDelete, and StatusDelete for each connector (bitrix24.md 1.6.4)."""
        with self.lock:
            if self.lines.pop(line, None) is None:
                raise NotFound(f"no line {line}")
            self.fire("ONIMCONNECTORLINEDELETE", line, user_id)
            for connector_id in dict.fromkeys([*self.connectors, *self._connected]):
                self.disconnect(connector_id, line, user_id)

    # The application

    def finish_install(self) -> None:
        with self.lock:
            self.installed = True
            self.touch()

    def begin_install(self) -> None:
        """Forget the bindings; another install after the first one has another secret (7.6)."""
        with self.lock:
            if self.installed:
                self.application_token = secrets.token_hex(16)
            self.installed = False
            self.bindings.clear()
            self.touch()

    def uninstall(self) -> None:
        with self.lock:
            self.fire("ONAPPUNINSTALL", {"CLEAN": 1, "LANGUAGE_ID": self.options.lang}, None)
            self.installed = False
            self.bindings.clear()
            self.tokens.clear()
            # A connector without a connected line stays registered (bitrix24.md 6.11).
            for connector in list(self.connectors.values()):
                if connector.lines:
                    connector.lines.clear()
                    del self.connectors[connector.id]
            self.application_token = secrets.token_hex(16)
            self.touch()

    # Events

    def bind(self, event: str, handler: str, user_id: int, auth_type: int, offline: bool) -> bool:
        """False if the binding exists. Another spelling of the address is another binding (9.9)."""
        event = event.upper()
        with self.lock:
            for old in self.bindings:
                if (old.event, old.handler, old.auth_type, old.offline) == (
                    event,
                    handler,
                    auth_type,
                    offline,
                ):
                    return False
            self.bindings.append(
                Binding(self.next_id("binding"), event, handler, user_id, auth_type, offline)
            )
            return True

    def unbind(self, event: str, handler: str) -> int:
        """How many bindings were removed."""
        with self.lock:
            kept = [
                binding
                for binding in self.bindings
                if (binding.event, binding.handler) != (event.upper(), handler)
            ]
            count = len(self.bindings) - len(kept)
            self.bindings = kept
            return count

    def fire(
        self, event: str, data: Any, user_id: int | None, connector: Connector | None = None
    ) -> None:
        """Queue an event for each binding of it; none before the install is finished (8.2).

        `connector` is the one that the event is about, if it is about one: the application
        gets no event of a connector of another application (1.7.2).
        """
        with self.lock:
            foreign = connector is not None and connector.app != self.options.client_id
            if not self.installed or foreign:
                return
            for binding in self.bindings:
                if binding.event == event and not binding.offline:
                    fields = self.envelope(event, data, user_id, binding.id)
                    self.events.put(binding.handler, event, fields)

    def envelope(
        self, event: str, data: Any, user_id: int | None, binding_id: int | None = None
    ) -> dict[str, Any]:
        """The fields of every event (1.1); with a token only if a user caused it (1.1.6)."""
        tokens = self.tokens
        auth: dict[str, Any] = (
            tokens.issue_for_event(user_id) if user_id else {**tokens.addresses()}
        )
        auth["application_token"] = self.application_token
        fields: dict[str, Any] = {"event": event}
        if binding_id is not None and not self.troubles.old_build:
            fields["event_handler_id"] = binding_id
        return {**fields, "data": data, "ts": int(self.now()), "auth": auth}
