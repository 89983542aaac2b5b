"""The chat in other sites' pages: the loader, the panel, and visitors known without cookies."""

import gzip
import json
import re
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Frame, Page, Route, expect
from stage import Stage, wait_until
from test_browser import dialog_of
from test_embed_visitors import SECRET, signed

LOADER_BYTES = 3 * 1024
PAGE_BYTES = 30 * 1024  # until the chat is seen, its own page and scripts
CHAT_BYTES = 45 * 1024
GZIP = {"Accept-Encoding": "gzip"}


@pytest.mark.parametrize("language", ["en", "ru"])
def test_loader_and_page_are_light(stage: Stage, language: str) -> None:
    client = stage.visitor().http
    page = client.get(f"{stage.chat}/?embed=1&lang={language}", timeout=30).text
    parts = re.findall(r'(?:src|href)="/static/\w+/([a-z]+\.(?:js|css|svg))"', page)

    def sent(name: str) -> int:
        """The bytes that a browser is sent."""
        answer = client.get(f"{stage.chat}/static/{name}", headers=GZIP, timeout=30)
        return int(answer.headers["Content-Length"])

    first = len(gzip.compress(page.encode())) + sum(map(sent, parts))
    later = sum(map(sent, ("loader.js", "panel.js", "upload.js")))

    assert {"chat.js", "chat.css", "embed.js"} <= {*parts}
    assert sent("loader.js") <= LOADER_BYTES
    assert first <= PAGE_BYTES
    assert first + later <= CHAT_BYTES


class Site:
    """Another company's web server with a strict policy of its own."""

    def __init__(self) -> None:
        self.chat = ""
        self.head = "<!doctype html>"  # what a page begins with
        self.data = ""  # the script's data- attributes
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = site.page().encode() if self.path != "/favicon.ico" else b""
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Security-Policy", site.policy())
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://localhost:{self.server.server_port}"  # a site apart from 127.0.0.1
        Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def policy(self) -> str:
        """As strict as a site can be that embeds the chat."""
        return (
            f"default-src 'none'; script-src {self.chat}; frame-src {self.chat};"
            " base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
        )

    def page(self) -> str:
        script = f'<script async src="{self.chat}/static/loader.js" {self.data}></script>'
        filler = "<p>Lamps for long evenings</p>" * 60
        return f"{self.head}<title>Shop</title>{script}<body><a href=#x>link</a>{filler}"


@pytest.fixture(scope="module")
def sites() -> Iterator[list[Site]]:
    """Two sites; only the first is allowed."""
    sites = [Site(), Site()]
    yield sites
    for site in sites:
        site.server.shutdown()
        site.server.server_close()


@pytest.fixture(scope="module")
def stage(sites: list[Site], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(
        tmp_path_factory.mktemp("stage"),
        SITECHAT_CHAT__SITES=json.dumps([sites[0].origin]),
        SITECHAT_CHAT__IDENTITY_SECRET=SECRET,
    )
    with stage:
        stage.install()
        for site in sites:
            site.chat = stage.chat
        yield stage


@pytest.fixture
def shop(stage: Stage, sites: list[Site]) -> Iterator[Site]:
    yield sites[0]
    sites[0].head, sites[0].data = "<!doctype html>", ""


Open = Callable[..., Page]

FILLED = """() => {
  const {x, y, width, height} = document.querySelector("html > div").shadowRoot
    .querySelector("iframe").getBoundingClientRect()
  return [x, y, width, height].map(Math.round).join() === "0,0,375,667"
}"""

# What happened on the page, and what a site may not see happen.
WATCH = """
if (window === parent) {
  window.told = []
  window.shift = 0
  for (const name of ["ready", "open", "close", "message", "unread", "identify", "error"])
    addEventListener("sitechat:" + name, ({detail}) => told.push([name, detail]))
  new PerformanceObserver((list) => list.getEntries().forEach(({value}) => (window.shift += value)))
    .observe({type: "layout-shift", buffered: true})
  window.notes = []
  window.Notification = class {
    static requestPermission() { notes.push("asked") }
    constructor(title) { notes.push(title) }
  }
} else {
  window.rung = 0
  const {createOscillator} = AudioContext.prototype
  AudioContext.prototype.createOscillator = function () {
    window.rung++
    return createOscillator.call(this)
  }
}
"""
NO_STORAGE = """
if (window !== parent)
  for (const name of ["localStorage", "sessionStorage"])
    Object.defineProperty(window, name, {
      get() { throw new DOMException("blocked", "SecurityError") },
    })
"""


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Opens a page in a browser of its own, on which nothing may fail."""
    contexts: list[BrowserContext] = []
    troubles: list[str] = []

    def note(said: ConsoleMessage) -> None:
        if said.type == "error" and "403" not in said.text:  # a wrong signature: asked for
            troubles.append(said.text)

    def open_page(url: str, *scripts: str, **options: Any) -> Page:
        options = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"} | options
        context = browser.new_context(**options)
        context.set_default_timeout(30_000)
        contexts.append(context)
        for script in (WATCH, *scripts):
            context.add_init_script(script)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", note)
        page.goto(url)
        page.wait_for_function("() => window.SiteChat?.open && document.querySelector('div')")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def chat_in(page: Page) -> Frame:
    """The chat's frame once it is alive."""
    page.frame_locator("iframe").locator("live-chat[data-ready]").wait_for()
    return page.frames[-1]


def say(page: Page, text: str) -> None:
    frame = chat_in(page)
    frame.locator("#message").fill(text)
    frame.locator("#message").press("Enter")
    frame.locator("article.message.visitor[data-id]", has_text=text).wait_for()


def test_the_page_pays_one_request_and_no_movement(stage: Stage, shop: Site, opened: Open) -> None:
    asked: list[str] = []
    page = opened(f"{shop.origin}/")
    page.on("request", lambda request: asked.append(request.url))

    page.reload(wait_until="networkidle")
    page.get_by_role("button", name="Chat").wait_for()

    assert asked[1:] == [f"{stage.chat}/static/loader.js"]
    assert page.locator("iframe").count() == 0
    assert page.evaluate("() => [shift, localStorage.length]") == [0, 0]
    box = page.get_by_role("button", name="Chat").bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 44

    page.get_by_role("button", name="Chat").hover()
    chat_in_background = page.frame_locator("iframe").locator("live-chat[data-ready]")
    chat_in_background.wait_for(state="attached")
    expect(page.locator("iframe")).to_be_hidden()
    page.get_by_role("button", name="Chat").click()
    chat_in(page)

    assert {"/".join(url.split("/")[:3]) for url in asked} == {shop.origin, stage.chat}
    assert page.evaluate("() => [shift, localStorage.length]") == [0, 0]
    assert page.context.cookies() == []


def test_reset_stores_nothing_where_nobody_wrote(stage: Stage, shop: Site, opened: Open) -> None:
    page = opened(f"{shop.origin}/")

    page.evaluate("() => SiteChat.reset()")

    assert page.evaluate("() => localStorage.length") == 0
    assert page.locator("iframe").count() == 0


def test_quirks_rtl_and_a_second_script_do_no_harm(stage: Stage, shop: Site, opened: Open) -> None:
    again = f'<script async src="{stage.chat}/static/loader.js"></script>'
    shop.head = f"<html dir=rtl>{again}"

    page = opened(f"{shop.origin}/")
    page.wait_for_load_state("networkidle")

    assert page.evaluate("() => document.compatMode") == "BackCompat"
    expect(page.get_by_role("button", name="Chat")).to_have_count(1)
    box = page.get_by_role("button", name="Chat").bounding_box()
    assert box is not None
    assert box["x"] < 100


def test_the_history_survives_blocked_cookies_and_frame_storage(
    stage: Stage, shop: Site, opened: Open
) -> None:
    urls: list[str] = []
    page = opened(f"{shop.origin}/checkout?card=private#secret", NO_STORAGE)
    page.on("request", lambda request: urls.append(request.url))
    page.get_by_role("button", name="Chat").click()
    say(page, "no cookies here")
    page.evaluate("() => SiteChat.close()")
    chat = dialog_of(stage, "no cookies here")
    stage.press("answer", external_chat_id=chat, text="nor needed")

    page.reload()

    page.wait_for_function("() => document.title === '(1) Shop'")  # a conversation goes on
    page.get_by_role("button", name="New messages: 1").click()
    expect(chat_in(page).locator("article .body")).to_have_text(["no cookies here", "nor needed"])
    page.wait_for_function("() => document.title === 'Shop'")
    say(page, "the same chat")
    assert page.context.cookies() == []
    wait_until(lambda: len(stage.texts(chat)) == 2)
    token = page.evaluate("() => JSON.parse(Object.values(localStorage)[0]).token")
    assert token
    assert not any(token in url for url in urls)
    sent = str(stage.calls("imconnector.send.messages"))
    assert f"{shop.origin}/checkout" in sent
    assert "private" not in sent  # a word: digits may stand in any id or time by chance


def test_a_site_that_is_not_named_cannot_embed(
    stage: Stage, sites: list[Site], browser: Browser
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{sites[1].origin}/")
    page.wait_for_function("() => window.SiteChat?.open")

    with page.expect_event("console", lambda said: "frame-ancestors" in said.text):
        page.evaluate("() => SiteChat.open()")

    expect(page.frame_locator("iframe").locator("live-chat")).to_have_count(0)
    context.close()


def shows_an_error(page: Page) -> bool:
    """Whether the frame holds the browser's own page of a failed request."""
    page.wait_for_timeout(50)
    return page.frames[-1].url.startswith("chrome-error:")


@pytest.mark.firefox
def test_embedded_it_talks_and_remembers_in_every_browser(
    stage: Stage, shop: Site, browser: Browser
) -> None:
    text = f"from another site, in {browser.browser_type.name}"
    context = browser.new_context(locale="en-GB")
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.goto(f"{shop.origin}/")
    page.wait_for_function("() => window.SiteChat?.open")
    page.evaluate("() => SiteChat.open()")
    frame = chat_in(page)
    frame.locator("#message").fill(text)
    # Playwright's keys and clicks do not reach a frame of another site in Firefox.
    frame.locator(".composer").evaluate("(form) => form.requestSubmit()")
    frame.locator('article[data-state="delivered"]').wait_for()
    chat = dialog_of(stage, text)

    stage.press("answer", external_chat_id=chat, text="Welcome to the shop.")
    frame.locator("article.operator", has_text="Welcome to the shop.").wait_for()

    page.reload()
    page.wait_for_function("() => window.SiteChat?.open")
    page.evaluate("() => SiteChat.open()")
    expect(chat_in(page).locator("article .body")).to_have_text([text, "Welcome to the shop."])
    context.close()


def test_a_server_that_is_away_is_asked_again_and_can_be_left(
    stage: Stage, shop: Site, browser: Browser
) -> None:
    context = browser.new_context(locale="en-GB", viewport={"width": 375, "height": 667})
    page = context.new_page()
    page.goto(f"{shop.origin}/")
    page.wait_for_function("() => window.SiteChat?.open")
    context.route("**/?embed=1*", lambda route: route.abort())
    launcher = page.get_by_role("button", name="Chat")

    with page.expect_event("requestfailed"):
        launcher.click()

    wait_until(lambda: shows_an_error(page))
    expect(page.locator("iframe")).to_have_css("opacity", "0")  # the browser's own error
    expect(page.locator("section", has_text="Connecting…")).to_be_visible()
    launcher.click()
    expect(page.locator("section")).to_be_hidden()
    launcher.click()
    context.unroute("**/?embed=1*")

    chat_in(page)
    expect(page.locator("iframe")).to_have_css("opacity", "1")
    expect(launcher).to_be_hidden()
    context.close()


def test_a_panel_out_of_reach_is_asked_for_again(
    stage: Stage, shop: Site, browser: Browser
) -> None:
    context = browser.new_context(locale="en-GB")
    context.set_default_timeout(30_000)
    page = context.new_page()
    tries: list[str] = []

    def lose(route: Route) -> None:
        tries.append(route.request.url)
        route.abort()

    context.route("**/panel.js*", lose)
    page.goto(f"{shop.origin}/")
    launcher = page.get_by_role("button", name="Chat")
    launcher.click()
    expect(page.locator("section", has_text="Connecting…")).to_be_visible()
    expect(launcher).to_have_attribute("aria-expanded", "true")

    context.unroute("**/panel.js*")

    say(page, "after the panel came")
    assert 1 <= len(tries) <= 3  # by hovering, by pressing, and perhaps once more
    page.evaluate("() => SiteChat.close()")
    expect(page.locator("section")).to_be_hidden()
    context.close()


def test_api_queue_events_unread_sound_and_notification(
    stage: Stage, shop: Site, opened: Open
) -> None:
    hidden = "if (window === parent) Object.defineProperty(document, 'hidden', {get: () => true})"
    page = opened(f"{shop.origin}/", hidden, 'window.SiteChat ??= [["open"]]')
    say(page, "Are you there?")  # open by the queue
    assert page.evaluate("() => Object.isFrozen(SiteChat)")
    told = "() => told.map(([name]) => name).join()"
    page.wait_for_function("() => told.length > 1")
    assert page.evaluate(told) == "open,ready"
    chat_in(page).locator("[name=alerts]").click()
    expect(chat_in(page).locator("[name=alerts]")).to_have_attribute("aria-pressed", "true")
    page.evaluate("() => { SiteChat.on('close', () => (window.heard = true)); SiteChat.toggle() }")
    chat = dialog_of(stage, "Are you there?")

    stage.press("answer", external_chat_id=chat, text="Yes, I am.")

    page.wait_for_function("() => document.title === '(1) Shop'")
    expect(page.get_by_role("button", name="New messages: 1")).to_be_visible()
    assert page.evaluate("() => [heard, ...notes]") == [True, "asked", "Olga Petrova"]
    # Two notes at the opt-in, two now.
    wait_until(lambda: page.frames[-1].evaluate("() => rung") == 4)
    [message] = page.evaluate("() => told.filter(([name]) => name === 'message')")
    assert message[1]["name"] == "Olga Petrova"
    assert "text" not in message[1]

    page.evaluate("() => SiteChat.open()")

    page.wait_for_function("() => document.title === 'Shop'")
    assert page.evaluate(told) == "open,ready,close,message,unread,open,unread"


def test_a_customer_has_the_history_everywhere_until_logging_out(
    stage: Stage, shop: Site, opened: Open
) -> None:
    email = "olga@example.com"
    who = {"name": "Olga", "email": email, "signature": signed(shop.origin, email)}
    queue = f'window.SiteChat ??= [["identify", {json.dumps(who)}], ["open"]]'
    phone = opened(f"{shop.origin}/", queue)
    chat_in(phone)
    assert phone.evaluate("() => localStorage.length") == 0
    say(phone, "from my phone")
    laptop = opened(f"{shop.origin}/")
    laptop.evaluate("() => SiteChat.open()")
    say(laptop, "not known yet")

    laptop.evaluate("(who) => SiteChat.identify(who)", {**who, "signature": "0" * 64})
    laptop.wait_for_function("() => told.some(([name, what]) => name === 'error')")
    expect(chat_in(laptop).locator("article .body")).to_have_text("not known yet")
    laptop.evaluate("(who) => SiteChat.identify(who)", who)

    laptop.wait_for_function("() => told.some(([name]) => name === 'identify')")
    expect(chat_in(laptop).locator("article .body")).to_have_text(
        ["from my phone", "not known yet"]
    )
    expect(chat_in(laptop).locator(".who")).to_contain_text("Olga")

    say(laptop, "and from here")
    laptop.evaluate("() => SiteChat.reset()")

    laptop.wait_for_function("() => localStorage.length === 0")
    expect(chat_in(laptop).locator(".welcome")).to_be_visible()
    expect(chat_in(laptop).locator("article")).to_have_count(0)


@pytest.fixture
def visit(shop: Site, browser: Browser) -> Iterator[Open]:
    """Opens the shop's page with the chat: on a device of its own, or beside another page.

    Its requests may fail.
    """
    contexts: list[BrowserContext] = []

    def open_page(who: dict[str, str] | None = None, beside: Page | None = None) -> Page:
        if beside is None:
            contexts.append(browser.new_context(locale="en-GB"))
            contexts[-1].set_default_timeout(30_000)
            contexts[-1].add_init_script(WATCH)
        page = (beside.context if beside else contexts[-1]).new_page()
        queue = [["identify", who], ["open"]] if who else [["open"]]
        page.add_init_script(f"window.SiteChat ??= {json.dumps(queue)}")
        page.goto(f"{shop.origin}/")
        chat_in(page)
        return page

    yield open_page
    for context in contexts:
        context.close()


def customer(shop: Site, name: str) -> dict[str, str]:
    email = f"{name.lower()}@example.com"
    return {"name": name, "email": email, "signature": signed(shop.origin, email)}


def delete_conversation(page: Page) -> None:
    chat = chat_in(page)
    chat.locator(".more").click()
    chat.get_by_role("button", name="Delete my conversation").click()
    chat.locator("dialog").get_by_role("button", name="Delete").click()
    expect(chat.locator("article")).to_have_count(0)


def leave_unsent(page: Page, text: str) -> None:
    """A message that does not get through, and one that is not finished."""

    def lose(route: Route) -> None:
        sends = "send_message" in (route.request.post_data or "")
        route.abort() if sends else route.continue_()

    page.context.route("**/ajax*", lose)
    chat = chat_in(page)
    chat.locator("#message").fill(text)
    chat.locator("#message").press("Enter")
    chat.locator(".reason button[name=retry]").wait_for()
    chat.locator("#message").fill(f"draft of {text}")


KEPT = """() => [...Object.keys(localStorage), ...Object.keys(sessionStorage)]
  .filter((key) => key.startsWith("chat "))"""


@pytest.mark.parametrize("frame", ["open", "not loaded yet"])
def test_after_a_reset_nothing_is_left_in_the_frame(
    stage: Stage, shop: Site, visit: Open, frame: str
) -> None:
    page = visit()
    chat_in(page).locator("#name").fill("Klara")
    say(page, "Klara's")
    leave_unsent(page, "Klara's unsent")
    assert len(chat_in(page).evaluate(KEPT)) == 4  # name, what is unsent, draft, that it has begun

    if frame == "open":
        page.evaluate("() => SiteChat.reset()")
    else:
        page.add_init_script("window.SiteChat = [['reset'], ['open']]")
        page.reload()

    page.wait_for_function("() => localStorage.length === 0")
    expect(chat_in(page).locator(".welcome")).to_be_visible()
    expect(chat_in(page).locator("#message")).to_have_value("")
    expect(chat_in(page).locator("#name")).to_have_value("")
    assert chat_in(page).evaluate(KEPT) == []
    page.context.unroute("**/ajax*")
    say(page, "Nobody's")
    assert "Klara's unsent" not in str(stage.state())


@pytest.mark.parametrize("server", ["refuses", "hangs"])
def test_a_reset_takes_the_conversation_away_though_the_server_is_down(
    stage: Stage, shop: Site, visit: Open, server: str
) -> None:
    page = visit()
    say(page, f"not for everyone, {server}")
    frame = page.frame_locator("iframe")
    hang: Callable[[Route], None] = lambda route: None  # noqa: E731
    handler = (lambda route: route.abort()) if server == "refuses" else hang
    page.context.route(f"{stage.chat}/**", handler)

    page.evaluate("() => SiteChat.reset()")

    expect(frame.locator("article")).to_have_count(0, timeout=5_000)
    expect(page.locator("iframe")).to_have_css("opacity", "0")
    page.context.unroute(f"{stage.chat}/**")
    expect(chat_in(page).locator(".welcome")).to_be_visible()
    page.wait_for_function("() => localStorage.length === 0")
    expect(frame.locator("article")).to_have_count(0)


def tokens_sent(page: Page) -> set[str]:
    """The tokens that the page's requests carry; filled as they come."""
    tokens: set[str] = set()
    page.context.on("request", lambda request: tokens.add(request.headers.get("x-chat-token", "")))
    return tokens


@pytest.mark.parametrize("has_written", [True, False])
def test_a_log_out_ends_the_customers_tokens_on_the_server(
    stage: Stage, shop: Site, visit: Open, has_written: bool
) -> None:
    who = customer(shop, f"Lena-{has_written}")
    phone = visit(who)
    say(phone, "Lena's")
    laptop = visit()
    tokens = tokens_sent(laptop)
    laptop.evaluate("(who) => SiteChat.identify(who)", who)
    expect(chat_in(laptop).locator("article .body")).to_have_text("Lena's")
    if has_written:
        say(laptop, "from the laptop")

    laptop.evaluate("() => SiteChat.reset()")

    expect(chat_in(laptop).locator(".welcome")).to_be_visible()
    laptop.wait_for_function("() => localStorage.length === 0")
    tokens.discard("")
    assert tokens
    assert [history_by(stage, shop, token) for token in sorted(tokens)] == [""] * len(tokens)
    say(phone, "still here")
    expect(chat_in(phone).locator("article .body").last).to_have_text("still here")


def history_by(stage: Stage, shop: Site, token: str) -> str:
    """What whoever has this token reads."""
    headers = {"X-Chat-Site": shop.origin, "X-Chat-Token": token}
    answer = stage.visitor().http.post(
        f"{stage.chat}/ajax", {"type": "chat_history"}, headers=headers, timeout=30
    )
    assert answer.status_code == 200
    return answer.text


def test_the_server_hears_later_of_a_log_out_that_it_missed(
    stage: Stage, shop: Site, visit: Open
) -> None:
    page = visit(customer(shop, "Mona"))
    tokens = tokens_sent(page)
    say(page, "Mona's")
    page.context.route(f"{stage.chat}/ajax*", lambda route: route.abort())
    page.evaluate("() => SiteChat.reset()")
    expect(page.frame_locator("iframe").locator("article")).to_have_count(0)
    page.close()
    tokens.discard("")
    assert any("Mona" in history_by(stage, shop, token) for token in tokens)
    page.context.unroute(f"{stage.chat}/ajax*")

    later = page.context.new_page()
    later.goto(f"{shop.origin}/")  # nobody opens the chat

    later.wait_for_function("() => localStorage.length === 0")
    assert not any(history_by(stage, shop, token) for token in tokens)
    later.evaluate("() => SiteChat.open()")
    expect(chat_in(later).locator(".welcome")).to_be_visible()
    expect(chat_in(later).locator("article")).to_have_count(0)


def test_a_signature_that_has_ended_is_explained_to_the_site(
    stage: Stage, shop: Site, visit: Open
) -> None:
    page = visit()
    email, until = "nora@example.com", int(time.time()) + 600
    who = {"email": email, "signature": signed(shop.origin, f"{email} {until}"), "until": until}
    old = {**who, "signature": signed(shop.origin, f"{email} 1700000000"), "until": 1_700_000_000}

    page.evaluate("(who) => SiteChat.identify(who)", old)
    page.wait_for_function("() => told.some(([name]) => name === 'error')")
    page.evaluate("(who) => SiteChat.identify(who)", who)

    page.wait_for_function("() => told.some(([name]) => name === 'identify')")
    (error,) = [what for name, what in page.evaluate("() => told") if name == "error"]
    assert error["code"] == "identify"
    assert "2023-11-14 22:13:20 UTC" in error["message"]


@pytest.mark.parametrize("way", ["on the same page", "on another", "after a deletion"])
def test_what_a_customer_left_unsent_is_not_for_the_next(
    stage: Stage, shop: Site, visit: Open, way: str
) -> None:
    fred, gina = (customer(shop, f"{name} {way}".replace(" ", "-")) for name in ("Fred", "Gina"))
    page = visit(fred)
    say(page, f"Fred's, {way}")
    if way == "after a deletion":
        delete_conversation(page)
    leave_unsent(page, "Fred's unsent")

    if way == "on the same page":
        page.evaluate("(who) => SiteChat.identify(who)", gina)
    else:
        page = visit(gina, beside=page)

    expect(page.frame_locator("iframe").locator(".who b")).to_have_text(gina["name"])
    expect(chat_in(page).locator("article")).to_have_count(0)
    expect(chat_in(page).locator("#message")).to_have_value("")
    page.context.unroute("**/ajax*")
    say(page, f"Gina's, {way}")
    chat = dialog_of(stage, f"Gina's, {way}")
    assert stage.dialog(chat)["user_name"].startswith("Gina")
    assert stage.texts(chat) == [f"Gina's, {way}"]
    for dialog in stage.state()["dialogs"]:  # his own tab may still send it, in his own chat
        if "Fred's unsent" in str(dialog):
            assert dialog["user_name"].startswith("Fred")


def test_who_turns_out_to_be_a_customer_keeps_what_is_unsent(
    stage: Stage, shop: Site, visit: Open
) -> None:
    page = visit()
    chat_in(page).locator("#name").fill("Heinz")
    leave_unsent(page, "Not known yet")

    page.evaluate("(who) => SiteChat.identify(who)", customer(shop, "Henry"))

    page.wait_for_function("() => told.some(([name]) => name === 'identify')")
    page.context.unroute("**/ajax*")
    dialog_of(stage, "Not known yet")
    expect(chat_in(page).locator("#message")).to_have_value("draft of Not known yet")
    expect(chat_in(page).locator(".who b")).to_have_text("Heinz")
    assert "henry@example.com" in str(stage.calls("imconnector.send.messages"))


def test_who_logs_in_goes_on_with_the_same_operator_in_every_tab(
    stage: Stage, shop: Site, visit: Open
) -> None:
    page = visit()
    say(page, "before I logged in")
    chat = dialog_of(stage, "before I logged in")
    tab = visit(beside=page)
    bodies = [chat_in(one).locator("article .body") for one in (tab, page)]
    expect(bodies[0]).to_have_text(["before I logged in"])

    page.evaluate("(who) => SiteChat.identify(who)", customer(shop, "Iris"))
    stage.press("answer", external_chat_id=chat, text="Welcome")

    for one in (tab, page):
        expect(chat_in(one).locator("article .body")).to_have_text(
            ["before I logged in", "Welcome"]
        )
    say(page, "and after")
    wait_until(lambda: stage.texts(chat) == ["before I logged in", "and after"])
    phone = visit(customer(shop, "Iris"))
    expect(chat_in(phone).locator("article")).to_have_count(3)


def test_reading_lets_the_sites_token_live_on_and_counts_nothing_as_seen(
    stage: Stage, shop: Site, opened: Open
) -> None:
    page = opened(f"{shop.origin}/")
    page.evaluate("() => SiteChat.open()")
    say(page, "from a reader")
    chat = dialog_of(stage, "from a reader")
    kept = "() => JSON.parse(Object.values(localStorage)[0])"
    stage.press("answer", external_chat_id=chat, text="seen")
    page.wait_for_function(f"() => ({kept})().seen > 0")
    before = page.evaluate(kept)
    page.goto("about:blank")
    stage.press("answer", external_chat_id=chat, text="unread")
    wait_until(lambda: stage.dialog(chat)["messages"][-1]["delivered"])
    time.sleep(1)  # a token's date has seconds

    page.goto(f"{shop.origin}/")

    page.wait_for_function("() => document.title === '(1) Shop'")
    page.wait_for_function(f"(token) => ({kept})().token !== token", arg=before["token"])
    after = page.evaluate(kept)
    assert {**after, "token": ""} == {**before, "token": ""}


def test_a_customer_without_history_is_live_on_every_device(
    stage: Stage, shop: Site, visit: Open
) -> None:
    who = customer(shop, "Emil")
    phone, laptop = visit(who), visit(who)

    say(laptop, "from the laptop")
    stage.press("answer", external_chat_id=dialog_of(stage, "from the laptop"), text="to both")

    for page in (laptop, phone):
        expect(chat_in(page).locator("article .body")).to_have_text(["from the laptop", "to both"])


@pytest.mark.parametrize("state", ["listening", "offline"])
def test_what_is_deleted_on_one_device_goes_from_the_others_too(
    stage: Stage, shop: Site, visit: Open, state: str
) -> None:
    who = customer(shop, f"Ida-{state}")
    phone, laptop = visit(who), visit(who)
    tab = visit(who, beside=laptop)
    say(phone, "to be deleted")
    for page in (laptop, tab):
        expect(chat_in(page).locator("article .body")).to_have_text("to be deleted")
    chat_in(laptop).locator("#message").fill("not finished")
    if state == "offline":
        laptop.context.set_offline(True)

    delete_conversation(phone)
    say(phone, "a new one")

    if state == "offline":
        laptop.context.set_offline(False)
    for page in (laptop, tab, phone):
        expect(chat_in(page).locator("article .body")).to_have_text("a new one")
    expect(chat_in(laptop).locator("#message")).to_have_value("not finished")
    say(laptop, "and here")
    expect(chat_in(phone).locator("article .body")).to_have_text(["a new one", "and here"])


def test_a_page_that_another_device_emptied_says_so(stage: Stage, shop: Site, visit: Open) -> None:
    who = customer(shop, "Jan")
    phone, laptop = visit(who), visit(who)
    say(phone, "to be deleted")
    expect(chat_in(laptop).locator("article")).to_have_count(1)

    delete_conversation(phone)

    expect(chat_in(laptop).locator(".welcome")).to_be_visible()
    expect(chat_in(laptop).locator(".status")).to_have_text("Your conversation is deleted")


def test_on_a_phone_it_fills_the_screen_and_back_closes_it(
    stage: Stage, shop: Site, opened: Open
) -> None:
    page = opened(f"{shop.origin}/", viewport={"width": 375, "height": 667}, has_touch=True)
    page.evaluate("() => scrollTo(0, 300)")
    launcher = page.get_by_role("button", name="Chat")

    for close in (page.go_back, lambda: chat_in(page).locator("[name=close]").click()):
        launcher.tap()
        chat_in(page)
        expect(launcher).to_be_hidden()
        page.wait_for_function(FILLED)
        assert page.evaluate("() => document.body.inert")
        assert chat_in(page).evaluate("() => getComputedStyle(message).fontSize") == "16px"

        close()

        expect(launcher).to_be_visible()
        expect(page.locator("iframe")).to_be_hidden()
        page.wait_for_function("() => !history.state && !document.body.inert")
        assert page.evaluate("() => [scrollY, document.documentElement.style.overflow]") == [
            300,
            "",
        ]
        assert page.url == f"{shop.origin}/"


def test_a_phones_chat_that_is_closed_and_opened_at_once_is_open(
    stage: Stage, shop: Site, opened: Open
) -> None:
    page = opened(f"{shop.origin}/", viewport={"width": 375, "height": 667}, has_touch=True)
    page.evaluate("() => SiteChat.open()")
    chat_in(page)
    entries = page.evaluate("() => history.length")
    late = "() => new Promise((end) => addEventListener('popstate', () => setTimeout(end, 50)))"
    for again in ("", "; SiteChat.close(); SiteChat.open()"):
        page.evaluate(f"() => {{ window.late = ({late})() }}")

        page.evaluate(f"() => {{ SiteChat.close(); SiteChat.open(){again} }}")

        page.evaluate("() => late")
        page.wait_for_function(FILLED)
        expect(page.locator("iframe")).to_be_visible()
        assert page.evaluate("() => document.body.inert")
        assert page.evaluate("() => history.length") == entries

    page.go_back()
    expect(page.locator("iframe")).to_be_hidden()
    assert page.url == f"{shop.origin}/"
    assert not page.evaluate("() => document.body.inert")


def test_the_count_of_answers_stays_before_a_title_that_the_site_changes(
    stage: Stage, shop: Site, opened: Open
) -> None:
    page = opened(f"{shop.origin}/")
    page.evaluate("() => SiteChat.open()")
    say(page, "Count them")
    page.evaluate("() => SiteChat.close()")
    chat = dialog_of(stage, "Count them")
    stage.press("answer", external_chat_id=chat, text="one")
    page.wait_for_function("() => document.title === '(1) Shop'")

    page.evaluate("() => { document.title = 'Lamps' }")
    stage.press("answer", external_chat_id=chat, text="two")

    page.wait_for_function("() => document.title === '(2) Lamps'")
    page.evaluate("() => SiteChat.open()")
    page.wait_for_function("() => document.title === 'Lamps'")


def test_back_closes_it_after_a_reload_too(stage: Stage, shop: Site, opened: Open) -> None:
    page = opened(f"{shop.origin}/", viewport={"width": 375, "height": 667})
    page.evaluate("() => SiteChat.open()")
    chat_in(page)
    page.reload()
    page.wait_for_function("() => window.SiteChat?.open")
    page.evaluate("() => SiteChat.open()")
    chat_in(page)

    page.go_back()

    expect(page.locator("iframe")).to_be_hidden()
    assert page.url == f"{shop.origin}/"


def test_deleting_leaves_nothing_on_the_site_and_escape_closes_the_menu_first(
    stage: Stage, shop: Site, opened: Open
) -> None:
    page = opened(f"{shop.origin}/")
    page.evaluate("() => SiteChat.open()")
    say(page, "to be deleted")
    chat = chat_in(page)
    assert page.evaluate("() => localStorage.length") == 1

    chat.locator(".more").click()
    expect(chat.locator(".menu")).to_be_visible()
    page.keyboard.press("Escape")
    expect(chat.locator(".menu")).to_be_hidden()
    chat.locator(".more").click()
    chat.get_by_role("button", name="Delete my conversation").click()
    page.keyboard.press("Escape")
    expect(chat.locator("dialog")).to_be_hidden()
    expect(page.locator("iframe")).to_be_visible()
    chat.locator(".more").click()
    chat.get_by_role("button", name="Delete my conversation").click()
    chat.locator("dialog").get_by_role("button", name="Delete").click()

    page.wait_for_function("() => localStorage.length === 0")
    say(page, "a new one")
    expect(chat.locator("article")).to_have_count(1)


def test_one_tab_of_all_rings_and_none_where_the_chat_is_watched(
    stage: Stage, shop: Site, opened: Open
) -> None:
    hidden = "if (window === parent) Object.defineProperty(document, 'hidden', {get: () => true})"
    first = opened(f"{shop.origin}/", hidden)
    first.evaluate("() => SiteChat.open()")
    say(first, "Will it ring?")
    chat_in(first).locator("[name=alerts]").click()
    wait_until(lambda: chat_in(first).evaluate("() => rung") == 2)  # the opt-in's own two notes
    tabs = [first, first.context.new_page(), first.context.new_page()]
    for tab in tabs[1:]:
        tab.goto(f"{shop.origin}/")
        tab.wait_for_function("() => window.SiteChat?.open")
        tab.evaluate("() => SiteChat.open()")
        chat_in(tab)
        tab.evaluate("() => SiteChat.close()")
    chat = dialog_of(stage, "Will it ring?")

    stage.press("answer", external_chat_id=chat, text="You watch me.")
    for tab in tabs:
        tab.frames[-1].locator("article", has_text="You watch me.").wait_for(state="attached")
    first.wait_for_timeout(1500)
    assert [tab.frames[-1].evaluate("() => rung") for tab in tabs] == [2, 0, 0]
    first.evaluate("() => SiteChat.close()")
    stage.press("answer", external_chat_id=chat, text="You do not.")
    for tab in tabs:
        tab.frames[-1].locator("article", has_text="You do not.").wait_for(state="attached")
    first.wait_for_timeout(1500)
    assert sum(tab.frames[-1].evaluate("() => rung") for tab in tabs) == 2 + 2


def test_by_keyboard_alone(stage: Stage, shop: Site, opened: Open) -> None:
    page = opened(f"{shop.origin}/")
    launcher = page.get_by_role("button", name="Chat")
    focused = "() => document.activeElement.shadowRoot?.activeElement?.tagName"

    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for _ in range(2):
        page.keyboard.press("Tab")
    assert page.evaluate(focused) == "BUTTON"
    assert page.locator("iframe").count() == 0
    assert asked == []  # passing by asks for nothing
    page.keyboard.press("Enter")
    expect(launcher).to_have_attribute("aria-expanded", "true")
    expect(chat_in(page).locator("#message")).to_be_focused()
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    chat_in(page).locator("article[data-id]").wait_for()
    page.keyboard.press("Escape")

    expect(launcher).to_have_attribute("aria-expanded", "false")
    assert page.evaluate(focused) == "BUTTON"
    expect(page.locator("iframe")).to_be_hidden()


def test_language_side_and_colour_are_the_sites(stage: Stage, shop: Site, opened: Open) -> None:
    shop.data = "data-lang=ru data-color=#ffd200 data-side=right"
    page = opened(f"{shop.origin}/")
    launcher = page.get_by_role("button", name="Чат")

    page.evaluate("() => SiteChat.set({side: 'left'})")
    launcher.click()

    box = launcher.bounding_box()
    assert box is not None
    assert box["x"] < 100
    expect(launcher).to_have_css("background-color", "rgb(255, 210, 0)")
    expect(chat_in(page).locator(".top")).to_have_css("background-color", "rgb(255, 210, 0)")
    dark = page.evaluate("""() => {
      const paint = document.createElement("canvas").getContext("2d")
      paint.fillStyle = getComputedStyle(document.querySelector("html > div").shadowRoot
        .querySelector("button")).color
      paint.fillRect(0, 0, 1, 1)
      return [...paint.getImageData(0, 0, 1, 1).data]
    }""")
    assert dark == [0, 0, 0, 255]
    expect(chat_in(page).locator(".welcome h2")).to_contain_text("Здравствуйте")


def test_tabs_without_the_loader_leave_each_other_alone(
    stage: Stage, shop: Site, opened: Open
) -> None:
    """Without cookies each remembers a visitor of its own."""
    page = opened(f"{shop.origin}/")
    tab = page.context.new_page()
    tab.goto(f"{shop.origin}/")
    frame = f"() => {{ const it = document.createElement('iframe'); it.src = '{stage.chat}/';"
    for one in (page, tab):
        one.evaluate(f"{frame} document.body.append(it) }}")
    for one, text in ((page, "from one tab"), (tab, "from the other")):
        say(one, text)
    for text in ("from one tab", "from the other"):
        stage.press("answer", external_chat_id=dialog_of(stage, text), text=f"heard {text}")

    for one, text in ((page, "from one tab"), (tab, "from the other")):
        bodies = chat_in(one).locator("article .body")
        expect(bodies).to_have_text([text, f"heard {text}"])
        for _ in range(30):  # and so it stays
            page.wait_for_timeout(100)
            assert bodies.all_inner_texts() == [text, f"heard {text}"]


def test_a_frame_without_the_loader_remembers_while_it_is_open(
    stage: Stage, shop: Site, opened: Open
) -> None:
    page = opened(f"{shop.origin}/", NO_STORAGE)
    frame = f"() => {{ const it = document.createElement('iframe'); it.src = '{stage.chat}/';"
    page.evaluate(f"{frame} document.body.append(it) }}")

    say(page, "framed by hand")
    say(page, "one dialog")

    chat = dialog_of(stage, "framed by hand")
    wait_until(lambda: stage.texts(chat) == ["framed by hand", "one dialog"])


def test_a_second_tab_continues_the_first_ones_chat(stage: Stage, shop: Site, opened: Open) -> None:
    first = opened(f"{shop.origin}/", NO_STORAGE)
    second = first.context.new_page()
    second.goto(f"{shop.origin}/")
    for tab in (first, second):
        tab.evaluate("() => SiteChat.open()")
        chat_in(tab)

    say(first, "in the first tab")

    expect(chat_in(second).locator("article .body")).to_have_text("in the first tab")
    say(second, "in the second")
    chat = dialog_of(stage, "in the first tab")
    wait_until(lambda: stage.texts(chat) == ["in the first tab", "in the second"])

    first.evaluate("() => SiteChat.reset()")

    for tab in (first, second):
        expect(chat_in(tab).locator("article")).to_have_count(0)
    second.wait_for_function("() => localStorage.length === 0")
