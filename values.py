"""What the values of BB codes become: links, pictures, classes for sizes and colours.

An address that is not of the web, of mail or of a telephone, or that hides what it is, stays text.
"""

import colorsys
import html
import re

MAX_URL = 2048
LOADING = 'loading="lazy" referrerpolicy="no-referrer"'  # of every image
URL_CHARACTER = r"""[^\s<>"`\\\[\]]"""
# At the end of an address these belong to the sentence.
AFTER_URL = ".,:;!?'*»”’…\u200b\u200e\u200f\u2060\ufeff"
AFTER_SENTENCE = re.compile(  # what is no part of an address, or begins the next
    r"[,;](?=https?://)|(?<!_)—|&quot;|[\u3001\u3002\uff01\uff0c\uff1b\uff1f]"
)
# With brackets as in ?a[id]=1.
WEB_URL = rf"(?ai:https?)://(?:{URL_CHARACTER}++|(?:\[{URL_CHARACTER}*+\])++=)*+"
PORT = r"(?:[0-9]{1,4}|[1-5][0-9]{4}|6(?:[0-4][0-9]{3}|5(?:[0-4][0-9]{2}|5(?:[0-2][0-9]|3[0-5]))))"
SAFE_WEB_URL = re.compile(  # no user part: it makes a foreign name look like the host
    rf"(?ai:https?)://[^\s\x00-,/:-@\[-^`{{-\x7f]++(?::{PORT})?(?:[/?#][^\s<>\"`\\]*+)?"
)
PICTURE_URL = re.compile(r"(?ai:https://|http://(127\.0\.0\.1|localhost|\[::1\])[:/])")
SAFE_CONTACT = re.compile(
    r"(?ai:mailto):[\w.+-]++@[\w.-]++(?:\?[^\s<>\"`\\]*+)?|(?ai:tel):\+?[0-9().-]{2,40}"
)
PHONE = re.compile(r"\+?[0-9().\xa0\u2010-\u2013 -]{2,40}")
SIZES = ((11, "s"), (16, "m"), (22, "l"), (999, "xl"))  # up to so many pixels
HUES = (  # up to so many degrees
    *((15, "red"), (45, "orange"), (70, "yellow"), (165, "green"), (200, "teal")),
    *((260, "blue"), (310, "purple"), (345, "pink"), (360, "red")),
)
COLORS = {"gray", *(name for _, name in HUES)}
QUOTES = " \t\"'"  # around a value
ADDRESS_QUOTES = QUOTES + "\xa0“”„«»"
PARAMETERS = re.compile(r"[\"'”»]\s++[A-Za-z]++=")  # behind an address, as in HTML
BARE_SITE = re.compile(  # an address without a scheme, as people write it into a [url]
    r"(?:[^\W_](?:[\w-]{0,62}+)\.){1,20}[^\W\d_][\w-]{1,62}+\.?(?::[0-9]{1,5}+)?(?:[/?#].*+)?"
)
BARE_MAIL = re.compile(r"[\w.+-]{1,64}+@[\w.-]{1,255}+(?:\?.*+)?")

PIXELS = re.compile(r"([0-9]{1,3})(?:px|pt)?")
RGB = re.compile(r"#?(?:([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})|([0-9a-f])([0-9a-f])([0-9a-f]))")


def link(url: str) -> str | None:
    """The opening tag of a link; None if the address is not allowed."""
    safe = is_web(url) or is_safe(SAFE_CONTACT, url)
    return f'<a href="{html.escape(url)}">' if safe else None


def address(given: str) -> str:
    """The address that a value means: people leave its scheme away, and put spaces into it.

    The portal writes "&amp;" and "&quot;" where somebody typed "&" and a quotation mark.
    """
    url = given.replace("&quot;", '"').replace("&amp;", "&").strip(ADDRESS_QUOTES)
    url = PARAMETERS.split(url, maxsplit=1)[0]
    if url[:4].lower() == "tel:" and (number := phone(url[4:])):
        return number
    if BARE_SITE.fullmatch(url):
        url = f"http://{url}"
    elif BARE_MAIL.fullmatch(url):
        url = f"mailto:{url}"
    return url.replace(" ", "%20")


def is_web(url: str) -> bool:
    return is_safe(SAFE_WEB_URL, url)


def image(url: str, css: str, title: str = "") -> str | None:
    """A picture as HTML; None unless its address is a safe one with https, or of this machine."""
    if not is_web(url) or not PICTURE_URL.match(url):
        return None
    # The alternative text is the title, or the name of the file.
    name = title or re.split("[?#]", url)[0].rstrip("/").rpartition("/")[2].replace("%20", " ")
    tooltip = f' title="{html.escape(title)}"' if title else ""
    source, name = html.escape(url), html.escape(name)
    return f'<img class="{css}" src="{source}" alt="{name}"{tooltip} {LOADING}>'


def is_safe(pattern: re.Pattern[str], url: str) -> bool:
    """Whether the address has the pattern and hides nothing."""
    # isprintable() refuses invisible characters: joiners, marks of direction, odd spaces.
    return len(url) <= MAX_URL and url.isprintable() and pattern.fullmatch(url) is not None


def without_punctuation(url: str) -> str:
    """The address without the punctuation of the sentence that it ends, and what follows that."""
    url = AFTER_SENTENCE.split(url, maxsplit=1)[0]
    unopened = url.count(")") - url.count("(")
    end = len(url)
    while url[end - 1] in AFTER_URL or (url[end - 1] == ")" and unopened > 0):
        unopened -= url[end - 1] == ")"
        end -= 1
    return url[:end]


def phone(number: str) -> str:
    """The tel: address of a telephone number; "" for a text that is no such number."""
    return "tel:" + re.sub("[^0-9+]", "", number) if PHONE.fullmatch(number) else ""


def size_class(value: str) -> str | None:
    """The nearest of our sizes, for what is given in pixels or points."""
    size = PIXELS.fullmatch(value.lower())
    return f"bb-size-{next(name for top, name in SIZES if int(size[1]) <= top)}" if size else None


def color_class(value: str) -> str | None:
    """The nearest of our colours; None for black, white and what is no colour."""
    name = value.lower()
    if rgb := RGB.fullmatch(name):
        red, green, blue = (int(part * (2 // len(part)), 16) / 255 for part in rgb.groups() if part)
        hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
        if saturation >= 0.2:
            name = next(name for top, name in HUES if hue * 360 <= top)
        elif 0.2 <= light <= 0.9:
            name = "gray"
    return f"bb-color-{name}" if name in COLORS else None


def value_of(rest: str | None) -> str:
    """What follows the "=" of a code, without quotation marks."""
    rest = (rest or "").lstrip().removeprefix("href")
    return rest[1:].strip(QUOTES) if rest.startswith("=") else ""
