"""No script ever runs: the hostile inputs of hostile.py through every door, in a real browser.

Each goes in as a visitor's message, name and page and as an operator's text, edit, name, file,
address and parameter. What came of it is loaded, clicked, hovered and focused: nothing may run, be
reported by the Content-Security-Policy, leave its bubble or reach another host. The same again
without the policy, so that parser and sanitizer hold alone.
"""

import html
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, islice
from typing import Any

import pytest
import requests
from hostile import CODES, INPUTS, LENGTH, LONG, PLACE, PLACES
from pages import until
from playwright.sync_api import Browser
from stage import LINE, Stage, Visitor, wait_until
from xss_parts import BENIGN, Watch, audit, batched, open_chat, seen

INPUTS_A_CHAT = 60  # 180 bubbles: a page shows the last 50, and the others when asked
TOGETHER = 3  # inputs in one text, where each has been alone in another
SPACE = "\t\v\f \u00a0\u2003\u2028\u2029\ufeff"  # what a script trims off

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


def open_all(watch: Watch, stage: Stage, talks: list[Talk], most: int) -> None:
    """Each chat in the browser: as many bubbles as there must be, of their shape and words."""
    harmless = open_chat(watch, stage, talks[0].visitor, most)
    shapes = [{one["shape"] for one in kind} for kind in kinds_of(talks[0], harmless)]
    for talk in talks:
        found = harmless if talk is talks[0] else open_chat(watch, stage, talk.visitor, most)
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
    open_all(watch, stage, talks, most=120)


def test_parser_and_sanitizer_hold_without_the_policy(
    stage: Stage, talks: list[Talk], unprotected: Watch
) -> None:
    open_all(unprotected, stage, [talks[0], *talks[1::2]], most=4_000)


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
        until(
            page,
            "n => document.querySelectorAll('.list [data-revision]').length === n",
            arg=len(texts),
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
    for talk in talks[::3]:
        page.locator(f'[data-dialog="{talk.chat}"]').click()
        own = page.locator("[data-message].visitor .text")
        until(
            page,
            "text => document.querySelector('.visitor .text')?.textContent === text",
            arg=talk.inputs[0].replace("\r\n", "\n"),
        )
        assert own.evaluate_all("all => all.map(one => one.textContent)") == [
            text.replace("\r\n", "\n") for text in talk.inputs
        ]
        assert page.locator("#messages .text *").count() == 0
        assert page.locator("#dialogs :is(script, img, svg, iframe, a)").count() == 0
    assert watch.seen == []
