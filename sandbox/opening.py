"""Opens the application's pages as the portal does: placements and install.

The fields are those of bitrix24.md sections 7 and 8. The user's browser posts
them from a form; for tests the sandbox posts them itself.
"""

import json
import re
import secrets
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from . import php
from .options import NotFound
from .outgoing import Client, NoReply
from .portal import ConnectedLine, Connector, Portal

USER_AGENT = "Mozilla/5.0 (sandbox)"
TIMEOUT_SECONDS = 60
_SCRIPT = re.compile(r"<script[^>]*\ssrc=[\"']([^\"']+)[\"']", re.IGNORECASE)


class Opening:
    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    def install_page(self, user_id: int) -> tuple[str, dict[str, str]]:
        """The address of the install page, and the fields that a browser posts to it."""
        options = self._portal.options
        return self._page(f"{options.app_url}/install", user_id, "DEFAULT", {})

    def settings_page(
        self, connector: Connector, line: int, active: bool, user_id: int
    ) -> tuple[str, dict[str, str]]:
        """Press Connect if `active`, then open the connector's settings; returns as install_page.

        The button sets only ACTIVE; the application must activate the line (bitrix24.md 7.3).
        """
        with self._portal.lock:
            if line not in self._portal.lines:
                raise NotFound(f"no line {line}")
            if active:
                self._portal.connected_line(connector.id, line).active = True
                self._portal.touch()
            if not self._portal.installed:  # bitrix24.md 7.13
                return self.install_page(user_id)
            connected = connector.lines.get(line) or ConnectedLine()
            old_build = self._portal.troubles.old_build
            options = {
                "LINE": line if old_build else str(line),  # both are seen (7.2)
                "CONNECTOR": connector.id,
                "STATUS": connected.works,
                "ACTIVE_STATUS": connected.active,
                "CONNECTION_STATUS": connected.connection,
                "REGISTER_STATUS": connected.register,
                "ERROR_STATUS": False,
                "URI": f"/contact_center/connector/?ID={connector.id}&LINE={line}",
            }
        return self._page(connector.placement_handler, user_id, "SETTING_CONNECTOR", options)

    def _page(
        self, address: str, user_id: int, placement: str, options: dict[str, Any]
    ) -> tuple[str, dict[str, str]]:
        portal = self._portal
        portal.user(user_id)
        token = portal.tokens.issue(user_id)
        query = urlencode(
            {
                "DOMAIN": portal.tokens.portal_url.partition("://")[2],
                "PROTOCOL": int(portal.options.base_url.startswith("https:")),
                "LANG": portal.options.lang,
                "APP_SID": secrets.token_hex(16),
            }
        )
        fields = {
            "AUTH_ID": str(token["access_token"]),
            "AUTH_EXPIRES": str(token["expires_in"]),
            "REFRESH_ID": str(token["refresh_token"]),
            "SERVER_ENDPOINT": str(token["server_endpoint"]),
            "member_id": portal.tokens.member_id,
            "status": "L",
            "PLACEMENT": placement,
            "PLACEMENT_OPTIONS": json.dumps(options, separators=(",", ":")),
        }
        if portal.troubles.placement_token and not portal.troubles.old_build:
            fields["APPLICATION_TOKEN"] = portal.application_token
            fields["APPLICATION_SCOPE"] = str(token["scope"])
        return f"{address}{'&' if '?' in address else '?'}{query}", fields

    # Without a browser

    def install(self, user_id: int, finish: bool) -> dict[str, Any]:
        """Open the install page; the install is finished if the page calls BX24.installFinish."""
        self._portal.begin_install()
        address, fields = self.install_page(user_id)
        answer = self.post(address, fields)
        if finish and 200 <= answer["status"] < 300 and _finishes(address, answer["body"]):
            self._portal.finish_install()
        return {**answer, "installed": self._portal.installed}

    def install_without_page(self, user_id: int) -> dict[str, Any]:
        """As with an application without pages: an event, and it is installed (8.3)."""
        portal = self._portal
        portal.begin_install()
        portal.finish_install()
        data = {
            "VERSION": 1,
            "ACTIVE": "Y",
            "INSTALLED": "Y",
            "LANGUAGE_ID": portal.options.lang,
        }
        fields = portal.envelope("ONAPPINSTALL", data, None)
        token = portal.tokens.issue(user_id)
        fields["auth"] = {**token, "application_token": portal.application_token}
        return self.post(f"{portal.options.app_url}/install", dict(php.encode(fields)))

    def post(self, address: str, fields: dict[str, str]) -> dict[str, Any]:
        """POST a form; the status is 0 when nobody answers."""
        try:
            with Client(USER_AGENT, TIMEOUT_SECONDS) as client:
                reply = client.post(address, urlencode(fields))
        except NoReply as error:
            return {"status": 0, "body": str(error)}
        return {"status": reply.status, "body": reply.text}


def _finishes(address: str, html: str) -> bool:
    """Whether the page, or a script of its own site, calls installFinish."""
    if "installFinish" in html:
        return True
    site = urlsplit(address).netloc
    for source in _SCRIPT.findall(html):
        script = urljoin(address, source)
        if urlsplit(script).netloc == site:
            try:
                with Client(USER_AGENT, TIMEOUT_SECONDS) as client:
                    if "installFinish" in client.get(script).text:
                        return True
            except NoReply:
                continue
    return False
