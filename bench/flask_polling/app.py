"""A chat that keeps one JSON file a chat, polls, and calls the portal within the request.

The page's history is made of the whole file at each poll, and each message writes the whole file
anew; nothing is locked. `BENCH_CHATS` is the folder, `BENCH_PORTAL` the portal's address.
"""

import json
import os
import re
import time
import uuid
from pathlib import Path
from typing import Any

import requests
from flask import Flask, jsonify, request, session
from flask.typing import ResponseReturnValue
from markupsafe import escape

CONNECTOR = "example_connector_1"
FOLDER = Path(os.environ.get("BENCH_CHATS", "."))
PORTAL = os.environ.get("BENCH_PORTAL", "")
PAGE = Path(__file__).parents[1] / "page.html"
IM = re.compile(r"data\[MESSAGES\]\[(\d+)\]\[(im|message|chat)\]\[(\w+)\]")

app = Flask(__name__)
app.secret_key = "a stand-in keeps no secrets"


def chat_id() -> str:
    if "id" not in session:
        session["id"] = uuid.uuid4().hex
    return f"chat{session['id']}"


def messages_of(chat: str) -> dict[str, Any]:
    path = FOLDER / f"{chat}.txt"
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found


def keep(chat: str, message: dict[str, Any]) -> str:
    """Add a message to the chat's file; returns its key there."""
    messages = messages_of(chat)
    key = f"message{len(messages)}"
    messages[key] = message
    (FOLDER / f"{chat}.txt").write_text(json.dumps(messages), "utf-8")
    return key


def call_portal(method: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Call a method of the portal and wait for its answer."""
    answer = requests.post(f"{PORTAL}/rest/{method}.json", json=parameters, timeout=60)
    found: dict[str, Any] = answer.json()
    return found


def to_html(text: str) -> str:
    text = re.sub(r"\[b\](.*?)\[/b\]", r"<b>\1</b>", text)
    text = re.sub(r"\[i\](.*?)\[/i\]", r"<i>\1</i>", text)
    return text.replace("[br]", "<br>")


@app.get("/")
def index() -> str:
    return PAGE.read_text("utf-8").replace("AJAX", "ajax")


@app.post("/ajax")
def ajax() -> ResponseReturnValue:
    chat = chat_id()
    if request.form["type"] == "chat_history":
        return "".join(
            f'<div class="message {"operator" if "im" in one else "visitor"}">'
            f'<div class="body">{to_html(one["message"]["text"])}</div></div>\n'
            for one in messages_of(chat).values()
        )
    message = {
        "user": {"id": chat, "name": str(escape(request.form.get("name", "")))},
        "message": {"date": int(time.time()), "text": str(escape(request.form["message"]))},
        "chat": {"id": chat},
    }
    keep(chat, message)
    sent = {"CONNECTOR": CONNECTOR, "LINE": 7, "MESSAGES": [message]}
    result = call_portal("imconnector.send.messages", sent)
    return jsonify(chat=chat, post=request.form, result=result)


@app.post("/handler")
def handler() -> ResponseReturnValue:
    messages: dict[str, dict[str, dict[str, str]]] = {}
    for name, value in request.form.items():
        if match := IM.fullmatch(name):
            number, part, field = match.groups()
            messages.setdefault(number, {}).setdefault(part, {})[field] = value
    for message in messages.values():
        chat = message["chat"]["id"]
        key = keep(chat, message)
        one = {"im": message["im"], "message": {"id": [key]}, "chat": {"id": chat}}
        sent = {"CONNECTOR": CONNECTOR, "LINE": request.form["data[LINE]"], "MESSAGES": [one]}
        call_portal("imconnector.send.status.delivery", sent)
    return ""
