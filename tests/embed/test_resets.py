"""`SiteChat.reset()` is a log-out: whatever comes late, nobody sees the former conversation again.

Each test forces one order of what the page, its frame, other tabs and the server do.
"""

from contextlib import suppress

import pytest
from embed_parts import Open, Site, chat_in, customer, say
from pages import until
from playwright.sync_api import Error, Page, Route, expect
from stage import Stage, wait_until
from test_browser import dialog_of

# What the page tells its frame waits while `held` is a list.
HOLD = """() => {
  window.held = []
  const {postMessage} = MessagePort.prototype
  MessagePort.prototype.postMessage = function (...values) {
    if (held) held.push(() => postMessage.apply(this, values))
    else postMessage.apply(this, values)
  }
}"""
RELEASE = "() => [held, held = null][0].forEach((send) => send())"
# A tab that sleeps, or that waits in the browser's history, hears nothing of others.
ASLEEP = (
    """addEventListener("storage", (event) => window.asleep && event.stopImmediatePropagation())"""
)
COMES_BACK = "() => dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"
WAKES = "() => document.dispatchEvent(new Event('visibilitychange'))"
# Says on the console when a message is shown in the frame, however briefly.
SHOWN = "a message is shown"
WATCH_FRAME = f"""
if (window !== parent)
  new MutationObserver(() => document.querySelector("article") && console.debug("{SHOWN}"))
    .observe(document, {{childList: true, subtree: true}})
"""


def expect_nobody(page: Page) -> None:
    """Neither now, nor when the chat is opened again, nor after the page was loaded again."""
    chat = page.frame_locator("iframe")
    until(page, "() => localStorage.length === 0")
    expect(chat.locator("article")).to_have_count(0)
    page.evaluate("() => { SiteChat.close(); SiteChat.open() }")
    page.reload()
    expect(chat_in(page).locator(".welcome")).to_be_visible()
    expect(chat.locator("article")).to_have_count(0)
    assert page.evaluate("() => localStorage.length") == 0


@pytest.mark.parametrize("has_written", [True, False])
def test_a_token_that_comes_after_the_reset_is_not_kept(
    stage: Stage, shop: Site, visit: Open, has_written: bool
) -> None:
    """The answer to a message is in the frame before the page's word of the reset."""
    page = visit()
    if has_written:
        say(page, "before the reset")
    page.evaluate(HOLD)
    page.evaluate("() => SiteChat.reset()")
    say(page, "the answer comes late")

    page.evaluate(RELEASE)

    expect(chat_in(page).locator(".welcome")).to_be_visible()
    expect_nobody(page)


def test_each_reset_on_a_page_takes_a_conversation_away(
    stage: Stage, shop: Site, visit: Open
) -> None:
    page = visit()
    page.locator("a").focus()  # so that the chat is not told that it has the focus
    for text in ("the first one's", "the second one's", "the third one's"):
        say(page, text)
        page.evaluate("() => { document.querySelector('a').focus(); SiteChat.reset() }")
        expect(page.frame_locator("iframe").locator("article")).to_have_count(0)
        expect(chat_in(page).locator(".welcome")).to_be_visible()
    expect_nobody(page)


@pytest.mark.parametrize("way", ["is looked at", "comes back", "hears an answer", "writes"])
def test_a_tab_that_slept_brings_no_conversation_back(
    stage: Stage, shop: Site, visit: Open, way: str
) -> None:
    page = visit()
    say(page, f"for one, {way}")
    chat = dialog_of(stage, f"for one, {way}")
    page.context.add_init_script(ASLEEP)
    tab = visit(beside=page)
    expect(chat_in(tab).locator("article")).to_have_count(1)
    for frame in tab.frames:
        frame.evaluate("() => { window.asleep = true }")
    page.evaluate("() => SiteChat.reset()")
    until(page, "() => localStorage.length === 0")

    match way:
        case "is looked at":
            tab.evaluate("() => { SiteChat.close(); SiteChat.open() }")
        case "comes back":
            tab.evaluate(COMES_BACK)
        case "hears an answer":
            stage.press("answer", external_chat_id=chat, text="Are you there?")
            wait_until(lambda: stage.dialog(chat)["messages"][-1]["delivered"])
            with suppress(Error):  # it holds the stream itself, and loads its frame again already
                tab.frames[-1].evaluate(WAKES)  # the other one holds the stream
        case "writes":
            chat_in(tab).locator("#message").fill("one more")
            chat_in(tab).locator("#message").press("Enter")

    for one in (tab, page):
        expect(one.frame_locator("iframe").locator("article")).to_have_count(0)
        expect_nobody(one)


@pytest.mark.parametrize("asked", ["chat_history", "identify"])
def test_a_reset_while_the_frame_begins_shows_nothing(
    stage: Stage, shop: Site, visit: Open, asked: str
) -> None:
    who = customer(shop, f"Rosa-{asked}".replace("_", "-"))
    page = visit(who)
    say(page, f"Rosa's, {asked}")
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        is_it = f"type={asked}" in (route.request.post_data or "")
        waiting.append(route) if is_it else route.continue_()

    page.context.route("**/ajax*", hold)
    page.context.add_init_script(WATCH_FRAME)
    shown: list[str] = []
    page.on("console", lambda said: shown.append(said.text) if said.text == SHOWN else None)
    page.reload()
    until(page, "() => window.SiteChat?.open")
    while not waiting:
        page.wait_for_timeout(50)

    page.evaluate("() => SiteChat.reset()")
    page.wait_for_timeout(300)
    page.context.unroute("**/ajax*")
    for route in waiting:
        continue_if_wanted(route)

    expect(chat_in(page).locator(".welcome")).to_be_visible()
    until(page, "() => localStorage.length === 0")
    assert shown == []


def continue_if_wanted(route: Route) -> None:
    with suppress(Error):  # the frame that asked may have gone
        route.continue_()


@pytest.mark.parametrize("has_written", [True, False])
def test_a_reset_logs_the_customer_out_in_other_tabs_too(
    stage: Stage, shop: Site, visit: Open, has_written: bool
) -> None:
    who = customer(shop, f"Vilma-{has_written}")
    phone = visit(who)
    say(phone, "Vilma's")
    page = visit(who)
    if has_written:
        say(page, "from the laptop")
    tab = visit(who, beside=page)
    expect(chat_in(tab).locator("article").first).to_contain_text("Vilma's")

    page.evaluate("() => SiteChat.reset()")

    for one in (page, tab):
        expect(one.frame_locator("iframe").locator("article")).to_have_count(0)
        expect(chat_in(one).locator(".welcome")).to_be_visible()
        until(one, "() => localStorage.length === 0")
        expect(one.frame_locator("iframe").locator("article")).to_have_count(0)
