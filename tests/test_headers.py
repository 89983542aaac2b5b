"""What goes with every answer: nobody between changes it, and the page knows it for ours."""

import io
import logging
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from settings import Settings, StorageSettings
from web.heads import HEADER_LIMIT


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    """A visitor who has sent a message and a file."""
    storage = StorageSettings(url=f"sqlite:///{tmp_path}/chats.db", files=f"{tmp_path}/files")
    client = create_app(Settings(storage=storage)).test_client()
    post(client, type="send_message", message="write to ann@shop.example")
    post(client, type="upload_file", file=(io.BytesIO(b"ann@shop.example"), "note.txt"))
    return client


def test_in_debugging_each_request_is_a_line_without_its_address(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "web.request_ids")
    post(client, type="chat_history")
    client.post("/handler?AUTH_ID=secret", data={"event": "secret"})
    client.get("/secret")

    lines = [vars(line)["facts"] for line in caplog.records if line.name == "web.request_ids"]
    told = [(line["route"], line["type"], line["method"], line["code"]) for line in lines]
    assert told == [
        ("ajax", "chat_history", "POST", 200),
        ("handler", None, "POST", 400),
        ("other", None, "GET", 404),
    ]
    assert all(line["ms"] > 0 for line in lines)
    assert "secret" not in str(lines)


def post(client: FlaskClient, path: str = "/ajax", **form: object) -> TestResponse:
    return client.post(path, data=form, headers={"Accept": form.pop("accept", "*/*")})


def test_no_answer_with_a_conversation_is_changed_on_its_way(client: FlaskClient) -> None:
    """A CDN rewrites e-mail addresses in HTML that does not forbid it."""
    history = post(client, type="chat_history")
    file = re.findall(r'href="[^"]*(/ajax\?type=file[^"]*)"', history.text.replace("&amp;", "&"))
    long = {"X-Long": "x" * (HEADER_LIMIT + 1)}
    answers = {
        "page": client.get("/"),
        "history": history,
        "older": post(client, type="chat_history", before="99999999999999999"),
        "sent": post(client, type="send_message", message="ann@shop.example"),
        "plain form": post(client, type="send_message", accept="text/html"),
        "refused": post(client, type="send_message", message=""),
        "unknown": post(client, type="?"),
        "stream": client.get("/ajax?type=chat_stream&once=1"),
        "saved": post(client, type="save_conversation"),
        "file": client.get(file[0], buffered=True),
        "asked": post(client, type="delete_conversation", accept="text/html"),
        "install": client.get("/install"),
        "portal": post(client, "/handler", PLACEMENT="DEFAULT", AUTH_ID="x"),
        "event": post(client, "/handler", event="ONIMCONNECTORMESSAGEADD"),
        "missing": client.get("/nothing"),
        "method": client.put("/ajax"),
        "long head": client.get("/", headers=long),
    }
    assert "ann@shop.example" in answers["saved"].text
    for name, answer in answers.items():
        keeping = answer.headers.get("Cache-Control", "")
        assert name == "long head" or "no-transform" in keeping, name
        assert name in ("file", "long head") or "no-store" in keeping, name
        assert answer.headers["X-Chat-Server"] == "sitechat", name
    assert "ann@shop.example" in answers["stream"].text
    assert answers["stream"].mimetype == "text/event-stream"
