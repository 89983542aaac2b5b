"""The application's page in a browser: in the portal's frame, by keyboard, without script."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from embed_parts import Site
from pages import faults, page_of, until
from playwright.sync_api import Browser, Page, expect
from stage import LINE, Stage, free_port, note_of, wait_until


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("page")) as stage:
        stage.install()
        yield stage


@pytest.fixture
def shop() -> Iterator[Site]:
    """A site that shows the chat in a frame of its own, without the loader."""
    shop = Site()
    yield shop
    shop.server.shutdown()
    shop.server.server_close()


def open_application(page: Page, stage: Stage, language: str = "en") -> None:
    """As the portal does it: a form of its page posts the tokens of whoever has clicked."""
    token = stage.press("token", user_id=1)
    fields = {"PLACEMENT": "DEFAULT", "AUTH_ID": token["access_token"],
              "member_id": token["member_id"]}  # fmt: skip
    inputs = "".join(f'<input name="{name}" value="{fields[name]}">' for name in fields)
    page.route(f"{stage.portal}/opens", lambda route: route.fulfill(
        content_type="text/html",
        body=f'<form method="post" action="{stage.chat}/handler?LANG={language}">{inputs}'
        "<button>Open</button></form>",
    ))  # fmt: skip
    page.goto(f"{stage.portal}/opens")
    page.get_by_role("button").click()
    page.locator("#settings").wait_for()


def come_from_elsewhere(stage: Stage, origin: str) -> None:
    """A site that is not listed shows the chat: the page names the site, and what was refused."""
    headers = {"Referer": f"{origin}/", "Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site"}
    requests.get(f"{stage.chat}/?embed=1", headers=headers, timeout=30)
    requests.post(f"{stage.chat}/handler", {"event": "ONAPPTEST"}, timeout=30)
    headers = {"Origin": origin, "X-Chat-Site": origin}
    requests.post(f"{stage.chat}/ajax", {"type": "chat_history"}, headers=headers, timeout=30)
    wait_until(lambda: origin in note_of(stage, "tried_sites"), 15)
    wait_until(lambda: has_refusals(stage), 15)


def has_refusals(stage: Stage) -> bool:
    with closing(sqlite3.connect(stage.folder / "chats" / "chats.db", timeout=10)) as db:
        return bool(db.execute("select 1 from refusals").fetchone())


def test_the_page_in_the_portals_frame_and_by_keyboard(
    stage: Stage, shop: Site, browser: Browser
) -> None:
    """What an administrator does after the install, without a mouse."""
    complaints: list[str] = []
    with page_of(browser, timezone_id="Asia/Yekaterinburg", reduced_motion="reduce") as page:
        page.on("console", lambda one: complaints.append(one.text) if one.type == "error" else None)
        shop.files["/"] = f'<iframe src="{stage.chat}/" title="Chat"></iframe>'
        page.goto(shop.origin)
        refusal = page.frame_locator("iframe").get_by_role("heading")
        expect(refusal).to_have_text("This site is not set up for the chat yet.")
        wait_until(lambda: shop.origin in note_of(stage, "tried_sites"), 15)
        complaints.clear()  # of the frame's status, 403

        page.goto(f"{stage.portal}/install-app")
        page.get_by_role("button", name="Install").click()
        frame = page.frame_locator("iframe")
        expect(frame.locator("h1")).to_contain_text("The chat")
        # The portal hears of it from its own page; until then Connect opens the install page again.
        expect(page.get_by_role("status")).to_have_text("It is installed.")
        stage.press("connect", line=LINE)

        allow = frame.get_by_role("button", name=f"Allow this site: {shop.origin}")
        allow.focus()
        # Keys go where the browser has the focus, which hears of the frame a moment later.
        until(page, "() => document.activeElement.tagName === 'IFRAME'")
        page.keyboard.press("Enter")
        expect(frame.get_by_role("status")).to_have_text(f"{shop.origin} may show the chat now.")
        send = frame.get_by_role("button", name="Send a test message")
        send.focus()
        page.keyboard.press("Space")
        expect(frame.get_by_role("status")).to_contain_text("Bitrix24 has accepted the message")
        page.keyboard.press("Tab")
        assert frame.locator(":focus").count() == 1

        # A time is that of the reader, who sees by pointing at it what it is in UTC.
        time = frame.locator("time").first
        expect(time).to_have_attribute("title", re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d UTC$"))
        assert "UTC" not in time.inner_text()

        copy = frame.locator("[data-copy=snippet]")
        copy.click()
        expect(copy).to_have_text("Copied")
        title = frame.get_by_label("Title")
        title.fill("")
        title.press("ControlOrMeta+v")
        expect(title).to_have_value(f'<script async src="{stage.chat}/static/loader.js"></script>')
        assert complaints == []
        # The shop may show the chat from now on, without a restart.
        page.goto(shop.origin)
        expect(page.frame_locator("iframe").locator("live-chat")).to_be_visible()


@pytest.mark.parametrize("language", ["en", "ru"])
def test_nothing_is_to_mend_for_axe_and_everything_fits(
    stage: Stage, browser: Browser, language: str
) -> None:
    come_from_elsewhere(stage, "https://ashopofverybeautifullampsandcandlesticks.example")
    with page_of(browser, bypass_csp=True, reduced_motion="reduce") as page:
        open_application(page, stage, language)
        expect(page.locator("#sites button").last).to_be_visible()
        expect(page.locator("#refusals td").first).to_be_visible()
        page.locator("summary").click()
        for theme in ("light", "dark"):
            for width in (320, 600, 1200):
                page.emulate_media(color_scheme=theme)
                page.set_viewport_size({"width": width, "height": 800})
                assert faults(page) == [], f"{theme}, {width} px"
                wide = page.evaluate("() => document.documentElement.scrollWidth")
                assert wide <= width, f"{width} px"
        # What is wrong in the form is named, and the field says so to a screen reader.
        page.locator("#field-accent").fill("red")
        page.locator("#settings button").click()
        expect(page.get_by_role("alert")).to_be_visible()
        expect(page.locator("#field-accent")).to_have_attribute("aria-invalid", "true")
        expect(page.locator("#field-accent")).to_have_value("red")
        assert faults(page) == []


def test_without_script_all_but_the_readers_zone_and_copying_is_there(
    stage: Stage, browser: Browser
) -> None:
    with page_of(browser, java_script_enabled=False) as page:
        open_application(page, stage)

        expect(page.locator("time").first).to_have_text(re.compile("UTC$"))
        assert page.get_by_role("button", name="Copy").count() == 0
        page.locator("#field-greeting").fill("Good day!")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status")).to_have_text("Saved. Visitors see it from now on.")
        page.goto(f"{stage.chat}/")
        expect(page.get_by_text("Good day!")).to_be_visible()


@pytest.mark.parametrize(
    ("locale", "told"),
    [("en-GB", "This site is not set up"), ("ru-RU", "Этот сайт ещё не подключён")],
)
def test_a_chat_that_cannot_start_says_why_instead_of_connecting_for_ever(
    tmp_path: Path, browser: Browser, locale: str, told: str
) -> None:
    """The site has the address of the chat itself, and `public_url` names another one."""
    other = f"http://127.0.0.1:{free_port()}"
    with (
        Stage(tmp_path, SITECHAT_PUBLIC_URL=other) as stage,
        page_of(browser, locale=locale) as page,
    ):
        loader = f'<script async src="{stage.chat}/static/loader.js"></script>'
        page.route(f"{stage.chat}/shop", lambda route: route.fulfill(
            content_type="text/html", body=f"<!doctype html><p>Lamps</p>{loader}"
        ))  # fmt: skip
        page.goto(f"{stage.chat}/shop")
        until(page, "() => window.SiteChat?.open")
        page.evaluate("() => SiteChat.open()")

        chat = page.frame_locator("iframe")
        expect(chat.get_by_role("heading", name=told)).to_be_visible()
        expect(chat.locator("#message")).to_have_count(0)
        expect(chat.locator(".status")).not_to_have_text(re.compile("Connecting|Соединение"))
