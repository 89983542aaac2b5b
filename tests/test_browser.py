"""The pages in a real browser: the demo as a stranger sees it, the chat page by itself."""

import pytest
from pages import until
from playwright.sync_api import Browser, BrowserContext, Page, expect
from stage import Stage, wait_until
from test_round_trip import PICTURE


def dialog_of(stage: Stage, text: str) -> str:
    """Our chat whose first message at the portal is `text`, once it is there."""

    def found() -> str:
        dialogs = stage.state()["dialogs"]
        chats = [one["external_chat_id"] for one in dialogs if one["messages"][0]["text"] == text]
        return chats[0] if chats else ""

    return wait_until(found, why=text)


def test_visitor_and_operator_talk_on_the_demo_page(stage: Stage, page: Page) -> None:
    page.goto(f"{stage.portal}/demo")
    visitor = page.frame_locator(f'iframe[src^="{stage.chat}"]')
    desk = page.frame_locator('iframe[src*="/desk"]')

    visitor.locator("#name").fill("Anna")
    visitor.locator("#message").fill('Is "this" <b>live</b>? Да 😀')
    visitor.locator("#message").press("Enter")

    dialog = desk.locator("[data-dialog]", has_text="Anna").first
    dialog.click()
    expect(desk.locator("[data-message]").last).to_contain_text('Is "this" <b>live</b>? Да 😀')

    desk.locator("#answer").fill("Yes, [b]it is[/b].")
    desk.locator("#send").click()

    bubble = visitor.locator("article.message.operator .body")
    expect(bubble).to_have_text("Yes, it is.")
    expect(bubble.locator("strong")).to_have_text("it is")
    expect(visitor.locator("article.message.operator .from")).to_have_text("Olga Petrova")
    expect(visitor.locator('article.message[data-state="delivered"]')).to_have_count(1)


def test_the_own_bubble_is_there_at_once_and_gets_its_ticks(stage: Stage, page: Page) -> None:
    page.goto(f"{stage.chat}/")
    page.locator("live-chat[data-ready]").wait_for()

    page.locator("#message").fill("hello")
    page.locator("#message").press("Enter")

    expect(page.locator("article.message.visitor .body")).to_have_text("hello")
    expect(page.locator("#message")).to_have_value("")
    expect(page.locator('article.message[data-state="delivered"]')).to_have_count(1)


@pytest.mark.firefox
def test_the_conversation_and_the_name_survive_a_reload(stage: Stage, page: Page) -> None:
    page.goto(f"{stage.chat}/")
    page.locator("#name").fill("Борис")
    page.locator("#message").fill("remember me")
    page.locator(".send").click()
    page.locator("article.message[data-id]").wait_for()

    page.reload()

    expect(page.locator("article.message .body")).to_have_text("remember me")
    expect(page.locator(".who")).to_contain_text("Борис")


def test_an_operators_picture_is_shown(stage: Stage, page: Page) -> None:
    page.goto(f"{stage.chat}/")
    page.locator("live-chat[data-ready]").wait_for()
    page.locator("#message").fill("A picture, please")
    page.locator(".send").click()
    page.locator('article.message[data-state="delivered"]').wait_for()
    chat = dialog_of(stage, "A picture, please")
    picture = {"name": "scheme.png", "type": "image", "content_base64": PICTURE}

    stage.press("answer", external_chat_id=chat, text="Here it is", files=[picture])

    until(page, "() => document.querySelector('img.bb-image')?.naturalWidth === 2")


@pytest.mark.firefox
def test_an_error_keeps_the_text(stage: Stage, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(f"{stage.chat}/")
    page.locator("live-chat[data-ready]").wait_for()
    context.set_offline(True)

    page.locator("#message").fill("written in a tunnel")
    page.locator("#message").press("Enter")

    bubble = page.locator("article.message.visitor")
    expect(bubble.locator(".body")).to_have_text("written in a tunnel")
    expect(bubble).to_have_attribute("data-state", "waiting")

    context.set_offline(False)

    expect(page.locator('article.message[data-state="delivered"]')).to_have_count(1)
    expect(page.locator("article.message.visitor")).to_have_count(1)


def test_it_works_without_javascript(stage: Stage, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False, locale="ru-RU")
    page = context.new_page()
    page.goto(f"{stage.chat}/")

    page.locator("#name").fill("Анна")
    page.locator("#message").fill("без скриптов\nвторая строка")
    page.locator(".send").click()

    expect(page.locator("article.message .body")).to_contain_text("без скриптов")
    assert page.url == f"{stage.chat}/"
    chat = dialog_of(stage, "без скриптов\nвторая строка")
    stage.press("answer", external_chat_id=chat, text="видно")
    wait_until(lambda: "видно" in page.reload().text())  # type: ignore[union-attr]
    context.close()


@pytest.mark.parametrize("width", [320, 1280])
def test_the_chat_fits_its_window(stage: Stage, browser: Browser, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 640})
    page = context.new_page()
    page.goto(f"{stage.chat}/")
    page.locator("#message").fill("x" * 300 + " https://example.com/" + "y" * 300)
    page.locator(".send").click()
    page.locator("article.message[data-id]").wait_for()

    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    box = page.locator(".send").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 640
    context.close()


def test_install_and_connect_in_the_browser(fresh_stage: Stage, browser: Browser) -> None:
    """What an administrator does by hand, clicks and all."""
    page = browser.new_page()
    page.goto(f"{fresh_stage.portal}/install-app")
    page.get_by_role("button", name="Install").click()
    frame = page.frame_locator("iframe")
    expect(frame.locator(".mark")).to_have_text("successfully")
    wait_until(lambda: fresh_stage.state()["installed"], why="BX24.installFinish()")

    page.goto(f"{fresh_stage.portal}/contact-center")
    page.get_by_text("ExampleSiteChat").first.click()
    page.locator("#connect-button").click()

    slider = page.frame_locator("iframe")
    expect(slider.locator(".mark")).to_have_text("successfully")
    assert fresh_stage.state()["connectors"]["example_connector_1"]["lines"]
    page.close()
