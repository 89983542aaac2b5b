"""The fixtures of the host pages: their server, and visitors who come to them."""

import json
from collections.abc import Iterator

import pytest
from embed_parts import Open
from host_server import Hosts, build, has_npm
from playwright.sync_api import Browser, BrowserContext
from stage import Stage

collect_ignore = [] if has_npm() else ["test_hosts.py"]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    build()
    hosts = Hosts()
    yield hosts
    hosts.close()


@pytest.fixture(scope="module")
def stage(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    with Stage(folder, SITECHAT_CHAT__SITES=json.dumps([hosts.origin])) as stage:
        stage.install()
        hosts.chat = stage.chat
        yield stage


@pytest.fixture
def visit(stage: Stage, hosts: Hosts, browser: Browser) -> Iterator[Open]:
    """Opens a host's page in a browser of its own, on which no script may fail."""
    contexts: list[BrowserContext] = []
    troubles: list[str] = []

    def open_page(path: str, *scripts: str, **options: object) -> object:
        context = browser.new_context(**{"locale": "en-GB"} | options)
        contexts.append(context)
        for script in scripts:
            context.add_init_script(script)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else 0)
        page.goto(f"{hosts.origin}{path}", wait_until="domcontentloaded")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []
