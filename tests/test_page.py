"""What a visitor can do on the chat page beside writing: scroll back, rate, save, delete, agree."""

import re
import sqlite3
import statistics
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pages import agree, chat_of, close_chat, open_page, page_of, shows, until, write
from playwright.sync_api import Browser, FilePayload, Page, expect
from stage import ROOT, Stage, Visitor, wait_until

from web.static_files import with_imports

expect.set_options(timeout=30_000)
CONSENT = "I agree that Example Ltd stores my messages."


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with page_of(browser) as page:
        yield page


@pytest.fixture
def plain(browser: Browser) -> Iterator[Page]:
    """A page of a browser without JavaScript."""
    with page_of(browser, java_script_enabled=False) as page:
        yield page


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage that asks for consent, not installed: what is sent stays with us."""
    settings: dict[str, Any] = {
        "SITECHAT_CHAT__CONSENT": CONSENT,
        "SITECHAT_CHAT__CONSENT_LINK": "https://example.com/privacy",
    }
    with Stage(tmp_path_factory.mktemp("careful"), **settings) as stage:
        yield stage


@pytest.fixture(scope="module")
def long_talk(stage: Stage) -> Visitor:
    """A visitor with 120 messages."""
    visitor = stage.visitor()
    for number in range(1, 121):
        visitor.send(f"message {number}")
    return visitor


def rows(stage: Stage, sql: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(stage.folder / "chats" / "chats.db", timeout=10)) as db:
        return db.execute(sql, values).fetchall()


def continue_as(page: Page, stage: Stage, visitor: Visitor) -> None:
    """Open the chat page as a visitor who has written before."""
    cookies = [(one.name, str(one.value)) for one in visitor.http.cookies]
    page.context.add_cookies([{"name": n, "value": v, "url": stage.chat} for n, v in cookies])
    page.goto(f"{stage.chat}/")


def numbers(page: Page) -> list[int]:
    return [int(text.split()[1]) for text in page.locator(".message .body").all_inner_texts()]


# -- the own bubble


def first_bubble_ms(stage: Stage, page: Page) -> float:
    """From Enter to the laid out bubble, on a fresh page."""
    open_page(page, stage)
    page.wait_for_timeout(300)  # a person takes longer to type
    page.locator("#message").fill("How fast?")

    took: float = page.evaluate("""() => new Promise((end) => {
      const field = document.querySelector("#message")
      const key = new KeyboardEvent("keydown", {key: "Enter", bubbles: true, cancelable: true})
      const began = performance.now()
      field.dispatchEvent(key)
      const bubble = document.querySelector(".message.visitor .body")
      if (bubble?.innerText !== "How fast?" || !bubble.offsetHeight) throw Error("no bubble")
      end(performance.now() - began)  // laid out: only painting is left
    })""")

    return took


def test_the_own_bubble_stands_within_50_ms(stage: Stage, page: Page) -> None:
    took = [first_bubble_ms(stage, page) for _ in range(3)]

    assert statistics.median(took) < 50, took


# -- older messages


def test_older_messages_come_while_scrolling_and_nothing_jumps(
    stage: Stage, page: Page, long_talk: Visitor
) -> None:
    continue_as(page, stage, long_talk)
    page.locator("live-chat[data-ready]").wait_for()
    assert numbers(page) == list(range(71, 121))

    for first in (21, 1):
        moved = page.evaluate("""async () => {
          const log = document.querySelector(".log")
          const count = () => log.querySelectorAll(".message").length
          const before = count()
          log.scrollTop = 120
          const mark = [...log.querySelectorAll(".message")].find(
            (one) => one.getBoundingClientRect().top > log.getBoundingClientRect().top)
          const top = mark.getBoundingClientRect().top
          while (count() === before) await new Promise(requestAnimationFrame)
          await new Promise(requestAnimationFrame)
          await new Promise(requestAnimationFrame)
          return Math.abs(mark.getBoundingClientRect().top - top)
        }""")
        assert moved <= 1
        assert numbers(page) == list(range(first, 121))

    expect(page.locator(".older")).to_be_hidden()
    expect(page.locator(".log")).not_to_have_attribute("aria-busy", "true")
    expect(page.locator(".day")).to_have_count(1)


@pytest.mark.firefox
def test_news_do_not_undo_a_scroll_that_has_just_begun(
    stage: Stage, page: Page, long_talk: Visitor
) -> None:
    page.add_init_script("""
      window.BroadcastChannel = class extends BroadcastChannel {
        constructor(name) { super(name); window.tabs = this }
      }""")
    continue_as(page, stage, long_talk)
    page.locator("live-chat[data-ready]").wait_for()

    place = page.evaluate("""() => {
      const log = document.querySelector(".log")
      log.scrollTop = 900  // the page is told of it before the next frame, not now
      window.tabs.onmessage({data: {kind: "changed", value: log.querySelector(".list").innerHTML}})
      return log.scrollTop
    }""")

    assert place == 900


def test_older_messages_that_cannot_be_loaded_are_offered_again(
    stage: Stage, page: Page, long_talk: Visitor
) -> None:
    continue_as(page, stage, long_talk)
    page.locator("live-chat[data-ready]").wait_for()
    page.context.set_offline(True)
    page.locator(".log").evaluate("(log) => (log.scrollTop = 0)")
    expect(page.locator(".older")).to_contain_text("could not be loaded")

    page.context.set_offline(False)
    page.locator(".older").focus()
    page.keyboard.press("Enter")

    until(page, "() => document.querySelectorAll('.message').length > 50")


def test_older_messages_without_javascript(stage: Stage, plain: Page, long_talk: Visitor) -> None:
    continue_as(plain, stage, long_talk)
    seen = numbers(plain)

    for _ in range(2):
        plain.get_by_role("link", name="Earlier messages").click()
        seen = numbers(plain) + seen

    assert seen == list(range(1, 121))
    expect(plain.get_by_role("link", name="Earlier messages")).to_have_count(0)
    plain.get_by_role("link", name="To the newest messages").click()
    assert numbers(plain)[-1] == 120


# -- rating


def test_a_vote_is_cast_by_keyboard_and_shown_as_one(stage: Stage, page: Page) -> None:
    open_page(page, stage)
    write(page, "Rate me")
    chat = chat_of(stage, "Rate me")
    stage.press("vote", external_chat_id=chat)
    shows(page, ".vote")
    stage.press("vote", external_chat_id=chat)
    shows(page, ".vote", 2)
    expect(page.locator(".vote:visible")).to_have_count(1)  # the newest

    good = page.locator(".vote:visible").get_by_role("button", name="Good", exact=False).first
    good.focus()
    page.keyboard.press("Enter")

    expect(page.locator(".voted .cast")).to_have_text("Good")
    expect(page.locator(".voted .body")).to_be_hidden()
    expect(page.locator(".vote:visible")).to_have_count(0)
    shows(page, ".message.system", 3)
    expect(page.locator(".message.system").last.locator(".body")).to_have_text("Thank you!")
    assert stage.texts(chat)[-1] == "1"
    assert stage.dialog(chat)["vote"] == "1"
    assert page.evaluate("() => document.activeElement.className") == "log"
    page.reload()
    expect(page.locator(".voted .cast")).to_have_text("Good")
    expect(page.locator(".vote:visible")).to_have_count(0)


def test_a_vote_is_saved_as_one(stage: Stage) -> None:
    visitor = stage.visitor()
    chat = visitor.send("1")["chat"]  # nobody has asked yet
    wait_until(lambda: stage.dialog(chat))
    for vote in "10":
        stage.press("vote", external_chat_id=chat)
        wait_until(lambda: visitor.history().count('class="vote"') == 2 - int(vote))  # noqa: B023
        visitor.send(vote)

    saved = re.findall(r"<div[^>]*>(.*?)</div>", visitor.post(type="save_conversation").text)

    assert saved[0] == "1"
    assert [one for one in saved if one in ("Good", "Not good", "0", "1")][1:] == [
        "Good",
        "Not good",
    ]


def test_a_vote_without_javascript_keeps_the_name(stage: Stage, plain: Page) -> None:
    plain.goto(f"{stage.chat}/")
    plain.locator("#name").fill("Berta")
    plain.locator("#message").fill("Rate me plainly")
    plain.locator(".send").click()
    chat = chat_of(stage, "Rate me plainly")
    stage.press("vote", external_chat_id=chat)
    wait_until(lambda: plain.reload() and plain.locator(".vote").count())

    plain.get_by_role("button", name="Not good").click()

    expect(plain.locator(".cast")).to_have_text("Not good")
    expect(plain.locator(".vote:visible")).to_have_count(0)
    expect(plain.locator(".who")).to_contain_text("Berta")
    wait_until(lambda: stage.dialog(chat)["vote"] == "0")


def test_a_question_without_words_takes_its_own(stage: Stage) -> None:
    visitor = stage.visitor()
    chat = visitor.send("Ask me")["chat"]
    wait_until(lambda: stage.dialog(chat))
    params = {"CLASS": "bx-messenger-content-item-ol-output", "IMOL_VOTE": "1"}

    stage.press("system", external_chat_id=chat, text="", params=params | {"IMOL_VOTE_TEXT": "So?"})

    assert 'class="vote"' in visitor.wait_for("So?")


# -- bubbles


def test_a_closed_dialog_says_how_to_go_on(stage: Stage) -> None:
    visitor = stage.visitor()
    chat = visitor.send("Close me")["chat"]
    close_chat(stage, chat)

    assert "This conversation is closed. Write to go on." in visitor.history()
    saved = visitor.post(type="save_conversation").text
    assert "This conversation is closed. Write to go on." in saved


def test_times_in_a_text_and_faces(stage: Stage, browser: Browser) -> None:
    with page_of(browser, timezone_id="Asia/Tokyo") as page:
        open_page(page, stage)
        write(page, "When?")
        chat = chat_of(stage, "When?")
        stage.press("answer", external_chat_id=chat, text="At [timestamp=1795507200 format=LT].")
        stage.press("answer", external_chat_id=chat, text="Sharp.")
        answers = page.locator(".message.operator")
        shows(page, ".message.operator", 2)

        expect(answers.first.locator(".body")).to_have_text("At 24 November 2026 at 17:00.")
        expect(answers.locator(".face:visible")).to_have_text(["OP"])
        assert answers.locator(".face").first.get_attribute("aria-hidden") == "true"


# -- the menu


@pytest.mark.firefox
def test_the_menu_by_keyboard(stage: Stage, page: Page) -> None:
    open_page(page, stage)
    expect(page.locator(".more")).to_be_hidden()
    write(page, "Keys only")
    button = page.get_by_role("button", name="Conversation menu")
    button.focus()

    page.keyboard.press("Enter")
    expect(page.locator(".menu")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".menu")).to_be_hidden()
    expect(button).to_be_focused()

    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Save my conversation")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Delete the conversation?")
    expect(dialog).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(button).to_be_focused()


def test_the_whole_conversation_can_be_saved(
    stage: Stage, page: Page, plain: Page, long_talk: Visitor, tmp_path: Path
) -> None:
    long_talk.send("<script>alert(1)</script>", name="<b>Anna</b>")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.post_data or ""))
    for one in (page, plain):
        continue_as(one, stage, long_talk)
        one.locator(".more").click()
        with one.expect_download() as download:
            one.get_by_role("button", name="Save my conversation").click()
        assert re.fullmatch(r"conversation-[\d-]{10}\.html", download.value.suggested_filename)
        html = Path(download.value.path()).read_text("utf-8")
        assert [int(one) for one in re.findall(r">message (\d+)<", html)] == list(range(1, 121))
        assert "&lt;script&gt;alert(1)" in html
        assert "&lt;b&gt;Anna" in html
        assert "<script" not in html
        assert one is page or "UTC</time>" in html
    zone = page.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone")
    assert any("save_conversation" in body and zone in body for body in asked)


@pytest.mark.firefox
def test_deleting_leaves_nothing(stage: Stage, page: Page) -> None:
    open_page(page, stage)
    page.locator("#name").fill("Clara")
    write(page, "Forget me")
    chat = chat_of(stage, "Forget me")
    page.locator("#message").fill("a draft")
    page.get_by_role("button", name="Conversation menu").click()
    page.get_by_role("button", name="Delete my conversation").click()

    page.get_by_role("button", name="Delete", exact=True).click()

    expect(page.locator(".welcome")).to_be_visible()
    expect(page.locator(".message")).to_have_count(0)
    expect(page.locator(".status")).to_have_text("Your conversation is deleted")
    expect(page.locator("#message")).to_be_focused()
    assert kept(page) == []
    for table in ("messages", "deliveries"):
        assert not rows(stage, f"select 1 from {table} where chat_id = ?", chat)
    assert not rows(stage, "select 1 from chats where id = ?", chat)

    # What the portal still sends for it is not stored, and not confirmed: the operator sees that.
    stage.press("answer", external_chat_id=chat, text="Too late")
    wait_until(lambda: not stage.counts()["pending_events"])
    assert not rows(stage, "select 1 from chats where id = ?", chat)
    assert not stage.dialog(chat)["messages"][-1]["delivered"]

    write(page, "As a stranger")
    assert chat_of(stage, "As a stranger") != chat


def test_deleting_without_javascript_asks_first(stage: Stage, plain: Page) -> None:
    plain.goto(f"{stage.chat}/")
    plain.locator("#message").fill("Forget me plainly")
    plain.locator(".send").click()
    plain.locator(".more").click()
    plain.get_by_role("button", name="Delete my conversation").click()
    expect(plain.locator(".message")).to_have_count(1)

    plain.get_by_role("button", name="Delete", exact=True).click()

    expect(plain.locator(".message")).to_have_count(0)
    expect(plain.locator(".welcome")).to_be_visible()
    assert plain.context.cookies() == []


def test_another_tab_forgets_too(stage: Stage, page: Page) -> None:
    open_page(page, stage)
    write(page, "Two tabs")
    other = page.context.new_page()
    open_page(other, stage)
    expect(other.locator(".message")).to_have_count(1)
    page.get_by_role("button", name="Conversation menu").click()
    page.get_by_role("button", name="Delete my conversation").click()

    page.get_by_role("button", name="Delete", exact=True).click()

    expect(other.locator(".message")).to_have_count(0)


# -- polite


def kept(page: Page) -> list[Any]:
    """All that the browser keeps of us."""
    stored: list[Any] = page.evaluate("""async () => [
      ...Object.keys(localStorage), ...Object.keys(sessionStorage),
      ...(await indexedDB.databases()), ...(window.caches ? await caches.keys() : [])]""")
    return stored + page.context.cookies()


def test_nothing_is_kept_before_the_visitor_acts(careful: Stage, page: Page) -> None:
    page.clock.install()
    open_page(page, careful)
    page.clock.run_for(60_000)

    assert kept(page) == []
    for table in ("chats", "messages", "hits"):
        assert rows(careful, f"select * from {table}") == [], table


def test_consent_is_asked_once_and_kept(careful: Stage, page: Page) -> None:
    open_page(page, careful)
    page.locator("#message").fill("Before agreeing")
    page.locator("#message").press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Please tick the box first.")
    expect(page.get_by_role("checkbox")).to_be_focused()
    expect(page.locator(".message")).to_have_count(0)

    page.keyboard.press("Space")
    page.locator("#message").press("Enter")

    expect(page.locator('.message[data-state="stored"]')).to_have_count(1)
    expect(page.locator(".consent")).to_be_hidden()
    found = rows(careful, "select consent, consent_at - created_at from chats")
    assert [(text, abs(late) < 5) for text, late in found] == [
        (f"{CONSENT} https://example.com/privacy", True)
    ]
    page.locator("#message").fill("Not asked again")
    page.locator("#message").press("Enter")
    expect(page.locator('.message[data-state="stored"]')).to_have_count(2)
    page.reload()
    expect(page.locator(".consent")).to_be_hidden()


def test_files_wait_for_the_consent(careful: Stage, page: Page) -> None:
    open_page(page, careful)
    files = [
        FilePayload(name=f"{name}.txt", mimeType="text/plain", buffer=b"x")
        for name in ("one", "two")
    ]
    page.set_input_files(".clip input", files)
    expect(page.get_by_role("alert")).to_have_text("Please tick the box first.")
    expect(page.locator(".message")).to_have_count(0)

    agree(page)

    expect(page.locator('.message[data-state="stored"] .body')).to_have_text(
        ["one.txt (1 B)", "two.txt (1 B)"]
    )
    expect(page.locator(".composer .alert")).to_be_hidden()


def test_the_server_asks_for_consent_itself(careful: Stage) -> None:
    visitor = careful.visitor()
    visitor.http.headers["Accept-Language"] = "ru"

    refused = visitor.post(type="send_message", name="", message="hello")

    assert refused.status_code == 400
    assert refused.json()["result"]["error"] == "CONSENT_MISSING"
    assert "согласие" in refused.json()["result"]["error_description"]
    assert not visitor.http.cookies
    visitor.send("hello", consent="yes")
    visitor.send("and again")


def test_consent_without_javascript(careful: Stage, plain: Page) -> None:
    plain.goto(f"{careful.chat}/")
    plain.locator("#message").fill("plain")
    plain.locator(".send").click()
    expect(plain.locator(".message")).to_have_count(0)  # the browser itself asks for the box

    agree(plain)
    plain.locator(".send").click()

    expect(plain.locator(".message")).to_have_count(1)
    expect(plain.locator(".consent")).to_be_hidden()


# -- for everyone


def test_the_ring_of_the_status_is_not_cut_off(stage: Stage, page: Page) -> None:
    open_page(page, stage)

    room, ring = page.locator(".status").evaluate("""(status) => {
      const dot = getComputedStyle(status, "::before")
      const {overflowX, paddingInlineStart} = getComputedStyle(status)
      const room = parseFloat(dot.marginInlineStart) + parseFloat(paddingInlineStart)
      const ring = parseFloat(dot.boxShadow.split(" ").at(-1))
      return [overflowX === "hidden" ? room : ring, ring]
    }""")

    assert ring > 0
    assert room >= ring


def test_the_site_around_the_chat_chooses_the_language(stage: Stage, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).query))
    open_page(page, stage, "?lang=ru")
    expect(page.locator("html")).to_have_attribute("lang", "ru")

    page.locator("#message").fill("x")
    page.locator("#message").press("Enter")
    page.locator("article.message[data-id]").wait_for()

    assert page.locator(".tick").get_attribute("title") in (
        "Отправлено",
        "Отправлено и принято в Битрикс24",
    )
    assert "lang=ru" in asked[1:]
    open_page(page, stage, "?lang=xx")
    expect(page.locator("html")).to_have_attribute("lang", "en")


@pytest.mark.firefox
def test_nothing_is_cut_off_at_400_percent_or_right_to_left(stage: Stage, page: Page) -> None:
    page.set_viewport_size({"width": 320, "height": 256})
    open_page(page, stage)
    write(page, "narrow " + "x" * 200)
    for direction in ("ltr", "rtl"):
        page.evaluate("(dir) => (document.documentElement.dir = dir)", direction)
        assert page.evaluate("() => document.documentElement.scrollWidth") == 320
        mark, more = page.locator("h1").bounding_box(), page.locator(".more").bounding_box()
        assert mark
        assert more
        assert (mark["x"] < more["x"]) == (direction == "ltr")
        page.locator(".more").click()
        menu = page.locator(".menu").bounding_box()
        assert menu
        assert menu["x"] >= 0
        assert menu["x"] + menu["width"] <= 320
        page.keyboard.press("Escape")
        page.locator(".send").scroll_into_view_if_needed()
        box = page.locator(".send").bounding_box()
        assert box
        assert box["y"] + box["height"] <= 256


def test_what_can_be_pressed_is_large_enough(stage: Stage, browser: Browser) -> None:
    with page_of(browser, viewport={"width": 375, "height": 667}, has_touch=True) as page:
        open_page(page, stage)
        write(page, "Thumbs")
        stage.press("vote", external_chat_id=chat_of(stage, "Thumbs"))
        page.locator(".vote").wait_for()
        page.locator(".more").click()

        small = page.evaluate("""() => [...document.querySelectorAll("button")]
          .filter((one) => one.offsetParent && one.matches(".send, .more, .menu *, .vote *"))
          .filter((one) => Math.min(one.offsetWidth, one.offsetHeight) < 44)
          .map((one) => one.outerHTML)""")

        assert small == []
    viewport = re.search(
        r'name="viewport" content="([^"]+)"', (ROOT / "templates/index.html").read_text()
    )
    assert viewport
    assert not re.search("maximum-scale|user-scalable", viewport[1])


def test_the_style_knows_neither_left_nor_right() -> None:
    css = with_imports(ROOT / "static" / "chat.css").decode()

    sides = re.findall(
        r"^\s*((?:margin|padding|border|inset)?-?(?:left|right|top|bottom)\b.*)$", css, re.MULTILINE
    )

    assert sides == []
    assert not re.search(
        r"text-align:\s*(left|right)|float:|^\s*(min-|max-)?(width|height):", css, re.M
    )
