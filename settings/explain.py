"""Says in plain words what pydantic has found, and what is unknown."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import ValidationError

from settings.faults import Fault, SettingsError
from settings.keys import PREFIX, ChatSettings, all_fields, known_keys, sections
from settings.near import (
    SYSTEM,
    inner_name,
    letters_of,
    meant_variable,
    nearest,
    variable_of,
    variables,
)
from texts import Wrong

Place = Callable[[str], Wrong]

# The kinds of errors of pydantic, as texts say them; and the name of the limit that they name.
KINDS = {
    "string_type": "type_text",
    "int_type": "type_whole",
    "int_parsing": "type_whole",
    "int_parsing_size": "type_whole",
    "int_from_float": "type_whole",
    "float_type": "type_number",
    "float_parsing": "type_number",
    "finite_number": "type_number",
    "bool_type": "type_boolean",
    "bool_parsing": "type_boolean",
    "tuple_type": "list",
    "list_type": "list",
    "model_type": "section",
    "model_attributes_type": "section",
    "string_too_short": "empty",
}
SYSTEM_WITH_PREFIX = (*(f"{PREFIX}{name}" for name in SYSTEM), f"{PREFIX}LOGS_LEVEL")
LIMITS = {
    "greater_than": "gt",
    "greater_than_equal": "ge",
    "less_than_equal": "le",
    "string_too_long": "max_length",
}


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
    return Fault(key, _why(key, found), places[known](known) if known else None)


def _why(key: str, found: Any) -> Wrong:
    values = found.get("ctx", {})
    if isinstance(values.get("error"), Wrong):
        wrong: Wrong = values["error"]
        return wrong
    kind = found["type"]
    if kind in KINDS:
        return Wrong(f"settings.{KINDS[kind]}")
    if kind in LIMITS:
        return Wrong(f"settings.{kind}", limit=f"{values[LIMITS[kind]]:.0f}")
    if kind == "literal_error":
        choices = get_args(all_fields()[key].annotation)
        return Wrong("settings.one_of", choices=", ".join(f'"{choice}"' for choice in choices))
    return Wrong("settings.other")


def unknown_keys(values: dict[str, Any], place: Place) -> list[Fault]:
    """What a file gives and nobody knows, or gives as a section what is none, or the reverse."""
    faults, known = [], all_fields()
    for name, value in values.items():
        if name in sections() and not isinstance(value, dict):
            faults.append(Fault(name, Wrong("settings.section"), place(name)))
        elif name in known and isinstance(value, dict):
            faults.append(Fault(name, Wrong("settings.no_section", name=name), place(name)))
        elif isinstance(value, dict) and value:
            keys = [f"{name}.{key}" for key in value]
            faults += [_unknown(key, known_keys(), place(key)) for key in keys if key not in known]
        elif name not in known and name not in sections():
            faults.append(_unknown(name, known_keys(), place(name)))
    return faults


def unknown_variables(given: Mapping[str, str], file: str | None) -> list[Fault]:
    """Variables of ours that nobody knows; in a `file` also names that are nearly ours."""
    known = {*map(variable_of, all_fields()), f"{PREFIX}CONFIG"}
    place = Wrong("settings.place", file=file) if file else None
    faults = []
    for name, value in given.items():
        if file and name == f"{PREFIX}CONFIG":
            faults.append(Fault(name, Wrong("settings.config_in_file"), place))
        elif name.upper() in known or name in SYSTEM:
            continue
        elif name.upper().startswith(PREFIX):
            faults.append(_unknown_variable(name, place))
        elif file and (inner := inner_name(value)):
            before = Wrong("settings.unknown_before", given=name, meant=inner)
            faults.append(Fault(name, before, place))
        elif meant := meant_variable(name) if file else nearest(letters_of(name), 0.9):
            faults.append(_near(name, meant, place))
    return faults


def _unknown_variable(name: str, place: Wrong | None) -> Fault:
    """A variable with our prefix that nobody knows."""
    section = name[len(PREFIX) :].lower()
    if section in sections():
        example = next(variable_of(key) for key in known_keys() if key.startswith(f"{section}."))
        return Fault(name, Wrong("settings.section_variable", example=example), place)
    if letters_of(name) in map(letters_of, SYSTEM_WITH_PREFIX):
        return _near(name, str(meant_variable(name)), place)
    return _unknown(name, variables(), place)


def _unknown(key: str, names: list[str], place: Wrong | None) -> Fault:
    section, _, last = key.rpartition(".")
    if key.upper() in map(variable_of, known_keys()) and key not in names:  # in a file of TOML
        return _near(key, key[len(PREFIX) :].replace("__", ".").lower(), place)
    if section and last in known_keys():
        return Fault(key, Wrong("settings.unknown_above", given=key, meant=last), place)
    same = [name for name in names if name.rpartition(".")[2] == last]
    found = difflib.get_close_matches(key, same, n=1, cutoff=0) or difflib.get_close_matches(
        key, names, n=1, cutoff=0.5
    )
    if found:
        return _near(key, found[0], place)
    return Fault(key, Wrong("settings.unknown", given=key), place)


def _near(given: str, near: str, place: Wrong | None) -> Fault:
    """Names that look alike cannot tell their reader which letter is wrong: so that is said."""
    others = (at for at, letter in enumerate(given, 1) if not letter.isascii())
    if at := next(others, 0):
        why = Wrong("settings.unknown_letter", given=given, at=at, near=near)
        return Fault(given, why, place)
    return Fault(given, Wrong("settings.unknown_near", given=given, near=near), place)
