"""Who an embedded visitor is: the token that the site's page keeps, the site's word for a customer.

A token names one visitor of one site and is signed like the session's cookie: it is of no use on
another site. Pure functions; knows neither requests nor the store.
"""

import hmac
import time
from typing import Any

from itsdangerous import BadData, SignatureExpired, TimestampSigner, URLSafeTimedSerializer

SALT = "sitechat token"
CUSTOMER = "customer "  # before what names one; an anonymous visitor's is hexadecimal


class Signer(TimestampSigner):
    """Also takes what was signed later than it is now: a clock set back forgets no visitor."""

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
        named, visitor = _serializer(key).loads(token, max_age=days * 86_400)
    except (BadData, ValueError):
        return None
    return str(visitor) if named == site else None


def signature(secret: str, site: str, email: str) -> str:
    """What the site's own server computes for its customer: hex HMAC-SHA256 of "site email"."""
    return hmac.new(secret.encode(), f"{site} {email}".encode(), "sha256").hexdigest()


def successor(key: str, visitor: str) -> str:
    """Who a visitor is once their conversation was deleted, on every device that knows them."""
    return _made_of(key, f"after {visitor}", CUSTOMER if is_customer(visitor) else "")


def customer(key: str, site: str, email: str) -> str:
    """The same visitor wherever this customer of the site signs in."""
    return _made_of(key, f"customer {site} {email}", CUSTOMER)


def is_customer(visitor: str) -> bool:
    """Whether the site has signed for who the visitor is."""
    return visitor.startswith(CUSTOMER)


def _made_of(key: str, text: str, kind: str) -> str:
    return kind + hmac.new(key.encode(), text.encode(), "sha256").hexdigest()[:32]
