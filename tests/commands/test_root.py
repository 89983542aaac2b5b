"""Root runs a command in a folder of the service's user, who may have put anything there."""

import grp
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_parts import CHAT, KEY, Site, fill
from test_command_line import NOBODY, environment, owners, run, theirs  # noqa: F401

from cli.owner import Untrusted, check_place, owner_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
SECRET = b"a secret of root's"
WITHOUT_NAME = 54_321  # a user of whom the system knows nothing


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "victim" / CHAT / KEY
    path.parent.mkdir(parents=True)
    path.write_bytes(SECRET)
    return path


def put_link(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)


def everything_below(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.lstat().st_uid, path.read_bytes() if path.is_file() else b"")
        for path in (folder, *folder.rglob("*"))
    }


LINKS: dict[str, tuple[Callable[[Site, Path], None], list[str]]] = {
    "the store": (
        lambda site, victim: put_link(site.chats / "chats.db", victim / "root.db"),
        ["import", "forget", "export"],
    ),
    "its log": (
        lambda site, victim: put_link(site.chats / "chats.db-wal", victim / "wal"),
        ["purge"],
    ),
    "the files": (lambda site, victim: put_link(site.files, victim), ["restore", "purge"]),
    "a lock": (
        lambda site, victim: put_link(site.chats / "sender.lock", victim / "new.lock"),
        ["restore", "serve"],
    ),
    "the folder": (
        lambda site, victim: put_link(site.chats, victim),
        ["restore", "block", "export"],
    ),
    "a folder to come": (
        lambda site, victim: put_link(site.chats, victim / "new"),
        ["restore", "import"],
    ),
}


@pytest.mark.parametrize(("prepare", "commands"), LINKS.values(), ids=LINKS)
def test_root_writes_nowhere_else(
    theirs: Site,  # noqa: F811
    secret: Path,
    tmp_path: Path,
    prepare: Callable[[Site, Path], None],
    commands: list[str],
) -> None:
    victim, backup, lines = secret.parents[1], tmp_path / "b.zip", tmp_path / "lines"
    arguments: dict[str, list[object]] = {
        "restore": [backup, "--replace"], "import": [lines], "purge": ["--days", "1"],
        "forget": [CHAT], "block": [CHAT], "serve": ["--bind", "127.0.0.1:1"], "export": ["-"],
    }  # fmt: skip
    assert theirs.run("backup", backup).code == theirs.run("export", lines).code == 0
    shutil.copy(theirs.chats / "chats.db", victim / "root.db")
    prepare(theirs, victim)
    before = everything_below(victim)

    for command in commands:
        done = run(command, *arguments[command], **environment(theirs))
        assert done.returncode == 1, done
        assert "link" in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""

    assert everything_below(victim) == before


def test_root_acts_as_root_only_where_all_the_way_is_roots(theirs: Site) -> None:  # noqa: F811
    for path in (theirs.chats, *theirs.chats.rglob("*")):
        os.chown(path, 0, 0)

    done = run("block", CHAT, **environment(theirs))

    assert done.returncode == 1
    assert "to the user nobody, who can put anything in its place" in done.stderr
    os.chown(theirs.folder, 0, 0)
    assert run("block", CHAT, **environment(theirs)).returncode == 0
    theirs.chats.chmod(0o777)
    assert "other users may write there" in run("forget", CHAT, **environment(theirs)).stderr


def test_links_of_roots_own_are_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "here").symlink_to("there/../there")
    os.chown(tmp_path / "there", 1, 2)
    place = tmp_path / "here" / "chats.db"

    check_place(place, tmp_path / "here" / "files", writes=True)

    assert owner_of(place) == (1, 2)
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(Untrusted):
        owner_of(tmp_path / "round" / "chats.db")


def put_pipe(path: Path, _: Path) -> None:
    path.unlink()
    os.mkfifo(path)


SPOILT: dict[str, Callable[[Path, Path], None]] = {
    "a link": put_link,
    "a folder that is a link": lambda path, secret: put_link(path.parent, secret.parent),
    "a pipe": put_pipe,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_root_reads_nothing_but_visitors_files(
    theirs: Site,  # noqa: F811
    secret: Path,
    tmp_path: Path,
    spoil: Callable[[Path, Path], None],
) -> None:
    spoil(theirs.files / CHAT / KEY, secret)

    for command in ("backup", "export"):
        target = tmp_path / command
        done = theirs.run(command, target)
        assert done.code == 1, "partly done: the file is not there"
        assert done.error.startswith("Gone: 1 files"), done
        content = target.read_bytes()
        assert SECRET not in content
        assert b"contents" not in content.partition(b"contents.json")[0]


def test_a_name_of_a_file_leads_root_nowhere(theirs: Site, secret: Path) -> None:  # noqa: F811
    """The store is the service's user's own, and so is what it says of files."""
    from operations.kept_files import open_kept

    deep = os.path.relpath(secret.parent, theirs.files)
    assert open_kept(theirs.files, deep, KEY) is None
    assert open_kept(theirs.files, CHAT, f"../{CHAT}/{KEY}") is None
    file = open_kept(theirs.files, CHAT, KEY)
    assert file is not None
    file.close()


def test_a_pipe_in_the_place_of_the_store_stops_nobody(theirs: Site) -> None:  # noqa: F811
    (theirs.chats / "chats.db").unlink()
    os.mkfifo(theirs.chats / "chats.db")

    for command in ("export", "status"):
        done = run(command, **environment(theirs))
        assert done.returncode in (1, 2)
        assert "Traceback" not in done.stderr


def test_a_copy_that_only_root_may_read_is_restored(
    theirs: Site,  # noqa: F811
    tmp_path: Path,
) -> None:
    copy = tmp_path / "copy.db"
    shutil.copy(theirs.chats / "chats.db", copy)
    copy.chmod(0o600)
    tmp_path.chmod(0o700)

    done = run("restore", copy, "--replace", **environment(theirs))

    assert (done.returncode, done.stderr) == (0, ""), done
    assert "5 messages" in done.stdout
    assert owners(theirs) == {NOBODY.pw_uid}


@pytest.fixture
def nameless(theirs: Site) -> Site:  # noqa: F811
    for path in (theirs.folder, theirs.chats, *theirs.chats.rglob("*")):
        os.chown(path, WITHOUT_NAME, WITHOUT_NAME)
    return theirs


def test_roots_groups_go_with_root(nameless: Site) -> None:
    import subprocess
    import sys

    group = grp.getgrall()[-1].gr_gid
    code = (
        f"import os, encodings.cp437; os.setgroups([0, {group}])\n"
        "from cli.parts import Desk; Desk().become_service()\n"
        "print(os.getresuid(), os.getresgid(), os.getgroups())"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment(nameless),
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    ids = (WITHOUT_NAME,) * 3
    assert done.stdout.strip() == f"{ids} {ids} []"


def test_a_store_of_root_alone_is_roots(site: Site) -> None:
    fill(site)

    assert site.run("block", CHAT).code == 0
