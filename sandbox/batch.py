"""The method `batch`: up to 50 calls in one, each of which may use earlier results."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from . import php
from .caller import Page
from .options import RestError

COMMANDS_LIMIT = 50
_REFERENCE = re.compile(r"\$result((?:\[[^\]]+\])+)")  # $result[name][key]

# One call: its method and parameters; the result and the times of the answer, or RestError.
Run = Callable[[str, dict[str, Any]], tuple[Any, dict[str, Any]]]


def run_batch(params: dict[str, Any], run: Run) -> dict[str, Any]:
    params = {name.upper(): value for name, value in params.items()}
    commands = params.get("CMD") or {}
    if isinstance(commands, list):
        commands = {str(index): command for index, command in enumerate(commands)}
    halt = params.get("HALT") not in (None, "", "0", 0, False)
    results: dict[str, Any] = {}
    errors: dict[str, Any] = {}
    times: dict[str, Any] = {}
    pages: dict[str, Page] = {}
    for place, (name, command) in enumerate(commands.items()):
        try:
            if place >= COMMANDS_LIMIT:  # what is too much fails command by command (4.13)
                raise RestError("ERROR_BATCH_LENGTH_EXCEEDED", "Max batch length exceeded")
            result, times[name] = run(*_call(str(command), results))
            if isinstance(result, Page):
                pages[name] = result
            results[name] = result.items if isinstance(result, Page) else result
        except RestError as error:
            errors[name] = error.fields()
            if halt:
                break
    return {  # PHP's empty array stands for an empty object (bitrix24.md 4.14)
        "result": results or [],
        "result_error": errors or [],
        "result_total": {name: page.total for name, page in pages.items()} or [],
        "result_next": {name: page.next for name, page in pages.items() if page.next is not None}
        or [],
        "result_time": times or [],
    }


def _call(command: str, results: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    method, _, query = command.partition("?")
    pairs = [
        (name, _with_results(value, results))
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return method.lower(), php.decode(pairs)


def _with_results(value: str, results: dict[str, Any]) -> str:
    """Replace each reference to an earlier result; by nothing if there is no such result."""

    def referred(match: re.Match[str]) -> str:
        found: Any = results
        for key in re.findall(r"\[([^\]]+)\]", match[1]):
            if isinstance(found, list):
                found = found[int(key)] if key.isdecimal() and int(key) < len(found) else None
            else:
                found = found.get(key) if isinstance(found, dict) else None
        return "" if found is None else str(found)

    return _REFERENCE.sub(referred, value)
