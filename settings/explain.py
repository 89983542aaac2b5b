"""Says in plain words what pydantic has found, and what is unknown."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from settings.faults import Fault, SettingsError
from settings.keys import PREFIX, ChatSettings, all_fields, known_keys
from texts import Wrong

Place = Callable[[str], Wrong]


def variable_of(key: str) -> str:
    """The environment variable of a key."""
    return PREFIX + key.replace(".", "__").upper()


def explain(error: ValidationError, places: Mapping[str, Place]) -> list[Fault]:
    """Each fault that pydantic has found, without the value, which may be a secret."""
    return [_fault(found, places) for found in error.errors()]


def validated(section: type[ChatSettings], values: Mapping[str, Any]) -> ChatSettings:
    """The section `chat` with these values by `chat.key`; SettingsError."""
    try:
        return section(**{key.removeprefix("chat."): value for key, value in values.items()})
    except ValidationError as error:
        faults = [_fault(found | {"loc": ("chat", *found["loc"])}, {}) for found in error.errors()]
        raise SettingsError(faults) from None


def _fault(found: Any, places: Mapping[str, Place]) -> Fault:
    key = ".".join(str(part) for part in found["loc"])
    known = next((one for one in (key, key.rpartition(".")[0]) if one in places), None)
    why = found.get("ctx", {}).get("error")
    if not isinstance(why, Wrong):
        why = Wrong("settings.other", why=found["msg"].removeprefix("Value error, "))
    return Fault(key, why, places[known](known) if known else None)


def unknown_keys(values: dict[str, Any], place: Place) -> list[Fault]:
    given = []
    for name, value in values.items():
        given += [f"{name}.{key}" for key in value] if isinstance(value, dict) else [name]
    return [_unknown(key, known_keys(), place(key)) for key in given if key not in all_fields()]


def unknown_variables(variables: Mapping[str, str], file: str, of_environment: bool) -> list[Fault]:
    given = {variable_of(key) for key in all_fields()} | {f"{PREFIX}CONFIG"}
    names = [variable_of(key) for key in known_keys()]
    place = None if of_environment else Wrong("settings.place", file=file)
    return [
        _unknown(name, names, place)
        for name in variables
        if name.upper().startswith(PREFIX) and name.upper() not in given
    ]


def _unknown(key: str, names: Iterable[str], place: Wrong | None) -> Fault:
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    if near:
        return Fault(key, Wrong("settings.unknown_near", key=key, near=near[0]), place)
    return Fault(key, Wrong("settings.unknown", key=key), place)
