"""Operators' messages, from the event to what the store keeps; and their HTML."""

import threading
import time
from collections.abc import Iterator

from bbcode import take_signature, to_html
from files import files_html
from portal.events import IncomingMessage
from storage import Store
from store.records import File, Message, OperatorMessage
from visible import is_visible

READ_AT_ONCE = 20  # messages
SAVED_AT_ONCE = 50_000  # letters of HTML in one transaction, or one message more
WORK_SECONDS = 0.004  # of rendering again, after which it rests
NOTHING_SEEN = "…"
RESTS = 2  # times as long as the work: visitors wait for an answer, nobody waits for this
LONGEST_REST_SECONDS = 0.05


def operator_message(incoming: IncomingMessage, line: int) -> OperatorMessage:
    """An event's message, ready to be stored: its signature becomes the operator's name.

    An unsigned text that the portal wrote is the system's. An unsigned text of a person is an
    operator's, because a line may hide its operators' names.
    """
    name, text = take_signature(incoming.text)
    shown_without = (incoming.params.get("IMOL_VOTE_TEXT"), incoming.files, incoming.attached)
    if any(shown_without) and not is_visible(text):
        text = incoming.params.get("IMOL_VOTE_TEXT", "")
    files = tuple(File(file.name, file.type, file.link, file.size) for file in incoming.files)
    return OperatorMessage(
        chat_id=incoming.chat_id,
        line=line,
        im_chat_id=incoming.im_chat_id,
        im_message_id=incoming.im_message_id,
        author="system" if incoming.is_system and name is None else "operator",
        name=name,
        text=text,
        text_html=text_html(text),
        files=files,
        attached=incoming.attached,
        files_html=html_below(incoming.attached, files),
        asks_vote="IMOL_VOTE" in incoming.params,
        own_ids=incoming.own_ids,
    )


def text_html(text: str) -> str:
    """The HTML of a message's text; "" for an empty text, as a dialog's end has.

    Of a text in which nothing can be seen, three dots show that it is there.
    """
    return to_html(text) if is_visible(text) else NOTHING_SEEN if text else ""


def html_below(attached: str, files: tuple[File, ...]) -> str:
    """The HTML of what comes with a text: its attachments, then its files."""
    return "<br>".join(part for part in (text_html(attached), files_html(files)) if part)


def render_outdated(store: Store, stop: threading.Event) -> int:
    """Render again what an earlier renderer made, until `stop`; returns how many messages.

    One process does it for all, in small pieces with rests. What is left goes on at the next call.
    """
    count = 0
    if not store.rendering.to_render(1):
        return count
    with store.database.try_lock("rendering") as lock:
        while lock and not stop.is_set() and (messages := store.rendering.to_render(READ_AT_ONCE)):
            for rendered in _rendered_again(messages, stop):
                store.rendering.save_rendered(rendered)
                count += len(rendered)
    return count


def _rendered_again(
    messages: list[Message], stop: threading.Event
) -> Iterator[dict[Message, tuple[str, str]]]:
    """New HTML of text and files for these messages, as much as is to be saved at once."""
    rendered: dict[Message, tuple[str, str]] = {}
    began = time.monotonic()
    for message in messages:
        rendered[message] = (
            text_html(message.text),
            html_below(message.attached, message.files),
        )
        letters = sum(len(html) for both in rendered.values() for html in both)
        if letters > SAVED_AT_ONCE or message is messages[-1]:
            yield rendered
            rendered = {}
        worked = time.monotonic() - began
        if worked > WORK_SECONDS:
            stop.wait(min(RESTS * worked, LONGEST_REST_SECONDS))
            began = time.monotonic()
