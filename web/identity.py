"""Who an embedded visitor is: the token that the site's page keeps, and customers' signatures.

A token names one visitor of one site and is signed like the session's cookie: it is of no use on
another site. A customer's token also names the log-in by which they got it, so that a log-out ends
all tokens of that log-in and no others. Pure functions; knows neither requests nor the store.
"""

import hashlib
import hmac
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import idna
from itsdangerous import BadData, URLSafeTimedSerializer

SALT = "sitechat token"
CUSTOMER = "customer "  # how a customer's name begins; an anonymous visitor's is hexadecimal

GRACE_SECONDS = 60  # the site's clock and ours may differ by so much
SIGNED_KEPT = 4_000  # cookies and tokens that were right, of about 1 KB each
EMAIL_LENGTH = 320  # letters: 64, "@", and a domain's 255


@dataclass(frozen=True)
class Bearer:
    """Whom a token or a cookie names, and by which log-in; "" for who is no customer."""

    visitor: str = field(repr=False)
    login: str


@lru_cache(4)
def _serializer(key: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(key, SALT)


def issue(key: str, site: str, bearer: Bearer) -> str:
    """The token of a visitor on a site; opaque to whoever keeps it."""
    login = [bearer.login] if bearer.login else []
    return str(_serializer(key).dumps([site, bearer.visitor, *login]))


def bearer_of(key: str, sites: tuple[str, ...], token: str, days: int) -> Bearer | None:
    """Whom a token of one of these sites names; None for any other token."""
    try:
        (token_site, visitor, *login), signed_at = signed(_serializer(key), token)
    except (BadData, ValueError):
        return None
    if is_over(signed_at, days * 86_400):
        return None
    return bearer(str(visitor), login[0] if login else "", token) if token_site in sites else None


@lru_cache(SIGNED_KEPT)
def signed(serializer: URLSafeTimedSerializer, value: str) -> tuple[Any, float]:
    """What a cookie or a token holds, and when it was signed; raises BadData, which is not kept.

    Whoever asks must not change what it holds. There is a serializer for each key.
    """
    holds, signed_at = serializer.loads(value, return_timestamp=True)
    return holds, signed_at.timestamp()


def is_over(signed_at: float, seconds: float) -> bool:
    """Whether a signature has ended, which was good for so many seconds.

    One from the future is good: a clock that is set back forgets no visitor.
    """
    return int(time.time()) - signed_at > seconds


def bearer(visitor: str, login: str, credential: str) -> Bearer:
    """The bearer of a token or cookie. Earlier releases put no log-in into those of customers.

    Such a one is a log-in of its own, which all that is renewed from it names; `credential` is
    what tells it from others.
    """
    if not is_customer(visitor):
        return Bearer(visitor, "")
    return Bearer(visitor, login or hashlib.sha256(credential.encode()).hexdigest()[:32])


def signature(secret: str, site: str, email: str, until: str = "") -> str:
    """What the site's own server computes for its customer: hex HMAC-SHA256 of "site email".

    With an end of the signature, in Unix seconds, it is that of "site email until".
    """
    text = f"{site} {email} {until}" if until else f"{site} {email}"
    return hmac.new(secret.encode(), text.encode(), "sha256").hexdigest()


def normal_email(email: str) -> str:
    """The one spelling of an e-mail address: trimmed, NFC, lower case, the domain in ASCII (IDNA).

    Providers tell no two mailboxes apart by case. What is no address may come out as anything.
    """
    email = unicodedata.normalize("NFC", unicodedata.normalize("NFC", email.strip()).lower())
    local, at, domain = email.rpartition("@")
    try:
        return local + at + idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:  # such as a name with "_", which the DNS has but IDNA has not
        return email


def older_successors(key: str, visitor: str) -> Iterator[str]:
    """The visitor's names as earlier releases made them, one for each conversation that ended."""
    kind = CUSTOMER if is_customer(visitor) else ""
    while True:
        visitor = _derived(key, f"after {visitor}", kind)
        yield visitor


def customer(key: str, site: str, email: str) -> str:
    """The name of a site's customer, the same wherever they log in with this spelling."""
    return _derived(key, f"customer {site} {email}", CUSTOMER)


def is_customer(visitor: str) -> bool:
    """Whether the site has signed that the visitor is its customer."""
    return visitor.startswith(CUSTOMER)


def _derived(key: str, text: str, kind: str) -> str:
    return kind + hmac.new(key.encode(), text.encode(), "sha256").hexdigest()[:32]
