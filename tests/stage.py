"""The application and the sandbox portal as real processes, for the tests that need both."""

import contextlib
import itertools
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import requests
from starter import Process, starter

from storage import Store, is_of_server
from store.sqlite import SQLite

if TYPE_CHECKING:
    from front import Front

ROOT = Path(__file__).parent.parent
HOST = "127.0.0.1"
CLIENT_ID = "local.sandbox"
LINE = 7
START_SECONDS = 60
PORTS = 1_500  # a test process, below those that the system gives out
SOONEST_SECONDS, SELDOM_SECONDS = 0.02, 0.3  # between two looks of a test that waits
T = TypeVar("T")


def _ports() -> Iterator[int]:
    """Free ports, each once, apart from those of the tests' other processes.

    Not from the system: what it gives out it gives to the next who asks, too, before we listen.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 20_000 + worker % 8 * PORTS
    for number in itertools.count(os.getpid()):
        port = first + number % PORTS
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                yield port


ports = _ports()
one_asks = threading.Lock()


def free_port() -> int:
    with one_asks:
        return next(ports)


def wait_until(look: Callable[[], T], seconds: float = 30.0, why: str = "") -> T:
    """Look again and again until the answer is true; AssertionError with the last one."""
    until = time.monotonic() + seconds
    pause = SOONEST_SECONDS
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"{why or 'it'} did not come about in {seconds} s: {found!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, SELDOM_SECONDS)  # many tests wait at once, and looking costs


class Visitor:
    """A browser's side of one visitor: a cookie jar and the two requests of the chat page."""

    def __init__(self, chat: str) -> None:
        self.chat = chat
        self.http = requests.Session()

    def post(self, **fields: Any) -> requests.Response:
        return self.http.post(f"{self.chat}/ajax", data=fields, timeout=30)

    def send(self, message: str, name: str = "Anna", **fields: Any) -> dict[str, Any]:
        answer = self.post(type="send_message", name=name, message=message, **fields)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def wait_for(self, text: str) -> str:
        """The history, once it holds `text`."""
        wait_until(lambda: text in self.history(), why=text)
        return self.history()

    def history(self, **fields: Any) -> str:
        answer = self.post(type="chat_history", **fields)
        assert answer.status_code == 200, answer.text
        return answer.text


class Stage:
    """One application, one portal, one store. Use as a context; ends all it began."""

    forks: ClassVar[bool] = False  # start both as forks, which takes a third of the time
    # Puts a proxy in front of the application, which then lies below a path; None: there is none.
    behind: "ClassVar[type[Front] | None]" = None

    # A visitor's page asks again after these; a proxy has some of its own for a host that is away.
    retried: ClassVar[tuple[int, ...]] = (429, 503)
    # Gives each stage a database of its own; None: its store is a file.
    new_store: "ClassVar[staticmethod[[], str] | None]" = None

    def __init__(self, folder: Path, workers: int = 1, **settings: str) -> None:
        if self.new_store is not None:
            settings = {"SITECHAT_STORAGE__URL": self.new_store(), **settings}
        self.folder = folder
        self.workers = workers
        self.settings = settings
        self.listens = self.chat = f"http://{HOST}:{free_port()}"
        self.front: Front | None = None
        if self.behind is not None and "SITECHAT_PUBLIC_URL" not in settings:
            self.front = self.behind(folder / "front", self.listens)
            self.chat = self.front.url
            self.settings = {"SITECHAT_SERVER__PROXIES": "1", **settings}
        self.portal = f"http://{HOST}:{free_port()}"
        self.oauth = f"http://{HOST}:{free_port()}"
        self.control = requests.Session()  # to the sandbox; kept open, because looking costs
        self.app: subprocess.Popen[bytes] | Process | None = None
        self.sandbox: subprocess.Popen[bytes] | Process | None = None
        self.log = folder / "app.log"
        self.through: list[str] = []  # a command that runs the application's
        # Seconds of the application that a test cannot wait for, by "module.NAME"; forks only.
        self.constants: dict[str, float] = {}

    def __enter__(self) -> Self:
        try:
            if self.front is not None:
                self.front.__enter__()
            sandbox = self.start_sandbox()  # both start at once: each takes a second of its own
            self.start()
            self._wait(sandbox, f"{self.portal}/sandbox/state")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.app, self.sandbox):
            if process is not None and process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self.front is not None:
            self.front.__exit__()

    def environment(self) -> dict[str, str]:
        own = {key: value for key, value in os.environ.items() if not key.startswith("SITECHAT_")}
        own.pop("PYTHONDONTWRITEBYTECODE", None)  # else each start compiles all modules anew
        return own | {
            "WEB_CONCURRENCY": str(self.workers),
            "SITECHAT_CONFIG": os.devnull,  # not the developer's own settings
            "SITECHAT_PUBLIC_URL": self.chat,
            "SITECHAT_BITRIX24__PORTAL": self.portal,
            "SITECHAT_BITRIX24__OAUTH_SERVER": self.oauth,
            "SITECHAT_BITRIX24__JS_API": f"{self.portal}/api/v1",
            "SITECHAT_BITRIX24__CLIENT_ID": CLIENT_ID,
            "SITECHAT_BITRIX24__CLIENT_SECRET": "sandbox-secret",
            "SITECHAT_CHAT__SITES": f'["{self.portal}"]',
            "SITECHAT_STORAGE__URL": f"sqlite:///{self.folder}/chats/chats.db",
            "SITECHAT_STORAGE__FILES": f"{self.folder}/chats/files",
            # A portal that is a program of ours stores at once: nothing waits as long as in life.
            "SITECHAT_DELIVERY__RETRY_SECONDS": "0.1",
            "SITECHAT_DELIVERY__SETTLE_SECONDS": "0.5",
            "SITECHAT_DELIVERY__TIMEOUT_SECONDS": "4",
            **self.settings,
        }

    def start(self) -> None:
        """Start the application and wait until it answers."""
        arguments = ["-b", self.listens.removeprefix("http://")]
        if self.forks and not self.through:
            self.app = starter("app").start(arguments, self.environment(), self.log, self.constants)
        else:
            assert not self.constants, "only a fork can have other constants"
            command = [*self.through, sys.executable, "-m", "gunicorn", *arguments]
            with self.log.open("ab") as log:
                self.app = subprocess.Popen(
                    command, cwd=ROOT, env=self.environment(), stderr=log, process_group=0
                )
        self._wait(self.app, f"{self.listens}/static/icon.svg")

    def start_sandbox(self) -> "subprocess.Popen[bytes] | Process":
        """Start the portal, without waiting until it answers."""
        arguments = ["--port", self.portal.rpartition(":")[2]]
        arguments += ["--oauth-port", self.oauth.rpartition(":")[2]]
        arguments += ["--app", self.chat, "--client-id", CLIENT_ID]
        if self.forks:
            log = self.folder / "portal.log"
            self.sandbox = starter("portal").start(arguments, self.environment(), log)
        else:
            self.sandbox = subprocess.Popen(
                [sys.executable, "-m", "sandbox", *arguments],
                cwd=ROOT,
                env=self.environment(),
                stdout=subprocess.DEVNULL,
                process_group=0,
            )
        return self.sandbox

    def _wait(self, process: subprocess.Popen[bytes] | Process, url: str) -> None:
        def answers() -> bool:
            assert process.poll() is None, self.log.read_text() if self.log.exists() else "ended"
            try:
                requests.get(url, timeout=5)
            except (requests.ConnectionError, requests.Timeout):
                return False
            return True

        wait_until(answers, START_SECONDS, url)

    def kill(self) -> None:
        """kill -9 of the application, all of its processes at once."""
        assert self.app is not None
        os.killpg(self.app.pid, signal.SIGKILL)
        self.app.wait()

    def logged(self) -> str:
        """All that the application has logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def press(self, button: str, **values: Any) -> dict[str, Any]:
        """Use the sandbox's control API: what an administrator or operator would do."""
        answer = self.control.post(f"{self.portal}/sandbox/{button}", json=values, timeout=60)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def trouble(self, **values: Any) -> None:
        self.press("trouble", **values)

    def state(self) -> dict[str, Any]:
        body: dict[str, Any] = self.control.get(f"{self.portal}/sandbox/state", timeout=30).json()
        return body

    def counts(self) -> dict[str, int]:
        """How many messages, calls and so on the portal has had; its dialogs are left out."""
        answer = self.control.get(
            f"{self.portal}/sandbox/state", params={"chat": "none"}, timeout=30
        )
        counts: dict[str, int] = answer.json()["counts"]
        return counts

    def calls(self, method: str | None = None) -> list[dict[str, Any]]:
        calls = self.control.get(f"{self.portal}/sandbox/calls", timeout=30).json()
        return [call for call in calls if method in (None, call["method"])]

    def install(self) -> None:
        """Install the application and connect the line LINE, as an administrator does."""
        answer = self.press("install")
        assert "successfully" in answer["body"], answer
        answer = self.press("connect", line=LINE)
        assert "successfully" in answer["body"], answer

    def admin_page(self, user_id: int = 1, language: str = "en") -> str:
        """The application's own page, as an administrator opens it in the portal."""
        token = self.press("token", user_id=user_id)
        form = {
            "PLACEMENT": "DEFAULT",
            "AUTH_ID": token["access_token"],
            "member_id": token["member_id"],
        }
        answer = requests.post(
            f"{self.chat}/handler", data=form, params={"LANG": language}, timeout=60
        )
        assert answer.status_code == 200, answer.text
        return answer.text

    def visitor(self) -> Visitor:
        return Visitor(self.chat)

    def dialog(self, chat_id: str) -> dict[str, Any]:
        """The portal's dialog of one of our chats; empty while there is none."""
        answer = self.control.get(
            f"{self.portal}/sandbox/state", params={"chat": chat_id}, timeout=30
        )
        dialogs: list[dict[str, Any]] = answer.json()["dialogs"]
        return dialogs[0] if dialogs else {}

    def wait_for_confirmation(self, message_id: int) -> None:
        """Wait until the portal knows an operator's message by our id, so that it may change."""

        def confirmed() -> bool:
            messages = [one for dialog in self.state()["dialogs"] for one in dialog["messages"]]
            return any(one["id"] == message_id and one["connector_mid"] for one in messages)

        wait_until(confirmed, why="the confirmation")

    def texts(self, chat_id: str, author: str = "visitor") -> list[str]:
        """What the portal's dialog holds by this author, in its order."""
        messages = self.dialog(chat_id).get("messages", [])
        return [one["text"] for one in messages if one["author"] == author]


def note_of(stage: Stage, key: str) -> str:
    """A note of the application's store, as JSON; "" while it is not set.

    To look at the page instead costs calls, of which the portal allows so many a second.
    """
    url = stage.environment()["SITECHAT_STORAGE__URL"]
    if is_of_server(url):
        import psycopg

        with psycopg.connect(url) as session:
            found = session.execute("select value from meta where key = %s", (f"note.{key}",))
            value = found.fetchone()
            return str(value[0]) if value else ""
    with contextlib.closing(sqlite3.connect(stage.folder / "chats" / "chats.db", timeout=10)) as db:
        row = db.execute("select value from meta where key = ?", (f"note.{key}",)).fetchone()
    return str(row[0]) if row else ""


def path_of(store: Store) -> Path:
    """The file of a store that keeps everything in one."""
    assert isinstance(store.database, SQLite)
    return store.database.path
