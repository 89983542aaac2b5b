"""PHP's shapes: parameters as a form; its arrays, numbers and booleans as they come in JSON."""

from collections.abc import Iterator
from typing import Any

LARGEST = (1 << 63) - 1  # what the store can keep; PHP has no larger numbers either


def php_form(params: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Flatten parameters as PHP's http_build_query does: `a[b][0]=c`.

    None and empty collections disappear; True and False become 1 and 0.
    """
    for key, value in params.items():
        yield from _php_fields(key, value)


def _php_fields(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _php_fields(f"{name}[{key}]", item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _php_fields(f"{name}[{index}]", item)
    elif isinstance(value, bool):
        yield name, str(int(value))
    elif value is not None:
        yield name, str(value)


def keyed(value: Any) -> dict[str, Any]:
    """A PHP array as a dict with text keys; JSON has a list where the keys are 0, 1, 2 or none."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    return {str(key): item for key, item in value.items()}


def listed(value: Any) -> list[Any]:
    """A PHP array as a list; JSON may have an object with numeric keys instead, in any order."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: int(key) if str(key).isdecimal() else 0)
        return [value[key] for key in keys]
    if isinstance(value, list):
        return value
    raise TypeError("not a list")


def truth(value: object) -> bool:
    """Whether the value is one of PHP's spellings of true."""
    return isinstance(value, str | int) and str(value).lower() in ("true", "1", "y")


def number(value: object) -> int | None:
    """The whole number that a value means, of up to 63 bits; None for anything else."""
    try:
        found = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        return None
    return found if abs(found) <= LARGEST else None


def identity(value: object) -> int:
    """The portal's id of something; ValueError where there is none."""
    found = number(value)
    if found is None:
        raise ValueError("not an id")
    return found


def words(value: object) -> str:
    """A text, as which PHP may write a number; "" for nothing. TypeError for a list, say."""
    if value is None or value is False:
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    raise TypeError("not a text")
