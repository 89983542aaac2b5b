"""An installed chat that the tests break and mend, and the doctor in the process of the tests."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from stage import Stage, wait_until

from cli.doctor import examination, report
from operations.findings import Finding, Level, worst


class Doctor:
    """The doctor in this process, with the settings of a stage: to start one takes a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, stage: Stage, **environment: str) -> list[Finding]:
        with self._monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("SITECHAT_")]:
                patch.delenv(name)
            for name, value in (stage.environment() | environment).items():
                if name.startswith("SITECHAT_"):
                    patch.setenv(name, value)
            return examination("en")

    def says(self, stage: Stage, level: Level, key: str, word: str, **environment: str) -> None:
        """Assert the exit code, and a sentence in each language that has the word."""
        found = self(stage, **environment)
        assert worst(found) is level, [one for one in found if one.level]
        [finding] = [one for one in found if one.key == key]
        assert finding.level is not Level.GOOD
        for language in ("en", "ru"):
            text = report([finding], language)
            assert word in text, text


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch) -> Doctor:
    return Doctor(monkeypatch)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("stage")) as stage:
        stage.install()
        wait_until(lambda: store_has(stage, "note.recovery"), 15, "a first look for lost answers")
        yield stage


@pytest.fixture
def mended(installed: Stage) -> Iterator[Stage]:
    """The chat of the module; what a test broke at the portal is over after it."""
    yield installed
    installed.control.delete(f"{installed.portal}/sandbox/trouble", timeout=30)


def file_of(stage: Stage) -> Path:
    return stage.folder / "chats" / "chats.db"


def store_has(stage: Stage, key: str) -> bool:
    with closing(sqlite3.connect(file_of(stage))) as db:
        return bool(db.execute("select 1 from meta where key = ?", (key,)).fetchone())


def note(stage: Stage, key: str, value: Any) -> None:
    """Write a note as another part of the service does."""
    with closing(sqlite3.connect(file_of(stage), timeout=10)) as db:
        values = (f"note.{key}", json.dumps(value))
        db.execute("insert or replace into meta values (?, ?)", values)
        db.commit()


def make_old(stage: Stage) -> None:
    """An install of long ago: a fresh one is left alone for a minute."""
    with closing(sqlite3.connect(file_of(stage), timeout=10)) as db:
        db.execute("update portal set installed_at = installed_at - 3600")
        db.commit()
