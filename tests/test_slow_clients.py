"""Clients that send or read slowly, over real connections: a newcomer is let in beside them."""

import contextlib
import json
import socket
from collections.abc import Iterator

import pytest
from stage import HOST, Stage, Visitor, wait_until

from services import SAVES, UPLOADS

ADDRESS = "203.0.113.7"
PICTURE = b"\x89PNG\r\n\x1a\n".ljust(2 << 20, b"x")  # a save with it fills all buffers


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("slow"), SITECHAT_SERVER__PROXIES="1") as stage:
        yield stage


def visitor_of(stage: Stage) -> Visitor:
    visitor = stage.visitor()
    visitor.http.headers["X-Forwarded-For"] = ADDRESS
    return visitor


def upload(visitor: Visitor, content: bytes) -> int:
    file = {"file": ("a.png", content)}
    url = f"{visitor.chat}/ajax"
    return visitor.http.post(url, {"type": "upload_file"}, files=file, timeout=30).status_code


def request(stage: Stage, head: str, body: bytes, length: int) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect((HOST, int(stage.chat.rpartition(":")[2])))
    first = f"POST /ajax HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {ADDRESS}\r\n{head}\r\n"
    connection.sendall(f"{first}Content-Length: {length}\r\n\r\n".encode() + body)
    return connection


def all_of(connection: socket.socket) -> bytes:
    """An answer up to its last piece, or to where it was cut."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)  # now it reads quickly
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while not said.endswith(b"0\r\n\r\n") and (piece := connection.recv(1 << 20)):
            said += piece
    return said


def test_an_upload_that_trickles_is_given_up_for_a_newcomer_and_is_told_so(stage: Stage) -> None:
    arriving = stage.folder / "chats/files/arriving"
    head = "Accept: application/json\r\nContent-Type: multipart/form-data; boundary=x"
    body = (
        b'--x\r\nContent-Disposition: form-data; name="type"\r\n\r\nupload_file\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n'
    )
    with contextlib.ExitStack() as opened:
        slow = []
        for number in range(1, UPLOADS[1] + 1):
            slow.append(opened.enter_context(request(stage, head, body + bytes(40_000), 1 << 20)))
            wait_until(lambda number=number: len([*arriving.glob("*")]) == number)  # type: ignore[misc]

        assert upload(visitor_of(stage), PICTURE) == 200

        wait_until(lambda: len([*arriving.glob("*")]) == UPLOADS[1] - 1)
        status, _, answer = all_of(slow[0]).partition(b"\r\n")
        assert status.startswith(b"HTTP/1.1 429")
        assert b"Retry-After: 5" in answer
        result = json.loads(answer.partition(b"\r\n\r\n")[2])["result"]
        assert result["error"] == "MANY_UPLOADS"


def test_a_save_that_is_not_read_is_cut_for_a_newcomer(stage: Stage) -> None:
    visitors = [visitor_of(stage) for _ in range(SAVES[1] // SAVES[2] + 1)]
    for visitor in visitors:
        assert upload(visitor, PICTURE) == 200
    with contextlib.ExitStack() as opened:
        slow = []
        for number in range(SAVES[1]):
            cookies = visitors[number // SAVES[2]].http.cookies
            cookie = "; ".join(f"{one.name}={one.value}" for one in cookies)
            head = f"Cookie: {cookie}\r\nContent-Type: application/x-www-form-urlencoded"
            body = b"type=save_conversation"
            slow.append(opened.enter_context(request(stage, head, body, len(body))))
            assert slow[-1].recv(12) == b"HTTP/1.1 200"

        saved = visitors[-1].post(type="save_conversation")

        assert saved.status_code == 200
        assert saved.text.endswith("</html>")
        whole = [b"</html>" in all_of(one) for one in slow]
        assert whole == [False] + [True] * (SAVES[1] - 1)
