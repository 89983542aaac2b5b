"""Reads the files of the settings as text, and says what is wrong with a line in plain words."""

import io
import re
import tomllib
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream

from settings.faults import Fault
from texts import Wrong


class Unreadable(Exception):
    """A file of settings cannot be used at all."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = list(faults)


def read_text(path: Path) -> str:
    """The text of a file; Unreadable."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise Unreadable(Fault(str(path), Wrong("settings.missing_file"))) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(Fault(str(path), Wrong("settings.unreadable", why=error))) from None


def toml_of(path: Path, text: str) -> dict[str, Any]:
    """What a TOML file says; Unreadable."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(Fault(str(path), Wrong("settings.unreadable", why=error))) from None


def variables_of(path: Path) -> dict[str, str]:
    """What an `.env` file says; nothing where there is none; Unreadable."""
    try:
        text = read_text(path)
    except Unreadable as error:
        if error.faults[0].why.key == "settings.missing_file":
            return {}
        raise
    return {one.key: one.value or "" for one in parse_stream(io.StringIO(text)) if one.key}


def line_of(text: str, key: str) -> int | None:
    """The number of the line that gives a key; None where it cannot be told."""
    section, _, name = key.rpartition(".")
    at = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            at = header[1]
            if at == key:
                return number
        elif (found := re.match(r"\s*([\w.-]+)\s*=", line)) and (
            (at, found[1]) in ((section, name), ("", key))
        ):
            return number
    return None
