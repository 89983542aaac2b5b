"""What a process has rendered is never shown out of date, and takes a bounded room.

Two applications share a store: one has shown all before, the other one begins anew and has kept
nothing. Whatever happens in between, both must show the same.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from apps import services_of, storage_in
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from operations import page_settings
from settings import LimitsSettings, Settings
from storage import Store
from store.records import Message, OperatorMessage
from texts import Texts
from web import bubbles, history
from web.kept import Kept

ROOT = Path(__file__).parent.parent
OTHER = "chat" + "0" * 64


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(page_settings, "LOOK_SECONDS", 0.0)
    return tmp_path


@pytest.fixture
def app(folder: Path) -> Iterator[Flask]:
    app = new_app(folder)
    yield app
    services_of(app).store.close()


def new_app(folder: Path) -> Flask:
    limits = LimitsSettings(visitor_per_minute=100_000)
    return create_app(Settings(storage=storage_in(folder), limits=limits))


def send(client: FlaskClient, text: str, name: str = "Anna") -> str:
    """Returns the chat's id."""
    fields = {"type": "send_message", "name": name, "message": text}
    answer = client.post("/ajax", data=fields)
    assert answer.status_code == 200
    return str(answer.get_json()["chat"])


def cookie_of(client: FlaskClient) -> str:
    cookie = client.get_cookie("sitechat")
    assert cookie is not None
    return cookie.value


def shown(client: FlaskClient) -> list[str]:
    """All that shows the conversation, in two languages."""
    stream = "/ajax?type=chat_stream&once=1"
    answers = [
        client.post(f"/ajax?lang={language}", data={"type": "chat_history", **more})
        for language in ("en", "ru")
        for more in ({}, {"limit": 2})
    ]
    answers += [client.get("/?lang=en"), client.get("/?lang=ru"), client.get(stream)]
    return [re.sub(r'nonce="[^"]*"', "nonce", answer.text) for answer in answers]


def shown_anew(folder: Path, cookie: str) -> list[str]:
    app = new_app(folder)
    client = app.test_client()
    client.set_cookie("sitechat", cookie)
    try:
        return shown(client)
    finally:
        services_of(app).store.close()


def answer(chat: str, number: int, text: str, **other: object) -> OperatorMessage:
    message = OperatorMessage(chat, 7, 5120, number, "operator", "Olga", text, f"<p>{text}</p>")
    return replace(message, **other)  # type: ignore[arg-type]


def last(store: Store, chat: str) -> Message:
    return store.conversations.latest(chat, None, 1)[0]


def sql(store: Store, statement: str, *values: object) -> None:
    with store.database.write() as db:
        db.execute(statement, values)


def render_again(store: Store, chat: str) -> None:
    store.rendering.renderer += 1
    store.rendering.save_rendered({last(store, chat): ("<p>new HTML</p>", "")})


def edit(store: Store, chat: str) -> None:
    store.messages.edit(answer(chat, 3, "edited"), time.time(), 5)


def edit_to_the_same(store: Store, chat: str) -> None:
    store.messages.edit(answer(chat, 3, "three"), time.time(), 5)


def forget_the_portals_ids(store: Store, _: str) -> None:
    sql(store, "update messages set im_message_id = null, im_chat_id = null")


def join(store: Store, chat: str) -> None:
    """A chat of before the log-in becomes a part of this one."""
    store.messages.add_from_operators([answer(OTHER, 99, "of a part")], time.time())
    assert store.chats.make_part(OTHER, chat)


CHANGES: dict[str, Callable[[Store, str], object]] = {
    "nothing": lambda *_: None,
    "an answer": lambda store, chat: store.messages.add_from_operators(
        [answer(chat, 9, "nine")], time.time()
    ),
    "an answer between others": lambda store, chat: store.messages.add_from_operators(
        [answer(chat, 2, "two")], time.time()
    ),
    "an edit": edit,
    "an edit that changes no text": edit_to_the_same,
    "a deletion": lambda store, chat: store.messages.take_back(answer(chat, 3, ""), time.time()),
    "a question for a vote": lambda store, chat: store.messages.add_from_operators(
        [answer(chat, 4, "Were we of help?", asks_vote=True)], time.time()
    ),
    "HTML of a newer renderer": render_again,
    "another portal": forget_the_portals_ids,
    "places moved": lambda store, _: sql(
        store, "update messages set position = position - 1 where author = 'visitor'"
    ),
    "a message that was kept long enough": lambda store, _: sql(
        store, "delete from messages where text = 'one'"
    ),
    "a chat that is joined": join,
    "a store put back from a backup": lambda store, _: store.epochs.begin(0.0, "restored"),
    "the chat deleted": lambda store, chat: store.chats.delete(chat, time.time()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_shown_before_is_shown_as_it_is_now(app: Flask, folder: Path, change: str) -> None:
    client, store = app.test_client(), services_of(app).store
    send(client, "one")
    chat = send(client, "0 it was no help")
    store.messages.add_from_operators([answer(chat, 3, "three")], time.time())
    send(client, "1")
    before = shown(client)

    CHANGES[change](store, chat)

    now = shown(client)
    assert now == shown_anew(folder, cookie_of(client))
    assert (now == before) is (change == "nothing")


def test_the_next_state_of_a_message_is_shown_in_every_process(app: Flask, folder: Path) -> None:
    other = new_app(folder)
    client, store = app.test_client(), services_of(other).store
    chat = send(client, "one")
    before = shown(client)
    sql(store, "update messages set state = 'refused', error = 'X', revision = revision + 1")
    sql(store, "update meta set value = value + 1 where key = 'revision'")

    assert shown(client) == shown_anew(folder, cookie_of(client)) != before
    assert last(store, chat).state == "refused"
    store.close()


@pytest.mark.parametrize(
    "values",
    [
        {"chat.title": "Ask us"},
        {"chat.greeting": "Welcome\nto us"},
        {"chat.accent": "#c8102e"},
        {"chat.language": "ru"},
        {"chat.consent": "I agree", "chat.consent_link": "https://site.example/privacy"},
        {"chat.sites": "https://shop.example"},
    ],
)
def test_the_page_follows_the_settings(app: Flask, folder: Path, values: dict[str, str]) -> None:
    client = app.test_client()

    def pages(client: FlaskClient) -> list[str]:
        found = [client.get(path).text for path in ("/", "/?embed=1", "/?embed=1&lang=ru")]
        return [re.sub(r'nonce="[^"]*"', "nonce", text) for text in found]

    before = pages(client)
    services_of(app).save_page_settings(values)

    other = new_app(folder)
    assert pages(client) == pages(other.test_client()) != before
    services_of(other).store.close()


def test_each_page_has_a_nonce_of_its_own(app: Flask) -> None:
    client = app.test_client()
    services_of(app).save_page_settings({"chat.accent": "#c8102e"})
    nonces = set()
    for _ in range(2):
        page = client.get("/")
        (nonce,) = re.findall(r'<style nonce="([^"]+)">', page.text)
        assert f"'nonce-{nonce}'" in page.headers["Content-Security-Policy"]
        nonces.add(nonce)

    assert len(nonces) == 2


def test_what_is_a_visitors_own_is_on_their_page_alone(app: Flask) -> None:
    """Both pages look the same, and one is rendered."""
    anna, eve = app.test_client(), app.test_client()
    send(anna, "from Anna", 'Anna "<b>')
    send(eve, "from Eve", "Eve")

    for client, name, text in (
        (anna, "Anna &#34;&lt;b&gt;", "from Anna"),
        (eve, "Eve", "from Eve"),
        (anna, "Anna &#34;&lt;b&gt;", "from Anna"),
    ):
        page = client.get("/").text
        assert re.findall(r'name="name" type="text" value="([^"]*)"', page) == [name]
        assert re.findall(r"from (?:Anna|Eve)", page) == [text]
        assert "hole" not in page


def test_what_a_visitor_has_typed_wrongly_is_not_kept(app: Flask) -> None:
    client = app.test_client()
    fields = {"type": "send_message", "name": "Anna", "message": "too long " * 3_000}
    answer = client.post("/ajax", data=fields, headers={"Accept": "text/html"})

    assert (answer.status_code, answer.text.count('class="alert" role="alert">')) == (400, 2)
    assert "too long" in answer.text
    assert "too long" not in client.get("/").text


def test_a_message_is_rendered_once_for_all_that_show_it(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = app.test_client()
    for text in ("one", "two", "three"):
        send(client, text)
    rendered: list[str] = []
    row_of = bubbles.message_row

    def counted(message: Message, texts: Texts) -> dict[str, Any]:
        rendered.append(message.text)
        return row_of(message, texts)

    monkeypatch.setattr(bubbles, "message_row", counted)

    for _ in range(2):
        shown(client)

    assert sorted(rendered) == sorted(["one", "two", "three"] * 2), "once in each language"


def test_a_history_is_put_together_once_for_each_state(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, client = [], app.test_client()

    def joined(*values: Any) -> history.History:
        made.append(values)
        return original(*values)

    original = history.joined
    monkeypatch.setattr(history, "joined", joined)
    for count in (1, 2):
        send(client, "hello")
        made.clear()
        client.post("/ajax", data={"type": "chat_history"})  # makes the HTML of the message
        for _ in range(3):
            shown = client.post("/ajax", data={"type": "chat_history"}).text
            assert shown.count("</article>") == count
        assert len(made) == 1


def test_a_poll_that_finds_nothing_is_empty(app: Flask) -> None:
    client = app.test_client()
    send(client, "one")
    stream = "/ajax?type=chat_stream&once=1"
    (latest,) = re.findall(r"^id: (\S+)$", client.get(stream).text, re.MULTILINE)

    answer = client.get(stream, headers={"Last-Event-ID": latest})

    assert (answer.status_code, answer.data, answer.content_length) == (200, b"", 0)
    assert answer.mimetype == "text/event-stream"
    assert answer.headers["X-Chat-Id"].startswith("chat")


# -- the room that it takes


def test_the_oldest_goes_where_the_room_ends() -> None:
    kept: Kept[int, str] = Kept(100)
    for number in range(10):
        kept.put(number, "a", 30)

    assert [number for number in range(10) if kept.get(number)] == [7, 8, 9]

    kept.put(10, "too large", 101)
    kept.put(8, "again", 30)
    assert [kept.get(number) for number in (7, 8, 9, 10)] == ["a", "again", "a", None]
    kept.put(11, "b", 90)
    assert [number for number in range(12) if kept.get(number)] == [11]


def test_many_threads_may_keep_at_once() -> None:
    kept: Kept[int, int] = Kept(1_000)

    def work(first: int) -> None:
        for number in range(2_000):
            kept.put((first + number) % 500, number, 10)
            kept.get(number % 500)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(kept) == 100


def test_long_messages_take_no_more_room_than_short_ones(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bubbles, "KEPT_BYTES", 60_000)
    client = app.test_client()
    for _ in range(6):
        send(client, "a" * 20_000)

    html = client.post("/ajax", data={"type": "chat_history"}).text

    assert html.count("</article>") == 6
    assert len(app.extensions["sitechat.bubbles"]) == 2


# -- what a version of a message has to name

# Written in the same transaction as another statement that gives the revision.
WITH_ANOTHER = {"text = ?, html = ?, renderer = ?", "state = ?, error = ?", "revision = ?"}


def test_each_change_of_a_message_is_seen_in_its_version() -> None:
    """A new statement that changes messages gives a revision, or changes what a Version has."""
    statement = re.compile(r"update messages set (.*?) (?:where|\()", re.DOTALL)
    for file in (ROOT / "store").glob("*.py"):
        if file.name == "schema.py":
            continue
        source = re.sub(r'"\s*f?"', "", file.read_text("utf-8"))
        for change in statement.findall(source + " where"):
            columns = set(re.findall(r"(\w+) = ", change))
            is_seen = columns & {"revision", "renderer", "position", "edited", "im_message_id"}
            assert is_seen or change in WITH_ANOTHER, f"{file.name}: {change}"
