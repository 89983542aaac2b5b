"""No script ever runs: the hostile inputs of hostile.py through every door, in a real browser.

Each goes in as a visitor's message, name and page and as an operator's text, edit, name, file,
address and parameter. What came of it is loaded, clicked, hovered and focused: nothing may run, be
reported by the Content-Security-Policy, leave its bubble or reach another host. The same again
without the policy, so that parser and sanitizer hold alone; and proof that the watch sees a script.
"""

import html
import json
import re
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, cycle, islice
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote

import pytest
import requests
from hostile import CODES, INPUTS, LENGTH, LONG, PLACE, PLACES, TYPED
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Dialog,
    Frame,
    Page,
    Route,
)
from stage import CLIENT_ID, HOST, LINE, Stage, Visitor, wait_until

from rest.errors import code_of

T = TypeVar("T")

# One answer of the server holds fewer messages where they are long; the page asks for the others.
ALL_IS_SHOWN = """() => {
  const older = document.querySelector(".older")
  if (!older.hidden) older.click()
  return older.hidden
}"""
INPUTS_A_CHAT = 30  # 90 bubbles: a page shows the last 50, and the others when asked
TOGETHER = 3  # inputs in one text, where each has been alone in another
BENIGN = "Good day"
HERE = re.compile(rf"^(?!http://{re.escape(HOST)}:)")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ufeff]")  # has no shape
SPACE = "\t\v\f \u00a0\u2003\u2028\u2029\ufeff"  # what a script trims off
POLYGLOT = "</script></title></h1>\"'><img src=x onerror=xss()><script>xss()</script>{{7*7}}{name}"
PIXEL = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c000000000100010000020144003b"
)

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
  const also = all.length < 6_000 ? "a, img" : "img"
  const everything = all.filter((one, index) => index % step === 0 || one.matches(also))
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
      const right = name === "IMG" ? /^https?:$/ : /^(https?|mailto|tel):$/
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

# Types each text into the page as its own message and gives back how the page showed it at once.
TYPE = """(texts) => {
  const [name, field] = [document.querySelector("#name"), document.querySelector("#message")]
  const read = (node) =>
    node.nodeName === "BR" ? "\\n" : node.data ?? [...node.childNodes].map(read).join("")
  return texts.map((text) => {
    name.value = text.slice(0, 100)
    name.dispatchEvent(new Event("change"))
    field.value = text
    document.querySelector("form").requestSubmit()
    const own = [...document.querySelectorAll("article.visitor")].at(-1)
    return [document.querySelector(".who b").textContent, read(own.querySelector(".body"))]
  })
}"""

# Posts each form into a frame of its own and waits for all answers.
POST = """(forms) => Promise.all(forms.map(([action, fields], index) => new Promise((end) => {
  const frame = Object.assign(document.createElement("iframe"), {name: `f${index}`})
  const form = Object.assign(document.createElement("form"), {action, target: frame.name})
  form.method = "post"
  for (const [name, value] of Object.entries(fields)) {
    const field = Object.assign(document.createElement("textarea"), {name})
    field.value = value
    form.append(field)
  }
  document.body.append(frame, form)
  frame.onload = end
  form.submit()
})))"""

FIELDS = """() => ({
  kind: document.contentType,
  name: document.querySelector("#name")?.value,
  message: document.querySelector("#message")?.value,
})"""


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


@pytest.fixture
def watch(browser: Browser) -> Iterator[Watch]:
    context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
    yield Watch(context)
    context.close()


@pytest.fixture
def unprotected(browser: Browser) -> Iterator[Watch]:
    """A browser that does not heed the Content-Security-Policy."""
    context = browser.new_context(
        bypass_csp=True, locale="en-GB", viewport={"width": 1280, "height": 900}
    )
    yield Watch(context)
    context.close()


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
    assert found["faults"] == []
    assert found["stray"] == 0
    assert not found["wide"]
    return found


# -- chats full of it


@dataclass(frozen=True)
class Talk:
    """A chat that holds each of its inputs in five bubbles, all of a kind together."""

    visitor: Visitor
    chat: str
    inputs: tuple[str, ...] = ()
    portal_chat: int = 0

    @property
    def texts(self) -> list[str]:
        """The inputs, some at a time."""
        return ["\n".join(some) for some in batched(self.inputs, TOGETHER)]


@pytest.fixture(scope="module")
def talks(stage: Stage) -> list[Talk]:
    """One chat of harmless texts, then all hostile inputs."""
    stage.trouble(limit=False, strict_names=False)  # this is not about names
    batches = [(BENIGN,) * INPUTS_A_CHAT, *batched(INPUTS, INPUTS_A_CHAT)]
    with ThreadPoolExecutor(8) as pool:
        talks = [*pool.map(partial(write_as_visitor, stage), batches)]
    numbers = count(10_000_000)
    talks = [with_dialog(stage, talk) for talk in talks]
    for talk in talks:
        post_as_portal(stage, talk, numbers)
        answer_as_operator(stage, talk)
    wait_until(partial(all_posted, stage), 30, "the portal's events")
    return talks


def write_as_visitor(stage: Stage, inputs: tuple[str, ...]) -> Talk:
    visitor = stage.visitor()
    for index, text in enumerate(inputs):
        page = {"page": text} if index % 2 else {}
        visitor.http.headers["Referer"] = re.sub("[^ -~]", "", text).strip()
        answer = visitor.send(text, name=text[:100], **page)
        assert answer["result"]["id"]
    return Talk(visitor, answer["chat"], inputs)


def with_dialog(stage: Stage, talk: Talk) -> Talk:
    """The chat once the portal knows it."""
    dialog = wait_until(partial(stage.dialog, talk.chat), 30, "a dialog at the portal")
    return replace(talk, portal_chat=dialog["chat_id"])


def all_arrived(stage: Stage, talk: Talk) -> bool:
    return len(stage.texts(talk.chat)) == len(talk.inputs)


def all_posted(stage: Stage) -> bool:
    return not stage.counts()["pending_events"]


def answer_as_operator(stage: Stage, talk: Talk) -> None:
    for text in talk.texts:
        file = {"name": text, "url": text, "type": "image/png"}
        stage.press("answer", external_chat_id=talk.chat, text=text, files=[file])


def post_as_portal(stage: Stage, talk: Talk, numbers: Iterator[int]) -> None:
    """Automatic texts, texts of operators with such names and files, and edits."""
    keys = ("CLASS", "url", "richUrlPreview", "IMOL_VOTE", "IS_X")
    system = [
        item(talk, next(numbers), text=text, params=dict.fromkeys(keys, text), user_id=0)
        for text in talk.texts
    ]
    named = []
    for text in talk.inputs:
        links = (text, f"https://files.example/{text}", "https://files.example/x.svg")
        kinds = ("image", "video", text)
        files = [
            {"name": text, "type": kind, "link": link, "size": 1}
            for kind, link in zip(kinds, links, strict=True)
        ]
        body = f"[b]{text}:[/b] [br]" + PLACES.replace(PLACE, text)
        named.append(item(talk, next(numbers), text=body, files=files, user_id=18))
    edited = [
        item(talk, next(numbers), text="[b]Ivan:[/b] [br]Before", user_id=18) for _ in talk.texts
    ]
    fire(stage, "ONIMCONNECTORMESSAGEADD", [*system, *named, *edited])
    for one, text in zip(edited, talk.texts, strict=True):
        one["message"] = {"text": f"[b]Ivan:[/b][br] {text}"}
    fire(stage, "ONIMCONNECTORMESSAGEUPDATE", edited)


def item(talk: Talk, number: int, **message: Any) -> dict[str, Any]:
    im = {"chat_id": talk.portal_chat, "message_id": number}
    return {"im": im, "message": message, "chat": {"id": talk.chat}}


def fire(stage: Stage, event: str, messages: list[dict[str, Any]]) -> None:
    data = {"CONNECTOR": "example_connector_1", "LINE": LINE, "MESSAGES": messages}
    assert stage.press("event", event=event, data=data, user_id=18)["posted"] == 1


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


def open_all(watch: Watch, stage: Stage, talks: list[Talk], most: int) -> None:
    """Each chat in the browser: as many bubbles as there must be, of their shape and words."""
    harmless = open_chat(watch, stage, talks[0].visitor, most)
    shapes = [{one["shape"] for one in kind} for kind in kinds_of(talks[0], harmless)]
    for talk in talks:
        found = open_chat(watch, stage, talk.visitor, most)
        kinds = kinds_of(talk, found)
        assert found["shape"] == harmless["shape"]
        assert [{one["shape"] for one in kind} for kind in kinds] == shapes
        sent, answers, system, named, edited = kinds
        for text, bubble, by in zip(talk.inputs, sent, named, strict=True):
            if text not in CODES:
                assert bubble["text"] == seen(text)
            if text not in CODES and "\n" not in text and len(text) <= 255:
                assert by["from"] == " ".join(seen(html.unescape(text)).split())
        if not set(CODES) & set(talk.inputs):
            texts = [seen(text) for text in talk.texts]
            assert [bubble["text"] for bubble in system] == texts
            assert [bubble["text"] for bubble in edited] == texts
            for text, bubble in zip(texts, answers, strict=True):
                assert bubble["text"].lstrip(" ").startswith(text.lstrip(" "))
        assert watch.seen == []
    assert watch.pictures


def kinds_of(talk: Talk, found: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The bubbles: visitor's, answers, automatic, with names and files, edited."""
    alone, together = len(talk.inputs), len(talk.texts)
    bubbles = iter(found["bubbles"])
    kinds = [[*islice(bubbles, size)] for size in (alone, together, together, alone, together)]
    assert [len(kind) for kind in kinds] == [alone, together, together, alone, together]
    assert not [*bubbles]
    return kinds


def test_there_are_many_and_all_differ() -> None:
    assert len(set(INPUTS)) == len(INPUTS) >= 150


def test_no_script_runs_in_any_bubble(stage: Stage, talks: list[Talk], watch: Watch) -> None:
    open_all(watch, stage, talks, most=60)


def test_parser_and_sanitizer_hold_without_the_policy(
    stage: Stage, talks: list[Talk], unprotected: Watch
) -> None:
    open_all(unprotected, stage, [talks[0], *talks[1::2]], most=2_000)


def test_the_portal_gets_what_was_typed_and_no_address_but_of_the_web(
    stage: Stage, talks: list[Talk]
) -> None:
    for talk in talks:
        wait_until(partial(all_arrived, stage, talk), 30, "the messages at the portal")
        assert stage.texts(talk.chat) == [text.replace("\r\n", "\n") for text in talk.inputs]
    sent = [one for call in stage.calls("imconnector.send.messages") for one in items_of(call)]
    pages = [one["chat"]["url"] for one in sent if "url" in one["chat"]]
    assert pages
    assert all(re.match("https?://", page) for page in pages)


def items_of(call: dict[str, Any]) -> list[dict[str, Any]]:
    messages = call["params"]["MESSAGES"]
    return list(messages.values()) if isinstance(messages, dict) else messages


def test_a_picture_without_https_is_neither_asked_for_nor_reported(
    stage: Stage, watch: Watch
) -> None:
    visitor = stage.visitor()
    talk = with_dialog(stage, Talk(visitor, visitor.send("Show me")["chat"]))
    text = "[img]http://evil.invalid/x.png[/img] [icon=http://evil.invalid/x.png title=x]"
    file = {"name": "x.png", "type": "image", "link": "http://evil.invalid/x.png"}
    add = item(talk, 20_000_000, text=text, files=[file], user_id=18)
    fire(stage, "ONIMCONNECTORMESSAGEADD", [add])
    visitor.wait_for("evil.invalid")

    open_chat(watch, stage, visitor)

    assert watch.seen == []


def test_a_time_in_a_text_is_not_taken_for_the_messages_own(stage: Stage, watch: Watch) -> None:
    visitor = stage.visitor()
    visitor.send("Since [timestamp=200000]")

    open_chat(watch, stage, visitor)

    times = watch.page.locator("article time")
    assert times.nth(0).get_attribute("datetime") == "1970-01-03T07:33:20Z"
    assert "January 1970 at" in times.nth(0).inner_text()
    assert watch.page.locator(".day").inner_text() == "Today"


# -- the visitor's own page


def test_nothing_runs_where_it_is_typed(stage: Stage, browser: Browser) -> None:
    harmless: dict[str, Any] = {}
    for texts in ((BENIGN,), *batched(INPUTS[::8], 45)):
        context = browser.new_context(locale="en-GB")
        watch = Watch(context)
        page = watch.page
        page.goto(f"{stage.chat}/")
        page.locator("live-chat[data-ready]").wait_for()

        shown = page.evaluate(TYPE, texts)

        one_line = [re.sub("[\r\n]", "", text[:100]).strip(SPACE) for text in texts]
        typed = [text.replace("\r\n", "\n") for text in texts]
        assert shown == [list(pair) for pair in zip(one_line, typed, strict=True)]
        page.wait_for_function(
            "n => document.querySelectorAll('.list [data-revision]').length === n", arg=len(texts)
        )
        found = audit(page)
        harmless = harmless or found
        assert found["shape"] == harmless["shape"]
        shapes = {bubble["shape"] for bubble in found["bubbles"]}
        assert shapes == {bubble["shape"] for bubble in harmless["bubbles"]}
        for text, bubble in zip(texts, found["bubbles"], strict=True):
            assert text in CODES or bubble["text"] == seen(text)
        assert watch.seen == []
        context.close()


# -- what pages and errors repeat


def forms(stage: Stage, text: str) -> list[tuple[str, dict[str, str]]]:
    """Requests whose answers could repeat `text`."""
    text = text[:300]  # gunicorn takes no longer addresses
    query = f"?LANG={quote(text)}&DOMAIN={quote(text)}&{quote(text)}={quote(text)}"
    handler, install = f"{stage.chat}/handler{query}", f"{stage.chat}/install{query}"
    ajax = f"{stage.chat}/ajax"
    claim = dict.fromkeys(("AUTH_ID", "REFRESH_ID", "AUTH_EXPIRES", "member_id", "status"), text)
    name = text[:100]

    def connect(**options: object) -> tuple[str, dict[str, str]]:
        given = {"PLACEMENT": "SETTING_CONNECTOR", "PLACEMENT_OPTIONS": json.dumps(options)}
        return handler, claim | given

    return [
        (ajax, {"type": "send_message", "name": name, "message": text, "email": "none"}),
        (ajax, {"type": text, "name": name, "message": text}),
        (ajax, {"type": "chat_history", "before": text, "name": name, "message": text}),
        (ajax, {"type": "send_message", "client_id": text, "name": name, "message": text}),
        (handler, {"event": text, "auth[application_token]": text, "data": text}),
        (handler, claim | {"PLACEMENT": text, "PLACEMENT_OPTIONS": text}),
        (handler, claim | {"PLACEMENT": "SETTING_CONNECTOR", "PLACEMENT_OPTIONS": text}),
        connect(LINE=text, CONNECTOR=text, ACTIVE_STATUS=text),
        connect(LINE=LINE, CONNECTOR=text, ACTIVE_STATUS=True),
        connect(LINE=LINE, CONNECTOR="example_connector_1", ACTIVE_STATUS=text),
        (install, claim | {"PLACEMENT": text, "APPLICATION_TOKEN": text}),
        (install, {"event": text, "auth[application_token]": text, "data": text}),
        (f"{stage.chat}/{quote(text, safe='')}", {text: text}),
    ]


def answers(page: Page, host: str, posts: list[tuple[str, dict[str, str]]]) -> list[dict[str, Any]]:
    page.goto(host)
    page.evaluate(POST, posts)
    frames = {frame.name: frame for frame in page.frames}
    found = []
    for index, (url, _) in enumerate(posts):
        frame = frames[f"f{index}"]
        assert frame.url.startswith("http"), url
        found.append(audit(frame) | frame.evaluate(FIELDS))
    return found


# -- settings, and a portal that lies


TOKEN = "a" * 70
CLAIM = {"AUTH_ID": TOKEN, "REFRESH_ID": "b", "AUTH_EXPIRES": "3600", "member_id": "c"}


class LyingPortal(BaseHTTPRequestHandler):
    """A portal whose every text is hostile: it refuses, and says why in our own words."""

    refuses = True

    def do_GET(self) -> None:
        self._answer(200, "text/html; charset=utf-8", b"<body>")

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        method = self.path.removeprefix("/rest/").removesuffix(".json")
        answer: Any = {"result": True}
        if form["auth"] != [TOKEN]:
            answer = {"error": POLYGLOT, "error_description": POLYGLOT}
        elif method == "app.info":
            answer = {"result": {"CODE": CLIENT_ID, "INSTALLED": True, "STATUS": POLYGLOT}}
        elif method == "profile":
            answer = {"result": {"ADMIN": True, "ID": "1", "NAME": POLYGLOT}}
        elif method == "event.get":
            answer = {"result": []}
        elif method == "imconnector.send.messages":
            texts = [value[0] for key, value in form.items() if key.endswith("[message][text]")]
            items = [{"SUCCESS": False, "ERRORS": [text]} for text in texts]
            answer = {"result": {"SUCCESS": True, "DATA": {"RESULT": items}}}
        elif method == "imconnector.register" and LyingPortal.refuses:
            answer = {"error": POLYGLOT, "error_description": POLYGLOT}
        status = 400 if "error" in answer else 200
        self._answer(status, "application/json", json.dumps(answer).encode())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def rude_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The application with hostile settings, at a portal that lies."""
    portal = ThreadingHTTPServer((HOST, 0), LyingPortal)
    threading.Thread(target=portal.serve_forever, daemon=True).start()
    address = f"http://{HOST}:{portal.server_port}"
    settings = {
        "SITECHAT_BITRIX24__PORTAL": address,
        "SITECHAT_CHAT__SITES": json.dumps([address]),
        "SITECHAT_LIMITS__INSTALLS_PER_MINUTE": "1000000",
        "SITECHAT_CHAT__TITLE": POLYGLOT,
        "SITECHAT_CONNECTOR__NAME": POLYGLOT,
        "SITECHAT_CONNECTOR__WIDGET_NAME": POLYGLOT,
    }
    with Stage(tmp_path_factory.mktemp("rude"), 1, **settings) as stage:
        yield stage
    portal.shutdown()
    portal.server_close()


@pytest.mark.parametrize("policy", [True, False], ids=["with the policy", "without it"])
def test_nothing_runs_that_an_answer_repeats(
    rude_stage: Stage, watch: Watch, unprotected: Watch, policy: bool
) -> None:
    watch = watch if policy else unprotected
    host = portal_of(rude_stage)  # may frame all our pages
    harmless = answers(watch.page, host, forms(rude_stage, BENIGN))
    kinds = cycle(pair for other in range(1, len(harmless)) for pair in (0, other))
    texts = (text[:300] for text in INPUTS[:: 10 if policy else 20])
    chosen = list(zip(texts, kinds, strict=False))
    for some in batched(chosen, 40):
        found = answers(watch.page, host, [forms(rude_stage, text)[kind] for text, kind in some])
        for (text, kind), answer in zip(some, found, strict=True):
            assert (kind, answer["kind"]) == (kind, harmless[kind]["kind"])
            assert (kind, answer["shape"]) == (kind, harmless[kind]["shape"])
            if harmless[kind]["message"] is not None:
                assert answer["message"] == text.replace("\r\n", "\n")
                assert answer["name"] == re.sub("[\r\n]", "", text[:100])
        assert watch.seen == []


def portal_of(stage: Stage) -> str:
    return f"{stage.settings['SITECHAT_BITRIX24__PORTAL']}/"


def post_from(page: Page, host: str, url: str, fields: dict[str, str]) -> str:
    """Post a form as the portal's slider does and give back what the page says."""
    answer = answers(page, host, [(url, fields)])
    assert answer[0]["kind"] == "text/html"
    return page.frames[1].locator("body").inner_text()


def test_settings_and_what_the_portal_says_are_shown_as_they_are(
    rude_stage: Stage, watch: Watch
) -> None:
    page = watch.page
    post = partial(post_from, page, portal_of(rude_stage))
    options = {"LINE": LINE, "CONNECTOR": "example_connector_1", "ACTIVE_STATUS": True}
    install, handler = f"{rude_stage.chat}/install", f"{rude_stage.chat}/handler"

    LyingPortal.refuses = True
    refused = post(install, CLAIM | {"PLACEMENT": "DEFAULT"})
    code = code_of(POLYGLOT, 200)  # one word, and not too long
    assert f"Bitrix24 refuses imconnector.register: {code}. {POLYGLOT}" in refused

    LyingPortal.refuses = False
    answer = requests.post(install, CLAIM | {"PLACEMENT": "DEFAULT"}, timeout=30)
    assert (
        f"The connector {html.escape(POLYGLOT)}".replace("&#x27;", "&#39;").replace(
            "&quot;", "&#34;"
        )
        in answer.text
    )
    placement = {"PLACEMENT": "SETTING_CONNECTOR", "PLACEMENT_OPTIONS": json.dumps(options)}
    assert f"{POLYGLOT} is connected to open line {LINE}." in post(handler, CLAIM | placement)
    assert POLYGLOT in post(handler, CLAIM | {"PLACEMENT": "DEFAULT"})
    page.goto(install)
    audit(page)
    assert POLYGLOT not in page.locator("body").inner_text()

    page.goto(f"{rude_stage.chat}/")
    audit(page)
    assert page.title() == POLYGLOT
    assert page.locator("h1").inner_text() == POLYGLOT
    assert watch.seen == []


def test_the_portals_reasons_are_shown_as_they_are(rude_stage: Stage, watch: Watch) -> None:
    LyingPortal.refuses = False
    options = {"LINE": LINE, "CONNECTOR": "example_connector_1", "ACTIVE_STATUS": True}
    placement = {"PLACEMENT": "SETTING_CONNECTOR", "PLACEMENT_OPTIONS": json.dumps(options)}
    for path, fields in (("install", {"PLACEMENT": "DEFAULT"}), ("handler", placement)):
        answer = requests.post(f"{rude_stage.chat}/{path}", CLAIM | fields, timeout=30)
        assert "successfully" in answer.text
    visitor = rude_stage.visitor()
    texts = [text for text in TYPED[::5] if len(text) < 300]
    for text in texts:
        visitor.send(text)
    wait_until(lambda: visitor.history().count('data-state="refused"') == len(texts), 20)

    found = open_chat(watch, rude_stage, visitor)

    assert [bubble["text"] for bubble in found["bubbles"]] == [seen(text) for text in texts]
    for text, bubble in zip(texts, found["bubbles"], strict=True):
        assert text in bubble["reason"]
    assert watch.seen == []


# -- long texts


def send_long(stage: Stage, talk: Talk, names: Iterable[str], numbers: Iterator[int]) -> None:
    """Each text in an event of its own, answered in time."""
    state = stage.state()
    for name in names:
        form = {
            "event": "ONIMCONNECTORMESSAGEADD",
            "data[CONNECTOR]": "example_connector_1",
            "data[LINE]": str(LINE),
            "data[MESSAGES][0][im][chat_id]": str(talk.portal_chat),
            "data[MESSAGES][0][im][message_id]": str(next(numbers)),
            "data[MESSAGES][0][message][user_id]": "18",
            "data[MESSAGES][0][message][text]": LONG[name],
            "data[MESSAGES][0][chat][id]": talk.chat,
            "auth[application_token]": state["application_token"],
            "auth[member_id]": state["member_id"],
        }
        began = time.monotonic()
        answer = requests.post(f"{stage.chat}/handler", form, timeout=30)
        assert (name, answer.status_code) == (name, 200)
        assert time.monotonic() - began < 2, name


def test_long_hostile_texts_are_answered_in_time_and_shown(stage: Stage, watch: Watch) -> None:
    stage.trouble(limit=False)
    assert all(len(text) >= LENGTH * 0.9 for text in LONG.values())
    numbers = count(30_000_000)
    harmless: dict[str, Any] = {}
    for names in [(), *batched(LONG, 8)]:
        visitor = stage.visitor()
        talk = with_dialog(stage, Talk(visitor, visitor.send("Tell me more")["chat"]))
        send_long(stage, talk, names, numbers)
        found = open_chat(watch, stage, visitor, most=30)
        harmless = harmless or found
        assert len(found["bubbles"]) == 1 + len(names)
        assert found["shape"] == harmless["shape"]
        assert watch.page.locator(".send").is_visible()
        assert watch.seen == []


# -- the sandbox's desk


def test_the_desk_of_the_sandbox_shows_what_visitors_typed(
    stage: Stage, talks: list[Talk], watch: Watch
) -> None:
    page = watch.page
    page.goto(f"{stage.portal}/desk")
    for talk in talks[::6]:
        page.locator(f'[data-dialog="{talk.chat}"]').click()
        own = page.locator("[data-message].visitor .text")
        page.wait_for_function(
            "text => document.querySelector('.visitor .text')?.textContent === text",
            arg=talk.inputs[0].replace("\r\n", "\n"),
        )
        assert own.evaluate_all("all => all.map(one => one.textContent)") == [
            text.replace("\r\n", "\n") for text in talk.inputs
        ]
        assert page.locator("#messages .text *").count() == 0
        assert page.locator("#dialogs :is(script, img, svg, iframe, a)").count() == 0
    assert watch.seen == []


# -- the watch itself


PLANTS = {
    "a script": "<script>xss()</script>",
    "a handler": "<img src=x onerror=xss()>",
    "a link": "<div class=log><a href='javascript:xss()'>x</a></div>",
    "a link to a new window": "<div class=log><a target=_blank href='javascript:xss()'>x</a></div>",
    "a hover": "<div class=log><b onmouseover=xss()>x</b></div>",
    "a focus": "<div class=log><b tabindex=0 onfocus=xss()>x</b></div>",
    "a dialog": "<script>alert(1)</script>",
    "a frame": "<iframe srcdoc='<script>xss()</script>'></iframe>",
    "an animation": "<svg><animate onbegin=xss() attributeName=x dur=1s></svg>",
}


@pytest.mark.parametrize("name", PLANTS)
def test_the_watch_sees_a_script(stage: Stage, watch: Watch, name: str) -> None:
    plant(watch, f"{stage.chat}/planted", PLANTS[name])

    watch.page.evaluate(PROVOKE, 100)

    wait_for_seen(watch, 1)


def test_the_watch_sees_popups_other_hosts_and_reports(stage: Stage, watch: Watch) -> None:
    policy = {"Content-Security-Policy": "default-src 'none'"}
    plant(watch, f"{stage.chat}/planted", "<img src=//evil.invalid/x><script>open('')</script>")
    plant(watch, f"{stage.chat}/guarded", "<script>xss()</script>", policy)

    assert {kind for kind, _ in watch.seen} == {"request", "popup", "report", "console"}


def test_the_audit_sees_what_may_not_stand_in_a_bubble(stage: Stage, watch: Watch) -> None:
    plant(
        watch,
        f"{stage.chat}/planted",
        "<p class=body><b>x</b><a href='data:x'>x</a><em onclick=x></em><i style=x:y></i></p>",
    )

    faults = watch.page.evaluate(AUDIT)["faults"]

    assert {"<B> in a bubble", "A href=data:x", "EM onclick=x"} <= set(faults)


def plant(watch: Watch, url: str, body: str, headers: dict[str, str] | None = None) -> None:
    watch.page.route(
        url, lambda route: route.fulfill(content_type="text/html", body=body, headers=headers or {})
    )
    watch.page.goto(url)
    watch.page.wait_for_timeout(50)


def wait_for_seen(watch: Watch, times: int) -> None:
    for _ in range(100):
        if watch.count("ran") >= times:
            return
        watch.page.wait_for_timeout(30)
    raise AssertionError(watch.seen)


PUT = "html => { document.querySelector('.list').innerHTML += html }"


def test_the_policy_alone_would_stop_a_script_in_the_chat(stage: Stage, watch: Watch) -> None:
    open_chat(watch, stage, stage.visitor())

    watch.page.evaluate(PUT, '<img src="x" onerror="xss()"><a href="javascript:xss()">x</a>')
    watch.page.evaluate(PROVOKE, 100)

    assert watch.count("ran") == 0
    assert watch.count("report") >= 2


def test_without_parser_and_policy_it_would_run(stage: Stage, unprotected: Watch) -> None:
    open_chat(unprotected, stage, stage.visitor())

    unprotected.page.evaluate(PUT, '<img src="x" onerror="xss()"><a href="javascript:xss()">x</a>')
    unprotected.page.evaluate(PROVOKE, 100)

    wait_for_seen(unprotected, 2)
