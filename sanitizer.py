"""The last word on the HTML of messages: nh3 leaves in it only what is allowed here."""

import html

import nh3

import values
from turns import apart

CLEANED_AT_ONCE = 10_000  # characters of HTML
MAX_PIECE = 1000  # see `escaped`

SANITIZER = nh3.Cleaner(
    tags={"strong", "em", "u", "s", "sub", "sup", "span", "a", "br", "hr", "img", "audio", "video"}
    | {"blockquote", "cite", "pre", "code", "time", "div", "details", "summary"}
    | {"ul", "ol", "li", "table", "tbody", "tr", "td", "th"},
    attributes={
        "a": {"href"},
        "img": {"src", "alt", "title"},
        "audio": {"src", "title"},
        "video": {"src", "title"},
        "time": {"datetime"},
    },
    allowed_classes={
        "span": {f"bb-size-{name}" for _, name in values.SIZES}
        | {f"bb-color-{name}" for name in values.COLORS}
        | {"bb-mention", "bb-command", "bb-file"},
        "img": {"bb-image", "bb-icon"},
        "audio": {"bb-audio"},
        "video": {"bb-video"},
        "blockquote": {"bb-quote"},
        "div": {"bb-center", "bb-right", "bb-heading"},
        "pre": {"bb-code"},
    },
    url_schemes={"http", "https", "mailto", "tel"},
    url_relative="deny",
    link_rel="noopener noreferrer nofollow ugc",
    # nh3 writes two set attributes of an element in any order; the same text must not differ.
    tag_attribute_values={
        "img": {"loading": {"lazy"}, "referrerpolicy": {"no-referrer"}},
        "audio": {"controls": {""}, "preload": {"none"}},
        "video": {"controls": {""}, "preload": {"none"}},
        "ol": {"type": {"1", "a", "A", "i", "I"}},
    },
    set_tag_attribute_values={"a": {"target": "_blank"}},
)


def cleaned(written: str) -> str:
    """What is allowed of the HTML. A long one is cleaned in a thread: it takes up to 15 ms."""
    long = len(written) > CLEANED_AT_ONCE
    return apart(SANITIZER.clean, written) if long else SANITIZER.clean(written)


def escaped(text: str) -> str:
    """Text as HTML, in pieces that end with a comment where they hold "&" or no-break spaces.

    nh3 leaves the comments out, and needs them: its time grows with the square of the number of
    "&" and no-break spaces in what stands between two tags.
    """
    starts = range(0, len(text), MAX_PIECE)
    pieces = [html.escape(text[at : at + MAX_PIECE]) for at in starts]
    return "".join(
        f"{piece}<!---->" if "&" in piece or "\xa0" in piece else piece for piece in pieces
    )
