"""The pages in WebKit, the engine of Safari: no reload, way back, tab or frame ends the chat.

WebKit suspends a page before it leaves it and refuses locks meanwhile, as no other browser does.
"""

import os
import subprocess
from collections.abc import Iterator

import pytest
from embed_parts import Site
from install_browser import find_webkit
from pages import chat_of
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.client_config import ClientConfig
from selenium.webdriver.remote.remote_connection import RemoteConnection
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait
from selenium.webdriver.webkitgtk.options import Options
from selenium.webdriver.webkitgtk.service import Service
from stage import Stage

LOAD_SECONDS = 20  # a page that hangs does so for good
SEEN_SECONDS = 30
RELOADS = 4

BODIES = """
return [...document.querySelectorAll("article.message .body")].map((body) => body.innerText)
"""
READY = "live-chat[data-ready]"
# Whether this tab holds the stream or waits for its turn: what a reload then takes from it.
LOCKS = """
const done = arguments[0]
navigator.locks.query().then(({held, pending}) => done([held.length, pending.length]))
"""


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    """A screen that nobody sees; WebKitGTK needs one."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x1024x24"]
    with subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as xvfb:
        os.close(writing)
        with os.fdopen(reading) as number:
            yield f":{number.readline().strip()}"
        xvfb.terminate()


@pytest.fixture
def safari(screen: str) -> Iterator[WebDriver]:
    """A visitor's browser with no past."""
    # Nothing of a page is drawn by OpenGL, which takes half of the time where a processor plays it.
    plain = {"WEBKIT_DISABLE_COMPOSITING_MODE": "1"}
    service = Service(find_webkit(), env={**os.environ, **plain, "DISPLAY": screen})
    service.start()
    try:
        where = ClientConfig(service.service_url, timeout=SEEN_SECONDS)
        # selenium's own WebKitGTK class gives its address in a way that selenium warns of.
        driver = WebDriver(RemoteConnection(client_config=where), options=Options())
        driver.set_window_size(1100, 900)
        driver.set_page_load_timeout(LOAD_SECONDS)
        yield driver
        driver.quit()
    finally:
        service.stop()


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


def find(safari: WebDriver, selector: str) -> WebElement:
    """The element, as soon as it is there."""
    return WebDriverWait(safari, SEEN_SECONDS).until(
        lambda _: safari.find_element(By.CSS_SELECTOR, selector), selector
    )


def shows(safari: WebDriver, *texts: str) -> None:
    """Wait until the chat holds these messages and no other."""
    WebDriverWait(safari, SEEN_SECONDS, 0.1).until(
        lambda _: safari.execute_script(BODIES) == [*texts], f"{texts}"
    )


def holds(safari: WebDriver, *locks: int) -> None:
    """Wait until so many locks are held, and so many waited for, by all tabs of the chat."""
    WebDriverWait(safari, SEEN_SECONDS, 0.1).until(
        lambda _: safari.execute_async_script(LOCKS) == [*locks], f"{locks}"
    )


def open_page(safari: WebDriver, stage: Stage) -> None:
    safari.get(f"{stage.chat}/")
    find(safari, READY)


def write(safari: WebDriver, stage: Stage, text: str) -> str:
    """Send a first message; returns the chat's id once the portal has it."""
    find(safari, "#message").click()  # in a frame WebKit types only where somebody clicked
    find(safari, "#message").send_keys(text + Keys.ENTER)
    find(safari, 'article.visitor[data-state="delivered"]')
    return chat_of(stage, text)


def answer(stage: Stage, chat: str, text: str) -> None:
    stage.press("answer", external_chat_id=chat, text=text)


def enter_chat(safari: WebDriver) -> None:
    """Into the frame of the embedded chat, as soon as it is alive."""
    safari.switch_to.default_content()
    root = find(safari, "html > div").shadow_root
    frame = WebDriverWait(safari, SEEN_SECONDS).until(
        lambda _: root.find_elements(By.CSS_SELECTOR, "iframe")
    )[0]
    safari.switch_to.frame(frame)
    find(safari, READY)


def test_a_conversation_goes_on_through_reloads(stage: Stage, safari: WebDriver) -> None:
    open_page(safari, stage)
    chat = write(safari, stage, "From Safari")
    expected = ["From Safari"]

    for number in range(RELOADS):
        holds(safari, 1, 0)
        safari.refresh()
        find(safari, READY)
        answer(stage, chat, f"answer {number}")
        expected.append(f"answer {number}")
        shows(safari, *expected)


def test_reloads_before_the_first_message_end_at_once(stage: Stage, safari: WebDriver) -> None:
    open_page(safari, stage)

    for _ in range(RELOADS):
        safari.refresh()
        find(safari, READY)

    write(safari, stage, "After reloads")


def test_a_page_left_and_come_back_to_is_live(stage: Stage, safari: WebDriver) -> None:
    open_page(safari, stage)
    chat = write(safari, stage, "Back soon")

    for number in range(1, RELOADS):
        safari.get(f"{stage.portal}/shop")
        answer(stage, chat, f"while away {number}")
        safari.back()
        find(safari, READY)
        answer(stage, chat, f"back {number}")
        expected = [f"{text} {so_far}" for so_far in range(1, number + 1)
                    for text in ("while away", "back")]  # fmt: skip
        shows(safari, "Back soon", *expected)


def test_of_two_tabs_each_may_be_reloaded_and_closed(stage: Stage, safari: WebDriver) -> None:
    open_page(safari, stage)
    chat = write(safari, stage, "In two tabs")
    first = safari.current_window_handle
    safari.switch_to.new_window("tab")
    second = safari.current_window_handle
    open_page(safari, stage)
    holds(safari, 1, 1)

    expected = ["In two tabs"]
    for number, tab in enumerate([second, first] * 2):
        safari.switch_to.window(tab)
        safari.refresh()
        find(safari, READY)
        answer(stage, chat, f"answer {number}")
        expected.append(f"answer {number}")
        for each in (first, second):
            safari.switch_to.window(each)
            shows(safari, *expected)

    safari.close()
    safari.switch_to.window(first)
    answer(stage, chat, "to the one left")
    shows(safari, *expected, "to the one left")


def test_a_killed_server_is_found_again(stage: Stage, safari: WebDriver) -> None:
    open_page(safari, stage)
    chat = write(safari, stage, "Are you there?")

    stage.kill()
    find(safari, "#message").send_keys("While you were away" + Keys.ENTER)
    find(safari, 'article.visitor[data-state="waiting"] .reason button')
    stage.start()
    find(safari, '.status[data-connection="ready"]')
    answer(stage, chat, "Here again")

    shows(safari, "Are you there?", "While you were away", "Here again")


def test_an_embedded_chat_goes_on_when_its_host_is_reloaded(
    stage: Stage, shop: Site, safari: WebDriver
) -> None:
    safari.get(f"{shop.origin}/")
    find(safari, "html > div").shadow_root.find_element(By.CSS_SELECTOR, "button").click()
    enter_chat(safari)
    chat = write(safari, stage, "From the shop")
    expected = ["From the shop"]

    for number in range(RELOADS):
        safari.switch_to.default_content()
        safari.refresh()
        find(safari, "html > div").shadow_root.find_element(By.CSS_SELECTOR, "button").click()
        enter_chat(safari)
        answer(stage, chat, f"answer {number}")
        expected.append(f"answer {number}")
        shows(safari, *expected)
