"""The main flows in Chromium, Firefox and WebKit, the engine of Safari, with real keys and mouse.

No reload, way back, tab or frame ends the chat. WebKit suspends a page before it leaves it and
refuses locks meanwhile, as no other browser does.
"""

import base64
from pathlib import Path

from embed_parts import Site
from engine import READY, Engine
from pages import chat_of
from stage import Stage
from test_round_trip import PICTURE

DELIVERED = 'article.visitor[data-state="delivered"]'
# Whether this tab holds the stream or waits for its turn: what a reload then takes from it.
LOCKS = """
return navigator.locks.query().then(({held, pending}) => [held.length, pending.length])
"""
# What the menu offers for saving is kept here, and no file is written.
KEEP_SAVED = """
URL.createObjectURL = (blob) => {
  window.saved = blob
  return "about:blank"
}
HTMLAnchorElement.prototype.click = () => {}
"""
# How light the page and its text are, from 0 to 255, where the field is and in the conversation.
LIGHT = """
const light = (colour) => Math.max(...colour.match(/[0-9.]+/g).slice(0, 3))
return ["body", ".chat", ".write", "article.visitor .line", ".menu"].map((place) => {
  const {backgroundColor, color} = getComputedStyle(find(place))
  return [light(backgroundColor), light(color)]
})
"""


def holds(engine: Engine, *locks: int) -> None:
    """Wait until so many locks are held, and so many waited for, by all tabs of the chat."""
    engine.until(
        f"{LOCKS}.then((locks) => String(locks) === arguments[0])", ",".join(map(str, locks))
    )


def open_page(engine: Engine, stage: Stage) -> None:
    engine.open(f"{stage.chat}/")
    engine.sees(READY)


def reload(engine: Engine) -> None:
    engine.reload()
    engine.sees(READY)


def write(engine: Engine, stage: Stage, text: str) -> str:
    """Send a first message; returns the chat's id once the portal has it."""
    engine.click("#message")
    engine.type(text)
    engine.press("Enter")
    engine.sees(DELIVERED)
    return chat_of(stage, text)


def answer(stage: Stage, chat: str, text: str) -> None:
    stage.press("answer", external_chat_id=chat, text=text)


def open_embedded(engine: Engine) -> None:
    engine.click("button")
    engine.enter()


def test_a_conversation_goes_on_through_reloads(stage: Stage, engine: Engine) -> None:
    open_page(engine, stage)
    engine.click("#message")
    engine.type("One")
    engine.press("Shift+Enter")
    engine.type(f"and two in {engine.name}")
    engine.press("Escape")
    engine.press("Enter")
    engine.sees(DELIVERED)
    assert engine.run("return getComputedStyle(find('.as')).textDecorationLine") == "underline"
    text = f"One\nand two in {engine.name}"
    chat = chat_of(stage, text)
    expected = [text]

    for number in range(engine.reloads):
        holds(engine, 1, 0)
        reload(engine)
        answer(stage, chat, f"answer {number}")
        expected.append(f"answer {number}")
        engine.shows(*expected)


def test_reloads_before_the_first_message_end_at_once(stage: Stage, engine: Engine) -> None:
    open_page(engine, stage)

    for _ in range(engine.reloads):
        reload(engine)

    write(engine, stage, f"After reloads in {engine.name}")


def test_a_page_left_and_come_back_to_is_live(stage: Stage, engine: Engine) -> None:
    open_page(engine, stage)
    text = f"Back soon in {engine.name}"
    chat = write(engine, stage, text)
    expected = [text]

    for number in range(1, engine.reloads):
        if number == 1:
            engine.open(f"{stage.portal}/shop")
        else:
            engine.forward()
        answer(stage, chat, f"while away {number}")
        engine.back()
        engine.sees(READY)
        answer(stage, chat, f"back {number}")
        expected += [f"while away {number}", f"back {number}"]
        engine.shows(*expected)


def test_of_two_tabs_each_may_be_reloaded_and_closed(stage: Stage, engine: Engine) -> None:
    open_page(engine, stage)
    text = f"In two tabs of {engine.name}"
    chat = write(engine, stage, text)
    engine.new_tab()
    open_page(engine, stage)
    holds(engine, 1, 1)

    expected = [text]
    for number, tab in enumerate([1, 0] * (engine.reloads // 2)):
        engine.go_to_tab(tab)
        reload(engine)
        answer(stage, chat, f"answer {number}")
        expected.append(f"answer {number}")
        for each in (0, 1):
            engine.go_to_tab(each)
            engine.shows(*expected)

    engine.close_tab()
    answer(stage, chat, "to the one left")
    engine.shows(*expected, "to the one left")


def test_a_killed_server_is_found_again(stage: Stage, engine: Engine) -> None:
    open_page(engine, stage)
    text = f"Are you there, {engine.name}?"
    chat = write(engine, stage, text)

    stage.kill()
    engine.type("While you were away")
    engine.press("Enter")
    engine.sees('article.visitor[data-state="waiting"] .reason button')
    stage.start()
    # WebKit does not notice that a proxy resets a stream over HTTP/2; the page does after 45 s.
    is_there = f"return document.querySelectorAll('{DELIVERED}').length === 2"
    engine.until(is_there, seconds=60)
    engine.sees('.status[data-connection="ready"]')
    answer(stage, chat, "Here again")

    engine.shows(text, "While you were away", "Here again")


def test_files_go_both_ways_and_the_menu_saves_and_deletes(
    stage: Stage, engine: Engine, tmp_path: Path
) -> None:
    open_page(engine, stage)
    text = f"Files from {engine.name}"
    chat = write(engine, stage, text)
    path = tmp_path / "plan.png"
    path.write_bytes(base64.b64decode(PICTURE))
    loaded = "return find(arguments[0])?.naturalWidth === 2"

    engine.choose(".clip input", path)
    engine.until(loaded, f"{DELIVERED} img")
    picture = {"name": "scheme.png", "type": "image", "content_base64": PICTURE}
    stage.press("answer", external_chat_id=chat, text="Here it is", files=[picture])
    if engine.name != "webkit" or stage.front is None:  # it loads none over HTTP into HTTPS
        engine.until(loaded, "article.operator img")

    engine.run(KEEP_SAVED)
    engine.click(".more")
    engine.click('[value="save_conversation"]')
    engine.until("return Boolean(window.saved)")
    saved = engine.run("return saved.text()")
    assert text in saved
    assert "Here it is" in saved
    engine.sees_not(".menu")

    engine.click(".more")
    engine.press("Escape")
    engine.sees_not(".menu")
    engine.press("Enter")
    engine.press("Tab")
    engine.press("Tab")
    engine.press("Enter")
    engine.click("dialog .danger")
    engine.sees(".welcome")
    engine.shows()
    engine.type("Begun anew")
    engine.press("Enter")
    engine.shows("Begun anew")


def test_an_embedded_chat_without_storage_goes_on_when_its_host_is_reloaded(
    stage: Stage, shop: Site, engine: Engine
) -> None:
    engine.open(f"{shop.origin}/")
    open_embedded(engine)
    assert engine.run("return document.cookie") == ""
    text = f"From the shop in {engine.name}"
    chat = write(engine, stage, text)
    expected = [text]

    for number in range(engine.reloads):
        engine.reload()
        open_embedded(engine)
        answer(stage, chat, f"answer {number}")
        expected.append(f"answer {number}")
        engine.shows(*expected)


def test_who_likes_it_dark_gets_it_dark(stage: Stage, shop: Site, running: Engine) -> None:
    running.forget(dark=True)
    open_page(running, stage)
    write(running, stage, f"At night in {running.name}")

    assert all(ground < 90 and ink > 160 for ground, ink in running.run(LIGHT)), running.run(LIGHT)
    running.open(f"{shop.origin}/")
    open_embedded(running)
    write(running, stage, f"At night in the shop in {running.name}")
    assert all(ground < 90 and ink > 160 for ground, ink in running.run(LIGHT))
