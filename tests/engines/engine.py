"""A browser as its visitor uses it: pages, tabs, a real mouse and real keys.

One list of flows runs in Chromium, Firefox and WebKit by this one way. A click goes to a place on
the screen, and a key to whatever has the focus then. Neither names the element that should get it:
which one does is what the tests find out.
"""

import contextlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from stage import wait_until

SEEN_SECONDS = 30.0
READY = "live-chat[data-ready]"
# The first element of the page, or of the launcher that the loader puts on a site's page.
ELEMENT = """
const find = (selector) => document.querySelector(selector)
  ?? document.querySelector("site-chat")?.shadowRoot?.querySelector(selector)
"""
MIDDLE = """
const {x, y, width, height} = find(arguments[0]).getBoundingClientRect()
return [Math.round(x + width / 2), Math.round(y + height / 2)]
"""
# What is shown of an element, which one that is hidden, or behind another, is not.
IS_SEEN = """
const element = find(arguments[0])
if (!element?.checkVisibility({visibilityProperty: true, opacityProperty: false})) return false
const {x, y, width, height} = element.getBoundingClientRect()
return width > 0 && height > 0
"""
BODIES = """
return [...document.querySelectorAll("article.message .body")].map((body) => body.innerText)
"""


class Engine(ABC):
    """A browser with one tab. `enter` goes into the chat's frame on a page, `leave` back again.

    It refuses cookies and storage to a frame of another site, if the engine has a way to do so.
    """

    name: str
    reloads = 2  # how often a flow reloads a page
    embedded = False  # whether we are in the chat's frame

    @abstractmethod
    def open(self, url: str) -> None:
        """Load a page, and wait until it is loaded; so do the next three."""

    @abstractmethod
    def reload(self) -> None: ...

    @abstractmethod
    def back(self) -> None: ...

    @abstractmethod
    def forward(self) -> None: ...

    @abstractmethod
    def evaluate(self, body: str, *values: Any) -> Any:
        """What the body of a function returns, on the page or in the frame where we are."""

    @abstractmethod
    def click_at(self, x: int, y: int) -> None:
        """Press the mouse at this place of the page or frame where we are."""

    @abstractmethod
    def type(self, text: str) -> None:
        """Press the keys of this text."""

    @abstractmethod
    def press(self, key: str) -> None:
        """Press one key: Enter, Escape, Tab, Space, or one of them with "Shift+" before it."""

    @abstractmethod
    def resize(self, width: int, height: int) -> None:
        """Give the page this size, or one that is a little larger."""

    @abstractmethod
    def choose(self, selector: str, path: Path) -> None:
        """Choose this file in a field for files."""

    @abstractmethod
    def new_tab(self) -> None:
        """Open a tab of the same visitor and go there."""

    @abstractmethod
    def go_to_tab(self, number: int) -> None:
        """Go to the tab that was opened as this one; the first is 0."""

    @abstractmethod
    def close_tab(self) -> None:
        """Close the tab where we are, and go to the first one."""

    @abstractmethod
    def forget(self, dark: bool = False) -> None:
        """Be a new visitor with one tab, without cookies or storage, who likes it light or dark."""

    @abstractmethod
    def _switch(self) -> None:
        """Go into the chat's frame, or to the page, as `embedded` says."""

    @abstractmethod
    def end(self) -> None: ...

    def run(self, body: str, *values: Any) -> Any:
        """As `evaluate`, for a body that may call `find`."""
        return self.evaluate(ELEMENT + body, *values)

    def until(self, body: str, *values: Any, why: str = "", seconds: float = SEEN_SECONDS) -> Any:
        """Wait until this returns what is true."""
        return wait_until(lambda: self.run(body, *values), seconds, why or f"{body} {values}")

    def sees(self, selector: str) -> None:
        """Wait until the element is seen."""
        self.until(IS_SEEN, selector, why=f"{selector} is seen")

    def sees_not(self, selector: str) -> None:
        self.until(f"return !(function () {{ {IS_SEEN} }})(arguments[0])", selector)

    def click(self, selector: str) -> None:
        """Press the mouse in the middle of an element that is seen."""
        self.sees(selector)
        self.click_at(*self.run(MIDDLE, selector))

    def shows(self, *texts: str) -> None:
        """Wait until the chat holds these messages and no other."""
        self.becomes([*texts], BODIES)

    def becomes(self, expected: Any, body: str, *values: Any) -> None:
        """Wait until this returns what is expected."""
        seen = []

        def right() -> bool:
            seen.append(self.run(body, *values))
            return bool(seen[-1] == expected)

        with contextlib.suppress(AssertionError):
            wait_until(right, SEEN_SECONDS)
        assert seen[-1] == expected, f"{seen[-1]} and not {expected}: {body}"

    def enter(self) -> None:
        """Go into the chat's frame, as soon as the chat there is ready."""
        self.leave()
        self.until("return find('iframe')")
        self.embedded = True
        self._switch()
        self.until(f"return find('{READY}')")

    def heard(self) -> None:
        """Wait until the embedded chat, which was told to take the focus, has done so."""
        self.enter()
        self.until(
            "return document.activeElement === find('#message')", why="the field has the focus"
        )
        self.leave()

    def leave(self) -> None:
        """Go back to the page that has the frame."""
        self.embedded = False
        self._switch()
