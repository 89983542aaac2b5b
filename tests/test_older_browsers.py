"""The oldest browsers that have the whole chat, and those below them, which have the plain form."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from older import FIREFOX_119, NO_MODULES, NO_PRIVATE_METHODS, SAFARI_15, Older, make_older
from pages import chat_of, open_page, page_of, write
from playwright.sync_api import Browser, FilePayload, Page, Route, expect
from stage import Stage

NO_TEXT = re.compile(r"\b(undefined|null|NaN|None|Invalid Date)\b|\[object|\{\w+\}")
# All that a visitor may see or hear: texts, and what stands in attributes.
SAID = """() => [document.title, document.body.innerText, ...[...document.querySelectorAll("*")]
  .flatMap((node) => ["title", "aria-label", "alt", "placeholder", "value"]
    .map((name) => node.getAttribute(name) ?? ""))].join("\\n")"""
# Nobody waits five seconds on each page.
LATER = "setInterval(() => document.getAnimations().forEach((one) => one.finish()), 50)"
OVERLAP = """([one, other]) => {
  const [a, b] = [one, other].map((s) => document.querySelector(s).getBoundingClientRect())
  return Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1
}"""


@pytest.fixture
def older(stage: Stage, browser: Browser) -> Iterator[Callable[[Older], Page]]:
    """Opens the chat in an older browser, where no script may fail but as it must."""
    with page_of(browser) as page:
        troubles: list[str] = []
        page.on("pageerror", lambda error: troubles.append(str(error)))

        def open_older(kind: Older) -> Page:
            make_older(page.context, stage.chat, kind)
            page.goto(f"{stage.chat}/")
            return page

        yield open_older
        page.context.unroute_all(behavior="ignoreErrors")
        assert [one for one in troubles if "Unexpected" not in one and "Invalid" not in one] == []


def says_no_nonsense(page: Page) -> None:
    said = page.evaluate(SAID)
    assert not NO_TEXT.search(said), NO_TEXT.findall(said)


@pytest.mark.parametrize("kind", [FIREFOX_119, SAFARI_15], ids=["Firefox 119", "Safari 15"])
def test_the_whole_dialogue_at_the_floor(
    stage: Stage, older: Callable[[Older], Page], kind: Older
) -> None:
    page = older(kind)
    page.locator("live-chat[data-ready]").wait_for()
    menu, question = page.locator(".menu"), page.locator(".question")
    expect(menu).to_be_hidden()
    expect(question).to_be_hidden()
    expect(page.locator(".late").first).to_be_hidden()
    text = f"from {len(kind.script)}"
    page.locator("#message").fill(text)
    page.locator("#message").press("Enter")
    page.locator('[data-state="delivered"]').wait_for()
    chat = chat_of(stage, text)
    for answer in ("one", "two"):
        stage.press("answer", external_chat_id=chat, text=answer)
        expect(page.locator("article.operator .body").last).to_have_text(answer)
    page.set_input_files(
        ".clip input", FilePayload(name="a.txt", mimeType="text/plain", buffer=b"a file")
    )
    expect(page.locator('[data-state="delivered"]')).to_have_count(2)
    for _ in range(2):
        stage.press("vote", external_chat_id=chat)
    expect(page.locator(".vote")).to_have_count(2)
    expect(page.locator(".vote:visible")).to_have_count(1)  # the newest
    page.locator(".vote:visible").get_by_role("button", name="Not good").click()
    expect(page.locator(".cast")).to_have_text("Not good")
    expect(page.locator(".vote:visible")).to_have_count(0)
    expect(page.locator("article .body")).to_have_count(8)
    says_no_nonsense(page)

    page.reload()
    page.locator("live-chat[data-ready]").wait_for()
    expect(page.locator("article .body")).to_have_count(8)
    box = page.locator(".chat").bounding_box()
    assert box is not None
    assert box["height"] > 600
    assert not page.evaluate(OVERLAP, ["main", ".composer"])

    use_menu(page, text)


def use_menu(page: Page, text: str) -> None:
    """Open and close it in each way, save the conversation, and delete it in the end."""
    more, menu, question = (page.locator(one) for one in (".more", ".menu", ".question"))
    more.click()
    expect(menu).to_be_visible()
    page.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    expect(more).to_be_focused()
    more.click()
    page.locator(".log").click(position={"x": 5, "y": 5})
    expect(menu).to_be_hidden()
    more.click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save my conversation").click()
    with open(download.value.path(), encoding="utf-8") as saved:
        assert text in saved.read()
    more.click()
    page.get_by_role("button", name="Delete my conversation").click()
    page.get_by_role("button", name="Cancel").click()
    expect(question).to_be_hidden()
    expect(page.locator("article .body")).to_have_count(8)
    more.click()
    page.get_by_role("button", name="Delete my conversation").click()
    expect(question).to_be_visible()
    question.get_by_role("button", name="Delete").click()
    expect(page.locator("article")).to_have_count(0)
    write(page, "and begins again")


@pytest.mark.parametrize(
    "kind", [NO_PRIVATE_METHODS, NO_MODULES], ids=["no private methods", "no modules"]
)
def test_below_the_floor_the_plain_form_works(
    stage: Stage, older: Callable[[Older], Page], kind: Older
) -> None:
    page = older(kind)
    assert not page.evaluate("() => 'ready' in document.querySelector('live-chat').dataset")
    expect(page.locator(".late").first).to_be_hidden()  # until it is certain
    page.evaluate(f"() => {{ {LATER} }}")
    page.add_init_script(LATER)
    text = f"plain {len(kind.words)} {len(kind.words.get('text/javascript', {}))}"
    expect(page.get_by_text("New answers appear when you reload")).to_be_visible()
    expect(page.locator(".clip")).to_be_hidden()
    page.locator("#message").fill(text)
    page.locator(".send").click()
    expect(page.locator("article.visitor .body")).to_have_text(text)
    chat = chat_of(stage, text)
    stage.press("answer", external_chat_id=chat, text="read after a reload")

    page.get_by_role("link", name="Check for answers").click()
    expect(page.locator("article.operator .body")).to_have_text("read after a reload")
    file = FilePayload(name="plain.txt", mimeType="text/plain", buffer=b"plain")
    page.set_input_files(".upload input[type=file]", file)
    page.locator(".upload button").click()
    expect(page.locator("article.visitor .body").last).to_contain_text("plain.txt")
    expect(page.locator(".more")).to_be_hidden()
    says_no_nonsense(page)
    page.get_by_role("button", name="Delete my conversation").click()
    page.locator(".question").get_by_role("link", name="Cancel").click()
    expect(page.locator("article")).to_have_count(3)
    page.get_by_role("button", name="Delete my conversation").click()
    page.locator(".question").get_by_role("button", name="Delete").click()
    expect(page.locator("article")).to_have_count(0)


OURS = {"X-Chat-Server": "sitechat"}
ODD: list[dict[str, Any]] = [
    {"status": 200, "json": {"result": {"id": 987654321}}},
    {"status": 200, "json": {"result": {"id": 987654322, "state": "a new one"}}},
    {"status": 200, "json": {"result": {"id": None}}},
    {"status": 200, "json": {"result": None}},
    {"status": 200, "json": None},
    {"status": 400, "headers": OURS, "json": {"result": {"error_description": {"a": 1}}}},
    {"status": 400, "headers": OURS, "json": {"result": {"error_description": None}}},
    {"status": 400, "headers": OURS, "json": {"result": {}}},
    {"status": 400, "body": ""},
    {"status": 413, "body": "undefined"},
    {"status": 429, "json": {}},
    {"status": 503, "headers": {"Retry-After": "soon"}, "body": "null"},
]


def answering(odd: dict[str, Any]) -> Callable[[Route], None]:
    """Answers each sent message in an odd way."""

    def answer(route: Route) -> None:
        if "send_message" in (route.request.post_data or ""):
            route.fulfill(**odd)
        else:
            route.continue_()

    return answer


def test_whatever_answers_come_no_text_is_made_of_nothing(stage: Stage, page_alone: Page) -> None:
    page = page_alone
    open_page(page, stage)
    for number, odd in enumerate(ODD):
        page.unroute_all()
        page.route("**/ajax*", answering(odd))
        page.locator("#message").fill(f"odd {number}")
        page.locator("#message").press("Enter")
        mine = page.locator("article.visitor", has_text=re.compile(rf"odd {number}\b"))
        expect(
            mine.locator(".reason:not(:empty), .tick[title=Sent], .tick[title='']")
        ).to_have_count(1)
        says_no_nonsense(page)
        if (edit := mine.get_by_role("button", name="Edit")).count():
            edit.click()  # so that it waits no longer


@pytest.fixture
def page_alone(browser: Browser) -> Iterator[Page]:
    """A page whose requests may fail."""
    with page_of(browser) as page:
        yield page
