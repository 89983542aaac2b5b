"""The chat on a site, in the oldest browsers that have all of it."""

import pytest
from embed_parts import Open, Site, chat_in, delete_conversation, say
from older import FIREFOX_119, SAFARI_15, Older, make_older
from playwright.sync_api import expect
from stage import Stage
from test_browser import dialog_of


@pytest.mark.parametrize("kind", [FIREFOX_119, SAFARI_15], ids=["Firefox 119", "Safari 15"])
def test_the_embedded_dialogue_at_the_floor(
    stage: Stage, shop: Site, opened: Open, kind: Older
) -> None:
    page = opened(f"{shop.origin}/")
    make_older(page.context, stage.chat, kind)
    page.reload()
    page.get_by_role("button", name="Chat").click()
    text = f"embedded {len(kind.script)}"
    say(page, text)
    stage.press("answer", external_chat_id=dialog_of(stage, text), text="And it answers.")
    chat = chat_in(page)
    expect(chat.locator("article.operator .body")).to_have_text("And it answers.")

    chat.locator(".more").click()
    expect(chat.locator(".menu")).to_be_visible()
    page.keyboard.press("Escape")
    expect(chat.locator(".menu")).to_be_hidden()
    expect(page.locator("iframe")).to_be_visible()
    delete_conversation(page)
    page.keyboard.press("Escape")
    expect(page.locator("iframe")).to_be_hidden()
    page.context.unroute_all(behavior="ignoreErrors")
