"""`backup` and `restore`: whole or not at all, and nothing of what was there is lost."""

import errno
import json
import os
import resource
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from command_parts import CHAT, CONTENT, KEY, OTHER, Site, everything, fill, keep_file, write

from operations.archive import counted
from store.datagrams import Datagrams
from store.schema import MIGRATIONS


def backed_up(site: Site) -> Path:
    backup = site.folder / "backup.zip"
    done = site.run("backup", backup)
    assert (done.code, done.error) == (0, ""), done
    return backup


def test_everything_is_there_elsewhere(site: Site) -> None:
    fill(site)
    with site.store() as store:
        kept, key, epoch = everything(store), store.portal.secret_key(), store.epochs.current()

    backup = backed_up(site)
    other = site.elsewhere()
    done = other.run("restore", backup)

    assert (done.code, done.error) == (0, ""), done
    assert "2 chats, 5 messages, 1 files" in done.output
    with other.store() as store:
        assert everything(store) == kept
        assert store.portal.secret_key() == key
        assert epoch != store.epochs.current() == "", "whoever works with it knows it is a copy"
    assert (other.files / CHAT / KEY).read_bytes() == CONTENT
    assert (other.chats / "chats.db").stat().st_mode & 0o777 == 0o600
    assert (other.files / CHAT / KEY).stat().st_mode & 0o777 == 0o600


def test_a_backup_is_private_and_changes_nothing_of_the_store(site: Site) -> None:
    fill(site)
    before = {path: path.stat().st_mtime_ns for path in site.chats.rglob("*")}

    backup = backed_up(site)

    assert backup.stat().st_mode & 0o777 == 0o600
    assert {path: path.stat().st_mtime_ns for path in site.chats.rglob("*")} == before
    assert sorted(path.name for path in site.folder.iterdir()) == ["backup.zip", "chats"]


def test_a_file_of_that_name_is_replaced_only_when_asked(site: Site) -> None:
    fill(site)
    target = site.folder / "backup.zip"
    target.write_text("another file")

    refused = site.run("backup", target)
    assert refused.code == 1
    assert "is there already" in refused.error
    assert target.read_text() == "another file"

    assert site.run("backup", target, "--replace").code == 0
    assert zipfile.is_zipfile(target)


def hard_link(site: Site) -> Path:
    (site.folder / "hard").hardlink_to(site.chats / "chats.db")
    return site.folder / "hard"


def link(site: Site) -> Path:
    (site.folder / "link").symlink_to(site.chats / "chats.db")
    return site.folder / "link"


def by_another_folder(site: Site) -> Path:
    (site.folder / "other").symlink_to(site.chats)
    return site.folder / "other" / "chats.db-journal"


TARGETS: dict[str, Callable[[Site], Path]] = {
    **{
        name: lambda site, name=name: site.chats / name  # type: ignore[misc]
        for name in (
            *("chats.db", "chats.db-wal", "chats.db-shm", "chats.db-journal", "sender.lock"),
            *("files/new.zip", f"files/{CHAT}/{KEY}", "files/../chats.db", "live-1.sock"),
        )
    },
    "a hard link": hard_link,
    "a link": link,
    "by another folder": by_another_folder,
}


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("command", [("backup", "--replace"), ("export",)])
def test_nothing_is_written_over_the_store(site: Site, name: str, command: tuple[str]) -> None:
    fill(site)
    target = TARGETS[name](site)
    before = {path: path.read_bytes() for path in site.folder.rglob("*") if path.is_file()}

    done = site.run(*command, target)

    assert (done.code, done.output) == (1, "")
    assert "part of the store" in done.error
    assert {path: path.read_bytes() for path in before} == before
    assert {path for path in site.folder.rglob("*") if path.is_file()} == {*before}


@pytest.mark.parametrize("refused", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EMLINK])
def test_a_disk_without_links_takes_a_backup(
    site: Site, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    fill(site)
    target = site.folder / "backup.zip"

    def no_link(*_: object) -> None:
        raise OSError(refused, os.strerror(refused))

    monkeypatch.setattr(os, "link", no_link)

    assert site.run("backup", target).code == 0
    assert zipfile.is_zipfile(target)
    assert site.run("backup", target).code == 1


def test_a_backup_that_fails_leaves_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(site)
    target = site.folder / "backup.zip"
    target.write_text("of yesterday")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("operations.backup.copy_file", fail)
    done = site.run("backup", target, "--replace")

    assert done.code == 1
    assert "No space left" in done.error
    assert target.read_text() == "of yesterday"
    assert sorted(path.name for path in site.folder.iterdir()) == ["backup.zip", "chats"]


@pytest.mark.parametrize("command", ["backup", "export"])
def test_a_file_that_is_gone_costs_only_itself_and_is_told(site: Site, command: str) -> None:
    fill(site)
    (site.files / CHAT / KEY).unlink()

    done = site.run(command, site.folder / "1", "--json")
    told = site.run(command, site.folder / "2", language="ru_RU.UTF-8")

    assert (done.code, done.json["gone"], done.json["messages"]) == (1, 1, 5)
    assert told.code == 1
    assert str(site.folder / "2") in told.output
    assert "Нет файлов: 1" in told.error
    assert str(site.files) in told.error


def test_a_file_whose_chat_is_deleted_meanwhile_is_not_missed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(site)

    def delete(copy: Path) -> dict[str, int]:
        with site.store() as store:
            store.chats.delete(CHAT, 1.0)
        shutil.rmtree(site.files)
        return counted(copy)

    monkeypatch.setattr("operations.backup.counted", delete)
    done = site.run("backup", site.folder / "b.zip", "--json")

    assert (done.code, done.error) == (0, "")
    assert (done.json["files"], done.json["gone"], done.json["messages"]) == (0, 0, 5)


@pytest.mark.parametrize("name", ["no/such/folder/b.zip", "chats", ""])
def test_an_impossible_name_is_told(site: Site, name: str) -> None:
    fill(site)

    done = site.run("backup", site.folder / name)

    assert done.code == 1
    assert done.error.startswith("sitechat: ")


def test_a_store_with_content_is_replaced_only_when_asked_and_kept(site: Site) -> None:
    fill(site)
    backup = backed_up(site)
    with site.store() as store:
        write(store, "after the backup")
        keep_file(site, store, OTHER, "f" * 48)
        kept = everything(store)

    refused = site.run("restore", backup)
    assert refused.code == 1
    assert "--replace" in refused.error
    with site.store() as store:
        assert everything(store) == kept

    done = site.run("restore", backup, "--replace", "--json")

    former = Path(done.json["former"])
    assert former.parent == site.chats
    with site.store() as store:
        assert len(everything(store)["messages"]) == 5
    assert not (site.files / OTHER).exists(), "the restored store knows nothing of this file"
    assert (site.files / CHAT / KEY).read_bytes() == CONTENT
    shutil.rmtree(site.files)
    shutil.move(former, site.folder / "former")
    there = Site(site.folder, site.patch, "former")
    with there.store() as store:
        assert everything(store) == kept
    assert (there.files / OTHER / ("f" * 48)).read_bytes() == CONTENT


def test_a_store_without_files_is_backed_up_and_restored(site: Site) -> None:
    with site.store() as store:
        write(store, "hello")
    other = site.elsewhere()

    assert other.run("restore", backed_up(site)).code == 0

    with other.store() as store:
        assert [row["text"] for row in everything(store)["messages"]] == ["hello"]


def test_what_a_killed_restore_left_is_removed(site: Site) -> None:
    fill(site)
    backup = backed_up(site)
    other = site.elsewhere()
    (other.chats / ".restoring-1").mkdir(parents=True)
    (other.chats / ".restoring-1" / "chats.db").write_text("a part")

    assert other.run("restore", backup).code == 0

    assert [name for name in other.names() if "restoring" in name] == []


def test_what_a_killed_service_left_in_its_log_is_kept_too(site: Site) -> None:
    fill(site)
    backup = backed_up(site)
    with site.store() as store:
        write(store, "only in the log")
        killed = site.elsewhere()
        shutil.copytree(site.chats, killed.chats)

    done = killed.run("restore", backup, "--replace", "--json")

    former = Path(done.json["former"])
    assert (former / "chats.db-wal").stat().st_size > 0
    shutil.move(former, site.folder / "former")
    with Site(site.folder, site.patch, "former").store() as store:
        assert everything(store)["messages"][-1]["text"] == "only in the log"
    with killed.store() as store:
        assert len(everything(store)["messages"]) == 5


@pytest.mark.parametrize("folder", [".", "d" * 100])  # of a longer path no socket can be named
def test_nothing_is_restored_over_a_running_service(site: Site, folder: str) -> None:
    site = Site(site.folder / folder, site.patch)
    site.folder.mkdir(exist_ok=True)
    fill(site)
    backup = backed_up(site)
    with site.store() as service:
        with service.database.try_lock("sender"):
            worker = site.run("restore", backup, "--replace")
        with closing(Datagrams(site.chats, lambda: None)):
            listener = site.run("restore", backup, "--replace")
    after = site.run("restore", backup, "--replace")

    for refused in (worker, listener):
        assert refused.code == 1
        assert "Stop it first" in refused.error
    assert after.code == 0


def test_a_copy_of_the_file_alone_is_restored_too(site: Site) -> None:
    fill(site)
    with site.store() as store:
        store.database.back_up(site.folder / "copy.db")
        write(store, "later")

    done = site.run("restore", site.folder / "copy.db", "--replace")

    assert done.code == 0, done
    with site.store() as store:
        assert len(everything(store)["messages"]) == 5
        assert store.epochs.current() == ""
    assert (site.files / CHAT / KEY).read_bytes() == CONTENT


def test_a_bare_copy_is_restored_with_its_log(site: Site) -> None:
    fill(site)
    copy = site.folder / "copy.db"
    with site.store() as store:
        write(store, "only in the log")
        for ending in ("", "-wal"):
            shutil.copy(f"{site.chats}/chats.db{ending}", f"{copy}{ending}")
    other = site.elsewhere()

    done = other.run("restore", copy)

    assert done.code == 0, done
    with other.store() as store:
        assert everything(store)["messages"][-1]["text"] == "only in the log"


def damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)


def garbled(path: Path) -> None:
    """A bit of what is packed is wrong; the list of the archive is not."""
    data = bytearray(path.read_bytes())
    data[200] ^= 255
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_list(path: Path) -> None:
    rewritten(path, lambda name: None if name == "contents.json" else name)


def evil(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("files/../../evil", "x")
        archive.writestr("../evil", "x")


def rewritten(path: Path, name_of: object) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            if name_of(name):  # type: ignore[operator]
                archive.writestr(name, content)


@pytest.mark.parametrize("spoil", [damaged, garbled, cut_off, without_list])
def test_what_is_no_whole_backup_is_refused(site: Site, spoil: object) -> None:
    fill(site)
    backup = backed_up(site)
    spoil(backup)  # type: ignore[operator]
    other = site.elsewhere()

    done = other.run("restore", backup)

    assert done.code == 1
    assert done.error.startswith("sitechat: ")
    assert not (other.chats / "chats.db").exists()
    assert [name for name in other.names() if "restoring" in name] == []


def dense(path: Path) -> None:
    """A list of contents that unpacks to 300 MB."""
    without_list(path)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("contents.json", "w") as member,
    ):
        for _ in range(300):
            member.write(b" " * (1 << 20))


def packed_otherwise(path: Path) -> None:
    """Of bzip2 a few bytes unpack to any size at once."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr(f"files/{CHAT}/{'e' * 48}", "x")


def deep(path: Path) -> None:
    without_list(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("contents.json", "[" * 60_000)


@pytest.mark.parametrize("spoil", [dense, packed_otherwise, deep])
def test_a_backup_that_unpacks_without_end_is_refused(site: Site, spoil: object) -> None:
    fill(site)
    backup = backed_up(site)
    spoil(backup)  # type: ignore[operator]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    done = site.elsewhere().run("restore", backup)

    assert done.code == 1
    assert "no backup" in done.error
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


@pytest.mark.parametrize("content", [b"", b"text", b"SQLite format 3\0" + bytes(5000), b"PK\3\4"])
def test_any_other_file_is_refused(site: Site, content: bytes) -> None:
    backup = site.folder / "backup.zip"
    backup.write_bytes(content)

    done = site.run("restore", backup)

    assert done.code == 1
    assert done.error.startswith("sitechat: ")
    assert not (site.chats / "chats.db").exists()


def test_no_file_leaves_its_folder(site: Site) -> None:
    fill(site)
    backup = backed_up(site)
    evil(backup)
    other = site.elsewhere()

    assert other.run("restore", backup).code == 0

    assert not list(site.folder.rglob("evil"))


def test_a_backup_of_a_newer_release_is_refused(site: Site) -> None:
    fill(site)
    copy = site.folder / "copy.db"
    with site.store() as store:
        store.database.back_up(copy)
    with closing(sqlite3.connect(copy)) as db:
        db.execute(f"pragma user_version = {len(MIGRATIONS) + 1}")
    other = site.elsewhere()

    done = other.run("restore", copy)

    assert done.code == 1
    assert "newer release" in done.error
    assert not (other.chats / "chats.db").exists()


def test_a_damaged_store_is_replaced_when_asked_and_kept(site: Site) -> None:
    fill(site)
    backup = backed_up(site)
    damaged(site.chats / "chats.db")
    broken = (site.chats / "chats.db").read_bytes()

    assert site.run("restore", backup).code == 1
    done = site.run("restore", backup, "--replace", "--json")

    assert done.code == 0, done
    assert (Path(done.json["former"]) / "chats.db").read_bytes() == broken
    with site.store() as store:
        assert len(everything(store)["messages"]) == 5


def test_the_list_of_contents_says_what_is_in_it(site: Site) -> None:
    fill(site)
    with zipfile.ZipFile(backed_up(site)) as archive:
        contents = json.loads(archive.read("contents.json"))

    assert contents | {"made_at": 0} == {
        "made_at": 0, "schema": len(MIGRATIONS), "chats": 2, "messages": 5, "files": 1, "gone": 0,
        "program": contents["program"], "format": 1,
    }  # fmt: skip


def test_no_room_is_said_as_such(site: Site) -> None:
    """The limit of a file's size is the nearest thing to a full disk that a test can have."""
    fill(site)
    target = site.folder / "backup.zip"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        done = site.run("backup", target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert done.code == 1
    assert "no room" in done.error
    assert sorted(path.name for path in site.folder.iterdir()) == ["chats"]
