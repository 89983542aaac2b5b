"""Reads the settings from all places in which they may stand, and notes which place counted.

If several places give a key, the first of these counts: the environment, `.env`,
`config.local.toml`, `config.toml`. An unknown key is refused, and the error names the nearest known
key: a typing error never silently means the default.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from settings.explain import explain, unknown_keys, unknown_variables
from settings.faults import Fault, SettingsError
from settings.files import Unreadable, line_of, read_text, toml_of, variables_of
from settings.keys import PREFIX, Settings, all_fields, sections
from settings.near import variable_of
from settings.rules import ROOT
from texts import Wrong

CONFIG = f"{PREFIX}CONFIG"  # the variable that names another file in place of config.toml


@dataclass(frozen=True)
class Layer:
    """The settings of one place."""

    name: str
    values: dict[str, Any]  # a section's values are a dict of their own
    place: Callable[[str], Wrong]  # where a key stands, as people find it
    unknown: list[Fault] = field(default_factory=list)
    odd: list[Fault] = field(default_factory=list)  # values that would not be what is written


def config_path() -> Path:
    """Where the settings' file is; the others are beside it."""
    return Path(os.environ.get(CONFIG) or ROOT / "config.toml")


def load_settings(path: Path | None = None, language: str | None = None) -> Settings:
    """Read `config.toml` (or `path`, or the file SITECHAT_CONFIG names) and what wins over it.

    Raises SettingsError with one line a fault, in `language`, or in that of the environment.
    """
    layers, faults = _read(path or config_path())
    faults += [fault for layer in layers for fault in layer.unknown]
    if faults:
        raise SettingsError(faults, language)
    values: dict[str, Any] = {}
    for layer in layers:
        _put_over(values, layer.values)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        places = {key: layer.place for layer in layers for key in _keys(layer.values)}
        faults = explain(error, places)
    told = {fault.key for fault in faults}
    faults += [fault for layer in layers for fault in layer.odd if fault.key not in told]
    if faults:
        raise SettingsError(faults, language)
    settings.set_sources(_sources(settings, layers))
    return settings


def system_variables(path: Path | None = None, language: str | None = None) -> dict[str, str]:
    """The environment over what the `.env` file says, also for what is no setting of ours."""
    try:
        in_file = variables_of((path or config_path()).parent / ".env").variables
    except Unreadable as error:
        raise SettingsError(error.faults, language) from None
    return in_file | os.environ


def _read(path: Path) -> tuple[list[Layer], list[Fault]]:
    """The layers, from the weakest to the strongest, and what could not be read."""
    layers: list[Layer] = []
    faults: list[Fault] = []
    local, dotenv = path.with_name(f"{path.stem}.local.toml"), path.parent / ".env"
    readers = (partial(_toml, path), partial(_toml, local, False), partial(_dotenv, dotenv))
    for read in readers:
        try:
            layers.append(read())
        except Unreadable as error:
            faults += error.faults
    for right in (local, dotenv):  # some editors add an ending, and some systems hide it
        wrong = right.with_name(f"{right.name}.txt")
        if wrong.exists() and not right.exists():
            faults.append(Fault(str(wrong), Wrong("settings.misnamed", name=right.name)))
    layers.append(_variables("environment", dict(os.environ), _place_in_environment))
    return layers, faults


def _toml(path: Path, needed: bool = True) -> Layer:
    if not needed and not os.path.lexists(path):
        return Layer(path.name, {}, partial(_place_in_file, path.name, ""))
    text = read_text(path)
    values = toml_of(path, text)
    place = partial(_place_in_file, path.name, text)
    return Layer(path.name, values, place, unknown_keys(values, place))


def _dotenv(path: Path) -> Layer:
    file, place = variables_of(path), partial(_place_in_dotenv, path.name)
    layer = _variables(path.name, file.variables, place)
    keys = {variable_of(key): key for key in all_fields()}
    odd = {keys[name.upper()]: why for name, why in file.odd.items() if name.upper() in keys}
    return replace(layer, odd=[Fault(key, why, place(key)) for key, why in odd.items()])


def _variables(name: str, variables: Mapping[str, str], place: Callable[[str], Wrong]) -> Layer:
    whole = {f"{PREFIX}{section}".upper() for section in sections()}  # told as unknown
    source = EnvSettingsSource(Settings)
    source.env_vars = {
        name.lower(): value for name, value in variables.items() if name.upper() not in whole
    }
    unknown = unknown_variables(variables, None if name == "environment" else name)
    return Layer(name, source(), place, unknown)


def _place_in_file(name: str, text: str, key: str) -> Wrong:
    line = line_of(text, key)
    if line is None:
        return Wrong("settings.place", file=name)
    return Wrong("settings.place_line", file=name, line=line)


def _place_in_environment(key: str) -> Wrong:
    return Wrong("settings.place_environment", name=variable_of(key))


def _place_in_dotenv(name: str, key: str) -> Wrong:
    return Wrong("settings.place_variable", file=name, name=variable_of(key))


def _put_over(values: dict[str, Any], stronger: dict[str, Any]) -> None:
    for key, value in stronger.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            values[key] = values[key] | value
        else:
            values[key] = value


def _keys(values: dict[str, Any]) -> Iterator[str]:
    """The keys that a layer gives, and the names of the sections in which it gives any."""
    for name, value in values.items():
        yield name
        if isinstance(value, dict):
            yield from (f"{name}.{key}" for key in value)


def _sources(settings: Settings, layers: list[Layer]) -> dict[str, str]:
    """The layer of each key; what the weakest says and what is the default anyway is left out."""
    sources = {key: layer.name for layer in layers for key in _keys(layer.values)}
    return {
        key: sources[key]
        for key, field in all_fields().items()
        if key in sources
        and not field.deprecated
        and (sources[key] != layers[0].name or value_of(settings, key) != field.get_default())
    }


def value_of(settings: Settings, key: str) -> Any:
    """The value of `section.key`."""
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value
