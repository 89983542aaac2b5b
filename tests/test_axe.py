"""axe-core finds nothing to mend in any state of the chat page, in both themes, narrow and wide."""

from collections.abc import Iterator
from typing import Any

import pytest
from pages import agree, chat_of, close_chat, faults, open_page, page_of, shows, write
from playwright.sync_api import Browser, Page
from stage import Stage
from test_round_trip import PICTURE

SIZES = ((320, 640), (1280, 800))
QUOTE = (
    "-" * 54
    + "\nAnna [2026/11/23]\nHello?\n"
    + "-" * 54
    + "\nYes, [url=https://example.com]here[/url]"
)
BLOCKS = (
    "[h1]Prices[/h1][table][tr][th]a[/th][th]b[/th][/tr][tr][td]1[/td][td][/td][/tr][/table]"
    "[list=1][*]a[*][list][*]b[/list][/list][spoiler=more]x[/spoiler][center]c[/center][hr]"
    "www.x.example a@b.example +7 999 123-45-67 [quote=Anna]x[/quote] x[sup]2[/sup]"
)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with page_of(browser, bypass_csp=True, reduced_motion="reduce") as page:
        yield page


@pytest.fixture(scope="module")
def yellow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    settings: dict[str, Any] = {
        "SITECHAT_CHAT__CONSENT": "I agree.",
        "SITECHAT_CHAT__ACCENT": "#ffd400",
    }
    settings["SITECHAT_CHAT__CONSENT_LINK"] = "https://example.com/privacy"
    with Stage(tmp_path_factory.mktemp("yellow"), **settings) as stage:
        yield stage


def check(page: Page, state: str) -> None:
    for theme in ("light", "dark"):
        for width, height in SIZES:
            page.emulate_media(color_scheme=theme)
            page.set_viewport_size({"width": width, "height": height})
            assert faults(page) == [], f"{state}, {theme}, {width} px"


def test_an_empty_chat(stage: Stage, page: Page) -> None:
    open_page(page, stage)
    check(page, "empty")


def test_a_conversation_of_all_kinds_its_menu_and_its_end(stage: Stage, page: Page) -> None:
    open_page(page, stage)
    page.locator("#name").fill("Anna")
    write(page, "All kinds, please")
    chat = chat_of(stage, "All kinds, please")
    answers = [
        stage.press("answer", external_chat_id=chat, text=text)["message_id"]
        for text in (QUOTE, "Before", "Gone", "[code]x = 1[/code] [color=red]red[/color]")
    ]
    stage.press("answer", external_chat_id=chat, text=BLOCKS)
    sound = {"name": "a.mp3", "type": "audio/mpeg", "content_base64": PICTURE}
    film = {"name": "a.mp4", "type": "video/mp4", "content_base64": PICTURE}
    stage.press("answer", external_chat_id=chat, files=[sound, film])
    picture = {"name": "scheme.png", "type": "image", "content_base64": PICTURE}
    stage.press("answer", external_chat_id=chat, text="A picture", files=[picture])
    shows(page, ".message.operator", 7)
    for changed in answers[1:3]:
        stage.wait_for_confirmation(changed)
    stage.press("edit", message_id=answers[1], text="[b]After[/b]")
    stage.press("delete", message_id=answers[2])
    shows(page, ".deleted, .edited", 2)
    stage.trouble(fail_items="Refuse me")
    page.locator("#message").fill("Refuse me")
    page.locator(".send").click()
    shows(page, '[data-state="refused"]')
    stage.press("vote", external_chat_id=chat)
    shows(page, ".vote")
    write(page, "A question between")
    check(page, "conversation")

    page.locator(".more").click()
    check(page, "menu open")
    page.get_by_role("button", name="Delete my conversation").click()
    check(page, "delete dialog open")
    page.keyboard.press("Escape")

    page.locator(".vote button").first.click()
    close_chat(stage, chat)
    shows(page, ".voted")
    shows(page, ".message.system", 3)
    page.context.set_offline(True)
    page.locator("#message").fill("Are you there?")
    page.locator(".send").click()
    shows(page, ".reason button")
    page.locator("#message").fill("x" * 20_001)
    check(page, "voted, closed, offline, too long")


def test_consent_and_error_in_a_company_of_a_yellow_colour(yellow: Stage, page: Page) -> None:
    open_page(page, yellow)
    page.locator("#message").fill("Hello")
    page.locator(".send").click()
    page.get_by_role("alert").wait_for()
    check(page, "consent asked")

    agree(page)
    page.locator(".send").click()
    page.locator(".message[data-id]").wait_for()
    check(page, "a talk in yellow")
