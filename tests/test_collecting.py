"""The collector looks at little, and open streams leave it nothing to find."""

import gc
import socket
import weakref
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from apps import storage_in
from werkzeug.test import EnvironBuilder

from app import create_app
from settings import Settings
from web import collecting
from web.connections import Connection, Connections


class Cycle:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def keeping() -> Iterator[collecting.Keeping]:
    thresholds = gc.get_threshold()
    collecting.look_shortly()
    (found,) = (one for one in gc.callbacks if isinstance(one, collecting.Keeping))
    yield found
    gc.callbacks.remove(found)
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@pytest.mark.usefixtures("keeping")
def test_what_was_found_alive_is_not_looked_through_again_but_freed_all_the_same() -> None:
    many = [[number] for number in range(50_000)]
    last = Cycle()
    gone = weakref.ref(last)

    gc.collect()
    assert len(gc.get_objects()) < 5_000
    frozen = gc.get_freeze_count()
    del many, last.itself, last

    assert gone() is None
    assert gc.get_freeze_count() < frozen - 40_000


def test_a_cycle_of_what_was_once_alive_is_found_a_day_later(
    keeping: collecting.Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = Cycle()
    gone = weakref.ref(once)
    gc.collect()
    del once
    gc.collect()
    assert gone() is not None

    monkeypatch.setattr(keeping, "_all_at", 0.0)
    gc.collect()

    assert gone() is None
    assert len(gc.get_objects()) < 5_000


def test_a_stream_that_ends_leaves_no_cycle_of_its_own(tmp_path: Path) -> None:
    """Else it would stay in memory, as nobody looks for it."""
    app = create_app(Settings(storage=storage_in(tmp_path)))
    client = app.test_client()
    client.post("/ajax", data={"type": "send_message", "name": "Anna", "message": "Hello"})
    gc.collect()
    gc.disable()
    try:
        answer = client.get("/ajax?type=chat_stream", buffered=False)
        parts = iter(answer.response)
        assert next(parts) == b":\n\n"
        kept = [weakref.ref(one) for one in gc.get_objects() if type(one).__name__ == "Listener"]
        assert [one() for one in kept] != []
        answer.close()
        del answer, parts
        assert [one() for one in kept] == [None]
    finally:
        gc.enable()


class Environ(dict[str, Any]):
    """To which others can refer weakly."""


def test_a_stream_keeps_nothing_of_its_request(tmp_path: Path) -> None:
    app = create_app(Settings(storage=storage_in(tmp_path)))
    client = app.test_client()
    client.post("/ajax", data={"type": "send_message", "name": "Anna", "message": "Hello"})
    cookie = client.get_cookie("sitechat")
    assert cookie is not None
    headers = [("Cookie", f"sitechat={cookie.value}")]
    environ = Environ(EnvironBuilder("/ajax?type=chat_stream", headers=headers).get_environ())
    request, sent = weakref.ref(environ), list[bytes]()
    ours, theirs = socket.socketpair()
    gc.collect()
    gc.disable()
    try:
        with closing(Connection(ours, Connections(1_000))) as connection, closing(theirs):
            environ["gunicorn.socket"] = connection
            app.wsgi_app(environ, lambda *_: sent.append)
            del environ
            assert request() is None
            assert (sent, next(connection.stream)) == ([b""], b":\n\n")
            assert app.extensions["sitechat"].live.open() == 1
            connection.end_stream()
            assert app.extensions["sitechat"].live.open() == 0
    finally:
        gc.enable()
