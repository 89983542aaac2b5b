"""Messages as the page shows them."""

import re
from datetime import UTC, datetime
from typing import Any

from flask import render_template as render
from markupsafe import Markup

from bbcode import stored_html
from operations.findings import LATEST
from store.records import Message, Words
from texts import Texts, all_texts, text
from web.asking import language, services

HISTORY = 50  # messages in one answer
VOTE = re.compile(r"\s*[01](\s|$)")  # a text that the portal takes for a vote, if it has asked


def bubbles(messages: list[Message], has_older: bool = False) -> Markup:
    """The messages as an HTML fragment, whose first bubble tells whether older ones exist."""
    texts = chat_texts()
    rows = message_rows(messages, texts, services().store.epochs.current())
    if rows:
        rows[0]["has_older"] = has_older
    return stored_html(render("messages.html", messages=rows, texts=texts))


class Votes:
    """Which messages of a conversation, seen in its order, are the visitor's votes.

    A vote is the visitor's first `1` or `0` after the portal has asked for it.
    """

    def __init__(self, asked: bool = False) -> None:
        self._asked = asked

    def is_vote(self, message: Message) -> bool:
        asked = self._asked or message.asks_vote
        voted = asked and looks_like_vote(message)
        self._asked = asked and not voted
        return voted


def looks_like_vote(message: Message | Words) -> bool:
    return message.author == "visitor" and VOTE.match(message.text) is not None


def message_rows(messages: list[Message], texts: Texts, epoch: str) -> list[dict[str, Any]]:
    """Messages as the template takes them; `voted` marks a message that is the visitor's vote.

    `epoch` is that of the store, by which a page names the latest change that it has.
    """
    votes = Votes()
    return [
        message_row(message, texts) | {"voted": votes.is_vote(message), "epoch": epoch}
        for message in messages
    ]


def message_row(message: Message, texts: Texts) -> dict[str, Any]:
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
    texts = all_texts(language())
    return texts["chat"] | texts["page"]
