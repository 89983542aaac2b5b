"""PHP's bracket notation: `a[b][0]=c` to nested values and back.

Pure functions. Lists are arrays whose keys are 0..n-1, as in PHP's own JSON.
"""

import re
from collections.abc import Iterable
from typing import Any

MAX_DEPTH = 64  # PHP: max_input_nesting_level; deeper variables are dropped
_PART = re.compile(r"\[([^\[\]]*)\]")


def decode(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Nest form pairs as PHP does; the top level always stays a dict."""
    root: dict[str, Any] = {}
    for key, value in pairs:
        path = _path(key)
        if path and len(path) <= MAX_DEPTH:
            _put(root, path, value)
    return {key: _listed(value) for key, value in root.items()}


def encode(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Flatten like http_build_query: nulls and empty arrays vanish."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        _flatten(key, value, pairs)
    return pairs


def is_empty(value: Any) -> bool:
    """PHP's empty()."""
    return value in (None, "", "0", 0, [], {}, False)


def _path(key: str) -> list[str]:
    name, bracket, rest = key.partition("[")
    if not name:
        return []
    parts = _PART.findall(bracket + rest) if bracket else []
    return [name.replace(".", "_").replace(" ", "_"), *parts]


def _put(node: dict[str, Any], path: list[str], value: str) -> None:
    for index, raw in enumerate(path):
        part = raw if raw or index == 0 else _next_index(node)
        if index == len(path) - 1:
            node[part] = value
            return
        child = node.get(part)
        if not isinstance(child, dict):
            child = node[part] = {}
        node = child


def _next_index(node: dict[str, Any]) -> str:
    return str(max((int(key) for key in node if key.isdecimal()), default=-1) + 1)


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    nested = {key: _listed(inner) for key, inner in value.items()}
    indexes = [str(index) for index in range(len(nested))]
    if nested and all(index in nested for index in indexes):
        return [nested[index] for index in indexes]
    return nested


def _flatten(key: str, value: Any, pairs: list[tuple[str, str]]) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _flatten(f"{key}[{name}]", inner, pairs)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            _flatten(f"{key}[{index}]", inner, pairs)
    elif isinstance(value, bool):
        pairs.append((key, "1" if value else "0"))
    elif value is not None:
        pairs.append((key, str(value)))
