"""The service reloads without a lost request, and ends within two seconds, whatever goes on."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import gevent.socket  # type: ignore[import-untyped]
import pytest
import requests
from gevent.event import Event  # type: ignore[import-untyped]
from holder import held
from stage import HOST, Stage, Visitor, wait_until
from test_live import Stream

from operations import start
from settings import SettingsError
from web.ending import watch_over
from web.worker import Listener, Worker

STOP_SECONDS = 2.0  # of three tries: what else the machine does can only make it longer
TOO_LATE = f"the end took more than {STOP_SECONDS} s, three times"
WRITERS, RELOADS = 6, 2
SIZE = 200_000  # of a slow upload
PART = b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path, workers=2, SITECHAT_DELIVERY__TIMEOUT_SECONDS="20") as stage:
        stage.install()
        stage.trouble(limit=False)
        yield stage


class SlowUpload:
    """A file of which the half has come."""

    def __init__(self, stage: Stage) -> None:
        body = PART % (b"type", b"", b"upload_file")
        body += PART % (b"file", b'; filename="slow.txt"', b"x" * SIZE) + b"--x--\r\n"
        head = (
            f"POST /ajax HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n"
            f"Content-Length: {len(body)}\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        self._rest = body[SIZE // 2 :]
        self.connection = socket.create_connection((HOST, int(stage.chat.rpartition(":")[2])))
        self.connection.settimeout(30)
        self.connection.sendall(head.encode() + body[: SIZE // 2])

    def finish(self) -> bytes:
        """Send the other half; the first bytes of the answer."""
        self.connection.sendall(self._rest)
        return self.connection.recv(12)


class Writer(threading.Thread):
    """A visitor who writes all the time, on one connection that is kept open or on many."""

    def __init__(self, stage: Stage, number: int) -> None:
        super().__init__(daemon=True)
        self.visitor: Visitor = stage.visitor()
        if number % 2:
            self.visitor.http.headers["Connection"] = "close"
        self.number = number
        self.chat = str(self.visitor.send(f"{number}.0")["chat"])
        self.sent = 1
        self.failures: list[str] = []
        self.enough = threading.Event()

    def run(self) -> None:
        while not self.enough.wait(0.02):
            try:
                self.visitor.send(f"{self.number}.{self.sent}")
            except (requests.RequestException, AssertionError) as error:
                self.failures.append(repr(error))
            self.sent += 1


def wait_for_more(writers: list[Writer]) -> None:
    sent = [writer.sent for writer in writers]
    wait_until(lambda: all(writer.sent > sent[writer.number] + 5 for writer in writers))


def workers_of(stage: Stage) -> set[str]:
    assert stage.app is not None
    return set(
        Path(f"/proc/{stage.app.pid}/task/{stage.app.pid}/children").read_text("ascii").split()
    )


def reload(stage: Stage) -> None:
    """Reload and wait until other workers are there."""
    former = workers_of(stage)
    assert stage.app is not None
    os.kill(stage.app.pid, signal.SIGHUP)
    wait_until(lambda: len(workers_of(stage) - former) == stage.workers)


def stop(stage: Stage) -> float:
    """End it as systemd does; how long that took."""
    assert stage.app is not None
    began = time.monotonic()
    os.kill(stage.app.pid, signal.SIGTERM)
    stage.app.wait(30)
    return time.monotonic() - began


def test_a_reload_under_load_loses_no_request_and_no_message(stage: Stage) -> None:
    writers = [Writer(stage, number) for number in range(WRITERS)]
    upload = SlowUpload(stage)
    for writer in writers:
        writer.start()

    for _ in range(RELOADS):
        reload(stage)
        wait_for_more(writers)
    assert upload.finish() == b"HTTP/1.1 200"
    upload.connection.close()

    for writer in writers:
        writer.enough.set()
    for writer in writers:
        writer.join()
        assert writer.failures == []
        expected = [f"{writer.number}.{count}" for count in range(writer.sent)]
        wait_until(
            lambda writer=writer, expected=expected: stage.texts(writer.chat) == expected,  # type: ignore[misc]
            60,
        )
    assert "Traceback" not in stage.log.read_text("utf-8")


def test_a_connection_that_the_end_finds_waiting_is_served_too() -> None:
    """It is accepted, and its turn comes when nobody listens any more."""
    has_closed, asked = Event(), list[object]()

    def handle(listener: Listener, _client: object, _address: object) -> None:
        has_closed.wait(10)
        asked.append(listener.getsockname())

    only = SimpleNamespace(
        cfg=SimpleNamespace(is_ssl=False, workers=1), worker_connections=1, handle=handle
    )
    listening = gevent.socket.socket()
    listening.bind((HOST, 0))
    listening.listen()
    address = listening.getsockname()
    server = Worker._listen(only, listening)  # type: ignore[arg-type]
    with socket.create_connection(address, timeout=30):
        while not len(server.pool):
            gevent.sleep(0.01)
        server.close()
        has_closed.set()
        server.pool.join(10)

    assert asked == [address]


def test_a_reload_with_wrong_settings_leaves_all_as_it_was(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[chat]\ntitle = "One"\n', "utf-8")
    with Stage(tmp_path, SITECHAT_CONFIG=str(config)) as stage:
        workers = workers_of(stage)
        config.write_text('[chat]\ntitle = "Two"\nlanguage = "xx"\n', "utf-8")
        assert stage.app is not None
        os.kill(stage.app.pid, signal.SIGHUP)
        wait_until(lambda: "not reloaded" in stage.log.read_text("utf-8"))

        assert "chat.language" in stage.log.read_text("utf-8")
        assert workers_of(stage) == workers
        assert "One" in requests.get(f"{stage.chat}/", timeout=30).text

        config.write_text('[chat]\ntitle = "Two"\n', "utf-8")
        reload(stage)
        wait_until(lambda: "Two" in requests.get(f"{stage.chat}/", timeout=30).text)


def test_a_store_that_another_program_holds_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    # Who counts for monitoring writes the last numbers at the end.
    with Stage(tmp_path, SITECHAT_OPERATIONS__TOKEN="t" * 40) as stage:
        assert any(end_while_held(stage) < STOP_SECONDS for _ in range(3)), TOO_LATE
        assert "Traceback" not in stage.log.read_text("utf-8")


def end_while_held(stage: Stage) -> float:
    """End it while another program holds the store, and start it; how long the end took."""
    stage.visitor().send("one")
    with held(stage.folder / "chats" / "chats.db"), ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            pool.submit(stage.visitor().post, type="send_message", message="in vain")
        time.sleep(0.5)
        took = stop(stage)
    stage.start()
    return took


@dataclass
class FakeWorker:
    serves: bool = True


class FakeMaster:
    """gunicorn's, as far as it reloads: the oldest of too many workers end at once."""

    def __init__(self) -> None:
        self.num_workers = 2
        self.WORKERS = {number: FakeWorker() for number in range(self.num_workers)}

    def stop(self, graceful: bool = True) -> None: ...

    def handle_hup(self) -> None:
        for _ in range(self.num_workers):
            self.WORKERS[max(self.WORKERS) + 1] = FakeWorker(serves=False)
        self.manage_workers()

    def manage_workers(self) -> None:
        while len(self.WORKERS) > self.num_workers:
            del self.WORKERS[min(self.WORKERS)]

    def all_serve(self) -> None:
        for worker in self.WORKERS.values():
            worker.serves = True


def test_whoever_serves_goes_on_until_the_new_workers_do_however_often_it_reloads() -> None:
    master = FakeMaster()
    watch_over(master, lambda: None)

    for _ in range(3):
        master.handle_hup()
        master.manage_workers()
        assert list(master.WORKERS) == [0, 1, 2, 3], "0 and 1 serve"
    master.all_serve()
    master.manage_workers()
    assert list(master.WORKERS) == [2, 3, 4, 5], "2 and 3 serve, and the later signals count once"

    master.all_serve()
    master.manage_workers()
    master.manage_workers()
    assert list(master.WORKERS) == [4, 5]


class BareStage(Stage):
    """Its folder's `.env` says how its processes run."""

    def environment(self) -> dict[str, str]:
        variables = super().environment()
        del variables["WEB_CONCURRENCY"]
        return variables


def test_no_env_file_ends_the_service(tmp_path: Path) -> None:
    """Neither at a reload nor where the system has killed a worker, whose place another takes."""
    config, env = tmp_path / "config.toml", tmp_path / ".env"
    config.write_text("", "utf-8")
    env.write_text("LOG_LEVEL=\nWEB_CONCURRENCY=\n")
    wrong = {
        "LOG_LEVEL=verbose": "LOG_LEVEL: must be one of",
        "WEB_CONCURRENCY=two": "WEB_CONCURRENCY: must be a whole number",
        "WEB_CONCURRENCY=0": "WEB_CONCURRENCY: must be 1 or more",
        "SITECHAT_CHAT__SESSION_DAYS=99999999999": "chat.session_days: must be 36500 or less",
        "SITECHAT_FILES=chats": "SITECHAT_FILES: is the name of a section",
        "SITECHAT_FILES__TYPES=" + 10_000 * "[": "files.types: must be a list",
        "WEB_CONCURRENCY=x\nSITECHAT_CONNECTOR__NAME=": "connector.name: must not be empty",
    }
    with BareStage(tmp_path, SITECHAT_CONFIG=str(config), LANG="C") as stage:
        assert stage.app is not None
        workers = workers_of(stage)
        for text, said in wrong.items():
            env.write_text(text)
            os.kill(stage.app.pid, signal.SIGHUP)
            line = f"not reloaded, the former settings stay: {said}"
            wait_until(lambda line=line: line in stage.log.read_text("utf-8"), 10, said)  # type: ignore[misc]
        assert workers_of(stage) == workers
        assert len(workers) == 1

        os.kill(int(*workers), signal.SIGKILL)
        wait_until(lambda: len(workers_of(stage) - workers) == 1)
        wait_until(lambda: answers(stage))

        env.write_text("WEB_CONCURRENCY=2\nSITECHAT_CHAT__TITLE=Two\n")
        os.kill(stage.app.pid, signal.SIGHUP)
        wait_until(lambda: "Two" in requests.get(f"{stage.chat}/", timeout=30).text)
        wait_until(lambda: len(workers_of(stage)) == 2)
        assert "Traceback" not in stage.log.read_text("utf-8")


def answers(stage: Stage) -> bool:
    with suppress(requests.ConnectionError):
        return requests.get(f"{stage.chat}/healthz", timeout=30).status_code == 200
    return False


def test_whatever_fails_at_reading_the_settings_is_told_without_what_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails() -> None:
        raise RuntimeError("s3cr3t")

    monkeypatch.setattr(start, "load_settings", fails)

    said = str(start.fault())
    assert said.startswith("settings: cannot be read (RuntimeError")
    assert "s3cr3t" not in said


def test_a_reload_goes_on_with_what_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    monkeypatch.setenv("SITECHAT_CONFIG", str(config))
    config.write_text("[chat]\ntitle = 'checked'", "utf-8")
    assert start.fault() is None
    config.write_text("[chat", "utf-8")

    assert start.take().settings.chat.title == "checked"
    with pytest.raises(SettingsError):
        start.take()


@pytest.mark.parametrize("reloads", [False, True], ids=["calm", "while it reloads"])
def test_it_ends_within_two_seconds_and_loses_nothing(stage: Stage, reloads: bool) -> None:
    # However long it takes, nothing may be lost.
    assert any(end_amid_everything(stage, reloads) < STOP_SECONDS for _ in range(3)), TOO_LATE


def end_amid_everything(stage: Stage, reloads: bool) -> float:
    """End it while all goes on, look that nothing is lost, and start it; how long the end took."""
    with ExitStack() as ends:
        visitor = stage.visitor()
        chat = str(visitor.send("one")["chat"])
        visitor.wait_for('data-state="delivered"')
        streams = [Stream(visitor) for _ in range(8)]
        wait_until(lambda: all(stream.words for stream in streams))
        for stream in streams:
            ends.callback(stream.close)
        upload = ends.enter_context(SlowUpload(stage).connection)
        stage.trouble(slow_seconds=8.0)
        calls = stage.counts()["calls"]
        visitor.send("two")
        wait_until(lambda: stage.counts()["calls"] > calls)  # which is under way now
        visitor.send("three")
        admin = threading.Thread(target=stage.press, args=("connect",), kwargs={"line": 7})
        admin.start()  # a request whose own call to the portal is under way
        ends.callback(admin.join)
        time.sleep(0.3)
        if reloads:
            assert stage.app is not None
            os.kill(stage.app.pid, signal.SIGHUP)
            time.sleep(0.2)

        took = stop(stage)

        with suppress(ConnectionResetError):
            assert upload.recv(1) == b""
        assert not list(stage.folder.glob("chats/live-*"))
        assert not list(stage.folder.glob("chats/chats.db-*")), "the log is in the file"
        log = stage.log.read_text("utf-8")
        assert "SIGKILL" not in log
        assert "Traceback" not in log

    stage.trouble(slow_seconds=0.0)
    stage.start()
    wait_until(lambda: stage.texts(chat) == ["one", "two", "three"])
    return took
