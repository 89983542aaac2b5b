"""Writes the tokens of a text as elements that nest, whatever the order in which their codes close.

Goes through the tokens once. What stands in a list or a table beside its items and cells gets an
item or a cell of its own, so that no browser moves it. Knows no code by its name.
"""

import re
from dataclasses import dataclass
from typing import Literal

from links import linked
from sanitizer import escaped
from turns import Turns

MAX_DEPTH = 30  # codes nested deeper are shown as typed, so that nh3 meets no deep tree
MAX_REOPENED = 200  # in one text; see Writer._close

PLAIN = "<span>"  # of a code that changes nothing: only what it holds is shown
ITEM, ROW, CELL = "<li>", "<tr>", "<td>"
PARENTS = {"li": ("ul", "ol"), "tr": ("tbody",), "td": ("tr",), "th": ("tr",)}
CHILD = {"ul": ITEM, "ol": ITEM, "tbody": ROW, "tr": CELL}  # what alone may stand in them
BEHIND_BLOCK = re.compile(r"[ \t]*+\n?")
BLANK = re.compile(r"(?:\s|\[br ?/?\])*+", re.IGNORECASE)
KEPT_EMPTY = {"li", "td", "th"}  # a table without its empty cells would be another


@dataclass(slots=True, eq=False)
class Token:
    """A piece of the text that is more than its letters.

    ">>" opens where no such quote is open yet; "item" begins an item where a list is open.
    """

    kind: Literal["whole", "open", "close", ">>", "item"]
    start: int
    end: int
    html: str = ""  # of what opens an element: its tags
    label: str = ""  # of a quote: its cite; of another pair: what it shows if it holds nothing
    in_link: str | None = None  # instead of `html` within a link, which may hold no second one
    is_block: bool = False  # stands on lines of its own: the line break behind it is part of it
    implied: bool = False  # opened by what stands in it, and not by a code of its own
    pair: "Token | None" = None  # the other half

    @property
    def tag(self) -> str:
        """The name of the element that it opens; of two, that of the inner one."""
        return self.html.rpartition("<")[2].partition(">")[0].partition(" ")[0]

    @property
    def closing(self) -> str:
        names = [tag.split()[0].rstrip(">") for tag in self.html.split("<")[1:]]
        return "".join(f"</{name}>" for name in reversed(names))


class Writer:
    def __init__(self, text: str, turns: Turns) -> None:
        self._text = text
        self._turns = turns
        self._written = 0  # of the text, so far
        self._html: list[str] = []
        self._open: list[Token] = []  # outermost first
        self._lines: Token | None = None  # of those open: the one that quotes lines
        self._in_link = False  # whether a link is open
        self._reopened = 0
        self._block_end = -1

    def write(self, token: Token) -> None:
        """Write the plain text before the token, and the token unless it is plain text as well."""
        self._write_plain(token.start)
        if self._understood(token):
            self._written = token.end
            self._block_end = token.end if token.is_block else -1

    def finish(self) -> str:
        self._write_plain(len(self._text))
        while self._open:
            self._close(self._open[-1])
        return "".join(self._html)

    def _write_plain(self, end: int) -> None:
        start, self._written = self._written, end
        if start == self._block_end and (behind := BEHIND_BLOCK.match(self._text, start, end)):
            start = behind.end()
        line_end = self._text.find("\n", start, end)
        quote = self._lines
        if quote and line_end >= 0 and not self._text.startswith(">>", line_end + 1):
            self._write_text(self._text[start:line_end])
            self._close(quote)
            start = line_end + 1
        self._write_text(self._text[start:end])

    def _write_text(self, text: str) -> None:
        if not text or (self._awaits_child and not text.strip()):
            return
        self._imply_parents("")
        shown = escaped(text) if self._in_link else linked(text, self._turns)
        self._html.append(shown.replace("\n", "<br>"))

    def _understood(self, token: Token) -> bool:
        """Write what the token means; False if it must be shown as typed here."""
        if token.kind == "item" or (token.kind == "open" and token.pair is None):
            return token.html == ITEM and self._begin_item(token)
        if token.kind == "whole":
            self._write_whole(token)
        elif token.kind == "close":
            if token.pair is None or token.pair not in self._open:
                return False
            self._close(token.pair)
        elif token.kind == "open" or not self._lines:
            if len(self._open) >= MAX_DEPTH:
                return False
            if self._in_link and token.html.startswith("<a "):
                token.html = PLAIN
            if not self._imply_parents(token.tag):
                token.html = PLAIN  # a cell without a table, an item without a list
            self._begin(token)
            blank = BLANK.match(self._text, token.end)
            is_empty = token.pair and blank and token.pair.start <= blank.end()
            if token.label and (token.is_block or is_empty):
                self._html.append(token.label)
        return True

    def _write_whole(self, token: Token) -> None:
        is_break = token.html == "<br>"
        if is_break and (token.start == self._block_end or self._awaits_child):
            return
        shown = token.html
        if token.in_link is not None and self._in_link:
            shown = token.in_link
        if shown:
            self._imply_parents("")
            self._html.append(shown)

    # -- lists and tables

    @property
    def _awaits_child(self) -> bool:
        """Whether only an item, a row or a cell may stand here."""
        return bool(self._open) and self._open[-1].tag in CHILD

    def _imply_parents(self, tag: str) -> bool:
        """Open and close what the next element needs; False if it cannot stand where it stands."""
        parents = PARENTS.get(tag)
        if parents:
            place = len(self._open) - 1
            while place >= 0 and self._open[place].implied and not self._may_hold(place, tag):
                place -= 1
            if place < 0 or not self._may_hold(place, tag):
                self._imply_parents("")
                return False
            while len(self._open) > place + 1:
                self._close(self._open[-1])
        while self._awaits_child and not (parents and self._open[-1].tag in parents):
            self._begin(Token("open", 0, 0, CHILD[self._open[-1].tag], implied=True))
        return True

    def _may_hold(self, place: int, tag: str) -> bool:
        """Whether the element may hold such a one, by itself or in a row that it gets for it."""
        outer = self._open[place].tag
        return outer in PARENTS[tag] or (outer == "tbody" and tag in ("td", "th"))

    def _begin_item(self, token: Token) -> bool:
        """End the item of the innermost list, and begin the next; False where no list is open."""
        for place in range(len(self._open) - 1, -1, -1):
            tag = self._open[place].tag
            if tag in ("tbody", "tr", "td", "th"):
                return False
            if tag in ("ul", "ol"):
                item = Token("open", token.start, token.end, ITEM, implied=True)
                if len(self._open) > place + 1:
                    self._close(self._open[place + 1], item)
                else:
                    self._begin(item)
                return True
        return False

    # -- elements

    def _begin(self, token: Token) -> None:
        self._open.append(token)
        self._note(token)
        self._html.append(token.html)

    def _close(self, token: Token, following: Token | None = None) -> None:
        """Close an element; elements opened in it end too, and are opened again after it.

        They are opened again in the `following` element, if there is one. At most MAX_REOPENED in a
        text are, because few typed letters can reopen many elements.
        """
        place = self._open.index(token)
        inner = [element for element in self._open[place + 1 :] if not element.implied]
        reopened = inner[: MAX_REOPENED - self._reopened]
        for ending in reversed(self._open[place:]):
            if self._html[-1] == ending.html and ending.tag not in KEPT_EMPTY:
                self._html.pop()  # nothing is in it
            else:
                self._html.append(ending.closing)
        del self._open[place:]
        self._lines, self._in_link = None, False
        for element in self._open:
            self._note(element)
        self._reopened += len(reopened)
        for element in [following, *reopened] if following else reopened:
            if not self._imply_parents(element.tag):
                element.html = PLAIN
            self._begin(element)

    def _note(self, element: Token) -> None:
        if element.kind == ">>":
            self._lines = element
        elif element.html.startswith("<a "):
            self._in_link = True
