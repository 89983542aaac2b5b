"""A visitor's e-mail and telephone as the portal takes them, and which of them it has refused.

What the portal would refuse is left out (docs/bitrix24.md, 5.21). What it refuses all the same
makes it refuse each message that brings it (5.10, 5.11). So the chat keeps a mark of it, a digest;
another value is sent again. Where the portal's reason names neither, both are left out on trial:
the mark then also names the message, whose next result says whether they were to blame. Pure
functions.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable

from email_validator import EmailNotValidError, validate_email

from store.records import Chat, Delivery

EMAIL_LIMIT = 254  # letters
TYPED_LIMIT = 200  # letters of a telephone with what stands beside it
# The portal takes letters of ASCII alone, and an ending of at most 20.
PORTAL_EMAIL = re.compile(
    r"[=_.0-9a-z+~'!$&*^`|#%/?{}-]{1,64}@(?:[-0-9a-z]+\.)+[a-z0-9-]{2,20}", re.IGNORECASE
)
PHONE = re.compile(r"\+?[0-9 ()./-]{3,30}")
PHONE_DIGITS = range(5, 16)
# What people copy along from pages.
LABEL = re.compile(r"(?:mailto|tel|phone|телефон|тел|моб)[.:]*\s*", re.IGNORECASE)
DASHES = re.compile(r"[\u2010-\u2015\u2212]")
BEHIND_PHONE = re.compile(  # an extension, a second number, a name
    r"\s*(?:[,;(]?\s*(?:доб|вн|ext)[а-яa-z]*[.:]?\s*[0-9]{1,6}\)?|[,;/]\s?[0-9 ()-]+|\s[^\W\d_]+)",
    re.IGNORECASE,
)
# How the portal's languages call them. A reason that names neither may mean either.
NAMES = {
    "email": re.compile(
        "e-?mail|e-?post|poczt|correo|courri?el|почт|пошт|имейл|eposta|邮|郵|メール|メアド|이메일|بريد",
        re.IGNORECASE,
    ),
    "phone": re.compile(
        "phone|t[eé]l[eéè]?f|tel[ée]fon|телефон|mobil|電話|电话|手机|전화|هاتف", re.IGNORECASE
    ),
}


def portal_email(given: str) -> str:
    """The address as the portal takes it, its domain in ASCII; "" if it would refuse it."""
    given = _tidy(given)
    if given.startswith("<") and given.endswith(">"):
        given = given[1:-1]
    if not given or len(given) > EMAIL_LIMIT:
        return ""
    try:
        found = validate_email(given, check_deliverability=False, strict=True)
    except EmailNotValidError:
        return ""
    email = found.ascii_email or ""
    return email if PORTAL_EMAIL.fullmatch(email) else ""


def portal_phone(given: str) -> str:
    """The telephone number as the portal takes it, without its extension; "" if it is none."""
    given = DASHES.sub("-", _tidy(unicodedata.normalize("NFKC", given[:TYPED_LIMIT])))
    number = PHONE.match(given)
    if number is None or not (number.end() == len(given) or _is_behind(given, number)):
        return ""
    return number[0].rstrip(" (") if sum(map(str.isdigit, number[0])) in PHONE_DIGITS else ""


def _is_behind(given: str, number: re.Match[str]) -> bool:
    """Whether all that follows the number is known to be no part of it."""
    return BEHIND_PHONE.fullmatch(given, len(number[0].rstrip(" (/"))) is not None


def _tidy(given: str) -> str:
    """Without invisible characters, a word before and the punctuation of a sentence behind."""
    seen = (letter for letter in given if unicodedata.category(letter) != "Cf")
    given = " ".join("".join(seen).split())
    return given.removeprefix(found[0] if (found := LABEL.match(given)) else "").rstrip(".,;: ")


def contacts_of(chat: Chat) -> dict[str, str]:
    """E-mail and telephone that may be sent, as they are sent."""
    marks = chat.refused_contacts.split()
    sent = {"email": portal_email(chat.email), "phone": portal_phone(chat.phone)}
    return {field: value for field, value in sent.items() if value and _mark(value) not in marks}


def named_in(reasons: Iterable[str]) -> set[str]:
    """The fields that the portal's reasons name."""
    text = " ".join(reasons)
    return {field for field, name in NAMES.items() if name.search(text)}


def left_out(chat: Chat, fields: Iterable[str], trial: Delivery | None = None) -> str:
    """The chat's marks, once these fields are refused; with `trial`, until its next result."""
    marks = chat.refused_contacts.split()
    marks += [_mark(value) for field, value in contacts_of(chat).items() if field in fields]
    return " ".join([*marks, _trial(trial)] if trial else marks)


def on_trial(delivery: Delivery) -> bool:
    """Whether fields were left out of this message to see whether they were to blame."""
    return _trial(delivery) in delivery.chat.refused_contacts.split()


def proved(delivery: Delivery) -> str:
    """The chat's marks, when a trial has shown that they were to blame."""
    marks = delivery.chat.refused_contacts.split()
    return " ".join(mark for mark in marks if mark != _trial(delivery))


def _trial(delivery: Delivery) -> str:
    return f"trial:{delivery.message.id}"


def _mark(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:16]
