"""Posts the portal's events to the application, as the queue server does.

One after the other for each handler, ten seconds each, never repeated
(bitrix24.md section 9). What happened to each is kept in a log.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import requests

from . import php
from .troubles import Troubles

TIMEOUT_SECONDS = 10
REORDER_WAIT_SECONDS = 0.4  # how long the first of two waits to be overtaken
KEPT = 20_000


@dataclass
class Posting:
    handler: str
    event: str
    body: str
    due: float
    era: int


@dataclass
class _Lane:
    """What waits for one handler."""

    waiting: deque[Posting] = field(default_factory=deque)
    ready: threading.Condition = field(default_factory=threading.Condition)


class EventQueue:
    def __init__(self, troubles: Callable[[], Troubles]) -> None:
        self._troubles = troubles
        self._lanes: dict[str, _Lane] = {}
        self._lock = threading.Lock()
        self._log: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._count = 0
        self._busy = 0
        self._era = 0  # counts clear(); what was queued in an earlier one is dropped

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
                    self._busy += 1
            lane.ready.notify()

    def log(self, after: int) -> list[dict[str, Any]]:
        with self._lock:
            return [entry for entry in self._log if entry["n"] > after]

    @property
    def pending(self) -> int:
        """Events queued or on their way."""
        with self._lock:
            return self._busy

    def clear(self) -> None:
        with self._lock:
            lanes = list(self._lanes.values())
            self._log.clear()
            self._count = 0
            self._era += 1
        for lane in lanes:
            with lane.ready:
                with self._lock:
                    self._busy -= len(lane.waiting)
                lane.waiting.clear()

    def _lane(self, handler: str) -> _Lane:
        with self._lock:
            lane = self._lanes.get(handler)
            if lane is None:
                lane = self._lanes[handler] = _Lane()
                threading.Thread(target=self._run, args=(lane,), daemon=True).start()
            return lane

    def _run(self, lane: _Lane) -> None:
        session = requests.Session()
        while True:
            for posting in self._next(lane):
                if posting.era == self._era:
                    self._post(session, posting)
                with self._lock:
                    self._busy -= 1

    def _next(self, lane: _Lane) -> list[Posting]:
        """The next due event; with reorder_events two of them, the later first."""
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

    def _post(self, session: requests.Session, posting: Posting) -> None:
        try:
            answer = session.post(
                posting.handler,
                data=posting.body,
                headers={
                    "Content-Type": "application/x-www-form-urlencoded",
                    "User-Agent": "Bitrix24 Webhook Engine",
                },
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            self._note(posting, 0, type(error).__name__)
        else:
            self._note(posting, answer.status_code, "")

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
