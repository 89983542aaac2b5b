"""What `sitechat migrate` says: of which of the two stores, and in the reader's language."""

import os
import pty
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from command_parts import Done, Site, fill
from postgres import Server

from bbcode import RENDERER
from commands import commands
from settings import ROOT
from storage import Store

CYRILLIC = re.compile("[а-я]")
# What stands in the Russian sentences as it is: names of settings, of commands and of programs.
ENGLISH = re.compile(r"\b(?:cannot|there|tables?|the|is|not|another|program|damaged)\b")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with closing(Server()) as server:
        yield server


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITECHAT_CONFIG", os.devnull)


def run(source: str, *arguments: str) -> Done:
    environment = {"SITECHAT_STORAGE__URL": source, "LC_ALL": "ru_RU.UTF-8"}
    result = CliRunner().invoke(commands, arguments, env=environment)
    return Done(result.exit_code, result.stdout, result.stderr)


def refused(source: str, *arguments: str) -> str:
    done = run(source, *arguments)
    assert (done.code, done.output) == (1, "")
    for line in done.error.splitlines():
        assert CYRILLIC.search(line), line
    assert not ENGLISH.search(re.sub(r" \([^)]*\)", "", done.error)), done.error  # a quotation
    return done.error


def foreign(url: str) -> str:
    with psycopg.connect(url) as session:
        session.execute("create table theirs (a int)")
    return url


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (foreign, "таблицы другой программы"),
        (lambda url: f"{url}&options=-csearch_path%3Dnowhere", "схемы"),
        (lambda url: url.replace("/of_", "/off_"), "базы с таким именем на сервере нет"),
        (lambda url: f"{url}&port=1", "никто не отвечает"),
        (lambda url: f"{url}&nonsense=1", "не понимает сервер"),
    ],
)
def test_what_is_wrong_with_the_target_is_said_of_the_target(
    site: Site, server: Server, of: Callable[[str], str], said: str
) -> None:
    fill(site)
    target = of(server.new_database())

    error = refused(f"sqlite:///{site.chats}/chats.db", "migrate", target)

    assert said in error
    assert re.search("PostgreSQL off?_", error)
    assert "указанный команде migrate" in error
    assert "chats.db" not in error


@pytest.mark.parametrize(("content", "said"), [(b"x" * 5000, "повреждено"), (None, "нет")])
def test_what_is_wrong_with_the_source_is_said_of_the_source(
    site: Site, server: Server, content: bytes | None, said: str
) -> None:
    site.chats.mkdir()
    if content is not None:
        (site.chats / "chats.db").write_bytes(content)

    error = refused(f"sqlite:///{site.chats}/chats.db", "migrate", server.new_database())

    assert said in error
    assert str(site.chats) in error
    assert "migrate" not in error.replace("sitechat migrate", "")


def test_a_second_move_at_once_is_told_of_the_first(
    site: Site, server: Server, tmp_path: Path
) -> None:
    fill(site)
    source, target = f"sqlite:///{site.chats}/chats.db", server.new_database()
    for url, other in ((source, target), (target, f"sqlite:///{tmp_path}/new.db")):
        with ExitStack() as stack:
            store = stack.enter_context(closing(Store(url, tmp_path, RENDERER)))
            for name in ("restore", "sender"):
                stack.enter_context(store.database.try_lock(name))
            assert "restore или migrate" in refused(url, "migrate", other)


def test_the_address_is_read_where_no_other_user_sees_it(site: Site, server: Server) -> None:
    fill(site)
    own = {"SITECHAT_STORAGE__URL": f"sqlite:///{site.chats}/chats.db"}

    def given(line: str) -> Done:
        result = CliRunner().invoke(commands, ["migrate", "-"], env=own, input=line)
        return Done(result.exit_code, result.stdout, result.stderr)

    moved = given(f"{server.new_database()}\n")
    wrong = given("anna:s3cret@db/chat\n")
    nothing = given("")

    assert (moved.code, moved.error) == (0, "")
    assert wrong.code == nothing.code == 1
    assert "postgresql://user@host/name" in wrong.error
    assert "s3cret" not in wrong.error


def test_who_types_the_address_does_not_see_it(site: Site, server: Server) -> None:
    fill(site)
    address = server.new_database()
    environment = os.environ | {
        "SITECHAT_STORAGE__URL": f"sqlite:///{site.chats}/chats.db", "PYTHONPATH": str(ROOT),
        "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    pid, terminal = pty.fork()
    if pid == 0:
        code = "from commands import main; main()"
        os.execvpe(sys.executable, [sys.executable, "-c", code, "migrate", "-"], environment)
    shown, typed = b"", 0
    with suppress(OSError):  # which is how a terminal ends
        while part := os.read(terminal, 4096):
            shown += part
            if not typed and b"(it is not shown): " in shown:
                typed = os.write(terminal, f"{address}\n".encode())
    os.close(terminal)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, shown
    assert b"the same on both sides" in shown
    assert address.encode() not in shown
