"""`/healthz` for load balancers, and its details for whoever has the token of monitoring."""

import hmac
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from flask import Response, jsonify, request
from flask.typing import ResponseReturnValue

from operations.findings import Finding, Moment, worst, worst_first
from operations.version import version
from operations.words import words
from store.database import StoreUnavailable
from web.asking import Problem, language, note_refusal, services

AGAIN_SECONDS = 5


def healthz() -> ResponseReturnValue:
    """200 while messages can be taken, else 503. Strangers learn nothing more."""
    details = has_token()
    takes = services().pulse.takes_messages()
    if details:
        answer = jsonify(health(takes))
    else:
        words = "ok" if takes else "messages cannot be taken now"
        answer = Response(f"{words}\n", mimetype="text/plain")
    if not takes:
        answer.status_code = 503
        answer.headers["Retry-After"] = str(AGAIN_SECONDS)
    return answer


def has_token() -> bool:
    """Whether the request shows `operations.token`; Problem if it shows another one."""
    token = services().settings.operations.token.get_secret_value()
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    if not token or kind.lower() != "bearer":
        return False  # other kinds are for a proxy in front
    if hmac.compare_digest(given.strip().encode(), token.encode()):
        return True
    note_refusal("monitoring.wrong_token")
    raise Problem("monitoring.wrong_token", 401)


def health(takes_messages: bool) -> dict[str, Any]:
    found = findings()
    return {
        "takes_messages": takes_messages,
        "verdict": worst(found).name.lower(),
        "findings": [described(finding) for finding in worst_first(found)],
        "version": version(),
    }


def findings() -> list[Finding]:
    """What the doctor knows; nothing where even that cannot be read."""
    with suppress(StoreUnavailable):
        return services().verdict()
    return []


def described(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "level": finding.level.name.lower(),
        "key": finding.key,
        "text": words(finding, language(), moment),
    }


def moment(at: Moment) -> str:
    return datetime.fromtimestamp(at.seconds, UTC).isoformat(timespec="seconds")
