"""Posts the portal's events to the application, as Bitrix24's queue server does.

Each handler gets its events one after the other. An event may take ten
seconds and is posted once, whatever the answer (bitrix24.md 9.6). A log says
what became of each.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from . import php
from .outgoing import Client, NoReply
from .troubles import Troubles

USER_AGENT = "Bitrix24 Webhook Engine"
TIMEOUT_SECONDS = 10
REORDER_WAIT_SECONDS = 0.4  # with reorder_events: how long an event waits for a second one
POSTINGS_KEPT = 20_000


@dataclass
class Posting:
    """An event on its way to one handler; `due` is a time of the monotonic clock."""

    handler: str
    event: str
    body: str
    due: float
    era: int


@dataclass
class _Lane:
    """The events that wait for one handler."""

    waiting: deque[Posting] = field(default_factory=deque)
    ready: threading.Condition = field(default_factory=threading.Condition)


class EventQueue:
    def __init__(self, troubles: Callable[[], Troubles]) -> None:
        self._troubles = troubles
        self._lanes: dict[str, _Lane] = {}
        self._lock = threading.Lock()
        self._log: deque[dict[str, Any]] = deque(maxlen=POSTINGS_KEPT)
        self._count = 0
        self._pending = 0
        self._era = 0  # how often clear() was called; an event of an earlier era is not posted

    def put(self, handler: str, event: str, fields: dict[str, Any]) -> None:
        """Queue one event; returns at once."""
        troubles = self._troubles()
        body = urlencode(php.encode(fields))
        due = time.monotonic() + troubles.delay_events_seconds
        posting = Posting(handler, event, body, due, self._era)
        if troubles.lose_events:
            self._note(posting, 0, "lost")
            return
        lane = self._lane(handler)
        with lane.ready:
            for _ in range(2 if troubles.duplicate_events else 1):
                lane.waiting.append(posting)
                with self._lock:
                    self._pending += 1
            lane.ready.notify()

    def log(self, after: int) -> list[dict[str, Any]]:
        with self._lock:
            return [entry for entry in self._log if entry["n"] > after]

    @property
    def pending(self) -> int:
        """Events queued or on their way."""
        with self._lock:
            return self._pending

    def clear(self) -> None:
        with self._lock:
            lanes = list(self._lanes.values())
            self._log.clear()
            self._count = 0
            self._era += 1
        for lane in lanes:
            with lane.ready:
                with self._lock:
                    self._pending -= len(lane.waiting)
                lane.waiting.clear()

    def _lane(self, handler: str) -> _Lane:
        with self._lock:
            lane = self._lanes.get(handler)
            if lane is None:
                lane = self._lanes[handler] = _Lane()
                threading.Thread(target=self._run, args=(lane,), daemon=True).start()
            return lane

    def _run(self, lane: _Lane) -> None:
        with Client(USER_AGENT, TIMEOUT_SECONDS) as client:
            while True:
                for posting in self._next(lane):
                    if posting.era == self._era:
                        self._post(client, posting)
                    with self._lock:
                        self._pending -= 1

    def _next(self, lane: _Lane) -> list[Posting]:
        """Wait for the next event until it is due; with reorder_events two, the later one first."""
        with lane.ready:
            while not lane.waiting:
                lane.ready.wait()
            posting = lane.waiting.popleft()
        time.sleep(max(0.0, posting.due - time.monotonic()))
        if not self._troubles().reorder_events:
            return [posting]
        with lane.ready:
            if not lane.waiting:
                lane.ready.wait(REORDER_WAIT_SECONDS)
            return [lane.waiting.popleft(), posting] if lane.waiting else [posting]

    def _post(self, client: Client, posting: Posting) -> None:
        try:
            status = client.post(posting.handler, posting.body).status
        except NoReply as error:
            self._note(posting, 0, str(error))
        else:
            self._note(posting, status, "")

    def _note(self, posting: Posting, status: int, error: str) -> None:
        with self._lock:
            self._count += 1
            self._log.append(
                {
                    "n": self._count,
                    "event": posting.event,
                    "handler": posting.handler,
                    "status": status,
                    "error": error,
                    "body": posting.body[:500],
                    "at": time.time(),
                }
            )
