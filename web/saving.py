"""The whole conversation as a file, made while it is sent: it is never in memory as a whole.

A client that reads slowly or not at all therefore costs one message and one piece of a picture. Of
too many saves at once, the one that `under_way.py` chooses is cut off, so that slow readers keep
nobody out; a browser says that the file did not come whole.
"""

import html
import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from flask import Response, current_app, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from bbcode import stored_html
from portal.forms import Form, text_of
from services import Services
from store.kept import KeptFile
from store.records import Message
from turns import Turns
from under_way import Place
from web.asking import Problem, known_address, language, services
from web.bubbles import Votes, chat_texts, chat_title, message_row
from web.connections import connection_of
from web.history import count_reading
from web.visitor import Visitor, current_visitor
from web.zones import Clock, clock_of

PICTURES_BYTES = 32 << 20  # in one saved conversation; further pictures are only linked
PICTURE_PIECE = 48 << 10  # bytes of a picture that are read at once; divisible by 3, for base64
PIECE = 16_000  # letters that are sent at once, or a little more
SOURCE = re.compile(r'src="([^"]*)"')
KEY = re.compile(r"[?&]key=([0-9a-f]{1,100})$")


def save_conversation(form: Form) -> ResponseReturnValue:
    """The whole conversation as a file that can be read without our server.

    The page's script names the visitor's time zone; a plain form does not, and gets UTC.
    """
    visitor = current_visitor()
    count_reading(visitor)
    if visitor is None or not services().store.conversations.latest(visitor.chat_id, None, 1):
        raise Problem("errors.no_conversation", 404)
    texts = chat_texts()
    clock = clock_of(text_of(form, "zone", ""), texts)
    rows = Conversation(services(), visitor.chat_id, clock).rows(texts)
    pieces = current_app.jinja_env.get_template("saved.html").generate(
        messages=rows, texts=texts, lang=language(), title=chat_title()
    )
    response = Response(joined(pieces), mimetype="text/html")
    name = f"conversation-{clock.at(services().store.now()):%Y-%m-%d}.html"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    # The last step: if another one failed after it, nobody would end the save.
    response.call_on_close(partial(services().saves.end, begin_save(visitor)))
    return response


def begin_save(visitor: Visitor) -> Place:
    """Count a save until it ends; raises TooOften. Another server than ours cuts off none."""
    connection = connection_of(request.environ)
    give_up = connection.hang_up if connection else lambda: None
    place = Place(known_address(), visitor.chat_id, give_up, waits=connection is not None)
    services().saves.begin(place)
    return place


def joined(pieces: Iterator[str]) -> Iterator[str]:
    """The same text in pieces of about PIECE letters; others are served in between."""
    turns = Turns()
    waiting: list[str] = []
    letters = 0
    for piece in pieces:
        turns.give_way()
        waiting.append(piece)
        letters += len(piece)
        if letters > PIECE:
            yield "".join(waiting)
            waiting, letters = [], 0
    yield "".join(waiting)


class Conversation:
    """One conversation while it is saved; ends early if it is deleted meanwhile."""

    def __init__(self, parts: Services, chat_id: str, clock: Clock) -> None:
        self._parts = parts
        self._chat_id = chat_id
        self._clock = clock
        self._offset: timedelta | None = None  # of the clock at the last message
        self._bytes_left = PICTURES_BYTES

    def rows(self, texts: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Its messages as the template takes them, oldest first; their HTML comes in pieces."""
        votes = Votes()
        message: Message | None = None
        while True:
            # One at a time: a message may have 200,000 letters of HTML.
            following = self._parts.store.conversations.following(self._chat_id, message, 1)
            if not following:
                return
            (message,) = following
            row = message_row(message, texts) | {"voted": votes.is_vote(message)}
            moment = self._clock.at(message.sent_at)
            yield row | {
                "at": moment,
                "shown_at": self._clock.shown(moment),
                "zone": self._zone_note(moment, texts),
                "html": self._html(message, moment),
            }

    def _zone_note(self, moment: datetime, texts: dict[str, str]) -> str:
        """What is said of the zone above a message: above the first, and where its offset changes.

        Without it nobody could tell the hour that comes twice when summer ends.
        """
        before, self._offset = self._offset, moment.utcoffset()
        if before == self._offset:
            return ""
        note = texts["zone" if before is None else "zone_changes"]
        name, offset = self._clock.name, self._clock.offset(moment)
        return note.format(zone=name if name == offset else f"{name} ({offset})", offset=offset)

    def _html(self, message: Message, moment: datetime) -> Iterator[Markup]:
        """The message with the visitor's own pictures in it, as long as there is room for them."""
        written = 0
        for source in SOURCE.finditer(message.html):
            yield self._piece(message.html[written : source.start(1)], moment)
            link = html.unescape(source[1])
            written = source.end(1)
            yield from self._picture(link) or [stored_html(source[1])]
        yield self._piece(message.html[written:], moment)

    def _piece(self, html: str, moment: datetime) -> Markup:
        return stored_html(self._clock.rewritten(html, moment))

    def _picture(self, link: str) -> Iterator[Markup] | None:
        """The address of one of the visitor's own pictures as data; None if it must stay a link."""
        key = KEY.search(link)
        message = self._parts.store.messages.find_with_file(key[1]) if key else None
        file = (
            next((file for file in message.files if file.link == link), None) if message else None
        )
        if message is None or file is None or not file.media_type.startswith("image/"):
            return None
        if message.chat_id not in self._parts.store.conversations.parts(self._chat_id):
            return None
        self._bytes_left -= file.size or 0
        if self._bytes_left < 0:
            return None
        found = self._parts.files.open(message.chat_id, file.key)
        return self._data(found, file.media_type) if found else None

    def _data(self, picture: KeptFile, media_type: str) -> Iterator[Markup]:
        with suppress(OSError), picture.file as file:  # what is deleted meanwhile ends there
            yield stored_html(f"data:{media_type};base64,")
            while not picture.is_gone() and (piece := file.read(PICTURE_PIECE)):
                yield stored_html(b64encode(piece).decode())
