"""What the tests of the command line share: commands run in this process, on a store of the test's.

A real store in a folder of the test's own, filled as the service would fill it.
"""

import json
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bbcode import RENDERER
from commands import commands
from storage import Store
from store.records import (
    Chat,
    File,
    Limits,
    Message,
    OperatorMessage,
    Outcome,
    Portal,
    PortalDialog,
    VisitorMessage,
)

CHAT, OTHER = "chat" + "a" * 64, "chat" + "b" * 64
LINE, DIALOG = 7, 5120
LIMITS = Limits("an address", 10_000, 10_000)
TOKENS = ("an-access-token", "a-refresh-token", "an-application-token")
KEY = "0123456789abcdef" * 3
CONTENT = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 500


@dataclass(frozen=True)
class Done:
    """What a command has said."""

    code: int
    output: str
    error: str

    @property
    def json(self) -> Any:
        return json.loads(self.output)


@dataclass
class Site:
    """One installation: its folder, its settings, its command line."""

    folder: Path
    patch: pytest.MonkeyPatch
    name: str = "chats"

    @property
    def chats(self) -> Path:
        return self.folder / self.name

    @property
    def files(self) -> Path:
        return self.chats / "files"

    def run(self, *arguments: object, language: str = "en_GB.UTF-8", **given: Any) -> Done:
        """Run `sitechat` with these arguments."""
        self.patch.setenv("SITECHAT_STORAGE__URL", f"sqlite:///{self.chats}/chats.db")
        self.patch.setenv("SITECHAT_STORAGE__FILES", str(self.files))
        self.patch.setenv("LC_ALL", language)
        result = CliRunner().invoke(commands, [str(one) for one in arguments], **given)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    def store(self, read_only: bool = False) -> "closing[Store]":
        url = f"sqlite:///{self.chats}/chats.db"
        return closing(Store(url, self.folder, RENDERER, read_only))

    def elsewhere(self) -> "Site":
        """Another installation, on another machine."""
        return Site(self.folder, self.patch, "elsewhere")

    def names(self) -> list[str]:
        """What lies in the folder of the store."""
        return sorted(path.name for path in self.chats.iterdir())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


def chat(chat_id: str = CHAT) -> Chat:
    email, page = "anna@example.com", "https://shop.example/cart"
    return Chat(chat_id, "Anna", email, "+100", page, None, 0.0, 0.0, None, None, None, None)


def write(store: Store, text: str, chat_id: str = CHAT, **given: Any) -> Message:
    message = VisitorMessage(chat(chat_id), text, f"<p>{text}</p>", **given)
    return store.messages.add_from_visitor(message, LIMITS, time.time())


def answer(text: str, number: int = 903311, chat_id: str = CHAT) -> OperatorMessage:
    return OperatorMessage(chat_id, LINE, DIALOG, number, "operator", "Olga", text, text)


def deliver(store: Store) -> None:
    """Note that the portal has taken all that waits."""
    now = time.time()
    while waiting := store.queue.due_messages(now + 60, 1):
        [claimed] = store.queue.claim(waiting, LINE, now)
        dialog = PortalDialog(DIALOG, 2001, 3301)
        store.queue.record([Outcome(claimed, "delivered", dialog=dialog)], now)


def fill(site: Site) -> None:
    """Two chats with everything: what is delivered, what waits, a file, an answer, the tokens."""
    with site.store() as store:
        store.portal.secret_key()
        store.portal.save(
            Portal("a-member", 1, *TOKENS[:2], 2e9, TOKENS[2], token_pending=False, installed_at=1)
        )
        store.portal.connect_line(LINE, time.time())
        write(store, "delivered [b]text[/b]")
        deliver(store)
        write(store, "waits", client_id="5a3f5a34-9f0c-4d7c-8ab0-9a7b3c1d2e3f")
        store.messages.add_from_operators([answer("an answer")], time.time())
        write(store, "in another chat", OTHER)
        keep_file(site, store)


def keep_file(site: Site, store: Store, chat_id: str = CHAT, key: str = KEY) -> Message:
    """A visitor's message with a file."""
    folder = site.files / chat_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / key).write_bytes(CONTENT)
    file = File("photo.png", "image", f"https://chat.example/{key}", len(CONTENT), key, "image/png")
    message = VisitorMessage(chat(chat_id), "see", file=file)
    return store.messages.add_from_visitor(message, LIMITS, time.time())


def everything(store: Store) -> dict[str, list[dict[str, Any]]]:
    """All rows that must be the same elsewhere, by table."""
    tables = ("chats", "messages", "deliveries", "dialogs", "files", "lines", "portal", "heirs")
    return {
        table: [
            {key: row[key] for key in row.keys()}  # noqa: SIM118
            for row in store.database.rows(f"select * from {table} order by rowid")
        ]
        for table in tables
    }
