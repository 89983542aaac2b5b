"""Messages as the page shows them."""

import re
from datetime import UTC, datetime
from typing import Any

from flask import render_template as render
from markupsafe import Markup

from bbcode import stored_html
from store.records import Message
from texts import Texts, all_texts
from web.asking import language, services

HISTORY = 50  # messages in one answer
VOTE = re.compile(r"\s*[01](\s|$)")  # a text that the portal takes for a vote, if it has asked


def bubbles(messages: list[Message]) -> Markup:
    texts = chat_texts()
    rows = message_rows(messages, texts, services().store.epochs.current())
    return stored_html(render("messages.html", messages=rows, texts=texts))


def message_rows(messages: list[Message], texts: Texts, epoch: str = "") -> list[dict[str, Any]]:
    """Messages as the template takes them; `voted` marks a message that is the visitor's vote.

    `epoch` is that of the store, by which a page names the latest change that it has. The vote is
    the visitor's first `1` or `0` after the portal has asked for it.
    """
    asked, rows = False, []
    for message in messages:
        asked = asked or message.asks_vote
        voted = asked and message.author == "visitor" and VOTE.match(message.text) is not None
        asked = asked and not voted
        rows.append(message_row(message, texts) | {"voted": voted, "epoch": epoch})
    return rows


def message_row(message: Message, texts: Texts) -> dict[str, Any]:
    return {
        **vars(message),
        "html": stored_html(message.html),
        "sent_at": datetime.fromtimestamp(message.sent_at, UTC),
        "initials": initials(message.name or texts["operator"]),
    }


def initials(name: str) -> str:
    """The first letters of the first and the last word: OP of Olga Petrova."""
    words = re.findall(r"\w+", name)
    return "".join(word[0] for word in words[:1] + words[1:][-1:]).upper()


def chat_texts() -> Texts:
    """The texts of the page: those of its scripts, and those of the templates alone."""
    texts = all_texts(language())
    return texts["chat"] | texts["page"]
