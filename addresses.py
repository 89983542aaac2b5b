"""Web addresses in the one form that browsers write and send, and in the form that people read.

The one form has the host in ASCII (IDNA, by UTS 46 as browsers do) and in lower case, an IP address
in its shortest spelling, no default port, no dot or slash at the end, and the path
percent-encoded. Knows nothing of settings.
"""

import ipaddress
import re
import unicodedata
from functools import cache, lru_cache
from urllib.parse import quote, unquote, urlsplit

import idna
from publicsuffixlist import PublicSuffixList

from texts import Wrong

NAME_LENGTH, LABEL_LENGTH = 253, 63  # of a host, and of each part of it (RFC 1035)
DEFAULT_PORTS = {"http": 80, "https": 443}
ACE = "xn--"  # begins a part of a host that stands for letters outside of ASCII
# Host names of the DNS also have "_", which IDNA has not, and any place for a hyphen but the ends.
ASCII_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")  # browsers take such a host for an IPv4 address
PATH_CHARACTERS = "/%:@!$&'()*+,;=~[]|"  # which browsers leave as they are, besides letters
ENCODED_LETTERS = re.compile(r"(?:%[89a-fA-F][0-9a-fA-F])+")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
ESCAPE = re.compile("%[0-9a-fA-F]{2}")
UNRESERVED = re.compile("[A-Za-z0-9._~-]")
POLICY_SOURCE = re.compile(r"https?://[a-z0-9.-]+(?::[0-9]+)?")
JOINERS = "\u200c\u200d"
KEPT = 200  # answers of a function, by texts of up to some thousand characters
FIRST_PICTURE = "\u2600"  # before it are signs, and lines to draw boxes with


def web_address(value: str) -> str:
    """The one form of an absolute address: HTTPS, or HTTP on loopback; without user or query.

    Wrong says what is wrong, without the address itself, which may hold a secret.
    """
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError:
        raise Wrong("addresses.not_address") from None
    plain = value == value.strip() and not CONTROL.search(value)
    if url.scheme not in DEFAULT_PORTS or not url.hostname or not plain:
        raise Wrong("addresses.example")
    if url.query or url.fragment or "@" in url.netloc:
        raise Wrong("addresses.query")
    host = host_of(url.hostname) if "[" not in url.netloc else _ipv6(url.hostname)
    if url.scheme == "http" and not is_loopback(host):
        raise Wrong("addresses.https")
    path = ESCAPE.sub(_escape, quote(url.path, safe=PATH_CHARACTERS + "\\")).rstrip("/")
    if re.search(r"\\|/\.\.?(/|$)", path):
        raise Wrong("addresses.path")
    place = "" if port in (None, DEFAULT_PORTS[url.scheme]) else f":{port}"
    return f"{url.scheme}://{host}{place}{path}"


def _escape(escape: re.Match[str]) -> str:
    """One spelling for each: a cookie's path, for one, is compared letter by letter."""
    character = chr(int(escape[0][1:], 16))
    return character if UNRESERVED.fullmatch(character) else escape[0].upper()


def host_of(name: str) -> str:
    """The one form of a host's name, or of an IPv4 address; Wrong."""
    try:
        name = idna.uts46_remap(unquote(name, errors="strict"), std3_rules=False)
        labels = name.removesuffix(".").split(".")
        if not NUMERIC_LABEL.fullmatch(labels[-1]):
            host = ".".join(map(_ascii_label, labels))
        else:
            host = str(ipaddress.IPv4Address(".".join(labels)))
    except (UnicodeError, ipaddress.AddressValueError):  # IDNA's errors are UnicodeErrors
        raise Wrong("addresses.host") from None
    if len(host) > NAME_LENGTH:
        raise Wrong("addresses.long_host", most=NAME_LENGTH)
    return host


def _ipv6(address: str) -> str:
    """As browsers write it: also what stands for an IPv4 address is hexadecimal."""
    try:
        value = ipaddress.IPv6Address(address)
    except ipaddress.AddressValueError:
        raise Wrong("addresses.ipv6") from None
    if value.scope_id:
        raise Wrong("addresses.zone")
    if value.ipv4_mapped:
        high, low = divmod(int(value.ipv4_mapped), 1 << 16)
        return f"[::ffff:{high:x}:{low:x}]"
    return f"[{value.compressed}]"


def _ascii_label(label: str) -> str:
    """One part of a host in ASCII; Wrong."""
    if label.startswith(ACE):
        try:
            meant = label.removeprefix(ACE).encode("ascii").decode("punycode")
            # What browsers would write for it is the label again, or the label means nothing.
            is_one_form = idna.uts46_remap(meant, std3_rules=False) == meant
            is_right = not meant.isascii() and is_one_form and _encoded(meant) == label
        except (UnicodeError, ValueError, OverflowError):
            is_right = False
        if not is_right:
            raise Wrong("addresses.punycode", label=label[:LABEL_LENGTH])
    elif not label.isascii():
        label = _encoded(label)
    if len(label) > LABEL_LENGTH:
        raise Wrong("addresses.long_label", most=LABEL_LENGTH)
    if not ASCII_LABEL.fullmatch(label):
        raise Wrong("addresses.letters")
    return label


def _encoded(label: str) -> str:
    """Letters outside of ASCII as browsers send them; IDNAError."""
    try:
        return idna.alabel(label).decode()
    except idna.InvalidCodepoint:  # a symbol, such as an emoji: registered, but not in IDNA 2008
        idna.check_nfc(label)
        idna.check_initial_combiner(label)
        idna.check_bidi(label)
    if any(one in JOINERS and not idna.valid_contextj(label, at) for at, one in enumerate(label)):
        raise idna.IDNAError("a joiner that joins nothing")
    return ACE + label.encode("punycode").decode()


def is_loopback(host: str) -> bool:
    """Whether a host in its one form is this very machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def origin_of(url: str) -> str:
    """Scheme, host and port of an address in its one form, as browsers write an origin."""
    return "/".join(url.split("/", 3)[:3])


@lru_cache(KEPT)
def policy_source(origin: str) -> str:
    """The origin as a Content-Security-Policy names it, or its scheme.

    The policy's grammar has no IPv6 address and no "_", and browsers then allow nothing.
    """
    return origin if POLICY_SOURCE.fullmatch(origin) else f"{origin.partition(':')[0]}:"


def scheme_and_host(origin: str) -> tuple[str, str]:
    """Scheme and host of an origin, without its port."""
    scheme, _, place = origin.partition("://")
    return scheme, re.sub(":[0-9]+$", "", place)


def readable(url: str) -> str:
    """An address in its one form as people read it: `https://xn--80avem4d.xn--p1ai` in letters."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    host = ".".join(map(_letters, host.split(".")))
    return f"{scheme}://{host}{slash}{ENCODED_LETTERS.sub(_decoded, path)}" if rest else url


def both_forms(url: str) -> str:
    """An address to be copied, and after it what it says, where that differs."""
    meant = readable(url)
    return url if meant == url else f"{url} ({meant})"


def _letters(label: str) -> str:
    name, colon, port = label.partition(":")
    if not name.startswith(ACE):
        return label
    try:
        letters = name.removeprefix(ACE).encode("ascii").decode("punycode")
    except UnicodeError:
        return label
    return letters + colon + port if all(map(_is_harmless, letters)) else label


def _is_harmless(letter: str) -> bool:
    """Whether a letter of a host looks like no other part of an address or of a text.

    Hosts may have signs that look like a slash or a space; as browsers do, we show no such sign.
    """
    if letter.isascii():
        return letter in "-_" or letter.isalnum()
    kind = unicodedata.category(letter)
    is_picture = kind in ("So", "Sk") and letter >= FIRST_PICTURE
    return kind[0] in "LMN" or letter in JOINERS or is_picture


def _decoded(escapes: re.Match[str]) -> str:
    try:
        letters = unquote(escapes[0], errors="strict")
    except UnicodeDecodeError:
        return escapes[0]
    return letters if letters.isprintable() else escapes[0]


# -- the sites that may embed the chat


def site(value: str) -> str:
    """An origin in its one form, or `https://*.shop.example` for all subdomains; Wrong."""
    wildcard = re.match(r"(https?)://\*\.", value, re.IGNORECASE)
    rest = f"{wildcard[1]}://{value[wildcard.end() :]}" if wildcard else value
    if "://" not in value:
        raise Wrong("addresses.origin")
    if "*" in rest:
        raise Wrong("addresses.wildcard")
    url = web_address(rest)
    origin = origin_of(url)
    if url != origin:
        raise Wrong("addresses.origin_path")
    scheme, _, host = origin.partition("://")
    if policy_source(origin) != origin:
        raise Wrong("addresses.framed")
    if not wildcard:
        return origin
    labels = host.partition(":")[0].split(".")
    if len(labels) < 2 or NUMERIC_LABEL.fullmatch(labels[-1]):
        raise Wrong("addresses.domain")
    domain = ".".join(labels)
    if _public_suffixes().is_public(domain):
        shown = readable(f"https://{domain}").removeprefix("https://")
        raise Wrong("addresses.public_suffix", domain=shown)
    return f"{scheme}://*.{host}"


@cache
def _public_suffixes() -> PublicSuffixList:
    """The domains below which anybody can have a name, as the package's release lists them."""
    return PublicSuffixList()


@lru_cache(KEPT)
def is_listed(origin: str, sites: tuple[str, ...]) -> bool:
    """Whether an origin, as browsers send it, is one of the sites or of their subdomains.

    As in a Content-Security-Policy, `https://*.shop.example` does not mean `https://shop.example`.
    """
    if "*" in origin:
        return False
    return origin in sites or any(_is_below(origin, one) for one in sites if "*" in one)


@lru_cache(KEPT)
def domain_of(origin: str, sites: tuple[str, ...]) -> str:
    """The entry `https://*.shop.example` of the list to whose domain an origin belongs, or "".

    The origin `https://shop.example` does, too. Of several entries the longest counts.
    """
    wildcards = [one for one in sites if "*" in one]
    found = [one for one in wildcards if _is_below(origin, one) or origin == one.replace("*.", "")]
    return max(found, key=len, default="")


def _is_below(origin: str, wildcard: str) -> bool:
    scheme, _, domain = wildcard.partition("*")
    if not (origin.startswith(scheme) and origin.endswith(domain)):
        return False
    # A name and nothing else: what a browser sends is in its one form, other senders say anything.
    below = origin[len(scheme) : -len(domain)]
    return all(map(ASCII_LABEL.fullmatch, below.split(".")))
