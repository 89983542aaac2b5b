"""Which of a visitor's e-mail and telephone go to the portal: those that it has not refused.

A refused one makes the portal refuse each message that brings it (docs/bitrix24.md, 5.10 and 5.11).
The chat keeps a mark of it, a digest, so another value is sent again. Where the portal's reason
names neither, both are left out on trial: the mark then also names the message, whose next result
says whether they were to blame. Pure functions.
"""

import hashlib
import re
from collections.abc import Iterable

from store.records import Chat, Delivery

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


def contacts_of(chat: Chat) -> dict[str, str]:
    """E-mail and telephone that may be sent."""
    marks = chat.refused_contacts.split()
    given = {"email": chat.email, "phone": chat.phone}
    return {field: value for field, value in given.items() if value and _mark(value) not in marks}


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
