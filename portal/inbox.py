"""Operators' messages, from the event to what the store keeps; and their HTML."""

import threading

from bbcode import take_signature, to_html
from files import files_html
from portal.events import IncomingMessage
from storage import Store
from store.records import File, OperatorMessage

RENDERED_AT_ONCE = 20  # messages; while it renders them, this process does nothing else


def operator_message(incoming: IncomingMessage, line: int) -> OperatorMessage:
    """An event's message, ready to be stored: its signature becomes the operator's name.

    An unsigned text that the portal wrote is the system's. An unsigned text of a person is an
    operator's, because a line may hide its operators' names.
    """
    name, text = take_signature(incoming.text)
    text = text or incoming.params.get("IMOL_VOTE_TEXT", "")
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
        files_html=files_html(files),
        asks_vote="IMOL_VOTE" in incoming.params,
        own_ids=incoming.own_ids,
    )


def text_html(text: str) -> str:
    """The HTML of a message's text; "" for an empty text, as a dialog's end has."""
    return to_html(text) if text else ""


def render_outdated(store: Store, stop: threading.Event) -> int:
    """Render again what an earlier renderer made, until `stop`; returns how many messages."""
    count = 0
    while not stop.is_set() and (messages := store.messages.to_render(limit=RENDERED_AT_ONCE)):
        store.messages.save_rendered(
            {message: (text_html(message.text), files_html(message.files)) for message in messages}
        )
        count += len(messages)
    return count
