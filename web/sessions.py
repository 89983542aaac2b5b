"""How a visitor's cookie is signed and named, and where our addresses begin."""

from collections.abc import Callable, Iterable
from typing import Any, cast

from flask import Flask, Request, Response, current_app, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from itsdangerous import BadSignature, URLSafeTimedSerializer

from services import Services
from store.database import StoreUnavailable
from web import identity
from web.asking import digest, embedding_site, visitors_sites
from web.itself import itself


class BelowPrefix:
    """Puts the application below the path of `public_url`, whether or not a proxy strips it."""

    def __init__(self, app: Callable[..., Iterable[bytes]], prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = below_root(environ.get("PATH_INFO", ""))
        if self._prefix and f"{path}/".startswith(f"{self._prefix}/"):
            path = path.removeprefix(self._prefix)
            path = path and below_root(path)  # the prefix alone is redirected to the page
        environ["PATH_INFO"] = path
        environ["SCRIPT_NAME"] = self._prefix
        return self._app(environ, start_response)


def below_root(path: str) -> str:
    """The path with one slash before it, where a proxy has put several.

    Left to the framework, `//ajax` would become a redirect to whatever host the request names.
    """
    return f"/{path.lstrip('/')}"


class Sessions(SecureCookieSessionInterface):
    """Signed cookies, as Flask's own; the key comes from the store, the same for every process.

    An embedded visitor has a partitioned cookie for each site. Browsers accept no other cookie
    from a frame on another site, and this one only under HTTPS.

    Under HTTPS the name has a prefix, which makes browsers refuse a cookie of that name from plain
    HTTP and, with `__Host-`, from other hosts of the domain. Cookies from before that were named
    without it, and those from before `chat.share_visitors` was switched for another site: such a
    cookie is still read, and replaced in the same answer.
    """

    _serializer: URLSafeTimedSerializer | None = None
    _key: str | bytes | None = None  # of the serializer

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        if self._serializer is None or self._key != app.secret_key:
            self._key, self._serializer = app.secret_key, super().get_signing_serializer(app)
        return self._serializer

    def get_cookie_name(self, app: Flask) -> str:
        return f"{self._prefix(app)}{self._bare_name(app, visitors_sites()[0])}"

    def _prefix(self, app: Flask) -> str:
        """What browsers enforce: `__Host-` demands Secure, no Domain, and the path /."""
        if not self.get_cookie_secure(app):
            return ""
        return "__Host-" if self.get_cookie_path(app) == "/" else "__Secure-"

    def _bare_name(self, app: Flask, site: str) -> str:
        name = super().get_cookie_name(app)
        return f"{name}_{digest(site)[:8]}" if embedding_site() else name

    def _former_cookies(self, app: Flask, request: Request) -> list[str]:
        """The cookies of this visitor that have other names than a new one would have."""
        bare = [self._bare_name(app, site) for site in visitors_sites()]
        names = [prefix + name for name in bare for prefix in {self._prefix(app): 0, "": 0}]
        return [name for name in names[1:] if name in request.cookies]

    def get_cookie_samesite(self, app: Flask) -> str | None:
        return "None" if self.get_cookie_partitioned(app) else super().get_cookie_samesite(app)

    def get_cookie_partitioned(self, app: Flask) -> bool:
        return bool(embedding_site()) and self.get_cookie_secure(app)

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        try:
            take_secret_key(app)
        except StoreUnavailable:
            return None  # `prepare` raises it again, and that error is explained to the visitor
        if "HTTP_COOKIE" not in request.environ:
            return self.session_class()
        session = self._session_of(app, request.cookies.get(self.get_cookie_name(app)))
        if not session and (former := self._former_cookies(app, request)):
            session = self._session_of(app, request.cookies[former[0]])
            session.modified = bool(session)  # to be given the new name
        return session

    def _session_of(self, app: Flask, cookie: str | None) -> SecureCookieSession:
        """The session that a cookie holds; an empty one for a cookie that is over or not ours."""
        serializer = self.get_signing_serializer(app)
        if not cookie or serializer is None:
            return self.session_class()
        try:
            holds, signed_at = identity.signed(serializer, cookie)
        except BadSignature:
            return self.session_class()
        if identity.is_over(signed_at, app.permanent_session_lifetime.total_seconds()):
            return self.session_class()
        return self.session_class(holds)  # a copy

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """As Flask does; with the session's cookie, those of former names are replaced or go."""
        if not session.modified:
            if session.accessed and "Vary" not in response.headers:
                response.headers["Vary"] = "Cookie"  # at a fifth of the price of `response.vary`
            elif session.accessed:
                response.vary.add("Cookie")
            return
        super().save_session(app, session, response)
        for name in self._former_cookies(app, request):
            response.delete_cookie(
                name,
                path=self.get_cookie_path(app),
                secure=self.get_cookie_secure(app),
                httponly=True,
                samesite=self.get_cookie_samesite(app),
                partitioned=self.get_cookie_partitioned(app),
            )


def take_secret_key(app: Flask) -> None:
    if app.secret_key is None:
        app.secret_key = cast(Services, app.extensions["sitechat"]).store.portal.secret_key()


def prepare() -> None:
    """Read the key; without it we know no visitor and must not begin a second chat for one."""
    if itself(request).endpoint in ("index", "ajax"):
        take_secret_key(itself(current_app))
