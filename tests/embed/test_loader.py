"""The loader in a page of another site: its weight, its failures, its interface for the site."""

import gzip
import re

import pytest
from embed_parts import Open, Site, chat_in, say
from pages import until
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect
from stage import Stage, wait_until
from test_browser import dialog_of

from addresses import origin_of

LOADER_BYTES = 4 * 1024
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
    later = sum(
        map(sent, ("loader.js", "panel.js", "upload.js", "menu.js", "back.js", "overlays.js"))
    )

    assert {"chat.js", "chat.css", "embed.js"} <= {*parts}
    assert sent("loader.js") <= LOADER_BYTES
    assert first <= PAGE_BYTES
    assert first + later <= CHAT_BYTES


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

    assert {"/".join(url.split("/")[:3]) for url in asked} == {
        shop.origin,
        origin_of(stage.chat),
    }
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


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en-GB", "This site is not set up for the chat yet."),
        ("ru-RU", "Этот сайт ещё не подключён к чату."),
    ],
)
def test_a_site_that_is_not_named_cannot_embed_and_is_told_so(
    stage: Stage, sites: list[Site], browser: Browser, language: str, text: str
) -> None:
    context = browser.new_context(locale=language)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(f"{sites[1].origin}/")
    until(page, "() => window.SiteChat?.open")

    page.evaluate("() => SiteChat.open()")

    expect(page.locator("section")).to_have_text(text, timeout=5_000)
    expect(page.frame_locator("iframe").locator("live-chat")).to_have_count(0)
    wanted = f'Its settings need chat.sites = ["{sites[1].origin}"]'
    assert [line for line in said if wanted in line and line.startswith("SiteChat: ")]
    context.close()


@pytest.mark.parametrize("missing", ["frame-src", "script-src"])
def test_a_policy_that_forbids_the_chat_is_named(
    stage: Stage, shop: Site, browser: Browser, missing: str
) -> None:
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    chat = origin_of(stage.chat)
    rest = {"frame-src": f"frame-src 'none'; script-src {chat}"}.get(
        missing, f"frame-src {chat}; script-src {stage.chat}/static/loader.js"
    )
    policy = f'<meta http-equiv=Content-Security-Policy content="{rest}">'
    loader = f"<script src={stage.chat}/static/loader.js></script>"
    shop.files = {"/": f"<head>{policy}</head><body>{loader}"}
    page.goto(f"{shop.origin}/")

    def names_it(said: ConsoleMessage) -> bool:
        return said.text.startswith("SiteChat: ") and missing in said.text

    with page.expect_event("console", names_it):
        page.get_by_role("button", name="Chat", exact=True).click()

    if missing == "frame-src":
        expect(page.locator("section")).to_have_text("This page's settings do not allow the chat.")
    context.close()


@pytest.mark.firefox
def test_embedded_it_talks_and_remembers_in_every_browser(
    stage: Stage, shop: Site, browser: Browser
) -> None:
    text = f"from another site, in {browser.browser_type.name}"
    context = browser.new_context(locale="en-GB")
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.goto(f"{shop.origin}/")
    until(page, "() => window.SiteChat?.open")
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
    until(page, "() => window.SiteChat?.open")
    page.evaluate("() => SiteChat.open()")
    expect(chat_in(page).locator("article .body")).to_have_text([text, "Welcome to the shop."])
    context.close()


def shows_an_error(page: Page) -> bool:
    """Whether the frame holds the browser's own page of a failed request."""
    page.wait_for_timeout(50)
    return page.frames[-1].url.startswith("chrome-error:")


def test_a_server_that_is_away_is_asked_again_and_can_be_left(
    stage: Stage, shop: Site, browser: Browser
) -> None:
    context = browser.new_context(locale="en-GB", viewport={"width": 375, "height": 667})
    page = context.new_page()
    page.goto(f"{shop.origin}/")
    until(page, "() => window.SiteChat?.open")
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
    with context.expect_event("requestfailed", lambda request: request.url in tries):
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
    until(page, "() => told.length > 1")
    assert page.evaluate(told) == "open,ready"
    chat_in(page).locator("[name=alerts]").click()
    expect(chat_in(page).locator("[name=alerts]")).to_have_attribute("aria-pressed", "true")
    page.evaluate("() => { SiteChat.on('close', () => (window.heard = true)); SiteChat.toggle() }")
    chat = dialog_of(stage, "Are you there?")

    stage.press("answer", external_chat_id=chat, text="Yes, I am.")

    until(page, "() => document.title === '(1) Shop'")
    expect(page.get_by_role("button", name="New messages: 1")).to_be_visible()
    assert page.evaluate("() => [heard, ...notes]") == [True, "asked", "Olga Petrova"]
    # Two notes at the opt-in, two now.
    wait_until(lambda: page.frames[-1].evaluate("() => rung") == 4)
    [message] = page.evaluate("() => told.filter(([name]) => name === 'message')")
    assert message[1]["name"] == "Olga Petrova"
    assert "text" not in message[1]

    page.evaluate("() => SiteChat.open()")

    until(page, "() => document.title === 'Shop'")
    assert page.evaluate(told) == "open,ready,close,message,unread,open,unread"


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
      paint.fillStyle = getComputedStyle(document.querySelector("site-chat").shadowRoot
        .querySelector("button")).color
      paint.fillRect(0, 0, 1, 1)
      return [...paint.getImageData(0, 0, 1, 1).data]
    }""")
    assert dark == [0, 0, 0, 255]
    expect(chat_in(page).locator(".welcome h2")).to_contain_text("Здравствуйте")
