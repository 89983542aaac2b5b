"""What a visitor reads comes in answers of a bounded size, and a save is never in memory whole."""

import gc
import re
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from apps import services_of, storage_in
from flask import Flask
from flask.testing import FlaskClient
from stage import wait_until
from werkzeug.test import TestResponse

from app import create_app
from rates import Rates
from services import Services
from settings import LimitsSettings, Settings
from store.database import StoreUnavailable
from store.records import Message
from web import saving
from web.bubbles import HISTORY, Bubbles

SOMEBODY = {"REMOTE_ADDR": "203.0.113.7"}
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 400
LONG = "http://a " * 2_000  # more than 150,000 letters of HTML


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    storage = storage_in(tmp_path)
    limits = LimitsSettings(visitor_per_minute=100_000)
    return create_app(Settings(storage=storage, limits=limits))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def send(client: FlaskClient, *texts: str) -> None:
    for text in texts:
        fields = {"type": "send_message", "name": "Anna", "message": text}
        assert client.post("/ajax", data=fields).status_code == 200


def read(client: FlaskClient, **fields: object) -> str:
    answer = client.post("/ajax", data={"type": "chat_history", **fields})
    assert answer.status_code == 200
    return answer.text


def test_a_history_says_how_many_messages_it_has_so_that_a_cut_one_is_known(
    client: FlaskClient,
) -> None:
    def counts(**fields: object) -> tuple[str | None, int]:
        answer = client.post("/ajax", data={"type": "chat_history", **fields})
        return answer.headers.get("X-Chat-Messages"), answer.text.count("</article>")

    assert counts() == ("0", 0)
    send(client, "one", "</article> <article>", "[article]three[/article]", "four")
    assert counts() == ("4", 4)
    assert counts(limit=3) == ("3", 3)
    ids = re.findall(r'data-id="(\d+)"', read(client))
    assert counts(before=ids[2]) == ("2", 2)


def pages(client: FlaskClient) -> list[list[str]]:
    """The ids of all messages, page by page as the chat page asks for them, the newest first."""
    found: list[list[str]] = []
    html = read(client)
    while ids := re.findall(r'data-id="(\d+)"', html):
        found.append(ids)
        if "data-older" not in html:
            return found
        assert html.index("data-older") < html.index("</article>"), "it is not the first that tells"
        html = read(client, before=ids[0])
    return found


# -- the history


def test_all_messages_are_reached_however_long_they_are(client: FlaskClient) -> None:
    send(client, *["short"] * 7, LONG, LONG, "short", LONG, *["short"] * 60)

    found = pages(client)

    ids = [int(one) for page in reversed(found) for one in page]
    assert ids == sorted({*ids})
    assert len(ids) == 71
    assert max(map(len, found)) == HISTORY
    assert [len(page) for page in found] == [50, 10, 1, 1, 1, 1, 7]
    assert max(len(read(client, before=page[-1])) for page in found) < 2 * 193_000


def test_a_short_conversation_has_nothing_older(client: FlaskClient) -> None:
    send(client, *["short"] * 50)
    assert "data-older" not in read(client)
    assert "data-older" in read(client, limit=49)

    send(client, "one more")
    assert "data-older" in read(client)


def test_the_page_without_scripts_reaches_them_too(client: FlaskClient) -> None:
    send(client, "the oldest one", LONG, LONG)
    before, texts = "", []
    for _ in range(3):
        html = client.get(f"/?{before}").text
        texts.append(html)
        link = re.search(r'class="older" href="/\?before=(\d+)"(?! hidden)', html)
        before = f"before={link[1]}" if link else ""

    assert "the oldest one" not in texts[0] + texts[1]
    assert "the oldest one" in texts[2]
    assert not before


def test_a_stream_that_ends_gives_as_many_changes_as_before(client: FlaskClient) -> None:
    send(client, *(f"{number}." for number in range(60)))

    answer = client.get("/ajax?type=chat_stream&once=1", headers={"Last-Event-ID": "0"})

    assert re.findall(r"(\d+)\.</div>", answer.text) == [str(number) for number in range(50)]


def test_a_vote_in_a_stream_is_told_by_the_question_before_it(app: Flask) -> None:
    client = app.test_client()
    send(client, "1")
    services = services_of(app)
    with services.store.database.write() as db:
        db.execute("update messages set author = 'operator', asks_vote = 1")
    send(client, "0", "1")

    answer = client.get("/ajax?type=chat_stream&once=1", headers={"Last-Event-ID": "0"})

    assert re.findall(r'message visitor( voted)?"', answer.text) == [" voted", ""]


# -- how often


@pytest.mark.parametrize("ask", ["history", "stream", "page"])
def test_who_reads_without_end_is_told_to_wait(app: Flask, ask: str) -> None:
    app.extensions["sitechat"] = replace(services_of(app), reading=Rates(5, 0.001))
    client = app.test_client()
    send(client, "Hello")
    requests = {
        "history": lambda **more: client.post("/ajax", data={"type": "chat_history"}, **more),
        "stream": lambda **more: client.get("/ajax?type=chat_stream&once=1", **more),
        "page": lambda **more: client.get("/", **more),
    }

    answers = [requests[ask](environ_overrides=SOMEBODY) for _ in range(6)]

    statuses = [answer.status_code for answer in answers]
    assert statuses == [200] * 5 + [429]
    assert 990 <= int(answers[-1].headers["Retry-After"]) <= 1000
    assert requests[ask]().status_code == 200, "an address that tells nothing is not limited"


PLAIN = {"Accept": "text/html"}
ONE_TEXT = "what was said"


def plain_form(client: FlaskClient, **fields: str) -> tuple[int, bool]:
    """The status of the page that a browser without scripts gets, and whether it has a history."""
    answer = client.post("/ajax", data=fields, headers=PLAIN, environ_overrides=SOMEBODY)
    assert "</html>" in answer.text
    return answer.status_code, ONE_TEXT in answer.text


def test_a_plain_form_reads_as_seldom_as_everybody(app: Flask) -> None:
    app.extensions["sitechat"] = replace(services_of(app), reading=Rates(4, 0.001))
    client = app.test_client()
    send(client, ONE_TEXT)

    asks = [plain_form(client, type="delete_conversation") for _ in range(2)]
    wrong = [plain_form(client, type="send_message", message="") for _ in range(4)]
    later = [plain_form(client, type="delete_conversation") for _ in range(2)]
    saves = [plain_form(client, type="save_conversation") for _ in range(2)]

    assert asks == [(200, True)] * 2
    assert wrong == [(400, True)] * 2 + [(400, False)] * 2, "what is wrong is said all the same"
    assert later == saves == [(429, False)] * 2


def test_who_may_not_ask_so_often_is_told_without_the_history(app: Flask) -> None:
    limits = services_of(app).settings.limits.model_copy(update={"visitor_per_minute": 1})
    settings = services_of(app).settings.model_copy(update={"limits": limits})
    app.extensions["sitechat"] = replace(services_of(app), settings=settings)
    client = app.test_client()
    send(client, ONE_TEXT)

    told = plain_form(client, type="send_message", message="one more")

    assert told == (429, False)


# -- what is not read


def messages_in_memory() -> int:
    """Those of other tests, which somebody may still hold, included."""
    gc.collect()
    return sum(isinstance(one, Message) for one in gc.get_objects())


@pytest.mark.parametrize("more", ["", "&once=1"])
@pytest.mark.parametrize("by", ["a visitor", "a customer"])
def test_a_stream_that_is_not_read_holds_one_event_as_bytes(
    app: Flask, more: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = app.test_client()
    before = messages_in_memory()
    send(client, *["short"] * 4)
    if by == "a customer":  # whose log-out would end the stream
        with client.session_transaction() as session:
            session["login"] = "a" * 32
    answer = client.get(
        f"/ajax?type=chat_stream{more}", headers={"Last-Event-ID": "0"}, buffered=False
    )
    assert answer.status_code == 200
    events = answer.iter_encoded()

    read = b""
    while read.count(b"short") < 3:
        read += next(events)
        assert messages_in_memory() <= before
    answer.close()


def test_a_page_of_another_store_is_not_given_all_at_once(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its stream begins is found without reading the messages."""
    client = app.test_client()
    send(client, *(f"{number}." for number in range(60)))
    monkeypatch.setattr(services_of(app).store.conversations, "latest", None)

    answer = client.get(
        "/ajax?type=chat_stream&once=1", headers={"Last-Event-ID": "another.9"}, buffered=False
    )

    assert re.findall(r"(\d+)\.</div>", answer.text) == [str(number) for number in range(10, 60)]


@pytest.mark.parametrize("kind", ["stream", "save"])
def test_an_answer_that_fails_before_it_begins_takes_no_place(
    app: Flask, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = services_of(app)
    client = app.test_client()
    send(client, "short")
    asks: dict[str, Callable[[], TestResponse]] = {
        "stream": lambda: client.get("/ajax?type=chat_stream", environ_overrides=SOMEBODY),
        "save": lambda: client.post(
            "/ajax", data={"type": "save_conversation"}, environ_overrides=SOMEBODY
        ),
    }

    def broken(*_: object) -> None:
        raise StoreUnavailable("the disk is away")

    with monkeypatch.context() as patch:
        patch.setattr(Bubbles, "of_request", broken)
        patch.setattr(saving, "Conversation", broken)
        assert [asks[kind]().status_code for _ in range(3)] == [503] * 3

    assert services.live._places.total() == 0
    assert len(services.saves) == 0


# -- saving


def save(client: FlaskClient) -> str:
    answer = client.post("/ajax", data={"type": "save_conversation"})
    assert answer.status_code == 200
    return answer.text


def upload(client: FlaskClient, picture: Path) -> None:
    picture.write_bytes(PICTURE)
    with picture.open("rb") as file:
        fields = {"type": "upload_file", "name": "Anna", "file": (file, "a.png")}
        assert client.post("/ajax", data=fields).status_code == 200


def test_a_saved_conversation_holds_all_in_order_and_its_pictures(
    client: FlaskClient, tmp_path: Path
) -> None:
    send(client, *(f"{number}." for number in range(120)))
    upload(client, tmp_path / "a.png")

    html = save(client)

    assert re.findall(r">(\d+)\.</div>", html) == [str(number) for number in range(120)]
    (data,) = re.findall(r'src="data:image/png;base64,([A-Za-z0-9+/=]+)"', html)
    assert b64encode(PICTURE).decode() == data
    assert html.endswith("</html>")


def test_pictures_beyond_the_limit_are_linked(
    client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "PICTURES_BYTES", len(PICTURE) + 10)
    for _ in range(2):
        upload(client, tmp_path / "a.png")

    sources = re.findall(r' src="(.{20})', save(client))

    assert [source.startswith("data:image/png") for source in sources] == [True, False]


def test_the_picture_of_another_visitor_stays_a_link(app: Flask, tmp_path: Path) -> None:
    owner, other = app.test_client(), app.test_client()
    upload(owner, tmp_path / "a.png")
    link = re.findall(r'<img[^>]* src="([^"]*)"', read(owner))[0].replace("&amp;", "&")
    with services_of(app).store.database.write() as db:
        db.execute("update messages set text = 'x'")
    send(other, "Hello")
    with services_of(app).store.database.write() as db:
        html = f'<img src="{link}">'.replace("&", "&amp;")
        db.execute("update messages set html = ? where text = 'Hello'", (html,))

    assert f'<div dir="auto">{html}</div>' in save(other)


def test_few_saves_are_under_way_at_once(client: FlaskClient) -> None:
    send(client, *["a word"] * 400)
    fields = {"type": "save_conversation"}
    begun = [client.post("/ajax", data=fields, buffered=False) for _ in range(2)]

    refused = client.post("/ajax", data=fields)

    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
    begun[0].close()
    assert "</html>" in save(client)
    begun[1].close()


def test_a_conversation_that_is_deleted_ends_its_save(client: FlaskClient) -> None:
    send(client, *["a word"] * 400)
    saved = client.post("/ajax", data={"type": "save_conversation"}, buffered=False)
    pieces = saved.iter_encoded()
    first = next(pieces)
    form = {"type": "delete_conversation", "sure": "yes"}
    assert client.post("/ajax", data=form).status_code == 200

    rest = b"".join(pieces)

    assert b"a word" in first
    assert rest.count(b"a word") < 300
    assert rest.endswith(b"</html>")
    saved.close()


@pytest.mark.parametrize(("lang", "title"), [("en", "Chat with us"), ("ru", "Напишите нам")])
def test_a_title_that_nobody_has_chosen_is_in_the_visitors_language(
    client: FlaskClient, lang: str, title: str
) -> None:
    send(client, "a word")
    own = {"type": "save_conversation", "lang": lang}

    assert f"<bdi>{title}</bdi>" in client.get(f"/?lang={lang}").text
    saved = client.post("/ajax", data=own, query_string={"lang": lang})
    assert f"<title>{title}</title>" in saved.text


# -- rendering again


def outdated(app: Flask) -> Services:
    client = app.test_client()
    send(client, "[b]one[/b]", LONG, LONG, "two")
    services = services_of(app)
    with services.store.database.write() as db:
        db.execute("update messages set renderer = 1, html = 'old'")
    return services


@contextmanager
def at_work(services: Services) -> Iterator[None]:
    stop = threading.Event()
    job = threading.Thread(target=services.render_again, args=(stop,))
    job.start()
    yield
    wait_until(lambda: services.store.rendering.to_render(10) == [])
    stop.set()
    job.join()


def test_one_process_renders_again(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.RENDERING_PAUSE_SECONDS", 0.01)
    services = outdated(app)
    other = services.store.database.try_lock("rendering")
    assert other.__enter__()
    with at_work(services):
        time.sleep(0.1)
        assert len(services.store.rendering.to_render(10)) == 4
        other.__exit__(None, None, None)


def test_what_a_process_of_the_release_before_still_writes_is_rendered_again(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.RENDERING_PAUSE_SECONDS", 0.01)
    services = outdated(app)
    with at_work(services):
        wait_until(lambda: services.store.rendering.to_render(10) == [])
        with services.store.database.write() as db:
            db.execute("update messages set renderer = 1, html = 'old' where text = 'two'")


def test_rendering_again_goes_on_when_the_store_is_back(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.RENDERING_PAUSE_SECONDS", 0.01)
    services = outdated(app)
    save, failures = services.store.rendering.save_rendered, [StoreUnavailable("the disk is full")]

    def save_rendered(rendered: object) -> None:
        if failures:
            raise failures.pop()
        save(rendered)  # type: ignore[arg-type]

    monkeypatch.setattr(services.store.rendering, "save_rendered", save_rendered)

    with at_work(services):
        pass

    assert failures == []
