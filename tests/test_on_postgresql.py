"""The application on PostgreSQL: two workers, a server that is restarted, the commands."""

import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import requests
import starter
from postgres import Server
from stage import Stage, wait_until

from bbcode import RENDERER
from settings import ROOT
from storage import Store

PASSWORD = "s3cret-of-the-database"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with closing(Server(durable=True)) as server:
        yield server


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    server.ask("create database chat")
    return server.url.replace("/postgres?", "/chat?").replace(":@", f":{PASSWORD}@")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, url: str) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    with Stage(folder, workers=2, SITECHAT_STORAGE__URL=url) as stage:
        stage.install()
        yield stage
        log = stage.log.read_text()
        assert "Traceback" not in log
        assert PASSWORD not in log


def sitechat(stage: Stage, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    return starter.sitechat(*arguments, environment=stage.environment() | env)


def test_a_server_of_the_tests_leaves_the_environment_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a process of ours inherits may not suit the server that it begins itself."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    before = dict(os.environ)

    Server(durable=True).close()

    assert dict(os.environ) == before


def test_messages_go_both_ways(stage: Stage) -> None:
    visitor = stage.visitor()
    chat = visitor.send("Hello")["chat"]
    wait_until(lambda: stage.texts(chat) == ["Hello"])

    stage.press("answer", external_chat_id=chat, text="Good morning")

    visitor.wait_for("Good morning")


def test_an_answer_is_seen_at_once_whichever_worker_took_it(stage: Stage) -> None:
    visitor = stage.visitor()
    chat = visitor.send("Hello")["chat"]
    wait_until(lambda: stage.texts(chat))
    for number in range(4):
        with visitor.http.get(
            f"{stage.chat}/ajax", params={"type": "chat_stream"}, stream=True, timeout=30
        ) as stream:
            lines = stream.iter_lines(chunk_size=1, decode_unicode=True)
            next(lines)
            began = time.monotonic()
            stage.press("answer", external_chat_id=chat, text=f"answer {number}")
            for line in lines:
                if f"answer {number}" in line:
                    break
            assert time.monotonic() - began < 1


def test_a_restart_of_the_server_is_a_pause(stage: Stage, server: Server) -> None:
    """The browser's part: what was not answered is sent again with the same `client_id`."""
    visitor, stop = stage.visitor(), threading.Event()
    chat = visitor.send("0")["chat"]
    sent = ["0"]

    def writing() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            name = f"00000000-0000-4000-8000-{number:012}"
            while not stop.is_set():
                answer = visitor.post(
                    type="send_message", name="Anna", message=f"{number}", client_id=name
                )
                if answer.status_code == 200:
                    sent.append(f"{number}")
                    break
                assert answer.status_code == 503, answer.text
                time.sleep(0.05)
            time.sleep(0.02)

    thread = threading.Thread(target=writing)
    thread.start()
    for _ in range(2):
        time.sleep(0.5)
        server.control("-m", "immediate", "restart")
    before = len(sent)
    wait_until(lambda: len(sent) > before + 3, why="further messages")
    stop.set()
    thread.join()

    wait_until(lambda: len(stage.texts(chat)) >= len(sent), 60, "all messages at the portal")
    texts = stage.texts(chat)
    assert texts[: len(sent)] == sent
    assert len(texts) == len({*texts})
    assert requests.get(f"{stage.chat}/healthz", timeout=10).status_code == 200


def test_the_doctor_finds_the_store_on_its_server(stage: Stage) -> None:
    said = sitechat(stage, "doctor", "--json")

    found = {one["key"]: one for one in json.loads(said.stdout)["findings"]}
    assert "store_good" in found, said.stdout + said.stderr
    assert "PostgreSQL chat" in json.dumps(found["store_good"])
    assert PASSWORD not in said.stdout + said.stderr


def test_a_server_that_is_away_is_named_and_its_password_is_not(stage: Stage) -> None:
    nowhere = f"postgresql://anna:{PASSWORD}@127.0.0.1:1/chat"

    for command in (["doctor"], ["backup", stage.folder / "no.zip", "--lang", "ru"]):
        said = sitechat(stage, *command, SITECHAT_STORAGE__URL=nowhere)

        assert said.returncode > 0
        told = said.stdout + said.stderr
        assert "PostgreSQL chat" in told, told
        assert ("nobody answers at" if command == ["doctor"] else "никто не отвечает") in told
        assert "Traceback" not in told
        assert PASSWORD not in told
        assert "anna" not in told


def test_a_page_that_is_opened_while_the_server_is_away_does_not_speak_of_folders(
    tmp_path: Path,
) -> None:
    """A process that has not seen the store yet does not know whether it was installed."""
    stage = Stage(tmp_path, SITECHAT_STORAGE__URL="postgresql://anna@127.0.0.1:1/chat")
    stage.constants["store.postgresql.PATIENCE_SECONDS"] = 0.2
    with stage:
        page = stage.admin_page()
        refused = stage.press("install")["body"]

    assert "The chat does not work" in page
    assert "installation" not in page
    assert "PostgreSQL chat cannot be used" in refused
    for said in (page, refused):
        assert "right to write" not in said


def test_a_backup_is_made_while_the_service_runs(stage: Stage, tmp_path: Path) -> None:
    target, other = tmp_path / "backup.zip", tmp_path / "other.db"

    made = sitechat(stage, "backup", target, "--json")
    refused = sitechat(stage, "restore", target)
    restored = sitechat(
        stage, "restore", target, "--json", SITECHAT_STORAGE__URL=f"sqlite:///{other}"
    )

    assert made.returncode == 0, made.stderr
    assert refused.returncode > 0
    assert "sitechat migrate" in refused.stderr
    assert restored.returncode == 0, restored.stderr
    assert json.loads(restored.stdout)["messages"] == json.loads(made.stdout)["messages"] > 0
    with closing(Store(f"sqlite:///{other}", ROOT, RENDERER)) as store:
        store.open()


def test_a_store_is_moved_by_one_command(stage: Stage, server: Server, tmp_path: Path) -> None:
    server.ask("create database moved")
    to = server.url.replace("/postgres?", "/moved?")
    own = {"SITECHAT_STORAGE__URL": f"sqlite:///{tmp_path}/chats.db"}
    with closing(Store(own["SITECHAT_STORAGE__URL"], ROOT, RENDERER)) as store:
        store.open()
        key = store.portal.secret_key()

    running = sitechat(stage, "migrate", f"sqlite:///{tmp_path}/other.db")
    moved = sitechat(stage, "migrate", to, **own)
    again = sitechat(stage, "migrate", to, "--json", **own)
    wrong = sitechat(stage, "migrate", "mysql://anna:s3cret@db/chat", **own)

    assert running.returncode > 0
    assert "running" in running.stderr
    assert moved.returncode == 0, moved.stderr
    assert re.search(r"^meta: \d+ rows, the same on both sides$", moved.stdout, re.MULTILINE)
    assert "storage.url" in moved.stdout
    assert str(tmp_path / "chats.db") in moved.stdout
    assert again.returncode == 0, "nobody has used it: " + again.stderr
    assert wrong.returncode > 0
    assert "s3cret" not in wrong.stderr
    with closing(Store(to, ROOT, RENDERER)) as store:
        assert store.portal.secret_key() == key


def test_without_the_driver_it_is_said_what_to_install(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['psycopg'] = None\n")

    without = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}  # which a fork would be too late for
    said = subprocess.run(
        [sys.executable, "-c", "from commands import main; main()", "doctor"],
        cwd=ROOT,
        env=stage.environment() | without,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "pip install -e '.[postgresql]'" in said.stdout + said.stderr
    assert PASSWORD not in said.stdout + said.stderr


# -- a full disk


@contextmanager
def small_disk(server: Server) -> Iterator[Path]:
    """A disk of 64 MB that the server can reach, which only root can have."""
    folder = server.folder / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine gives us no disk to fill")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path) -> Path:
    """Leave no room there; the file that takes it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def test_a_full_disk_of_the_server_is_told_and_all_goes_on_when_it_has_room(
    server: Server, tmp_path: Path
) -> None:
    """Of the store's tables: a short row can still be changed there, and no message kept."""
    with small_disk(server) as disk:
        server.add_tablespace("small", disk / "tables")
        server.ask("create database full_one tablespace small")
        url = server.url.replace("/postgres?", "/full_one?")
        with Stage(tmp_path, SITECHAT_STORAGE__URL=url) as stage:
            stage.install()
            visitor = stage.visitor()
            chat = visitor.send("0")["chat"]
            wait_until(lambda: stage.texts(chat) == ["0"])
            filler, sent = fill(disk), ["0"]

            def send() -> requests.Response:
                message = f"{len(sent)} {secrets.token_hex(1500)}"
                answer = visitor.post(type="send_message", name="Anna", message=message)
                if answer.status_code == 200:
                    sent.append(message)
                return answer

            while (refused := send()).status_code == 200:
                pass

            assert refused.status_code == 503
            assert refused.json()["result"]["error"] == "DISK_FULL"
            assert requests.get(f"{stage.chat}/healthz", timeout=10).status_code == 503
            told = "is full, so visitors cannot write"
            wait_until(lambda: told in stage.admin_page(), 10, "a page that has looked again")
            said = sitechat(stage, "doctor").stdout
            assert "the disk of the server with PostgreSQL full_one is full" in said, said
            assert "the service does not run" not in said
            assert "DiskFull" in stage.logged()

            filler.unlink()
            wait_until(lambda: send().status_code == 200, 10, "a message that is kept")
            wait_until(lambda: len(stage.texts(chat)) >= len(sent), 30, "all at the portal")
            assert stage.texts(chat) == sent
            health = f"{stage.chat}/healthz"
            wait_until(lambda: requests.get(health, timeout=10).status_code == 200, 10)
        server.ask("drop database full_one with (force)")
        server.ask("drop tablespace small")
