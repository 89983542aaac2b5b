"""Who an embedded visitor is: the token that the site's page keeps, and customers' signatures.

A token names one visitor of one site and is signed like the session's cookie: it is of no use on
another site. Pure functions; knows neither requests nor the store.
"""

import hmac
import time
from typing import Any

from itsdangerous import BadData, SignatureExpired, TimestampSigner, URLSafeTimedSerializer

SALT = "sitechat token"
CUSTOMER = "customer "  # how a customer's name begins; an anonymous visitor's is hexadecimal


class Signer(TimestampSigner):
    """Also accepts a signature from the future, so that a clock set back forgets no visitor."""

    def unsign(  # type: ignore[override]
        self, signed_value: Any, max_age: int | None = None, **more: Any
    ) -> Any:
        try:
            return super().unsign(signed_value, max_age, **more)
        except SignatureExpired as error:  # the signature itself is right
            if error.date_signed is None or error.date_signed.timestamp() <= time.time():
                raise
        return super().unsign(signed_value, **more)


def _serializer(key: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(key, SALT, signer=Signer)


def issue(key: str, site: str, visitor: str) -> str:
    """The token of a visitor on a site; opaque to whoever keeps it."""
    return str(_serializer(key).dumps([site, visitor]))


def visitor_of(key: str, site: str, token: str, days: int) -> str | None:
    """The visitor whom a token names on this site; None for any other token."""
    try:
        token_site, visitor = _serializer(key).loads(token, max_age=days * 86_400)
    except (BadData, ValueError):
        return None
    return str(visitor) if token_site == site else None


def signature(secret: str, site: str, email: str) -> str:
    """What the site's own server computes for its customer: hex HMAC-SHA256 of "site email"."""
    return hmac.new(secret.encode(), f"{site} {email}".encode(), "sha256").hexdigest()


def successor(key: str, visitor: str) -> str:
    """The visitor's name after they deleted their conversation; the same on all their devices."""
    return _derived(key, f"after {visitor}", CUSTOMER if is_customer(visitor) else "")


def customer(key: str, site: str, email: str) -> str:
    """The name of a site's customer, the same wherever they log in."""
    return _derived(key, f"customer {site} {email}", CUSTOMER)


def is_customer(visitor: str) -> bool:
    """Whether the site has signed that the visitor is its customer."""
    return visitor.startswith(CUSTOMER)


def _derived(key: str, text: str, kind: str) -> str:
    return kind + hmac.new(key.encode(), text.encode(), "sha256").hexdigest()[:32]
