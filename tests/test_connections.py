"""Connections that say nothing keep nobody out, with few descriptors; streams are limited."""

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from stage import HOST, Stage, wait_until

from web.worker import CONNECTIONS, STREAMS, Limits

DESCRIPTORS = 256
FEW = 60
SOON_SECONDS = 12.0  # sooner than a body that does not come is given up


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """With few descriptors, of which the server is given half at first."""
    stage = Stage(
        tmp_path_factory.mktemp("connections"),
        SITECHAT_SERVER__PROXIES="1",
        SITECHAT_LIMITS__ADDRESS_STREAMS="20",
    )
    command = f'ulimit -S -n {DESCRIPTORS // 2}; ulimit -H -n {DESCRIPTORS}; exec "$@"'
    stage.through = ["sh", "-c", command, "sh"]
    with stage:
        yield stage


def worker_of(stage: Stage) -> int:
    assert stage.app is not None
    children = Path(f"/proc/{stage.app.pid}/task/{stage.app.pid}/children")
    return int(children.read_text().split()[0])


def connect(stage: Stage, first: bytes = b"") -> socket.socket:
    port = int(stage.chat.rpartition(":")[2])
    connection = socket.create_connection((HOST, port), timeout=SOON_SECONDS)
    connection.sendall(first)
    return connection


def test_the_server_uses_as_many_descriptors_as_it_may(stage: Stage) -> None:
    limits = resource.prlimit(worker_of(stage), resource.RLIMIT_NOFILE)

    assert limits == (DESCRIPTORS, DESCRIPTORS)


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"POST /ajax HTTP/1.1\r\nHost:",
        b"POST /ajax HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\na",
    ],
    ids=["idle", "headers", "body"],
)
def test_whoever_waits_longest_is_closed_for_a_new_one(stage: Stage, first: bytes) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(DESCRIPTORS + 50):
            opened.enter_context(connect(stage, first))

        begun = time.monotonic()
        assert stage.visitor().send("hello")["result"]["state"] == "stored"

        assert time.monotonic() - begun < SOON_SECONDS
    assert "Too many open files" not in stage.log.read_text()


def test_a_head_that_would_take_long_to_read_is_refused(stage: Stage) -> None:
    headers = {f"X-{number}": "a" * 8_000 for number in range(40)}

    with requests.Session() as http:
        answer = http.get(f"{stage.chat}/", headers=headers, timeout=10)
        assert answer.status_code == 431

        for _ in range(3):  # each head on the same connection counts for itself
            answer = http.get(f"{stage.chat}/", headers=dict([*headers.items()][:7]), timeout=10)
            assert answer.status_code == 200
    assert "Traceback" not in stage.log.read_text()


def test_a_body_is_no_head(stage: Stage) -> None:
    visitor = stage.visitor()
    visitor.http.headers["Connection"] = "keep-alive"

    for _ in range(3):
        file = {"file": ("a.pdf", bytes(4 << 20))}
        url = f"{stage.chat}/ajax"
        assert visitor.http.post(url, {"type": "upload_file"}, files=file, timeout=60).ok


def test_files_that_nobody_reads_keep_no_one_out(stage: Stage) -> None:
    """Each takes two descriptors: the connection's and the file's."""
    visitor = stage.visitor()
    file = {"file": ("a.pdf", bytes(4 << 20))}
    url = f"{stage.chat}/ajax"
    assert visitor.http.post(url, {"type": "upload_file"}, files=file, timeout=60).ok
    key = visitor.history().partition("key=")[2].partition('"')[0]
    request = f"GET /ajax?type=file&key={key} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    port = int(stage.chat.rpartition(":")[2])
    with contextlib.ExitStack() as opened:
        for _ in range(DESCRIPTORS - 50):
            connection = opened.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((HOST, port))
            connection.sendall(request)

        assert stage.visitor().send("hello")["result"]["state"] == "stored"

    assert "Too many open files" not in stage.log.read_text()


def test_a_server_with_few_connections_closes_none(stage: Stage) -> None:
    descriptors = Path(f"/proc/{worker_of(stage)}/fd")
    wait_until(lambda: len([*descriptors.iterdir()]) < FEW, why="the end of other tests' files")
    with connect(stage) as idle:
        assert stage.visitor().send("hello")["result"]["state"] == "stored"
        idle.settimeout(0.3)
        with pytest.raises(TimeoutError):
            idle.recv(1)


def test_the_streams_of_an_address_are_limited_and_polls_go_on(stage: Stage) -> None:
    headers = {"X-Forwarded-For": "203.0.113.9"}
    streams = []

    def ask(query: str = "") -> requests.Response:
        visitor = stage.visitor()
        visitor.http.headers.update(headers)
        visitor.send("hello")
        url = f"{stage.chat}/ajax?type=chat_stream{query}"
        return visitor.http.get(url, stream=True, timeout=30)

    for _ in range(20):
        streams.append(ask())
        assert streams[-1].status_code == 200
    refused = ask()

    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "30")
    assert ask("&once=1").status_code == 200
    headers["X-Forwarded-For"] = "203.0.113.10"
    another = ask()
    assert another.status_code == 200
    for stream in (*streams, another):
        stream.close()


def test_a_question_for_the_head_of_a_stream_takes_no_place(stage: Stage) -> None:
    visitor = stage.visitor()
    visitor.http.headers["X-Forwarded-For"] = "203.0.113.11"
    visitor.send("hello")
    url = f"{stage.chat}/ajax?type=chat_stream"

    assert {visitor.http.head(url, timeout=30).status_code for _ in range(30)} == {200}

    with visitor.http.get(url, stream=True, timeout=30) as stream:
        assert stream.status_code == 200


def test_an_ended_stream_closes_its_connection(stage: Stage) -> None:
    visitor = stage.visitor()
    visitor.send("hello")
    cookies = "; ".join(f"{one.name}={one.value}" for one in visitor.http.cookies)
    request = (
        f"GET /ajax?type=chat_stream HTTP/1.1\r\nHost: a\r\nCookie: {cookies}\r\n\r\n".encode()
    )
    with contextlib.ExitStack() as opened:
        first = opened.enter_context(connect(stage, request))
        for _ in range(10):
            assert opened.enter_context(connect(stage, request)).recv(15) == b"HTTP/1.1 200 OK"

        said = b""
        while piece := first.recv(4096):
            said += piece

    assert said.endswith(b"0\r\n\r\n")  # it is told that this is all


def test_a_stream_begins_for_old_clients_and_with_a_body_too(stage: Stage) -> None:
    visitor = stage.visitor()
    visitor.send("hello")
    cookies = "; ".join(f"{one.name}={one.value}" for one in visitor.http.cookies)
    ask = f"GET /ajax?type=chat_stream HTTP/%b\r\nHost: a\r\nCookie: {cookies}\r\n%b".encode()
    whole = b"3\r\n:\n\n\r\n"
    for version, rest, first in (
        (b"1.0", b"\r\n", b":\n\n"),
        (b"1.1", b"Content-Length: 4\r\n\r\nbody", whole),
        (b"1.1", b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", whole),
    ):
        said = b""
        with connect(stage, ask % (version, rest)) as connection:
            while not said.endswith(first):
                said += connection.recv(4096)
        assert said.partition(b"\r\n\r\n")[2] == first


@pytest.mark.parametrize("descriptors", [256, 1_024, 4_096, 20_000, 1_000_000])
def test_there_are_always_descriptors_beside_connections_and_connections_beside_streams(
    descriptors: int,
) -> None:
    limits = Limits(descriptors)

    assert limits.connections <= CONNECTIONS
    assert limits.streams <= STREAMS
    assert limits.connections + min(descriptors // 8, 128) <= descriptors
    assert limits.crowded < limits.connections
    assert limits.streams <= limits.crowded - min(limits.crowded // 5, 256)
    assert limits.streams > descriptors // 3 or limits.streams == STREAMS
