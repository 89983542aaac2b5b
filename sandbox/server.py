"""Puts the parts together and serves them."""

import threading
from typing import Any

from flask import Flask

from .control import control_routes
from .files import Disk
from .history import History
from .http_server import Server
from .incoming import Incoming
from .methods import Methods
from .opening import Opening
from .portal import Options, Portal
from .rest import Rest
from .talks import Talks
from .web import web_routes


class Sandbox:
    """One portal and all that belongs to it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.portal = Portal(options)
        self.talks = Talks(self.portal)
        self.disk = Disk()
        self.opening = Opening(self.portal)
        incoming = Incoming(self.portal, self.talks, self.disk)
        history = History(self.portal, self.talks)
        self.rest = Rest(self.portal, Methods(self.portal, self.talks, incoming, history))

    def reset(self) -> None:
        with self.portal.lock:
            self.portal.reset()
            self.talks.clear()
            self.rest.clear()


def create_app(sandbox: Sandbox) -> Flask:
    app = Flask(__package__)
    web_routes(app, sandbox)
    control_routes(app, sandbox)
    return app


def serve(
    app_url: str, host: str = "127.0.0.1", port: int = 0, **more: Any
) -> tuple[Sandbox, Server]:
    """A portal on its port, serving in a thread; `shutdown()` of the server ends it.

    Port 0 takes a free one. OSError when the port is taken.
    """
    server = Server(host, port)
    named = "127.0.0.1" if host in ("0.0.0.0", "") else f"[{host}]" if ":" in host else host
    options = Options(f"http://{named}:{server.port}", app_url.rstrip("/"), **more)
    sandbox = Sandbox(options)
    server.app = create_app(sandbox)
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    return sandbox, server
