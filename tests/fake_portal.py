"""A portal that answers as told, and the steps that many tests of the delivery worker share.

It stands where bitrix.py would: how an HTTP answer becomes an error is tested there.
"""

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from bitrix import PAGE
from delivery.worker import Worker
from rest.errors import BitrixError, OutcomeUnknown, Refused
from rest.replies import HistoryMessage, ItemResult
from settings import DeliverySettings, Settings
from storage import Store
from store.records import Chat, File, Limits, OperatorMessage, Outcome, Portal, VisitorMessage
from store.rows import stored_files

NOW = 1_790_000_000.0
DAY = 86_400.0
CONNECTOR = "example_connector_1"
LINE, OTHER_LINE = 7, 12
DIALOG, SESSION, USER = 5120, 3301, 2001  # the portal's ids, as its answers name them
SEND = "imconnector.send.messages"
CONFIRM = "imconnector.send.status.delivery"
READ = "im.dialog.messages.get"
FILE = File("a.pdf", "file", "https://x.example/a", 1)
LINK = f"{FILE.name}\n{FILE.link}"  # what is sent instead of the file
LIMITS = Limits("an address", 10_000, 10_000)
PORTAL = Portal("m", 1, "access", "refresh", NOW + DAY, "application", False, NOW)

TAKEN = ItemResult(True, (), SESSION, DIALOG, USER)
NO_SESSION = ItemResult(True, portal_user_id=USER)  # accepted, and perhaps not stored
NOT_ACTIVE = Refused("NOT_ACTIVE_LINE", SEND)
CLOSED = Refused("ACCESS_ERROR", READ)
NO_RIGHTS = Refused("ACCESS_DENIED", "imopenlines.session.history.get")
BAD = Refused("BAD", SEND)
NO_REPLY = OutcomeUnknown("NO_REPLY", SEND)


def refused_item(reason: str) -> ItemResult:
    return ItemResult(False, (reason,))


@dataclass(frozen=True)
class Call:
    """A call that was made: send, confirm, activate, batch, dialog, session, find, ..."""

    method: str
    target: object = ""  # the line, the dialog, the session or the dialog's code
    items: list[Any] = field(default_factory=list)  # messages, confirmations; dialogs of a batch


class FakePortal:
    """Notes each call and says to it what it was told, else that all is well.

    `says` has what it says, by what a call is or brings: "send", "send on 7" (a line), "send of
    hello" (a text), "confirm of 3" (a message of ours), "dialog 5120" (also within a batch). A list
    is said once, one error a call. `histories` has the messages of dialogs and sessions, by id.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.says: dict[str, BitrixError | list[BitrixError] | ItemResult | bool] = {}
        self.histories: dict[int, list[HistoryMessage]] = {}
        self.work: Callable[[int], None] = lambda items: None  # what a send of so many takes

    # -- what was asked

    def made(self, method: str) -> list[Call]:
        return [call for call in self.calls if call.method == method]

    @property
    def sent(self) -> list[list[str]]:
        """The texts of each send."""
        return [[item["message"]["text"] for item in call.items] for call in self.made("send")]

    @property
    def confirmed(self) -> list[list[int]]:
        """The ids of our messages in each confirmation."""
        return [[item["message"]["id"][0] for item in call.items] for call in self.made("confirm")]

    @property
    def sizes(self) -> list[int]:
        """How many messages each send brought."""
        return [len(call.items) for call in self.made("send")]

    @property
    def lines(self) -> list[object]:
        """On which line each send was made."""
        return [call.target for call in self.made("send")]

    def _ask(self, method: str, target: object = "", items: Iterable[Any] = ()) -> None:
        self.calls.append(Call(method, target, list(items)))
        self._fail(method, f"{method} {target}")

    def _fail(self, *names: str) -> None:
        for name in names:
            told = self.says.get(name)
            error = (told.pop(0) if told else None) if isinstance(told, list) else told
            if isinstance(error, BitrixError):
                raise error

    # -- the portal

    def send_messages(
        self, connector: str, line: int, messages: list[dict[str, Any]]
    ) -> list[ItemResult]:
        assert connector == CONNECTOR
        self.calls.append(Call("send", line, messages))
        self.work(len(messages))
        texts = [message["message"]["text"] for message in messages]
        self._fail("send", f"send on {line}", *(f"send of {text}" for text in texts))
        results = []
        for text in texts:
            told = [self.says.get(f"send{part}") for part in (f" of {text}", f" on {line}", "")]
            results.append(next((word for word in told if isinstance(word, ItemResult)), TAKEN))
        return results

    def confirm_delivery(self, connector: str, line: int, messages: list[dict[str, Any]]) -> None:
        assert connector == CONNECTOR
        self.calls.append(Call("confirm", line, messages))
        ids = [message["message"]["id"][0] for message in messages]
        self._fail("confirm", f"confirm on {line}", *(f"confirm of {number}" for number in ids))

    def activate(self, connector: str, line: int, active: bool) -> None:
        assert connector == CONNECTOR
        self._ask("activate" if active else "deactivate", line)

    def read_time(self) -> None:
        self._ask("server.time")

    def is_installed(self) -> bool:
        self._ask("app.info")
        return True

    def check(self) -> bool:
        """As whoever compares the portal's set-up with ours."""
        self._ask("check")
        return self.says.get("check") is not False

    def newest_messages(self, ids: list[int]) -> list[list[HistoryMessage] | BitrixError]:
        self._ask("batch", items=ids)
        return [self._page_or_error(dialog) for dialog in ids]

    def dialog_messages(self, portal_chat_id: int, **bounds: Any) -> list[HistoryMessage]:
        self._ask("dialog", portal_chat_id)
        return self._page(portal_chat_id, bounds.get("before") or math.inf)

    def session_messages(self, session_id: int) -> list[HistoryMessage]:
        self._ask("session", session_id)
        return self.histories.get(session_id, [])

    def find_dialog(self, user_code: str) -> tuple[int, int | None]:
        self._ask("find", user_code)
        return DIALOG, SESSION

    def _page_or_error(self, dialog: int) -> list[HistoryMessage] | BitrixError:
        for told in (self.says.get("dialog"), self.says.get(f"dialog {dialog}")):
            if isinstance(told, BitrixError):
                return told
        return self._page(dialog)

    def _page(self, dialog: int, before: float = math.inf) -> list[HistoryMessage]:
        history = self.histories.get(dialog, [])
        return [message for message in history if message.id < before][-PAGE:]


def said(im_message_id: int, *mids: str, **other: Any) -> HistoryMessage:
    """A message of the portal's history; `mids` are the ids of ours that it has."""
    values: dict[str, Any] = {
        "id": im_message_id,
        "author_id": 18,
        "text": "hello",
        "sent_at": NOW,
        "connector_mids": mids,
        "classes": "",
        "hidden": False,
        "from_connector": False,
        "author_name": "Olga",
        "files": (),
    }
    return HistoryMessage(**values | other)


# -- the store


def chat_id(number: int) -> str:
    return f"chat{number:064x}"


def write(store: Store, text: str, chat: int = 1, now: float = NOW) -> None:
    visitor = Chat(chat_id(chat), "Anna", "", "", "", None, NOW, NOW, None, None, None, None)
    store.messages.add_from_visitor(VisitorMessage(visitor, text, text, None), LIMITS, now)


def write_to_all(store: Store, text: str, chats: Iterable[int]) -> None:
    for chat in chats:
        write(store, text, chat)


def attach_file(store: Store, *message_ids: int) -> None:
    """Let these messages have a file; all messages, where none is named."""
    with store.database.write() as db:
        for message in message_ids:
            db.execute(
                "update messages set files = ? where id = ?", (stored_files((FILE,)), message)
            )
        if not message_ids:
            db.execute("update messages set files = ?", (stored_files((FILE,)),))


def answer(store: Store, im_message_id: int, chat: int = 1, line: int = LINE) -> None:
    message = OperatorMessage(
        chat_id(chat), line, DIALOG, im_message_id, "operator", "Olga", "hello", "hello"
    )
    store.messages.add_from_operators([message], NOW)


def states(store: Store, chat: int = 1) -> list[str]:
    return [message.state for message in store.conversations.latest(chat_id(chat), None, 1000)]


def states_of(store: Store, chats: Iterable[int]) -> list[list[str]]:
    return [states(store, chat) for chat in chats]


def know_dialog(store: Store, chat: int, dialog: int = DIALOG) -> None:
    """An event named the chat's dialog."""
    store.dialogs.note_dialog(chat_id(chat), LINE, dialog, USER, SESSION, None)


def put_in_doubt(store: Store, error: str = "NO_REPLY", **outcome: Any) -> None:
    """The next message of each chat was sent, and the answer was lost."""
    claimed = store.queue.claim(store.queue.due_messages(NOW, 100), LINE, NOW)
    outcomes = [Outcome(delivery, "in doubt", error, NOW, **outcome) for delivery in claimed]
    store.queue.record(outcomes, NOW)


def refuse_waiting_confirmations(store: Store, bitrix: FakePortal, now: float = NOW) -> None:
    """Let the portal refuse each confirmation that is due now, whenever it comes."""
    for delivery in store.queue.due_confirmations(now, 50):
        bitrix.says[f"confirm of {delivery.message.id}"] = BAD


# -- the worker


def make_worker(store: Store, bitrix: FakePortal, **delivery: Any) -> Worker:
    settings = Settings(delivery=DeliverySettings(**{"retry_seconds": 1, **delivery}))
    return Worker(settings, store, bitrix, bitrix)  # type: ignore[arg-type]


def run(worker: Worker, now: float, steps: int = 20) -> None:
    """Let it work at this moment, until nothing is left to do."""
    for _ in range(steps):
        if not worker.step(now):
            break


def run_each(worker: Worker, seconds: Iterable[float], steps: int = 20) -> None:
    """Let it work in each of these seconds after NOW."""
    for second in seconds:
        run(worker, NOW + second, steps)


def seconds_of(
    method: str, bitrix: FakePortal, worker: Worker, seconds: Iterable[float], steps: int = 20
) -> list[float]:
    """As `run_each`; returns the seconds in which a call of this method was made."""
    found = []
    for second in seconds:
        before = len(bitrix.made(method))
        run(worker, NOW + second, steps)
        if len(bitrix.made(method)) > before:
            found.append(second)
    return found


def pauses(seconds: list[float]) -> list[float]:
    return [later - sooner for sooner, later in itertools.pairwise(seconds)]


def lose_the_answer(store: Store, bitrix: FakePortal, worker: Worker) -> None:
    """A first message arrives, so that the dialog is known; the answer of the second is lost.

    The third waits behind it. The calls until then are forgotten.
    """
    write(store, "first")
    run(worker, NOW)
    write(store, "second")
    write(store, "third")
    bitrix.says["send"] = [NO_REPLY]
    run(worker, NOW)
    assert bitrix.sent == [["first"], ["second"]]
    bitrix.calls.clear()


def install(store: Store, days_ago: float = 1) -> None:
    store.portal.save(replace(PORTAL, installed_at=NOW - days_ago * DAY))
