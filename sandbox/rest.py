"""The door of the REST interface and of the OAuth server.

Decodes a call, plays the troubles, checks token, limit and parameters, runs
the method, words the answer and writes the call down.
"""

import re
import socket
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from flask import Request, Response, json, redirect, request
from flask.typing import ResponseReturnValue

from . import php, spec
from .http_server import SOCKET
from .methods import Caller, Methods
from .portal import Portal, RestError

KEPT = 20_000
BATCH_LIMIT = 50
MIXED_SLOW_SECONDS = 1.5
PROXY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
OPTIONAL_HERE = {"ACTIVE"}  # absent means off (bitrix24.md section 6)
_REFERENCE = re.compile(r"\$result((?:\[[^\]]+\])+)")


class Dropped(Exception):
    """The connection ends without an answer."""


class Rest:
    def __init__(self, portal: Portal, methods: Methods) -> None:
        self._portal = portal
        self._methods = methods
        self._calls: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._count = 0

    def calls(self, after: int) -> list[dict[str, Any]]:
        with self._portal.lock:
            return [call for call in self._calls if call["n"] > after]

    def clear(self) -> None:
        with self._portal.lock:
            self._calls.clear()
            self._count = 0

    # One call

    def handle(self, path: str) -> Response:
        """Answer `/rest/<path>`."""
        start = time.time()
        method = path.strip("/").removesuffix(".json").lower()
        params, access = _decode(request)
        entry: dict[str, Any] = {"method": method, "params": params, "user_id": None, "error": ""}
        try:
            mixed = self._before(method)
            body, status = self._answer(method, params, access, entry, start)
            self._after(method, mixed)
        except Dropped:
            self._note(entry, 0, start)
            drop_connection()
            return Response()
        except ProxyFault:
            self._note(entry, 502, start)
            return Response(PROXY_PAGE, 502, content_type="text/html")
        self._note(entry, status, start)
        return Response(json.dumps(body), status, content_type="application/json; charset=utf-8")

    def _before(self, method: str) -> str:
        """Troubles in which nothing is done."""
        with self._portal.lock:
            troubles = self._portal.troubles
            mixed = self._portal.dice.roll(troubles.mixed)
            if troubles.down or mixed == "down":
                raise Dropped
            if troubles.http_500 or mixed == "http_500":
                raise ProxyFault
            if mixed == "query_limit":
                troubles.query_limit += 1
            return mixed

    def _after(self, method: str, mixed: str) -> None:
        """Troubles in which everything is done, but we do not hear of it, or late."""
        troubles = self._portal.troubles
        slow = troubles.slow_seconds if troubles.slow_method in ("", method) else 0.0
        time.sleep(MIXED_SLOW_SECONDS if mixed == "slow" else slow)
        with self._portal.lock:
            counted = troubles.drop_answers > 0 and troubles.drop_method in ("", method)
            if counted:
                troubles.drop_answers -= 1
        if counted or mixed == "drop":
            raise Dropped

    def _answer(
        self, method: str, params: dict[str, Any], access: str, entry: dict[str, Any], start: float
    ) -> tuple[dict[str, Any], int]:
        try:
            self._limits(method)
            caller = self._caller(access)
            entry["user_id"] = caller.user.id
            result = (
                self._batch(caller, params)
                if method == "batch"
                else self.run(caller, method, params)
            )
        except RestError as error:
            entry["error"] = error.code
            told = {"error": error.code, "error_description": error.description}
            return {**told, "time": self._time(start)}, error.status
        return {"result": result, "time": self._time(start)}, 200

    def _limits(self, method: str) -> None:
        with self._portal.lock:
            troubles = self._portal.troubles
            self._portal.counts["calls"] += 1
            try:
                self._refuse(method)
            except RestError:
                self._portal.counts["refused"] += 1
                raise
            full = troubles.limit and not self._portal.bucket.take(
                troubles.rate["burst"], troubles.rate["per_second"]
            )
            if full or troubles.query_limit > 0:
                troubles.query_limit = max(0, troubles.query_limit - 1)
                self._portal.counts["refused"] += 1
                raise RestError("QUERY_LIMIT_EXCEEDED", "Too many requests", 503)

    def _refuse(self, method: str) -> None:
        troubles = self._portal.troubles
        if troubles.broken_method == method:
            if troubles.broken_code == "HTML":
                raise ProxyFault
            raise RestError(troubles.broken_code, "Internal error")
        if troubles.overload:
            raise RestError("OVERLOAD_LIMIT", "REST API is blocked due to overload.", 503)
        if self._portal.operation_reset_at > time.time() and troubles.operation_method in (
            "",
            method,
        ):
            raise RestError(
                "OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit.", 429
            )

    def _caller(self, access: str) -> Caller:
        if not access:
            raise RestError("NO_AUTH_FOUND", "Wrong authorization data", 401)
        token = self._portal.token(access)
        return Caller(self._portal.users[token.user_id], token)

    def run(self, caller: Caller, method: str, params: dict[str, Any]) -> Any:
        """One method with its parameters checked against its page."""
        work = self._methods.table.get(method)
        if work is None:
            raise RestError("ERROR_METHOD_NOT_FOUND", "Method not found!", 404)
        self._methods.check_scope(method, caller.token.scope)
        params = _official_case(params)
        self._check(method, params)
        return work(caller, params)

    def _check(self, method: str, params: dict[str, Any]) -> None:
        found = spec.problems(method, params)
        with self._portal.lock:
            for problem in found:
                self._portal.spec_violations.append({"method": method, "problem": problem})
        if method == "imconnector.register":
            return  # words its own failures
        for name in spec.missing(method, params):
            if name not in OPTIONAL_HERE:
                raise RestError("ERROR_ARGUMENT", f"Argument '{name}' is null or empty")
        for name in ("LINE", "LIMIT", "FIRST_ID", "LAST_ID", "SESSION_ID", "CHAT_ID", "AUTH_TYPE"):
            if any(problem.startswith(f"{name}: integer") for problem in found):
                raise RestError("ERROR_ARGUMENT", f"Argument '{name}' is not a number")

    def _batch(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        given = {key.upper(): value for key, value in params.items()}
        commands = given.get("CMD") or {}
        if isinstance(commands, list):
            commands = {str(index): command for index, command in enumerate(commands)}
        if len(commands) > BATCH_LIMIT:
            raise RestError("ERROR_BATCH_LENGTH_EXCEEDED", "Max batch length exceeded")
        halt = given.get("HALT") not in (None, "", "0", 0, False)
        results: dict[str, Any] = {}
        errors: dict[str, Any] = {}
        times: dict[str, Any] = {}
        for key, command in commands.items():
            start = time.time()
            method, _, query = str(command).partition("?")
            pairs = [
                (name, _substituted(value, results))
                for name, value in parse_qsl(query, keep_blank_values=True)
            ]
            try:
                results[key] = self.run(caller, method.lower(), php.decode(pairs))
                times[key] = self._time(start)
            except RestError as error:
                errors[key] = {"error": error.code, "error_description": error.description}
                if halt:
                    break
        return {
            "result": results or [],
            "result_error": errors or [],
            "result_total": [],
            "result_next": [],
            "result_time": times or [],
        }

    def _time(self, start: float) -> dict[str, Any]:
        finish = time.time()
        reset_at = self._portal.operation_reset_at
        return {
            "start": start,
            "finish": finish,
            "duration": finish - start,
            "processing": finish - start,
            "date_start": _iso(start),
            "date_finish": _iso(finish),
            "operating_reset_at": int(reset_at if reset_at > finish else finish + 600),
            "operating": 0,
        }

    def _note(self, entry: dict[str, Any], status: int, start: float) -> None:
        with self._portal.lock:
            self._count += 1
            duration = round(time.time() - start, 6)
            self._calls.append(
                {"n": self._count, **entry, "status": status, "at": start, "duration": duration}
            )

    # OAuth (bitrix24.md section 8)

    def oauth_token(self) -> Response:
        portal, options = self._portal, self._portal.options
        with portal.lock:
            portal.counts["oauth"] += 1
            down = portal.troubles.down or portal.troubles.oauth_down
        if down:
            drop_connection()
            return Response()
        if portal.troubles.http_500:
            return Response(PROXY_PAGE, 502, content_type="text/html")
        given = request.values
        try:
            if given.get("client_id") != options.client_id:
                raise RestError("wrong_client", "The client is not known")
            if given.get("client_secret") != options.client_secret:
                raise RestError("invalid_client", "The client secret is wrong", 401)
            answer = self._grant(given.get("grant_type", ""))
            if "oauth" in (portal.troubles.drop_method, portal.troubles.slow_method):
                self._after("oauth", "")
        except Dropped:
            drop_connection()
            return Response()
        except RestError as error:
            told = {"error": error.code, "error_description": error.description}
            return Response(json.dumps(told), error.status, content_type="application/json")
        return Response(json.dumps(answer), content_type="application/json")

    def _grant(self, kind: str) -> dict[str, Any]:
        if kind == "refresh_token":
            return self._portal.refresh(request.values.get("refresh_token", ""))
        if kind == "authorization_code":
            with self._portal.lock:
                user_id = self._portal.codes.pop(request.values.get("code", ""), None)
            if user_id is None:
                raise RestError("invalid_grant", "The code is invalid or was used")
            return self._portal.issue_token(user_id)
        raise RestError("unsupported_grant_type", "The grant type is not supported")

    def oauth_authorize(self, code: str) -> ResponseReturnValue:
        """Sends the browser back with a code, as if Olga had agreed."""
        with self._portal.lock:
            self._portal.codes[code] = 1
        state = request.args.get("state", "")
        query = f"code={code}&state={state}&domain={self._portal.options.domain}"
        return redirect(f"{self._portal.options.app_url}/install?{query}")


class ProxyFault(Exception):
    """A proxy's page instead of an answer; nothing was done."""


def drop_connection() -> None:
    """Close the caller's socket; what the server still writes goes nowhere."""
    connection = request.environ.get(SOCKET)
    if isinstance(connection, socket.socket):
        connection.shutdown(socket.SHUT_RDWR)


def _decode(asked: Request) -> tuple[dict[str, Any], str]:
    """The parameters without the token, and the token."""
    pairs = list(asked.args.items(multi=True))
    params = php.decode(pairs)
    if asked.is_json:
        body = asked.get_json(silent=True)
        params |= body if isinstance(body, dict) else {}
    else:
        params |= php.decode(asked.form.items(multi=True))
    access = ""
    for name in [name for name in params if name.lower() in ("auth", "access_token")]:
        value = params.pop(name)
        access = access or (value if isinstance(value, str) else "")
    bearer = asked.headers.get("Authorization", "")
    if bearer.startswith("Bearer "):
        access = access or bearer.removeprefix("Bearer ").strip()
    return params, access


def _official_case(params: dict[str, Any]) -> dict[str, Any]:
    """Names in any case; MESSAGES lower-cased inside, ICON and DATA upper-cased."""
    known: dict[str, Any] = {}
    for name, value in params.items():
        upper = name.upper()
        if upper == "MESSAGES":
            known[upper] = _recased(value, str.lower)
        elif upper in ("ICON", "ICON_DISABLED", "DATA"):
            known[upper] = _recased(value, str.upper)
        else:
            known[upper] = value
    return known


def _recased(value: Any, change: Any) -> Any:
    if isinstance(value, dict):
        return {change(key): _recased(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [_recased(inner, change) for inner in value]
    return value


def _substituted(value: str, results: dict[str, Any]) -> str:
    """Batch commands may use earlier results: $result[name][key]."""

    def found(match: re.Match[str]) -> str:
        here: Any = results
        for part in re.findall(r"\[([^\]]+)\]", match[1]):
            if isinstance(here, list):
                here = here[int(part)] if part.isdecimal() and int(part) < len(here) else None
            else:
                here = here.get(part) if isinstance(here, dict) else None
        return "" if here is None else str(here)

    return _REFERENCE.sub(found, value)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
