"""WebKitGTK, the engine of Safari, by WebDriver, on a screen that nobody sees."""

import os
import subprocess
from pathlib import Path
from typing import Any

from engine import SEEN_SECONDS, Engine
from install_browser import find_webkit
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.client_config import ClientConfig
from selenium.webdriver.remote.file_detector import UselessFileDetector
from selenium.webdriver.remote.remote_connection import RemoteConnection
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.webkitgtk.options import Options
from selenium.webdriver.webkitgtk.service import Service

SCREEN = (1280, 1024)
LOAD_SECONDS = 20  # a page that hangs does so for good
KEYS = {"Enter": Keys.ENTER, "Escape": Keys.ESCAPE, "Tab": Keys.TAB, "Space": Keys.SPACE}

CORNER = """
const {x, y} = find("iframe").getBoundingClientRect()
return [Math.round(x), Math.round(y)]
"""
# A message that takes the way of those to the frame, and so arrives after them.
PING = """
return new Promise((arrived) => {
  const {port1, port2} = new MessageChannel()
  port2.onmessage = () => setTimeout(arrived, 50, true)
  port1.postMessage(0)
})
"""


class WebKit(Engine):
    name = "webkit"
    reloads = 4  # a lock that a page has left behind may stop a later one

    def __init__(self) -> None:
        self._screen, screen = start_screen()
        # Nothing is drawn by OpenGL, which takes half of the time where a processor plays it.
        self._environment = {
            **os.environ,
            "WEBKIT_DISABLE_COMPOSITING_MODE": "1",
            "DISPLAY": screen,
        }
        self._start()

    def _start(self) -> None:
        self._service = Service(find_webkit(), env=self._environment)
        self._service.start()
        where = ClientConfig(self._service.service_url, timeout=int(SEEN_SECONDS))
        # selenium's own WebKitGTK class gives its address in a way that selenium warns of.
        options = Options()
        options.accept_insecure_certs = True  # those of the tests' own proxies
        self._driver = WebDriver(RemoteConnection(client_config=where), options=options)
        self._driver.file_detector = UselessFileDetector()  # a path is a path, the browser is here
        self._driver.set_window_size(1100, 900)
        self._driver.set_page_load_timeout(LOAD_SECONDS)
        self._tabs = [self._driver.current_window_handle]
        self.leave()

    def open(self, url: str) -> None:
        self.leave()
        self._driver.get(url)

    def reload(self) -> None:
        self.leave()
        self._driver.refresh()

    def back(self) -> None:
        self.leave()
        self._driver.back()

    def forward(self) -> None:
        self.leave()
        self._driver.forward()

    def evaluate(self, body: str, *values: Any) -> Any:
        return self._driver.execute_script(body, *values)

    def click_at(self, x: int, y: int) -> None:
        left, top = self._corner
        actions = ActionChains(self._driver, duration=0)
        mouse = actions.w3c_actions.pointer_action
        mouse.move_to_location(left + x, top + y)  # type: ignore[no-untyped-call]
        mouse.click()
        actions.perform()

    def type(self, text: str) -> None:
        ActionChains(self._driver, duration=0).send_keys(text).perform()

    def press(self, key: str) -> None:
        actions = ActionChains(self._driver, duration=0)
        shifted, _, name = key.rpartition("+")
        if shifted:
            actions.key_down(Keys.SHIFT)
        actions.send_keys(KEYS[name])
        if shifted:
            actions.key_up(Keys.SHIFT)
        actions.perform()

    def resize(self, width: int, height: int) -> None:
        inner = self.evaluate("return [outerWidth - innerWidth, outerHeight - innerHeight]")
        # Nobody manages the windows: the one under the pointer, in the middle, has the focus.
        left, top = (SCREEN[0] - width) // 2, (SCREEN[1] - height) // 2
        self._driver.set_window_rect(left, top, width + inner[0], height + inner[1])

    def choose(self, selector: str, path: Path) -> None:
        self._driver.find_element(By.CSS_SELECTOR, selector).send_keys(str(path))

    def new_tab(self) -> None:
        self._driver.switch_to.new_window("tab")
        self._tabs.append(self._driver.current_window_handle)
        self.leave()

    def go_to_tab(self, number: int) -> None:
        self._driver.switch_to.window(self._tabs[number])
        self.leave()

    def close_tab(self) -> None:
        self._tabs.remove(self._driver.current_window_handle)
        self._driver.close()
        self.go_to_tab(0)

    def forget(self, dark: bool = False) -> None:
        self._stop()
        self._environment["GTK_THEME"] = "Adwaita:dark" if dark else "Adwaita"
        self._start()

    def heard(self) -> None:
        """Look at the page only: to go into a frame, WebDriver would move the focus there."""
        self.until(PING)

    def _switch(self) -> None:
        self._driver.switch_to.default_content()
        self._corner = (0, 0)  # WebKit takes places in a frame as places on the page
        if self.embedded:
            self._corner = self.run(CORNER)
            self._driver.switch_to.frame(self.run("return find('iframe')"))

    def _stop(self) -> None:
        try:
            self._driver.quit()
        finally:
            self._service.stop()

    def end(self) -> None:
        self._stop()
        self._screen.terminate()
        self._screen.wait()


def start_screen() -> tuple["subprocess.Popen[bytes]", str]:
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", f"{SCREEN[0]}x{SCREEN[1]}x24"]
    xvfb = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    with os.fdopen(reading) as number:
        return xvfb, f":{number.readline().strip()}"
