"""Those that are compared: ours on each database, and the stand-ins for the vendor's tutorials.

Each is served twice: with chats of known lengths, of which only is read, and with an empty store,
into which is only written, with a portal that takes so many seconds a call. All are asked by the
same requests.
"""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from stage import Stage

from bench.load import Ask

LAST = "the last of them"  # what each chat ends with
SEND = "type=send_message&name=Anna&message=Hello+COUNT&client_id=UUID"
HISTORY = "type=chat_history"
CLIENTS = 16  # that ask at once, each with a chat of its own
LINE = 7


@dataclass(frozen=True)
class Visitor:
    """A browser that has written: its cookie, and the chat it has got."""

    cookie: str
    chat: str
    origin: str  # of its page

    @property
    def client(self) -> dict[str, str]:
        """The headers with which it asks."""
        return {"Cookie": self.cookie, "Origin": self.origin}


@dataclass
class Up:
    """A contestant that serves. `roots` are the processes whose time and memory are its own."""

    page: str
    ajax: str
    handler: str
    roots: list[int]
    stored: str  # what the answer to a stored message has
    bubble: str  # the selector of an operator's text in its page
    kept: Callable[[Visitor], list[str] | None]  # a chat's texts in the store; None: it is broken
    at_portal: Callable[[str], list[str]]  # the visitor's texts that the portal has of a chat
    # An event with an operator's answer, whose text is `answer NUMBER`.
    answer: Callable[[Visitor, int], dict[str, str]]
    again: Callable[[], None]  # kill -9 of all its processes; then they are started again
    stage: Stage | None = None  # of ours
    portal_roots: list[int] = field(default_factory=list)  # of the sandbox, ours alone

    def send(self, count: int = 1) -> list[Visitor]:
        """So many new visitors, of whom each has written one message."""
        form = {"type": "send_message", "name": "Anna", "message": LAST}
        return self._begin(count, form)

    def arrive(self, count: int) -> list[Visitor]:
        """So many new visitors, of whom each has a cookie: ours have to write for it."""
        return self.send(count) if self.stage else self._begin(count, {"type": "chat_history"})

    def _begin(self, count: int, form: dict[str, str]) -> list[Visitor]:
        origin = self.page.rstrip("/")

        def ask(_: int) -> Visitor:
            with requests.Session() as http:
                answer = http.post(self.ajax, form, headers={"Origin": origin}, timeout=60)
                answer.raise_for_status()
                cookie = "; ".join(f"{one.name}={one.value}" for one in http.cookies)
                chat = answer.json()["chat"] if "message" in form else ""
                return Visitor(cookie, chat, origin)

        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(ask, range(count)))

    def sending(self, visitors: list[Visitor]) -> Ask:
        return Ask(self.ajax, [one.client for one in visitors], SEND, self.stored)

    def history(self, visitors: list[Visitor]) -> Ask:
        return Ask(self.ajax, [one.client for one in visitors], HISTORY, LAST)


class Contestant(ABC):
    name = ""
    is_ours = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.visitors: dict[int, list[Visitor]] = {}  # by the number of messages of their chats
        self._made = 0

    @abstractmethod
    def missing(self) -> str:
        """Why it cannot take part on this machine; "" if it can."""

    @abstractmethod
    def writing(self, seconds: float, keeps: bool = False) -> AbstractContextManager[Up]:
        """A context: serves an empty store; a call of the portal takes so many seconds.

        With `keeps` the portal can tell the texts that it has had.
        """

    @abstractmethod
    def reading(self) -> AbstractContextManager[Up]:
        """A context: serves what `fill` has written."""

    @abstractmethod
    def fill(self, lengths: tuple[int, ...]) -> None:
        """Make CLIENTS chats of each of these numbers of messages."""

    def poll(self, up: Up, visitors: list[Visitor]) -> Ask:
        """What a page asks that knows everything already."""
        return up.history(visitors)

    def close(self) -> None:  # noqa: B027
        """End what is left of it: of the stand-ins, nothing."""

    def new_folder(self) -> Path:
        self._made += 1
        folder = self.folder / f"{type(self).__name__}{self._made}"
        folder.mkdir()
        return folder


def chat_file(chat: str, length: int) -> str:
    """A chat as the vendor's tutorials keep it: half by the visitor, half by operators."""
    began = int(time.time()) - 10 * length
    messages: dict[str, Any] = {}
    for number in range(length - 1):
        message: dict[str, Any] = {
            "chat": {"id": chat},
            "message": {
                "id": [f"message{number}"],
                "date": began + number,
                "text": f"Message {number} of a talk about [b]prices[/b] and delivery.",
            },
        }
        if number % 2:
            portal_id = int(chat[-7:], 16) * 10_000 + number
            message["im"] = {"chat_id": "1", "message_id": str(portal_id)}
            message["message"]["user_id"] = "18"
        else:
            message["user"] = {"id": chat, "name": "Anna"}
        messages[f"message{number}"] = message
    messages[f"message{length - 1}"] = {
        "chat": {"id": chat},
        "user": {"id": chat, "name": "Anna"},
        "message": {"id": False, "date": int(time.time()), "text": LAST},
    }
    return json.dumps(messages)


def operators_answer(chat: str, portal_chat: int, number: int, **auth: str) -> dict[str, str]:
    """What the portal posts when an operator writes `answer NUMBER`."""
    return {
        "event": "ONIMCONNECTORMESSAGEADD",
        "data[CONNECTOR]": "example_connector_1",
        "data[LINE]": str(LINE),
        "data[MESSAGES][0][im][chat_id]": str(portal_chat),
        "data[MESSAGES][0][im][message_id]": str(50_000_000 + number),
        "data[MESSAGES][0][message][user_id]": "18",
        "data[MESSAGES][0][message][text]": f"[b]Olga Petrova:[/b] [br]answer {number}",
        "data[MESSAGES][0][chat][id]": chat,
        **{f"auth[{name}]": value for name, value in auth.items()},
    }


def answers(url: str) -> Callable[[], bool]:
    """Whether somebody answers there."""

    def ask() -> bool:
        try:
            return requests.get(url, timeout=5).status_code < 500
        except (requests.ConnectionError, requests.Timeout):
            return False

    return ask
