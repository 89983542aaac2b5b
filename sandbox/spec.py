"""The official parameters of each method, and which of them a call gets wrong.

`spec/methods.json` has the parameters of each method's page in the REST reference.
A `!` after a type marks a required value; a value of the type `any` is not checked.
"""

import json
from pathlib import Path
from typing import Any

from . import php

METHODS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "spec" / "methods.json").read_text(encoding="utf-8")
)


def problems(method: str, params: dict[str, Any]) -> list[str]:
    """A sentence for everything in `params` that the method's page does not allow."""
    fields = METHODS.get(method)
    return [] if fields is None else _check_fields(fields, params, "")


def missing(method: str, params: dict[str, Any]) -> list[str]:
    """Required parameters that are absent, or empty as PHP sees it; not those inside others."""
    return [
        name
        for name, rule in METHODS.get(method, {}).items()
        if _required(rule) and php.is_empty(params.get(name))
    ]


def _required(rule: Any) -> bool:
    text = rule["type"] if isinstance(rule, dict) else rule
    return str(text).endswith("!")


def _check_fields(fields: dict[str, Any], values: dict[str, Any], where: str) -> list[str]:
    found = [f"{where}{name}: unknown parameter" for name in values if name not in fields]
    for name, rule in fields.items():
        if values.get(name) is None:
            if _required(rule):
                found.append(f"{where}{name}: required")
        else:
            found += _check_value(rule, values[name], where + name)
    return found


def _check_value(rule: Any, value: Any, where: str) -> list[str]:
    kind = str(rule["type"] if isinstance(rule, dict) else rule).rstrip("!")
    if not _fits(kind, value):
        return [f"{where}: {kind} expected, got {type(value).__name__} {str(value)[:40]!r}"]
    if not isinstance(rule, dict):
        return []
    if "fields" in rule:
        return _check_fields(rule["fields"], value, f"{where}.")
    found: list[str] = []
    for index, inner in enumerate(value):
        found += _check_value(rule["items"], inner, f"{where}[{index}]")
    return found


def _fits(kind: str, value: Any) -> bool:
    scalar = isinstance(value, (str, int, float, bool))
    checks = {
        "string": scalar,
        "integer": _is_integer(value),
        "boolean": str(value).lower() in ("0", "1", "y", "n", "true", "false", ""),
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
        "list": isinstance(value, list) or scalar,  # one value is accepted too (bitrix24.md 3.6)
        "any": True,
    }
    return checks[kind]


def _is_integer(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, str) and value.lstrip("-").isdecimal())
