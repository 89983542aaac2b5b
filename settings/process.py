"""How the processes of the service run: variables that are no keys of the settings."""

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from settings.faults import Fault, SettingsError
from settings.layers import system_variables
from texts import Wrong

MOST_WORKERS = 64
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")  # and their other names


@dataclass(frozen=True)
class Process:
    """LOG_LEVEL and WEB_CONCURRENCY."""

    log_level: str = "INFO"
    workers: int = 1


def load_process(path: Path | None = None, language: str | None = None) -> Process:
    """Read both from the environment and else from `.env`; an empty one means the default.

    Raises SettingsError with one line a fault, as `load_settings` does.
    """
    given = system_variables(path, language)
    faults: list[Fault] = []
    level, workers = Process.log_level, Process.workers
    try:
        level = _level(given.get("LOG_LEVEL", "").strip())
    except Wrong as why:
        faults.append(_fault("LOG_LEVEL", why))
    try:
        workers = _workers(given.get("WEB_CONCURRENCY", "").strip())
    except Wrong as why:
        faults.append(_fault("WEB_CONCURRENCY", why))
    if faults:
        raise SettingsError(faults, language)
    return Process(level, workers)


def _fault(name: str, why: Wrong) -> Fault:
    if name in os.environ:
        return Fault(name, why, Wrong("settings.place_environment", name=name))
    return Fault(name, why, Wrong("settings.place", file=".env"))


def _level(value: str) -> str:
    level = value.upper() or Process.log_level
    if level not in logging.getLevelNamesMapping():
        raise Wrong("settings.one_of", choices=", ".join(LEVELS))
    return level


def _workers(value: str) -> int:
    if not value:
        return Process.workers
    if not re.fullmatch(r"-?[0-9]{1,9}", value):
        raise Wrong("settings.type_whole")
    if int(value) < 1:
        raise Wrong("settings.greater_than_equal", limit=1)
    if int(value) > MOST_WORKERS:
        raise Wrong("settings.less_than_equal", limit=MOST_WORKERS)
    return int(value)
