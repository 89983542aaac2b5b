"""Opens the application's pages as the portal does: placements and install.

The fields are those of bitrix24.md sections 7 and 8. A page is opened either
by the user's browser (a form) or, for tests, by ourselves.
"""

import json
import re
import secrets
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import requests

from . import php
from .portal import Connector, NotFound, Portal

TIMEOUT_SECONDS = 60
_SCRIPT = re.compile(r"<script[^>]*\ssrc=[\"']([^\"']+)[\"']", re.IGNORECASE)


class Opening:
    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    def install_page(self, user_id: int) -> tuple[str, dict[str, str]]:
        """Where a browser posts what to install the application."""
        options = self._portal.options
        return self._page(f"{options.app_url}/install", user_id, "DEFAULT", {})

    def settings_page(
        self, connector: Connector, line: int, active: bool, user_id: int
    ) -> tuple[str, dict[str, str]]:
        """Press Connect, then open the connector's settings.

        The button sets ACTIVE only; the rest is the application's to do.
        """
        with self._portal.lock:
            if line not in self._portal.lines:
                raise NotFound(f"no line {line}")
            row = self._portal.connected_line(connector, line) if active else None
            if row is not None:
                row.active = True
                self._portal.touch()
            row = row or connector.lines.get(line)
            if not self._portal.installed:
                return self.install_page(user_id)
            options = {
                "LINE": line,
                "CONNECTOR": connector.id,
                "STATUS": row is not None and row.works,
                "ACTIVE_STATUS": row is not None and row.active,
                "CONNECTION_STATUS": row is not None and row.connection,
                "REGISTER_STATUS": row is not None and row.register,
                "ERROR_STATUS": False,
            }
        return self._page(connector.placement_handler, user_id, "SETTING_CONNECTOR", options)

    def _page(
        self, address: str, user_id: int, placement: str, options: dict[str, Any]
    ) -> tuple[str, dict[str, str]]:
        portal = self._portal
        self._portal.user(user_id)
        token = portal.issue_token(user_id)
        query = urlencode(
            {
                "DOMAIN": portal.options.domain,
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
            "member_id": portal.member_id,
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
        """Open the install page; complete it when the page calls BX24.installFinish."""
        self._portal.begin_install()
        address, fields = self.install_page(user_id)
        answer = self.post(address, fields)
        if finish and 200 <= answer["status"] < 300 and _finishes(address, answer["body"]):
            self._portal.finish_install()
        return {**answer, "installed": self._portal.installed}

    def callback(self, user_id: int) -> dict[str, Any]:
        """An application without a page: installed at once, told by ONAPPINSTALL."""
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
        token = portal.issue_token(user_id)
        fields["auth"] = {**token, "application_token": portal.application_token}
        return self.post(f"{portal.options.app_url}/install", dict(php.encode(fields)))

    def post(self, address: str, fields: dict[str, str]) -> dict[str, Any]:
        """POST a form; status 0 when nobody answers."""
        try:
            answer = requests.post(
                address, data=fields, timeout=TIMEOUT_SECONDS, allow_redirects=False
            )
        except requests.RequestException as error:
            return {"status": 0, "body": type(error).__name__}
        return {"status": answer.status_code, "body": answer.text}


def _finishes(address: str, html: str) -> bool:
    """Whether the page, or a script of its own site, calls installFinish."""
    if "installFinish" in html:
        return True
    site = urlsplit(address).netloc
    for source in _SCRIPT.findall(html):
        script = urljoin(address, source)
        if urlsplit(script).netloc == site:
            try:
                if "installFinish" in requests.get(script, timeout=TIMEOUT_SECONDS).text:
                    return True
            except requests.RequestException:
                continue
    return False
