"""Bare addresses in a text as links: of sites without a scheme, of mail, of telephones.

Addresses with https:// are tokens of `bbcode.py`, because brackets in them may be codes. Sites are
found by linkify-it-py, which is given one word at a time: its time then grows with the
length of the text and no faster. Telephone numbers, which it does not know, are those
of `phones.py`.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

from linkify_it import LinkifyIt  # type: ignore[import-untyped]

import values
from phones import phones_in
from sanitizer import escaped
from turns import Turns

MAX_WORD = 1000  # characters; linkify-it-py takes up to 3 ms for a hostile one
# Between words. Chinese and Japanese put no space beside their marks.
BREAK = (
    r"\s<>\"|«»„“”—•\u3000-\u303f\uff08\uff09\uff0c\uff0e\uff1a\uff1b\uff01\uff1f"
    r"\u2190-\u21ff\u2300-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"  # arrows and emoji
)
DOT = re.compile(r"\.[^\W\d_]")  # each word with a link has one; it is found far faster than a word
WORD = re.compile(rf"[^{BREAK}]++")
UP_TO_BREAK = re.compile(rf"(?s:.*)[{BREAK}]")
MAIL = re.compile(  # also with letters of other scripts before the "@"
    r"(?:mailto:)?(?<![^\W_]|[.+@=-])(?<!=mailto:)[^\W_][\w.+-]{0,63}+"
    r"@[^\W_][\w-]{0,62}+(?:\.[^\W_][\w-]{0,62}+){1,8}+(?!@)"
)
MAIL_ENDING = re.compile(r"[^\W\d_]{2,24}|xn--[a-z0-9-]+", re.IGNORECASE)
# In a word, before a site: "Site:www.x.ru", "[x.ru", "ourswww.x.ru"; behind it: "www.x.ruthanks".
HEAD = re.compile("[^/?#]*")
GLUED = re.compile(
    r"(?:(?<!\w)_|[:*=\[\]])(?=[^\W\d_])|(?<=[^\x00-\x7f])(?=www\.)"
    r"|(?<=\.ru|\.by|\.kz)(?=[а-яё])|(?<=\.com)(?=[^\W\d_a-z])",
    re.IGNORECASE,
)
MARKS = "*_=[]:"  # behind a site
# Endings of bare sites beside the library's own (two letters, com, org, рф and some more). Further
# ones are no use: "zip" and "mov" are endings of files, "email" and "one" are words, with which a
# sentence begins after a full stop whose space is missing.
SITES = """
online store site website tech dev app xyz club blog moscow tatar
рус москва онлайн сайт дети орг ком бел укр срб мкд бг ею мон қаз католик
中国 中國 公司 网络 香港 台湾 台灣 新加坡 世界 みんな コム 한국 भारत ไทย
ישראל السعودية مصر امارات المغرب ایران გე հայ ελ ευ
"""


# With which a sentence may begin after a full stop whose space is missing: "thanks.Online".
WORDS = """
online store site website tech blog club moscow
москва онлайн сайт дети орг ком бел рус мон ею католик
"""


class _Linkify(LinkifyIt):  # type: ignore[misc]
    """Takes www. with any ending."""

    def _on_compile(self) -> None:
        site, part = self.re["tpl_host_no_ip_fuzzy"], self.re["src_domain"]
        any_ending = self.re["src_domain_root"]
        www = rf"(?:www\.(?:(?:{part})\.)+{any_ending}|{site})"
        self.re["tpl_link_no_ip_fuzzy"] = self.re["tpl_link_no_ip_fuzzy"].replace(site, www)


LINKIFY = _Linkify().tlds(SITES.split(), keep_old=True)
LINKIFY.match("www.a.example")  # compiles its patterns, which takes some 30 ms


def linked(text: str, turns: Turns) -> str:
    """Plain text as HTML, with links for the bare addresses in it."""
    shown, written, place = [], 0, 0
    while dot := DOT.search(text, place):
        turns.give_way()
        before = UP_TO_BREAK.match(text, place, dot.start())
        start = before.end() if before else place
        word = WORD.match(text, start)
        place = word.end() if word else dot.end()
        for url, begin, end in _links(text[start:place], start):
            if link := values.link(url):
                shown += [_phones(text[written:begin], turns), link]
                shown += [escaped(text[begin:end]), "</a>"]
                written = end
    return "".join([*shown, _phones(text[written:], turns)])


def _links(word: str, start: int) -> Iterator[tuple[str, int, int]]:
    """The links in a word, each with its place, if the word begins at `start`.

    Behind "://" stands what is not for us, or what we have refused.
    """
    if len(word) > MAX_WORD or "://" in word:
        return
    place = 0
    for mail in MAIL.finditer(word) if "@" in word else ():
        shown = mail[0].rstrip("_-")
        if MAIL_ENDING.fullmatch(shown.rpartition(".")[2]):
            yield from _sites(word[place : mail.start()], start + place)
            place = mail.start() + len(shown)
            yield f"mailto:{shown.removeprefix('mailto:')}", start + mail.start(), start + place
    yield from _sites(word[place:], start + place)


def _sites(word: str, start: int) -> Iterator[tuple[str, int, int]]:
    head = HEAD.match(word)
    ends = [glued.end() for glued in GLUED.finditer(word, 0, head.end() if head else 0)]
    for begin, end in pairwise([0, *ends, len(word)]):
        piece = word[begin:end].rstrip(MARKS)
        found = LINKIFY.match(piece) if "." in piece else None
        for match in found or []:
            if match.schema == "" and _is_meant(match.text):
                yield match.url, start + begin + match.index, start + begin + match.last_index


def _is_meant(site: str) -> bool:
    """Whether it is a site, and not the end of a sentence and the beginning of the next."""
    name, _, ending = site.rpartition(".")
    if "/" in site or name.lower().startswith("www."):
        return True
    last = name.rpartition(".")[2]
    is_next = ending[:1].isupper() and ending[1:].islower() and last[:1].islower()
    if is_next or (ending.lower() in WORDS.split() and not (ending.isascii() and ending.islower())):
        return False
    return site.isascii() or len(last) > 1


def _phones(text: str, turns: Turns) -> str:
    shown, written = [], 0
    for phone in phones_in(text):
        turns.give_way()
        link = values.link(phone.url) if phone else None
        if phone and link:
            number = escaped(text[phone.start : phone.end])
            shown += [escaped(text[written : phone.start]), link, number, "</a>"]
            written = phone.end
    return "".join([*shown, escaped(text[written:])])
