"""Files from visitors: names, keeping, serving and sending, against hostile ones too."""

import base64
import html
import io
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from stage import Stage, Visitor, wait_until
from test_round_trip import PICTURE

from app import create_app
from files import (
    Files,
    may_become_picture,
    media_type,
    picture_type,
    safe_name,
    short_name,
)
from settings import FilesSettings as Rules
from settings import LimitsSettings, Settings, StorageSettings
from store.database import StoreUnavailable
from store.file_folder import RESERVE_BYTES

PNG = base64.b64decode(PICTURE)
MEGABYTE = 1 << 20
DAY = 86_400


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Where even what a browser would run may be uploaded."""
    types = '["png", "jpg", "gif", "html", "svg", "pdf", "txt", "mp4"]'
    with Stage(tmp_path_factory.mktemp("files"), SITECHAT_FILES__TYPES=types) as stage:
        stage.install()
        yield stage


def upload(visitor: Visitor, name: str, content: Any, **fields: str) -> requests.Response:
    return visitor.http.post(
        f"{visitor.chat}/ajax",
        data={"type": "upload_file", "name": "Anna", **fields},
        files={"file": (name, content)},
        timeout=30,
    )


def address(visitor: Visitor) -> str:
    """Where the visitor's newest file lies."""
    links = re.findall(r'href="([^"]+type=file[^"]+)"', visitor.history())
    return html.unescape(links[-1])


def kept(stage: Stage) -> list[Path]:
    return [path for path in (stage.folder / "chats/files").rglob("*") if path.is_file()]


# -- names and types


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("price.pdf", "price.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\Anna\\фото 1.JPG", "фото 1.JPG"),
        ("..\\..\\.htaccess", "htaccess"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("a\r\nSet-Cookie: x=1.png", "a Set-Cookie: x=1.png"),
        ("nul\0byte.png", "nulbyte.png"),
        ("../", ""),
        ("\u3164.jpg", "file.jpg"),
        ("\u2800", "file"),
        ("صورة.png", "صورة.png"),
        ("x" * 300 + ".jpeg", "x" * 94 + "….jpeg"),
    ],
)
def test_a_name_is_fit_to_be_shown(given: str, name: str) -> None:
    assert safe_name(given) == name


def test_a_name_is_cut_for_the_portal_and_keeps_its_ending() -> None:
    assert short_name("д" * 80 + ".pdf", 50) == "д" * 45 + "….pdf"
    assert short_name("a." + "b" * 80, 50) == "a." + "b" * 47 + "…"


@pytest.mark.parametrize(
    ("name", "head", "media"),
    [
        ("a.png", PNG, "image/png"),
        ("really-a-jpeg.png", b"\xff\xd8\xff\xe0", "image/jpeg"),
        ("a.webp", b"RIFF\n\r\n\x01WEBPVP8 ", "image/webp"),
        ("a.gif", b"GIF89a", "image/gif"),
        ("a.png", b"<script>alert(1)", "application/octet-stream"),
        ("a.svg", b"<svg onload=alert(1)>", "application/octet-stream"),
        ("polyglot.html", b"GIF89a=0;<script>", "application/octet-stream"),
        ("a.pdf", b"%PDF", "application/pdf"),
        ("a.mp4", b"", "video/mp4"),
    ],
)
def test_only_a_picture_is_called_a_picture(name: str, head: bytes, media: str) -> None:
    assert media_type(name, head) == media


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 60
JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 90
AVIF = b"\0\0\0\x20ftypmif1\0\0\0\0mif1avifmiaf" + b"\0" * 60


@pytest.mark.parametrize(
    ("head", "media"),
    [
        *[(PNG, "image/png"), (JPEG, "image/jpeg"), (HEIC, "image/heic"), (AVIF, "image/avif")],
        (b"\0\0\0\x18ftypavif", "image/avif"),
        *[(b"\0\0\0\x18ftyp" + brand, "image/heic") for brand in (b"heix", b"hevc", b"msf1")],
        *[(head, "") for head in (b"", b"\xff\xd8", b"\0\0\0\x18ftypisom", b"<svg", b"GIF88a")],
    ],
)
def test_a_picture_is_known_by_its_first_bytes(head: bytes, media: str) -> None:
    assert picture_type(head) == media
    assert may_become_picture(head[:1]) or not media


@pytest.mark.parametrize(
    ("name", "content", "kept"),
    [
        ("IMG_1.HEIC", JPEG, "IMG_1.jpg"),
        ("image.jpg", PNG, "image.png"),
        ("photo.JPG", JPEG, "photo.JPG"),
        ("1000012345", JPEG, "1000012345.jpg"),
        ("photo.tmp", PNG, "photo.tmp.png"),
        ("a.jfif", JPEG, "a.jfif"),
        ("image.jpg", b"<html><script>alert(1)</script>", "image.jpg"),
    ],
)
def test_a_picture_is_taken_by_its_content_and_gets_the_ending_of_it(
    stage: Stage, name: str, content: bytes, kept: str
) -> None:
    visitor = stage.visitor()

    answer = upload(visitor, name, content, message=f"see {name}")

    assert answer.status_code == 200, answer.text
    chat = answer.json()["chat"]
    wait_until(lambda: stage.texts(chat) == [f"see {name}"], why="at the portal")
    (file,) = stage.dialog(chat)["messages"][0]["files"]
    assert file["name"] == kept
    is_picture = not content.startswith(b"<")
    served = requests.get(address(visitor), timeout=30)
    assert served.headers["Content-Type"].startswith("image/") == is_picture
    assert ("<img" in visitor.history()) == is_picture


@pytest.mark.parametrize(
    ("name", "content"),
    [("IMG_1.jpg", HEIC), ("a", AVIF), ("a.png", HEIC), ("photo", b"\xff\xd8"), ("x.bin", b"MZ")],
)
def test_a_picture_of_a_kind_that_is_not_allowed_is_refused_under_any_name(
    stage: Stage, name: str, content: bytes
) -> None:
    answer = upload(stage.visitor(), name, content)

    assert (answer.status_code, answer.json()["result"]["error"]) == (415, "FILE_TYPE")


def test_a_heic_is_offered_as_a_file(tmp_path: Path) -> None:
    storage = StorageSettings(url=f"sqlite:///{tmp_path}/chats.db", files=f"{tmp_path}/files")
    client = create_app(Settings(storage=storage)).test_client()
    form = {"type": "upload_file", "file": (io.BytesIO(HEIC), "IMG_2.jpg")}

    answer = client.post("/ajax", data=form, headers={"Accept": "application/json"})

    assert answer.status_code == 200
    history = client.post("/ajax", data={"type": "chat_history"}).text
    assert '<span class="bb-file">IMG_2.heic (' in history
    assert "<img" not in history
    link = html.unescape(re.findall(r'href="([^"]+type=file[^"]+)"', history)[0])
    with client.get(f"/ajax?{link.partition('?')[2]}") as served:
        assert served.headers["Content-Type"] == "image/heic"
        assert served.headers["Content-Disposition"].startswith("attachment")


# -- there and back


def test_a_picture_goes_to_the_operator_and_is_shown_to_the_visitor(stage: Stage) -> None:
    visitor = stage.visitor()

    answer = upload(visitor, "схема цеха.png", PNG, message="Look")

    body = answer.json()
    assert body["post"]["message"] == "Look"
    assert body["result"]["state"] == "stored"
    (said,) = wait_until(lambda: stage.dialog(body["chat"]).get("messages", []))
    assert said["text"] == "Look"
    (file,) = said["files"]
    assert (file["name"], file["type"], file["size"]) == ("схема цеха.png", "image", len(PNG))
    assert requests.get(f"{stage.portal}{file['link']}", timeout=30).content == PNG
    history = visitor.history()
    assert "Look<br>" in history
    assert 'class="bb-image"' in history
    served = requests.get(address(visitor), timeout=30)
    assert served.content == PNG
    assert served.headers["Content-Type"] == "image/png"
    assert served.headers["Content-Length"] == str(len(PNG))
    assert served.headers["Content-Disposition"].startswith("inline; ")
    name = "%D1%81%D1%85%D0%B5%D0%BC%D0%B0%20%D1%86%D0%B5%D1%85%D0%B0.png"
    assert f"filename*=UTF-8''{name}" in served.headers["Content-Disposition"]
    assert served.headers["X-Content-Type-Options"] == "nosniff"
    assert served.headers["Cache-Control"].startswith("private, ")
    assert stage.state()["spec_violations"] == []


def test_a_file_is_private_to_us_on_the_disk_and_lies_in_its_chats_folder(stage: Stage) -> None:
    chat = upload(stage.visitor(), "../../../escape.png", PNG).json()["chat"]

    (path,) = (stage.folder / "chats/files" / chat).iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.read_bytes() == PNG
    assert len(bytes.fromhex(path.name)) * 8 >= 128
    assert list(stage.folder.rglob("escape*")) == []


def test_a_file_on_a_disk_that_hangs_holds_up_nobody_else(stage: Stage) -> None:
    """A pipe is opened when somebody writes into it: until then whoever opens it hangs."""
    visitor, other = stage.visitor(), stage.visitor()
    chat = upload(visitor, "a.png", PNG).json()["chat"]
    other.send("Hello")
    (path,) = (stage.folder / "chats/files" / chat).iterdir()
    path.unlink()
    os.mkfifo(path, 0o600)
    link = f"{stage.chat}/ajax?type=file&key={path.name}"
    with ThreadPoolExecutor() as pool:
        read = pool.submit(requests.get, link, timeout=30)
        time.sleep(0.3)  # it hangs
        began = time.monotonic()
        assert "Hello" in other.history()
        assert time.monotonic() - began < 5
        os.close(os.open(path, os.O_WRONLY))
        read.result()
    path.unlink()


def test_a_file_repeated_with_its_client_id_is_one_message_and_one_file(stage: Stage) -> None:
    """Also where the first answer was lost, and the session's cookie with it."""
    visitor, client_id = stage.visitor(), str(uuid.uuid4())

    answers = [
        upload(sender, "a.png", PNG, client_id=client_id).json()
        for sender in (stage.visitor(), visitor, visitor)
    ]

    assert len({answer["result"]["id"] for answer in answers}) == 1
    assert len(list((stage.folder / "chats/files" / answers[0]["chat"]).iterdir())) == 1
    assert list((stage.folder / "chats/files/arriving").iterdir()) == []


def test_texts_and_files_reach_the_operator_in_their_order(stage: Stage) -> None:
    visitor = stage.visitor()
    chat = visitor.send("one")["chat"]
    upload(visitor, "two.pdf", b"%PDF two")
    visitor.send("three")
    upload(visitor, "four.txt", b"four")

    def said() -> list[str]:
        messages = stage.dialog(chat).get("messages", [])
        return [one["text"] or one["files"][0]["name"] for one in messages]

    wait_until(lambda: len(said()) == 4, why="all four")
    assert said() == ["one", "two.pdf", "three", "four.txt"]


def test_a_file_answered_as_stored_survives_kill_9(stage: Stage) -> None:
    visitor = stage.visitor()
    stage.trouble(down=True)
    answer = upload(visitor, "contract.pdf", b"%PDF signed")
    stage.kill()
    assert answer.json()["result"]["state"] == "stored"

    stage.trouble(down=False)
    stage.start()

    messages = wait_until(lambda: stage.dialog(answer.json()["chat"]).get("messages", []))
    assert [[file["name"] for file in one["files"]] for one in messages] == [["contract.pdf"]]
    assert requests.get(address(visitor), timeout=30).content == b"%PDF signed"


@pytest.mark.parametrize("text", ["", "See the price list"])
def test_a_file_that_the_portal_cannot_fetch_goes_as_a_link(stage: Stage, text: str) -> None:
    visitor = stage.visitor()
    stage.trouble(no_files=True)

    chat = upload(visitor, "price.pdf", b"%PDF", message=text).json()["chat"]

    wait_until(lambda: 'data-state="delivered"' in visitor.history(), why="the tick")
    stage.trouble(no_files=False)
    link = f"price.pdf\n{address(visitor)}"
    assert stage.texts(chat) == ([text, link] if text else [link])


@pytest.mark.parametrize("kind", ["video", "audio", "file"])
def test_an_operators_other_files_are_links(stage: Stage, kind: str) -> None:
    visitor = stage.visitor()
    chat = visitor.send("hello")["chat"]
    wait_until(lambda: stage.texts(chat))
    file = {"name": f"a.{kind}", "mime": f"{kind}/x", "content_base64": PICTURE}

    stage.press("answer", external_chat_id=chat, text="", files=[file])

    history = visitor.wait_for(f"a.{kind}")
    assert f'<span class="bb-file">a.{kind} ({len(PNG)} B)</span></a>' in history
    assert "<video" not in history
    assert "<audio" not in history


# -- against


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("page.html", b"<script>alert(document.cookie)</script>"),
        ("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'),
        ("no-picture.png", b"<html><script>alert(1)</script>"),
        ("polyglot.html", b"GIF89a/*<script>*/=1"),
    ],
)
def test_nothing_that_a_browser_would_run_is_shown_by_it(
    stage: Stage, name: str, content: bytes
) -> None:
    visitor = stage.visitor()
    assert upload(visitor, name, content).status_code == 200

    served = requests.get(address(visitor), timeout=30)

    assert served.content == content
    assert served.headers["Content-Type"] == "application/octet-stream"
    assert served.headers["Content-Disposition"].startswith("attachment; ")
    assert served.headers["X-Content-Type-Options"] == "nosniff"
    assert served.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert "<img" not in visitor.history()


def test_a_name_stays_within_its_bubble(stage: Stage) -> None:
    visitor = stage.visitor()
    for name in ('"><img src=x onerror=alert(1)>.pdf', "'\"><img src=x onerror=alert(1)>.png"):
        assert upload(visitor, name, PNG).status_code == 200

    history = visitor.history()

    assert history.count("&lt;img src=x onerror=alert(1)&gt;") == 2
    assert "<img src=x" not in history


@pytest.mark.parametrize(
    "key", ["", "0" * 48, "..", "../chats.db", "%2e%2e/chats.db", "arriving", "' or 1=1 --"]
)
def test_nothing_lies_at_another_address(stage: Stage, key: str) -> None:
    answer = requests.get(f"{stage.chat}/ajax", {"type": "file", "key": key}, timeout=30)

    assert answer.status_code == 404
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("name", "content", "status", "error"),
    [
        ("run.exe", b"MZ", 415, "FILE_TYPE"),
        ("no ending", b"x", 415, "FILE_TYPE"),
        ("empty.png", b"", 400, "FILE_EMPTY"),
        ("big.png", b"x" * (20 * MEGABYTE + 1), 413, "FILE_LARGE"),
        ("huge.png", b"x" * (22 * MEGABYTE), 413, "FILE_LARGE"),
    ],
)
def test_what_may_not_be_sent_is_refused_with_the_reason(
    stage: Stage, name: str, content: bytes, status: int, error: str
) -> None:
    answer = upload(stage.visitor(), name, content)

    assert answer.status_code == status
    assert answer.json()["result"]["error"] == error
    assert answer.json()["result"]["error_description"]


def test_a_request_without_a_file_is_refused(stage: Stage) -> None:
    answer = stage.visitor().post(type="upload_file", message="no file")

    assert answer.status_code == 400
    assert answer.json()["result"]["error"] == "FILE_MISSING"


def test_a_huge_upload_is_refused_before_it_is_read(stage: Stage) -> None:
    host, port = stage.chat.removeprefix("http://").split(":")
    head = (
        f"POST /ajax HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {1 << 33}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode())
        answer = b""
        while b"MB" not in answer and (part := connection.recv(4096)):
            answer += part

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"at most 20 MB" in answer


def test_other_requests_are_no_larger_than_before(stage: Stage) -> None:
    visitor = stage.visitor()
    fields = {"type": "send_message", "message": "hello"}
    large = {"file": ("a.png", b"x" * (2 * MEGABYTE))}

    answer = visitor.http.post(f"{stage.chat}/ajax", fields, files=large, timeout=30)

    assert answer.status_code == 413
    answer = visitor.http.post(f"{stage.chat}/handler", fields, files=large, timeout=30)
    assert answer.status_code == 413


def test_another_sites_page_cannot_upload(stage: Stage) -> None:
    visitor = stage.visitor()
    visitor.http.headers["Origin"] = "https://evil.example"

    assert upload(visitor, "a.png", PNG).status_code == 403


def test_a_plain_form_gets_a_page(stage: Stage) -> None:
    visitor = stage.visitor()
    visitor.http.headers["Accept"] = "text/html,application/xhtml+xml"

    page = upload(visitor, "plain.png", PNG)
    assert page.history[0].status_code == 303
    assert "plain.png" in page.text
    refused = upload(visitor, "run.exe", b"MZ")
    assert refused.status_code == 415
    assert 'role="alert"' in refused.text
    assert 'role="alert"' in upload(visitor, "huge.png", b"x" * (22 * MEGABYTE)).text


def test_a_file_is_not_held_in_memory(stage: Stage) -> None:
    assert stage.app is not None
    children = Path(f"/proc/{stage.app.pid}/task/{stage.app.pid}/children").read_text().split()
    statuses = [Path(f"/proc/{child}/status") for child in children]

    def most() -> int:
        return max(int(re.findall(r"VmHWM:\s+(\d+) kB", one.read_text())[0]) for one in statuses)

    before = most()
    visitor = stage.visitor()
    assert upload(visitor, "a.pdf", b"x" * (19 * MEGABYTE)).status_code == 200
    wait_until(lambda: 'data-state="delivered"' in visitor.history())
    assert most() - before < 9_000


def test_no_key_stands_in_the_log(stage: Stage) -> None:
    stage.trouble(no_files=True)
    visitor = stage.visitor()
    upload(visitor, "a.png", PNG)
    wait_until(lambda: 'data-state="delivered"' in visitor.history())
    stage.trouble(no_files=False)
    requests.get(address(visitor), timeout=30)

    log = stage.log.read_text()
    keys = [path.name for path in kept(stage)]
    assert keys
    assert [key for key in keys if key in log] == []


# -- without a portal


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    settings = Settings(
        storage=StorageSettings(
            url=f"sqlite:///{tmp_path}/chats.db", files=str(tmp_path / "files")
        ),
        limits=LimitsSettings(visitor_per_minute=2),
    )
    return create_app(settings)


def test_files_count_as_messages_and_a_refused_one_leaves_nothing(
    app: Flask, tmp_path: Path
) -> None:
    client = app.test_client()

    def post(**fields: Any) -> int:
        return client.post("/ajax", data=fields, content_type="multipart/form-data").status_code

    def picture() -> Any:
        return (open(tmp_path / "a.png", "rb"), "a.png")

    (tmp_path / "a.png").write_bytes(PNG)
    assert post(type="send_message", message="one") == 200
    assert post(type="upload_file", file=picture()) == 200
    assert post(type="upload_file", file=picture()) == 429
    assert post(type="send_message", message="two") == 429
    assert len([path for path in (tmp_path / "files").rglob("*") if path.is_file()]) == 1


def test_files_can_be_switched_off(tmp_path: Path) -> None:
    storage = StorageSettings(url=f"sqlite:///{tmp_path}/chats.db", files=str(tmp_path / "files"))
    client = create_app(Settings(storage=storage, files=Rules(enabled=False))).test_client()
    (tmp_path / "a.png").write_bytes(PNG)

    with (tmp_path / "a.png").open("rb") as file:
        fields = {"type": "upload_file", "file": (file, "a.png")}
        answer = client.post("/ajax", data=fields, content_type="multipart/form-data")

    assert answer.status_code == 403
    assert 'type="file"' not in client.get("/").text


def test_where_files_cannot_be_kept_the_visitor_may_try_again(app: Flask, tmp_path: Path) -> None:
    (tmp_path / "files").write_text("no folder")
    (tmp_path / "a.png").write_bytes(PNG)

    with (tmp_path / "a.png").open("rb") as file:
        fields = {"type": "upload_file", "file": (file, "a.png")}
        answer = app.test_client().post("/ajax", data=fields, content_type="multipart/form-data")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert str(tmp_path) not in answer.text


def test_files_leave_room_on_the_disk_for_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=RESERVE_BYTES - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)

    with pytest.raises(StoreUnavailable, match="reserve"):
        Files(tmp_path).arriving()


def kept_file(files: Files, chat: str) -> str:
    """The key of a file that an upload of this chat has left."""
    file = files.arriving()
    key = files.keep(file, chat)
    files.discard(file)
    return key


def test_what_a_crash_left_is_swept_after_a_day(tmp_path: Path) -> None:
    files, now = Files(tmp_path), time.time()
    keys = [kept_file(files, "chat1") for _ in range(3)]
    received = files.arriving()
    received.close()
    long_ago = (now - 2 * DAY, now - 2 * DAY)
    for path in (tmp_path / "chat1" / keys[0], tmp_path / "chat1" / keys[1], received.name):
        os.utime(path, long_ago)

    anothers = tmp_path / "of another store" / kept_file(files, "of another store")
    os.utime(anothers, long_ago)

    swept = files.sweep(lambda chat: {keys[0]} if chat == "chat1" else None, DAY)

    assert swept == 2
    assert anothers.exists()
    assert {path.name for path in (tmp_path / "chat1").iterdir()} == {keys[0], keys[2]}
    assert not Path(received.name).exists()


def test_a_chats_files_go_with_it(tmp_path: Path) -> None:
    files = Files(tmp_path)
    key, other = kept_file(files, "chat1"), kept_file(files, "chat2")

    files.remove_chat("chat1")
    files.remove_chat("never-there")

    assert not (tmp_path / "chat1" / key).exists()
    assert (tmp_path / "chat2" / other).exists()
