"""The sandbox portal with a small recording application, and a test's hands on both."""

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests

from sandbox import php
from sandbox.parts import Sandbox
from sandbox.server import serve

ICON = {"DATA_IMAGE": "data:image/svg+xml,%3Csvg/%3E", "COLOR": "#123456"}
EVENTS = (
    "OnImConnectorMessageAdd",
    "OnImConnectorMessageUpdate",
    "OnImConnectorMessageDelete",
    "OnImConnectorDialogStart",
    "OnImConnectorDialogFinish",
    "OnImConnectorStatusDelete",
    "OnImConnectorLineDelete",
    "OnAppUninstall",
)


class FakeApp:
    """Records every POST and finishes the install; serves one picture."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, str]]] = []
        self.agents: list[str] = []
        self.page = "<script>BX24.installFinish()</script>"
        app = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                app.posts.append((self.path, dict(parse_qsl(body, keep_blank_values=True))))
                self._send(200, app.page.encode())

            def do_GET(self) -> None:
                app.agents.append(self.headers.get("User-Agent", ""))
                found = self.path == "/cat.png"
                self._send(200 if found else 404, b"\x89PNG picture" if found else b"")

            def _send(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def events(self, name: str = "") -> list[dict[str, str]]:
        found = [fields for _, fields in self.posts if "event" in fields]
        return [fields for fields in found if name in ("", fields["event"])]


class Bitrix:
    """The portal as a test sees it: its REST interface and its control API."""

    def __init__(self, url: str, app: FakeApp, oauth: str) -> None:
        self.url = url
        self.oauth = oauth
        self.app = app
        self.web = requests.Session()
        self.token = ""
        self.refresh_token = ""

    def do(self, name: str, **body: Any) -> Any:
        answer = self.web.post(f"{self.url}/sandbox/{name}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def state(self) -> Any:
        return self.web.get(f"{self.url}/sandbox/state").json()

    def raw(self, method: str, **params: Any) -> requests.Response:
        """A form-encoded call."""
        pairs = php.encode({**params, "auth": self.token})
        return self.web.post(f"{self.url}/rest/{method}", data=pairs)

    def call(self, method: str, **params: Any) -> Any:
        return self.raw(method, **params).json()

    def trouble(self, **values: Any) -> None:
        self.do("trouble", **values)

    def install(self, user_id: int = 1) -> None:
        assert self.do("install", user_id=user_id)["installed"]
        fields = self.app.posts[-1][1]
        self.token, self.refresh_token = fields["AUTH_ID"], fields["REFRESH_ID"]

    def register_only(self, **changes: str) -> None:
        handler = f"{self.app.url}/handler"
        params = {"ID": "Chat", "NAME": "Chat", "ICON": ICON, "PLACEMENT_HANDLER": handler}
        answer = self.call("imconnector.register", **(params | changes))
        assert answer["result"] == {"result": True}

    def register(self) -> None:
        self.register_only()
        handler = f"{self.app.url}/handler"
        for event in EVENTS:
            assert self.call("event.bind", event=event, handler=handler)["result"] is True

    def connect(self, line: int = 7) -> None:
        self.call("imconnector.activate", CONNECTOR="chat", LINE=line, ACTIVE=1)

    def send(self, *texts: str, user: dict[str, Any] | None = None, **message: Any) -> Any:
        return self.call("imconnector.send.messages", **items(*texts, user=user, **message))

    def confirm(self, message_id: int, mid: str = "out-1") -> Any:
        item = {
            "im": {"chat_id": 5101, "message_id": message_id},
            "message": {"id": [mid]},
            "chat": {"id": "c1"},
        }
        return self.call(
            "imconnector.send.status.delivery", CONNECTOR="chat", LINE=7, MESSAGES=[item]
        )

    def answer(self, text: str = "Hello", **more: Any) -> int:
        return int(self.do("answer", external_chat_id="c1", text=text, **more)["message_id"])


def refresh(bitrix: Bitrix, **changes: str) -> requests.Response:
    fields = {
        "grant_type": "refresh_token",
        "client_id": "local.sandbox",
        "client_secret": "sandbox-secret",
        "refresh_token": bitrix.refresh_token,
        **changes,
    }
    return bitrix.web.post(f"{bitrix.oauth}/oauth/token/", data=fields)


def items(*texts: str, user: dict[str, Any] | None = None, **message: Any) -> dict[str, Any]:
    return {
        "CONNECTOR": "chat",
        "LINE": 7,
        "MESSAGES": [
            {
                "user": {"id": "u1", "name": "Ann", **(user or {})},
                "message": {"id": f"in-{number}", "text": text, **message},
                "chat": {"id": "c1"},
            }
            for number, text in enumerate(texts, 1)
        ],
    }


def eventually(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError("it did not happen in 5 seconds")


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Sandbox, FakeApp]]:
    app = FakeApp()
    sandbox, server = serve(app.url, oauth_port=0, limit=False)
    yield sandbox, app
    server.shutdown()
    server.server_close()
    app.server.shutdown()
    app.server.server_close()


@pytest.fixture
def fresh(running: tuple[Sandbox, FakeApp]) -> Iterator[Bitrix]:
    """A portal in which nothing is installed."""
    sandbox, app = running
    bitrix = Bitrix(sandbox.options.base_url, app, sandbox.options.oauth_url)
    bitrix.do("reset")
    app.posts.clear()
    app.agents.clear()
    app.page = "<script>BX24.installFinish()</script>"
    yield bitrix
    bitrix.web.close()


@pytest.fixture
def bitrix(fresh: Bitrix) -> Bitrix:
    """Installed, registered, bound and connected to line 7."""
    fresh.install()
    fresh.register()
    fresh.connect()
    return fresh


def result(answer: Any, index: int = 0) -> Any:
    return answer["result"]["DATA"]["RESULT"][index]
