"""What a visitor counts on and seldom sees: waking up, what is unsent, other sites, all senses."""

import itertools
import json
import os
import re
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from embed_parts import Site, chat_in
from pages import chat_of, faults, open_page, page_of, write
from playwright.sync_api import Browser, FilePayload, Page, Route, expect
from stage import ROOT, Stage, Visitor, wait_until
from test_live import Stream, answer, begin
from test_page import continue_as

from live import Listener, Live
from storage import Store

SHOP = "https://shop.example"
OWN = "article.message.visitor"


class Shop(Site):
    """A site with a page on which there is nothing to mend."""

    def policy(self) -> str:
        return "frame-ancestors 'none'"

    def page(self) -> str:
        script = f'<script async src="{self.chat}/static/loader.js"></script>'
        return (
            f"<!doctype html><html lang=en><title>Shop</title>{script}<main><h1>Lamps</h1></main>"
        )


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.server.shutdown()
    shop.server.server_close()


@pytest.fixture(scope="module")
def stage(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    sites = json.dumps([SHOP, shop.origin, "https://*.лампы.рф"])
    with Stage(tmp_path_factory.mktemp("visitor"), SITECHAT_CHAT__SITES=sites) as stage:
        stage.install()
        shop.chat = stage.chat
        yield stage


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with page_of(browser) as page:
        yield page


# -- a page that slept, a server that is away

# Streams that were open when the machine slept bring nothing more, and the clock has gone on.
SLEEPER = """
  const [ask, now] = [window.fetch, Date.now]
  let [slept, begun, lost] = [0, 0, 0]
  window.words = 0
  window.sleep = () => [lost, slept] = [begun, slept + 60_000]
  Date.now = () => now() + slept
  window.fetch = async (url, options) => {
    const response = await ask(url, options)
    if (!String(url).endsWith("type=chat_stream") || !response.body) return response
    const mine = ++begun
    const transform = (part, to) => mine > lost && to.enqueue(part, window.words++)
    return new Response(response.body.pipeThrough(new TransformStream({transform})), response)
  }
"""
WAKING = (
    "document.dispatchEvent(new Event('visibilitychange'))",
    "window.dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))",
    "window.dispatchEvent(new Event('online'))",
)


def test_a_page_that_wakes_up_asks_at_once_for_what_it_missed(stage: Stage, page: Page) -> None:
    page.add_init_script(SLEEPER)
    visitor, chat = begin(stage)
    continue_as(page, stage, visitor)
    page.wait_for_function("() => words")

    for number, event in enumerate(WAKING, 1):
        page.evaluate("() => sleep()")
        answer(stage, chat, event)
        page.evaluate(event)

        # Long before the page would find out by itself that the server is silent.
        expect(page.locator("article.operator"), event).to_have_count(number, timeout=15_000)


# What the tabs tell each other comes in here.
TABS = """
  window.BroadcastChannel = class extends BroadcastChannel {
    constructor(name) { super(name); window.tabs = this }
  }
"""


def test_a_tab_that_sleeps_while_it_holds_the_stream_is_replaced(stage: Stage, page: Page) -> None:
    for script in (SLEEPER, TABS):
        page.add_init_script(script)
    visitor, chat = begin(stage)
    continue_as(page, stage, visitor)
    page.wait_for_function("() => words")
    other = page.context.new_page()
    open_page(other, stage)
    page.evaluate("() => { tabs.onmessage = null; sleep() }")

    with other.expect_request(lambda one: one.url.endswith("type=chat_stream")):
        other.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")

    answer(stage, chat, "Who is awake?")
    expect(other.locator("article.operator .body")).to_have_text("Who is awake?")


def test_what_comes_late_does_not_undo_a_later_change(stage: Stage, page: Page) -> None:
    page.add_init_script(TABS)
    open_page(page, stage)
    write(page, "as it is")
    body = page.locator(f"{OWN} .body")

    for change, text in ((-1, "as it is"), (0, "as it is"), (1, "as it was")):
        page.evaluate(
            """(change) => {
              const late = document.querySelector("article.visitor").cloneNode(true)
              late.dataset.revision = Number(late.dataset.revision) + change
              late.querySelector(".body").textContent = "as it was"
              tabs.onmessage({data: {kind: "changed", value: late.outerHTML}})
            }""",
            change,
        )
        expect(body, str(change)).to_have_text(text)


# When it asked for a stream, by its own clock; there is none to be had.
NO_STREAM = """
  const ask = window.fetch
  window.tries = []
  Math.random = () => CHANCE
  window.fetch = async (url, options) => {
    if (!String(url).includes("type=chat_stream")) return ask(url, options)
    if (!String(url).includes("once")) window.tries.push(Date.now())
    throw new TypeError("no stream")
  }
"""


def pauses(page: Page, stage: Stage, visitor: Visitor, chance: float) -> list[float]:
    """The seconds between a page's tries for a stream in half an hour."""
    page.add_init_script(NO_STREAM.replace("CHANCE", str(chance)))
    page.clock.install(time=0)
    page.clock.pause_at(1_000)
    continue_as(page, stage, visitor)
    page.wait_for_function("() => window.tries?.length")
    page.clock.run_for(30 * 60_000)
    tries: list[float] = page.evaluate("() => tries")
    assert tries[-1] - tries[0] > 29 * 60_000  # it never gives up
    return [(later - sooner) / 1000 for sooner, later in itertools.pairwise(tries)]


def test_pages_do_not_come_back_all_at_once_and_never_give_up(
    stage: Stage, browser: Browser
) -> None:
    visitor, _ = begin(stage)
    with page_of(browser) as page, page_of(browser) as other:
        soonest, latest = pauses(page, stage, visitor, 0), pauses(other, stage, visitor, 0.999)

    assert [round(one) for one in latest[:8]] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert [one / two for one, two in zip(soonest, latest, strict=False)] == pytest.approx(
        [0.5] * len(latest), rel=0.02
    )


# -- writing


def test_enter_sends_but_not_while_a_word_is_composed(stage: Stage, page: Page) -> None:
    open_page(page, stage)
    field = page.locator("#message")
    field.fill("nihon")
    for composing in ("isComposing: true", "keyCode: 229"):
        taken = field.evaluate(f"""(field) => !field.dispatchEvent(new KeyboardEvent(
          "keydown", {{key: "Enter", bubbles: true, cancelable: true, {composing}}}))""")
        assert not taken, composing
        expect(field).to_have_value("nihon")

    field.press("Shift+Enter")
    field.press_sequentially("go")
    expect(field).to_have_value("nihon\ngo")
    assert page.locator(OWN).count() == 0

    field.press("Enter")
    expect(page.locator(f"{OWN} .body")).to_have_text("nihon\ngo", use_inner_text=True)
    expect(field).to_have_value("")


def test_a_draft_survives_a_reload_and_goes_with_its_message(stage: Stage, page: Page) -> None:
    open_page(page, stage)
    page.locator("#message").fill("half a\nthought")

    page.reload()
    expect(page.locator("#message")).to_have_value("half a\nthought")

    page.locator("#message").press("Enter")
    page.locator(f"{OWN}[data-id]").wait_for()
    page.reload()
    page.locator("live-chat[data-ready]").wait_for()
    expect(page.locator("#message")).to_have_value("")


def write_in_a_tunnel(page: Page, *texts: str) -> None:
    """The server hears the first text; neither its answer nor anything else comes through."""
    heard: list[str] = []

    def lose(route: Route) -> None:
        if "send_message" in (route.request.post_data or "") and not heard:
            heard.append(route.fetch().text())
        route.abort()

    page.route("**/ajax*", lose)
    for text in texts:
        page.locator("#message").fill(text)
        page.locator("#message").press("Enter")
    page.locator(f"{OWN} .reason button").first.wait_for()
    page.reload()
    page.locator("live-chat[data-ready]").wait_for()


def test_what_was_unsent_at_a_reload_goes_out_in_order_and_once(stage: Stage, page: Page) -> None:
    texts = ["the first", "the second", "the third"]
    open_page(page, stage)
    write_in_a_tunnel(page, *texts)
    waiting = page.locator(f'{OWN}[data-state="waiting"] .body')
    assert waiting.all_inner_texts()[-2:] == texts[1:]

    page.unroute("**/ajax*")
    page.evaluate("() => dispatchEvent(new Event('online'))")

    chat = chat_of(stage, texts[0])
    wait_until(lambda: stage.texts(chat)[2:])
    page.reload()
    expect(page.locator(f'{OWN}[data-state="delivered"] .body')).to_have_text(texts)
    expect(page.locator(OWN)).to_have_count(3)
    assert stage.texts(chat) == texts


def test_a_message_whose_answer_was_lost_is_shown_once_after_a_reload(
    stage: Stage, page: Page
) -> None:
    open_page(page, stage)

    write_in_a_tunnel(page, "heard all the same")

    assert page.locator(OWN).count() == 1


def test_tabs_send_what_is_unsent_one_after_the_other(stage: Stage, page: Page) -> None:
    open_page(page, stage)
    tabs = (page, page.context.new_page())
    for tab in tabs:
        tab.route("**/ajax*", lambda route: route.abort())
    page.locator("#message").fill("in one tab's turn")
    page.locator("#message").press("Enter")
    open_page(tabs[1], stage)
    for tab in tabs:
        tab.locator(f"{OWN} .reason button").first.wait_for()
    held: list[Route] = []
    waiting = True

    def hold(route: Route) -> None:
        sends = "send_message" in (route.request.post_data or "")
        held.append(route) if sends and waiting else route.continue_()

    page.context.route("**/ajax*", hold)
    for tab in tabs:
        tab.unroute("**/ajax*")
        tab.evaluate("() => dispatchEvent(new Event('online'))")
    page.wait_for_timeout(2_000)
    assert len(held) == 1

    waiting = False  # a tab may learn late that another has sent it; then it sends the same again
    held[0].continue_()

    for tab in tabs:
        expect(tab.locator(f'{OWN}[data-state="delivered"]')).to_have_count(1)
        expect(tab.locator(OWN)).to_have_count(1)
    assert stage.texts(chat_of(stage, "in one tab's turn")) == ["in one tab's turn"]


def test_the_pause_that_the_server_asks_for_is_kept(stage: Stage, page: Page) -> None:
    page.clock.install()
    open_page(page, stage)
    sent: list[str] = []

    def be_busy(route: Route) -> None:
        if "send_message" not in (route.request.post_data or ""):
            return route.continue_()
        sent.append(route.request.url)
        if len(sent) > 1:
            return route.continue_()
        return route.fulfill(status=429, headers={"Retry-After": "20"}, json={"result": {}})

    page.route("**/ajax*", be_busy)
    page.locator("#message").fill("in a while")
    page.locator("#message").press("Enter")
    expect(page.locator(f"{OWN} .reason")).to_contain_text("in a moment")

    page.clock.run_for(19_000)
    page.wait_for_timeout(300)
    assert len(sent) == 1
    page.clock.run_for(2_000)

    expect(page.locator(f"{OWN}[data-id]")).to_have_count(1)
    assert len(sent) == 2


# -- in another site

# What the frame says over channels; nobody but the page that opened one hears it.
OVERHEAR = """
  const {postMessage} = MessagePort.prototype
  window.answers = []
  MessagePort.prototype.postMessage = function (...what) {
    window.answers.push(what)
    postMessage.apply(this, what)
  }
"""


def without_policy(route: Route) -> None:
    """A browser that leaves to the page itself who may embed it."""
    response = route.fetch()
    headers = {k: v for k, v in response.headers.items() if k != "content-security-policy"}
    route.fulfill(response=response, headers=headers)


@contextmanager
def shop_page(browser: Browser, shop: Shop, **options: Any) -> Iterator[Page]:
    """The page of a named site, its launcher drawn."""
    with page_of(browser, **options) as page:
        page.goto(f"{shop.origin}/")
        page.get_by_role("button", name="Chat").wait_for()
        yield page


def is_answered(browser: Browser, stage: Stage, origin: str) -> bool:
    """Whether the frame lets a page of that origin have the chat.

    A page that may not have it learns by {} no more than that it may show the frame, which says so.
    """
    with page_of(browser) as page:
        page.add_init_script(OVERHEAR)
        page.route(f"{origin}/", lambda route: route.fulfill(body="<body>"))
        page.goto(f"{origin}/")
        page.route("**/?embed=1", without_policy)
        page.evaluate(
            """(address) => {
              const frame = document.createElement("iframe")
              frame.src = address
              document.body.append(frame)
            }""",
            f"{stage.chat}/?embed=1",
        )
        # The words of a page that listens for the greeting.
        page.frame_locator("iframe").locator('.status[data-connection="connecting"]').wait_for()
        frame = page.frames[-1]
        frame.evaluate("""() => {
          window.heard = new Promise((then) => addEventListener("message", then, {once: true}))
        }""")
        page.evaluate(
            "(to) => frames[0].postMessage({open: true}, to, [new MessageChannel().port2])",
            stage.chat,
        )
        frame.evaluate("() => heard")
        status = frame.locator('.status:not([data-connection="connecting"])')
        connection = status.get_attribute("data-connection")
        if connection == "refused":
            assert frame.evaluate("answers.map(([what]) => what)") == [{}]
        return connection == "ready"


def test_the_frame_answers_pages_of_the_named_sites_alone(stage: Stage, browser: Browser) -> None:
    assert is_answered(browser, stage, SHOP)
    assert is_answered(browser, stage, "https://ru.xn--80avem4d.xn--p1ai")  # ru.лампы.рф

    for origin in (
        "https://evil.example",
        "http://shop.example",
        f"{SHOP}:8443",
        f"{SHOP}.evil.example",
        "https://a.shop.example",
        "https://xn--80avem4d.xn--p1ai",
    ):
        assert not is_answered(browser, stage, origin), origin


def test_on_phones_the_panel_is_as_high_as_what_is_seen_and_nothing_zooms(
    stage: Stage, browser: Browser
) -> None:
    small = (ROOT / "static/launcher.css").read_text().partition("@media (max-width: 480px)")[2]
    panel = re.search(r"section \{(.*?)\}", small, re.DOTALL)
    assert panel
    assert "height: 100dvh" in [line.strip() for line in panel[1].split(";")]

    phone: dict[str, Any] = {"viewport": {"width": 375, "height": 667}, "has_touch": True}
    with page_of(browser, **phone, is_mobile=True) as page:
        open_page(page, stage)
        for field in ("#message", "#name"):
            size = page.locator(field).evaluate(
                "(one) => parseFloat(getComputedStyle(one).fontSize)"
            )
            assert size >= 16, field


# -- the server's side of it


class Bell(threading.Event):
    """Rings never; notes how long it was listened for, and nobody has to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        assert len(self.waits) < 9, "nothing is said"
        return False


class Silence(Live):
    """A process in which nothing happens."""

    bell = Bell()

    def _add(self, chat_id: str, hang_up: Callable[[], None] | None = None) -> Listener:
        listener = super()._add(chat_id, hang_up)
        listener.bell = self.bell
        return listener


def test_the_heart_beats_at_once_and_then_every_20_seconds(tmp_path: Path) -> None:
    with closing(Store("sqlite:///chats.db", tmp_path, 1)) as store:
        store.open()
        live = Silence(store)
        stream = live.follow("chat", None)

        assert next(stream) is None
        assert live.bell.waits == []
        assert [next(stream), next(stream)] == [None, None]
        # Up to 0.2 s more: those of many streams go together.
        assert len(live.bell.waits) == 2
        assert all(wait and 20 <= wait <= 20.2 for wait in live.bell.waits)
        stream.close()

    silence = re.search(r"SILENCE_SECONDS = (\d+)", (ROOT / "static/stream.js").read_text())
    assert silence
    assert int(silence[1]) > 2 * 20  # one may be lost on the way


@contextmanager
def stopped(process: int) -> Iterator[None]:
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def reached(visitor: Visitor, stream: Stream) -> float:
    """The seconds until a stream has the visitor's next message."""
    known, began = len(stream.events), time.monotonic()
    visitor.send("next")
    wait_until(lambda: len(stream.events) > known)
    return time.monotonic() - began


def test_what_one_worker_writes_another_workers_streams_show_at_once(tmp_path: Path) -> None:
    # Not installed: nothing is sent on, so nothing else is written meanwhile.
    with Stage(tmp_path, workers=2) as stage:
        assert stage.app is not None
        children = Path(f"/proc/{stage.app.pid}/task/{stage.app.pid}/children")
        wait_until(lambda: len(list(tmp_path.glob("chats/live-*"))) == 2)
        first, second = map(int, children.read_text().split())
        one, other = stage.visitor(), stage.visitor()
        for visitor, absent in ((one, second), (other, first)):
            with stopped(absent):  # the connection is the other worker's, and stays
                visitor.http.get(f"{stage.chat}/static/icon.svg", timeout=30)
        one.send("first")
        other.http.cookies.update(one.http.cookies)
        stream = Stream(one)  # of whichever worker
        wait_until(lambda: stream.words)

        for visitor in (one, other):
            took = [reached(visitor, stream) for _ in range(5)]

            # Without hints it looks a second after it looked last: when it found the one before.
            assert statistics.median(took) < 0.5, took
        stream.close()


# -- for all senses


def with_a_message_on_its_way(page: Page, stage: Stage) -> None:
    """A page with an answer that has just come and a message that waits."""
    visitor, chat = begin(stage)
    page.route(
        "**/ajax*", lambda route: None if route.request.method == "POST" else route.continue_()
    )
    continue_as(page, stage, visitor)
    page.locator("live-chat[data-ready]").wait_for()
    page.locator("#message").fill("on its way")
    page.locator("#message").press("Enter")
    answer(stage, chat, "here")
    expect(page.locator("article.operator.arrives")).to_have_count(1)


MOVING = "() => document.getAnimations().map((one) => one.animationName || one.transitionProperty)"


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_nothing_moves_for_whom_motion_is_too_much(
    stage: Stage, shop: Shop, browser: Browser, motion: Any
) -> None:
    with page_of(browser, reduced_motion=motion) as page:
        with_a_message_on_its_way(page, stage)
        page.locator(".status").evaluate("(one) => (one.dataset.connection = 'reconnecting')")
        moving = page.evaluate(MOVING)
        arrives = page.locator(".arrives")
        style = "(one) => getComputedStyle(one).animationName"

        if motion == "reduce":
            assert moving == []
            assert arrives.evaluate(style) == "none"
            expect(page.locator(".send")).to_have_css("transition-duration", "0s")
        else:
            assert {"turn", "breathe"} <= {*moving}
            assert arrives.evaluate(style) == "arrive"

    with shop_page(browser, shop, reduced_motion=motion) as page:
        panel = page.locator("section")
        still = panel.evaluate("(one) => getComputedStyle(one).transitionDuration") == "0s"
        assert still == (motion == "reduce")


def system_colour(page: Page, name: str) -> str:
    colour: str = page.evaluate(
        """(name) => {
          const probe = document.body.appendChild(document.createElement("p"))
          probe.style.color = name
          return getComputedStyle(probe).color
        }""",
        name,
    )
    return colour


def test_in_forced_colours_bubbles_have_edges_and_pictures_lines(
    stage: Stage, shop: Shop, browser: Browser
) -> None:
    with page_of(browser, forced_colors="active") as page:
        with_a_message_on_its_way(page, stage)
        ink, ground = system_colour(page, "CanvasText"), system_colour(page, "Canvas")
        assert ink != ground
        for bubble, width in ((".message.operator", "1px"), (".message.visitor", "2px")):
            expect(page.locator(bubble).last).to_have_css("border-top-width", width)
            expect(page.locator(bubble).last).to_have_css("border-top-color", ink)
        for part in (".mark .theirs", ".mark .ours"):
            expect(page.locator(part)).to_have_css("fill", ground)
            expect(page.locator(part)).to_have_css("stroke", ink)
        # The colour of the connection is its meaning.
        dot = "(one) => getComputedStyle(one, '::before').borderTopColor"
        assert page.locator(".status").evaluate(dot) == "rgb(127, 224, 163)"

    with shop_page(browser, shop, forced_colors="active") as page:
        expect(page.locator("button i")).to_have_css(
            "background-color", system_colour(page, "ButtonText")
        )
        expect(page.locator("section")).to_have_css("border-top-width", "1px")


SIZES = ((320, 640), (1280, 800))


def test_axe_finds_nothing_in_a_russian_page_with_a_refusal_an_upload_and_news_below(
    stage: Stage, browser: Browser
) -> None:
    visitor, chat = begin(stage)
    for number in range(8):
        visitor.send("\n".join(["строка"] * 5) + str(number))
    refusal = {"result": {"error": "X", "error_description": "Так нельзя."}}

    def answers(route: Route) -> None:
        if b"send_message" in (route.request.post_data_buffer or b""):
            route.fulfill(status=400, json=refusal, headers={"X-Chat-Server": "sitechat"})
        elif route.request.method == "GET":
            route.continue_()  # and the upload hangs

    with page_of(browser, bypass_csp=True, reduced_motion="reduce") as page:
        page.route("**/ajax*", answers)
        cookies = [(one.name, str(one.value)) for one in visitor.http.cookies]
        page.context.add_cookies([{"name": n, "value": v, "url": stage.chat} for n, v in cookies])
        open_page(page, stage, "?lang=ru")
        page.locator("#message").fill("отказано")
        page.locator("#message").press("Enter")
        page.locator('[data-state="refused"] .reason', has_text="Так нельзя.").wait_for()
        files = [("virus.exe", "application/x-msdownload"), ("note.txt", "text/plain")]
        page.set_input_files(
            ".clip input",
            [FilePayload(name=name, mimeType=kind, buffer=b"x" * 999) for name, kind in files],
        )
        page.get_by_role("progressbar", name=re.compile(r"\S")).wait_for()
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.locator(".log").evaluate("(log) => (log.scrollTop = 0)")
            page.wait_for_timeout(50)  # it hears of the scroll with the next frame
            answer(stage, chat, f"новость {width}")
            page.locator(".jump").wait_for()

            assert faults(page) == [], width
            expect(page.locator(".jump")).to_be_visible()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_axe_finds_nothing_in_an_embedded_chat_and_the_page_around_it(
    stage: Stage, shop: Shop, browser: Browser, width: int, height: int
) -> None:
    window: Any = {"width": width, "height": height}
    options: dict[str, Any] = {"bypass_csp": True, "reduced_motion": "reduce"}
    with shop_page(browser, shop, viewport=window, **options) as page:
        assert faults(page) == []

        page.get_by_role("button", name="Chat").click()
        frame = chat_in(page)
        frame.locator("#message").fill("hello")
        frame.locator("#message").press("Enter")
        frame.locator(f"{OWN}[data-id]").wait_for()

        assert faults(frame) == []
        # Filled, all of the page but the frame is inert, and axe-core does not look across origins.
        filled = ("landmark-one-main", "page-has-heading-one") if width < 480 else ()
        assert faults(page, *filled) == []
