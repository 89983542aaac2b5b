"""How a visitor's cookie is signed and named, and where our addresses begin."""

from collections.abc import Callable, Iterable
from typing import Any, cast

from flask import Flask, Request, current_app, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from itsdangerous import URLSafeTimedSerializer

from services import Services
from store.database import StoreUnavailable
from web import identity
from web.asking import digest, embedding_site


class BelowPrefix:
    """Puts the application below the path of `public_url`, whether or not a proxy strips it."""

    def __init__(self, app: Callable[..., Iterable[bytes]], prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if self._prefix and f"{path}/".startswith(f"{self._prefix}/"):
            environ["PATH_INFO"] = path.removeprefix(self._prefix)
        environ["SCRIPT_NAME"] = self._prefix
        return self._app(environ, start_response)


class Sessions(SecureCookieSessionInterface):
    """Signed cookies, as Flask's own; the key comes from the store, the same for every process.

    An embedded visitor has a partitioned cookie for each site. Browsers accept no other cookie
    from a frame on another site, and this one only under HTTPS.
    """

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        serializer = super().get_signing_serializer(app)
        if serializer is not None:
            serializer.signer = identity.Signer
        return serializer

    def get_cookie_name(self, app: Flask) -> str:
        site = embedding_site()
        name = super().get_cookie_name(app)
        return f"{name}_{digest(site)[:8]}" if site else name

    def get_cookie_samesite(self, app: Flask) -> str | None:
        return "None" if self.get_cookie_partitioned(app) else super().get_cookie_samesite(app)

    def get_cookie_partitioned(self, app: Flask) -> bool:
        return bool(embedding_site()) and self.get_cookie_secure(app)

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        try:
            take_secret_key(app)
        except StoreUnavailable:
            return None  # `prepare` raises it again, and that error is explained to the visitor
        return super().open_session(app, request)


def take_secret_key(app: Flask) -> None:
    if app.secret_key is None:
        app.secret_key = cast(Services, app.extensions["sitechat"]).store.portal.secret_key()


def prepare() -> None:
    """Read the key; without it we know no visitor and must not begin a second chat for one."""
    if request.endpoint in ("index", "ajax"):
        take_secret_key(current_app)
