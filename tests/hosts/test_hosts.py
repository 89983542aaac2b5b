"""The whole dialogue on sites of every kind.

Frameworks that own the page or replace it, routers, old libraries, strict policies.
"""

import pytest
from embed_parts import Open, chat_in, say
from host_server import Hosts
from install_browser import find_mootools
from pages import until
from playwright.sync_api import Page, expect
from stage import Stage
from test_browser import dialog_of

HOSTS = ("react18", "react19", "turbo", "htmx", "history", "hash", "isolated", "strict")
OLD = ("prototype", *(["mootools"] if find_mootools() else []))
PHONE = {"viewport": {"width": 375, "height": 667}, "has_touch": True}


def answer(stage: Stage, text: str) -> None:
    """The operator answers whoever wrote `text`."""
    stage.press("answer", external_chat_id=dialog_of(stage, text), text=f"answer to {text}")


def shows(page: Page, *texts: str) -> None:
    expect(chat_in(page).locator("article .body")).to_have_text([*texts])


def open_chat(page: Page) -> None:
    page.get_by_role("button", name="Chat", exact=True).click()


@pytest.mark.parametrize("host", [*HOSTS, *OLD])
def test_the_whole_dialogue(stage: Stage, visit: Open, host: str) -> None:
    page = visit(f"/{host}/")
    open_chat(page)
    say(page, f"on {host}")
    assert page.evaluate("() => crossOriginIsolated") == (host == "isolated")
    answer(stage, f"on {host}")
    shows(page, f"on {host}", f"answer to on {host}")

    page.reload()
    open_chat(page)

    shows(page, f"on {host}", f"answer to on {host}")


@pytest.mark.parametrize("host", ["react18", "react19"])
def test_react_takes_over_a_whole_document_with_the_launcher_in_it(visit: Open, host: str) -> None:
    page = visit(f"/{host}/?late=700")
    launcher = page.get_by_role("button", name="Chat", exact=True)
    launcher.wait_for()

    until(page, "() => Object.keys(document).some((key) => key.includes('react'))")
    page.locator("#buy").click()

    expect(page.locator("#buy")).to_have_text("Bought: 1")
    expect(launcher).to_have_count(1)
    open_chat(page)
    chat_in(page)
    page.locator("#buy").click()
    expect(page.locator("#buy")).to_have_text("Bought: 2")


def test_it_comes_back_whatever_has_removed_it(stage: Stage, visit: Open) -> None:
    page = visit("/strict/")
    open_chat(page)
    say(page, "before the page was made anew")
    launcher = page.get_by_role("button", name="Chat", exact=True)
    for removal in (
        "document.querySelector('site-chat').remove()",
        "document.body.replaceWith(document.createElement('body'))",
        "document.documentElement.replaceChildren(document.createElement('body'))",
        "document.documentElement.replaceWith(document.createElement('html'));"
        " document.documentElement.append(document.createElement('body'))",
    ):
        page.evaluate(f"() => {{ {removal} }}")

        expect(launcher).to_be_visible()
        shows(page, "before the page was made anew")
    page.evaluate("() => SiteChat.close()")
    expect(page.locator("iframe")).to_be_hidden()


def test_what_is_morphed_into_the_page_is_the_pages(visit: Open) -> None:
    """Morphing takes an element of the same kind for the one that it is to become."""
    page = visit("/htmx/")
    launcher = page.get_by_role("button", name="Chat", exact=True)
    launcher.wait_for()

    page.evaluate(
        "() => Idiomorph.morph(document.body, '<body><h1>new</h1><div>Thank you</div></body>')"
    )

    expect(page.get_by_text("Thank you")).to_be_visible()
    expect(launcher).to_be_visible()


def test_what_a_framework_kept_of_the_launcher_is_removed(visit: Open) -> None:
    page = visit("/htmx/")
    page.get_by_role("button", name="Chat", exact=True).wait_for()

    page.evaluate("() => { document.body.innerHTML = document.body.innerHTML }")

    page.get_by_role("button", name="Chat", exact=True).wait_for()
    expect(page.locator("site-chat")).to_have_count(1)


def test_opened_while_the_page_still_loads_it_comes_at_once(hosts: Hosts, visit: Open) -> None:
    page = visit("/slow/")  # a picture of it never comes
    open_chat(page)
    chat_in(page)

    assert page.evaluate("() => document.readyState") == "interactive"
    hosts.hangs.set()


def test_a_page_that_holds_what_is_fixed_to_the_window_does_not_hold_the_launcher(
    visit: Open,
) -> None:
    page = visit("/transformed/")
    launcher = page.get_by_role("button", name="Chat", exact=True)

    box = launcher.bounding_box()
    height = page.evaluate("() => innerHeight")
    assert box is not None
    assert box["y"] + box["height"] == height - 20
    assert box["x"] == 20  # the body is written from right to left


def test_on_a_phone_the_page_stands_where_it_stood(visit: Open) -> None:
    """Also if its body scrolls as soon as its root does not, and if it sets its own overflow."""
    page = visit("/scrolling/", **PHONE)
    page.evaluate("() => scrollTo(0, 700)")
    launcher = page.get_by_role("button", name="Chat", exact=True)
    launcher.tap()
    chat_in(page).locator("[name=close]").click()
    expect(page.locator("iframe")).to_be_hidden()
    assert page.evaluate("() => scrollY") == 700

    launcher.tap()
    page.evaluate("() => { document.documentElement.style.overflow = '' }")
    chat_in(page).locator("[name=close]").click()
    expect(page.locator("iframe")).to_be_hidden()
    assert page.evaluate("() => document.documentElement.style.overflow") == ""


def test_a_page_that_always_removes_it_goes_on(visit: Open) -> None:
    page = visit("/strict/")
    page.get_by_role("button", name="Chat", exact=True).wait_for()

    removals = page.evaluate("""() => new Promise((done) => {
      let removals = 0
      const remove = () => {
        const root = document.querySelector("site-chat")
        if (root) removals++, root.remove()
      }
      new MutationObserver(remove).observe(document, {childList: true, subtree: true})
      remove()
      setTimeout(() => done(removals), 1500)
    })""")

    assert 3 <= removals <= 12  # each time it waits twice as long


@pytest.mark.parametrize("host", ["turbo", "htmx"])
def test_the_conversation_stays_open_from_page_to_page(
    stage: Stage, visit: Open, host: str
) -> None:
    page = visit(f"/{host}/")
    open_chat(page)
    say(page, f"going through {host}")
    frame = page.frames[-1]
    chat_in(page).locator("#message").fill("half a sentence")

    page.get_by_text("Lamps").click()
    expect(page.locator("h1")).to_have_text(f"/{host}/lamps")
    page.get_by_text("Shades").click()
    expect(page.locator("h1")).to_have_text(f"/{host}/shades")
    page.go_back()
    expect(page.locator("h1")).to_have_text(f"/{host}/lamps")

    answer(stage, f"going through {host}")
    shows(page, f"going through {host}", f"answer to going through {host}")
    expect(chat_in(page).locator("#message")).to_have_value("half a sentence")
    assert page.frames[-1] == frame  # it was never loaded again
    expect(page.get_by_role("button", name="Chat", exact=True)).to_have_count(1)


@pytest.mark.parametrize("host", ["turbo", "htmx", "history", "hash"])
def test_on_a_phone_open_and_close_leave_the_page_as_it_is(visit: Open, host: str) -> None:
    heard = "addEventListener('popstate', () => (window.heard = true))"
    page = visit(f"/{host}/", heard, **PHONE)
    page.get_by_text("Shades").click()
    expect(page.locator("h1")).to_have_text(f"/{host}/shades")
    page.evaluate("() => { window.heard = undefined }")
    page.get_by_text("Lamps").click()
    expect(page.locator("h1")).to_have_text(f"/{host}/lamps")
    page.locator("[name=wish]").fill("half a form")
    launcher = page.get_by_role("button", name="Chat", exact=True)

    for close in (page.go_back, lambda: chat_in(page).locator("[name=close]").click()):
        launcher.tap()
        chat_in(page)
        close()
        expect(page.locator("iframe")).to_be_hidden()
        expect(launcher).to_be_visible()
        until(page, "() => !document.body.inert")
        until(page.frames[-1], "() => history.state === null")  # our entry is left
        page.wait_for_timeout(100)  # a router that had heard of it would need no more

        expect(page.locator("[name=wish]")).to_have_value("half a form")
        assert page.evaluate("() => window.heard") is None
        assert page.url.endswith("lamps")

    page.go_back()
    expect(page.locator("h1")).to_have_text(f"/{host}/shades")


@pytest.mark.parametrize("host", ["turbo", "htmx", "history", "hash"])
def test_on_a_phone_a_page_that_moves_on_is_not_thrown_back(visit: Open, host: str) -> None:
    page = visit(f"/{host}/", **PHONE)
    page.get_by_role("button", name="Chat", exact=True).tap()
    chat_in(page)
    page.evaluate("() => [...document.links].find(({text}) => text === 'Lamps').click()")
    expect(page.locator("h1")).to_have_text(f"/{host}/lamps")
    until(page, "() => document.body.inert")

    chat_in(page).locator("[name=close]").click()

    expect(page.locator("iframe")).to_be_hidden()
    page.wait_for_timeout(300)
    expect(page.locator("h1")).to_have_text(f"/{host}/lamps")
    assert page.url.endswith("lamps")
    assert not page.evaluate("() => document.body.inert")
    page.get_by_text("Shades").click()
    expect(page.locator("h1")).to_have_text(f"/{host}/shades")
