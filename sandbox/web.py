"""The portal's addresses: REST, OAuth, the disk, and pages for people."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import (
    Flask,
    Response,
    abort,
    json,
    jsonify,
    redirect,
    render_template,
    request,
    send_from_directory,
)
from flask.typing import ResponseReturnValue

from .control import told_dialog, told_lines
from .files import File
from .portal import ConnectedLine, Connector, User
from .talks import Dialog

if TYPE_CHECKING:
    from .server import Sandbox

HERE = Path(__file__).parent
KEEP_ALIVE_SECONDS = 15
GATHER_SECONDS = 0.04  # changes within are told as one
SAFE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")


class Pages:
    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox
        self._portal = sandbox.portal
        self._talks = sandbox.talks

    def _page(self, template: str, **values: Any) -> str:
        return render_template(
            template, portal=self._portal, options=self._portal.options, **values
        )

    def home(self) -> str:
        return self._page("home.html")

    def demo(self) -> str:
        return self._page("demo.html")

    def shop(self) -> str:
        """A site that embeds the chat by its one line."""
        return self._page("shop.html")

    def trouble(self) -> str:
        return self._page("trouble.html")

    # Contact center, placements, install

    def contact_center(self) -> str:
        with self._portal.lock:
            own = [_tile(connector) for connector in self._portal.connectors.values()]
        return self._page(
            "contact_center.html", tiles=own, lines=told_lines(self._portal), users=self._staff()
        )

    def open_settings(self) -> str:
        """Inside the slider: a form that posts itself to the application."""
        given = request.args
        connector = self._portal.connector(given.get("connector", ""))
        address, fields = self._sandbox.opening.settings_page(
            connector,
            given.get("line", 0, int),
            given.get("active", "1") == "1",
            given.get("user", 1, int),
        )
        return self._page("post.html", address=address, fields=fields)

    def open_install(self) -> str:
        self._portal.begin_install()
        address, fields = self._sandbox.opening.install_page(request.args.get("user", 1, int))
        return self._page("post.html", address=address, fields=fields)

    def install_app(self) -> str:
        return self._page("install_app.html", users=self._staff())

    def bx24(self) -> ResponseReturnValue:
        return send_from_directory(HERE / "static", "bx24.js")

    def _staff(self) -> list[User]:
        return [user for user in self._portal.users.values() if not user.connector]

    # The desk

    def desk(self) -> str:
        return self._page("desk.html", users=self._staff(), embed="embed" in request.args)

    def desk_dialogs(self) -> ResponseReturnValue:
        with self._portal.lock:
            told = [self._summary(dialog) for dialog in self._talks.dialogs.values()]
        return jsonify(sorted(told, key=lambda one: -one["at"]))

    def desk_dialog(self, chat_id: int) -> ResponseReturnValue:
        with self._portal.lock:
            dialog = self._talks.dialog(chat_id=chat_id)
            told = told_dialog(dialog)
            for message in told["messages"]:
                author = self._portal.users.get(message["user_id"])
                message["name"] = author.full_name if author else ""
            return jsonify(told | {"line_name": self._portal.lines.get(dialog.line, "")})

    def desk_stream(self) -> ResponseReturnValue:
        return Response(self._changes(), content_type="text/event-stream")

    def _changes(self) -> Iterator[str]:
        """One line whenever the portal changed; the page then asks what is true."""
        portal, seen = self._portal, -1
        while True:
            with portal.changed:
                if portal.version == seen:
                    portal.changed.wait(KEEP_ALIVE_SECONDS)
                changed, seen = portal.version != seen, portal.version
            yield f"data: {json.dumps({'version': seen})}\n\n" if changed else ": here\n\n"
            time.sleep(GATHER_SECONDS)

    def _summary(self, dialog: Dialog) -> dict[str, Any]:
        last = dialog.messages[-1] if dialog.messages else None
        text = (last.text or (last.files[0].name if last.files else "")) if last else ""
        return {
            "chat_id": dialog.chat_id,
            "external_chat_id": dialog.external_chat_id,
            "user_name": dialog.user_name,
            "line_name": self._portal.lines.get(dialog.line, f"line {dialog.line}"),
            "closed": dialog.closed,
            "text": "deleted" if last and last.deleted else text[:120],
            "author": last.author if last else "",
            "at": last.at if last else 0.0,
            "count": len(dialog.messages),
        }

    # The disk

    def short_link(self, code: str) -> ResponseReturnValue:
        """A public signed link: no sign-in, one redirect (section 1.2)."""
        file = self._sandbox.disk.by_code(code)
        if file is None:
            abort(404)
        return redirect(f"/public/{file.code}/{_address_name(file)}")

    def public_file(self, code: str, name: str) -> ResponseReturnValue:
        file = self._sandbox.disk.by_code(code)
        if file is None:
            abort(404)
        answer = Response(file.content, content_type=file.mime)
        answer.headers["X-Content-Type-Options"] = "nosniff"
        if file.mime not in SAFE_TYPES:
            answer.headers.set("Content-Disposition", "attachment", filename=_address_name(file))
        return answer

    def signed_in_file(self, file_id: int, code: str) -> ResponseReturnValue:
        return Response("Sign in to see this file", 401)


def _address_name(file: File) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in ".-_") else "_" for c in file.name)


def _tile(connector: Connector) -> dict[str, Any]:
    rows: dict[int, ConnectedLine] = connector.lines
    works = any(row.works for row in rows.values())
    icon = connector.icon if works else connector.icon_disabled or connector.icon
    return {
        "id": connector.id,
        "name": connector.name,
        "works": works,
        "lines": {line: row.works for line, row in rows.items()},
        "image": icon.get("DATA_IMAGE", ""),
        "color": icon.get("COLOR", "#1f6feb"),
        "size": icon.get("SIZE", "70%"),
        "position": icon.get("POSITION", "center"),
    }


def web_routes(app: Flask, sandbox: "Sandbox") -> None:
    pages, rest = Pages(sandbox), sandbox.rest
    both = ["GET", "POST"]
    app.add_url_rule("/rest/<path:path>", "rest", rest.handle, methods=both)
    app.add_url_rule("/oauth/token/", "oauth_token", rest.oauth_token, methods=both)

    @app.get("/oauth/authorize/")
    def oauth_authorize() -> ResponseReturnValue:
        return rest.oauth_authorize(secrets.token_hex(16))

    for path, view in (
        ("/", pages.home),
        ("/demo", pages.demo),
        ("/shop", pages.shop),
        ("/trouble", pages.trouble),
        ("/contact-center", pages.contact_center),
        ("/contact-center/open", pages.open_settings),
        ("/install-app", pages.install_app),
        ("/install-app/open", pages.open_install),
        ("/api/v1/", pages.bx24),
        ("/desk", pages.desk),
        ("/desk/dialogs", pages.desk_dialogs),
        ("/desk/dialog/<int:chat_id>", pages.desk_dialog),
        ("/desk/stream", pages.desk_stream),
        ("/~<code>", pages.short_link),
        ("/public/<code>/<name>", pages.public_file),
        ("/disk/<int:file_id>/<code>", pages.signed_in_file),
    ):
        app.add_url_rule(path, f"page:{path}", view)
