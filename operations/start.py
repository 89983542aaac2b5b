"""What a start and a reload of the service read, and whether they can go on with it.

The master process reads and checks all of it; its workers, which are forks of it, serve with what
it has read. So no file that somebody changes later can keep a new worker from beginning.
"""

import traceback
from dataclasses import dataclass
from pathlib import Path

from settings import (
    ROOT,
    Fault,
    Process,
    Settings,
    SettingsError,
    load_process,
    load_settings,
)
from texts import DEFAULT, Wrong


@dataclass(frozen=True)
class Start:
    """What the service is started with."""

    settings: Settings
    process: Process


_checked: list[Start] = []  # what `fault` has read and `take` has not taken yet


def read() -> Start:
    """All that is read; SettingsError with the faults of all of it."""
    faults: list[Fault] = []
    try:
        settings = load_settings()
    except SettingsError as error:
        faults += error.faults
    try:
        process = load_process()
    except SettingsError as error:  # a file that cannot be read is a fault of both
        told = {fault.told(DEFAULT) for fault in faults}
        faults += [fault for fault in error.faults if fault.told(DEFAULT) not in told]
    if faults:
        raise SettingsError(faults)
    return Start(settings, process)


def take() -> Start:
    """What `fault` has just checked, or else what is read now; SettingsError."""
    return _checked.pop() if _checked else read()


def fault() -> SettingsError | None:
    """What is wrong with the settings as they are now; with None `take` gives what was read."""
    _checked.clear()
    try:
        _checked.append(read())
    except SettingsError as error:
        return error
    except Exception as error:  # the service that runs must go on, whatever this is
        return SettingsError([Fault("settings", Wrong("settings.unexpected", why=_place(error)))])
    return None


def _place(error: Exception) -> str:
    """Its kind and the last line of ours that it came through; its text might hold a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [one for one in frames if Path(one.filename).is_relative_to(ROOT / "settings")]
    line = f", {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}{line}"
