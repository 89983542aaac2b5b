"""What each BB code means: the tokens that `nesting.py` writes.

The codes of the portal's messages, and those of its text editors: operators paste from tasks, mails
and news. Of a code that is known and cannot be shown as it means, only its content is shown.
"""

import html
import re
from datetime import UTC, datetime

import values
from nesting import ITEM, PLAIN, Token

MAX_NAME = 255
QUOTE = '<blockquote class="bb-quote">'
MENTION = '<span class="bb-mention">'
COMMAND = '<span class="bb-command">'
TABLE = "<table><tbody>"
HEADING = '<div class="bb-heading">'

INLINE = {"b": "<strong>", "i": "<em>", "u": "<u>", "s": "<s>", "sub": "<sub>", "sup": "<sup>"}
BLOCKS = {
    **{"quote": QUOTE, "spoiler": "<details>", "cut": "<details>"},
    **{"ul": "<ul>", "ol": "<ol>", "list": "<ul>", "table": TABLE},
    **{"tr": "<tr>", "td": "<td>", "th": "<th>", "li": ITEM},
    **{"center": '<div class="bb-center">', "right": '<div class="bb-right">'},
    **dict.fromkeys(("p", "left", "justify", "indent"), "<div>"),
    **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), HEADING),
}
ADDRESSED = ("img", "url", "call", "email", "video", "audio")  # may stand around an address
NAMED = dict.fromkeys(("user", "chat", "context", "department", "project"), MENTION)
OTHERS = {
    **NAMED | dict.fromkeys(("send", "put"), COMMAND),
    **dict.fromkeys(("font", "size", "color", "background", "attach", *ADDRESSED), PLAIN),
    **BLOCKS,
}
# Without their other half they hold the rest of the text: a message may be cut.
UNCLOSED = ("quote", "list", "ul", "ol", "table", "tr", "td", "th", "center")
LABELLED = {"quote": "cite", "spoiler": "summary", "cut": "summary"}  # by their values
UNLABELLED = {"summary": "<summary>…</summary>"}  # browsers would write a word of their language
SHOW_VALUE = {*NAMED, "send", "put", "url", "call", "email"}  # if they hold nothing
SINGLE = {"br": "<br>", "hr": "<hr>", "like": "👍", "dislike": "👎"}
LETTERED = re.compile(r"[1aAiI]")  # how the items of a list are counted

# Each pattern ends at a bracket or a line. An address does not begin with "=" or "[", so that a
# text of many "[url]=" or "[url]" is not read again from each of them.
ENCLOSED = re.compile(
    r"\s*+(?![=\[])(?P<value>(?:[^\[\]\n]++|(?:\[(?!/)[^\[\]\n]*+\])++=)*+)\s*\[/(?P<name>[A-Za-z]++)\s{0,4}+\]"
)
PARAMETER = re.compile(r"\s(\w++)=")
DISK = re.compile(r"(?:=| file id=)(\w{1,40})", re.IGNORECASE)
TIMESTAMP = re.compile(r"=([0-9]{1,11})(?: .*)?")


def single(name: str, match: re.Match[str]) -> Token | None:
    """The codes that have no second half."""
    rest, shown = match["rest"], None
    if rest is None or rest.strip() == "/":
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
        title = title.strip(values.QUOTES)[:MAX_NAME]
        icon = values.image(values.address(values.value_of(url)), "bb-icon", title)
        shown = icon or html.escape(title)
    return Token("whole", *match.span(), shown, is_block=name == "hr") if shown else None


def enclosed(name: str, match: re.Match[str]) -> Token | None:
    """[img], [url] and others around an address, in which nothing is rendered."""
    if name not in ADDRESSED or (name in ("url", "call", "email") and match["rest"]):
        return None
    inside = ENCLOSED.match(match.string, match.end())
    if inside is None or inside["name"].lower() != name:
        return None
    start, end, given = match.start(), inside.end(), inside["value"].strip()
    url = values.phone(given) if name == "call" else values.address(given)
    link, image = values.link(url), values.image(url, "bb-image") if name == "img" else None
    if link is None or (name in ("img", "video", "audio") and not values.is_web(url)):
        return None
    if image is None:  # also a picture that browsers would not load
        label = html.escape(given)
        return Token("whole", start, end, f"{link}{label}</a>", in_link=label)
    return Token("whole", start, end, f"{link}{image}</a>", in_link=image, is_block=True)


def opening(name: str, match: re.Match[str]) -> Token | None:
    start, end = match.span()
    value = values.value_of(match["rest"])
    if name in INLINE:
        return Token("open", start, end, INLINE[name])
    if name not in OTHERS or (len(value) > values.MAX_URL and name not in ADDRESSED):
        return None
    around, label = LABELLED.get(name), html.escape(value)
    if around:
        label = f"<{around}>{label}</{around}>" if value else UNLABELLED.get(around, "")
    elif name not in SHOW_VALUE:
        label = ""
    return Token("open", start, end, _tag(name, value), label, is_block=name in BLOCKS)


def _tag(name: str, value: str) -> str:
    """The tag of a code with this value; "" for no value."""
    tag = OTHERS[name]
    if name == "list" and value and value not in ("disc", "circle", "square"):
        tag = f'<ol type="{value}">' if LETTERED.fullmatch(value) else "<ol>"
    elif value and name in ("url", "call", "email", "video", "audio"):
        url = values.phone(value) if name == "call" else values.address(value)
        tag = values.link(url) or PLAIN
    elif value and name in ("size", "color"):
        css = values.size_class(value) if name == "size" else values.color_class(value)
        tag = f'<span class="{css}">' if css else PLAIN
    return tag


def bare_link(start: int, url: str) -> Token | None:
    """An address that stands in the text without a code."""
    link, label = values.link(values.address(url)), html.escape(url)
    end = start + len(url)
    return Token("whole", start, end, f"{link}{label}</a>", in_link=label) if link else None


def item(match: re.Match[str]) -> Token:
    """An item of a list begins, or ends: that it ends is seen by what follows, too."""
    return Token(
        "whole" if match["closing"] else "item", *match.span(), "" if match["closing"] else ITEM
    )
