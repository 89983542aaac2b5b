"""The web application: `create_app()` puts the parts together and names the routes.

Each route checks first, stores second and works later. SQL, REST parameters and markup rules are
in other modules.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

from flask import Flask, Request
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import MapAdapter

from operations.life import tell_doubts
from portal.place import end_former_agreement
from services import Services
from settings import Settings, load_settings
from store.database import StoreUnavailable
from web.ajax import ajax
from web.asking import MAX_BODY_BYTES
from web.bodies import Bodies
from web.handler import handler, note_loss
from web.headers import Secured, secure, strict_headers
from web.heads import ShortHeads
from web.install import install
from web.metrics import metrics
from web.monitoring import healthz
from web.page import index
from web.problems import add_explanations
from web.request_ids import RequestIds, tell_answer
from web.sessions import BelowPrefix, Sessions, prepare
from web.static_files import Releases, StaticFiles
from web.uploads import MAX_PARTS, FormRequest
from web.visitor import hand_token

log = logging.getLogger(__name__)


class Application(Flask):
    """Flask with views that are all plain functions."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function as it is: Flask looks six times in each request whether it is `async`."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Whatever host a request names: our addresses are paths, and nothing here is of a host.

        Flask's own reads that name three times.
        """
        if request is None:
            return super().create_url_adapter(request)
        path = request.environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
        return self.url_map.bind(
            "",
            request.root_path or "/",
            url_scheme=request.scheme,
            default_method=request.method,
            path_info=path,  # not `request.path`: the prefix alone is redirected to the page
            query_args=request.query_string.decode(errors="replace"),
        )


def create_app(settings: Settings | None = None) -> Flask:
    """The application without its background jobs (`Services.work`), which gunicorn starts."""
    services = Services.of(settings or load_settings())
    app = Application(__name__, static_folder=None)
    app.extensions["sitechat"] = services
    releases = Releases(services.store.releases)
    configure(app, services, releases)
    tell_doubts(services.settings)
    static = f"/static/{releases.own.digest}/<path:filename>"
    app.add_url_rule(static, "static", build_only=True)  # for the templates' url_for
    app.add_url_rule("/", view_func=index)
    app.add_url_rule("/ajax", view_func=ajax, methods=["GET", "POST"])
    app.add_url_rule("/handler", view_func=handler, methods=["POST"])
    app.add_url_rule("/install", view_func=install, methods=["GET", "POST"])
    app.add_url_rule("/healthz", view_func=healthz, methods=["GET"])
    app.add_url_rule("/metrics", view_func=metrics, methods=["GET"])
    app.before_request(prepare)
    app.after_request(secure)
    app.after_request(hand_token)
    app.after_request(note_loss)
    app.after_request(tell_answer)
    add_explanations(app)
    try:
        services.store.open()
        services.store.portal.secret_key()  # made now, so that commands that only read find one
        end_former_agreement(services.settings.bitrix24, services.store)
        releases.keep_ours()  # before the first page names them
    except StoreUnavailable as error:
        # /install says how to mend the store, and every use tries again to open it.
        log.error("the store cannot be used: %s", error)
    return app


def configure(app: Flask, services: Services, releases: Releases) -> None:
    """Set up sessions, limits, and the WSGI layers between the server and Flask."""
    settings = services.settings

    def headers() -> Mapping[str, str]:
        return strict_headers(settings, services.chat)  # the sites may change while we run

    app.request_class = FormRequest
    app.session_interface = Sessions()
    app.url_map.merge_slashes = False  # it redirects to the host that the request names
    app.json.ensure_ascii = False  # type: ignore[attr-defined]  # a Cyrillic letter is 2 bytes, not 6
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        MAX_FORM_PARTS=MAX_PARTS,
        PERMANENT_SESSION_LIFETIME=timedelta(days=settings.chat.session_days),
        SESSION_COOKIE_NAME="sitechat",  # Sessions puts a prefix before it under HTTPS
        SESSION_COOKIE_PATH=f"{settings.prefix}/",
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.public_url.startswith("https:"),
        SESSION_REFRESH_EACH_REQUEST=False,
    )
    wsgi: Callable[..., Iterable[bytes]] = StaticFiles(Secured(app.wsgi_app), headers, releases)
    if settings.server.proxies:
        wsgi = ProxyFix(wsgi, x_for=settings.server.proxies, x_proto=0)  # public_url has the scheme
    wsgi = Bodies(BelowPrefix(wsgi, unquote(settings.prefix, "latin-1")))  # as servers give paths
    wsgi = ShortHeads(wsgi, headers)
    app.wsgi_app = RequestIds(wsgi)  # type: ignore[method-assign]
