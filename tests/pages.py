"""What the tests of the chat page share: a browser, a talk with every kind of bubble."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]
from install_browser import find_chromium, find_firefox
from playwright.sync_api import Browser, Error, Frame, Page, Playwright, sync_playwright
from stage import Stage, wait_until

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",  # of the tests' own proxies
]

# Of Firefox: what no test looks at is not begun.
QUIET_FIREFOX: dict[str, str | float | bool] = {
    "dom.ipc.processPrelaunch.enabled": False,  # no process waits for a page that does not come
    "browser.startup.page": 0,  # nothing
    "browser.newtabpage.enabled": False,
    "browser.newtab.preload": False,
    "browser.sessionstore.interval": 3_600_000,
    "app.normandy.enabled": False,
    "extensions.enabledScopes": 0,
    "accessibility.force_disabled": 1,
}
# Looks again and again until the condition is true.
LOOK = """([seconds, value]) => new Promise((found, failed) => {
  const holds = CONDITION
  const until = performance.now() + seconds * 1000
  const look = async () => {
    if (await holds(value)) return found()
    if (performance.now() > until) throw new Error(`not true in ${seconds} s: ${holds}`)
    setTimeout(again, 25)
  }
  const again = () => look().catch(failed)
  again()
})"""

AXE = """async (rules) => {
  const {violations, passes} = await axe.run({resultTypes: ["violations"], rules})
  return [violations.map(({id, nodes}) => [id, nodes.map(({html}) => html)]), passes.length]
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = start_chromium(playwright)
        yield browser
        browser.close()


def start_chromium(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=find_chromium(), args=QUIET)


def start_firefox(playwright: Playwright) -> Browser:
    """The Firefox of the machine, over WebDriver BiDi: it need not be one made for Playwright."""
    return playwright.firefox.launch(
        channel="moz-firefox",
        executable_path=find_firefox(),
        env={"HOME": "/nonexistent"},
        firefox_user_prefs=QUIET_FIREFOX,
    )


@contextmanager
def page_of(browser: Browser, **options: Any) -> Iterator[Page]:
    """A page of a visitor of its own. What it showed is printed where the test fails."""
    context = browser.new_context(**{"locale": "en-GB", **options})
    page = context.new_page()
    page.set_default_timeout(30_000)
    try:
        yield page
    except AssertionError:
        for frame in page.frames:
            print(frame.url, frame.evaluate("() => document.body.innerText"), sep="\n")
        raise
    finally:
        context.close()


def open_page(page: Page, stage: Stage, query: str = "") -> None:
    page.goto(f"{stage.chat}/{query}")
    page.locator("live-chat[data-ready]").wait_for()


def until(page: Page | Frame, condition: str, arg: Any = None, seconds: float = 30) -> None:
    """Wait until the function `condition` returns what is true, also on the page that comes next.

    Playwright's `wait_for_function` gives each page a large script first: 20 ms of the processor.
    But that goes by the real time where a page's clock is a test's.
    """
    while True:
        try:
            page.evaluate(LOOK.replace("CONDITION", condition), [seconds, arg])
            return
        except Error as error:
            if "context was destroyed" not in error.message:  # the page has been left
                raise


def write(page: Page, text: str) -> None:
    """Send a message as a visitor would and wait until Bitrix24 has it."""
    delivered = page.locator('[data-state="delivered"]').count()
    page.locator("#message").fill(text)
    page.locator(".send").click()
    shows(page, '[data-state="delivered"]', delivered + 1)


def agree(page: Page) -> None:
    """Tick the box of the consent.

    What waited for it is sent at once, and then the box is gone: a test waits for what is sent, and
    asks the box no more whether it is ticked, as Playwright's `check` does.
    """
    page.get_by_role("checkbox").click()


def shows(page: Page, selector: str, count: int = 1) -> None:
    """Wait for so many elements at least, and let the page look for them at once."""
    page.wait_for_function(
        """([selector, count]) => {
          dispatchEvent(new Event("online"))
          return document.querySelectorAll(selector).length >= count
        }""",
        arg=[selector, count],
        polling=100,
    )


def faults(page: Page | Frame, *but: str) -> list[tuple[str, list[str]]]:
    """What axe-core finds to mend, but for some rules: each rule with the elements' HTML.

    A page gets its large script once, and gives back no more than this.
    """
    if not page.evaluate("() => Boolean(window.axe)"):
        page.evaluate(AXE_SCRIPT)
    found, passed = page.evaluate(AXE, {rule: {"enabled": False} for rule in but})
    assert passed
    return [(rule, nodes) for rule, nodes in found]


def chat_of(stage: Stage, text: str) -> str:
    """Our chat whose first message at the portal is `text`, once it is there."""

    def found() -> str:
        dialogs = stage.state()["dialogs"]
        chats = [one["external_chat_id"] for one in dialogs if one["messages"][0]["text"] == text]
        return chats[0] if chats else ""

    return wait_until(found, why=text)


def close_chat(stage: Stage, chat: str) -> None:
    """The line that a chat gets when the portal ends its dialog."""
    with closing(sqlite3.connect(stage.folder / "chats" / "chats.db", timeout=10)) as db, db:
        db.execute("update meta set value = value + 1 where key = 'revision'")
        db.execute(
            "insert into messages (revision, position, chat_id, author, text, html, renderer,"
            " sent_at, state, ends_dialog) select value, value, ?, 'system', '', '', 1, 0,"
            " 'stored', 1 from meta where key = 'revision'",
            (chat,),
        )
