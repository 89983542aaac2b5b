"""Busy clients are served in turn with all others, and an answer is sent in one piece."""

import logging
import socket
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace

import pytest
from stage import HOST, Stage

from store.database import StoreUnavailable
from web.connections import Connection, Connections
from web.worker import Worker

ASK = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
ANSWER = b"HTTP/1.1 200"
MANY = 1_000
FEW = 60  # answers of one client before another's; some may be given before the other has asked


def connect(stage: Stage) -> socket.socket:
    port = int(stage.listens.rpartition(":")[2])
    return socket.create_connection((HOST, port), timeout=30)


def answers_before(stage: Stage) -> int:
    """How many answers a client that asks MANY times at once gets before another gets one."""
    with closing(connect(stage)) as busy, closing(connect(stage)) as other:
        for one in (busy, other):  # both are known and kept
            one.sendall(ASK)
            assert one.recv(65_536).startswith(ANSWER)
        busy.sendall(ASK * MANY)
        other.sendall(ASK)
        assert other.recv(65_536).startswith(ANSWER)
        busy.setblocking(False)
        received = b""
        try:
            while piece := busy.recv(1 << 20):
                received += piece
        except BlockingIOError:
            return received.count(ANSWER)
    return MANY


def test_a_client_that_asks_on_and_on_does_not_keep_the_others_waiting(stage: Stage) -> None:
    assert min(answers_before(stage) for _ in range(5)) < FEW


# -- one piece


@pytest.fixture
def client() -> Iterator[tuple[Connection, socket.socket]]:
    """A connection that answers a request, and the client's end of it."""
    ours, theirs = socket.socketpair()
    connections = Connections(10_000)
    connection = Connection(ours, connections)
    connections.opened(connection)
    connections.request_begins(connection)
    theirs.setblocking(False)
    with closing(connection), closing(theirs):
        yield connection, theirs


def got(theirs: socket.socket) -> bytes:
    try:
        return theirs.recv(4096)
    except BlockingIOError:
        return b""


def test_the_head_of_an_answer_goes_with_the_first_piece_of_its_body(
    client: tuple[Connection, socket.socket],
) -> None:
    ours, theirs = client

    ours.sendall(b"head")
    assert got(theirs) == b""
    ours.sendall(b"body")
    assert got(theirs) == b"headbody"
    ours.sendall(b"more")
    assert got(theirs) == b"more"


def test_a_head_alone_is_sent_too(client: tuple[Connection, socket.socket]) -> None:
    ours, theirs = client

    ours.sendall(b"head")
    ours.flush()
    ours.flush()

    assert got(theirs) == b"head"


def test_the_head_goes_before_the_pieces_of_a_file(
    client: tuple[Connection, socket.socket],
) -> None:
    ours, theirs = client

    ours.sendall(b"head")
    ours.send(b"file")

    assert got(theirs) == b"headfile"


def test_the_head_of_a_stream_does_not_wait_for_its_first_event(
    client: tuple[Connection, socket.socket],
) -> None:
    ours, theirs = client
    ours.begin_stream(iter([b"event"]), lambda: None, is_chunked=True)

    ours.sendall(b"head")

    assert got(theirs) == b"head"


@pytest.mark.parametrize(
    ("is_chunked", "sent"),
    [
        (True, b"3\r\none\r\n10\r\nfollowed by this\r\n0\r\n\r\n"),
        (False, b"onefollowed by this"),
    ],
)
def test_the_pieces_of_a_stream_tell_their_length_to_who_can_read_it(
    client: tuple[Connection, socket.socket], is_chunked: bool, sent: bytes
) -> None:
    ours, theirs = client
    left: list[bool] = []
    ours.begin_stream(
        iter([b"one", b"followed by this"]), lambda: left.append(True), is_chunked=is_chunked
    )

    ours.give_stream()
    ours.end_stream()
    ours.end_stream()

    assert got(theirs) == sent
    assert left == [True]


def test_each_answer_of_a_connection_is_one_piece(
    client: tuple[Connection, socket.socket],
) -> None:
    ours, theirs = client

    for number in range(3):
        ours.sendall(b"head")
        ours.sendall(b"body")
        assert got(theirs) == b"headbody", number
        ours.connections.request_ended(ours)
        ours.connections.request_begins(ours)


def test_a_stream_that_fails_is_cut_off_and_no_page_of_an_error_follows(
    client: tuple[Connection, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = client

    def events() -> Iterator[bytes]:
        yield b"one"
        raise StoreUnavailable("the disk is away")

    ours.begin_stream(events(), lambda: None, is_chunked=True)
    request = SimpleNamespace(headers=[("COOKIE", "sitechat=1")])
    worker = SimpleNamespace(log=logging.getLogger("gunicorn.error"))

    Worker._give_stream(worker, request, ours)  # type: ignore[arg-type]

    assert got(theirs) == b"3\r\none\r\n"
    assert theirs.recv(1) == b"", "the end, without a chunk that says that this is all"
    assert "the disk is away" in caplog.text
    assert request.headers == []
