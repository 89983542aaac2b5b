"""The REST interface: plays the troubles, checks token, limit and parameters, runs the method.

Every call is kept in a log, whatever became of it.
"""

import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

from flask import Response, json, request

from .batch import run_batch
from .caller import Caller, Page
from .faults import NoAnswer, ProxyFault, hold_back_answer, no_answer, proxy_page
from .methods import Methods
from .options import RestError
from .people_methods import scopes
from .portal import Portal
from .rest_params import check, official_case, read_call

CALLS_KEPT = 20_000


class Rest:
    def __init__(self, portal: Portal, methods: Methods) -> None:
        self._portal = portal
        self._methods = methods
        self._calls: deque[dict[str, Any]] = deque(maxlen=CALLS_KEPT)
        self._count = 0

    def calls(self, after: int) -> list[dict[str, Any]]:
        """The log from the call with the number `after` on, oldest first."""
        with self._portal.lock:
            return [dict(call) for call in self._calls if call["n"] > after]

    def clear(self) -> None:
        with self._portal.lock:
            self._calls.clear()
            self._count = 0

    def answer(self, path: str) -> Response:
        """Answer `/rest/<path>`."""
        troubles = self._portal.troubles
        new_address = troubles.renamed_to or troubles.redirected_to
        if new_address and request.host != new_address.partition("://")[2]:
            return Response(status=302, headers={"Location": f"{new_address}{request.path}"})
        start = time.time()
        method = path.strip("/").removesuffix(".json").lower()
        params, access_token = read_call(request)
        entry = self._begin(method, params, start)
        try:
            mixed = self._lose_call()
            body, status = self._carry_out(method, params, access_token, entry, start)
            hold_back_answer(self._portal, method, mixed)
        except NoAnswer:
            self._end(entry, 0, start)
            return no_answer()
        except ProxyFault:
            self._end(entry, 502, start)
            return proxy_page()
        self._end(entry, status, start)
        return Response(json.dumps(body), status, content_type="application/json; charset=utf-8")

    def _lose_call(self) -> str:
        """The troubles in which nothing is done; returns what the dice chose for this call."""
        with self._portal.lock:
            troubles = self._portal.troubles
            mixed = self._portal.dice.roll(troubles.mixed)
            if troubles.down or mixed == "down":
                raise NoAnswer
            if troubles.http_500 or mixed == "http_500":
                raise ProxyFault
            if mixed == "query_limit":
                troubles.query_limit += 1
            return mixed

    def _carry_out(
        self,
        method: str,
        params: dict[str, Any],
        access_token: str,
        entry: dict[str, Any],
        start: float,
    ) -> tuple[dict[str, Any], int]:
        """The body and the status of the answer; the log's entry gets caller and error."""
        try:
            self._check_limits(method)
            caller = self._caller(access_token)
            entry["user_id"] = caller.user.id
            self._must_have(method)
            result = (
                run_batch(params, lambda *call: self._run_timed(caller, *call))
                if method == "batch"
                else self._run(caller, method, params)
            )
        except RestError as error:
            entry["error"] = error.code
            return error.fields() | self._times_of(error, start), error.status
        if isinstance(result, Page):
            return {"result": result.items, **result.fields(), "time": self._times(start)}, 200
        return {"result": result, "time": self._times(start)}, 200

    def _times_of(self, error: RestError, start: float) -> dict[str, Any]:
        """The field `time` of an error's answer, which may be missing (bitrix24.md 9.2)."""
        limited = error.code == "OPERATION_TIME_LIMIT"
        if limited and self._portal.troubles.operation_without_time:
            return {}
        return {"time": self._times(start)}

    def _check_limits(self, method: str) -> None:
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
        """The troubles that refuse a call, whoever makes it."""
        troubles = self._portal.troubles
        if troubles.broken_method == method:
            if troubles.broken_code == "HTML":
                raise ProxyFault
            raise RestError(troubles.broken_code, "Internal error")
        if troubles.overload:
            raise RestError("OVERLOAD_LIMIT", "REST API is blocked due to overload.", 503)
        limited = troubles.operation_method in ("", method)
        if limited and self._portal.operation_reset_at > time.time():
            raise RestError(
                "OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit.", 429
            )

    def _caller(self, access_token: str) -> Caller:
        if not access_token:
            raise RestError("NO_AUTH_FOUND", "Wrong authorization data", 401)
        token = self._portal.tokens.find(access_token)
        return Caller(self._portal.users[token.user_id], token)

    def _must_have(self, method: str) -> None:
        if method in self._portal.troubles.unknown_methods.split(","):
            raise RestError("ERROR_METHOD_NOT_FOUND", "Method not found!", 404)

    def _run(self, caller: Caller, method: str, params: dict[str, Any]) -> Any:
        self._must_have(method)
        run = self._methods.find(method, scopes(caller))
        params = official_case(params)
        check(self._portal, method, params)
        return run(caller, params)

    def _run_timed(
        self, caller: Caller, method: str, params: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        start = time.time()
        return self._run(caller, method, params), self._times(start)

    def _times(self, start: float) -> dict[str, Any]:
        """The answer's field `time` (bitrix24.md 9.2), by the portal's clock."""
        offset = self._portal.troubles.clock_offset_seconds
        start, finish = start + offset, time.time() + offset
        reset_at = self._portal.operation_reset_at + offset
        return {
            "start": start,
            "finish": finish,
            "duration": finish - start,
            "processing": finish - start,
            "date_start": _iso(start),
            "date_finish": _iso(finish),
            "operating_reset_at": int(
                reset_at if reset_at > finish else finish + self._portal.troubles.operating_seconds
            ),
            "operating": 0,
        }

    def _begin(self, method: str, params: dict[str, Any], start: float) -> dict[str, Any]:
        """The log's entry of a call. It is there before anything is done: who sees the effect of
        a call finds the call, too."""
        entry = {"method": method, "params": params, "user_id": None, "error": "", "status": 0}
        with self._portal.lock:
            self._count += 1
            self._calls.append({"n": self._count, **entry, "at": start, "duration": 0.0})
            return self._calls[-1]

    def _end(self, entry: dict[str, Any], status: int, start: float) -> None:
        with self._portal.lock:
            entry |= {"status": status, "duration": round(time.time() - start, 6)}


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
