"""Bare addresses in a text as links: of sites without a scheme, of mail, of telephones.

Addresses with https:// are tokens of `bbcode.py`, because brackets in them may be codes. Sites and
mail are found by linkify-it-py, which is given one word at a time: its time then grows with the
length of the text and no faster. Telephone numbers, which it does not know, are those
of `phones.py`.
"""

import re

from linkify_it import LinkifyIt  # type: ignore[import-untyped]
from linkify_it.main import Match  # type: ignore[import-untyped]

import values
from phones import phones_in
from sanitizer import escaped
from turns import Turns

MAX_WORD = 1000  # characters; linkify-it-py takes up to 3 ms for a hostile one
# Between words. Chinese and Japanese put no space beside their marks.
BREAK = r"\s<>\"\u3000-\u303f\uff08\uff09\uff0c\uff0e\uff1a\uff1b\uff01\uff1f"
DOT = re.compile(r"\.[^\W\d_]")  # each word with a link has one; it is found far faster than a word
WORD = re.compile(rf"[^{BREAK}]++")
UP_TO_BREAK = re.compile(rf"(?s:.*)[{BREAK}]")
# Endings of bare sites beside the library's own (two letters, com, org, рф and some more). Further
# ones are no use: "zip" and "mov" are endings of files, "email" and "one" are words, with which a
# sentence begins after a full stop whose space is missing.
SITES = """
online store site website tech dev xyz club blog moscow tatar
рус москва онлайн сайт дети орг ком бел укр срб мкд бг ею мон қаз католик
中国 中國 公司 网络 香港 台湾 台灣 新加坡 世界 みんな コム 한국 भारत ไทย
ישראל السعودية مصر امارات المغرب ایران გე հայ ελ ευ
"""


class _Linkify(LinkifyIt):  # type: ignore[misc]
    """Takes www. and mail with any ending."""

    def _on_compile(self) -> None:
        site, part = self.re["tpl_host_no_ip_fuzzy"], self.re["src_domain"]
        any_ending = self.re["src_domain_root"]
        www = rf"(?:www\.(?:(?:{part})\.)+{any_ending}|{site})"
        self.re["tpl_link_no_ip_fuzzy"] = self.re["tpl_link_no_ip_fuzzy"].replace(site, www)
        self.re["tpl_email_fuzzy"] = self.re["tpl_email_fuzzy"].replace(
            self.re["tpl_host_fuzzy"], rf"(?:(?:{part})\.)+{any_ending}"
        )


LINKIFY = _Linkify().tlds(SITES.split(), keep_old=True)
LINKIFY.match("www.a.example a@b.example")  # compiles its patterns, which takes some 30 ms


def linked(text: str, turns: Turns) -> str:
    """Plain text as HTML, with links for the bare addresses in it."""
    shown, written, place = [], 0, 0
    while dot := DOT.search(text, place):
        turns.give_way()
        before = UP_TO_BREAK.match(text, place, dot.start())
        start = before.end() if before else place
        word = WORD.match(text, start)
        place = word.end() if word else dot.end()
        for match in _matches(text[start:place]):
            if link := values.link(match.url):
                begin, end = start + match.index, start + match.last_index
                shown += [_phones(text[written:begin], turns), link]
                shown += [escaped(text[begin:end]), "</a>"]
                written = end
    return "".join([*shown, _phones(text[written:], turns)])


def _matches(word: str) -> list[Match]:
    """The links in a word. Behind "://" stands what is not for us, or what we have refused."""
    if len(word) > MAX_WORD or "://" in word:
        return []
    return [match for match in LINKIFY.match(word) or [] if match.schema in ("", "mailto:")]


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
