"""The address that was probably meant, where somebody has given another one.

What is suggested has a scheme, a host and a path: no user, no query, and nothing of a webhook, so
that a suggestion never shows a secret.
"""

import re
from collections.abc import Callable

from addresses import is_loopback
from texts import Wrong

# What writing programs and pages make of quotes, and what people put around a value.
QUOTES = "\"'`<>“”„‟«»‘’‚‛″"
SMART_QUOTES = "“”„‟«»‘’‚‛"
# Blanks of all kinds, and characters that nobody sees: they come along when a page is copied.
INVISIBLE = re.compile(r"[\s\x00-\x1f\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
CLOUD = re.compile(r"(?!www\.)[a-z0-9-]+\.bitrix24\.(?:com|[a-z]{2})(?:\.[a-z]{2})?")
OWN_PAGES = re.compile(r"(?:/(?:install|handler|ajax|index\.(?:html?|php))|/static/.*)+/*$")
PORTAL_PAGES = re.compile(
    r"/(?:stream|marketplace|market|devops|contact_center|online|crm|rest|oauth|bitrix|desktop_app"
    r"|company/personal|index\.php)(?=/)"
)
SCHEME = re.compile(r"(?:https?[:;]?|[a-z]{3,6}[:;])[/\\]{1,3}|https?[:;]|[/\\]{2}", re.IGNORECASE)
HOST = re.compile(r"(?:\*\.)?(?:[\w-]+\.)+[^\W\d_]{2,}(?::\d{1,5})?")
NO_PAGE = re.compile(r"(?:mailto|tel|sms|javascript|data|blob|file|about|ftp):", re.IGNORECASE)
MAIL = re.compile(r"[^\s/@:]+@[^\s/@:]+")
LOCAL = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?")


def meant_address(
    value: str, check: Callable[[str], str], cut: Callable[[str, str], str]
) -> str | None:
    """An address that `check` takes; None where none can be told."""
    plain = INVISIBLE.sub("", value).strip(QUOTES)
    if NO_PAGE.match(plain) or MAIL.fullmatch(plain):
        return None
    rest = plain
    while scheme := SCHEME.match(rest):  # some copy an address behind the one that stands there
        rest = rest[scheme.end() :]
    found = re.match(r"([^/\\?#]*)([^?#\\]*)", rest)
    place, path = (found[1], found[2]) if found else ("", "")
    place = place.rpartition("@")[2].strip(".,;").lower()
    if not HOST.fullmatch(place) and not LOCAL.fullmatch(place):
        return None
    local = is_loopback(re.sub(r":\d+$", "", place))
    path = cut(place, path.rstrip(".,;/"))
    try:
        return check(f"{'http' if local else 'https'}://{place}{path}")
    except Wrong:
        return None


def is_quoted(value: str) -> bool:
    """Whether typographic quotes stand around a whole value, and not around a part of it."""
    inner = value[1:-1]
    return (
        len(value) > 1
        and value[0] in SMART_QUOTES
        and value[-1] in f"{SMART_QUOTES}\"'"
        and value[0] not in inner
        and value[-1] not in inner
    )
