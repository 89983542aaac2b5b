"""The panel with the chat: on a phone, by keyboard, with the title and the history of the site."""

from embed_parts import Open, Site, chat_in, say
from pages import until
from playwright.sync_api import expect
from stage import Stage
from test_browser import dialog_of

FILLED = """() => {
  const {x, y, width, height} = document.querySelector("site-chat").shadowRoot
    .querySelector("iframe").getBoundingClientRect()
  return [x, y, width, height].map(Math.round).join() === "0,0,375,667"
}"""


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
        until(page, FILLED)
        assert page.evaluate("() => document.body.inert")
        assert chat_in(page).evaluate("() => getComputedStyle(message).fontSize") == "16px"

        close()

        expect(launcher).to_be_visible()
        expect(page.locator("iframe")).to_be_hidden()
        until(page, "() => !document.body.inert")
        until(page.frames[-1], "() => history.state === null")
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
    frame = page.frames[-1]
    late = "() => new Promise((end) => addEventListener('popstate', () => setTimeout(end, 50)))"
    for again in ("", "; SiteChat.close(); SiteChat.open()"):
        frame.evaluate(f"() => {{ window.late = ({late})() }}")

        page.evaluate(f"() => {{ SiteChat.close(); SiteChat.open(){again} }}")

        frame.evaluate("() => late")
        until(page, FILLED)
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
    until(page, "() => document.title === '(1) Shop'")

    page.evaluate("() => { document.title = 'Lamps' }")
    stage.press("answer", external_chat_id=chat, text="two")

    until(page, "() => document.title === '(2) Lamps'")
    page.evaluate("() => SiteChat.open()")
    until(page, "() => document.title === 'Lamps'")


def test_back_closes_it_after_a_reload_too(stage: Stage, shop: Site, opened: Open) -> None:
    page = opened(f"{shop.origin}/", viewport={"width": 375, "height": 667})
    page.evaluate("() => SiteChat.open()")
    chat_in(page)
    page.reload()
    until(page, "() => window.SiteChat?.open")
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

    until(page, "() => localStorage.length === 0")
    say(page, "a new one")
    expect(chat.locator("article")).to_have_count(1)


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
