"""Telephone numbers in a text, each with its tel: address.

Digits and what may stand between them are a run; which of its groups make a number is asked of
phonenumbers, the port of Google's library, which is kept and knows the numbers of all countries.
The library's own search takes less: nothing where a further figure stands beside a number. Each
number is asked for once, and only where its shape fits, so that the time grows with the length of
the text and no faster. Knows nothing of HTML.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import phonenumbers

SPACE = r" \t\u00a0\u2007\u2009\u202f"
DASH = r"\u2010-\u2015\u2212\-"
RUN = re.compile(
    rf"[0-9](?:[{SPACE}{DASH}.()/]{{0,3}}+[0-9]){{0,999}}+"
)  # longer ones are cut, for a turn of others
GROUP = re.compile("[0-9]+")
DIGIT = re.compile("[0-9]")
BETWEEN = re.compile(  # the groups of one number
    rf"[{SPACE}]?(?:[(/.{DASH}]|\)[{SPACE}]?[{DASH}]?|[{DASH}]\(|[{SPACE}])?[{SPACE}]?"
)
SPACED = re.compile(rf"[.)]?[{SPACE}]{{1,2}}")  # between a figure and a number that follows it
MONEY = re.compile(
    r"\s?(?:руб|₽|\$|€|£|₸|₴|тенге|тг\b|сум\b|USD|EUR|RUB|коп\b|шт\b)", re.IGNORECASE
)
OTHER_NUMBER = re.compile(  # "contract no. 89001234567" is none, but one with spaces is
    r"(?:№|\b(?:артикул|арт|договор\w*|сч[её]т\w*|инн|кпп|огрн|код|sku|order|contract|invoice)"
    r"[.:]?)\s{0,2}(?:№\s?)?\Z",
    re.IGNORECASE,
)
OTHER_LENGTH = 20  # characters before a number, in which OTHER_NUMBER is looked for
BEFORE = "@#/=&+-_№"
ZERO = re.compile(  # with the zero of many countries
    rf"0[1-9][0-9]{{1,3}}[{SPACE}/{DASH}][0-9{SPACE}{DASH}]{{6,9}}"
    rf"|0[1-9](?:[{SPACE}.{DASH}][0-9]{{2}}){{4}}"
    rf"|\(0[0-9]{{2,4}}\)[{SPACE}]?[0-9](?:[{SPACE}{DASH}]?[0-9]){{4,8}}"
)
AMERICAN = re.compile(
    rf"\([2-9][0-9]{{2}}\)[{SPACE}]?[0-9]{{3}}[{DASH}][0-9]{{4}}|"
    rf"[2-9][0-9]{{2}}-[0-9]{{3}}-[0-9]{{4}}"
)
DATES = re.compile(r"(?:[0-2][0-9]|3[01])(?:\.(?:[0-2][0-9]|3[01]))*")
RUSSIAN = ("7", "8")  # begin its numbers of eleven digits; without them they have ten
RUSSIAN_DIGITS = range(11, 12)
MOST_DIGITS, LEAST_DIGITS = 15, 8
TRIES = 3  # ends of a number of unknown length


class Phone(NamedTuple):
    start: int
    end: int
    url: str


class Group(NamedTuple):
    """Digits that stand together."""

    start: int
    end: int
    is_joined: bool  # to the group before it: what lies between may stand in a number


def phones_in(text: str) -> Iterator[Phone | None]:
    """The numbers, in their order; None now and then, for others to have a turn."""
    for run in RUN.finditer(text) if DIGIT.search(text) else ():
        yield None
        start, end = run.span()
        groups: list[Group] = []
        for digits in GROUP.finditer(text, start, end):
            before = groups[-1].end if groups else start
            is_joined = BETWEEN.fullmatch(text, before, digits.start()) is not None
            groups.append(Group(digits.start(), digits.end(), is_joined))
        place, after = 0, True
        while place < len(groups):
            found = _number(text, groups, place) if _may_begin(text, groups, place, after) else None
            after = found is not None
            if found is None:
                place += 1
                continue
            count, phone = found
            yield phone
            place += count


def _may_begin(text: str, groups: list[Group], place: int, after: bool) -> bool:
    """Whether a number may begin with this group: `after` one, or after a short figure."""
    begin, end, _ = groups[place]
    if text[begin] not in "078" and text[begin - 1 : begin] not in ("+", "(") and end - begin != 3:
        return False
    if place == 0:
        before = text[begin - 1 : begin]
        if before == "+":
            before = text[begin - 2 : begin - 1]
            return not (before.isalnum() or before in BEFORE) or not before
        if before == "(":
            before = text[begin - 2 : begin - 1]
        pair = text[max(begin - 2, 0) : begin]
        is_part = len(pair) == 2 and pair[0].isdigit() and pair[1] in ".,:"
        return not before or not (before.isalnum() or before in BEFORE or is_part)
    previous = groups[place - 1]
    if not SPACED.fullmatch(text[previous.end : begin].removesuffix("(")):
        return after
    return after or previous.end - previous.start <= 2 or end - begin == 1


def _number(text: str, groups: list[Group], place: int) -> tuple[int, Phone] | None:
    """The number that begins with this group, and of how many groups it is."""
    begin = groups[place].start
    plus = text[begin - 1 : begin] == "+"
    is_russian = text.startswith(RUSSIAN, begin)
    lengths = RUSSIAN_DIGITS if is_russian else range(LEAST_DIGITS, MOST_DIGITS + 1)
    if is_russian and text[begin - 1 : begin] == "(":  # the code of a town, or "(8 495) ..."
        lengths = range(10, 12)
    ends, digits = [], 0
    for at in range(place, min(place + MOST_DIGITS, len(groups))):
        digits += groups[at].end - groups[at].start
        if digits >= lengths.stop or (at > place and not groups[at].is_joined):
            break
        if digits in lengths:
            ends.append(at)
    for at in ends[: -TRIES - 1 : -1]:
        if phone := _phone(text, begin, groups[at].end, plus, at - place + 1):
            return at - place + 1, phone
    return None


def _phone(text: str, begin: int, end: int, plus: bool, groups: int) -> Phone | None:
    start = begin - plus
    opened = text[start - 1 : start] == "("
    inside = text[begin:end]
    closed = inside.partition("(")[0].count(")")
    if inside.count(")") - inside.count("(") != (1 if closed else 0) or (closed and not opened):
        return None
    start -= bool(closed)
    following = text[end : end + 1]
    if following.isalnum() or following == "_" or MONEY.match(text, end):
        return None
    if groups == 1 and not plus and OTHER_NUMBER.search(text, max(start - OTHER_LENGTH, 0), start):
        return None
    shown, number = text[start:end], "".join(GROUP.findall(inside))
    url = _url(shown, number, plus)
    return Phone(start, end, url) if url else None


def _url(shown: str, number: str, plus: bool) -> str:
    """The address of what looks like a number; "" where it is none."""
    if plus:
        return f"tel:+{number}" if _is_valid(f"+{number}", None) else ""
    dots = re.fullmatch(r"[0-9.]+", shown) and "." in shown
    if number.startswith(RUSSIAN) and len(number) == 11:
        if (dots and shown.count(".") < 3) or not _is_valid(f"+7{number[1:]}", None):
            return ""
        return f"tel:{number}" if number[0] == "8" else f"tel:+{number}"
    if AMERICAN.fullmatch(shown) and _is_valid(number, "US"):
        return f"tel:{number}"
    if shown.startswith("(") and len(number) == 10 and _is_valid(f"+7{number}", None):
        return f"tel:{number}"
    return f"tel:{number}" if ZERO.fullmatch(shown) and not DATES.fullmatch(shown) else ""


@lru_cache(maxsize=1000)
def _is_valid(number: str, country: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, country))
    except phonenumbers.NumberParseException:
        return False
