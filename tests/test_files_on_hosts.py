"""Visitors' files where several hosts serve: what one has received any other one gives out."""

import base64
import html
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from postgres import Server
from stage import Stage, Visitor, wait_until
from test_files import PNG, address, upload

from bbcode import RENDERER
from services import Services
from settings import ROOT, Settings, StorageSettings
from storage import Store

MEGABYTE = 1 << 20
PICTURE = PNG + os.urandom(700_000)
FOLDER = "a shared folder"


@pytest.fixture(scope="module", params=["the database", FOLDER])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with closing(Server(durable=True)) as server:
        yield server


@pytest.fixture(scope="module")
def hosts(
    tmp_path_factory: pytest.TempPathFactory, server: Server, kind: str
) -> Iterator[tuple[Stage, Stage]]:
    """Two hosts with a database, each with a disk of its own."""
    one, other = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    common = {"SITECHAT_STORAGE__URL": server.new_database()}
    if kind == FOLDER:
        common["SITECHAT_STORAGE__FILES"] = str(tmp_path_factory.mktemp("shared"))
    else:
        common["SITECHAT_STORAGE__FILES_IN"] = "database"
    with Stage(one, 1, **common) as first:
        first.install()
        second = Stage(other, 1, **common, SITECHAT_PUBLIC_URL=first.chat)
        second.portal, second.oauth = first.portal, first.oauth
        try:
            second.start()
            yield first, second
        finally:
            second.__exit__()
        with closing(Store(common["SITECHAT_STORAGE__URL"], ROOT, RENDERER)) as store:
            keys = [row["key"] for row in store.database.rows("select key from files")]
        for host in (first, second):
            log = host.log.read_text()
            assert "Traceback" not in log
            assert keys
            assert not [key for key in keys if key in log]


def at(host: Stage, link: str) -> str:
    """The same address at this very host."""
    return link.replace(host.settings.get("SITECHAT_PUBLIC_URL", host.chat), host.chat)


def same_visitor(visitor: Visitor, host: Stage) -> Visitor:
    """The visitor, whose next request another host answers."""
    other = Visitor(host.chat)
    other.http.cookies.update(visitor.http.cookies)
    return other


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_one_host_has_received_the_other_one_gives_out(
    hosts: tuple[Stage, Stage], kind: str
) -> None:
    one, other = hosts
    visitor = one.visitor()
    chat = upload(visitor, "a.png", PICTURE).json()["chat"]
    link = address(visitor)

    answers = [requests.get(at(host, link), timeout=30) for host in hosts]

    assert [answer.content for answer in answers] == [PICTURE] * 2
    own = {"Date": "", "X-Request-Id": ""}
    first, second = (dict(answer.headers) | own for answer in answers)
    assert first == second
    assert first["Content-Length"] == str(len(PICTURE))
    assert first["Content-Type"] == "image/png"
    assert first["Last-Modified"]
    wait_until(lambda: one.dialog(chat).get("messages"), why="the portal's copy")
    shared = Path(one.environment()["SITECHAT_STORAGE__FILES"])
    assert len(list(shared.glob(f"{chat}/*"))) == (kind == FOLDER)
    assert files_below(other.folder / "chats") == files_below(one.folder / "chats") == []


def test_parts_and_repeats_are_answered_as_of_a_file_on_the_disk(
    hosts: tuple[Stage, Stage],
) -> None:
    visitor = hosts[0].visitor()
    upload(visitor, "a.png", PICTURE)
    link = at(hosts[1], address(visitor))
    etag = requests.head(link, timeout=30).headers["ETag"]
    for given, start, end in (
        ("bytes=0-9", 0, 10),
        (f"bytes=262000-{len(PICTURE) - 1}", 262_000, len(PICTURE)),
        ("bytes=-5", len(PICTURE) - 5, len(PICTURE)),
    ):
        part = requests.get(link, headers={"Range": given, "If-Range": etag}, timeout=30)

        assert (part.status_code, part.content) == (206, PICTURE[start:end])
        assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(PICTURE)}"

    none = requests.get(link, headers={"Range": f"bytes={len(PICTURE)}-"}, timeout=30)
    again = requests.get(link, headers={"If-None-Match": etag}, timeout=30)

    assert none.status_code == 416
    assert (again.status_code, again.content) == (304, b"")


def test_a_saved_conversation_has_the_pictures_of_the_other_host(
    hosts: tuple[Stage, Stage],
) -> None:
    visitor = hosts[0].visitor()
    upload(visitor, "a.png", PICTURE)

    saved = same_visitor(visitor, hosts[1]).post(type="save_conversation").text

    [data] = re.findall(r"data:image/png;base64,([^\"]+)", saved)
    assert base64.b64decode(data, validate=True) == PICTURE


def test_what_a_host_deletes_is_gone_at_the_other(hosts: tuple[Stage, Stage], kind: str) -> None:
    """Whoever is receiving it loses the connection, and takes nothing else for the rest."""
    one, other = hosts
    visitor = one.visitor()
    content = PNG + os.urandom(12 * MEGABYTE)
    upload(visitor, "a.png", content)
    link = html.unescape(address(visitor))
    host, port = other.chat.removeprefix("http://").split(":")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        connection.settimeout(20)
        connection.connect((host, int(port)))
        asked = f"GET /ajax?{urlsplit(link).query} HTTP/1.1\r\nHost: {host}\r\n\r\n"
        connection.sendall(asked.encode())
        head, _, body = connection.recv(8 << 10).partition(b"\r\n\r\n")

        gone = visitor.post(type="delete_conversation")
        while len(body) < len(content) and (part := connection.recv(1 << 20)):
            body += part

    assert gone.status_code == 200
    assert head.startswith(b"HTTP/1.1 200 ")
    assert content.startswith(body)
    assert (body == content) is (kind == FOLDER), "an open file stays until it is closed"
    assert [requests.get(at(host, link), timeout=30).status_code for host in hosts] == [404] * 2


def test_what_a_host_that_died_was_receiving_is_not_there(
    hosts: tuple[Stage, Stage], kind: str
) -> None:
    one, other = hosts
    visitor = other.visitor()
    visitor.send("Hello")
    folder = Path(other.environment()["SITECHAT_STORAGE__FILES"]) / "arriving"
    cookies = "; ".join(f"{one.name}={one.value}" for one in visitor.http.cookies)
    host, port = other.chat.removeprefix("http://").split(":")
    body = (
        b'--x\r\nContent-Disposition: form-data; name="type"\r\n\r\nupload_file\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    )
    head = (
        f"POST /ajax HTTP/1.1\r\nHost: {host}\r\nCookie: {cookies}\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {MEGABYTE}\r\n\r\n"
    )
    before = {*folder.glob("*")}
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode() + body + PICTURE)
        wait_until(lambda: {*folder.glob("*")} - before, why="a part of the file")
        other.kill()
    other.start()

    assert "type=file" not in visitor.history()
    with closing(Store(one.settings["SITECHAT_STORAGE__URL"], ROOT, RENDERER)) as store:
        assert store.database.rows("select * from kept_files where is_whole = 0") == []
    for left in {*folder.glob("*")} - before:
        left.unlink()


def test_a_database_that_is_restarted_loses_no_file_and_keeps_no_half(
    hosts: tuple[Stage, Stage], server: Server
) -> None:
    stop, answers = threading.Event(), list[requests.Response]()
    visitors = [host.visitor() for host in hosts]

    def send(visitor: Visitor) -> None:
        while not stop.is_set():
            answers.append(upload(visitor, "a.png", PICTURE))

    threads = [threading.Thread(target=send, args=(visitor,)) for visitor in visitors]
    for thread in threads:
        thread.start()
    for _ in range(2):
        before = len(answers)
        wait_until(lambda before=before: len(answers) > before + 1)  # type: ignore[misc]
        server.control("-m", "immediate", "restart")
    wait_until(lambda: answers[-1].status_code == 200)
    stop.set()
    for thread in threads:
        thread.join()

    assert {answer.status_code for answer in answers} <= {200, 503}
    kept = [answer.json()["chat"] for answer in answers if answer.status_code == 200]
    found = [
        link
        for visitor in visitors
        for link in {*re.findall(r'href="([^"]+type=file[^"]+)"', visitor.history(limit=50))}
    ]
    assert len(found) >= min(len(kept), 50)
    for link in found:
        assert requests.get(html.unescape(link), timeout=30).content == PICTURE


def test_the_doctor_misses_files_that_are_on_another_hosts_disk(
    hosts: tuple[Stage, Stage], kind: str, tmp_path: Path
) -> None:
    upload(hosts[0].visitor(), "a.png", PICTURE)

    storage = StorageSettings(
        url=hosts[1].settings["SITECHAT_STORAGE__URL"],
        files=str(tmp_path),
        files_in="folder" if kind == FOLDER else "database",
    )
    parts = Services.of(Settings(storage=storage))
    found = {finding.key for finding in parts.doctor.local()}
    parts.store.close()

    assert ("files_lost" in found) is (kind == FOLDER)
