"""Commands beside the running service and a portal: what they are for, from end to end."""

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from stage import CLIENT_ID, LINE, Stage, Visitor, wait_until
from starter import sitechat
from tutorial_parts import Example, chat_id_of

from bbcode import RENDERER
from storage import Store

SESSION = "anna5anna5anna5anna5anna5a"


def run(stage: Stage, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the settings of the stage's service."""
    return sitechat(*arguments, environment=stage.environment() | {"LC_ALL": "C.UTF-8"} | env)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as stage:
        stage.install()
        yield stage


def call(stage: Stage, token: str, method: str, **params: Any) -> Any:
    """A call of the example, by its own token."""
    answer = requests.post(
        f"{stage.portal}/rest/{method}.json", json=params | {"auth": token}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def test_the_dialogs_of_the_example_go_on(stage: Stage, tmp_path: Path) -> None:
    """Bitrix24's example in PHP was at work; our service takes its place, and all goes on."""
    stage.kill()
    shutil.rmtree(tmp_path / "chats")
    example = Example(tmp_path / "example")
    example.connect(LINE)
    token = stage.press("token", user_id=1)
    chats = [chat_id_of(session, stage.chat) for session in (SESSION, SESSION[::-1])]
    for chat_id in chats:
        example.write(chat_id, "Hello & good-bye", int(time.time()) - 60)
        sent = call(
            stage, token["access_token"], "imconnector.send.messages",
            CONNECTOR="example_connector_1", LINE=LINE,
            MESSAGES=[{
                "user": {"id": chat_id}, "chat": {"id": chat_id},
                "message": {"id": "0", "date": int(time.time()), "text": "Hello &amp; good-bye"},
            }],
        )  # fmt: skip
        dialog = int(sent["DATA"]["RESULT"][0]["session"]["CHAT_ID"])
        answer = stage.press("answer", external_chat_id=chat_id, text="Good morning")
        example.answer(chat_id, "Good morning", int(answer["message_id"]), dialog)
    eve = chat_id_of("eve5eve5eve5eve5eve5eve5ev", stage.chat)
    example.write(eve, "of a stranger", int(time.time()) - 60)
    for number in range(1, 4):  # the example lets anybody write that the last dialog is theirs
        example.answer(eve, "forged", int(answer["message_id"]) + number, dialog)
    example.keep_settings(
        stage.portal, CLIENT_ID, access_token=token["access_token"],
        refresh_token=token["refresh_token"], member_id=token["member_id"],
    )  # fmt: skip

    done = run(stage, "import-tutorial", example.folder)

    assert (done.returncode, done.stderr) == (0, ""), done
    assert "tokens were taken over" in done.stdout
    stage.start()
    visitor = stage.visitor()
    visitor.http.cookies.set("PHPSESSID", SESSION)
    visitor.http.headers["Origin"] = stage.chat
    assert visitor.history().index("Hello &amp; good-bye") < visitor.history().index("Good morning")
    assert visitor.send("I have another question")["chat"] == chats[0]
    wait_until(lambda: "I have another question" in stage.texts(chats[0]))
    stage.press("answer", external_chat_id=chats[0], text="Which one?")
    visitor.wait_for("Which one?")
    stage.press("answer", external_chat_id=chats[1], text="And you?")
    other = stage.visitor()
    other.http.cookies.set("PHPSESSID", SESSION[::-1])
    other.wait_for("And you?")
    assert stage.texts(chats[0]) == ["Hello &amp; good-bye", "I have another question"]
    assert kept(stage.folder, eve).splitlines() == ["of a stranger", *["forged"] * 3]
    assert visitor.history().count("Good morning") == 1, "what was there is not recovered again"


class Page:
    """An open chat page: it asks for what is new after its last event, and merges as ours does.

    That is: a message replaces the one of the same id or of the same client's id.
    """

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self.last_id = ""
        self.shown: list[tuple[str, str, str]] = []  # id, client's id, HTML

    def ask(self) -> str:
        """Poll once; returns all that the page shows then."""
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        address = f"{self.visitor.chat}/ajax?type=chat_stream&once=1"
        answer = self.visitor.http.get(address, headers=headers, timeout=30)
        assert answer.status_code in (200, 204), answer.text
        for event in filter(None, answer.text.split("\n\n")):
            fields = [line.partition(": ") for line in event.split("\n")]
            self.last_id = next((value for name, _, value in fields if name == "id"), self.last_id)
            html = "\n".join(value for name, _, value in fields if name == "data")
            if html:
                self._merge(html)
        return "\n".join(html for _, _, html in self.shown)

    def _merge(self, html: str) -> None:
        own_id, client_id = (
            html.partition(f'{name}="')[2].partition('"')[0] if name in html else ""
            for name in ("data-id", "data-client-id")
        )
        for place, (shown_id, shown_client_id, _) in enumerate(self.shown):
            if own_id == shown_id or (client_id and client_id == shown_client_id):
                self.shown[place] = (own_id, client_id, html)
                return
        self.shown.append((own_id, client_id, html))


@contextlib.contextmanager
def load(visitors: list[Visitor], sent: list[list[str]]) -> Iterator[None]:
    """All visitors write again and again, and note what was answered as stored."""
    stop = threading.Event()

    def write(number: int) -> None:
        count = 0
        while not stop.is_set():
            text = f"v{number}-{count}."
            visitors[number].send(text)
            sent[number].append(text)
            count += 1
            time.sleep(0.05)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(len(visitors))]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_backup_under_load_is_restored_elsewhere(stage: Stage, tmp_path: Path) -> None:
    """Every message, file and token is there; the visitors' open pages go on.

    What was written after the backup is at the portal, and comes back from there.
    """
    visitors = [stage.visitor() for _ in range(3)]
    sent: list[list[str]] = [[] for _ in visitors]
    chats = [visitor.send("first")["chat"] for visitor in visitors]
    photo = ("photo.png", b"\x89PNG\r\n\x1a\n" + bytes(90_000))
    visitors[0].http.post(
        f"{stage.chat}/ajax", data={"type": "upload_file"}, files={"file": photo}, timeout=30
    )
    pages = [Page(visitor) for visitor in visitors]
    backup = tmp_path / "backup.zip"
    with load(visitors, sent):
        wait_until(lambda: all(len(texts) > 5 for texts in sent))
        before = [list(texts) for texts in sent]
        done = run(stage, "backup", backup, "--json")
        during = [list(texts) for texts in sent]
    assert (done.returncode, done.stderr) == (0, ""), done
    assert all(len(more) > len(less) for more, less in zip(during, before, strict=True))
    for visitor, texts in zip(visitors, sent, strict=True):
        visitor.send("after the backup")
        texts.append("after the backup")
    wait_until(lambda: all("after the backup" in stage.texts(chat) for chat in chats), 60)
    for chat, page in zip(chats, pages, strict=True):
        stage.press("answer", external_chat_id=chat, text="an early answer")
        wait_for_all(page.ask, ["an early answer"])
    stage.kill()

    elsewhere = stage.folder = tmp_path / "elsewhere"
    stage.log = tmp_path / "elsewhere.log"
    restored = run(stage, "restore", backup)
    assert (restored.returncode, restored.stderr) == (0, ""), restored
    for texts, chat in zip(before, chats, strict=True):
        there = kept(elsewhere, chat)
        assert [text for text in texts if there.count(text) != 1] == []
        assert "after the backup" not in there
    assert json.loads(done.stdout)["files"] == 1
    stage.start()

    for number, (visitor, page) in enumerate(zip(visitors, pages, strict=True)):
        assert visitor.send("after the restore")["chat"] == chats[number]
        stage.press("answer", external_chat_id=chats[number], text="an answer to the restored")
        expected = [
            *("first", *sent[number], "an early answer"),
            *("after the restore", "an answer to the restored"),
        ]

        wait_for_all(page.ask, expected)
        wait_for_all(lambda chat=chats[number]: kept(elsewhere, chat), expected)  # type: ignore[misc]
    address = address_of_file(visitors[0].chat, pages[0].ask())
    assert visitors[0].http.get(address, timeout=30).content == photo[1]
    for number, chat_id in enumerate(chats):  # nothing that the backup had queued comes twice
        wait_for_all(lambda chat=chat_id: "\n".join(stage.texts(chat)), ["after the restore"])  # type: ignore[misc]
        arrived = stage.texts(chat_id)
        assert [text for text in sent[number] if arrived.count(text) != 1] == []


def wait_for_all(shown: Callable[[], str], expected: list[str]) -> None:
    """Wait until each text is shown, and shown once."""
    missing: list[str] = []

    def look() -> bool:
        html = shown()
        missing[:] = [text for text in expected if text not in html]
        return not missing

    try:
        wait_until(look)
    except AssertionError:
        pytest.fail(f"never shown: {missing}")
    html = shown()
    assert {text: html.count(text) for text in expected if html.count(text) != 1} == {}


def kept(folder: Path, chat_id: str) -> str:
    """What the store in a folder has of a chat."""
    url = f"sqlite:///{folder}/chats/chats.db"
    with contextlib.closing(Store(url, folder, RENDERER, read_only=True)) as store:
        return "\n".join(one.text for one in store.conversations.latest(chat_id, None, 10_000))


def address_of_file(chat: str, html: str) -> str:
    address = html.partition("type=file&amp;")[2].partition('"')[0]
    assert address, html
    return f"{chat}/ajax?type=file&{address.replace('&amp;', '&')}"


def test_no_command_writes_where_it_reads(stage: Stage) -> None:
    stage.visitor().send("hello")
    time.sleep(1.5)  # the service moves its log
    stage.kill()
    folder = stage.folder / "chats"

    def state() -> dict[str, tuple[int, bytes]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
            for path in folder.rglob("*")
        }

    before = state()
    for command in (["export", "-"], ["block"], ["purge", "--days", "1", "--dry-run"], ["status"]):
        done = run(stage, *command)
        assert (done.returncode, done.stderr) == (0, ""), done
    assert run(stage, "backup", stage.folder / "b.zip").returncode == 0

    assert state() == before


def test_a_clean_stop_leaves_all_in_the_file_alone(stage: Stage) -> None:
    stage.visitor().send("hello")
    assert stage.app is not None
    os.kill(stage.app.pid, 15)
    stage.app.wait()

    names = {path.name for path in (stage.folder / "chats").glob("chats.db*")}
    assert names == {"chats.db"}


def test_an_uninstall_takes_all_back_and_keeps_the_conversations(stage: Stage) -> None:
    visitor = stage.visitor()
    chat = visitor.send("hello")["chat"]

    done = run(stage, "uninstall", LC_ALL="ru_RU.UTF-8")

    assert (done.returncode, done.stderr) == (0, ""), done
    assert "Переписки остаются" in done.stdout
    assert [call["method"] for call in stage.calls("imconnector.unregister")]
    assert "hello" in visitor.history()
    again = run(stage, "uninstall", "--erase")
    assert again.returncode == 0
    assert "not installed" in again.stdout
    assert "hello" not in visitor.history()
    assert kept(stage.folder, chat) == ""


def test_a_portal_that_cannot_be_asked_leaves_everything_installed(stage: Stage) -> None:
    assert stage.sandbox is not None
    os.killpg(stage.sandbox.pid, 9)
    stage.sandbox.wait()

    done = run(stage, "uninstall")

    assert done.returncode == 1
    assert done.stderr.startswith("sitechat: ")
    assert "Traceback" not in done.stderr
    url = f"sqlite:///{stage.folder}/chats/chats.db"
    with contextlib.closing(Store(url, stage.folder, RENDERER, read_only=True)) as store:
        assert store.portal.find() is not None
