"""Servers that answer the REST client as told and remember what they heard, and common words."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from pydantic import SecretStr

from bitrix import Bitrix
from rest.errors import BitrixError
from rest.replies import (
    Grant,
    ItemResult,
)
from settings import Bitrix24Settings

SPEC = Path(__file__).parents[1] / "spec"
CONNECTOR = "example_connector_1"
CHAT = "chat" + "a" * 64
HANDLER = "https://site.example/chat/handler"
CLIENT_ID = "local.0123456789abcd.01234567"
SECRET = "the-client-secret"
OLD = Grant("old-access-token", "old-refresh-token", time.time() + 3000)
NEW_PAIR = {
    "access_token": "new-access-token",
    "refresh_token": "new-refresh-token",
    "expires_in": 3600,
    "member_id": "0f" * 16,
}
SECRETS = (
    SECRET,
    OLD.access_token,
    OLD.refresh_token,
    "new-access-token",
    "new-refresh-token",
    "foreign-access-token",
)
EXPIRED = {"error": "expired_token", "error_description": "The access token has expired."}
SENT = {"SUCCESS": True, "DATA": {"RESULT": [{"SUCCESS": True, "session": {"ID": 1}}]}}
MESSAGE = {
    "user": {"id": CHAT, "name": "Anna", "email": "anna@example.com", "phone": "+100"},
    "message": {"id": 12, "date": 1_790_000_000, "text": "Hello"},
    "chat": {"id": CHAT, "url": "https://shop.example/cart"},
}
CONFIRMATION = {
    "im": {"chat_id": 5120, "message_id": 903311},
    "message": {"id": [13]},
    "chat": {"id": CHAT},
}


# -- servers that answer as told


@dataclass(frozen=True)
class Request:
    path: str  # with the query
    headers: dict[str, str]
    body: bytes

    @property
    def method(self) -> str:
        return self.path.removeprefix("/rest/").removesuffix(".json")

    @property
    def form(self) -> dict[str, str]:
        pairs = parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=True)
        assert len(dict(pairs)) == len(pairs), "a field is there twice"
        return dict(pairs)


@dataclass(frozen=True)
class Reply:
    """An answer; `cut` of its bytes are never sent, and `None` as content hangs up at once."""

    content: bytes | None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0


def said(answer: object, status: int = 200, **headers: str) -> Reply:
    return Reply(json.dumps(answer).encode(), status, headers)


def result(value: object) -> Reply:
    return said({"result": value, "time": {"start": 1, "finish": 2}})


def page(status: int, **headers: str) -> Reply:
    return Reply(b"<html><body>Not JSON at all</body></html>", status, headers)


HANG_UP = Reply(None)
Answering = Callable[[Request], Reply]


class Server:
    """A small HTTP server: hears, remembers, answers what `answer` says; over TLS if asked."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.heard: list[Request] = []
        self.answer: Answering = lambda _: result(True)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client left
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
            self.url = self.url.replace("http:", "https:")
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def says(self, *replies: Reply) -> None:
        """Answer these one after the other, the last one for ever."""
        left = list(replies)
        self.answer = lambda _: left.pop(0) if len(left) > 1 else left[0]

    def methods(self) -> list[str]:
        return [request.method for request in self.heard]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(self.path, dict(self.headers.items()), body)
                server.heard.append(request)
                reply = server.answer(request)
                self.close_connection = True
                if reply.content is None:
                    return
                self.send_response(reply.status)
                self.send_header("Content-Length", str(len(reply.content)))
                self.send_header("Connection", "close")
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(BrokenPipeError):  # the client gave up, as it should
                    self.wfile.write(reply.content[: len(reply.content) - reply.cut])

            do_GET = do_POST  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler


class Keeper:
    """Tokens in memory; notes in `order` what was saved."""

    def __init__(self, grant: Grant | None) -> None:
        self.grant = grant
        self.order: list[str] = []
        self.sent = ""  # the refresh token whose renewal has no answer yet
        self._lock = threading.Lock()

    def load(self) -> Grant | None:
        return self.grant

    def save(self, old: Grant, grant: Grant) -> bool:
        assert self._lock.locked(), "saved without the lock"
        self.order.append(f"saved {grant.access_token}")
        self.grant, self.sent = grant, ""
        return True

    def begin_renewal(self, old: Grant) -> None:
        assert self._lock.locked(), "renewed without the lock"
        self.sent = old.refresh_token

    def renewal_began(self, old: Grant) -> bool:
        return self.sent == old.refresh_token

    def renewal_refused(self, old: Grant) -> None:
        self.sent = ""

    @contextmanager
    def lock(self) -> Iterator[None]:
        with self._lock:
            yield


def client(
    portal: str, oauth: str, keeper: Keeper, send_seconds: float = 10.0, ca_file: str = ""
) -> Bitrix:
    settings = Bitrix24Settings(
        portal=portal,
        oauth_server=oauth,
        ca_file=ca_file,
        client_id=CLIENT_ID,
        client_secret=SecretStr(SECRET),
    )
    return Bitrix(settings, keeper, send_seconds)


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def send(bitrix: Bitrix, *messages: dict[str, Any]) -> list[ItemResult]:
    return bitrix.send_messages(CONNECTOR, 7, list(messages) or [MESSAGE])


def failure(call: Callable[[], object]) -> BitrixError:
    with pytest.raises(BitrixError) as caught:
        call()
    return caught.value


def only_new_token(request: Request) -> Reply:
    return result(True) if request.form["auth"] == "new-access-token" else said(EXPIRED, 401)


def refused(code: str, **other: object) -> dict[str, object]:
    return {"error": code, "error_description": "Words of the portal", **other}
