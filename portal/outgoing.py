"""What we send to the portal: our messages and confirmations as items of its methods.

Pure functions; bitrix24.md sections 3 and 5.
"""

import re
import unicodedata

from files import short_name
from portal.contacts import contacts_of
from store.records import Delivery

NAME_LIMIT = 25
FILE_NAME_LIMIT = 50  # the portal keeps the last characters of a longer one


def wire_message(delivery: Delivery) -> dict[str, object]:
    """One item of `imconnector.send.messages`; the text goes as typed."""
    chat, message = delivery.chat, delivery.message
    user = {"id": chat.id, "name": portal_name(chat.name), **contacts_of(chat)}
    fields = {"id": wire_id(delivery), "date": int(message.sent_at), "text": message.text}
    files = message.files
    if delivery.file_as_link:  # without the message's own text, which has arrived before
        fields["text"] = "\n".join(f"{file.name}\n{file.link}" for file in files)
    elif files:
        fields["files"] = [
            {"url": file.link, "name": short_name(file.name, FILE_NAME_LIMIT)} for file in files
        ]
    return {
        "user": {key: value for key, value in user.items() if value},
        "message": fields,
        "chat": {"id": chat.id, "url": chat.page or None},
    }


def wire_id(delivery: Delivery) -> str:
    """Our id of the message at the portal; a file's link is a second message with its own id."""
    return f"{delivery.message.id}-link" if delivery.file_as_link else str(delivery.message.id)


def wire_confirmation(delivery: Delivery) -> dict[str, object]:
    """One item of `imconnector.send.status.delivery`: the portal's ids and our own."""
    message = delivery.message
    return {
        "im": {"chat_id": message.im_chat_id, "message_id": message.im_message_id},
        "message": {"id": [message.id]},
        "chat": {"id": delivery.chat.id},
    }


def portal_name(name: str) -> str:
    """A visitor's name within the portal's rule: 25 letters, spaces, hyphens, apostrophes."""
    name = unicodedata.normalize("NFC", name).replace("’", "'")
    letters = "".join(
        letter if unicodedata.category(letter)[0] in "LM" or letter in "-'" else " "
        for letter in name
    )
    letters = re.sub(r"\s+", " ", letters)
    return letters[:NAME_LIMIT].strip()
