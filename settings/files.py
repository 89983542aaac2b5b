"""Reads the files of the settings; a file that cannot be read says why in plain words."""

import io
import re
import tomllib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv.parser import Binding, parse_stream

from settings.faults import Fault
from settings.meant import is_quoted
from settings.rules import why_not_read
from settings.toml_faults import conflict_in, fault_of, shown
from texts import Wrong

# How Windows and older systems keep Cyrillic letters.
ENCODINGS = {"cp1251": "Windows-1251", "koi8-r": "KOI8-R", "cp866": "CP866"}
SWALLOWED = re.compile(r"\n\s*(?:export\s+)?SITECHAT_\w+=")  # a quote that was not closed
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


class Unreadable(Exception):
    """A file of settings cannot be used at all."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = list(faults)


def read_text(path: Path) -> str:
    """The text of a file, also of one that begins with a byte order mark; Unreadable."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise Unreadable(Fault(str(path), Wrong("settings.missing_file"))) from None
    except (OSError, ValueError) as error:
        why = Wrong("settings.cannot_be_read", why=why_not_read(error))
        raise Unreadable(Fault(str(path), why)) from None
    marked = (BYTE_ORDER_MARKS[mark] for mark in BYTE_ORDER_MARKS if content.startswith(mark))
    encoding = next(marked, "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unreadable(Fault(str(path), _not_utf8(content, error.start))) from None
    if "\0" in text:
        raise Unreadable(Fault(str(path), Wrong("settings.not_text")))
    return text


def _not_utf8(content: bytes, start: int) -> Wrong:
    """Which encoding a file seems to have, and the line in which that is first seen."""
    line = content.count(b"\n", 0, start) + 1
    if b"\0" in content:
        return Wrong("settings.not_text")
    strange = bytes(byte for byte in content if byte >= 0x80)
    likely = {
        encoding: len(re.findall("[а-яё]", strange.decode(encoding, "replace")))
        for encoding in ENCODINGS
    }
    encoding = max(likely, key=lambda one: likely[one])
    if likely[encoding] * 2 > len(strange):
        return Wrong("settings.encoding", line=line, encoding=ENCODINGS[encoding])
    return Wrong("settings.not_utf8", line=line)


def toml_of(path: Path, text: str) -> dict[str, Any]:
    """What a TOML file says; Unreadable."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(Fault(str(path), fault_of(text, str(error)))) from None
    except RecursionError:
        raise Unreadable(Fault(str(path), Wrong("settings.toml_other"))) from None


@dataclass(frozen=True)
class EnvFile:
    """What an `.env` file gives, and by name what is not taken as whoever wrote it will think."""

    variables: dict[str, str] = field(default_factory=dict)
    odd: dict[str, Wrong] = field(default_factory=dict)


def variables_of(path: Path) -> EnvFile:
    """What an `.env` file says; nothing where there is none; Unreadable."""
    try:
        text = read_text(path)
    except Unreadable as error:
        if error.faults[0].why.key == "settings.missing_file":
            return EnvFile()
        raise
    if conflict := conflict_in(text.splitlines()):
        raise Unreadable(Fault(str(path), conflict))
    bindings = list(parse_stream(io.StringIO(text)))
    faults = [why for one in bindings if (why := _why_not_taken(one))]
    lines = defaultdict(list)
    for one in bindings:
        if one.key and one.value is not None:
            lines[one.key].append(_first_line(one))
    for name, numbers in lines.items():
        if len(numbers) > 1:
            twice = Wrong("settings.toml_twice", name=name, first=numbers[0])
            faults.append(Wrong("settings.line", line=numbers[-1], why=twice, text=name))
    if faults:
        raise Unreadable(*(Fault(str(path), why) for why in faults))
    given = [one for one in bindings if one.key and one.value is not None]
    return EnvFile(
        {str(one.key): str(one.value) for one in given},
        {str(one.key): why for one in given if (why := _why_odd(one))},
    )


def _why_not_taken(binding: Binding) -> Wrong | None:
    if binding.error:
        return _line(binding, Wrong("settings.env_line"))
    if binding.key and binding.value is None:
        is_name = re.fullmatch(r"\w+", binding.key)
        return _line(binding, Wrong(f"settings.env_{'no_value' if is_name else 'line'}"))
    if SWALLOWED.search(binding.value or ""):
        return _line(binding, Wrong("settings.toml_closing"))
    return None


def _why_odd(binding: Binding) -> Wrong | None:
    """What `.env` makes of a value is right, and yet hardly what was meant."""
    written = binding.original.string.partition("=")[2].strip()
    if not binding.value and re.match(r"#\S", written):
        return Wrong("settings.env_comment")
    if written.startswith(binding.value or "\0") and is_quoted(binding.value or ""):
        return Wrong("settings.env_quotes")
    return None


def _first_line(binding: Binding) -> int:
    """The parser counts the blank lines before a binding to it."""
    original = binding.original.string
    return binding.original.line + original[: len(original) - len(original.lstrip())].count("\n")


def _line(binding: Binding, why: Wrong) -> Wrong:
    text = binding.original.string.strip().partition("\n")[0]
    return Wrong("settings.line", line=_first_line(binding), why=why, text=shown(text))


def line_of(text: str, key: str) -> int | None:
    """The number of the line that gives a key; None where it cannot be told."""
    section, _, name = key.rpartition(".")
    at = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([\w.-]+)\s*\]", line):
            at = header[1]
            if at == key:
                return number
        elif (found := re.match(r"""\s*["']?([\w.-]+)["']?\s*=""", line)) and (
            (at, found[1]) in ((section, name), ("", key))
        ):
            return number
    return None
