"""PHP-style forms that are posted to us: decoded, and read field by field.

BadRequest says in one line what is wrong with a form; nothing that is not of the expected shape
goes further.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from texts import DEFAULT, text
from turns import Turns

MAX_FIELDS = 5_000
MAX_DEPTH = 10
LARGEST_ID = (1 << 63) - 1  # what the store can keep
PIECE = 4096  # bytes that are decoded at once
# One bracket more than a path may have is enough to refuse it.
KEY = re.compile(rf"([^\[\]]+)((?:\[[^\[\]]*\]){{0,{MAX_DEPTH}}})")

Form = dict[str, Any]


class BadRequest(Exception):
    """A posted form has not the expected shape; the text says why and holds no secret.

    `reason` names a text in the section `reasons` of locales/; `values` fill its placeholders.
    """

    def __init__(self, reason: str, status: int = 400, **values: object) -> None:
        super().__init__(text(DEFAULT, f"reasons.{reason}", **values))
        self.reason = reason
        self.status = status
        self.values = values

    def explanation(self, language: str) -> str:
        return text(language, f"reasons.{self.reason}", **self.values)


def decode_form(body: bytes, most_fields: int = MAX_FIELDS) -> Form:
    """Decode `a[b][0]=c` as PHP does: nested dicts, all keys and values text.

    We use no library, because they turn keys into lists by rules of their own and accept broken
    UTF-8. A later value replaces an earlier one, even a whole branch. Unlike PHP we do not change
    names with dots, spaces or half brackets: Bitrix24 sends none.
    """
    if body.count(b"&") >= most_fields:
        raise BadRequest("many_fields", limit=most_fields)
    turns = Turns()
    try:
        return nested(_fields(body.decode(), turns), turns)
    except UnicodeDecodeError:
        raise BadRequest("not_utf8") from None


def _fields(body: str, turns: Turns) -> Iterator[tuple[str, str]]:
    """The names and values of a body, as urllib's `parse_qsl` gives them, but in turns."""
    for field in body.split("&"):
        turns.give_way()
        if field:
            name, _, value = field.replace("+", " ").partition("=")
            yield _unquoted(name, turns), _unquoted(value, turns)


def _unquoted(text: str, turns: Turns) -> str:
    """Text without its percent signs; raises UnicodeDecodeError where it is no UTF-8."""
    if "%" not in text:
        return text
    turns.give_way()
    quoted, unquoted, start = text.encode(), bytearray(), 0
    while start < len(quoted):
        end = start + PIECE
        if end < len(quoted) and (cut := quoted.rfind(b"%", end - 2, end)) >= 0:
            end = cut  # not within the two digits after a percent sign
        unquoted += unquote_to_bytes(quoted[start:end])
        start = end
        turns.give_way()
    return unquoted.decode()


def nested(pairs: Iterable[tuple[str | None, str]], turns: Turns) -> Form:
    """Make a dict within a dict of names such as `a[b]`.

    A field without a name, which a form in parts may have, is left out, as PHP does.
    """
    form: Form = {}
    next_index: dict[int, int] = {}  # by the branch's `id()`

    def name_in(branch: Form, part: str) -> str:
        """The key that `part` means: an empty one means the greatest index so far plus one."""
        index = next_index.get(id(branch), 0)
        name = part or str(index)
        if re.fullmatch(r"0|[1-9][0-9]{0,17}", name):
            next_index[id(branch)] = max(index, int(name) + 1)
        return name

    for key, value in pairs:
        turns.give_way()
        if key is None:
            continue
        if "\0" in key or "\0" in value:
            raise BadRequest("nul")
        if "[" not in key and "]" not in key:  # as all of a page's fields
            if key:
                form[key] = value
            continue
        match = KEY.match(key)
        if match is None:
            continue
        path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        if len(path) > MAX_DEPTH:
            raise BadRequest("deep", limit=MAX_DEPTH)
        branch = form
        for part in path[:-1]:
            name = name_in(branch, part)
            if not isinstance(branch.get(name), dict):
                branch[name] = {}
                next_index.pop(id(branch[name]), None)  # a removed dict may have had this id
            branch = branch[name]
        branch[name_in(branch, path[-1])] = value
    return form


def text_of(form: Form, key: str, default: str | None = None) -> str:
    """A field that must be text; without a `default` it must also be there and not empty."""
    value = form.get(key, default)
    if not isinstance(value, str) or (default is None and not value):
        raise BadRequest("not_text" if value else "missing", field=key)
    return value


def number_of(form: Form, key: str, least: int = 1) -> int:
    value = text_of(form, key)
    if not re.fullmatch(r"[0-9]{1,19}", value) or not least <= int(value) <= LARGEST_ID:
        raise BadRequest("not_number", field=key, least=least)
    return int(value)


def branch_of(form: Form, key: str) -> Form:
    value = form.get(key)
    if not isinstance(value, dict):
        raise BadRequest("no_fields" if value else "missing", field=key)
    return value


def items_of(form: Form, key: str) -> list[Form]:
    """The items of a list, at least one, each a dict of fields; else BadRequest."""
    items = list(branch_of(form, key).values())
    if not all(isinstance(item, dict) for item in items):
        raise BadRequest("no_list", field=key)
    return items
