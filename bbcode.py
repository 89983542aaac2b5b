"""Bitrix24's BB codes and files as safe HTML, and the operator's signature taken off a text.

Pure functions. Whatever the text, the HTML is well-formed, is made in linear time and holds no
script, no style and no address but http, https, mailto and tel. An unknown code, one with a value
it cannot have and one without its other half are shown as typed. A long text is rendered in turns:
others of the process are served in between. Knows nothing of the product.

`_scan` cuts a text into tokens and joins the pairs; `_Writer` writes the tokens and keeps the
nesting right. Each goes through the text once. nh3 then cleans the HTML.

The pages forbid inline styles, so sizes and colours are classes. For the style sheet, all are:

    bb-size-s bb-size-m bb-size-l bb-size-xl
    bb-color-red -orange -yellow -green -teal -blue -purple -pink -gray
    bb-quote    blockquote; a cite in it says who is quoted, and when
    bb-code     pre, with a code in it
    bb-image    img;  bb-icon  img in a line of text;  bb-file  a file of the portal
    bb-mention  a user, a chat, a message;  bb-command  a text that a bot would take

The style sheet must make blocks of bb-image and cite: the line break after them is left out.
"""

import html
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from markupsafe import Markup

import values
from sanitizer import cleaned
from turns import Turns

RENDERER: int = 4
"""Version of what `to_html` gives. Raise it whenever the HTML of any text changes: what is stored
under another version is then rendered again."""

MAX_DEPTH = 30  # codes nested deeper are shown as typed, so that nh3 meets no deep tree
MAX_REOPENED = 200  # in one text; see _Writer._close
MAX_NAME = 255
MAX_PIECE = 1000  # see _escape

QUOTE = '<blockquote class="bb-quote">'
MENTION = '<span class="bb-mention">'
COMMAND = '<span class="bb-command">'
PLAIN = {"b": "<strong>", "i": "<em>", "u": "<u>", "s": "<s>", "quote": QUOTE}
NAMED = {"user": MENTION, "chat": MENTION, "context": MENTION, "send": COMMAND, "put": COMMAND}
SINGLE = {"br": "<br>", "like": "👍", "dislike": "👎"}

# Control characters, and the embeddings and overrides that can turn the letters of a word around.
# Marks, joiners and isolates stay: Arabic, Hebrew, Persian and emoji are written with them.
UNWANTED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")

# All patterns are linear: what repeats is possessive or short, and ends at a bracket or a line.
TOKEN = re.compile(
    rf"""
      ^(?P<lines>>>)[ ]?
    | ^(?P<dashes>-{{20,}}+)[ \t]*+$
    | \[(?P<closing>/?)(?P<name>[A-Za-z]++)(?P<rest>[= ](?:[^\[\]\n]++|\[\w*+\])*+)?\]
    | (?P<smiley><(?ai:img)[ ](?:[^<>"'\n]++|"[^"<\n]*+"|'[^'<\n]*+')*+>)
    | (?P<url>{values.WEB_URL})
    """,
    re.MULTILINE | re.VERBOSE,
)
TOKEN_START = re.compile(r"[\[<hH>-]")  # found far faster than a token; each has one of these
TAG = re.compile(r"<[^>]*+>")
CODE_END = re.compile(r"\[/(?ai:code)\]")
ENCLOSED = re.compile(  # what follows [url], [img] or [call] without a value
    rf"\s*+(?P<value>{values.WEB_URL}|(?ai:mailto|tel):{values.URL_CHARACTER}++"
    r"|\+?[0-9(][0-9(). -]*+)"
    r"\s*+\[/(?P<name>[A-Za-z]++)\]"
)
QUOTED_AUTHOR = re.compile(  # "Olga Petrova [12.05.2026 10:11] #chat5/903311"
    r"\n(?P<cite>[^\[\]\n]{1,255}+\[[^\[\]\n]{1,60}+\])(?: #[^\s\[\]]{1,100}+)?[ \t]*+$",
    re.MULTILINE,
)
SMILEY_CODE = re.compile(r""" data-code=(?:"([^"]+)"|'([^']+)')""", re.IGNORECASE)
PARAMETER = re.compile(r"\s(\w++)=")
DISK = re.compile(r"(?:=| file id=)(\w{1,40})", re.IGNORECASE)
TIMESTAMP = re.compile(r"=([0-9]{1,11})(?: .*)?")
SIGNATURE = re.compile(  # with a [br] or nothing behind it, so "[b]Note:[/b] text" has none
    rf"\[b\](?P<name>(?:(?!\[/?b\])[^\n]){{1,{MAX_NAME}}}?):\[/b\][ \t]*+(?:\[br\][ ]?|\Z)",
    re.IGNORECASE | re.ASCII,
)


def to_html(text: str) -> Markup:
    """Render a text with BB codes as safe HTML."""
    text, turns = _clean(text), Turns()
    tokens = _scan(text, turns)
    writer = _Writer(text)
    for token in tokens:
        writer.write(token)
        turns.give_way()
    shown = cleaned(writer.finish())
    if text.strip() and "<img" not in shown and not TAG.sub("", shown).strip():
        # Codes that hold nothing are shown as typed, so that no bubble is empty.
        shown = cleaned(_escape(text.strip()).replace("\n", "<br>"))
    return stored_html(shown)


def file_html(name: str, kind: str, link: str, size: int | None) -> Markup:
    """A file of a message: an image as a picture, all else as a link with name and size.

    `kind` is the portal's image, video, audio or file; `size` is in bytes. If the link is not
    http(s), only the name is shown. A picture without HTTPS becomes a link, because browsers would
    not load it, except from this very machine, where a portal under development may be.
    """
    label = html.escape(_clean(name) or "file")
    if size is not None:
        label += f" ({_readable(size)})"
    link = link.partition("#")[0]
    if not values.is_safe(values.SAFE_WEB_URL, link):
        return stored_html(cleaned(f'<span class="bb-file">{label}</span>'))
    if kind == "image" and values.PICTURE_URL.match(link):
        shown = f'<img class="bb-image" src="{html.escape(link)}" alt="{label}" {values.LOADING}>'
        return stored_html(cleaned(f'<a href="{html.escape(link)}">{shown}</a>'))
    shown = f'<span class="bb-file">{label}</span>'
    return stored_html(cleaned(f'<a href="{html.escape(link)}">{shown}</a>'))


def _readable(size: int) -> str:
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size = round(size / 1024)
    return f"{size} GB"


def stored_html(rendered: str) -> Markup:
    """HTML that this module or a template of ours has made, for a template to take as it is."""
    return Markup(rendered)  # noqa: S704  nothing else makes Markup


def take_signature(text: str) -> tuple[str | None, str]:
    """Split the operator's name off the very front: (name as plain text or None, what follows).

    An unsigned text looks signed if it is nothing but "[b]Words:[/b]" or has a [br] after that.
    """
    signature = SIGNATURE.match(text)
    if signature is None:
        return None, text
    name = " ".join(_clean(html.unescape(signature["name"])).split())
    return (name, text[signature.end() :]) if name else (None, text)


@dataclass(slots=True, eq=False)
class _Token:
    """A piece of the text that is more than its letters."""

    kind: Literal["whole", "open", "close", ">>"]  # ">>" opens where no such quote is open yet
    start: int
    end: int
    html: str = ""  # of what opens an element: its tag
    label: str = ""  # of a quote: its cite; of another pair: what it shows if it holds nothing
    in_link: str | None = None  # instead of `html` within a link, which may hold no second one
    is_block: bool = False  # stands on lines of its own: the line break behind it is part of it
    pair: "_Token | None" = None  # the other half


def _clean(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return LONE_SURROGATE.sub("\ufffd", UNWANTED.sub("", text))


def _escape(text: str) -> str:
    """Text as HTML, in pieces that end with a comment where they hold "&" or no-break spaces.

    nh3 leaves the comments out, and needs them: its time grows with the square of the number of
    "&" and no-break spaces in what stands between two tags.
    """
    starts = range(0, len(text), MAX_PIECE)
    pieces = [html.escape(text[at : at + MAX_PIECE]) for at in starts]
    return "".join(
        f"{piece}<!---->" if "&" in piece or "\xa0" in piece else piece for piece in pieces
    )


def _scan(text: str, turns: Turns) -> list[_Token]:
    """All tokens in their order, pairs joined. What lies between them is plain text."""
    tokens = []
    waiting: defaultdict[str, list[_Token]] = defaultdict(list)
    last_code_end = max((end.start() for end in CODE_END.finditer(text)), default=-1)
    position = 0
    while start := TOKEN_START.search(text, position):
        turns.give_way()
        match = TOKEN.match(text, start.start())
        if match is None:
            position = start.end()
            continue
        name = "--" if match["dashes"] else (match["name"] or "").lower()
        quotes = waiting["--"]
        if name == "--" and quotes and not text[quotes[-1].end : match.start()].strip():
            quotes.pop()  # two lines of dashes with nothing between them quote nothing
        if not name:
            token = _other(match)
        elif match["closing"] or (name == "--" and waiting[name]):
            token = _closing(match, waiting[name])
        elif name == "code" and match["rest"] is None and match.end() <= last_code_end:
            token = _code(match)
        else:
            token = _single(name, match) or _enclosed(name, match) or _opening(name, match)
            if token and token.kind == "open":
                waiting[name].append(token)
        if token:
            tokens.append(token)
            position = token.end
        elif match["url"]:  # passed over whole: a look from each letter would take quadratic time
            position = match.end()
        else:  # not a code after all, but one may begin within it
            position = match.start() + 1
    return tokens


def _other(match: re.Match[str]) -> _Token | None:
    """A token that has no brackets: quoted lines, a smiley or an address."""
    start, end = match.span()
    if match["lines"]:
        return _Token(">>", start, end, QUOTE)
    if match["smiley"]:
        code = SMILEY_CODE.search(match["smiley"])
        shown = _escape(_clean(html.unescape(code[1] or code[2]))) if code else ""
        return _Token("whole", start, end, shown) if code else None
    url = values.without_punctuation(match["url"])
    return _link_token(start, start + len(url), url, url)


def _closing(match: re.Match[str], waiting: list[_Token]) -> _Token | None:
    if match["rest"] is not None or not waiting:
        return None
    opening = waiting.pop()
    opening.pair = _Token("close", *match.span(), is_block=opening.is_block, pair=opening)
    return opening.pair


def _code(match: re.Match[str]) -> _Token | None:
    end = CODE_END.search(match.string, match.end())
    if end is None:
        return None
    code = match.string[match.end() : end.start()].removeprefix("\n").removesuffix("\n")
    shown = f'<pre class="bb-code"><code>{_escape(code)}</code></pre>'
    return _Token("whole", match.start(), end.end(), shown, is_block=True)


def _single(name: str, match: re.Match[str]) -> _Token | None:
    """The codes that have no second half."""
    rest, shown = match["rest"], None
    if rest is None:
        shown = SINGLE.get(name)
    elif name == "disk" and (file := DISK.fullmatch(rest)):
        shown = f'<span class="bb-file">📎 {html.escape(file[1])}</span>'
    elif name == "timestamp" and (seconds := TIMESTAMP.fullmatch(rest)):
        time = datetime.fromtimestamp(int(seconds[1]), UTC)
        shown = f'<time datetime="{time:%Y-%m-%dT%H:%M:%SZ}">{time:%Y-%m-%d %H:%M} UTC</time>'
    elif name == "icon":
        url, *parameters = PARAMETER.split(rest)
        names = map(str.lower, parameters[::2])
        title = dict(zip(names, parameters[1::2], strict=True)).get("title", "")
        shown = values.image(values.value_of(url), "bb-icon", title.strip()[:MAX_NAME])
    return _Token("whole", *match.span(), shown) if shown else None


def _enclosed(name: str, match: re.Match[str]) -> _Token | None:
    """[img], [url] and [call] around an address, in which nothing is rendered."""
    if name not in ("img", "url", "call") or (match["rest"] and name != "img"):
        return None
    inside = ENCLOSED.match(match.string, match.end())
    if inside is None or inside["name"].lower() != name or values.value_of(match["rest"]):
        return None
    start, end, value = match.start(), inside.end(), inside["value"].strip()
    if name != "img":
        return _link_token(start, end, value if name == "url" else values.phone(value), value)
    image = values.image(value, "bb-image")
    if image is None:  # a picture that browsers would not load becomes a link
        safe = values.is_safe(values.SAFE_WEB_URL, value)
        return _link_token(start, end, value, value) if safe else None
    shown = f"{values.link(value)}{image}</a>"
    return _Token("whole", start, end, shown, in_link=image, is_block=True)


def _opening(name: str, match: re.Match[str]) -> _Token | None:
    start, end = match.span()
    if name == "--":
        author = QUOTED_AUTHOR.match(match.string, end)
        cite = f"<cite>{html.escape(author['cite'])}</cite>" if author else ""
        return _Token("open", start, author.end() if author else end, QUOTE, cite, is_block=True)
    value = values.value_of(match["rest"])
    label = html.escape(value) if name not in ("size", "color") else ""
    has_sense = 0 < len(value) <= values.MAX_URL or match["rest"] is None
    tag = _opening_tag(name, value) if has_sense else None
    return _Token("open", start, end, tag, label, is_block=name == "quote") if tag else None


def _opening_tag(name: str, value: str) -> str | None:
    """The tag of a code; None if there is no such code with this value ("" for no value)."""
    tag = NAMED.get(name) if value else NAMED.get(name) or PLAIN.get(name)
    if value and name in ("url", "call"):
        tag = values.link(value if name == "url" else values.phone(value))
    elif value and name in ("size", "color"):
        css = values.size_class(value) if name == "size" else values.color_class(value)
        tag = f'<span class="{css}">' if css else "<span>"
    return tag


def _link_token(start: int, end: int, url: str, label: str) -> _Token | None:
    link, label = values.link(url), html.escape(label)
    return _Token("whole", start, end, f"{link}{label}</a>", in_link=label) if link else None


class _Writer:
    """Writes tokens as elements that nest, whatever the order in which their codes close."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._written = 0  # of the text, so far
        self._html: list[str] = []
        self._open: list[_Token] = []  # outermost first
        self._lines: _Token | None = None  # of those open: the one that quotes lines
        self._in_link = False  # whether a link is open
        self._reopened = 0
        self._block_end = -1

    def write(self, token: _Token) -> None:
        """Write the plain text before the token, and the token unless it is plain text as well."""
        self._write_plain(token.start)
        if self._understood(token):
            self._written = token.end
            self._block_end = token.end if token.is_block else -1

    def finish(self) -> str:
        self._write_plain(len(self._text))
        while self._open:
            self._close(self._open[-1])
        return "".join(self._html)

    def _write_plain(self, end: int) -> None:
        start, self._written = self._written, end
        if start == self._block_end and self._text.startswith("\n", start, end):
            start += 1
        line_end = self._text.find("\n", start, end)
        quote = self._lines
        if quote and line_end >= 0 and not self._text.startswith(">>", line_end + 1):
            self._html.append(_escape(self._text[start:line_end]))
            self._close(quote)
            start = line_end + 1
        if start < end:
            self._html.append(_escape(self._text[start:end]).replace("\n", "<br>"))

    def _understood(self, token: _Token) -> bool:
        """Write what the token means; False if it must be shown as typed here."""
        if token.kind == "whole":
            if token.html != "<br>" or token.start != self._block_end:
                in_link = token.in_link is not None and self._in_link
                self._html.append(token.in_link or "" if in_link else token.html)
        elif token.kind == "close":
            if token.pair is None or token.pair not in self._open:
                return False
            self._close(token.pair)
        elif token.kind == "open" or not self._lines:
            alone = token.kind == "open" and token.pair is None
            second_link = self._in_link and token.html.startswith("<a ")
            if alone or second_link or len(self._open) == MAX_DEPTH:
                return False
            self._open.append(token)
            self._note(token)
            self._html.append(token.html)
            is_empty = token.pair and token.pair.start == token.end
            if token.label and (token.is_block or is_empty):
                self._html.append(token.label)
        return True

    def _close(self, token: _Token) -> None:
        """Close an element; elements opened in it end too, and are opened again after it.

        At most MAX_REOPENED in a text are, because few typed letters can reopen many elements.
        """
        place = self._open.index(token)
        reopened = self._open[place + 1 :][: MAX_REOPENED - self._reopened]
        for ending in reversed(self._open[place:]):
            if self._html[-1] == ending.html:  # nothing is in it
                self._html.pop()
            else:
                self._html.append(f"</{ending.html[1:-1].split()[0]}>")
        self._open[place:] = reopened
        self._lines, self._in_link = None, False
        for element in self._open:
            self._note(element)
        self._html += [element.html for element in reopened]
        self._reopened += len(reopened)

    def _note(self, element: _Token) -> None:
        if element.kind == ">>":
            self._lines = element
        elif element.html.startswith("<a "):
            self._in_link = True
