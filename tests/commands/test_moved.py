"""A store that was moved to a PostgreSQL server, and the file that it was in."""

import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from command_parts import CHAT, Site, fill, write
from postgres import Server

from bbcode import RENDERER
from storage import Store
from store.database import DiskFull
from store.notes import Note


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with closing(Server(durable=False)) as server:
        yield server


def test_a_store_and_the_file_that_it_was_in(site: Site, server: Server) -> None:
    fill(site)
    url, file = server.new_database(), site.chats / "chats.db"
    there = {"SITECHAT_STORAGE__URL": url}
    site.patch.setattr("operations.former_store.ROOT", site.folder)

    def found(**env: str) -> dict[str, str]:
        said = site.run("doctor", "--json", env=env).json["findings"]
        return {one["key"]: one["text"] for one in said if one["check"] == "store"}

    def copies(*command: str, **env: str) -> list[str]:
        return list(site.run(*command, "--json", env=env).json["copies"])

    # Only storage.url was changed: before the service is started, and when visitors have written.
    assert str(file) in found(**there)["store_left_behind"]
    with closing(Store(url, site.folder, RENDERER)) as store:
        store.open()
        assert "sitechat migrate" in found(**there)["store_left_behind"]
        write(store, "what about my order?")
        assert "store_left_behind" in found(**there)
        store.chats.delete(CHAT, 0.0)
    url = there["SITECHAT_STORAGE__URL"] = server.new_database()

    assert site.run("migrate", url).code == 0

    assert [*found(**there)] == ["store_good"]
    moved = found()["store_moved"]
    assert "PostgreSQL" in moved
    assert "://" not in moved, "no address, which may have a password"
    assert site.run("forget", CHAT, "--json").json["copies"] == [], "it is the store itself"
    for command in (
        ("forget", CHAT),
        ("purge", "--days", "1", "--dry-run"),
        ("purge", "--days", "1"),
        ("uninstall", "--offline", "--erase"),
    ):
        assert copies(*command, **there) == [str(file)], command
    assert file.exists()
    assert "store_left_behind" not in found(**there), "all was erased on purpose"

    with site.store() as store:
        store.notes.mended_at.set(time.time())
    assert "store_moved" not in found(), "somebody has gone back on purpose"


def test_a_former_store_that_cannot_be_marked_as_moved_is_told_of(
    site: Site, server: Server
) -> None:
    fill(site)
    url = server.new_database()
    set_note = Note.set

    def full(note: Note[object], value: object) -> None:
        if note.key == "note.moved":
            raise DiskFull
        set_note(note, value)

    site.patch.setattr(Note, "set", full)

    moved = site.run("migrate", url, "--json")

    assert moved.code == 0
    assert moved.json["tables"]["chats"] == 2
    assert "could not be marked as moved" in moved.error
    with closing(Store(url, site.folder, RENDERER)) as store:
        assert store.chats.find(CHAT) is not None
