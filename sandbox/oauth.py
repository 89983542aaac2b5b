"""The OAuth server: tokens for a refresh token or a code (bitrix24.md section 8)."""

import secrets
from typing import Any

from flask import Response, json, redirect, request
from flask.typing import ResponseReturnValue

from .faults import NoAnswer, hold_back_answer, no_answer, proxy_page
from .portal import Portal, RestError

ADMINISTRATOR = 1  # Olga, who agrees to every application


class OAuth:
    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    def token(self) -> Response:
        """Answer `/oauth/token/`."""
        portal = self._portal
        with portal.lock:
            portal.counts["oauth"] += 1
            troubles = portal.troubles
        if troubles.down or troubles.oauth_down:
            return no_answer()
        if troubles.http_500:
            return proxy_page()
        try:
            self._check_client()
            tokens = self._grant(request.values.get("grant_type", ""))
            if "oauth" in (troubles.drop_method, troubles.slow_method):
                hold_back_answer(portal, "oauth", "")
        except NoAnswer:
            return no_answer()
        except RestError as error:
            return _json(error.fields(), error.status)
        return _json(tokens, 200)

    def authorize(self) -> ResponseReturnValue:
        """Send the browser back with a code, as if the administrator had agreed."""
        options, code = self._portal.options, secrets.token_hex(16)
        with self._portal.lock:
            self._portal.authorization_codes[code] = ADMINISTRATOR
        state = request.args.get("state", "")
        query = f"code={code}&state={state}&domain={options.domain}"
        return redirect(f"{options.app_url}/install?{query}")

    def _check_client(self) -> None:
        options = self._portal.options
        if request.values.get("client_id") != options.client_id:
            raise RestError("wrong_client", "The client is not known")
        if request.values.get("client_secret") != options.client_secret:
            raise RestError("invalid_client", "The client secret is wrong", 401)

    def _grant(self, grant_type: str) -> dict[str, Any]:
        if grant_type == "refresh_token":
            return self._portal.refresh(request.values.get("refresh_token", ""))
        if grant_type == "authorization_code":
            code = request.values.get("code", "")
            with self._portal.lock:
                user_id = self._portal.authorization_codes.pop(code, None)
            if user_id is None:
                raise RestError("invalid_grant", "The code is invalid or was used")
            return self._portal.issue_token(user_id)
        raise RestError("unsupported_grant_type", "The grant type is not supported")


def _json(fields: dict[str, Any], status: int) -> Response:
    return Response(json.dumps(fields), status, content_type="application/json")
