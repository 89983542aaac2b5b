"""How an operator's message is kept: author, files, edits; and what is rendered again."""

import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from portal_parts import CHAT, LINE, NOW

from portal.events import IncomingFile, IncomingMessage
from portal.inbox import operator_message, render_outdated
from storage import Store
from store.records import Chat, Limits, VisitorMessage
from visible import is_visible


def incoming(text: str = "[b]Olga:[/b] [br] hello", **others: Any) -> IncomingMessage:
    values: dict[str, Any] = {
        "im_chat_id": 5120,
        "im_message_id": 10,
        "user_id": 18,
        "files": (),
        "params": {},
    }
    return IncomingMessage(CHAT, text=text, **values | others)


PDF = IncomingFile("a.pdf", "file", "https://b24.example/a", 10)


@pytest.mark.parametrize(
    ("message", "author", "name", "text"),
    [
        (incoming(), "operator", "Olga", "hello"),
        (incoming("unsigned"), "operator", None, "unsigned"),
        (incoming("automatic", user_id=0), "system", None, "automatic"),
        (incoming(user_id=0), "operator", "Olga", "hello"),
        (incoming("\u200b", attached="card"), "operator", None, ""),
        (incoming("\u200b", files=(PDF,)), "operator", None, ""),
        (incoming("", user_id=0, params={"IMOL_VOTE_TEXT": "Rate us"}), "system", None, "Rate us"),
    ],
)
def test_who_wrote_a_message_is_told_by_its_signature(
    message: IncomingMessage, author: str, name: str | None, text: str
) -> None:
    kept = operator_message(message, LINE)

    assert (kept.author, kept.name, kept.text, kept.line) == (author, name, text, LINE)


@pytest.mark.parametrize("text", ["\u200b", "\u2060\u3164", "\n", "[b]\u200b[/b]"])
def test_no_bubble_is_empty(text: str) -> None:
    assert is_visible(operator_message(incoming(text), LINE).text_html)


def test_a_files_link_stands_below_the_text(store: Store) -> None:
    both, alone = (
        operator_message(incoming(text, im_message_id=number, files=(PDF,)), LINE)
        for number, text in ((10, "hello"), (11, ""))
    )
    store.messages.add_from_operators([both, alone], NOW)

    below, without = (one.html for one in store.conversations.latest(CHAT, None, 10))
    assert below.startswith("hello<br>")
    assert "a.pdf" in below
    assert "<br>" not in without
    assert "a.pdf" in without


@pytest.mark.parametrize("first", ["edit", "event"])
def test_edit_and_event_may_be_rendered_both_before_either_is_kept_and_come_in_any_order(
    store: Store, first: str
) -> None:
    edit = operator_message(incoming("[b]Olga:[/b] [br] edited"), LINE)
    event = operator_message(incoming(files=(PDF,)), LINE)

    if first == "event":
        store.messages.add_from_operators([event], NOW)
    store.messages.edit(edit, NOW, 100)
    (kept,) = store.conversations.latest(CHAT, None, 10)
    assert kept.incomplete is (first == "edit"), "it waits for its files"
    if first == "edit":
        store.messages.add_from_operators([event], NOW)

    (kept,) = store.conversations.latest(CHAT, None, 10)
    assert (kept.text, kept.edited, kept.incomplete) == ("edited", True, False)
    assert "a.pdf" in kept.html
    assert "edited" in kept.html
    assert [one.name for one in kept.files] == ["a.pdf"]
    again = operator_message(incoming("[b]Olga:[/b] [br] again"), LINE)
    store.messages.edit(again, NOW, 200)
    (kept,) = store.conversations.latest(CHAT, None, 10)
    assert (kept.text, kept.text_html) == ("again", again.text_html)
    assert "a.pdf" in kept.html


def test_everything_that_an_earlier_renderer_wrote_is_rendered_again(
    store: Store, tmp_path: Path
) -> None:
    visitor = Chat(CHAT, "", "", "", "", None, NOW, NOW, None, None, None, None)
    limits = Limits("an address", 10_000, 10_000)
    for number in range(450):
        one = VisitorMessage(visitor, f"<{number}>", "old", None)
        store.messages.add_from_visitor(one, limits, NOW)
    store.messages.add_from_operators([operator_message(incoming("", files=(PDF,)), LINE)], NOW)
    with store.database.write() as db:
        db.execute("update messages set html = 'old', files_html = 'old'")

    with closing(Store("sqlite:///chats.db", tmp_path, 2)) as newer:
        assert render_outdated(newer, threading.Event()) == 451
        assert render_outdated(newer, threading.Event()) == 0
        html = [one.html for one in newer.conversations.latest(CHAT, None, 1000)]

    assert html[7] == "&lt;7&gt;"
    assert "a.pdf" in html[450]
    assert "old" not in "".join(html)
