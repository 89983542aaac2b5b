"""Messages as the page shows them: each one is rendered once for each change and language.

Every reading of a chat, in any tab, takes the same bytes. A bubble is kept under all that its HTML
depends on: the version of its message, which the store tells, its epoch, and the language.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, Self

from flask import current_app
from jinja2 import Environment

from bbcode import stored_html
from operations.findings import LATEST
from store.records import Message, Version, Words
from texts import Texts, all_texts, text
from web.asking import language, services
from web.itself import itself
from web.kept import Kept

HISTORY = 50  # messages in one answer
VOTE = re.compile(r"\s*[01](\s|$)")  # a text that the portal takes for a vote, if it has asked
KEPT_BYTES = 16 << 20  # of one process: the bubbles of some 10,000 messages
BESIDE_HTML = 1_000  # bytes that a kept bubble takes beside its HTML, about


class Votes:
    """Which messages of a conversation, seen in its order, are the visitor's votes.

    A vote is the visitor's first `1` or `0` after the portal has asked for it.
    """

    def __init__(self, asked: bool = False) -> None:
        self._asked = asked

    def is_vote(self, message: Message) -> bool:
        return self.follows(message.asks_vote, looks_like_vote(message))

    def follows(self, asks_vote: bool, looks_like_vote: bool) -> bool:
        """Whether the next message, of which so much is known, is a vote."""
        asked = self._asked or asks_vote
        voted = asked and looks_like_vote
        self._asked = asked and not voted
        return voted


def looks_like_vote(message: Message | Words) -> bool:
    return message.author == "visitor" and VOTE.match(message.text) is not None


@dataclass(frozen=True, slots=True)
class Bubble:
    """The HTML of one message, and what an answer has to know of the message besides."""

    html: bytes
    as_vote: bytes | None  # the HTML if it is the visitor's vote; None of a text that can be none
    letters: int  # of the message's own HTML
    asks_vote: bool
    answer: Message | None  # an operator's message, without its texts, for the log

    def shown(self, votes: Votes) -> bytes:
        """Its HTML after the messages that `votes` has seen."""
        is_vote = votes.follows(self.asks_vote, self.as_vote is not None)
        return self.as_vote if is_vote and self.as_vote is not None else self.html


@dataclass(frozen=True)
class Bubbles:
    """Makes the bubbles of one answer. The language of the request and the store's epoch count."""

    templates: Environment  # a stream has no `current_app`
    language: str
    epoch: str  # by which a page names, with a revision, the latest change that it has
    kept: Kept[tuple[Version, str, str], Bubble]

    @classmethod
    def of_request(cls, epoch: str) -> Self:
        """For the request that is answered now."""
        app = itself(current_app)
        kept: Kept[tuple[Version, str, str], Bubble] = Kept.of_app(app, "bubbles", KEPT_BYTES)
        return cls(app.jinja_env, language(), epoch, kept)

    def find(self, version: Version) -> Bubble | None:
        """The bubble, if this process has made it; else `of` makes it from the whole message."""
        return self.kept.get((version, self.epoch, self.language))

    def of(self, message: Message) -> Bubble:
        version = message.version
        bubble = self.find(version)
        if bubble is None:
            bubble = self._made(message)
            size = len(bubble.html) + len(bubble.as_vote or b"") + BESIDE_HTML
            self.kept.put((version, self.epoch, self.language), bubble, size)
        return bubble

    def _made(self, message: Message) -> Bubble:
        row = message_row(message, texts_of(self.language)) | {"epoch": self.epoch}
        return Bubble(
            html=self._render(row, voted=False),
            as_vote=self._render(row, voted=True) if looks_like_vote(message) else None,
            letters=len(message.html),
            asks_vote=message.asks_vote,
            answer=None if message.author == "visitor" else without_texts(message),
        )

    def _render(self, row: dict[str, Any], voted: bool) -> bytes:
        rows = [row | {"voted": voted}]
        template = self.templates.get_template("messages.html")
        return template.render(messages=rows, texts=texts_of(self.language)).encode()


def without_texts(message: Message) -> Message:
    return replace(message, text="", text_html="", files=(), files_html="", attached="")


def fragment(bubbles: Sequence[Bubble], has_older: bool) -> bytes:
    """The bubbles of an answer, oldest first; the first one tells whether older ones exist."""
    votes = Votes()
    pieces = [bubble.shown(votes) for bubble in bubbles]
    if has_older and pieces:
        pieces[0] = pieces[0].replace(b" data-author=", b" data-older data-author=", 1)
    return b"".join(pieces)


def message_row(message: Message, texts: Texts) -> dict[str, Any]:
    """A message as the templates take it."""
    return {
        **vars(message),
        "html": stored_html(message.html),
        "sent_at": datetime.fromtimestamp(min(max(message.sent_at, 0.0), LATEST), UTC),
        "initials": initials(message.name or texts["operator"]),
    }


def initials(name: str) -> str:
    """The first letters of the first and the last word: OP of Olga Petrova."""
    words = re.findall(r"\w+", name)
    return "".join(word[0] for word in words[:1] + words[1:][-1:]).upper()


def chat_title() -> str:
    """What stands above the chat: what the company has chosen, or ours in the page's language."""
    return services().chat.title or text(language(), "page.title")


def chat_texts() -> Texts:
    """The texts of the page: those of its scripts, and those of the templates alone."""
    return texts_of(language())


@cache
def texts_of(language: str) -> Texts:
    texts = all_texts(language)
    return texts["chat"] | texts["page"]
