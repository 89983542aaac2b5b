"""The parameters of a REST call: read from the request, in their official case, checked.

Every difference from the method's page is noted in the portal's `spec_violations`.
"""

from collections.abc import Callable
from typing import Any

from flask import Request

from . import php, spec
from .options import RestError
from .portal import Portal

# 0 and an empty text switch a line off (bitrix24.md 6.4). Without ACTIVE the call is refused (6.5).
MAY_BE_EMPTY = {"ACTIVE"}
NUMBERS = (
    *("LINE", "LIMIT", "FIRST_ID", "LAST_ID", "SESSION_ID", "CHAT_ID", "AUTH_TYPE"),
    *("CONFIG_ID", "USER_ID", "ID", "START"),
)


def read_call(request: Request) -> tuple[dict[str, Any], str]:
    """The parameters without the access token, and the access token; "" if there is none."""
    params = php.decode(request.args.items(multi=True))
    if request.is_json:
        body = request.get_json(silent=True)
        params |= body if isinstance(body, dict) else {}
    else:
        params |= php.decode(request.form.items(multi=True))
    access_token = ""
    for name in [name for name in params if name.lower() in ("auth", "access_token")]:
        value = params.pop(name)
        access_token = access_token or (value if isinstance(value, str) else "")
    header = request.headers.get("Authorization", "")
    if header.startswith("Bearer "):
        access_token = access_token or header.removeprefix("Bearer ").strip()
    return params, access_token


def official_case(params: dict[str, Any]) -> dict[str, Any]:
    """Upper-case names; inside MESSAGES lower-case ones, inside ICON and DATA upper-case ones."""
    official: dict[str, Any] = {}
    for name, value in params.items():
        upper = name.upper()
        if upper == "MESSAGES":
            official[upper] = _change_case(value, str.lower)
        elif upper in ("ICON", "ICON_DISABLED", "DATA"):
            official[upper] = _change_case(value, str.upper)
        else:
            official[upper] = value
    return official


def _change_case(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {change(name): _change_case(inner, change) for name, inner in value.items()}
    if isinstance(value, list):
        return [_change_case(inner, change) for inner in value]
    return value


def check(portal: Portal, method: str, params: dict[str, Any]) -> None:
    """RestError when the portal itself would refuse the parameters."""
    problems = spec.problems(method, params)
    with portal.lock:
        for problem in problems:
            portal.spec_violations.append({"method": method, "problem": problem})
    if method == "imconnector.register":
        return  # it answers its failures itself, with status 200 (bitrix24.md 6.8)
    for name in spec.missing(method, params):
        if name not in MAY_BE_EMPTY or params.get(name) is None:
            raise RestError("ERROR_ARGUMENT", f"Argument '{name}' is null or empty")
    for name in NUMBERS:
        if any(problem.startswith(f"{name}: integer") for problem in problems):
            raise RestError("ERROR_ARGUMENT", f"Argument '{name}' is not a number")
