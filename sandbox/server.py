"""Serves one portal: its HTTP server, its application and its routes."""

import threading
from typing import Any

from flask import Flask

from .control import control_routes
from .desk import desk_routes
from .http_server import Server
from .pages import page_routes
from .parts import Sandbox
from .portal import Options
from .public_files import file_routes


def create_app(sandbox: Sandbox) -> Flask:
    app = Flask(__package__)
    both = ["GET", "POST"]
    app.add_url_rule("/rest/<path:path>", "rest", sandbox.rest.answer, methods=both)
    app.add_url_rule("/oauth/token/", "oauth_token", sandbox.oauth.token, methods=both)
    app.add_url_rule("/oauth/authorize/", "oauth_authorize", sandbox.oauth.authorize)
    page_routes(app, sandbox)
    desk_routes(app, sandbox)
    file_routes(app, sandbox.disk)
    control_routes(app, sandbox)
    return app


def serve(
    app_url: str, host: str = "127.0.0.1", port: int = 0, **options: Any
) -> tuple[Sandbox, Server]:
    """A portal on its port, serving in a thread; `shutdown()` of the server ends it.

    Port 0 takes a free one. OSError when the port is taken.
    """
    server = Server(host, port)
    name = "127.0.0.1" if host in ("0.0.0.0", "") else f"[{host}]" if ":" in host else host
    sandbox = Sandbox(Options(f"http://{name}:{server.port}", app_url.rstrip("/"), **options))
    server.app = create_app(sandbox)
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    return sandbox, server
