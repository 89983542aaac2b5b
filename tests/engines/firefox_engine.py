"""Firefox. Its clicks and keys take the way of real ones, also into a frame of another site."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine import Engine
from front import authority_in_base64
from install_browser import find_firefox
from marionette import Marionette
from pages import QUIET_FIREFOX
from stage import free_port, wait_until

START_SECONDS = 60
OPTIONS = ["--headless", "--no-remote", "--marionette", "--remote-allow-system-access"]
PREFERENCES = {
    **QUIET_FIREFOX,
    "intl.locale.requested": "en-GB",
    "intl.accept_languages": "en-GB",
    "layout.frame_rate": 20,  # a picture is drawn by the processor
    "focusmanager.testmode": False,  # the focus is as it is for a visitor
    "remote.events.async.mouse.enabled": True,  # a click takes the whole way, as keys do
    "network.cookie.cookieBehavior": 1,  # a frame of another site has neither cookies nor storage
}
RESIZE = """
const {style} = gBrowser.selectedBrowser
style.maxWidth = `${arguments[0]}px`
style.maxHeight = `${arguments[1]}px`
"""
FORGET = """
const [dark, onDataDeleted] = arguments
Services.prefs.setIntPref("layout.css.prefers-color-scheme.content-override", dark ? 0 : 1)
const {CLEAR_COOKIES, CLEAR_DOM_STORAGES} = Ci.nsIClearDataService
Services.clearData.deleteData(CLEAR_COOKIES | CLEAR_DOM_STORAGES, {onDataDeleted})
"""
# The authority of the tests' own proxies, for servers.
TRUST = """
Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB)
  .addCertFromBase64(arguments[0], "C,,")
"""
# A click goes to what was painted last, and what has just changed is painted with the next frame.
PAINTED = """
const [onPainted] = arguments
requestAnimationFrame(() => requestAnimationFrame(onPainted))
"""
# WebDriver's names of keys
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "Tab": "\ue004", "Space": " ", "Shift": "\ue008"}


class Firefox(Engine):
    name = "firefox"

    def __init__(self, folder: Path) -> None:
        port = free_port()
        preferences = {**PREFERENCES, "marionette.port": port}
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in preferences.items()]
        (folder / "user.js").write_text("\n".join(lines))
        self._process = subprocess.Popen(
            [str(find_firefox()), *OPTIONS, "--profile", str(folder)],
            env={**os.environ, "HOME": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        connected = wait_until(lambda: self._connected(port), START_SECONDS, "Firefox listens")
        assert connected is not None
        self._driver = connected
        self._driver.ask("WebDriver:SetWindowRect", width=1280, height=1024)
        self._ask = self._driver.ask
        with self._whole_browser():
            self._ask("WebDriver:ExecuteScript", script=TRUST, args=[authority_in_base64()])
        self._tabs: list[str] = self._ask("WebDriver:GetWindowHandles")

    def _connected(self, port: int) -> Marionette | None:
        assert self._process.poll() is None, "Firefox has ended"
        try:
            return Marionette(port)
        except ConnectionRefusedError:
            return None

    def open(self, url: str) -> None:
        self.leave()
        self._ask("WebDriver:Navigate", url=url)

    def reload(self) -> None:
        self.leave()
        self._ask("WebDriver:Refresh")

    def back(self) -> None:
        self.leave()
        self._ask("WebDriver:Back")

    def forward(self) -> None:
        self.leave()
        self._ask("WebDriver:Forward")

    def evaluate(self, body: str, *values: Any) -> Any:
        return self._ask("WebDriver:ExecuteScript", script=body, args=values, sandbox=None)

    def click(self, selector: str) -> None:
        self.sees(selector)
        self._ask("WebDriver:ExecuteAsyncScript", script=PAINTED, args=[])
        super().click(selector)

    def click_at(self, x: int, y: int) -> None:
        place = {"type": "pointerMove", "x": x, "y": y, "origin": "viewport"}
        press = [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")]
        self._act("pointer", place, *press)

    def type(self, text: str) -> None:
        with self._whole_browser():
            self._act("key", *[press for letter in text for press in strokes(letter)])

    def press(self, key: str) -> None:
        *shift, name = key.split("+")
        down, up = strokes(KEYS[name])
        held = strokes(KEYS["Shift"]) if shift else []
        with self._whole_browser():
            self._act("key", *held[:1], down, up, *held[1:])

    @contextlib.contextmanager
    def _whole_browser(self) -> Iterator[None]:
        """Within it a key goes to whatever has the focus, else only to the page or frame."""
        self._ask("Marionette:SetContext", value="chrome")
        yield
        self._ask("Marionette:SetContext", value="content")

    def _act(self, kind: str, *actions: dict[str, Any]) -> None:
        self._ask(
            "WebDriver:PerformActions", actions=[{"type": kind, "id": kind, "actions": actions}]
        )

    def resize(self, width: int, height: int) -> None:
        with self._whole_browser():  # a window of Firefox is 500 pixels wide at least
            self._ask("WebDriver:ExecuteScript", script=RESIZE, args=[width, height])
        self.becomes([width, height], "return [innerWidth, innerHeight]")

    def choose(self, selector: str, path: Path) -> None:
        found = self._ask("WebDriver:FindElement", using="css selector", value=selector)
        self._ask("WebDriver:ElementSendKeys", id=next(iter(found.values())), text=str(path))

    def new_tab(self) -> None:
        self._tabs.append(self._ask("WebDriver:NewWindow", type="tab", focus=True)["handle"])
        self.go_to_tab(len(self._tabs) - 1)

    def go_to_tab(self, number: int) -> None:
        self._ask("WebDriver:SwitchToWindow", handle=self._tabs[number], focus=True)
        self.embedded = False

    def close_tab(self) -> None:
        self._tabs = self._ask("WebDriver:CloseWindow")
        self.go_to_tab(0)

    def forget(self, dark: bool = False) -> None:
        while len(self._tabs) > 1:
            self.go_to_tab(1)
            self.close_tab()
        self.leave()
        self.resize(1100, 900)
        self.evaluate("try { sessionStorage.clear() } catch {}")
        with self._whole_browser():
            self._ask("WebDriver:ExecuteAsyncScript", script=FORGET, args=[dark])

    def _switch(self) -> None:
        frame = self.run("return find('iframe')") if self.embedded else None
        element = next(iter(frame.values())) if frame else None
        self._ask("WebDriver:SwitchToFrame", element=element)

    def end(self) -> None:
        self._driver.close()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def strokes(key: str) -> list[dict[str, Any]]:
    return [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
