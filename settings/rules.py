"""What the values of settings have to be, beyond their type; each refusal is a Wrong."""

import json
import re
import ssl
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from addresses import site, web_address

ROOT = Path(__file__).parent.parent
SECRET_LENGTH = 32


def _web_url(value: str) -> str:
    """The one form of an address, which is compared and sent; "" where it is left out."""
    return web_address(value) if value else value


def _store_url(value: str) -> str:
    if not re.fullmatch(r"sqlite:///.+", value):
        scheme = value.partition(":")[0][:20]  # the rest may hold a password
        raise ValueError(f'use sqlite:///path/to/file.db, not "{scheme}:..."')
    return value


def _given_url(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    return web_address(value)


def _site(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    return site(value)


def listed(value: object) -> object:
    """A list from the environment, where everything is text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('must be a JSON list such as ["https://shop.example"]') from None


def _long_secret(value: SecretStr) -> SecretStr:
    """A secret that cannot be guessed; it may be left out."""
    if 0 < len(value.get_secret_value()) < SECRET_LENGTH:
        raise ValueError(f"must have {SECRET_LENGTH} characters or more: openssl rand -hex 32")
    return value


def _oauth_server(value: str) -> str:
    """The server's address; also where somebody has copied the whole address of the tokens."""
    return _given_url(value).removesuffix("/oauth/token")


def _ca_file(value: str) -> str:
    """The absolute path of a file with certificates, which can be read now; "" if left out."""
    if not value:
        return value
    path = ROOT / value
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise ValueError(f"{path} holds no certificate in PEM form") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a file name"
        raise ValueError(f"{path} cannot be read: {why}") from None
    return str(path)


WebUrl = Annotated[str, AfterValidator(_web_url)]  # or "", where it may be left out
GivenUrl = Annotated[str, AfterValidator(_given_url)]
PublicUrl = GivenUrl
PortalUrl = WebUrl
Site = Annotated[str, AfterValidator(_site)]
ClientId = str
ClientSecret = SecretStr
OAuthServer = Annotated[str, AfterValidator(_oauth_server)]
CaFile = Annotated[str, AfterValidator(_ca_file)]
StoreUrl = Annotated[str, AfterValidator(_store_url)]
LongSecret = Annotated[SecretStr, AfterValidator(_long_secret)]
