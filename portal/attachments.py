"""What is attached to an operator's message, as lines of BB code: ATTACH blocks and rich links.

Their shapes are those of docs/bitrix24.md, 10.6 and 10.7. What cannot be read is left out, because
the message's own text must not be lost with it. Pure functions.
"""

import html
import json
import logging
import re
from collections.abc import Iterable, Iterator
from typing import Any

import values
from bbcode import readable_size
from turns import Turns

RULE = "[hr]"
TAG = re.compile(r"(<(?:!|/?[A-Za-z])[^<>]*+>)")
TAG_NAME = re.compile(r"</?([a-z]*[1-6]?)")
HREF = re.compile(r"""\shref\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s>]++))""", re.IGNORECASE)
LINES = {"br", "p", "div", "ul", "ol", "li", "table", "tr", "h1", "h2", "h3", "h4", "h5", "h6"}
CELLS = {"td", "th"}
NOT_TEXT = {"script", "style", "head", "template"}
MARKUP_LIMIT = 20_000  # letters of HTML; its text is then no longer than an operator's may be
LINK_LINE = re.compile(r"\[url=([^\[\]]++)\](.*)\[/url\]")
SIDE_BY_SIDE = ("ROW", "COLUMN", "TABLE")  # of a grid's cells: name and value stand side by side
UNFIT = {"[": "%5B", "]": "%5D", '"': "%22"}  # in an address within a code

log = logging.getLogger(__name__)
Fields = dict[str, Any]


def attached_lines(attachments: Iterable[object], text: str) -> str:
    """All attachments, in turns with others.

    A link that says no more than the text, or than an earlier attachment, is left out: the portal
    describes the links of a text, and may name one both ways.
    """
    known: set[str] = set(text.splitlines())
    words = set(text.split())
    kept, turns = [], Turns()
    for block in attachments:
        links = set()
        try:
            for line in _lines(json.loads(block) if isinstance(block, str) else block):
                turns.give_way()
                link = LINK_LINE.fullmatch(line)
                if link is None or not (line in known or (link[1] == link[2] and link[1] in words)):
                    kept.append(line)
                links.update([line] if link else [])
        except (ValueError, RecursionError):
            log.error("an attachment of a message cannot be read")
        known |= links
    return "\n".join(kept)


def _lines(block: Any) -> Iterator[str]:
    """One block, and the blocks in it, in their order."""
    if isinstance(block, list):
        for inner in block:
            yield from _lines(inner)
    if not isinstance(block, dict):
        return
    fields = {str(key).upper(): value for key, value in block.items()}
    if isinstance(fields.get("RICHDATA"), dict):
        fields = _with_rich_data(fields)
    if isinstance(fields.get("MESSAGE"), str) and not isinstance(fields.get("LINK"), dict | list):
        yield fields.pop("MESSAGE")
    if {"LINK", "URL"} & {key for key, value in fields.items() if isinstance(value, str)}:
        yield from _link(fields)
    elif "VALUE" in fields:
        yield from _grid([fields])
    else:
        for key, value in fields.items():
            yield from _of_kind(key, value)


def _of_kind(kind: str, value: Any) -> Iterator[str]:
    """What a block has under the name of its kind."""
    if kind == "MESSAGE" and isinstance(value, str):
        yield value
    elif kind == "HTML" and isinstance(value, str):
        yield from filter(None, [_plain(value)])
    elif kind == "DELIMITER":
        yield RULE
    elif kind == "GRID":
        yield from _grid(_items(value))
    elif kind in READ and isinstance(value, dict | list | str):
        for item in _items(value):
            yield from READ[kind](item)
    elif isinstance(value, dict | list):
        yield from _lines(value)


def _items(value: Any) -> list[Fields]:
    """One or several, as a list; PHP may number them. A text stands for an address."""
    if isinstance(value, str):
        return [{"LINK": value}]
    if isinstance(value, dict):
        is_numbered = value and all(str(key).isdecimal() for key in value)
        value = list(value.values()) if is_numbered else [value]
    items = value if isinstance(value, list) else []
    return [
        {"LINK": item} if isinstance(item, str) else {str(k).upper(): v for k, v in item.items()}
        for item in items
        if isinstance(item, str | dict)
    ]


def _with_rich_data(fields: Fields) -> Fields:
    """A rich link whose details stand in an object of their own."""
    rich = {str(key).upper(): value for key, value in fields["RICHDATA"].items()}
    names = {"LINK": "URL", "NAME": "TITLE", "DESC": "DESCRIPTION", "PREVIEW": "IMAGE"}
    return fields | {
        ours: fields.get(ours) or rich.get(theirs)
        for ours, theirs in names.items()
        if fields.get(ours) or rich.get(theirs)
    }


def _link(fields: Fields) -> Iterator[str]:
    """A link with its picture and description: also the card of a product."""
    url = _address(fields.get("LINK") or fields.get("URL"))
    name = _word(fields, "NAME", "TITLE") or url
    yield from _titled(url, name, _word(fields, "VALUE"))
    if preview := _picture(fields.get("PREVIEW") or fields.get("IMAGE")):
        picture = f"[img]{preview}[/img]"
        yield f"[url={url}]{picture}[/url]" if _is_link(url) else picture
    yield from filter(None, [_word(fields, "DESC", "DESCRIPTION"), _plain(_word(fields, "HTML"))])


def _titled(url: str, name: str, value: str = "") -> Iterator[str]:
    title = f"[url={url}]{name}[/url]" if _is_link(url) else name
    yield from filter(None, [": ".join(filter(None, [title, value]))])


def _image(fields: Fields) -> Iterator[str]:
    full = _picture(fields.get("LINK"))
    shown = _picture(fields.get("PREVIEW")) or full
    if shown:
        yield f"[url={full or shown}][img]{shown}[/img][/url]"
    yield from filter(None, [_word(fields, "NAME", "TITLE")])


def _file(fields: Fields) -> Iterator[str]:
    url, size = _address(fields.get("LINK")), _word(fields, "SIZE")
    name = _word(fields, "NAME") or url
    if size.isdecimal() and len(size) < 16:
        name += f" ({readable_size(int(size))})"
    yield from _titled(url, name)


def _user(fields: Fields) -> Iterator[str]:
    avatar = _picture(fields.get("AVATAR"))
    icon = f"[icon={avatar} title={_word(fields, 'NAME')}] " if avatar else ""
    for line in _titled(_address(fields.get("LINK")), _word(fields, "NAME")):
        yield icon + line


READ = {"LINK": _link, "IMAGE": _image, "FILE": _file, "USER": _user}


def _grid(cells: list[Fields]) -> Iterator[str]:
    """The cells of a grid: names and values side by side are rows, those of a line are columns."""
    row: list[Fields] = []
    display = ""
    for cell in [*cells, {}]:
        kind = _word(cell, "DISPLAY").upper()
        kind = "ROW" if kind in SIDE_BY_SIDE else kind if kind == "LINE" else ""
        if row and kind != display:
            yield _table(row, display)
            row = []
        display = kind
        if kind:
            row.append(cell)
        else:
            name, value = _word(cell, "NAME"), _value(cell)
            yield from _titled(_address(cell.get("LINK")), name or value, value if name else "")


def _table(cells: list[Fields], display: str) -> str:
    names, found = [], []
    for cell in cells:
        value = _value(cell)
        names.append(f"[th]{_word(cell, 'NAME')}[/th]")
        found.append(f"[td]{next(_titled(_address(cell.get('LINK')), value), '')}[/td]")
    if display == "ROW":
        rows = [name + value for name, value in zip(names, found, strict=True)]
    else:
        rows = ["".join(names), "".join(found)]
    return "[table]" + "".join(f"[tr]{row}[/tr]" for row in rows) + "[/table]"


def _value(cell: Fields) -> str:
    """The value of a cell; of several, all."""
    value = cell.get("VALUE")
    if isinstance(value, dict):
        value = list(value.values())
    parts = value if isinstance(value, list) else [value]
    return ", ".join(str(part) for part in parts if isinstance(part, str | int | float))


def _word(fields: Fields, *keys: str) -> str:
    """The first of these fields that has a text, on one line."""
    found = next((fields[key] for key in keys if fields.get(key)), "")
    return " ".join(str(found).split()) if isinstance(found, str | int | float) else ""


def _address(value: object) -> str:
    url = "".join(value.split("\n")).strip() if isinstance(value, str) else ""
    return "".join(UNFIT.get(letter, letter) for letter in url)


def _picture(value: object) -> str:
    """The address of a picture; rich links may have it in an object or a list."""
    if isinstance(value, list):
        value = value[0] if value else ""
    if isinstance(value, dict):
        fields = {str(key).upper(): inner for key, inner in value.items()}
        value = fields.get("SRC") or fields.get("URL") or fields.get("LINK") or fields.get("0")
    url = _address(value)
    return url if values.is_web(values.address(url)) else ""


def _is_link(url: str) -> bool:
    return values.link(values.address(url)) is not None


def _plain(markup: str) -> str:
    """The text of HTML, with its lines and links. Goes through it once, however deep it nests."""
    written: list[str] = []
    skipped = link = ""
    for number, piece in enumerate(TAG.split(markup[:MARKUP_LIMIT])):
        tag = TAG_NAME.match(piece.lower()) if number % 2 else None
        name = tag[1] if tag else ""
        if skipped:
            skipped = "" if name == skipped and piece.startswith("</") else skipped
        elif number % 2 == 0:
            written.append(html.unescape(" ".join(piece.splitlines())))
        elif name in NOT_TEXT and not piece.startswith("</"):
            skipped = name
        elif name in LINES:
            written.append("\n")
        elif name in CELLS:
            written.append(" ")
        elif name == "a":
            written.append("[/url]" if link else "")
            href = HREF.search(piece)
            link = _address(html.unescape(href[1] or href[2] or href[3] or "")) if href else ""
            link = link if _is_link(link) else ""
            written.append(f"[url={link}]" if link else "")
    lines = [" ".join(line.split()) for line in "".join(written).splitlines()]
    return "\n".join(filter(None, lines)) + ("[/url]" if link else "")
