"""What the tests of the embedded chat share: another company's site, and what visitors do there."""

import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from pages import until
from playwright.sync_api import Error, Frame, Page, Route, expect
from test_embed_visitors import signed

from addresses import origin_of

Open = Callable[..., Page]

SHOWN_SECONDS = 30
HAS_FRAME = """() =>
  [document, ...[...document.querySelectorAll("*")].map(({shadowRoot}) => shadowRoot)]
    .some((root) => root?.querySelector("iframe"))
"""
IS_SHOWN = """() => {
  const chat = document.querySelector("live-chat[data-ready]")
  if (!chat) return false
  const {width, height} = chat.getBoundingClientRect()
  return width > 0 && height > 0 && getComputedStyle(chat).visibility === "visible"
}"""

# What happened on the page, and what a site may not see happen.
WATCH = """
if (window === parent) {
  window.told = []
  window.shift = 0
  for (const name of ["ready", "open", "close", "message", "unread", "identify", "error"])
    addEventListener("sitechat:" + name, ({detail}) => told.push([name, detail]))
  new PerformanceObserver((list) => list.getEntries().forEach(({value}) => (window.shift += value)))
    .observe({type: "layout-shift", buffered: true})
  window.notes = []
  window.Notification = class {
    static requestPermission() { notes.push("asked") }
    constructor(title) { notes.push(title) }
  }
} else {
  window.rung = 0
  const {createOscillator} = AudioContext.prototype
  AudioContext.prototype.createOscillator = function () {
    window.rung++
    return createOscillator.call(this)
  }
}
"""
NO_STORAGE = """
if (window !== parent)
  for (const name of ["localStorage", "sessionStorage"])
    Object.defineProperty(window, name, {
      get() { throw new DOMException("blocked", "SecurityError") },
    })
"""


class Site:
    """Another company's web server with a strict policy of its own."""

    def __init__(self) -> None:
        self.chat = ""
        self.head = "<!doctype html>"  # what a page begins with
        self.data = ""  # the script's data- attributes
        self.files: dict[str, str] = {}  # by path: what is served instead, under no policy
        self.headers: dict[str, str] = {}  # with them
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                own = site.files.get(self.path)
                text = site.page() if own is None else own
                body = text.encode() if self.path != "/favicon.ico" else b""
                kind = "javascript" if self.path.endswith(".js") else "html"
                self.send_response(200)
                self.send_header("Content-Type", f"text/{kind}; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                if own is None:
                    self.send_header("Content-Security-Policy", site.policy())
                for name, value in site.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://localhost:{self.server.server_port}"  # a site apart from 127.0.0.1
        Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def policy(self) -> str:
        """As strict as a site can be that embeds the chat."""
        chat = origin_of(self.chat)
        return (
            f"default-src 'none'; script-src {chat}; frame-src {chat};"
            " base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
        )

    def page(self) -> str:
        script = f'<script async src="{self.chat}/static/loader.js" {self.data}></script>'
        filler = "<p>Lamps for long evenings</p>" * 60
        return f"{self.head}<title>Shop</title>{script}<body><a href=#x>link</a>{filler}"


def chat_in(page: Page) -> Frame:
    """The chat's frame once it is alive and shown."""
    ends = time.monotonic() + SHOWN_SECONDS
    while True:
        until(page, HAS_FRAME)
        frame = page.frames[-1]
        try:
            until(frame, IS_SHOWN, seconds=ends - time.monotonic())
        except Error as error:
            if "detached" not in error.message:  # another frame takes its place
                raise
            continue
        assert len(page.frames) == 2
        return frame


def say(page: Page, text: str) -> None:
    frame = chat_in(page)
    frame.locator("#message").fill(text)
    frame.locator("#message").press("Enter")
    frame.locator("article.message.visitor[data-id]", has_text=text).wait_for()


def customer(shop: Site, name: str) -> dict[str, str]:
    email = f"{name.lower()}@example.com"
    return {"name": name, "email": email, "signature": signed(shop.origin, email)}


def delete_conversation(page: Page) -> None:
    chat = chat_in(page)
    chat.locator(".more").click()
    chat.get_by_role("button", name="Delete my conversation").click()
    chat.locator(".question").get_by_role("button", name="Delete").click()
    expect(chat.locator("article")).to_have_count(0)


def leave_unsent(page: Page, text: str) -> None:
    """A message that does not get through, and one that is not finished."""

    def lose(route: Route) -> None:
        sends = "send_message" in (route.request.post_data or "")
        route.abort() if sends else route.continue_()

    page.context.route("**/ajax*", lose)
    chat = chat_in(page)
    chat.locator("#message").fill(text)
    chat.locator("#message").press("Enter")
    chat.locator(".reason button[name=retry]").wait_for()
    chat.locator("#message").fill(f"draft of {text}")
