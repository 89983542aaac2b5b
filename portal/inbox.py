"""Operators' messages, from the event to what the store keeps; and their HTML."""

import threading

from bbcode import take_signature, to_html
from files import files_html
from portal.events import IncomingMessage
from storage import Store
from store.records import File, OperatorMessage

RENDERED_AT_ONCE = 20  # messages; rendering holds up this process as long as they take


def operator_message(incoming: IncomingMessage, line: int) -> OperatorMessage:
    """An event's message as it is kept: the signature off the text and in the name.

    An unsigned text of the portal itself is the system's; a line may hide its operators, so
    an unsigned text of a person stays the operator's.
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
    """What is shown of a message's text; the mark of a dialog's end has none."""
    return to_html(text) if text else ""


def render_outdated(store: Store, stop: threading.Event) -> int:
    """Render again what an earlier renderer wrote, until `stop`; returns how many messages."""
    count = 0
    while not stop.is_set() and (messages := store.messages.to_render(limit=RENDERED_AT_ONCE)):
        store.messages.save_rendered(
            {message: (text_html(message.text), files_html(message.files)) for message in messages}
        )
        count += len(messages)
    return count
