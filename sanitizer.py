"""The last word on the HTML of messages: nh3 leaves in it only what is allowed here."""

import nh3

import values
from turns import apart

CLEANED_AT_ONCE = 10_000  # characters of HTML

SANITIZER = nh3.Cleaner(
    tags={"strong", "em", "u", "s", "span", "a", "br", "img", "blockquote", "cite"}
    | {"pre", "code", "time"},
    attributes={"a": {"href"}, "img": {"src", "alt", "title"}, "time": {"datetime"}},
    allowed_classes={
        "span": {f"bb-size-{name}" for _, name in values.SIZES}
        | {f"bb-color-{name}" for name in values.COLORS}
        | {"bb-mention", "bb-command", "bb-file"},
        "img": {"bb-image", "bb-icon"},
        "blockquote": {"bb-quote"},
        "pre": {"bb-code"},
    },
    url_schemes={"http", "https", "mailto", "tel"},
    url_relative="deny",
    link_rel="noopener noreferrer nofollow ugc",
    # nh3 writes two set attributes of an element in any order; the same text must not differ.
    tag_attribute_values={"img": {"loading": {"lazy"}, "referrerpolicy": {"no-referrer"}}},
    set_tag_attribute_values={"a": {"target": "_blank"}},
)


def cleaned(written: str) -> str:
    """What is allowed of the HTML. A long one is cleaned in a thread: it takes up to 15 ms."""
    long = len(written) > CLEANED_AT_ONCE
    return apart(SANITIZER.clean, written) if long else SANITIZER.clean(written)
