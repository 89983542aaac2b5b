"""What pages and errors repeat of hostile requests, settings and portals stays a text."""

import html
import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from typing import Any
from urllib.parse import parse_qs, quote

import pytest
import requests
from hostile import INPUTS, TYPED
from pages import until
from playwright.sync_api import Page
from stage import CLIENT_ID, HOST, LINE, Stage, wait_until
from xss_parts import BENIGN, Watch, audit, batched, open_chat, seen

from rest.errors import code_of

POLYGLOT = "</script></title></h1>\"'><img src=x onerror=xss()><script>xss()</script>{{7*7}}{name}"

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

READY = "() => document.querySelector('live-chat')?.hasAttribute('data-ready') ?? true"
FIELDS = """() => ({
  kind: document.contentType,
  name: document.querySelector("#name")?.value,
  message: document.querySelector("#message")?.value,
})"""


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
        until(frame, READY)
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
        f"choose {html.escape(POLYGLOT)}".replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
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
        assert answer.status_code == 200  # what such a portal says of us is no success
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
