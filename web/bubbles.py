"""Messages as the page shows them."""

import re
from datetime import UTC, datetime
from typing import Any

from flask import render_template as render
from markupsafe import Markup

from bbcode import stored_html
from store.records import Message
from texts import Texts, all_texts
from web.asking import language

HISTORY = 50  # messages of one answer
VOTE = re.compile(r"\s*[01](\s|$)")  # what the portal takes for one when it has asked


def bubbles(messages: list[Message]) -> Markup:
    texts = chat_texts()
    return stored_html(render("messages.html", messages=told(messages, texts), texts=texts))


def told(messages: list[Message], texts: Texts) -> list[dict[str, Any]]:
    """As the template takes them. The first `1` or `0` after the portal asked for a vote is one."""
    asked, found = False, []
    for one in messages:
        asked = asked or one.asks_vote
        voted = asked and one.author == "visitor" and VOTE.match(one.text) is not None
        asked = asked and not voted
        found.append(shown(one, texts) | {"voted": voted})
    return found


def shown(message: Message, texts: Texts) -> dict[str, Any]:
    """A message as the fragment's template takes it."""
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
    """What the page says: what its scripts say, and what only the templates do."""
    texts = all_texts(language())
    return texts["chat"] | texts["page"]
