"""Chromium, by Playwright."""

from pathlib import Path
from typing import Any, Literal

from embed_parts import NO_STORAGE
from engine import Engine
from install_browser import find_chromium
from pages import QUIET
from playwright.sync_api import Frame, Playwright


class Chromium(Engine):
    name = "chromium"

    def __init__(self, playwright: Playwright) -> None:
        self._browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=[*QUIET, "--test-third-party-cookie-phaseout"]
        )
        self._begin("light")

    def _begin(self, scheme: Literal["light", "dark"]) -> None:
        self._context = self._browser.new_context(
            locale="en-GB",
            viewport={"width": 1100, "height": 900},
            color_scheme=scheme,
        )
        self._context.add_init_script(NO_STORAGE)
        self._context.set_default_timeout(30_000)
        self._tabs = [self._context.new_page()]
        self._page = self._tabs[0]
        self.embedded = False

    @property
    def _frame(self) -> Frame:
        return self._page.frames[-1] if self.embedded else self._page.main_frame

    def open(self, url: str) -> None:
        self.embedded = False
        self._page.goto(url)

    def reload(self) -> None:
        self.embedded = False
        self._page.reload()

    def back(self) -> None:
        self.embedded = False
        self._page.go_back()

    def forward(self) -> None:
        self.embedded = False
        self._page.go_forward()

    def evaluate(self, body: str, *values: Any) -> Any:
        function = f"(values) => (function () {{ {body} }})(...values)"
        return self._frame.evaluate(function, list(values))

    def click_at(self, x: int, y: int) -> None:
        box = self._frame.frame_element().bounding_box() if self.embedded else None
        left, top = (box["x"], box["y"]) if box else (0, 0)
        self._page.mouse.click(left + x, top + y)

    def type(self, text: str) -> None:
        self._page.keyboard.type(text)

    def press(self, key: str) -> None:
        self._page.keyboard.press(key)

    def resize(self, width: int, height: int) -> None:
        self._page.set_viewport_size({"width": width, "height": height})

    def choose(self, selector: str, path: Path) -> None:
        self._frame.set_input_files(selector, path)

    def new_tab(self) -> None:
        self._tabs.append(self._context.new_page())
        self.go_to_tab(len(self._tabs) - 1)

    def go_to_tab(self, number: int) -> None:
        self._page = self._tabs[number]
        self._page.bring_to_front()
        self.embedded = False

    def close_tab(self) -> None:
        self._tabs.remove(self._page)
        self._page.close()
        self.go_to_tab(0)

    def forget(self, dark: bool = False) -> None:
        self._context.close()
        self._begin("dark" if dark else "light")

    def _switch(self) -> None:
        pass  # `_frame` looks each time

    def end(self) -> None:
        self._browser.close()
