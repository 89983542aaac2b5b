"""The fixtures of the embedded chat: two sites, one of which may embed it, and their visitors."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from embed_parts import WATCH, Open, Site, chat_in
from pages import until
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page
from stage import Stage
from test_embed_visitors import SECRET


@pytest.fixture(scope="module")
def sites() -> Iterator[list[Site]]:
    """Two sites; only the first is allowed."""
    sites = [Site(), Site()]
    yield sites
    for site in sites:
        site.server.shutdown()
        site.server.server_close()


@pytest.fixture(scope="module")
def stage(sites: list[Site], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(
        tmp_path_factory.mktemp("stage"),
        SITECHAT_CHAT__SITES=json.dumps([sites[0].origin]),
        SITECHAT_CHAT__IDENTITY_SECRET=SECRET,
    )
    with stage:
        stage.install()
        for site in sites:
            site.chat = stage.chat
        yield stage


@pytest.fixture
def shop(stage: Stage, sites: list[Site]) -> Iterator[Site]:
    yield sites[0]
    sites[0].head, sites[0].data = "<!doctype html>", ""
    sites[0].files, sites[0].headers = {}, {}


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Opens a page in a browser of its own, on which nothing may fail."""
    contexts: list[BrowserContext] = []
    troubles: list[str] = []

    def note(said: ConsoleMessage) -> None:
        if said.type == "error" and "403" not in said.text:  # a wrong signature: asked for
            troubles.append(said.text)

    def open_page(url: str, *scripts: str, **options: Any) -> Page:
        options = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"} | options
        context = browser.new_context(**options)
        context.set_default_timeout(30_000)
        contexts.append(context)
        for script in (WATCH, *scripts):
            context.add_init_script(script)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", note)
        page.goto(url)
        until(page, "() => window.SiteChat?.open && document.querySelector('site-chat')")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture
def visit(shop: Site, browser: Browser) -> Iterator[Open]:
    """Opens the shop's page with the chat: on a device of its own, or beside another page.

    Its requests may fail.
    """
    contexts: list[BrowserContext] = []

    def open_page(who: dict[str, str] | None = None, beside: Page | None = None) -> Page:
        if beside is None:
            contexts.append(browser.new_context(locale="en-GB"))
            contexts[-1].set_default_timeout(30_000)
            contexts[-1].add_init_script(WATCH)
        page = (beside.context if beside else contexts[-1]).new_page()
        queue = [["identify", who], ["open"]] if who else [["open"]]
        page.add_init_script(f"window.SiteChat ??= {json.dumps(queue)}")
        page.goto(f"{shop.origin}/")
        chat_in(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
