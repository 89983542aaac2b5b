"""The command line itself: whatever is typed, it ends with an answer and an exit code."""

import os
import pwd
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner
from command_parts import CHAT, Site, fill
from stage import free_port, wait_until
from starter import sitechat

from commands import commands
from operations.listening import address_of, why_not
from settings import ROOT
from store.schema import MIGRATIONS

NOBODY = pwd.getpwnam("nobody")
EVERY = sorted(commands.commands)
READING = [["export", "-"], ["block"], ["purge", "--days", "3", "--dry-run"]]
WRITING = [["forget", CHAT], ["block", CHAT], ["unblock", CHAT], ["purge", "--days", "3"]]


def run(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    """`sitechat` in a process of its own."""
    return sitechat(*arguments, environment=without_settings() | env)


def without_settings() -> dict[str, str]:
    own = {key: value for key, value in os.environ.items() if not key.startswith("SITECHAT_")}
    return own | {"LC_ALL": "C.UTF-8"}


def test_all_commands_are_there() -> None:
    assert {
        *("backup", "restore", "export", "import", "import-tutorial", "forget", "block"),
        *("unblock", "purge", "uninstall", "serve", "run", "status"),
    } <= {*EVERY}


def test_the_version_is_ours() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]

    assert CliRunner().invoke(commands, ["--version"]).output == f"sitechat {version}\n"


@pytest.mark.parametrize("name", EVERY)
def test_help_needs_neither_settings_nor_a_store(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITECHAT_CONFIG", str(tmp_path / "missing.toml"))

    result = CliRunner().invoke(commands, [name, "--help"])

    assert result.exit_code == 0
    assert "Usage:" in result.output


@pytest.mark.parametrize(
    "arguments",
    [["backup"], ["nonsense"], ["backup", "a", "b"], ["purge", "--days", "x"], ["export", "--x"],
     ["purge", "--days", "0"], ["backup", "a", "--lang", "xx"]],
)  # fmt: skip
def test_a_wrong_line_is_explained_with_the_code_2(site: Site, arguments: list[str]) -> None:
    done = site.run(*arguments)

    assert done.code == 2
    assert "Usage:" in done.error


@pytest.mark.parametrize("arguments", [*READING, *WRITING, ["backup", "b.zip"], ["uninstall"]])
def test_where_there_is_no_store_it_is_said_and_none_is_made(
    site: Site, arguments: list[str]
) -> None:
    done = site.run(*arguments)

    assert done.code == 1
    assert done.error.startswith("sitechat: There is no store at")
    assert list(site.folder.iterdir()) == []


def spoil(site: Site) -> None:
    site.chats.mkdir()
    (site.chats / "chats.db").write_bytes(b"no database" * 1000)


def shut(site: Site) -> None:
    """A folder in the place of the file."""
    (site.chats / "chats.db").mkdir(parents=True)


@pytest.mark.parametrize("prepare", [spoil, shut])
@pytest.mark.parametrize("arguments", [*READING, *WRITING])
def test_a_store_that_cannot_be_used_is_told(
    site: Site, arguments: list[str], prepare: object
) -> None:
    prepare(site)  # type: ignore[operator]

    done = site.run(*arguments)

    assert done.code == 1
    assert done.error.startswith(f"sitechat: The store in {site.chats} cannot be used")


@pytest.mark.parametrize(("change", "said"), [(1, "более новой"), (-1, "более ранней")])
def test_a_store_of_another_release_is_told_and_can_be_backed_up(
    site: Site, change: int, said: str
) -> None:
    fill(site)
    with closing(sqlite3.connect(site.chats / "chats.db")) as db:
        db.execute(f"pragma user_version = {len(MIGRATIONS) + change}")

    done = site.run("export", "-", language="ru_RU.UTF-8")

    assert done.code == 1
    assert said in done.error
    assert site.run("backup", site.folder / "b.zip").code == 0


def test_wrong_settings_are_told_in_the_readers_language(site: Site) -> None:
    site.patch.setenv("SITECHAT_CHAT__ACCENT", "red")

    english, russian = (
        site.run("purge", language=language) for language in ("en_US.UTF-8", "ru_RU.UTF-8")
    )

    for done in (english, russian):
        assert done.code == 1
        assert "chat.accent" in done.error
    assert english.error != russian.error


def test_answers_are_in_the_language_of_whoever_asks(site: Site) -> None:
    fill(site)

    assert "Nothing was removed" in site.run("purge", "--days", "9", "--dry-run").output
    for given in ({"language": "ru_RU.UTF-8"}, {"language": "C"}):
        options = [] if given["language"] != "C" else ["--lang", "ru"]
        done = site.run("purge", "--days", "9", "--dry-run", *options, **given)
        assert "Ничего не удалено" in done.output


def test_a_reader_that_has_enough_is_no_fault(site: Site) -> None:
    fill(site)
    env = {
        "SITECHAT_STORAGE__URL": f"sqlite:///{site.chats}/chats.db",
        "SITECHAT_STORAGE__FILES": str(site.files),
    }
    code = "from commands import main; main()"
    command = f"{sys.executable} -c '{code}' export - | true"

    done = subprocess.run(
        command, shell=True, cwd=ROOT, env=os.environ | env, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip

    assert done.stderr == ""


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A store that belongs to another user than the test's, who is root.

    Not in pytest's folder, which is closed to all others.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), monkeypatch)
        fill(site)
        for path in (site.folder, site.chats, *site.chats.rglob("*")):
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        site.folder.chmod(0o755)
        yield site


def environment(site: Site) -> dict[str, str]:
    return {
        "SITECHAT_STORAGE__URL": f"sqlite:///{site.chats}/chats.db",
        "SITECHAT_STORAGE__FILES": str(site.files),
    }


def owners(site: Site) -> set[int]:
    return {path.stat().st_uid for path in (site.chats, *site.chats.rglob("*"))}


def test_what_root_writes_belongs_to_the_user_of_the_service(theirs: Site, tmp_path: Path) -> None:
    env, backup = environment(theirs), tmp_path / "backup.zip"

    for arguments in (["backup", backup], ["block", CHAT], ["restore", backup, "--replace"]):
        done = run(*arguments, **env)
        assert (done.returncode, done.stderr) == (0, ""), done

    assert owners(theirs) == {NOBODY.pw_uid}
    assert backup.stat().st_uid == 0, "a backup belongs to whoever made it"


def test_names_of_files_may_have_any_letters(site: Site) -> None:
    fill(site)

    for name in (b"\xff.zip", "копия.zip".encode(), b"a b'c.zip"):
        target = os.fsdecode(os.fsencode(site.folder) + b"/" + name)
        done = run("backup", target, **environment(site))
        assert (done.returncode, done.stderr) == (0, ""), done
        assert os.path.exists(target)


def test_another_user_is_told_who_may(theirs: Site) -> None:
    for arguments in (["block", CHAT], ["export", "-"], ["backup", "/tmp/never.zip"]):
        own = without_settings() | environment(theirs)
        done = sitechat(*arguments, environment=own, user=pwd.getpwnam("daemon").pw_uid)
        assert done.returncode == 1
        assert done.stderr == (
            "sitechat: The store belongs to the user nobody, and you are daemon. Run this as nobody"
            " (sudo -u nobody sitechat …) or as root.\n"
        )
    assert not Path("/tmp/never.zip").exists()


@pytest.mark.parametrize("command", ["serve", "run"])
def test_the_whole_is_served_or_it_is_said_why_not(site: Site, command: str) -> None:
    port = free_port()
    bind = ["--bind", f"127.0.0.1:{port}"] if command == "serve" else ["--port", str(port)]
    wrong = run(command, *bind, SITECHAT_CHAT__ACCENT="red")
    assert wrong.returncode == 1
    assert "chat.accent" in wrong.stderr
    process = subprocess.Popen(
        [sys.executable, "-c", "from commands import main; main()", command, *bind],
        cwd="/", env=os.environ | environment(site) | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def answers() -> bool:
        assert process.poll() is None, process.communicate()
        try:
            return requests.get(f"http://127.0.0.1:{port}/", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    try:
        wait_until(answers)
        wait_until((site.chats / "sender.lock").exists, why="the delivery")
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize("start", ["sitechat", "gunicorn"])
def test_a_port_that_is_taken_is_said_in_one_line_with_the_cure(site: Site, start: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        begin = {
            "sitechat": ["-c", "from commands import main; main()", "serve"],
            "gunicorn": ["-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")],
        }[start]
        done = subprocess.run(
            [sys.executable, *begin, "--bind", address], cwd=ROOT, capture_output=True, text=True,
            env=os.environ | environment(site) | {"PYTHONPATH": str(ROOT), "LC_ALL": "ru_RU.UTF-8"},
            timeout=60, check=False,
        )  # fmt: skip

    assert done.returncode == 1
    assert f"sitechat: Адрес {address} занят" in done.stderr
    assert "systemctl status sitechat" in done.stderr
    assert "Connection in use" not in done.stderr


def test_an_address_that_cannot_be_had_is_said_in_the_language_of_the_answer(site: Site) -> None:
    done = run("serve", "--lang", "ru", "--bind", "192.0.2.1:8080", **environment(site))
    assert (done.returncode, "не адрес этого компьютера" in done.stderr) == (1, True)

    for bind in ("a..b:80", "127.0.0.1:99999", "[2001:db8::1]:8080"):
        wrong = why_not([address_of(bind)])
        assert wrong is not None, bind
        assert wrong.key == "commands.port_unusable"
    for bind in ("unix:/run/a.sock", "fd://3", "localhost", "unix:8080"):
        assert address_of(bind) is None


@pytest.mark.parametrize(("language", "readme"), [("en", "README.md"), ("ru", "README.ru.md")])
def test_texts_name_commands_as_the_readme_gives_them(language: str, readme: str) -> None:
    told = re.compile(r"(?:sudo (?:-u \w+ )?)?sitechat (?:doctor(?: --lang \w+)?|backup|restore)")
    given = set(told.findall((ROOT / readme).read_text("utf-8")))
    found = set(told.findall((ROOT / "locales" / f"{language}.toml").read_text("utf-8")))

    assert found
    assert {one for one in found if not one.startswith("sudo ")} == set()
    assert found <= given
