"""Uploads against those who send what we did not ask for, or nothing, or more than the disk has."""

import io
import os
import resource
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent  # type: ignore[import-untyped]
import pytest
from apps import services_of
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from files import Files
from services import UPLOADS, Services
from settings import FilesSettings, Settings, StorageSettings
from store.database import DiskFull
from store.file_folder import RESERVE_BYTES, SLACK_BYTES, Arrival
from under_way import Place
from web.uploads import MAX_PARTS

KIND = "multipart/form-data; boundary=x"
MEGABYTE = 1 << 20


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = make_app(tmp_path)
    yield app
    services_of(app).store.close()


def make_app(folder: Path, **files: Any) -> Flask:
    storage = StorageSettings(url=f"sqlite:///{folder}/db/chats.db", files=f"{folder}/files")
    return create_app(Settings(storage=storage, files=FilesSettings(**files)))


def part(name: str, value: str, file: str | None = None) -> bytes:
    file_name = "" if file is None else f'; filename="{file}"'
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"{file_name}\r\n\r\n'
    return f"{head}{value}\r\n".encode()


UPLOAD = part("type", "upload_file")
END = b"--x--\r\n"


def post(client: FlaskClient, body: bytes | Any, path: str = "/ajax", **named: Any) -> TestResponse:
    stream = io.BytesIO(body) if isinstance(body, bytes) else body
    length = named.pop("length", len(body) if isinstance(body, bytes) else 500)
    headers = {"Accept": "application/json", "Accept-Language": "en"} | named.pop("headers", {})
    return client.post(
        path,
        environ_overrides={
            "wsgi.input": stream,
            "CONTENT_LENGTH": str(length),
            "CONTENT_TYPE": named.pop("kind", KIND),
        },
        headers=headers,
    )


def error_of(answer: TestResponse) -> tuple[int, str]:
    assert answer.json is not None
    return answer.status_code, answer.json["result"]["error"]


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


class Then:
    """A body whose first bytes come; what is asked for after them is done by `more`."""

    def __init__(self, first: bytes, more: Any) -> None:
        self._first = io.BytesIO(first)
        self._more = more

    def read(self, size: int) -> bytes:
        return self._first.read(size) or self._more(size)


def nothing_more(_: int) -> bytes:
    raise AssertionError("more was read than the head of the file's part")


# -- checked before its bytes come


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (UPLOAD + part("file", "MZ", "run.exe"), 415, "FILE_TYPE"),
        (UPLOAD + part("picture", "x", "a.png"), 400, "ONE_FILE"),
        (UPLOAD + part("file", "", ""), 400, "FILE_MISSING"),
        (UPLOAD + part("client_id", "1") + part("file", "x", "a.png"), 400, "CLIENT_ID"),
        (UPLOAD + part("file", "<html>", "page"), 415, "FILE_TYPE"),
        (UPLOAD + part("name", "n" * 101) + part("file", "x", "a.png"), 400, "NAME_LONG"),
        (part("type", "send_message") + part("file", "x", "a.png"), 400, "NO_FILE_HERE"),
        (part("type", "identify") + part("x", "x", "a.png"), 400, "NO_FILE_HERE"),
        (UPLOAD + part("file", "x", "a.png") + part("file", "x", "a.png"), 400, "ONE_FILE"),
        (UPLOAD + part("file", "x", "a.png") + part("other", "", ""), 400, "ONE_FILE"),
    ],
)
def test_what_can_be_known_is_refused_before_the_rest_comes(
    app: Flask, tmp_path: Path, body: bytes, status: int, error: str
) -> None:
    answer = post(app.test_client(), Then(body, nothing_more), length=10 * MEGABYTE)

    if error == "NO_FILE_HERE":  # such a request may not be so large either
        assert error_of(answer) == (413, "TOO_LARGE")
        answer = post(app.test_client(), Then(body, nothing_more))
    assert error_of(answer) == (status, error)
    assert files_below(tmp_path / "files") == []
    assert services_of(app).files.under_way() == 0


@pytest.mark.parametrize("path", ["/ajax", "/handler", "/install"])
@pytest.mark.parametrize("field", ["file", "event"])
def test_many_files_open_none(app: Flask, tmp_path: Path, path: str, field: str) -> None:
    body = b"".join(part(f"{field}{number}", "x", "a.png") for number in range(990))

    answer = post(app.test_client(), Then(body, nothing_more), path)

    assert answer.status_code == 400
    assert not (tmp_path / "files").exists()


def test_a_form_has_few_parts(app: Flask) -> None:
    body = b"".join(part(f"field{number}", "x") for number in range(MAX_PARTS + 1))

    assert error_of(post(app.test_client(), body + END)) == (413, "TOO_LARGE")


def test_the_fields_of_an_upload_are_no_larger_than_of_other_requests(app: Flask) -> None:
    body = b"".join(part(f"field{number}", "x" * 200_000) for number in range(6))

    answer = post(app.test_client(), UPLOAD + body + END)

    assert error_of(answer) == (413, "TOO_LARGE")


def test_files_that_are_switched_off_are_not_received(tmp_path: Path) -> None:
    app = make_app(tmp_path, enabled=False)

    answer = post(app.test_client(), Then(UPLOAD + part("file", "x", "a.png"), nothing_more))

    assert error_of(answer) == (403, "FILES_OFF")
    assert not (tmp_path / "files").exists()
    services_of(app).store.close()


def test_a_file_larger_than_allowed_is_given_up_as_soon_as_it_is(tmp_path: Path) -> None:
    app = make_app(tmp_path, megabytes=1)
    sent = 0

    def more(size: int) -> bytes:
        nonlocal sent
        sent += size
        return bytes(size)

    start = UPLOAD + part("file", "", "a.pdf")[:-2]
    answer = post(app.test_client(), Then(start, more), length=2 * MEGABYTE)

    assert error_of(answer) == (413, "FILE_LARGE")
    assert sent < MEGABYTE + (200 << 10)
    assert files_below(tmp_path / "files") == []
    services_of(app).store.close()


def test_the_kind_of_request_may_come_after_the_file(app: Flask) -> None:
    answer = post(app.test_client(), part("file", "text", "a.txt") + UPLOAD + END)

    assert answer.status_code == 200
    answer = post(app.test_client(), part("file", "x", "a.txt") + part("type", "forget") + END)
    assert services_of(app).files.under_way() == 0


def test_one_visitor_sends_few_files_at_once(app: Flask) -> None:
    client = app.test_client()
    first = post(client, UPLOAD + part("file", "x", "a.txt") + END)
    assert first.json is not None
    uploads = services_of(app).uploads
    places = [Place(None, first.json["chat"], lambda: None) for _ in range(UPLOADS[2])]
    for place in places:
        uploads.begin(place)

    answer = post(client, Then(UPLOAD + part("file", "x", "a.txt"), nothing_more))

    assert error_of(answer) == (429, "MANY_UPLOADS")
    assert int(answer.headers["Retry-After"]) > 0
    uploads.end(places.pop())
    assert post(client, UPLOAD + part("file", "x", "a.txt") + END).status_code == 200


def test_a_process_receives_so_many_files_at_once_and_a_newcomer_is_let_in(app: Flask) -> None:
    uploads, given_up = services_of(app).uploads, []
    for number in range(UPLOADS[0]):
        uploads.begin(Place(None, None, lambda number=number: given_up.append(number)))  # type: ignore[misc]

    answer = post(app.test_client(), UPLOAD + part("file", "x", "a.txt") + END)

    assert answer.status_code == 200
    assert given_up == [0]
    assert len(uploads) == UPLOADS[0] - 1


# -- bodies that do not come


def silence(_: int) -> bytes:
    gevent.sleep(5)
    return b""


def trickle(_: int) -> bytes:
    gevent.sleep(0.01)
    return b"x"


@pytest.mark.parametrize("more", [silence, trickle])
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/ajax", "application/x-www-form-urlencoded"),
        ("/ajax", KIND),
        ("/handler", "application/x-www-form-urlencoded"),
        ("/install", KIND),
    ],
)
def test_a_body_that_does_not_come_is_given_up(
    app: Flask, path: str, kind: str, more: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.bodies.SILENCE_SECONDS", 0.1)
    monkeypatch.setattr("web.bodies.GRACE_SECONDS", 0.1)
    begun = time.monotonic()

    answer = post(app.test_client(), Then(b"a", more), path, kind=kind, length=2_000)

    assert answer.status_code == 408
    assert "in time" in answer.text
    assert time.monotonic() - begun < 3


def test_the_file_of_an_upload_that_does_not_come_is_removed(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.bodies.SILENCE_SECONDS", 0.1)
    start = UPLOAD + part("file", "x" * 100, "a.pdf")[:-2]

    answer = post(app.test_client(), Then(start, silence), headers={"Accept-Language": "ru"})

    assert error_of(answer) == (408, "REQUEST_TIMEOUT")
    assert "не пришёл" in answer.json["result"]["error_description"]  # type: ignore[index]
    assert files_below(tmp_path / "files") == []
    assert services_of(app).files.under_way() == 0


def test_a_slow_body_is_waited_for(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.bodies.SILENCE_SECONDS", 0.5)
    pieces = iter([UPLOAD, part("file", "x", "a.txt"), END])

    def more(_: int) -> bytes:
        gevent.sleep(0.2)
        return next(pieces, b"")

    length = len(UPLOAD + part("file", "x", "a.txt") + END)
    assert post(app.test_client(), Then(b"", more), length=length).status_code == 200


@pytest.mark.parametrize("more", [silence, trickle])
def test_an_upload_that_is_given_up_is_told_so_at_once_and_leaves_nothing(
    app: Flask, tmp_path: Path, more: Any
) -> None:
    start = UPLOAD + part("file", "x" * 100, "a.pdf")[:-2]
    slow = gevent.spawn(post, app.test_client(), Then(start, more), length=1_000_000)
    services = services_of(app)
    while not services.files.under_way():
        gevent.sleep(0.01)
    begun = time.monotonic()

    with app.app_context():  # as within the request of another one
        fill(services)

    assert services.files.under_way() == 0, "its room on the disk is free for the newcomer"
    assert files_below(tmp_path / "files") == []
    answer = slow.get()
    assert error_of(answer) == (429, "MANY_UPLOADS")
    assert answer.headers["Retry-After"] == "5"
    assert time.monotonic() - begun < 3
    assert files_below(tmp_path / "files") == []


def test_an_upload_that_has_come_is_not_given_up(app: Flask, monkeypatch: Any) -> None:
    reached, goes_on = threading.Event(), threading.Event()

    def slow_disk(_: int) -> None:
        reached.set()
        goes_on.wait(10)

    monkeypatch.setattr(os, "fsync", slow_disk)
    body = UPLOAD + part("file", "x", "a.txt") + END
    upload = gevent.spawn(post, app.test_client(), body)
    while not reached.is_set():
        gevent.sleep(0.01)
    with pytest.raises(pytest.fail.Exception):  # another one is given up for the last of these
        fill(services_of(app))
    goes_on.set()

    assert upload.get().status_code == 200
    assert len(services_of(app).uploads) == UPLOADS[0] - 1


def test_a_disk_that_hangs_holds_up_nobody_else_and_the_upload_is_answered(
    app: Flask, monkeypatch: Any
) -> None:
    """As a shared folder whose server is away: the page tries again after the 503."""
    reached, goes_on = threading.Event(), threading.Event()

    def hanging(folder: Path) -> Any:
        reached.set()
        goes_on.wait(10)
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", hanging)
        patch.setattr("store.file_folder.ANSWER_SECONDS", 0.5)
        began = time.monotonic()
        upload = gevent.spawn(post, app.test_client(), UPLOAD + part("file", "x", "a.txt") + END)
        while not reached.is_set():
            gevent.sleep(0.01)
        assert time.monotonic() - began < 0.5, "the loop goes on"
        answer = upload.get(timeout=5)
        goes_on.set()

    assert error_of(answer) == (503, "STORE")


def test_an_upload_that_is_given_up_while_a_piece_comes_is_told_so(app: Flask) -> None:
    """The piece has come when the upload is given up: it is written nowhere any more."""
    services = services_of(app)

    def last_piece(_: int) -> bytes:
        fill(services)
        return b"x"

    start = UPLOAD + part("file", "x" * 100, "a.pdf")[:-2]

    answer = post(app.test_client(), Then(start, last_piece), length=1_000_000)

    assert error_of(answer) == (429, "MANY_UPLOADS")


def fill(services: Services) -> None:
    """As many uploads as may be under way, each from an address of its own."""
    for number in range(UPLOADS[0]):
        services.uploads.begin(Place(f"{number}", None, lambda: pytest.fail("given up")))


# -- the disk


def test_uploads_that_grow_side_by_side_leave_the_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = RESERVE_BYTES + SLACK_BYTES + 7 * MEGABYTE
    usage = shutil.disk_usage(tmp_path)

    def free(_: Any) -> Any:
        return usage._replace(free=size - sum(one.stat().st_size for one in files_below(tmp_path)))

    monkeypatch.setattr(shutil, "disk_usage", free)
    both = [Files(tmp_path), Files(tmp_path)]  # as two processes have them
    arrivals = [(files, files.arriving()) for files in both for _ in range(13)]
    growing: list[tuple[Files, Arrival]] = list(arrivals)
    while growing:
        for files, arrival in list(growing):
            try:
                arrival.write(bytes(128 << 10))
            except DiskFull:
                growing.remove((files, arrival))
        assert free(None).free >= RESERVE_BYTES

    for files, arrival in arrivals:
        files.discard(arrival)
    assert files_below(tmp_path) == []


def test_what_uploads_under_way_still_bring_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = RESERVE_BYTES + SLACK_BYTES + 10 * MEGABYTE
    usage = shutil.disk_usage(tmp_path)._replace(free=size)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    files = Files(tmp_path)
    first = files.arriving(8 * MEGABYTE)

    with pytest.raises(DiskFull):
        files.arriving(3 * MEGABYTE)

    files.discard(first)
    files.discard(files.arriving(3 * MEGABYTE))


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: as a full disk, the system refuses to write more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("language", "said"), [("en", "disk is full"), ("ru", "диск заполнен")])
def test_a_full_disk_is_a_503_that_says_so_and_leaves_nothing(
    app: Flask, tmp_path: Path, language: str, said: str
) -> None:
    client, headers = app.test_client(), {"Accept-Language": language}
    assert (
        client.post("/ajax", data={"type": "send_message", "message": "hello"}).status_code == 200
    )
    asked: dict[str, bytes] = {
        "a message": part("type", "send_message") + part("message", "x" * 9_000) + END,
        "a small file": UPLOAD + part("file", "x", "a.txt") + END,
        "a large file": UPLOAD + part("file", "x" * 100_000, "a.txt") + END,
        "a deletion": part("type", "delete_conversation") + part("sure", "yes") + END,
    }
    with full_disk(20_000):
        for what, body in asked.items():
            answer = post(client, body, headers=headers)
            assert error_of(answer) == (503, "DISK_FULL"), what
            assert said in answer.json["result"]["error_description"], what  # type: ignore[index]
            assert answer.headers["Retry-After"]
            assert files_below(tmp_path / "files") == [], what
    assert client.post("/ajax", data={"type": "send_message", "message": "on"}).status_code == 200


def test_an_install_says_that_the_disk_is_full(tmp_path: Path) -> None:
    storage = StorageSettings(url=f"sqlite:///{tmp_path}/db/chats.db")
    bitrix24: Any = {"portal": "https://a.example", "client_id": "a", "client_secret": "b"}
    app = create_app(Settings(storage=storage, bitrix24=bitrix24))
    app.test_client().get("/install")  # its compiled template is kept on the disk, too
    services_of(app).store.close()
    shutil.rmtree(tmp_path / "db")
    for name in app.jinja_env.list_templates():  # which the tests keep compiled, in files
        app.jinja_env.get_template(name)

    with full_disk(1_000):
        answer = app.test_client().get("/install", headers={"Accept-Language": "ru"})

    assert answer.status_code == 503
    assert "диск заполнен" in answer.text
    services_of(app).store.close()
