"""Live updates: each change once, at once, whoever made it and whatever came between."""

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from playwright.sync_api import BrowserContext, Page, Request, expect
from stage import HOST, Stage, Visitor, free_port, wait_until

from store.datagrams import Datagrams

SOON_SECONDS = 5.0  # on a slow machine; `make bench` measures how soon
ABSENCE_MINUTES = 30


def revision_of(event_id: str) -> int:
    """The revision that an event's id names, after the store's epoch."""
    return int(event_id.rpartition(".")[2])


class Stream:
    """A stream as a browser would read it, in a thread: revisions and fragments as they come."""

    def __init__(self, visitor: Visitor, last_id: int | None = None) -> None:
        cookies = "; ".join(f"{one.name}={one.value}" for one in visitor.http.cookies)
        headers = {"Cookie": cookies} | ({} if last_id is None else {"Last-Event-ID": str(last_id)})
        self._connection = HTTPConnection(visitor.chat.removeprefix("http://"), timeout=60)
        self._connection.request("GET", "/ajax?type=chat_stream", headers=headers)
        self.answer = self._connection.getresponse()
        self.events: list[tuple[int, str]] = []
        self.words = 0
        self.ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        text = ""
        try:
            while part := self.answer.read1(65_536).decode():
                *events, text = (text + part).split("\n\n")
                self.words += len(events)
                for event in filter(lambda one: one.startswith("id: "), events):
                    number, _, data = event.removeprefix("id: ").partition("\n")
                    self.events.append((revision_of(number), data.replace("data: ", "")))
        except (OSError, HTTPException):
            pass  # the server was killed
        self.answer.close()
        self.ended = True

    def has(self, events: list[tuple[int, str]]) -> bool:
        return self.words > 0 and self.events == events

    def texts(self) -> list[str]:
        bodies = re.findall(
            r'class="body"[^>]*>(.*?)</div>', "".join(one for _, one in self.events)
        )
        return [str(one) for one in bodies]

    def close(self) -> None:
        """Hang up, also on whoever reads."""
        if self._connection.sock is not None:
            with contextlib.suppress(OSError):
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: self.ended)
        self._connection.close()


def begin(stage: Stage) -> tuple[Visitor, str]:
    """A chat whose first message the portal has."""
    visitor = stage.visitor()
    chat = visitor.send("Hello")["chat"]
    visitor.wait_for('data-state="delivered"')
    return visitor, chat


def answer(stage: Stage, chat: str, text: str) -> int:
    return int(stage.press("answer", external_chat_id=chat, text=text)["message_id"])


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("live"), workers=2) as stage:
        stage.install()
        yield stage


def test_every_change_is_an_event(two_workers: Stage) -> None:
    visitor, chat = begin(two_workers)
    stream = Stream(visitor)
    wait_until(lambda: stream.words)

    two_workers.trouble(query_limit=10_000)  # so that its tick comes apart
    visitor.send("Second")
    wait_until(lambda: stream.texts() == ["Second"], SOON_SECONDS)
    assert 'data-state="stored"' in stream.events[-1][1]
    two_workers.trouble(query_limit=0)
    wait_until(lambda: len(stream.events) == 2)
    assert 'data-state="delivered"' in stream.events[-1][1]

    message = answer(two_workers, chat, "One")
    wait_until(lambda: stream.texts()[2:] == ["One"], SOON_SECONDS)
    two_workers.wait_for_confirmation(message)
    two_workers.press("edit", message_id=message, text="Two")
    wait_until(lambda: stream.texts()[3:] == ["Two"], SOON_SECONDS)
    two_workers.press("delete", message_id=message)
    wait_until(lambda: "deleted" in stream.events[-1][1], SOON_SECONDS)
    two_workers.press("close", external_chat_id=chat)
    wait_until(lambda: 'class="message system' in stream.events[-1][1], SOON_SECONDS)

    revisions = [number for number, _ in stream.events]
    assert revisions == sorted(set(revisions))
    stream.close()


def test_a_stream_goes_on_where_another_ended(two_workers: Stage) -> None:
    visitor, chat = begin(two_workers)
    for text in ("one", "two", "three"):
        answer(two_workers, chat, text)
    whole = Stream(visitor, 0)
    wait_until(lambda: whole.texts() == ["Hello", "one", "two", "three"])

    for number, _ in whole.events:
        rest = Stream(visitor, number)
        following = [one for one in whole.events if one[0] > number]
        wait_until(partial(rest.has, following))
        rest.close()
        once = visitor.http.get(
            f"{visitor.chat}/ajax?type=chat_stream&once=1",
            headers={"Last-Event-ID": str(number)},
            timeout=30,
        )
        assert re.findall(r"^id: \w+\.(\d+)$", once.text, re.M) == [
            str(one) for one, _ in following
        ]
    whole.close()


def test_a_stream_shows_nobody_elses_chat(two_workers: Stage) -> None:
    visitor, chat = begin(two_workers)
    other, _ = begin(two_workers)
    stream = Stream(other)
    wait_until(lambda: stream.words)

    answer(two_workers, chat, "for one only")
    visitor.wait_for("for one only")
    other.send("for the other")

    wait_until(lambda: stream.texts()[:1] == ["for the other"])
    assert "for one only" not in str(stream.events)
    stream.close()


def test_a_deletion_ends_the_chats_streams_in_all_workers(two_workers: Stage) -> None:
    visitor, chat = begin(two_workers)
    other, _ = begin(two_workers)
    elsewhere = two_workers.visitor()  # the same visitor on another device
    elsewhere.http.cookies.update(visitor.http.cookies)
    streams = [Stream(elsewhere) for _ in range(8)]
    others = Stream(other)
    wait_until(lambda: all(stream.words for stream in [*streams, others]))
    assert {stream.answer.headers["X-Chat-Id"] for stream in streams} == {chat}

    visitor.post(type="delete_conversation")

    wait_until(lambda: all(stream.ended for stream in streams), SOON_SECONDS)
    assert not others.ended
    after = Stream(elsewhere)
    assert after.answer.headers["X-Chat-Id"] not in (None, chat)
    assert elsewhere.send("anew")["chat"] == after.answer.headers["X-Chat-Id"]
    wait_until(lambda: after.texts()[:1] == ["anew"], SOON_SECONDS)
    for stream in (*streams, others, after):
        stream.close()


def test_the_headers_keep_proxies_from_holding_it_back(two_workers: Stage) -> None:
    visitor, _ = begin(two_workers)

    stream = Stream(visitor)

    assert stream.answer.headers["Content-Type"].startswith("text/event-stream")
    assert stream.answer.headers["X-Accel-Buffering"] == "no"
    assert stream.answer.headers["Cache-Control"] == "no-store, no-transform"
    wait_until(lambda: stream.words)  # it speaks at once
    stream.close()


def test_without_a_chat_there_is_no_stream(two_workers: Stage) -> None:
    answer = requests.get(f"{two_workers.chat}/ajax?type=chat_stream", timeout=30)

    assert (answer.status_code, answer.content, dict(answer.cookies)) == (204, b"", {})


def test_a_foreign_page_gets_no_stream(two_workers: Stage) -> None:
    visitor, _ = begin(two_workers)

    answer = visitor.http.get(
        f"{two_workers.chat}/ajax?type=chat_stream",
        headers={"Origin": "https://evil.example"},
        timeout=30,
    )

    assert answer.status_code == 403


def test_the_end_does_not_wait_for_streams_and_leaves_neither_socket_nor_log(
    tmp_path: Path,
) -> None:
    with Stage(tmp_path, workers=2) as stage:
        stage.install()
        visitor, _ = begin(stage)
        streams = [Stream(visitor) for _ in range(12)]
        wait_until(lambda: all(stream.words for stream in streams))
        visitor.history()  # its connection stays open and idle
        assert stage.app is not None
        stage.app.terminate()
        began = time.monotonic()

        stage.app.wait(30)

        assert time.monotonic() - began < 2  # gunicorn alone would wait for 10
        for stream in streams:
            stream.close()
        assert not list(tmp_path.glob("chats/live-*"))
        assert not list(tmp_path.glob("chats/chats.db-*"))


@pytest.mark.parametrize("depth", [0, 2, 20])
def test_processes_hear_each_other_however_deep_their_folder_lies(
    tmp_path: Path, depth: int
) -> None:
    folder = tmp_path.joinpath(*["a folder of some length"] * depth)
    opened = set(os.listdir("/dev/fd"))
    one, other = (Datagrams(folder, lambda: None) for _ in range(2))

    one.send()

    began = time.monotonic()
    one.wait(30)
    other.wait(30)
    assert time.monotonic() - began < 10
    one.close()
    other.close()
    assert not list(folder.iterdir())
    assert set(os.listdir("/dev/fd")) == opened


# -- in the browser


def open_chat(page: Page, address: str, text: str = "Hello") -> None:
    page.goto(f"{address}/")
    page.locator("live-chat[data-ready]").wait_for()
    page.locator("#message").fill(text)
    page.locator("#message").press("Enter")
    page.locator('article[data-state="delivered"]').wait_for()


def chat_of(page: Page) -> str:
    found = page.evaluate(
        "async () => (await (await fetch('ajax', {method: 'POST', body: new URLSearchParams("
        "{type: 'send_message', message: 'my id', client_id: crypto.randomUUID()})})).json()).chat"
    )
    return str(found)


def shown(page: Page) -> list[str]:
    return page.locator("article.operator .body").all_inner_texts()


class Streams:
    """A context's streams."""

    def __init__(self, context: BrowserContext) -> None:
        self._begun: list[Request] = []
        context.on("request", self._note)
        context.on("requestfinished", self._forget)
        context.on("requestfailed", self._forget)

    def _note(self, request: Request) -> None:
        if request.url.endswith("type=chat_stream"):
            self._begun.append(request)

    def _forget(self, request: Request) -> None:
        if request in self._begun:
            self._begun.remove(request)

    def open(self) -> int:
        return sum(not one.frame.page.is_closed() for one in self._begun)


@pytest.mark.firefox
def test_an_answer_an_edit_and_the_end_appear_by_themselves(two_workers: Stage, page: Page) -> None:
    open_chat(page, two_workers.chat)
    chat = chat_of(page)

    message = answer(two_workers, chat, "Good day")

    expect(page.locator("article.operator .body")).to_have_text("Good day")
    two_workers.wait_for_confirmation(message)
    two_workers.press("edit", message_id=message, text="Good evening")
    expect(page.locator("article.operator .body")).to_have_text("Good evening")
    expect(page.locator("article.operator .edited")).to_be_visible()
    two_workers.press("delete", message_id=message)
    expect(page.locator("article.operator.deleted")).to_have_count(1)
    two_workers.press("close", external_chat_id=chat)
    expect(page.locator("article.system").last).to_be_visible()


@pytest.mark.firefox
def test_a_server_killed_in_mid_conversation_is_found_again(
    tmp_path: Path, context: BrowserContext
) -> None:
    page = context.new_page()
    with Stage(tmp_path) as stage:
        stage.install()
        open_chat(page, stage.chat)
        chat = chat_of(page)
        answer(stage, chat, "before")
        expect(page.locator("article.operator")).to_have_count(1)

        stage.kill()
        expect(page.locator(".status")).to_have_attribute("data-connection", "reconnecting")
        page.locator("#message").fill("while you were away")
        page.locator("#message").press("Enter")
        stage.start()
        answer(stage, chat, "after")

        expect(page.locator("article.operator")).to_have_count(2)
        assert shown(page) == ["before", "after"]
        expect(page.locator('article.visitor[data-state="delivered"]')).to_have_count(3)
        expect(page.locator(".status")).to_have_attribute("data-connection", "ready")


def test_half_an_hour_offline_misses_nothing(two_workers: Stage, context: BrowserContext) -> None:
    page = context.new_page()
    page.clock.install()
    open_chat(page, two_workers.chat)
    chat = chat_of(page)
    context.set_offline(True)
    expect(page.locator(".status")).to_have_attribute("data-connection", "offline")
    page.locator("#message").fill("from the tunnel")
    page.locator("#message").press("Enter")
    for number in range(60):  # more than a page of the history
        answer(two_workers, chat, f"answer {number}")

    page.clock.fast_forward(ABSENCE_MINUTES * 60_000)
    context.set_offline(False)
    page.clock.run_for(2_000)

    expect(page.locator("article.operator")).to_have_count(60)
    assert shown(page) == [f"answer {number}" for number in range(60)]
    expect(page.locator('article.visitor[data-state="delivered"]')).to_have_count(3)


@pytest.mark.firefox
def test_five_tabs_hold_one_stream(two_workers: Stage, context: BrowserContext) -> None:
    streams = Streams(context)
    first = context.new_page()
    open_chat(first, two_workers.chat)
    chat = chat_of(first)
    tabs = [first, *(context.new_page() for _ in range(4))]
    for tab in tabs[1:]:
        tab.goto(f"{two_workers.chat}/")
        tab.locator("live-chat[data-ready]").wait_for()

    answer(two_workers, chat, "to all")
    for tab in tabs:
        expect(tab.locator("article.operator .body")).to_have_text("to all")
    assert streams.open() == 1

    first.close()
    answer(two_workers, chat, "to the rest")
    for tab in tabs[1:]:
        expect(tab.locator("article.operator")).to_have_count(2)
    assert streams.open() == 1

    tabs[4].locator("#message").fill("from the last tab")
    tabs[4].locator("#message").press("Enter")
    for tab in tabs[1:]:
        own = tab.locator("article.visitor", has_text="from the last tab")
        expect(own).to_have_attribute("data-state", "delivered")


def test_a_chat_taken_off_the_page_ends_all_and_goes_on_when_put_back(
    two_workers: Stage, context: BrowserContext
) -> None:
    streams = Streams(context)
    page = context.new_page()
    open_chat(page, two_workers.chat)
    chat = chat_of(page)
    locks = "async () => { const {held, pending} = await navigator.locks.query();"
    page.wait_for_function(f"{locks} return held.length === 1 }}")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.evaluate("() => { window.taken = document.querySelector('live-chat'); taken.remove() }")

    page.wait_for_function(f"{locks} return held.length + pending.length === 0 }}")
    page.evaluate(
        "() => { for (const name of ['online', 'offline']) dispatchEvent(new Event(name)) }"
    )
    page.wait_for_timeout(500)
    assert streams.open() == 0
    assert asked == []

    page.evaluate("() => document.body.append(taken)")
    answer(two_workers, chat, "Back again?")
    expect(page.locator("article.operator .body")).to_have_text("Back again?")
    page.locator("#message").fill("Yes.")
    page.locator("#message").press("Enter")
    expect(page.locator("article.visitor .body").last).to_have_text("Yes.")
    expect(page.locator('article[data-state="delivered"]')).to_have_count(3)


# -- a proxy that holds answers back until they end


# What a proxy says anew; requests has unpacked what was packed.
ENDS_HERE = ("connection", "transfer-encoding", "content-length", "content-encoding")


class Proxy(BaseHTTPRequestHandler):
    target = ""
    holds = True
    held = 0

    def do_GET(self) -> None:
        self._pass_on(None)

    def do_POST(self) -> None:
        self._pass_on(self.rfile.read(int(self.headers["Content-Length"])))

    def _pass_on(self, body: bytes | None) -> None:
        headers = {name: value for name, value in self.headers.items() if name != "Connection"}
        with requests.Session() as http, http.request(
            self.command, Proxy.target + self.path, data=body, headers=headers, stream=True,
            allow_redirects=False, timeout=60,
        ) as answer:  # fmt: skip
            stream = answer.headers.get("Content-Type", "").startswith("text/event-stream")
            if stream and Proxy.holds:
                Proxy.held += 1
                parts = [answer.content]
            else:
                parts = answer.iter_content(None)  # type: ignore[assignment]
            self.send_response(answer.status_code)
            for name, value in answer.raw.headers.items():
                if name.lower() not in ENDS_HERE:
                    self.send_header(name, value)
            self.end_headers()
            for part in parts:
                self.wfile.write(part)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def test_behind_a_proxy_that_holds_streams_back_it_polls_and_goes_back(
    tmp_path: Path, context: BrowserContext
) -> None:
    port = free_port()
    server = ThreadingHTTPServer((HOST, port), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://{HOST}:{port}"
    page = context.new_page()
    page.clock.install()
    with Stage(tmp_path, SITECHAT_PUBLIC_URL=address) as stage:
        Proxy.target = stage.chat
        stage.install()
        open_chat(page, address)
        chat = chat_of(page)
        wait_until(lambda: Proxy.held)

        answer(stage, chat, "through the poll")
        page.clock.run_for(11_000)
        expect(page.locator("article.operator .body")).to_have_text("through the poll")

        Proxy.holds = False
        page.clock.run_for(50_000)  # the watchdog gives the held one up
        with page.expect_request(lambda one: one.url.endswith("chat_stream"), timeout=30_000):
            page.clock.run_for(60_000)
        page.clock.run_for(1_000)
        polls: list[str] = []
        page.on("request", lambda one: polls.append(one.url) if "once" in one.url else None)
        answer(stage, chat, "through the stream")
        expect(page.locator("article.operator")).to_have_count(2)
        page.clock.run_for(12_000)
        assert polls == []
    server.shutdown()
    server.server_close()


def test_a_page_that_is_one_too_many_polls_and_asks_for_a_stream_again(
    two_workers: Stage, context: BrowserContext
) -> None:
    page = context.new_page()
    page.clock.install()
    page.route(
        lambda url: url.endswith("chat_stream"),
        lambda route: route.fulfill(status=429, headers={"Retry-After": "30"}),
    )
    open_chat(page, two_workers.chat)
    chat = chat_of(page)

    answer(two_workers, chat, "through the poll")
    page.clock.run_for(11_000)
    expect(page.locator("article.operator .body")).to_have_text("through the poll")
    expect(page.locator("[data-connection]")).to_have_attribute("data-connection", "ready")

    page.unroute_all()
    with page.expect_response(lambda one: one.url.endswith("chat_stream"), timeout=30_000):
        page.clock.run_for(60_000)
    answer(two_workers, chat, "through the stream")
    expect(page.locator("article.operator")).to_have_count(2)
