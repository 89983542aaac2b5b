"""A visitor deletes the conversation, again and again: what follows is one and the same for all."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import Cookie, TestResponse

from app import create_app
from bbcode import RENDERER
from settings import ChatSettings, Settings, StorageSettings
from storage import Store
from web import identity
from web.conversation import ADDRESS_DELETIONS_A_MINUTE, DELETIONS_A_MINUTE
from web.visitor import OLDER_AT_ONCE, chat_id_of

OWN, SHOP = "https://chat.example", "https://shop.example"
SECRET = "a secret that only the shop's server knows"
NAME = "0123456789abcdef" * 2  # of a visitor, as an earlier release gave it
RACES = 40


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    return create_app(
        Settings(
            public_url=OWN,
            chat=ChatSettings(sites=(SHOP,), identity_secret=SECRET),  # type: ignore[arg-type]
            storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db", files=f"{tmp_path}/f"),
        )
    )


@pytest.fixture
def store(app: Flask, tmp_path: Path) -> Iterator[Store]:
    """The store past the application, as an earlier release left it."""
    with closing(Store(f"sqlite:///{tmp_path}/chats.db", tmp_path, RENDERER)) as store:
        store.open()
        yield store


def browser(app: Flask, name: str = "") -> FlaskClient:
    """A browser; with a name it has that visitor's cookie, as earlier releases gave it."""
    client = app.test_client()
    if name:
        with app.test_request_context("/"):
            app.preprocess_request()
            signer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
            cookie = signer.dumps({"visitor": name, "_permanent": True})
        client.set_cookie(app.config["SESSION_COOKIE_NAME"], cookie, domain="chat.example")
    return client


def ask(client: FlaskClient, **fields: str) -> TestResponse:
    return client.post("/ajax", data=fields, base_url=OWN)


def write(client: FlaskClient, text: str) -> str:
    """Send a message; returns the id of its chat."""
    answer = ask(client, type="send_message", message=text)
    assert answer.status_code == 200
    assert answer.json is not None
    return str(answer.json["chat"])


def history(client: FlaskClient) -> str:
    return ask(client, type="chat_history").text


def delete(client: FlaskClient) -> TestResponse:
    return ask(client, type="delete_conversation")


def cookie_of(client: FlaskClient) -> Cookie | None:
    name = f"__Host-{client.application.config['SESSION_COOKIE_NAME']}"
    return client.get_cookie(name, domain="chat.example")


def copy_of(app: Flask, client: FlaskClient) -> FlaskClient:
    """Another device with the same cookie."""
    other = app.test_client()
    cookie = cookie_of(client)
    assert cookie is not None
    other.set_cookie(cookie.key, cookie.value, domain="chat.example")
    return other


def names(app: Flask, store: Store, first: str) -> Iterator[str]:
    """The visitor's names as earlier releases made them, the first one included."""
    return itertools.chain([first], identity.older_successors(store.portal.secret_key(), first))


def ended_before(app: Flask, store: Store, first: str, number: int) -> list[str]:
    """Conversations that were deleted under an earlier release; the ids of all, and of the next."""
    found = [chat_id_of(OWN, name) for name in itertools.islice(names(app, store, first), number)]
    with store.database.write() as db:
        for chat_id in found:
            db.execute("insert into deletions (id, deleted_at) values (?, 0)", (chat_id,))
    (following,) = itertools.islice(names(app, store, first), number, number + 1)
    return [*found, chat_id_of(OWN, following)]


def test_each_deletion_leads_all_devices_to_one_new_chat(app: Flask) -> None:
    phone = browser(app)
    chats = [write(phone, "first")]
    laptop = copy_of(app, phone)

    for number in range(5):
        delete(copy_of(app, laptop))
        assert history(laptop) == ""
        chats.append(write(laptop, f"from the laptop {number}"))
        other = copy_of(app, laptop)
        assert write(other, f"from another {number}") == chats[-1]
        assert history(laptop).count("<article") == 2

    assert len({*chats}) == 6
    assert {chat[:36] for chat in chats} == {chats[0][:36]}


@pytest.mark.parametrize("number", [1, 16, OLDER_AT_ONCE, OLDER_AT_ONCE + 1, 1000])
def test_a_conversation_that_an_earlier_release_began_is_found(
    app: Flask, store: Store, number: int
) -> None:
    """By the cookie of before all deletions, and by the one that names the conversation itself."""
    *ended, lives = ended_before(app, store, NAME, number)
    (name,) = itertools.islice(names(app, store, NAME), number, number + 1)
    newest = browser(app, name)
    assert write(newest, "still here") == lives
    oldest = browser(app, NAME)

    assert "still here" in history(oldest)
    assert write(oldest, "and again") == lives
    assert delete(oldest).status_code == 200
    newest = browser(app, name)
    assert history(newest) == ""
    following = write(newest, "a new one")
    assert write(browser(app, NAME), "the same") == following
    assert following not in (*ended, lives)


def test_an_older_conversation_is_looked_for_once(app: Flask, store: Store) -> None:
    *ended, following = ended_before(app, store, NAME, 250)

    assert history(browser(app, NAME)) == ""

    with store.database.write() as db:
        rows = db.execute("select id, heir from heirs").fetchall()
    assert [tuple(row) for row in rows] == [(ended[0], following)]


def test_a_customers_older_conversation_is_found_by_the_log_in(app: Flask, store: Store) -> None:
    email = "anna@example.com"
    customer = identity.customer(store.portal.secret_key(), OWN, email)
    *_, lives = ended_before(app, store, customer, 3)
    (name,) = itertools.islice(names(app, store, customer), 3, 4)
    write(browser(app, name), "still here")
    signature = identity.signature(SECRET, OWN, email)

    answer = ask(browser(app), type="identify", email=email, signature=signature).json

    assert answer is not None
    assert answer["chat"] == lives


def test_who_became_a_part_before_the_update_goes_on_in_the_same_chat(
    app: Flask, store: Store
) -> None:
    part = write(browser(app, NAME), "before the log-in")
    with store.database.write() as db:
        db.execute("update chats set owner = 'of a customer' where id = ?", (part,))
    (name,) = itertools.islice(names(app, store, NAME), 1, 2)
    went_on = write(browser(app, name), "as somebody else")

    assert write(browser(app, NAME), "again") == went_on

    store.chats.delete("of a customer", 0)
    assert write(browser(app, NAME), "and again") == went_on


def test_deletions_of_one_visitor_are_limited(app: Flask) -> None:
    client, other = browser(app, NAME), browser(app)
    write(other, "another visitor")
    for number in range(DELETIONS_A_MINUTE):
        assert delete(client).status_code == 200, number
        client = browser(app, NAME)

    refused = delete(browser(app, NAME))

    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.json is not None
    assert refused.json["result"]["error"] == "TOO_MANY"
    plain = browser(app, NAME).post(
        "/ajax",
        data={"type": "delete_conversation", "sure": "yes"},
        headers={"Accept": "text/html"},
        base_url=OWN,
    )
    assert plain.status_code == 429
    assert "Please wait" in plain.text
    assert plain.headers["Retry-After"]
    write(browser(app, NAME), "may still write")
    assert delete(other).status_code == 200


def test_deletions_of_one_address_are_limited_and_its_visitors_chat_on(app: Flask) -> None:
    flood, office = {"REMOTE_ADDR": "203.0.113.7"}, {"REMOTE_ADDR": "203.0.113.8"}
    form = {"type": "delete_conversation"}
    clients = [browser(app) for _ in range(ADDRESS_DELETIONS_A_MINUTE + 2)]
    for client in clients:
        write(client, "hello")
    *allowed, last, other = clients

    for client in allowed:
        answer = client.post("/ajax", data=form, base_url=OWN, environ_overrides=flood)
        assert answer.status_code == 200
    refused = last.post("/ajax", data=form, base_url=OWN, environ_overrides=flood)

    assert refused.status_code == 429
    assert "hello" in history(last)
    elsewhere = other.post("/ajax", data=form, base_url=OWN, environ_overrides=office)
    assert elsewhere.status_code == 200
    message = {"type": "send_message", "message": "goes on"}
    sent = last.post("/ajax", data=message, base_url=OWN, environ_overrides=flood)
    assert sent.status_code == 200


def test_a_cookie_whose_conversation_is_gone_leaves_no_more_rows(app: Flask, store: Store) -> None:
    client = browser(app)
    write(client, "hello")
    copies = [copy_of(app, client) for _ in range(DELETIONS_A_MINUTE)]

    for copy in copies:
        answer = delete(copy)
        assert answer.status_code == 200
        assert answer.json is not None
        assert answer.json["result"] == {"deleted": True}

    for table in ("deletions", "heirs"):
        assert len(store.database.rows(f"select 1 from {table}")) == 1


def test_a_message_of_another_tab_brings_the_cookie_back(app: Flask) -> None:
    client = browser(app)
    write(client, "first")
    tab = copy_of(app, client)
    delete(client)
    assert cookie_of(client) is None

    answer = ask(tab, type="send_message", message="from the other tab")

    assert answer.status_code == 200
    assert "Set-Cookie" in answer.headers, "the deletion's answer has removed it"


def test_messages_and_deletions_at_once_leave_no_half_dead_chat(app: Flask, store: Store) -> None:
    """Each message goes with its chat, or is in the chat that the visitor sees, or is refused."""
    client = browser(app)
    write(client, "first")
    for number in range(RACES):
        tabs = [copy_of(app, client), copy_of(app, client)]
        answers: dict[str, TestResponse] = {}
        barrier = threading.Barrier(3)

        def send(tab: FlaskClient, text: str) -> None:
            barrier.wait()  # noqa: B023 the threads end within the round
            answers[text] = ask(tab, type="send_message", message=text)  # noqa: B023

        texts = [f"{number} {letter}" for letter in "ab"]
        threads = [
            threading.Thread(target=send, args=pair) for pair in zip(tabs, texts, strict=True)
        ]
        for thread in threads:
            thread.start()
        barrier.wait()
        chat = store.chats.latest_heir(chat_of_cookie(app, store))
        store.chats.delete(chat, 0)
        for thread in threads:
            thread.join()

        seen = history(client)
        with store.database.write() as db:
            rows = db.execute("select text, chat_id from messages").fetchall()
            dead = db.execute("select 1 from chats where id in (select id from deletions)")
            assert dead.fetchall() == []
        stored = {row["text"]: row["chat_id"] for row in rows}
        assert len({*stored.values()}) <= 1
        for text in texts:
            assert answers[text].status_code in (200, 503)
            assert (text in stored) == (text in seen)


def chat_of_cookie(app: Flask, store: Store) -> str:
    """The first chat in the store: that of the only visitor."""
    row = store.database.row("select id from deletions order by number limit 1")
    row = row or store.database.row("select id from chats")
    assert row is not None
    return str(row["id"])
