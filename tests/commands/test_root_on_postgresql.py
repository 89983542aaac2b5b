"""Root runs a command, and the store is on a server that knows the service's user alone."""

import os
import pwd
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from command_parts import Done
from postgres import Server

from bbcode import RENDERER
from commands import commands
from storage import Store

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
NOBODY = pwd.getpwnam("nobody")
PASSWORD = "the-password-of-nobody"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the service is installed, and its user's home. Not in pytest's folder, root's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "chats").mkdir()
        (folder / ".pgpass").write_text(f"*:*:*:nobody:{PASSWORD}\n")
        (folder / ".pgpass").chmod(0o600)
        for path in (folder, *folder.iterdir()):
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        for place in ("cli.parts", "cli.doctor", "cli.keep"):
            monkeypatch.setattr(f"{place}.ROOT", folder)
        nobody = pwd.struct_passwd([*NOBODY[:5], str(folder), *NOBODY[6:]])
        monkeypatch.setattr("pwd.getpwuid", lambda _: nobody)
        yield folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a store that belongs to the service's user."""
    with closing(Server()) as server:
        server.ask(f"create user nobody password '{PASSWORD}'")
        server.ask("create database chat owner nobody")
        url = server.url.replace("/postgres?", "/chat?") + "&options=-crole%3Dnobody"
        with closing(Store(url, tmp_path_factory.mktemp("root"), RENDERER)) as store:
            store.open()
        yield server


@pytest.mark.parametrize("method", ["peer", "scram-sha-256"])
def test_root_is_the_services_user_to_the_server(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    data = Path(server.url.partition("host=")[2])
    data.chmod(0o755)
    (data / "pg_hba.conf").write_text(f"local all postgres trust\nlocal all all {method}\n")
    server.control("reload")
    name = "nobody@" if method != "peer" else ""
    url = f"postgresql://{name}/chat?host={quote(str(data), safe='')}"
    for name in [name for name in os.environ if name.startswith(("PG", "SITECHAT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SITECHAT_CONFIG", os.devnull)
    monkeypatch.setenv("SITECHAT_STORAGE__URL", url)
    monkeypatch.setenv("SITECHAT_STORAGE__FILES", str(home / "chats" / "files"))

    made = run("backup", home / "b.zip")
    shown = run("status")

    assert (made.code, made.error) == (0, "")
    assert shown.json["verdict"]
    assert "server_" not in shown.output
    assert (os.getresuid(), os.getresgid()) == ((0, 0, 0), (0, 0, 0))
    assert (home / "b.zip").stat().st_uid == 0, "a backup belongs to whoever made it"


def run(*arguments: object) -> Done:
    result = CliRunner().invoke(commands, [str(one) for one in arguments])
    return Done(result.exit_code, result.stdout, result.stderr)
