"""However a site loads the loader, the launcher comes; what a site asks for in vain is said."""

from collections.abc import Callable, Iterator

import pytest
from embed_parts import Open, Site, chat_in
from pages import until
from playwright.sync_api import Browser, Page, expect
from stage import Stage

Show = Callable[..., Page]
LOADER = "CHAT/static/loader.js"
WAYS = {
    "async": f"<body><script async src={LOADER}></script>",
    "defer": f"<head><script defer src={LOADER}></script><body>",
    "before the body": f"<head><script src={LOADER}></script><body>",
    "at the end": f"<body><p>Lamps</p><script src={LOADER}></script></body>",
    "twice": f"<head><script async src={LOADER}></script><body><script src={LOADER}></script>",
    "as a module": f"<head><script type=module src={LOADER}></script><body>",
    "imported": f"<body><script type=module>import '{LOADER}'</script>",
    "imported later": f"<body><script>onload = () => import('{LOADER}')</script>",
    "with a question": f"<body><script async src={LOADER}?ver=6.5></script>",
    "by a tag manager": "<body><script>onload = () => setTimeout(() => document.head.append(Object."
    f"assign(document.createElement('script'), {{src: '{LOADER}'}})), 50)</script>",
    "in a bundle": "<body><script src=/bundle.js data-base=CHAT></script>",
    "in a bundle of modules": "<body><script data-base=/app></script><script data-base=CHAT/>"
    "</script><script type=module>import '/bundle.js'</script>",
    "in quirks": f"<html><table><script src={LOADER}></script><td>Lamps</table>",
    "after a queue by var": "<body><script>var SiteChat = [['set', {side: 'left'}]]</script>"
    f"<script src={LOADER}></script>",
    "beside an element of that name": f"<body><p id=SiteChat><script async src={LOADER}></script>",
}


@pytest.fixture
def show(stage: Stage, shop: Site, browser: Browser) -> Iterator[Show]:
    """Shows a page of the site with this HTML; what its console says is in `page.said`."""
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    said: list[str] = []
    loader = stage.visitor().http.get(f"{stage.chat}/static/loader.js", timeout=30).text
    bundle = f"(() => {{{loader}}})()\nwindow.rest = 'ran'"

    def show(html: str) -> Page:
        shop.files = {"/": html.replace("CHAT", stage.chat), "/bundle.js": bundle}
        said.clear()
        page.goto(f"{shop.origin}/")
        return page

    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"thrown: {error}"))
    page.said = said  # type: ignore[attr-defined]
    yield show
    context.close()


def launcher(page: Page, name: str = "Chat") -> None:
    expect(page.get_by_role("button", name=name, exact=True)).to_have_count(1)


def said(page: Page) -> list[str]:
    lines: list[str] = page.said  # type: ignore[attr-defined]
    return lines


def test_any_way_to_load_it(show: Show) -> None:
    for way, html in WAYS.items():
        page = show(html)
        launcher(page)
        assert said(page) == [], way
        assert page.evaluate("() => typeof SiteChat.open") == "function", way


def test_a_bundle_that_names_no_address_is_told_and_goes_on(show: Show) -> None:
    page = show("<body><script>SiteChat = [['open']]</script><script src=/bundle.js></script>")

    assert page.evaluate("() => [rest, document.querySelectorAll('div').length]") == ["ran", 0]
    [line] = said(page)
    assert line.startswith("error: SiteChat: name the chat's address: <script data-base=")


def test_one_bad_call_is_told_and_harms_no_other(show: Show) -> None:
    bad = "['fly'], [], 'open', null, 7, ['identify'], ['set'], ['set', {color: 'no colour'}]"
    page = show(
        f"<body><script>SiteChat = [['set', {{side: 'left'}}], {bad}, ['set', {{lang: 'ru'}}],"
        f" ['set', {{color: 'rgb(1, 2, 3)'}}]]</script><script src={LOADER}></script>"
    )
    launcher(page, "Чат")
    page.evaluate("() => { SiteChat.push(['fly']); SiteChat.set(); SiteChat.identify(null) }")
    odd = "{name: () => 1, email: {}, phone: Symbol(), until: 7n, more: document}"
    page.evaluate(f"() => {{ SiteChat.identify({odd}); SiteChat.set({{sound: {{}}}}) }}")

    lines = said(page)
    assert len(lines) == 11
    assert all(line.startswith("error: SiteChat: ") for line in lines)
    assert 'error: SiteChat: color cannot be "no colour"' in lines
    button = page.locator("site-chat button")
    expect(button).to_have_css("background-color", "rgb(1, 2, 3)")
    box = button.bounding_box()
    assert box is not None
    assert box["x"] < 100
    button.click()
    page.frame_locator("iframe").locator("live-chat[data-ready]").wait_for()


BAD_LOOKS = {
    "data-color": ["none", "#12", "inherit", "var(--brand)", "red; bottom: 0", "transparent"],
    "data-bottom": ["low", "-", "10 px", "auto", "-200px", "env(nope)", "var(--nope)"],
    "data-side": ["middle", "top"],
    "data-theme": ["toString", "sepia"],
    "data-launcher": ["#", "button["],
}


def test_what_cannot_be_is_refused_and_the_default_stands(show: Show) -> None:
    for name, values in BAD_LOOKS.items():
        for value in values:
            page = show(f"<body><script src={LOADER} {name}='{value}'></script>")
            launcher(page)
            key = name.removeprefix("data-")
            assert said(page) == [f'error: SiteChat: {key} cannot be "{value}"']
            button = page.get_by_role("button", name="Chat", exact=True)
            expect(button).to_have_css("background-color", "rgb(13, 74, 87)")
            assert page.evaluate(FROM_BOTTOM) == 20


FROM_BOTTOM = """() => innerHeight - document.querySelector("site-chat").shadowRoot
  .querySelector("button").getBoundingClientRect().bottom"""


def test_its_place_is_the_sites(show: Show) -> None:
    """Above a bar at the bottom; never on paper; behind the site's own button."""
    for bottom, pixels in (("90", 90), ("5rem", 80), ("calc(10px + 2rem)", 42), ("0", 0)):
        page = show(f"<body><script src={LOADER} data-bottom='{bottom}'></script>")
        launcher(page)
        assert page.evaluate(FROM_BOTTOM) == pixels
    page.evaluate("() => SiteChat.set({bottom: 120})")
    assert page.evaluate(FROM_BOTTOM) == 120
    page.emulate_media(media="print")
    expect(page.locator("site-chat button")).to_be_hidden()
    page.emulate_media(media="screen")

    own = "<a class=ask href=/elsewhere><b>Ask us</b></a><p><a class=ask href=/>Ask</a>"
    page = show(f"<body>{own}<script src={LOADER} data-launcher=.ask></script>")
    until(page, "() => document.querySelector('site-chat')")
    expect(page.locator("site-chat button")).to_be_hidden()
    page.get_by_text("Ask us").click()
    chat_in(page)
    expect(page.locator("iframe")).to_be_visible()
    height = page.evaluate("() => innerHeight")
    box = page.locator("site-chat section").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] == height - 20  # the launcher's place is the panel's
    page.get_by_text("Ask us").click()
    expect(page.locator("iframe")).to_be_hidden()
    assert said(page) == []


def test_the_sites_own_link_opens_the_chat_and_leads_nowhere(show: Show) -> None:
    """Whatever the site's handlers do with a click: stop it, or go where the link leads."""
    page = show(
        "<body><nav onclick='event.stopPropagation()'><a class=ask href=/bundle.js>Ask</a></nav>"
        "<script>document.querySelector('.ask').onclick = (event) => { window.routed = true }"
        f"</script><script src={LOADER} data-launcher=.ask></script>"
    )
    until(page, "() => document.querySelector('site-chat')")
    link = page.get_by_text("Ask")
    link.focus()
    page.keyboard.press("Enter")
    chat_in(page)
    expect(page.locator("iframe")).to_be_visible()
    expect(chat_in(page).locator("#message")).to_be_focused()
    page.keyboard.press("Escape")

    expect(page.locator("iframe")).to_be_hidden()
    expect(link).to_be_focused()
    assert page.evaluate("() => [location.pathname, window.routed]") == ["/", None]


def test_a_policy_that_only_reports_forbids_nothing(shop: Site, show: Show) -> None:
    shop.headers = {"Content-Security-Policy-Report-Only": "frame-src 'none'"}
    page = show(f"<body><script src={LOADER}></script>")
    page.get_by_role("button", name="Chat", exact=True).click()
    chat_in(page)

    assert [line for line in said(page) if "SiteChat" in line] == []
    expect(page.locator("section")).not_to_have_class("told")


def test_several_wishes_at_once_and_a_second_queue_are_heard(show: Show) -> None:
    page = show(f"<body><script src={LOADER}></script>")
    launcher(page)
    page.evaluate("() => SiteChat.push(['set', {side: 'left'}], ['set', {lang: 'ru'}])")
    launcher(page, "Чат")
    page.evaluate("() => { SiteChat = [['set', {lang: 'en'}]] }")
    launcher(page)
    assert page.evaluate("() => Object.isFrozen(SiteChat) && typeof SiteChat.open") == "function"


def test_the_theme_is_the_sites(shop: Site, opened: Open) -> None:
    shop.data = "data-theme=dark"
    page = opened(f"{shop.origin}/", color_scheme="null")
    page.evaluate("() => SiteChat.open()")

    expect(chat_in(page).locator("body")).to_have_css("color", "rgb(232, 240, 242)")
    page.evaluate("() => SiteChat.set({theme: 'light'})")
    expect(chat_in(page).locator("body")).to_have_css("color", "rgb(23, 38, 43)")


def test_on_a_phone_a_page_without_a_viewport_shows_it_as_large_as_any(
    shop: Site, opened: Open
) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "screen": {"width": 390, "height": 844}}
    page = opened(f"{shop.origin}/", **phone, is_mobile=True, has_touch=True)
    wide = page.evaluate("() => innerWidth")
    assert wide >= 900
    button = page.get_by_role("button", name="Chat", exact=True)
    box = button.bounding_box()
    assert box is not None
    assert box["width"] * 390 / wide >= 44  # in the phone's own pixels

    button.tap()

    chat_in(page)
    box = page.locator("site-chat section").bounding_box()
    assert box is not None
    assert [round(box[side]) for side in ("x", "y", "width")] == [0, 0, wide]
    assert chat_in(page).evaluate("() => innerWidth") < 480


def test_old_libraries_that_change_json_keep_the_visitor(shop: Site, opened: Open) -> None:
    """Prototype 1.6 makes of each text in JSON one with two pairs of quotation marks."""
    old = 'if (window === parent) String.prototype.toJSON = function () { return `"${this}"` }'
    page = opened(f"{shop.origin}/", old)
    page.evaluate("() => SiteChat.open()")
    chat = chat_in(page)
    chat.locator("#message").fill("kept")
    chat.locator("#message").press("Enter")
    chat.locator("article.visitor[data-id]").wait_for()

    page.reload()
    until(page, "() => window.SiteChat?.open")
    page.evaluate("() => SiteChat.open()")

    expect(chat_in(page).locator("article .body")).to_have_text(["kept"])
