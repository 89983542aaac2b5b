"""Bitrix24's BB codes and files as safe HTML, and the operator's signature taken off a text.

Pure functions. Whatever the text, the HTML is well-formed, is made in linear time and holds no
script, no style and no address but http, https, mailto and tel. An unknown code and one without its
other half are shown as typed, but for quotes, lists and tables, which then hold the rest; a known
one whose value makes no sense shows what it holds. A long text is rendered in turns: others of the
process are served in between. Knows nothing of the product.

`_scan` cuts a text into tokens, which `codes.py` makes, and joins the pairs; `nesting.py` writes
them and keeps the nesting right; `links.py` finds bare addresses in what lies between. Each goes
through the text once. nh3 then cleans the HTML.

The pages forbid inline styles, so sizes and colours are classes. For the style sheet, all are:

    bb-size-s bb-size-m bb-size-l bb-size-xl
    bb-color-red -orange -yellow -green -teal -blue -purple -pink -gray
    bb-quote    blockquote; a cite in it says who is quoted, and when
    bb-code     pre, with a code in it
    bb-image    img;  bb-icon  img in a line of text;  bb-file  a file of the portal
    bb-mention  a user, a chat, a message;  bb-command  a text that a bot would take
    bb-audio bb-video   players of files;  bb-center bb-right bb-heading   div

The style sheet must make blocks of bb-image, the players and cite: the line break after them is
left out.
"""

import html
import re
from collections import defaultdict

from markupsafe import Markup

import values
from codes import MAX_NAME, QUOTE, UNCLOSED, bare_link, enclosed, item, opening, single
from nesting import Token, Writer
from sanitizer import cleaned, escaped
from turns import Turns
from visible import is_visible

RENDERER: int = 6
"""Version of what `to_html` gives. Raise it whenever the HTML of any text changes: what is stored
under another version is then rendered again."""

PLAYED = 'controls preload="none"'  # nothing is fetched before somebody wants to hear or see it
KNOWN_ENDINGS = {  # of what browsers can show or play themselves
    "image": {"", "png", "jpg", "jpeg", "jpe", "jfif", "gif", "webp", "avif"},
    "audio": {"mp3", "m4a", "aac", "ogg", "oga", "opus", "wav", "flac", "weba"},
    "video": {"mp4", "m4v", "mov", "webm", "ogv"},
}

# Control characters, and the embeddings and overrides that can turn the letters of a word around.
# Marks, joiners and isolates stay: Arabic, Hebrew, Persian and emoji are written with them.
UNWANTED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")

# All patterns are linear: what repeats is possessive or short, and ends at a bracket or a line.
TOKEN = re.compile(
    rf"""
      ^(?P<lines>>>)[ ]?
    | ^(?P<dashes>-{{20,}}+)[ \t]*+$
    | \[(?P<closing>/?)(?P<name>\*|[A-Za-z]++[1-6]?)
          (?P<rest>/|[= \t\xa0](?:[^\[\]\n]++|\[[^\[\]\n]*+\])*+
            |(?<=(?i:url))=[^\s\[\]]++\[[^\s\[\]]*+)?\s{{0,4}}+\]
    | (?P<smiley><(?ai:img)[ ](?:[^<>"'\n]++|"[^"<\n]*+"|'[^'<\n]*+')*+>)
    | (?P<url>{values.WEB_URL})
    """,
    re.MULTILINE | re.VERBOSE,
)
# No code, no mark of HTML, too few digits for a telephone number, no dot or sign as addresses have;
# none of the letters that nobody sees (visible.py).
PLAIN = re.compile(
    r"(?!(?:[^0-9]*+[0-9]){8})(?:[^\W\u115f\u1160\u3164\uffa0]++|[\n ,:;!?()'\"«»„“”’…–—]++"
    r"|\.(?![^\W\d_])|-(?!-))*+"
)
TOKEN_START = re.compile(r"[\[<hH>-]")  # found far faster than a token; each has one of these
TAG = re.compile(r"<[^>]*+>")
SEEN = re.compile("<(img|hr)")  # what is seen without a letter
CODE_END = re.compile(r"\[/(?ai:code)\]")
QUOTED_AUTHOR = re.compile(  # "Olga Petrova [12.05.2026 10:11] #chat5/903311"
    r"\n(?P<cite>[^\[\]\n]{1,255}+\[[^\[\]\n]{1,60}+\])(?: #[^\s\[\]]{1,100}+)?[ \t]*+$",
    re.MULTILINE,
)
SMILEY_CODE = re.compile(r""" data-code=(?:"([^"]+)"|'([^']+)')""", re.IGNORECASE)
SIGNATURE = re.compile(  # with a [br] or nothing behind it, so "[b]Note:[/b] text" has none
    rf"\[b\](?P<name>(?:(?!\[/?b\])[^\n]){{1,{MAX_NAME}}}?):\[/b\][ \t]*+(?:\[br\][ ]?|\Z)",
    re.IGNORECASE | re.ASCII,
)


def is_plain(text: str) -> bool:
    """Whether a text has nothing in it that becomes more than its own letters, as most have."""
    return PLAIN.fullmatch(text) is not None


def to_html(text: str) -> Markup:
    """Render a text with BB codes as safe HTML."""
    if is_plain(text):  # what follows would make the same of it, in ten times as long
        return stored_html(text.replace("\n", "<br>"))
    text, turns = _clean(text), Turns()
    tokens = _scan(text, turns)
    writer = Writer(text, turns)
    for token in tokens:
        writer.write(token)
        turns.give_way()
    shown = cleaned(writer.finish())
    if (
        text.strip()
        and not SEEN.search(shown)
        and not is_visible(html.unescape(TAG.sub("", shown)))
    ):
        # Codes that hold nothing are shown as typed, so that no bubble is empty.
        shown = cleaned(escaped(text.strip()).replace("\n", "<br>"))
    return stored_html(shown)


def file_html(name: str, kind: str, link: str, size: int | None) -> Markup:
    """A file of a message: a picture is shown, a sound or film played, all else linked by its name.

    `kind` is the portal's image, video, audio or file; `size` is in bytes. What browsers do not
    know by the ending of its name is linked; so is what lacks HTTPS, because browsers would not
    load it, except from this very machine, where a portal under development may be. Below a player
    stands the link, for browsers that cannot play what they know. Without a safe link only the
    name is shown.
    """
    name = _clean(name) if is_visible(name) else "file"
    label = html.escape(name if size is None else f"{name} ({readable_size(size)})")
    link = link.partition("#")[0].strip().replace(" ", "%20")
    shown = f'<span class="bb-file">{label}</span>'
    if not values.is_web(link):
        return stored_html(cleaned(shown))
    source = html.escape(link)
    end = name.rpartition(".")[2].lower() if "." in name else ""
    known = values.PICTURE_URL.match(link) and end in KNOWN_ENDINGS.get(kind, ())
    if known and kind == "image":
        shown = f'<img class="bb-image" src="{source}" alt="{label}" {values.LOADING}>'
    player = ""
    if known and kind != "image":
        player = f'<{kind} class="bb-{kind}" src="{source}" title="{label}" {PLAYED}></{kind}>'
    return stored_html(cleaned(f'{player}<a href="{source}">{shown}</a>'))


def readable_size(size: int) -> str:
    """Such as "186 KB", of a number of bytes."""
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
    return (name, text[signature.end() :]) if is_visible(name) else (None, text)


def _clean(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return LONE_SURROGATE.sub("\ufffd", UNWANTED.sub("", text))


def _scan(text: str, turns: Turns) -> list[Token]:
    """All tokens in their order, pairs joined. What lies between them is plain text."""
    tokens = []
    waiting: defaultdict[str, list[Token]] = defaultdict(list)
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
        token = _token(name, match, waiting[name], last_code_end)
        if token and token.kind == "open":
            waiting[name].append(token)
        if token:
            tokens.append(token)
            position = token.end
        elif match["url"]:  # passed over whole: a look from each letter would take quadratic time
            position = match.end()
        else:  # not a code after all, but one may begin within it
            position = match.start() + 1
    for name in UNCLOSED:
        for token in waiting[name]:
            token.pair = Token("close", len(text), len(text), is_block=True, pair=token)
    return tokens


def _token(
    name: str, match: re.Match[str], waiting: list[Token], last_code_end: int
) -> Token | None:
    """The token of a match, or None; `waiting` are the tokens of its name that may be closed."""
    if not name:
        return _other(match)
    if name == "*":
        return item(match)
    if match["closing"] or (name == "--" and waiting):
        return _closing(match, waiting)
    if name == "--":
        return _dashes(match)
    if name == "code" and match.end() <= last_code_end:
        return _code(match)
    return single(name, match) or enclosed(name, match) or opening(name, match)


def _other(match: re.Match[str]) -> Token | None:
    """A token that has no brackets: quoted lines, a smiley or an address."""
    start, end = match.span()
    if match["lines"]:
        return Token(">>", start, end, QUOTE)
    if match["smiley"]:
        code = SMILEY_CODE.search(match["smiley"])
        shown = escaped(_clean(html.unescape(code[1] or code[2]))) if code else ""
        return Token("whole", start, end, shown) if code else None
    return bare_link(start, values.without_punctuation(match["url"]))


def _closing(match: re.Match[str], waiting: list[Token]) -> Token | None:
    if (match["rest"] or "").strip() or not waiting:
        return None
    opening = waiting.pop()
    opening.pair = Token("close", *match.span(), is_block=opening.is_block, pair=opening)
    return opening.pair


def _code(match: re.Match[str]) -> Token | None:
    end = CODE_END.search(match.string, match.end())
    if end is None:
        return None
    code = match.string[match.end() : end.start()].removeprefix("\n").removesuffix("\n")
    shown = f'<pre class="bb-code"><code>{escaped(code)}</code></pre>'
    return Token("whole", match.start(), end.end(), shown, is_block=True)


def _dashes(match: re.Match[str]) -> Token:
    """A line of dashes, with the author who may stand below it."""
    start, end = match.span()
    author = QUOTED_AUTHOR.match(match.string, end)
    cite = f"<cite>{html.escape(author['cite'])}</cite>" if author else ""
    return Token("open", start, author.end() if author else end, QUOTE, cite, is_block=True)
