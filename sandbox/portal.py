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
from .troubles import Bucket, Dice, Troubles

TOKEN_SECONDS = 3600


class RestError(Exception):
    """The portal refuses a call; `code` and `status` are those of its answer."""

    def __init__(self, code: str, description: str = "", status: int = 400) -> None:
        super().__init__(description or code)
        self.code = code
        self.description = description or code
        self.status = status

    def fields(self) -> dict[str, str]:
        """The two fields of an answer that name the error."""
        return {"error": self.code, "error_description": self.description}


class NotFound(Exception):
    """No such line, dialog, message or user in this portal."""


@dataclass(frozen=True)
class Options:
    base_url: str
    app_url: str
    client_id: str = "local.sandbox"
    client_secret: str = "sandbox-secret"
    lang: str = "en"
    limit: bool = True

    @property
    def domain(self) -> str:
        return self.base_url.partition("://")[2]


@dataclass
class User:
    id: int
    name: str
    last_name: str
    admin: bool = False
    connector: bool = False  # a visitor, not an employee

    @property
    def full_name(self) -> str:
        return f"{self.name} {self.last_name}".strip()


@dataclass
class ConnectedLine:
    """A connector's state on one line; the connector works there if all three flags are set."""

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
    lines: dict[int, ConnectedLine] = field(default_factory=dict)


@dataclass(frozen=True)
class Binding:
    id: int
    event: str
    handler: str
    user_id: int
    auth_type: int
    offline: bool = False


@dataclass
class Token:
    user_id: int
    expires: float
    refresh: str
    scope: str


class Portal:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.events = EventQueue(lambda: self.troubles)
        self.reset()

    def reset(self) -> None:
        """As new: nothing is installed, no connector is registered, no trouble is on."""
        with self.lock:
            self.member_id = secrets.token_hex(16)
            self.application_token = secrets.token_hex(16)
            self.installed = False
            self.version = 0
            self.users = {
                1: User(1, "Olga", "Petrova", admin=True),
                18: User(18, "Ivan", "Smirnov"),
                25: User(25, "Анна", "Ёлкина", admin=True),
            }
            self.lines = {1: "Support", 7: "Sales", 12: "Поддержка"}
            self.connectors: dict[str, Connector] = {}
            self.bindings: list[Binding] = []
            self.tokens: dict[str, Token] = {}
            self.refresh_tokens: dict[str, str] = {}  # refresh token to access token
            self.authorization_codes: dict[str, int] = {}  # code to user
            self.refreshes = 0
            self.spec_violations: list[dict[str, str]] = []
            self.troubles = Troubles(limit=self.options.limit)
            self.operation_reset_at = 0.0
            self.bucket = Bucket()
            self.dice = Dice()
            self.counts = {"calls": 0, "refused": 0, "oauth": 0}
            self._next_id = {"binding": 40, "visitor": 2000}
            self.events.clear()
            self.touch()

    def touch(self) -> None:
        """Wake the pages that show this portal."""
        with self.lock:
            self.version += 1
            self.changed.notify_all()

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

    # Tokens

    def issue_token(self, user_id: int, scope: str | None = None) -> dict[str, Any]:
        """A new access token with its refresh token, as the OAuth server answers them."""
        with self.lock:
            access, refresh = secrets.token_hex(35), secrets.token_hex(35)
            expires = int(time.time()) + TOKEN_SECONDS
            granted = self.troubles.scope if scope is None else scope
            self.tokens[access] = Token(user_id, expires, refresh, granted)
            self.refresh_tokens[refresh] = access
        return {
            "access_token": access,
            "expires": expires,
            "expires_in": TOKEN_SECONDS,
            "scope": granted,
            "domain": self.options.domain,
            "server_endpoint": f"{self.options.base_url}/rest/",
            "status": "L",
            "client_endpoint": f"{self.options.base_url}/rest/",
            "member_id": self.member_id,
            "user_id": user_id,
            "refresh_token": refresh,
        }

    def refresh(self, refresh_token: str) -> dict[str, Any]:
        """New tokens for a refresh token; it and its access token work no longer (8.13)."""
        with self.lock:
            access = self.refresh_tokens.get(refresh_token)
            old = self.tokens.get(access) if access else None
            if access and not self.troubles.old_tokens_live:
                self.refresh_tokens.pop(refresh_token)
                self.tokens.pop(access, None)
            if old is None:
                raise RestError("invalid_grant", "The refresh token is invalid or was used")
            self.refreshes += 1
            return self.issue_token(old.user_id, old.scope)

    def token(self, access: str) -> Token:
        """The access token's user and scope; RestError if it is unknown or has expired."""
        token = self.tokens.get(access)
        if token is None:
            raise RestError("invalid_token", "Unable to get application by token", 401)
        if token.expires <= time.time():
            raise RestError("expired_token", "The access token provided has expired.", 401)
        return token

    def expire_tokens(self) -> None:
        with self.lock:
            for token in self.tokens.values():
                token.expires = 0

    # Connectors

    def connector(self, connector_id: object) -> Connector:
        try:
            return self.connectors[str(connector_id).lower()]
        except KeyError:
            raise RestError(
                "IMCONNECTOR_NOT_SPECIFIED_CORRECT_CONNECTOR", "The connector is not specified"
            ) from None

    def connected_line(self, connector: Connector, line: int) -> ConnectedLine:
        return connector.lines.setdefault(line, ConnectedLine())

    def disconnect(self, connector: Connector, line: int, user_id: int) -> bool:
        """Delete the line's state; StatusDelete is the only sign of it (bitrix24.md 7.5).

        False when the connector has no state on this line.
        """
        with self.lock:
            if connector.lines.pop(line, None) is None:
                return False
            data = {"connector": connector.id, "line": line}
            self.fire("ONIMCONNECTORSTATUSDELETE", data, user_id, connector)
            self.touch()
            return True

    def delete_line(self, line: int, user_id: int) -> None:
        with self.lock:
            if self.lines.pop(line, None) is None:
                raise NotFound(f"no line {line}")
            for connector in self.connectors.values():
                connector.lines.pop(line, None)
            self.fire("ONIMCONNECTORLINEDELETE", line, user_id)
            self.touch()

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
            self.refresh_tokens.clear()
            # A connector without a connected line stays registered (bitrix24.md 6.11).
            for connector in list(self.connectors.values()):
                if connector.lines:
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
        auth: dict[str, Any] = {
            "domain": self.options.domain,
            "client_endpoint": f"{self.options.base_url}/rest/",
            "server_endpoint": f"{self.options.base_url}/rest/",
            "member_id": self.member_id,
        }
        if user_id:
            auth = self.issue_token(user_id)
            refresh = auth.pop("refresh_token")
            self.refresh_tokens.pop(refresh)  # an event has no refresh token (1.1.7)
        auth["application_token"] = self.application_token
        fields: dict[str, Any] = {"event": event}
        if binding_id is not None and not self.troubles.old_build:
            fields["event_handler_id"] = binding_id
        return {**fields, "data": data, "ts": int(time.time()), "auth": auth}
