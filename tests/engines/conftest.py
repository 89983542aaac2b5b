"""The three engines, and a shop that embeds the chat, for the flows that run in each of them."""

from collections.abc import Iterator

import pytest
from chromium_engine import Chromium
from embed_parts import Site
from engine import Engine
from firefox_engine import Firefox
from install_browser import find_firefox, find_webkit
from playwright.sync_api import Playwright
from stage import Stage
from webkit_engine import WebKit


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each flow runs in each engine that the machine has."""
    if "running" in metafunc.fixturenames:
        names = ["chromium", *["firefox"] * bool(find_firefox()), *["webkit"] * bool(find_webkit())]
        metafunc.parametrize("running", names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def running(
    request: pytest.FixtureRequest, playwright: Playwright, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """One browser for all tests of a process: to start it takes longer than to use it."""
    engine: Engine
    if request.param == "chromium":
        engine = Chromium(playwright)
    elif request.param == "firefox":
        engine = Firefox(tmp_path_factory.mktemp("firefox"))
    else:
        engine = WebKit()
    yield engine
    engine.end()


@pytest.fixture
def engine(running: Engine) -> Engine:
    """A browser of a visitor with no past."""
    running.forget()
    return running


@pytest.fixture(scope="module")
def shop() -> Iterator[Site]:
    shop = Site()
    yield shop
    shop.server.shutdown()
    shop.server.server_close()


@pytest.fixture(scope="module")
def stage(shop: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    with Stage(folder, SITECHAT_CHAT__SITES=f'["{shop.origin}"]') as stage:
        stage.install()
        shop.chat = stage.chat
        yield stage
