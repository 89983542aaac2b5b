"""What the values of settings have to be, beyond their type; each refusal is a Wrong.

A refusal says what was probably meant, where that can be told. It never holds the value of a
secret, also where somebody has put it into the wrong place.
"""

import importlib.util
import json
import os
import re
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, quote, unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from addresses import readable, site, web_address
from settings.meant import (
    CLOUD,
    INVISIBLE,
    NO_PAGE,
    OWN_PAGES,
    PORTAL_PAGES,
    QUOTES,
    SMART_QUOTES,
    meant_address,
)
from texts import Wrong
from visible import is_visible

ROOT = Path(__file__).parent.parent
SECRET_LENGTH = 32
APPLICATION_ID = re.compile(r"\s*(?:local|app)\.[0-9a-f]{8,}\.[0-9]{4,}\s*")
LONG_WORD = re.compile(r"[A-Za-z0-9]{40,}")  # as Bitrix24 makes its secrets; no client_id is one
VENDORS = re.compile(
    r"(?:(?:www|oauth|helpdesk|apidocs|auth\d?|partners)\.)?bitrix24\.[a-z.]+"
    r"|.*\.bitrix24\.(?:net|tech|info)|oauth\.bitrix\.info|(?:.*\.)?1c-bitrix\.ru"
)
FORMER_TITLE = "Chat with us"
COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")
BARE_HOST = re.compile(r"[^:/.][^:/]*\.[^:/]+")
SAFE_REST = "%?#/:@!$&'()*+,;=~[]"  # of a query and a fragment
TWICE = re.compile(r"https?:/*https?[:/]", re.IGNORECASE)
ITEM = re.compile(r"(?:https?://)?[\w.*-]+\.[\w-]{2,}(?::\d+)?/?|\.?\w{1,10}")  # of a list


# -- addresses


def _checked(
    check: Callable[[str], str], cut: Callable[[str, str], str], value: str, needed: bool = True
) -> str:
    """What `check` makes of the address; a refusal names the address that was probably meant.

    `cut` has the host and the path, and gives what of the path may stay.
    """
    if not value:
        if needed:
            raise Wrong("settings.empty")
        return value
    if APPLICATION_ID.fullmatch(value):
        raise Wrong("settings.id_as_address")
    try:
        if TWICE.match(value):
            raise Wrong("settings.scheme_twice")
        return check(value)
    except Wrong as why:
        meant = meant_address(value, check, cut)
        why = _clearer(value, why)
        if meant is None:
            raise why from None
        raise Wrong("settings.write", why=why, meant=readable(meant)) from None


def _clearer(value: str, why: Wrong) -> Wrong:
    """What is wrong with an address, if it is what an editor or a hurried hand makes of one."""
    if NO_PAGE.match(value):
        return why
    if value.strip(QUOTES) != value:
        return Wrong("settings.quotes")
    if INVISIBLE.search(value):
        return Wrong("settings.blank")
    if not re.match(r"\w+:", value) or re.match(r"[^/]+\.", value):
        return Wrong("settings.no_scheme")
    return why


def _public(value: str) -> str:
    url = web_address(value)
    host, path = urlsplit(url).hostname or "", urlsplit(url).path
    if CLOUD.fullmatch(host):
        raise Wrong("settings.portal_as_public")
    if OWN_PAGES.search(path):
        raise Wrong("settings.own_page")
    return url


def _portal(value: str) -> str:
    url = web_address(value)
    host, path = urlsplit(url).hostname or "", urlsplit(url).path
    if VENDORS.fullmatch(host):
        raise Wrong("settings.vendor")
    if path and path != _portal_path(host, path):
        raise Wrong("settings.portal_page")
    return url


def _portal_path(host: str, path: str) -> str:
    """Below which path the portal lives: a portal in the cloud has none, another may have one."""
    if CLOUD.fullmatch(host.partition(":")[0]):
        return ""
    return PORTAL_PAGES.split(f"{path}/", maxsplit=1)[0].rstrip("/")


def _page(value: str) -> str:
    """The address of somebody's page, which may have a query and a fragment, as in `?page_id=3`."""
    found = re.search("[?#]", value)
    at = found.start() if found else len(value)
    page, rest = value[:at], value[at:]
    has_path = re.search(r"[^/:]/", page) and not page.endswith("/")
    slash = "/" if rest and not has_path else ""  # as browsers have it behind a host
    plain = INVISIBLE.sub("", rest).strip(QUOTES)
    try:
        page = _checked(web_address, _whole_path, page, needed=bool(rest))
    except Wrong as why:
        if rest and "meant" in why.values:
            meant = f"{why.values['meant']}{slash}{plain}"
            raise Wrong("settings.write", why=why.values["why"], meant=meant) from None
        raise
    if rest != plain:
        cause = Wrong("settings.blank" if INVISIBLE.search(rest) else "settings.quotes")
        raise Wrong("settings.write", why=cause, meant=f"{readable(page)}{slash}{plain}")
    return page + slash + quote(plain, safe=SAFE_REST)


def _oauth_server(value: str) -> str:
    """The server's address; also where somebody has copied the whole address of the tokens."""
    return _checked(web_address, _whole_path, value).removesuffix("/oauth/token")


def _no_path(_host: str, _path: str) -> str:
    return ""


def _whole_path(_host: str, path: str) -> str:
    return path


def _public_path(_host: str, path: str) -> str:
    return OWN_PAGES.sub("", path)


# -- the application's pair


def _plain(value: str) -> None:
    """Raise Wrong for what a secret or an id gets when it is copied from a page or a letter."""
    if value.strip(QUOTES) != value:
        raise Wrong("settings.quotes")
    if INVISIBLE.search(value):
        raise Wrong("settings.blank")
    for place, letter in enumerate(value, 1):
        if not letter.isascii():
            raise Wrong("settings.not_latin", place=place)
    if "://" in value:
        raise Wrong("settings.address_here")


def _client_id(value: str) -> str:
    _plain(value)
    if LONG_WORD.fullmatch(value):
        raise Wrong("settings.secret_as_id")
    return value


def _client_secret(value: SecretStr) -> SecretStr:
    secret = value.get_secret_value()
    _plain(secret)
    if APPLICATION_ID.fullmatch(secret):
        raise Wrong("settings.id_as_secret")
    return value


def _long_secret(value: SecretStr) -> SecretStr:
    """A secret that cannot be guessed; it may be left out."""
    secret = value.get_secret_value()
    if INVISIBLE.search(secret[:1] + secret[-1:]):
        raise Wrong("settings.blank")
    ends = {secret[:1], secret[-1:]}
    if secret and (ends & {*SMART_QUOTES} or ends in ({'"'}, {"'"})):
        raise Wrong("settings.quotes")
    if 0 < len(secret) < SECRET_LENGTH:
        raise Wrong("settings.short_secret", least=SECRET_LENGTH)
    return value


def _token(value: SecretStr) -> SecretStr:
    """A long secret that goes into a header of HTTP."""
    _plain(value.get_secret_value())
    return _long_secret(value)


# -- other values


SERVER_HOST = re.compile(r"([^\s:@/\[\]]*|\[[0-9A-Fa-f:.]+\])(:\d*)?")  # with its port


def checked_store_url(value: str) -> str:
    if value.partition("://")[0] in ("postgresql", "postgres"):
        return _server_url(value)
    if not re.fullmatch(r"sqlite:///.+", value):
        if re.fullmatch(r"[\w./-]+\.(?:db|sqlite3?)", value):
            why = Wrong("settings.store_path")
            raise Wrong("settings.write", why=why, meant=f"sqlite:///{value}")
        scheme = re.match("([a-z+]+)://", value)  # anything else may be, or hold, a password
        if scheme is None:
            raise Wrong("settings.store_address")
        raise Wrong("settings.store_url", scheme=scheme[1])
    if "\0" in value:
        raise Wrong("settings.blank")
    if ":memory:" in value or "mode=memory" in value:
        raise Wrong("settings.store_memory")
    return value


def _files_folder(value: str) -> str:
    """The path of a folder; a place that is none would become the name of one."""
    if value.strip().lower() == "database" or "://" in value:
        raise Wrong("settings.files_folder")
    return _seen(value)


def _server_url(value: str) -> str:
    """The address of a PostgreSQL server, which may hold a password: no text may show it."""
    if importlib.util.find_spec("psycopg") is None:
        raise Wrong("settings.no_psycopg")
    try:
        parts = urlsplit(value)
        hosts = parts.netloc.rpartition("@")[2].split(",")
        named = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise Wrong("settings.store_server") from None
    # The driver itself is asked later: it must not be imported before gevent has its place.
    has_name = len(unquote(parts.path)) > 1 or "dbname" in named
    is_odd = parts.netloc.count("@") > 1 or not all(SERVER_HOST.fullmatch(one) for one in hosts)
    if not has_name or parts.fragment or is_odd:
        raise Wrong("settings.store_server")
    return value


def _listed(value: object) -> object:
    """A list from the environment, where everything is text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        items = [one.strip(QUOTES) for one in re.split(r"[\s,;]+", value.strip(" []"))]
    if value.strip() and all(map(ITEM.fullmatch, items)):
        items = [f"https://{one}" if BARE_HOST.fullmatch(one) else one.lstrip(".") for one in items]
        meant = json.dumps(items, ensure_ascii=False)
        raise Wrong("settings.write", why=Wrong("settings.list"), meant=meant)
    raise Wrong("settings.write", why=Wrong("settings.list"), meant='["https://shop.example"]')


def _ca_file(value: str) -> str:
    """The absolute path of a file with certificates, which can be read now; "" if left out."""
    if not value:
        return value
    path = ROOT / value
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise Wrong("settings.no_certificate", path=path) from None
    except (OSError, ValueError) as error:
        raise Wrong("settings.ca_unreadable", path=path, why=why_not_read(error)) from None
    return str(path)


def why_not_read(error: Exception) -> Wrong:
    """Why the system does not give a file."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Wrong("settings.no_file")
    if isinstance(error, IsADirectoryError):
        return Wrong("settings.is_folder")
    if isinstance(error, PermissionError):
        return Wrong("settings.denied", user=os.geteuid())
    if isinstance(error, OSError) and error.strerror:
        return Wrong("settings.system_says", why=error.strerror)
    return Wrong("settings.no_file_name")


def _seen(value: str) -> str:
    """A text that people see, if it is given at all."""
    if "\0" in value:
        raise Wrong("settings.blank")
    if value and not is_visible(value):
        raise Wrong("settings.only_blanks")
    return value


def _no_boolean(value: object, kind: str = "whole") -> object:
    """Python takes True for 1."""
    if isinstance(value, bool):
        raise Wrong(f"settings.type_{kind}")
    return value


def _title(value: str) -> str:
    """The default of before said the same in English: who still has it has chosen no title."""
    return "" if value.strip() == FORMER_TITLE else _seen(value)


def _accent(value: str) -> str:
    if not value or COLOUR.fullmatch(value):
        return value
    digits = value.strip(f"{QUOTES} #")
    if re.fullmatch(r"[0-9A-Fa-f]{3}", digits):
        digits = "".join(2 * digit for digit in digits)
    if not COLOUR.fullmatch(f"#{digits}"):
        raise Wrong("settings.colour")
    raise Wrong("settings.write", why=Wrong("settings.colour"), meant=f"#{digits}")


def _connector_id(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]{1,60}", value):
        raise Wrong("settings.connector_id")
    return value


def _ending(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]{1,10}", value):
        raise Wrong("settings.ending")
    return value


def address(
    check: Callable[[str], str], cut: Callable[[str, str], str], needed: bool = True
) -> AfterValidator:
    """The validator of one kind of address."""
    return AfterValidator(partial(_checked, check, cut, needed=needed))


# Numbers that are larger than these mean nothing, and some are more than the system can count.
MOST_DAYS, MOST_SECONDS, MOST = 36_500, 31_536_000, 1_000_000_000
Whole = Annotated[int, BeforeValidator(_no_boolean)]
Count = Annotated[Whole, Field(gt=0, le=MOST)]
Duration = Annotated[
    float,
    Field(gt=0, le=MOST_SECONDS, allow_inf_nan=False),
    BeforeValidator(partial(_no_boolean, kind="number")),
]
Text = Annotated[str, AfterValidator(_seen)]
Page = Annotated[str, AfterValidator(_page)]
WebUrl = Annotated[str, address(web_address, _whole_path, False)]  # "" where it is left out
GivenUrl = Annotated[str, address(web_address, _whole_path)]
PublicUrl = Annotated[str, address(_public, _public_path)]
PortalUrl = Annotated[str, address(_portal, _portal_path, False)]
Site = Annotated[str, address(site, _no_path)]
Title = Annotated[str, AfterValidator(_title)]
OAuthServer = Annotated[str, AfterValidator(_oauth_server)]
ClientId = Annotated[str, AfterValidator(_client_id)]
ClientSecret = Annotated[SecretStr, AfterValidator(_client_secret)]
LongSecret = Annotated[SecretStr, AfterValidator(_long_secret)]
Token = Annotated[SecretStr, AfterValidator(_token)]
CaFile = Annotated[str, AfterValidator(_ca_file)]
FilesFolder = Annotated[str, AfterValidator(_files_folder)]
StoreUrl = Annotated[str, AfterValidator(checked_store_url)]
Colour = Annotated[str, AfterValidator(_accent)]
ConnectorId = Annotated[str, AfterValidator(_connector_id)]
Ending = Annotated[str, AfterValidator(_ending)]  # of a file's name, without the dot
Sites = Annotated[tuple[Site, ...], NoDecode, BeforeValidator(_listed)]
Endings = Annotated[tuple[Ending, ...], NoDecode, BeforeValidator(_listed)]
