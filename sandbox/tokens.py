"""The access tokens of the application and what the OAuth server and the portal tell with them.

bitrix24.md section 8. Knows nothing of HTTP.
"""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .options import Options, RestError
from .troubles import Troubles

TOKEN_SECONDS = 3600


@dataclass
class Token:
    access: str
    user_id: int
    expires: float
    refresh: str
    scope: str


class Tokens:
    def __init__(self, options: Options, troubles: Callable[[], Troubles]) -> None:
        self._options = options
        self._troubles = troubles
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """As for a new portal, with another member id."""
        with self._lock:
            self.member_id = secrets.token_hex(16)
            self.refreshes = 0
            self._codes: dict[str, int] = {}  # authorization code to user
            self.clear()

    def clear(self) -> None:
        """End all tokens."""
        with self._lock:
            self._tokens: dict[str, Token] = {}
            self._by_refresh: dict[str, Token] = {}

    def issue(self, user_id: int, scope: str | None = None) -> dict[str, Any]:
        """A new access token with its refresh token, as the portal's events hold them."""
        access, refresh = secrets.token_hex(35), secrets.token_hex(35)
        expires = int(time.time()) + TOKEN_SECONDS
        granted = self._troubles().scope if scope is None else scope
        token = Token(access, user_id, expires, refresh, granted)
        with self._lock:
            self._tokens[access] = self._by_refresh[refresh] = token
        return {
            "access_token": access,
            "expires": expires,
            "expires_in": TOKEN_SECONDS,
            "scope": granted,
            **self.addresses(),
            "status": "L",
            "user_id": user_id,
            "refresh_token": refresh,
        }

    def issue_for_event(self, user_id: int) -> dict[str, Any]:
        """As `issue`, but an event has no refresh token (1.1.7)."""
        auth = self.issue(user_id)
        with self._lock:
            del self._by_refresh[auth.pop("refresh_token")]
        return auth

    @property
    def client_secret(self) -> str:
        """What the OAuth server takes for the application's secret."""
        return self._troubles().client_secret or self._options.client_secret

    @property
    def portal_url(self) -> str:
        """The portal's address, since a rename the new one."""
        return self._troubles().renamed_to or self._options.base_url

    def addresses(self) -> dict[str, str]:
        """The fields that name the portal, its own server and the OAuth server."""
        return {
            "domain": self.portal_url.partition("://")[2],
            "server_endpoint": f"{self._options.oauth_url}/rest/",
            "client_endpoint": f"{self.portal_url}/rest/",
            "member_id": self.member_id,
        }

    def find(self, access: str) -> Token:
        """The access token's user and scope; RestError if it is unknown or has expired."""
        token = self._tokens.get(access)
        if token is None:
            raise RestError("invalid_token", "Unable to get application by token", 401)
        if token.expires <= time.time():
            raise RestError("expired_token", "The access token provided has expired.", 401)
        missing = self._troubles().missing_rights.split(",")
        kept = [right for right in token.scope.split(",") if right not in missing]
        return replace(token, scope=",".join(kept))

    def expire(self) -> None:
        with self._lock:
            for token in self._tokens.values():
                token.expires = 0

    # What the OAuth server answers

    def renew(self, refresh_token: str) -> dict[str, Any]:
        """New tokens for a refresh token; it and its access token work no longer (8.13)."""
        with self._lock:
            old = self._by_refresh.get(refresh_token)
            known = old is not None and old.access in self._tokens
            if old is not None and not self._troubles().old_tokens_live:
                del self._by_refresh[refresh_token]
                self._tokens.pop(old.access, None)
            if old is None or not known:
                raise RestError("invalid_grant", "The refresh token is invalid or was used")
            self.refreshes += 1
            return self._of_oauth_server(self.issue(old.user_id, old.scope))

    def new_code(self, user_id: int) -> str:
        code = secrets.token_hex(16)
        with self._lock:
            self._codes[code] = user_id
        return code

    def for_code(self, code: str) -> dict[str, Any]:
        """Tokens for an authorization code, which works once."""
        with self._lock:
            user_id = self._codes.pop(code, None)
        if user_id is None:
            raise RestError("invalid_grant", "The code is invalid or was used")
        return self._of_oauth_server(self.issue(user_id))

    def _of_oauth_server(self, auth: dict[str, Any]) -> dict[str, Any]:
        """The OAuth server names itself as the domain, and spells scopes otherwise (8.11)."""
        host = self._options.oauth_url.partition("://")[2]
        return {**auth, "domain": host, "scope": spaced(str(auth["scope"]))}


def spaced(scope: str) -> str:
    """Scopes as the OAuth server spells them: separated by a comma and a blank."""
    return ", ".join(scope.split(","))
