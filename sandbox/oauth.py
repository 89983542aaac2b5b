"""The OAuth server: tokens for a refresh token or a code, and what it says of an application.

bitrix24.md section 8.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Response, json, redirect, request
from flask.typing import ResponseReturnValue

from .faults import NoAnswer, hold_back_answer, no_answer, proxy_page
from .options import RestError
from .portal import Portal
from .rest_params import read_call
from .tokens import spaced

ADMINISTRATOR = 1  # Olga, who agrees to every application


class OAuth:
    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    def token(self) -> Response:
        """Answer `/oauth/token/`."""

        def renewed() -> dict[str, Any]:
            self._check_client()
            tokens = self._grant(request.values.get("grant_type", ""))
            troubles = self._portal.troubles
            if "oauth" in (troubles.drop_method, troubles.slow_method):
                hold_back_answer(self._portal, "oauth", "")
            return tokens

        return self._answer(renewed)

    def app_info(self) -> Response:
        """Answer `/rest/app.info` of the OAuth server: not as the portal's method (8.5)."""
        return self._answer(self._app_info)

    def _answer(self, make: Callable[[], dict[str, Any]]) -> Response:
        portal = self._portal
        with portal.lock:
            portal.counts["oauth"] += 1
            troubles = portal.troubles
        if troubles.down or troubles.oauth_down:
            return no_answer()
        if troubles.http_500:
            return proxy_page()
        try:
            return _json(make(), 200)
        except NoAnswer:
            return no_answer()
        except RestError as error:
            return _json(error.fields(), error.status)

    def _app_info(self) -> dict[str, Any]:
        start = self._portal.now()
        token = self._portal.tokens.find(read_call(request)[1])
        portal, options = self._portal, self._portal.options
        result = {
            "client_id": options.client_id,
            "scope": spaced(token.scope),
            "expires": _iso(token.expires),
            "install": {
                "installed": portal.installed,
                "version": "1",
                "status": "L",
                "scope": spaced(token.scope),
                "domain": portal.tokens.portal_url.partition("://")[2],
                "uri": portal.tokens.portal_url,
                "client_endpoint": f"{portal.tokens.portal_url}/rest/",
                "member_id": portal.tokens.member_id,
                "member_type": "PORTAL",
            },
            "user_id": token.user_id,
        }
        finish = self._portal.now()
        return {
            "result": result,
            "time": {
                "start": start,
                "finish": finish,
                "duration": finish - start,
                "processing": finish - start,
                "date_start": _iso(start),
                "date_finish": _iso(finish),
            },
        }

    def authorize(self) -> ResponseReturnValue:
        """Send the browser back with a code, as if the administrator had agreed."""
        options = self._portal.options
        code = self._portal.tokens.new_code(ADMINISTRATOR)
        state = request.args.get("state", "")
        query = f"code={code}&state={state}&domain={options.domain}"
        return redirect(f"{options.app_url}/install?{query}")

    def _check_client(self) -> None:
        options = self._portal.options
        if request.values.get("client_id") != options.client_id:
            raise RestError("wrong_client", "The client is not known")
        if request.values.get("client_secret") != self._portal.tokens.client_secret:
            raise RestError("invalid_client", "The client secret is wrong", 401)

    def _grant(self, grant_type: str) -> dict[str, Any]:
        if grant_type == "refresh_token":
            return self._portal.tokens.renew(request.values.get("refresh_token", ""))
        if grant_type == "authorization_code":
            return self._portal.tokens.for_code(request.values.get("code", ""))
        raise RestError("unsupported_grant_type", "The grant type is not supported")


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _json(fields: dict[str, Any], status: int) -> Response:
    return Response(json.dumps(fields), status, content_type="application/json")
