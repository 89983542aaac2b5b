"""Says what is wrong with a line of TOML, for people who have never heard of TOML.

Shows the line itself, but nothing of it that may be a secret.
"""

import re
from functools import cache

from settings.keys import PREFIX, all_fields
from settings.meant import INVISIBLE, SMART_QUOTES
from texts import Wrong

SHOWN = 100  # characters of a line
SECRET_KEY = re.compile(r"secret|secert|token|password|client_?id", re.IGNORECASE)
LONG_RUN = re.compile(r"[\w+/-]{16,}")  # what may be a secret in the wrong place
STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'')
NAME = re.compile(rf"(?:export\s+|set\s+)?({PREFIX}[A-Z0-9_]+|[a-z_.0-9]+)(?!\w)")
CONFLICT = re.compile(r"(?:<{7}|>{7})(?: |$)|={7}$")


def shown(line: str) -> str:
    """The line as a message may quote it: also where no = follows, the name of a key is shown."""
    line = line.strip()
    before, equals, value = line.partition("=")
    hides = SECRET_KEY.search(line)
    if equals:
        said = f"{before.strip()} = …" if hides else f"{before}={LONG_RUN.sub('…', value)}"
        return said[:SHOWN]
    name = _name_of(line)
    rest = line[len(name) :]
    if hides:
        rest = rest and " …"
    elif not name and not re.match(r"\[[\w .-]*\]?$|[\w.-]+\s*:", line):
        rest = line if len(line) < 20 else f"{line[:10]}…"
    return (name + LONG_RUN.sub("…", rest)).strip()[:SHOWN]


def _name_of(line: str) -> str:
    """The name with which a line begins, if it can only be one of ours and no secret."""
    found = NAME.match(line)
    is_known = found and (found[1].isupper() or found[1] in _words())
    return found[0] if found and is_known else ""


@cache
def _words() -> set[str]:
    return {word for key in all_fields() for word in (key, key.rpartition(".")[2])}


def fault_of(text: str, message: str) -> Wrong:
    """What is wrong, by the message of `tomllib`, which names the line where reading stopped."""
    lines = text.replace("\r\n", "\n").split("\n")
    if conflict := conflict_in(lines):
        return conflict
    found = re.search(r"at line (\d+)", message)
    number = int(found[1]) if found else len("\n".join(lines).rstrip().split("\n"))
    number = min(number, len(lines))
    if opened := _opened_above(lines, number, message):
        return opened
    line = lines[number - 1]
    if re.match(r"Cannot|Can't", message):
        return _at(lines, number, _twice(lines, number))
    return _at(lines, number, _why(line, message))


def conflict_in(lines: list[str]) -> Wrong | None:
    """The first of the lines with which git marks what it could not merge."""
    for number, line in enumerate(lines, 1):
        if CONFLICT.match(line):
            return _at(lines, number, Wrong("settings.toml_conflict"))
    return None


def _at(lines: list[str], number: int, why: Wrong) -> Wrong:
    return Wrong("settings.line", line=number, why=why, text=shown(lines[number - 1]))


def _opened_above(lines: list[str], number: int, message: str) -> Wrong | None:
    """A list or a text of several lines that has no end: the fault is where it begins."""
    before = lines[:number]
    for mark in ('"""', "'''"):
        count = sum(line.count(mark) for line in before)
        if count % 2:
            start = max(n for n, line in enumerate(before, 1) if mark in line)
            return _at(lines, start, Wrong("settings.toml_no_end", mark=mark))
    if "array" not in message and "Invalid value" not in message:
        return None
    start = 0
    for n, line in enumerate(before, 1):
        bare = STRING.sub("", line).partition("#")[0]
        if re.search(r"=\s*\[", bare):
            start = n
        if start and "]" in bare and n < number:
            start = 0
    if start and ("array" in message or start < number):
        return _at(lines, start, Wrong("settings.toml_list"))
    return None


def _twice(lines: list[str], number: int) -> Wrong:
    """A key or a section that the file gives a second time."""
    line = lines[number - 1].strip()
    header = re.match(r"\[\s*([\w.-]+)", line)
    name = header[1] if header else line.partition("=")[0].strip()
    first, section, sections = None, "", []
    for n, one in enumerate(lines[: number - 1], 1):
        found = re.match(r"\s*(?:\[\s*([\w.-]+)|([\w.-]+)\s*=)", one)
        if found and found[1]:
            section = found[1]
        if found and (found[1] if header else found[2]) == name:
            first = n
            sections.append((section, n))
    if not header:
        first = next((n for where, n in sections if where == section), first)
    if first is None:
        return Wrong("settings.toml_twice_somewhere", name=name)
    return Wrong("settings.toml_twice", name=name, first=first)


def _why(line: str, message: str) -> Wrong:
    bare = STRING.sub('""', line)
    key, equals, value = (part.strip() for part in bare.partition("="))
    header = re.match(r"\[+\s*[A-Za-z0-9_.-]+\s*\]+", key)
    found = {
        "toml_quotes": _has_smart_quotes(line, bare),
        "toml_invisible": INVISIBLE.search(re.sub(r"[ \t\r\n]", "", bare)),
        "toml_comment": re.match(r"//|;|/\*|--|<!--", key),
        "toml_section": key.startswith("[") and not header,
        "toml_after": header,
        "toml_variable": re.match(r"export\s|SITECHAT_", key),
        "toml_colon": not equals and re.match(r"[\w.-]+\s*:", key),
        "toml_closing": not equals and key.count('"') % 2,
        "toml_no_equals": not equals,
        "toml_no_key": not key,
        "toml_letters": re.search(r"[^\x00-\x7f]", key),
        "toml_key_blank": re.search(r"[\w.-]\s+[\w.-]", key),
    }
    first = next((name for name, applies in found.items() if applies), None)
    return Wrong(f"settings.{first or _why_value(value, message)}")


def _has_smart_quotes(line: str, bare: str) -> bool:
    """Whether quotes that no program reads stand where a text begins or ends."""
    value = line.partition("=")[2].strip(" [")
    ends = value[:1] in ("'", '"') and value.count(value[:1]) == 1 and value[-1:] in "“”„‟’‚"
    return bool(value) and (value[:1] in SMART_QUOTES or ends or bool(re.search("[“”„‟‘]", bare)))


def _why_value(value: str, message: str) -> str:
    """What is wrong behind the `=`; complete texts stand there as "" alone."""
    if not value.startswith(('"', "'")):
        value = value.partition(" #")[0].strip()
    found = {
        "toml_no_value": re.fullmatch(r"(#(?!\w{3,6}\b).*)?", value),
        "toml_backslash": re.search("escape|hex value", message.lower()),
        "toml_after": value.startswith('""'),
        "toml_closing": value.startswith(('"', "'")),
        "toml_list": value.startswith("["),
        "toml_boolean": re.fullmatch(r"(?i)true|false|yes|no|on|off|none|null|да|нет", value),
        "toml_number": re.match(r"[+-]?[\d.]", value),
    }
    return next((name for name, applies in found.items() if applies), "toml_no_quotes")
