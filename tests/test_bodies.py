"""Bodies are read in pieces, and the rest of one that nobody wanted, too."""

import socket
import time
from pathlib import Path

import gevent.socket  # type: ignore[import-untyped]
import pytest
from apps import storage_in

from app import create_app
from settings import Settings
from turns import TURN_SECONDS, Turns
from web.bodies import Body


def test_a_body_in_pieces_is_whole(tmp_path: Path) -> None:
    storage = storage_in(tmp_path)
    client = create_app(Settings(storage=storage)).test_client()
    text = "ф" * 20_000

    answer = client.post("/ajax", data={"type": "send_message", "name": "A", "message": text})

    assert answer.get_json()["post"]["message"] == text


# -- what nobody wanted of a body


class Sent:
    """A body with so many bytes left; None for one without an end."""

    def __init__(self, left: int | None) -> None:
        self.left = left

    def read(self, size: int) -> bytes:
        if self.left is None:
            return b"x" * size
        size = min(size, self.left)
        self.left -= size
        return b"x" * size


def test_the_rest_of_a_body_is_read_and_the_connection_goes_on() -> None:
    body = Sent(1_000_000)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Body(body, {"gunicorn.socket": ours}).end()
        ours.sendall(b"the next answer")

        assert body.left == 0
        assert theirs.recv(100) == b"the next answer"


def test_a_request_that_has_worked_for_long_waits_for_no_turn_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under a flood the turns of all ended requests would come before the delivery worker's."""
    ended = []

    def end_turn(turns: Turns) -> None:
        ended.append(turns)

    monkeypatch.setattr(Turns, "_end_turn", end_turn)
    body = Body(Sent(0), {})
    assert body.read() == b""
    until = time.thread_time() + 3 * TURN_SECONDS
    while time.thread_time() < until:
        pass

    body.end()

    assert ended == []


def test_a_body_without_an_end_ends_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.bodies.REST_SECONDS", 0.05)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"the answer")
        Body(Sent(None), {"gunicorn.socket": ours}).end()

        assert theirs.recv(100) == b"the answer"
        assert theirs.recv(100) == b""


def test_a_rest_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.bodies.REST_SECONDS", 0.1)
    ours, theirs = gevent.socket.socketpair()
    with ours, theirs:
        began = time.monotonic()
        Body(ours.makefile("rb"), {"gunicorn.socket": ours}).end()

        assert time.monotonic() - began < 2
        assert theirs.recv(100) == b""
