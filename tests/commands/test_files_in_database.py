"""Visitors' files in the database: what moves, copies and removes a store takes them along."""

import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from command_parts import CHAT, CONTENT, KEY, LIMITS, OTHER, Site, chat, fill, keep_file, write
from postgres import Server

import operations.transfer
from bbcode import RENDERER
from commands import commands
from files import Files
from operations import archive
from operations.moving import move_files
from settings import ROOT
from storage import Store
from store.records import File, VisitorMessage

SECOND = "fedcba9876543210" * 3


@pytest.fixture
def in_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITECHAT_STORAGE__FILES_IN", "database")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with closing(Server()) as server:
        yield server


def files_in_folder(site: Site) -> list[str]:
    return sorted(path.name for path in site.files.rglob("*") if path.is_file())


def kept(store: Store, key: str = KEY, chat_id: str = CHAT) -> bytes | None:
    found = store.contents.open(chat_id, key)
    if found is None:
        return None
    with found.file as file:
        return file.read()


def keep_in(store: Store, key: str, chat_id: str = CHAT) -> None:
    """A visitor's message with a file in the database."""
    store.contents.keep(BytesIO(CONTENT), chat_id, key)
    file = File("a.png", "image", f"https://chat.example/{key}", len(CONTENT), key, "image/png")
    message = VisitorMessage(chat(chat_id), "see", file=file)
    store.messages.add_from_visitor(message, LIMITS, 1.0)


@pytest.mark.usefixtures("in_database")
def test_files_of_before_are_moved_by_one_command(site: Site) -> None:
    fill(site)
    with site.store() as store:
        keep_file(site, store, key=SECOND)
    (site.files / CHAT / SECOND).unlink()

    moved = site.run("move-files", "--json")
    again = site.run("move-files", language="ru_RU.UTF-8")

    assert (moved.code, moved.json) == (1, {"files": 1, "lost": 1})
    assert (again.code, files_in_folder(site)) == (1, [])
    assert str(site.chats / "chats.db") in again.output
    assert str(site.files) in again.output
    with site.store() as store:
        assert kept(store) == CONTENT


def test_and_moved_back(site: Site) -> None:
    with site.store() as store:
        write(store, "Hello")
        keep_in(store, KEY)

    moved = site.run("move-files")

    assert (moved.code, moved.error) == (0, "")
    assert str(site.files) in moved.output
    assert (site.files / CHAT / KEY).read_bytes() == CONTENT
    with site.store() as store:
        assert kept(store) is None


@pytest.mark.usefixtures("in_database")
def test_a_backup_has_the_files_of_both_places(site: Site) -> None:
    fill(site)
    with site.store() as store:
        keep_in(store, SECOND)
    archive, other = site.folder / "backup.zip", site.elsewhere()

    made = site.run("backup", archive, "--json")
    restored = other.run("restore", archive, "--json")

    with zipfile.ZipFile(archive) as opened:
        contents = json.loads(opened.read("contents.json"))
        assert [name for name in opened.namelist() if "files/" in name] == [f"files/{CHAT}/{KEY}"]
    assert (contents["files"], contents["gone"]) == (2, 0)
    assert made.json["files"] == restored.json["files"] == 2
    assert (other.files / CHAT / KEY).read_bytes() == CONTENT
    with other.store() as store:
        assert kept(store, SECOND) == CONTENT


@pytest.mark.parametrize("there", ["folder", "database"])
def test_an_export_has_the_files_of_both_places(
    site: Site, there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(site)
    with site.store() as store:
        keep_in(store, SECOND)
    other, lines = site.elsewhere(), site.folder / "lines"
    site.run("export", lines)
    monkeypatch.setenv("SITECHAT_STORAGE__FILES_IN", there)

    first = other.run("import", lines, "--json")
    again = other.run("import", lines, "--json")

    assert (first.code, first.json["files"]) == (0, 2)
    assert (again.code, again.json["files"]) == (0, 0)
    both = sorted([KEY, SECOND])
    assert files_in_folder(other) == (both if there == "folder" else [])
    with other.store() as store:
        expected = None if there == "folder" else CONTENT
        assert [kept(store, key) for key in both] == [expected] * 2


@pytest.mark.usefixtures("in_database")
def test_an_export_that_gives_one_key_to_two_chats_stops_nothing(site: Site) -> None:
    fill(site)
    site.run("export", lines := site.folder / "lines")
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    [one] = [record for record in records if "contents" in record]
    twice = json.loads(json.dumps(one).replace(CHAT, OTHER))
    twice["message"] |= {"id": 5, "revision": 5, "client_id": None}
    records.insert(records.index(one) + 1, twice)
    lines.write_text("\n".join(map(json.dumps, records)))
    other = site.elsewhere()

    done = other.run("import", lines, "--json")

    assert done.json["files"] == 1
    with other.store() as store:
        assert (kept(store), kept(store, KEY, OTHER)) == (CONTENT, None)


def test_after_an_import_without_files_new_ones_are_taken(site: Site) -> None:
    fill(site)
    site.run("export", lines := site.folder / "lines", "--no-files")
    other = site.elsewhere()

    other.run("import", lines)

    assert other.files.is_dir(), "a folder that is not there counts as not mounted"


@pytest.mark.usefixtures("in_database")
def test_a_visitor_who_is_erased_leaves_no_file(site: Site) -> None:
    fill(site)
    with site.store() as store:
        keep_in(store, SECOND)

    site.run("forget", CHAT)

    with site.store() as store:
        assert store.database.rows("select key from kept_files") == []
        assert store.database.rows("select key from pieces") == []
    assert files_in_folder(site) == []


def test_a_store_on_a_server_is_backed_up_and_moved_with_its_files(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The way back from several hosts to one: a backup into a file, or a move."""
    url = server.new_database()
    with closing(Store(url, ROOT, RENDERER)) as store:
        store.open()
        keep_in(store, KEY)
    monkeypatch.setenv("SITECHAT_STORAGE__FILES", str(tmp_path / "files"))

    def run(store: str, *arguments: str) -> str:
        monkeypatch.setenv("SITECHAT_STORAGE__URL", store)
        result = CliRunner().invoke(commands, [*arguments, "--lang", "en"])
        assert result.exit_code == 0, result.output
        return result.output

    paths = [tmp_path / "moved.db", tmp_path / "there" / "restored.db"]
    made = run(url, "backup", str(tmp_path / "backup.zip"))
    moved = run(url, "migrate", f"sqlite:///{paths[0]}")
    restored = run(f"sqlite:///{paths[1]}", "restore", str(tmp_path / "backup.zip"))

    assert "1 files" in made
    assert "1 files" in restored
    assert "sitechat move-files" in moved
    for path in paths:
        with closing(Store(f"sqlite:///{path}", ROOT, RENDERER)) as store:
            assert kept(store) == CONTENT


def test_a_restore_into_a_new_file_leaves_the_files_of_another_store(site: Site) -> None:
    """So the way goes for a store on a server, which may be in use all the time."""
    fill(site)
    site.run("backup", archive := site.folder / "backup.zip")
    with site.store() as store:
        keep_file(site, store, key=SECOND)
    site.patch.setenv("SITECHAT_STORAGE__URL", f"sqlite:///{site.chats}/restored.db")

    done = CliRunner().invoke(commands, ["restore", str(archive)])

    assert done.exit_code == 0, done.output
    assert files_in_folder(site) == sorted([KEY, SECOND])


@pytest.mark.parametrize("command", ["backup", "export"])
def test_a_file_that_is_moved_meanwhile_is_in_the_copy(
    site: Site, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are copied first, and the files then."""
    fill(site)
    copy, other = site.folder / "copy", site.elsewhere()

    def moving(function: Callable[..., Any]) -> Callable[..., Any]:
        def moved(*arguments: object) -> Any:
            with site.store() as store:
                assert move_files(store, Files(site.files, store.contents, True)) == (1, 0)
            return function(*arguments)

        return moved

    monkeypatch.setattr("operations.backup.counted", moving(archive.counted))
    monkeypatch.setattr("cli.move.export", moving(operations.transfer.export))
    done = site.run(command, copy, "--json")
    there = other.run("restore" if command == "backup" else "import", copy, "--json")

    assert (done.code, done.error, done.json["gone"]) == (0, "", 0)
    assert there.json["files"] == 1
    assert (other.files / CHAT / KEY).read_bytes() == CONTENT
