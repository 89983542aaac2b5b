"""Serves one portal and its OAuth server: two addresses of one process, and their routes."""

import threading
from typing import Any

from flask import Flask

from .control import control_routes
from .desk import desk_routes
from .http_server import Server
from .options import Options
from .pages import page_routes
from .parts import Sandbox
from .public_files import file_routes

BOTH = ["GET", "POST"]


def create_app(sandbox: Sandbox, renews_tokens: bool) -> Flask:
    """The portal's address; as the real one it does not renew tokens, unless it is told to."""
    app = Flask(__package__)
    app.add_url_rule("/rest/<path:path>", "rest", sandbox.rest.answer, methods=BOTH)
    app.add_url_rule("/oauth/authorize/", "oauth_authorize", sandbox.oauth.authorize)
    if renews_tokens:
        app.add_url_rule("/oauth/token/", "oauth_token", sandbox.oauth.token, methods=BOTH)
    page_routes(app, sandbox)
    desk_routes(app, sandbox)
    file_routes(app, sandbox.disk, sandbox.portal)
    control_routes(app, sandbox)
    return app


def create_oauth_app(sandbox: Sandbox) -> Flask:
    """The address of the OAuth server."""
    app = Flask(__package__)
    app.add_url_rule("/oauth/token/", "oauth_token", sandbox.oauth.token, methods=BOTH)
    for number, path in enumerate(("/rest/app.info", "/rest/app.info/", "/rest/app.info.json")):
        app.add_url_rule(path, f"app_info_{number}", sandbox.oauth.app_info, methods=BOTH)
    return app


def serve(
    app_url: str,
    host: str = "127.0.0.1",
    port: int = 0,
    oauth_port: int | None = None,
    **options: Any,
) -> tuple[Sandbox, Server]:
    """A portal and its OAuth server, each on its port, serving in threads.

    `shutdown()` and `server_close()` of the portal's server end both. Port 0 takes a free one. If
    nobody asks for an `oauth_port`, the OAuth server takes a free one, and the portal's address
    renews tokens as well: whoever knows only that address can use it. OSError when a port is taken.
    """
    server = Server(host, port)
    try:
        server.companion = oauth = Server(host, oauth_port or 0)
    except OSError:
        server.server_close()
        raise
    name = "127.0.0.1" if host in ("0.0.0.0", "") else f"[{host}]" if ":" in host else host
    portal_url, oauth_url = (f"http://{name}:{one.port}" for one in (server, oauth))
    sandbox = Sandbox(Options(portal_url, oauth_url, app_url.rstrip("/"), **options))
    server.app = create_app(sandbox, renews_tokens=oauth_port is None)
    oauth.app = create_oauth_app(sandbox)
    for one in (server, oauth):
        threading.Thread(target=one.serve_forever, args=(0.1,), daemon=True).start()
    return sandbox, server
