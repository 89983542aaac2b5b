"""The portal's pages for an administrator: home, demo, contact center, install, troubles."""

from pathlib import Path
from typing import Any

from flask import Flask, render_template, request, send_from_directory
from flask.typing import ResponseReturnValue

from .parts import Sandbox
from .portal import Connector
from .state import line_list

STATIC = Path(__file__).parent / "static"


class Pages:
    def __init__(self, sandbox: Sandbox) -> None:
        self._portal = sandbox.portal
        self._opening = sandbox.opening

    def _page(self, template: str, **values: Any) -> str:
        return render_template(
            template, portal=self._portal, options=self._portal.options, **values
        )

    def home(self) -> str:
        return self._page("home.html")

    def demo(self) -> str:
        return self._page("demo.html")

    def shop(self) -> str:
        """A website that embeds the chat with one script tag."""
        return self._page("shop.html")

    def trouble(self) -> str:
        return self._page("trouble.html")

    def desk(self) -> str:
        return self._page(
            "desk.html", users=self._portal.employees(), embed="embed" in request.args
        )

    def contact_center(self) -> str:
        with self._portal.lock:
            tiles = [_tile(connector) for connector in self._portal.connectors.values()]
        return self._page(
            "contact_center.html",
            tiles=tiles,
            lines=line_list(self._portal),
            users=self._portal.employees(),
        )

    def open_settings(self) -> str:
        """The content of the slider: a form that posts itself to the application."""
        query = request.args
        connector = self._portal.connector(query.get("connector", ""))
        address, fields = self._opening.settings_page(
            connector,
            query.get("line", 0, int),
            query.get("active", "1") == "1",
            query.get("user", 1, int),
        )
        return self._page("post.html", address=address, fields=fields)

    def install_app(self) -> str:
        return self._page("install_app.html", users=self._portal.employees())

    def open_install(self) -> str:
        self._portal.begin_install()
        address, fields = self._opening.install_page(request.args.get("user", 1, int))
        return self._page("post.html", address=address, fields=fields)

    def bx24(self) -> ResponseReturnValue:
        return send_from_directory(STATIC, "bx24.js")


def _tile(connector: Connector) -> dict[str, Any]:
    works = any(line.works for line in connector.lines.values())
    icon = connector.icon if works else connector.icon_disabled or connector.icon
    return {
        "id": connector.id,
        "name": connector.name,
        "works": works,
        "lines": {number: line.works for number, line in connector.lines.items()},
        "image": icon.get("DATA_IMAGE", ""),
        "color": icon.get("COLOR", "#1f6feb"),
        "size": icon.get("SIZE", "70%"),
        "position": icon.get("POSITION", "center"),
    }


def page_routes(app: Flask, sandbox: Sandbox) -> None:
    pages = Pages(sandbox)
    for path, view in (
        ("/", pages.home),
        ("/demo", pages.demo),
        ("/shop", pages.shop),
        ("/trouble", pages.trouble),
        ("/desk", pages.desk),
        ("/contact-center", pages.contact_center),
        ("/contact-center/open", pages.open_settings),
        ("/install-app", pages.install_app),
        ("/install-app/open", pages.open_install),
        ("/api/v1/", pages.bx24),
    ):
        app.add_url_rule(path, f"page:{path}", view)
