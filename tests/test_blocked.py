"""A visitor whom an administrator has turned away reads on and is told, in every way of sending."""

import io
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from bbcode import RENDERER
from settings import Settings, StorageSettings
from storage import Store

OWN = "https://chat.example"
TOLD = "You can write no more messages in this chat."


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """The store as the command line opens it: another process than the application's."""
    with closing(Store(f"sqlite:///{tmp_path}/chats.db", tmp_path, RENDERER)) as store:
        yield store


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    return create_app(
        Settings(
            public_url=OWN,
            storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db", files=f"{tmp_path}/f"),
        )
    )


def ask(client: FlaskClient, **fields: object) -> TestResponse:
    return client.post("/ajax", data=fields, base_url=OWN)


def write(client: FlaskClient) -> str:
    answer = ask(client, type="send_message", message="hello")
    assert answer.json is not None
    return str(answer.json["chat"])


def test_a_blocked_visitor_reads_and_is_told_whatever_they_send(app: Flask, store: Store) -> None:
    client, other = app.test_client(), app.test_client()
    chat_id = write(client)
    write(other)
    (message,) = store.conversations.latest(chat_id, None, 10)
    store.blocks.block(chat_id, time.time())

    photo = (io.BytesIO(b"\x89PNG\r\n\x1a\n"), "photo.png")
    answers = [
        ask(client, type="send_message", message="more"),
        ask(client, type="upload_file", file=photo),
        ask(client, type="retry_message", id=message.id),
    ]

    for answer in answers:
        assert answer.status_code == 403, answer.text
        assert answer.json is not None
        assert answer.json["result"] == {"error": "BLOCKED", "error_description": TOLD}
    assert len(store.conversations.latest(chat_id, None, 10)) == 1
    assert "hello" in ask(client, type="chat_history").text
    assert ask(other, type="send_message", message="others go on").status_code == 200

    store.blocks.unblock(chat_id)
    assert ask(client, type="send_message", message="again").status_code == 200


def test_a_blocked_visitor_without_scripts_sees_the_sentence_on_the_page(
    app: Flask, store: Store
) -> None:
    client = app.test_client()
    store.blocks.block(write(client), time.time())

    fields = {"type": "send_message", "message": "more"}
    answer = client.post("/ajax", data=fields, base_url=OWN, headers={"Accept": "text/html"})

    assert answer.status_code == 403
    assert TOLD in answer.text


def test_a_deleted_conversation_does_not_end_a_block(app: Flask, store: Store) -> None:
    client = app.test_client()
    store.blocks.block(write(client), time.time())

    assert ask(client, type="delete_conversation").status_code == 200

    assert ask(client, type="send_message", message="more").status_code == 403
