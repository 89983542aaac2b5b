"""The rows of bad days: kill -9 under load, backlogs, and a newcomer behind a long one."""

import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import requests
from soak import SEND, mend
from stage import Stage, wait_until

from bench.contestants import Contestant, Up, Visitor
from bench.load import load
from bench.results import Row, rounded

# Whoever was killed before its call went out leaves the chat waiting for the call's whole time.
ALL_DELIVERED_SECONDS = 180.0
WRITERS, MESSAGES, KILLS = 32, 500, 5
OUR_SECONDS, THEIR_SECONDS = 60.0, 15.0  # for one message; a stand-in's chat may be broken
BACKLOG, A_CALL, BACK_SECONDS = 1_000, 10, 10.0
NEWCOMER_SECONDS = 5.0
WRITTEN = re.compile(r"w(\d+) (\d+)")


class Writers:
    """Threads that write into one chat, each message again and again until it is accepted."""

    def __init__(self, up: Up, visitor: Visitor) -> None:
        self._seconds = OUR_SECONDS if up.stage else THEIR_SECONDS
        self._up, self._visitor = up, visitor
        self._shares = [
            MESSAGES // WRITERS + (number < MESSAGES % WRITERS) for number in range(WRITERS)
        ]
        self._lock = threading.Lock()
        self.accepted: list[str] = []

    def run(self) -> None:
        threads = [threading.Thread(target=self._write, args=(n,)) for n in range(WRITERS)]
        for thread in threads:
            thread.start()
        step = MESSAGES // (KILLS + 1)
        for number in range(KILLS):
            while len(self.accepted) < step * (number + 1) and any(t.is_alive() for t in threads):
                time.sleep(0.002)
            self._up.again()
        for thread in threads:
            thread.join()

    def _write(self, writer: int) -> None:
        with requests.Session() as http:
            for number in range(self._shares[writer]):
                if not self._accepted(http, f"w{writer} {number}"):
                    return

    def _accepted(self, http: requests.Session, text: str) -> bool:
        form = {"type": "send_message", "name": "Anna", "message": text}
        form["client_id"] = str(uuid.uuid4())
        until = time.monotonic() + self._seconds
        while time.monotonic() < until:
            try:
                answer = http.post(
                    self._up.ajax, form, headers=self._visitor.client, timeout=self._seconds
                )
                if answer.status_code == 200 and self._up.stored in answer.text:
                    with self._lock:
                        self.accepted.append(text)
                    return True
            except requests.RequestException:
                pass
            time.sleep(0.05)
        return False


def crash(contestants: Sequence[Contestant]) -> Row:
    row = Row(
        f"{WRITERS} writers into one chat, {MESSAGES} messages, {KILLS} × `kill -9`, one host",
        f"{MESSAGES} stored, {MESSAGES} delivered, 0 doubled, order kept",
    )
    good = True
    for one in contestants:
        with one.writing(0, keeps=True) as up:
            [visitor] = up.send()
            writers = Writers(up, visitor)
            writers.run()
            told, is_good = _outcome(up, visitor, writers.accepted, one.is_ours)
        row.cells[one.name] = told
        good = good and (is_good or not one.is_ours)
    row.judge(good)
    return row


def _outcome(up: Up, visitor: Visitor, accepted: list[str], waits: bool) -> tuple[str, bool]:
    """What became of the messages, and whether all is well."""

    def delivered() -> Counter[str]:
        return Counter(text for text in up.at_portal(visitor.chat) if WRITTEN.fullmatch(text))

    until = time.monotonic() + (ALL_DELIVERED_SECONDS if waits else 1)
    while len(delivered()) < MESSAGES and time.monotonic() < until:
        time.sleep(0.3)
    at_portal = delivered()
    kept = up.kept(visitor)
    stored = Counter(text for text in kept or () if WRITTEN.fullmatch(text))
    doubled = sum((at_portal - Counter(set(at_portal))).values())
    in_order = _is_in_order(up.at_portal(visitor.chat))
    lost = len(set(accepted) - set(stored))
    parts = [
        f"{len(accepted)} accepted",
        f"{len(stored)} stored" if kept is not None else "the chat's file is broken",
        f"{lost} of the accepted lost",
        f"{len(at_portal)} delivered",
        f"{doubled} doubled",
        "order kept" if in_order else "another order",
    ]
    good = len(stored) == len(at_portal) == MESSAGES and not doubled and in_order
    return ", ".join(parts), good


def _is_in_order(texts: list[str]) -> bool:
    """Whether each writer's messages are in the order in which they were accepted."""
    last: dict[str, int] = {}
    for match in filter(None, map(WRITTEN.fullmatch, texts)):
        if int(match[2]) < last.get(match[1], -1):
            return False
        last[match[1]] = int(match[2])
    return True


# -- backlogs; the stand-ins have none: they call the portal once a message, or lose it


def backlogs(
    contestants: Sequence[Contestant], cases: Sequence[tuple[str, int, float]]
) -> list[Row]:
    """`cases`: what the row is called, how many chats write, how long the portal is away then."""
    rows = []
    for what, chats, seconds in cases:
        reach = f"≥ {A_CALL} messages a call within {BACK_SECONDS:.0f} s of the portal's return"
        row = Row(what, reach)
        good = True
        for one in contestants:
            if one.is_ours:
                with one.writing(0) as up:
                    told, is_good = _backlog(up, chats, seconds)
                row.cells[one.name] = told
                good = good and is_good
            else:
                row.cells[one.name] = "one a call, by its code"
        row.judge(good)
        rows.append(row)
    return rows


def _backlog(up: Up, chats: int, seconds: float) -> tuple[str, bool]:
    stage = up.stage
    assert stage is not None
    visitors = up.send(chats)
    wait_until(lambda: stage.counts()["messages"] >= chats, 60, "the first messages")
    stage.trouble(down=True)
    each = BACKLOG // chats + 1

    def write(visitor: Visitor) -> None:
        with requests.Session() as http:
            for number in range(each):
                form = {"type": "send_message", "name": "Anna", "message": f"waits {number}"}
                form["client_id"] = str(uuid.uuid4())
                http.post(up.ajax, form, headers=visitor.client, timeout=60).raise_for_status()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, visitors))
    time.sleep(seconds)
    calls = _sends(stage)
    mend(stage)
    began = time.monotonic()
    everything = chats * (each + 1)
    while stage.counts()["messages"] < everything and time.monotonic() < began + BACK_SECONDS:
        time.sleep(0.05)
    arrived = stage.counts()["messages"] - chats
    made = _sends(stage) - calls
    wait_until(lambda: stage.counts()["messages"] >= everything, 300, "the whole backlog")
    whole = time.monotonic() - began
    a_call = arrived / max(1, made)
    told = f"{rounded(a_call)} a call; all {everything - chats:,} after {rounded(whole)} s"
    return told, a_call >= A_CALL


def _sends(stage: Stage) -> int:
    """The calls with messages that the portal has carried out."""
    return sum(call["status"] == 200 for call in stage.calls(SEND))


def newcomer(contestants: Sequence[Contestant], waiting: int) -> Row:
    row = Row(
        f"a new visitor's first message behind a backlog of {waiting:,}",
        f"≤ {NEWCOMER_SECONDS:.0f} s to the portal",
    )
    good = True
    for one in contestants:
        if one.is_ours:
            with one.writing(0) as up:
                seconds, there = _newcomer(up, waiting)
            row.cells[one.name] = f"{rounded(seconds)} s, behind {there:,}"
            good = good and seconds <= NEWCOMER_SECONDS
        else:
            row.cells[one.name] = "has no backlog: what the portal does not take is lost to it"
    row.judge(good)
    return row


def _newcomer(up: Up, waiting: int) -> tuple[float, int]:
    """Seconds to the portal, and how many messages waited."""
    stage = up.stage
    assert stage is not None
    visitors = up.send(64)
    wait_until(lambda: stage.counts()["messages"] >= len(visitors), 60, "the first messages")
    stage.trouble(down=True)
    there = 0
    while there < waiting:
        done = load(up.sending(visitors), len(visitors), 5)
        there += done.requests - done.failed
    mend(stage)
    [new] = up.send()
    began = time.monotonic()
    wait_until(lambda: stage.texts(new.chat), 120, "the newcomer's message")
    return time.monotonic() - began, there
