"""What sites' pages, browsers and proxies keep of a former release works with the server of today.

A proxy may let browsers keep `loader.js` for a month, and its panel is kept for a year. `former/`
has both as they were released before; a release that changes them puts its own there.
"""

from pathlib import Path

import pytest
from embed_parts import Open, Site, chat_in, say
from playwright.sync_api import Page, Route, expect
from stage import Stage
from test_browser import dialog_of

FORMER = Path(__file__).parent / "former"


def serve_former(page: Page, *names: str) -> None:
    def serve(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        headers = {"Access-Control-Allow-Origin": "*"}
        route.fulfill(path=FORMER / name, content_type="text/javascript", headers=headers)

    for name in names:
        page.context.route(f"**/static/**{name}", serve)


@pytest.mark.parametrize("kept", [("loader.js",), ("loader.js", "panel.js")], ids=" ".join)
def test_what_is_kept_of_a_former_release_works(
    stage: Stage, shop: Site, opened: Open, kept: tuple[str, ...]
) -> None:
    page = opened(f"{shop.origin}/")
    serve_former(page, *kept)
    asked: list[tuple[str, int]] = []
    page.on("response", lambda one: asked.append((one.url, one.status)))
    page.reload()
    page.get_by_role("button", name="Chat").click()
    text = f"with {kept} of before"
    say(page, text)

    by_former_digest = [status for url, status in asked if "/static/0123456789ab/" in url]
    assert by_former_digest == [200 if "panel.js" in kept else 203]
    stage.press("answer", external_chat_id=dialog_of(stage, text), text="And it answers.")
    expect(chat_in(page).locator("article.operator .body")).to_have_text("And it answers.")
    page.evaluate("() => SiteChat.close()")
    expect(page.locator("iframe")).to_be_hidden()
    page.reload()
    page.evaluate("() => SiteChat.open()")
    expect(chat_in(page).locator("article.visitor .body")).to_have_text(text)
