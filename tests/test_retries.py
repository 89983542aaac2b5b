"""Whatever a browser refuses, nothing is tried again without a pause, and the chat works on."""

import pytest
from pages import chat_of, open_page, write
from playwright.sync_api import Frame, Page
from stage import Stage

MINUTES = 5
# With pauses that grow from 0.5 s to 30 s; measured: 18 for one thing. Pauses of 1 s would be 300.
MOST_TRIES = 25

# Each stands for what a browser does to a page that it suspends, or where its storage is blocked.
REFUSED = (
    "async () => { count('lock'); throw new DOMException('not fully active', 'InvalidStateError') }"
)
TAKEN_AWAY = """async (name, options, work) => {
  count("lock")
  Promise.resolve(work()).catch(() => {})
  throw new DOMException("going away", "AbortError")
}"""
NO_NETWORK = """
window.fetch = async () => { count("request"); throw new TypeError("Load failed") }
"""


def script(request: str | None, more: str = "") -> str:
    """Counts what the page tries, in the chat's own frame."""
    replaced = f"navigator.locks.request = {request}" if request else ""
    return f"""
    window.tries = {{}}
    window.moments = []
    const count = (kind) => {{
      tries[kind] = (tries[kind] ?? 0) + 1
      moments.push(performance.now())
    }}
    {replaced}
    {more}
    """


def tries(frame: Page | Frame) -> dict[str, int]:
    counted: dict[str, int] = frame.evaluate("() => tries")
    return counted


@pytest.mark.parametrize("refusal", [REFUSED, TAKEN_AWAY], ids=["refused", "taken away"])
def test_a_lock_that_is_not_given_is_asked_for_with_pauses(
    stage: Stage, page: Page, refusal: str
) -> None:
    page.add_init_script(script(refusal))
    page.clock.install()
    open_page(page, stage)

    page.clock.run_for(MINUTES * 60_000)

    assert 2 <= tries(page)["lock"] <= MOST_TRIES


def test_a_browser_that_gives_no_lock_has_a_chat_all_the_same(stage: Stage, page: Page) -> None:
    page.add_init_script(script(REFUSED))
    open_page(page, stage)

    write(page, "without any lock")

    stage.press("answer", external_chat_id=chat_of(stage, "without any lock"), text="none needed")
    page.locator("article.operator", has_text="none needed").wait_for()
    # How many rounds of three it takes depends on the machine: a send or a stream may fail on a
    # busy one. Two are under way at once, the message's and the stream's, and one may just end.
    moments = page.evaluate("() => moments")
    assert len(moments) >= 4
    assert all(later - one > 500 for one, later in zip(moments, moments[6:], strict=False))
    write(page, "one more")
    stage.press("answer", external_chat_id=chat_of(stage, "without any lock"), text="still live")
    page.locator("article.operator", has_text="still live").wait_for()


@pytest.mark.parametrize(
    "request_lock", [None, REFUSED, TAKEN_AWAY], ids=["given", "refused", "taken away"]
)
def test_a_server_out_of_reach_is_asked_with_pauses(
    stage: Stage, page: Page, request_lock: str | None
) -> None:
    open_page(page, stage)
    write(page, "before the tunnel")
    page.add_init_script(script(request_lock, NO_NETWORK))
    page.clock.install()
    open_page(page, stage)
    page.locator("#message").fill("in the tunnel")
    page.locator("#message").press("Enter")

    page.clock.run_for(MINUTES * 60_000)

    # The stream's and the message's.
    assert 4 <= tries(page)["request"] <= 2 * MOST_TRIES
    assert page.locator("article.visitor .reason").last.inner_text()
    assert "undefined" not in page.locator("live-chat").inner_text()


def test_an_embedded_chat_that_cannot_begin_asks_with_pauses(stage: Stage, page: Page) -> None:
    only_framed = f"if (window !== parent) {{ {script(REFUSED, NO_NETWORK)} window.count = count }}"
    page.add_init_script(only_framed)
    page.clock.install()
    page.goto(f"{stage.portal}/shop")
    page.get_by_role("button", name="Chat").click()
    frame = page.frame_locator("iframe")
    frame.locator('.status[data-connection="reconnecting"]').wait_for()

    page.clock.run_for(MINUTES * 60_000)

    assert 4 <= tries(page.frames[-1])["request"] <= MOST_TRIES
