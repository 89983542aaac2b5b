"""What is typed lands where the visitor looks: in the open chat's field, never in a closed chat.

WebDriver moves WebKit's focus whenever it goes into a frame or out of it. So a test types one
letter after each step, and looks into the frame at its end to see which have arrived there.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from embed_parts import Site
from engine import MIDDLE, Engine
from stage import Stage

KEY_SECONDS = 0.2
SIZES = {"wide": (1100, 900), "narrow": (375, 667)}
# What has the focus: an element's id, or the name of its tag.
FOCUS = """
let element = document.activeElement
while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement
const focus = element.id || element.localName
"""
OWN = "return find('#own').value"
READY = """
window.ready = false
SiteChat.on("ready", () => { window.ready = true })
"""
ADD = """
const field = Object.assign(document.createElement("input"), {id: "own"})
const button = Object.assign(document.createElement("button"), {id: "ask", textContent: "Ask us"})
button.addEventListener("click", () => SiteChat.open())
document.body.prepend(field, button)
"""


def visit(engine: Engine, shop: Site) -> None:
    engine.open(f"{shop.origin}/")
    engine.until("return Boolean(window.SiteChat?.open)")
    engine.run(READY)


def focus_is_on(engine: Engine, what: str) -> None:
    engine.becomes(what, f"{FOCUS} return focus")


def opened(engine: Engine) -> None:
    """The chat is open, and its field has the focus."""
    focus_is_on(engine, "iframe")
    engine.heard()


def closed(engine: Engine, focus: str = "button") -> None:
    engine.sees_not("section")
    focus_is_on(engine, focus)


def holds(engine: Engine, text: str) -> None:
    """The chat's field holds these letters. We are in its frame afterwards."""
    engine.enter()
    engine.becomes(text, "return find('#message').value")


def after(engine: Engine, key: str) -> str:
    """What has the focus after this key, which another process may have to be told of."""
    engine.press(key)
    time.sleep(KEY_SECONDS)
    return str(engine.run(f"{FOCUS} return focus"))


@contextmanager
def answering_nothing(stage: Stage) -> Iterator[None]:
    assert stage.app is not None
    os.killpg(stage.app.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(stage.app.pid, signal.SIGCONT)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_typed_lands_in_the_open_chat_only(
    stage: Stage, shop: Site, engine: Engine, size: str
) -> None:
    engine.resize(*SIZES[size])
    visit(engine, shop)

    engine.click("button")
    opened(engine)
    engine.type("a")
    engine.press("Escape")
    closed(engine)
    engine.type("B")
    for key, letter in (("Enter", "c"), ("Space", "d")):
        engine.press(key)
        opened(engine)
        engine.type(letter)
        if size == "wide":
            engine.click("button")
        else:  # the open chat covers the launcher
            engine.press("Escape")
        closed(engine)
        engine.type("E")
    engine.run("SiteChat.open()")
    opened(engine)
    engine.type("f")
    engine.run("SiteChat.close()")
    closed(engine)
    engine.type("G")
    engine.click("button")
    opened(engine)
    engine.type("h")
    holds(engine, "acdfh")

    x, y = engine.run(MIDDLE, "[name=close]")
    engine.leave()
    left, top = engine.run("const {x, y} = find('iframe').getBoundingClientRect(); return [x, y]")
    engine.click_at(round(left + x), round(top + y))
    closed(engine)
    engine.type("I")
    engine.press("Enter")
    opened(engine)
    engine.type("j")
    holds(engine, "acdfhj")


def test_the_page_keeps_its_focus_and_gets_it_back(
    stage: Stage, shop: Site, engine: Engine
) -> None:
    visit(engine, shop)
    engine.run(ADD)
    engine.click("#ask")
    opened(engine)
    engine.type("a")
    engine.press("Escape")
    closed(engine, "ask")

    engine.click("#own")
    engine.type("b")
    engine.becomes("b", OWN)
    engine.run("SiteChat.open()")  # by the site itself, while the visitor is at the field
    engine.sees("section")
    engine.type("c")
    engine.becomes("bc", OWN)
    engine.run("SiteChat.close()")
    engine.type("d")
    closed(engine, "own")
    engine.click("button")
    opened(engine)
    engine.click("#own")
    engine.type("e")
    engine.becomes("bcde", OWN)
    engine.run("SiteChat.close()")
    engine.type("f")
    closed(engine, "own")

    engine.becomes("bcdef", OWN)
    engine.run("SiteChat.open()")
    holds(engine, "a")


def test_while_the_server_is_slow_the_visitor_may_go_on(
    stage: Stage, shop: Site, engine: Engine
) -> None:
    visit(engine, shop)
    with answering_nothing(stage):
        for _ in range(2):
            engine.click("button")
            engine.sees("section")
            engine.press("Escape")
            closed(engine)
        engine.press("Enter")
        engine.sees("section")
    opened(engine)
    engine.type("a")
    holds(engine, "a")

    visit(engine, shop)
    engine.run(ADD)
    with answering_nothing(stage):
        engine.click("button")
        engine.sees("section")
        engine.click("#own")
        engine.type("b")
    engine.until("return window.ready")
    engine.type("c")
    focus_is_on(engine, "own")
    engine.becomes("bc", OWN)


def test_the_tab_key_finds_an_open_chat_and_passes_a_closed_one(
    stage: Stage, shop: Site, engine: Engine
) -> None:
    visit(engine, shop)
    engine.click("button")
    opened(engine)
    for _ in range(12):
        if after(engine, "Shift+Tab") == "button":
            break
    focus_is_on(engine, "button")
    engine.press("Tab")
    focus_is_on(engine, "iframe")
    engine.press("Escape")
    closed(engine)

    engine.run("find('iframe').focus()")
    assert engine.run(f"{FOCUS} return focus") == "button"
    for key in ("Tab", "Shift+Tab", "Shift+Tab", "Tab"):
        assert after(engine, key) != "iframe"
    focus_is_on(engine, "button")
