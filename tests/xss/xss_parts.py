"""What the tests of hostile texts share: a browser that is watched, a page that is provoked."""

import re
from collections.abc import Iterable
from typing import Any, TypeVar

from playwright.sync_api import BrowserContext, Dialog, Frame, Page, Route
from stage import HOST, Stage, Visitor

T = TypeVar("T")

BENIGN = "Good day"
HERE = re.compile(rf"^(?!https?://{re.escape(HOST)}:)")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ufeff]")  # has no shape
PIXEL = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c000000000100010000020144003b"
)

# One answer of the server holds fewer messages where they are long; the page asks for the others.
ALL_IS_SHOWN = """() => {
  const older = document.querySelector(".older")
  if (!older.hidden) older.click()
  return older.hidden
}"""

# Counts what runs. `xss` is what all payloads call.
WATCH = """
window.xss = (...words) => window.__seen("ran", [location.href, ...words].join(" "))
for (const name of ["alert", "confirm", "prompt", "print"]) window[name] = () => window.xss(name)
window.addEventListener("securitypolicyviolation", (event) => {
  window.__seen("report", [event.violatedDirective, event.blockedURI, event.sample].join(" "))
}, true)
"""

# Loads each picture, clicks, hovers and focuses everything. Only the links that may stand in a
# bubble are not followed; any other would be.
PROVOKE = """async (most) => {
  const root = document.querySelector(".log") ?? document.body
  const all = [root, ...root.querySelectorAll("*")]
  const step = Math.ceil(all.length / most)
  const everything = all.filter((one, index) => index % step === 0 || one.matches("a, img"))
  const harmless = (event) => {
    const link = event.target.closest("a")
    if (link && /^(https?|mailto|tel):$/.test(link.protocol)) event.preventDefault()
  }
  window.addEventListener("click", harmless, true)
  const focusable = "a[href], input, textarea, select, summary, [tabindex], [contenteditable]"
  for (const element of everything) {
    if (element.matches("img")) element.loading = "eager"
    if (element.matches("a")) element.target = ""
    if (element.closest("button")) continue
    for (const type of ["pointerover", "mouseover", "mousemove", "contextmenu", "keydown",
        "focus", "blur", "animationstart", "toggle", "begin"]) {
      element.dispatchEvent(new Event(type, {cancelable: true}))
    }
    if (element.matches(focusable)) element.focus({preventScroll: true})
    element.dispatchEvent(new MouseEvent("click", {cancelable: true}))
  }
  const loaded = (img) => img.complete || new Promise((end) => {
    for (const type of ["load", "error"]) img.addEventListener(type, end)
  })
  await Promise.all([...root.querySelectorAll("img")].map(loaded))
  await new Promise((end) => setTimeout(end, 30))
  window.removeEventListener("click", harmless, true)
}"""

# The page as data: what is forbidden in it, its shape without the bubbles' bodies, the bubbles.
AUDIT = """() => {
  const allowed = {
    STRONG: [], EM: [], U: [], S: [], BR: [], CITE: [], CODE: [], TIME: ["datetime", "title"],
    SPAN: ["class"], BLOCKQUOTE: ["class"], PRE: ["class"], A: ["href", "target", "rel"],
    IMG: ["class", "src", "alt", "title", "loading", "referrerpolicy"],
    AUDIO: ["class", "src", "title", "controls", "preload"],
    VIDEO: ["class", "src", "title", "controls", "preload"],
    UL: [], OL: ["type"], LI: [], TABLE: ["tabindex"], TBODY: [], TR: [], TD: [], TH: [], HR: [],
    SUB: [], SUP: [], DIV: ["class"], DETAILS: ["open"], SUMMARY: [],
  }
  const addresses = ["href", "src", "action", "formaction", "data", "poster", "background",
    "srcset", "srcdoc", "xlink:href", "ping", "cite"]
  const faults = []
  for (const element of document.querySelectorAll("*")) {
    const body = element.parentElement?.closest(".body")
    const name = element.tagName
    if (body && !(name in allowed)) faults.push(`<${name}> in a bubble`)
    if (element.parentElement?.closest(".from")) faults.push(`<${name}> in a name`)
    const apart = element.target === "_blank" && element.relList.contains("noopener")
    if (body && name === "A" && !apart) faults.push(`a link that knows us: ${element.outerHTML}`)
    for (const {name: key, value} of element.attributes) {
      const known = !body || !(name in allowed) || allowed[name].includes(key)
      const ours = !body || key !== "class" || /^bb-[a-z-]+$/.test(value)
      if (key.startsWith("on") || !known || !ours) faults.push(`${name} ${key}=${value}`)
      if (!addresses.includes(key)) continue
      const {protocol} = new URL(value, document.baseURI)
      const right = "src" === key ? /^https?:$/ : /^(https?|mailto|tel):$/
      if (!right.test(protocol) || (body && !right.test(value.split("/")[0].split(":")[0] + ":")))
        faults.push(`${name} ${key}=${value}`)
    }
  }
  const passing = ["hidden", "open", "title", "data-older"]
  const loading = ["aria-busy", "aria-live", "style"] // what older messages leave at the log
  const shape = (element, without) => {
    if (element.matches(without)) return ""
    const names = [...element.attributes].map(({name}) => name)
    const left = element.matches(".log") ? [...passing, ...loading] : passing
    const keys = names.filter((name) => !left.includes(name))
    const inside = [...element.children].map((child) => shape(child, without)).join("")
    return `<${element.tagName} ${keys.sort().join(" ")}>${inside}</>`
  }
  const read = (node) =>
    node.nodeName === "BR" ? "\\n" : node.data ?? [...node.childNodes].map(read).join("")
  const bubbles = [...document.querySelectorAll("article")]
  return {
    faults,
    shape: shape(document.documentElement, "article, .day"),
    stray: bubbles.filter((bubble) => !bubble.matches(".list > .message")).length,
    wide: document.documentElement.scrollWidth > window.innerWidth,
    bubbles: bubbles.map((bubble) => ({
      shape: shape(bubble, ".body *"),
      from: bubble.querySelector(".from").textContent.replaceAll("\ufeff", ""),
      text: read(bubble.querySelector(".body")).replaceAll("\ufeff", ""),
      reason: bubble.querySelector(".reason")?.textContent ?? "",
    })),
  }
}"""


class Watch:
    """Notes whatever a hostile input could achieve in a browser."""

    def __init__(self, context: BrowserContext) -> None:
        self.seen: list[tuple[str, str]] = []
        self.pictures: list[str] = []
        context.expose_binding("__seen", lambda _, kind, what: self._note(kind, what))
        context.add_init_script(WATCH)
        context.route(HERE, self._answer)
        self.page = context.new_page()
        context.on("page", lambda page: self._note("popup", page.url))
        context.on("dialog", self._dismiss)
        context.on("weberror", lambda error: self._note("error", str(error.error)))
        context.on("console", lambda message: self._read(message.text))
        self.page.on("framenavigated", lambda frame: self._follow(frame.url))
        self.page.set_default_timeout(60_000)

    def _note(self, kind: str, what: str) -> None:
        self.seen.append((kind, what))

    def _dismiss(self, dialog: Dialog) -> None:
        self._note("dialog", dialog.message)
        dialog.dismiss()

    def _read(self, text: str) -> None:
        if "Content Security Policy" in text:
            self._note("console", text)

    def _follow(self, url: str) -> None:
        if HERE.match(url) and not url.startswith(("about:blank", "chrome-error:")):
            self._note("navigation", url)

    def _answer(self, route: Route) -> None:
        """Give a picture over HTTPS, which the policy allows; note and stop all else."""
        kind, url = route.request.resource_type, route.request.url
        if kind != "image" or not url.startswith("https://"):
            self._note("request", f"{kind} {url}")
            route.abort()
            return
        self.pictures.append(url)
        if "broken" in url:
            route.fulfill(status=404)
        elif ".svg" in url:
            svg = '<svg xmlns="http://www.w3.org/2000/svg" onload="xss()"/>'
            route.fulfill(content_type="image/svg+xml", body=svg)
        else:
            route.fulfill(content_type="image/gif", body=PIXEL)

    def count(self, *kinds: str) -> int:
        return sum(kind in kinds for kind, _ in self.seen)


def batched(items: Iterable[T], size: int) -> list[tuple[T, ...]]:
    """As itertools has it since Python 3.12."""
    rest = list(items)
    return [tuple(rest[start : start + size]) for start in range(0, len(rest), size)]


def seen(text: str) -> str:
    """A text as it must be read: as typed, without what has no shape."""
    return CONTROL.sub("", text.replace("\r\n", "\n"))


def audit(page: Page | Frame, most: int = 100_000) -> dict[str, Any]:
    """The page, its links and `most` of the rest provoked; asserts what holds for every page."""
    found: dict[str, Any] = page.evaluate(AUDIT)
    page.evaluate(PROVOKE, most)
    assert found["faults"] == [], found["faults"][:5]
    assert found["stray"] == 0
    assert not found["wide"]
    return found


def open_chat(watch: Watch, stage: Stage, visitor: Visitor, most: int = 100_000) -> dict[str, Any]:
    """The visitor's chat page in the browser, provoked and audited."""
    context = watch.page.context
    context.clear_cookies()
    cookies = [(cookie.name, str(cookie.value)) for cookie in visitor.http.cookies]
    context.add_cookies([{"name": a, "value": b, "url": stage.chat} for a, b in cookies])
    watch.page.goto(f"{stage.chat}/", wait_until="domcontentloaded")
    watch.page.locator("live-chat[data-ready]").wait_for()
    watch.page.wait_for_function(ALL_IS_SHOWN, polling=50)
    watch.page.evaluate("window.stays = true")
    found = audit(watch.page, most)
    assert watch.page.evaluate("window.stays"), "the page has been left"
    return found
