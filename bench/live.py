"""The rows of open pages: how soon an answer is seen, thousands of streams, and what they cost."""

import random
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import requests
from pages import chromium
from playwright.sync_api import Browser, Page
from stage import wait_until

from bench.contestants import Contestant, Up, Visitor
from bench.processes import memory_kb, processor_seconds
from bench.results import Row, p95, rounded

VISIBLE_P95_MS = 100.0
STREAM_P95_MS, STREAM_WORST_MS = 25.0, 200.0
STREAM_KB, IDLE_PERCENT = 25.0, 1.0
STREAMS_EACH = 10  # of one visitor: as many as a chat may have
POLL_SECONDS = 5.0  # of the stand-ins' page
# When each answer was painted: Unix milliseconds by its number.
WATCH = """(bubble) => {
  window.painted = {}
  new MutationObserver(() => {
    const texts = [...document.querySelectorAll(bubble)].slice(-5)
    requestAnimationFrame(() => {
      const now = performance.timeOrigin + performance.now()
      for (const {textContent} of texts) {
        const number = /answer (\\d+)/.exec(textContent)?.[1]
        if (number) painted[number] ??= now
      }
    })
  }).observe(document.body, {childList: true, subtree: true})
}"""


# -- seen in a browser


def visible(contestants: Sequence[Contestant], answers: int, polled: int) -> Row:
    """From the portal's POST to the pixels. `polled`: pages of a stand-in, of an answer each."""
    row = Row(
        "operator's answer: POST at `/handler` to visible in the browser, two workers",
        f"p95 ≤ {VISIBLE_P95_MS:.0f} ms",
        pictured="Milliseconds until an operator's answer is seen, 95th percentile",
        less_is_better=True,
    )
    own = []
    with chromium() as browser:
        for one in contestants:
            with one.writing(0) as up:
                pages, each = (1, answers) if one.is_ours else (polled, 1)
                delays = _seen(browser, up, pages, each)
            mean = sum(delays) / len(delays)
            row.cells[one.name] = (
                f"mean {rounded(mean)}, p95 {rounded(p95(delays))}, worst {rounded(max(delays))} ms"
                f" of {len(delays)}"
            )
            row.figures[one.name] = p95(delays)
            own += [p95(delays)] if one.is_ours else []
    row.judge(max(own) <= VISIBLE_P95_MS)
    return row


def _seen(browser: Browser, up: Up, pages: int, each: int) -> list[float]:
    """Milliseconds from each POST until its answer was painted.

    Where several pages are open, the answers come at random moments of their polls.
    """
    longest = 0.1 if pages == 1 else 2 * POLL_SECONDS / pages
    visitors = up.send(pages)
    if up.stage is not None:
        stage = up.stage
        wait_until(lambda: stage.counts()["messages"] >= pages, 60, "the messages delivered")
    opened = [_open(browser, up, visitor) for visitor in visitors]
    posted: list[dict[str, float]] = [{} for _ in opened]
    number = 0
    with requests.Session() as portal:
        for place in [place for place in range(pages) for _ in range(each)]:
            time.sleep(random.uniform(0, longest))
            form = up.answer(visitors[place], number)
            posted[place][str(number)] = time.time() * 1000
            portal.post(up.handler, form, timeout=60).raise_for_status()
            number += 1
    found = []
    for page, times in zip(opened, posted, strict=True):
        page.wait_for_function(f"() => Object.keys(painted).length >= {len(times)}")
        painted = page.evaluate("() => painted")
        found += [painted[number] - began for number, began in times.items()]
        page.context.close()
    return found


def _open(browser: Browser, up: Up, visitor: Visitor) -> Page:
    context = browser.new_context()
    name, _, value = visitor.cookie.partition("=")
    context.add_cookies([{"name": name, "value": value, "url": up.page}])
    page = context.new_page()
    page.goto(up.page)
    page.get_by_text("the last of them").first.wait_for()
    page.evaluate(WATCH, up.bubble)
    return page


# -- thousands of streams


@dataclass
class Streams:
    """Open streams, read by one thread; notes when which answer came."""

    up: Up
    watched: dict[int, socket.socket] = field(default_factory=dict)
    came: dict[int, list[float]] = field(default_factory=dict)  # Unix seconds, by the answer
    refused: int = 0

    def __post_init__(self) -> None:
        self._poll = select.epoll()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def open(self, visitor: Visitor) -> None:
        parts = urlsplit(self.up.ajax)
        connection = socket.create_connection((parts.hostname or "", parts.port or 80), 60)
        connection.sendall(
            f"GET {parts.path}?type=chat_stream HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Cookie: {visitor.cookie}\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            part = connection.recv(65536)
            head += part
            if not part:
                break
        if b" 200 " not in head[:20]:
            self.refused += 1
            connection.close()
            return
        connection.setblocking(False)
        self.watched[connection.fileno()] = connection
        self._poll.register(connection, select.EPOLLIN)

    def _read(self) -> None:
        while not self._ended.is_set():
            for number, _ in self._poll.poll(0.5):
                now = time.time()
                try:
                    part = self.watched[number].recv(1 << 20)
                except (BlockingIOError, OSError):
                    continue
                if not part:
                    self._poll.unregister(number)
                elif b"answer " in part:
                    answer = int(part.partition(b"answer ")[2].partition(b"<")[0].split()[0])
                    self.came.setdefault(answer, []).append(now)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        for connection in self.watched.values():
            connection.close()
        self._poll.close()


@contextmanager
def streams(up: Up) -> Iterator[Streams]:
    opened = Streams(up)
    try:
        yield opened
    finally:
        opened.close()


def allow_descriptors() -> int:
    """Let this process open as many files as it may; how many those are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def many_streams(
    one: Contestant, many: int, most: int, answers: int, idle_seconds: float
) -> dict[str, tuple[str, bool]]:
    """For each row's name its cell, and whether it is good."""
    with one.writing(0) as up, streams(up) as opened:
        assert up.stage is not None
        stage = up.stage
        visitors = up.send(most // STREAMS_EACH)
        wait_until(
            lambda: stage.counts()["messages"] >= len(visitors), 240, "the messages delivered"
        )
        wait_until(lambda: not stage.counts()["pending_events"], 240, "the portal's events posted")
        time.sleep(2)
        before = memory_kb(up.roots)
        _open_up_to(opened, visitors, min(1_000, many))
        idle = _idle_percent(up, idle_seconds)
        _open_up_to(opened, visitors, many)
        delays = _posts(opened, visitors, answers)
        _open_up_to(opened, visitors, most)
        each = (memory_kb(up.roots) - before) / max(1, len(opened.watched))
        all_came = len(delays) == answers * (many // len(visitors))
    worst = max(delays)
    return {
        "idle": (f"{rounded(idle)} %", idle <= IDLE_PERCENT),
        "post": (
            f"p50 {rounded(sorted(delays)[len(delays) // 2])}, p95 {rounded(p95(delays))},"
            f" worst {rounded(worst)} ms" + ("" if all_came else "; some did not come"),
            p95(delays) <= STREAM_P95_MS and worst <= STREAM_WORST_MS and all_came,
        ),
        "open": (
            f"{len(opened.watched):,}; {rounded(each)} KB"
            + (f"; {opened.refused} refused" if opened.refused else ""),
            each <= STREAM_KB and not opened.refused,
        ),
    }


def _open_up_to(opened: Streams, visitors: list[Visitor], count: int) -> None:
    wanted = [visitors[number % len(visitors)] for number in range(len(opened.watched), count)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(opened.open, wanted))


def _idle_percent(up: Up, seconds: float) -> float:
    """What so many streams that hear nothing cost, in percent of a core."""
    time.sleep(1)
    before = processor_seconds(up.roots)
    time.sleep(seconds)
    return (processor_seconds(up.roots) - before) / seconds * 100


def _posts(opened: Streams, visitors: list[Visitor], answers: int) -> list[float]:
    """Milliseconds from each POST until each stream of its chat had the answer."""
    posted = {}
    with requests.Session() as portal:
        for number in range(answers):
            visitor = random.choice(visitors)
            form = opened.up.answer(visitor, number)
            posted[number] = time.time()
            portal.post(opened.up.handler, form, timeout=60).raise_for_status()
            time.sleep(0.05)
    time.sleep(1)
    return [
        (came - began) * 1000
        for number, began in posted.items()
        for came in opened.came.get(number, [])
    ]


def stream_rows(
    contestants: Sequence[Contestant],
    quick: bool,
    polls: dict[str, str],
) -> list[Row]:
    """The rows of open streams. `polls`: what idle visitors cost the stand-ins, by their names."""
    room = allow_descriptors() - 500
    many, most = (1_000, 1_000) if quick else (min(9_000, room), min(10_000, room))
    rows = {
        "post": Row(
            f"the same with {many:,} streams open, POST to SSE",
            f"p95 ≤ {STREAM_P95_MS:.0f} ms, worst ≤ {STREAM_WORST_MS:.0f} ms",
        ),
        "open": Row("open streams on one machine, memory each", f"{most:,}; ≤ {STREAM_KB:.0f} KB"),
        "idle": Row("1,000 idle visitors, of one core", f"≤ {IDLE_PERCENT:g} %", cells=dict(polls)),
    }
    good = dict.fromkeys(rows, True)
    for one in contestants:
        if one.is_ours:
            told = many_streams(one, many, most, 40 if quick else 200, 5 if quick else 30)
            for name, (cell, is_good) in told.items():
                rows[name].cells[one.name] = cell
                good[name] = good[name] and is_good
    for name, row in rows.items():
        row.judge(good[name])
    return list(rows.values())
