"""How a command ends that cannot do what was asked: JSON stays JSON, and nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from command_parts import CHAT, Site, fill
from stage import wait_until

from commands import commands
from settings import ROOT
from store.database import StoreNewer
from store.schema import MIGRATIONS
from store.sqlite import SQLite

MAIN = "from commands import main; main()"
SLOW = (  # a command that has begun its work, and says so; from a terminal, however we were begun
    "import os, pathlib, signal, time, {module} as one\n"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    "real = one.{name}\n"
    "def slow(*given):\n"
    "    pathlib.Path(os.environ['BEGUN']).touch(); time.sleep(30); return real(*given)\n"
    "one.{name} = slow\n"
) + MAIN


def environment(site: Site) -> dict[str, str]:
    own = {key: value for key, value in os.environ.items() if not key.startswith("SITECHAT_")}
    return own | {
        "SITECHAT_STORAGE__URL": f"sqlite:///{site.chats}/chats.db",
        "SITECHAT_STORAGE__FILES": str(site.files),
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
    }


FAILURES = {
    "no_store": ["block", CHAT],
    "no_file": ["restore", "no such file"],
    "no_folder": ["backup", "no/such/folder/b.zip"],
    "is_folder": ["backup", "/"],
    "no_chat": ["forget", "chat" + "9" * 64],
    "keeps_all": ["purge"],
    "no_tutorial": ["import-tutorial", "/"],
    "usage": ["purge", "--days", "nine"],
}


@pytest.mark.parametrize("name", ["restore", "import"])
def test_a_folder_is_not_said_to_be_missing(site: Site, name: str) -> None:
    done = site.run(name, site.folder)

    assert (done.code, done.error) == (1, f"sitechat: {site.folder} is a folder; name a file.\n")


@pytest.mark.parametrize("key", FAILURES)
def test_a_failure_is_json_too(site: Site, key: str) -> None:
    if key not in ("no_store", "no_file"):
        fill(site)
    plain = site.run(*FAILURES[key])

    done = site.run(*FAILURES[key], "--json")

    assert done.code == plain.code > 0
    assert (done.json["error"], done.error) == (key, "")
    assert done.json["text"].splitlines()[-1] in plain.error


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["doctor"], 2), (["status"], 1), (["purge"], 1), (["no-such-command"], 2), (["backup"], 2)],
)
def test_wrong_settings_and_wrong_lines_are_json_too(
    site: Site, arguments: list[str], code: int
) -> None:
    site.patch.setenv("SITECHAT_CHAT__ACCENT", "red")

    done = site.run(*arguments, "--json")

    assert done.code == code
    assert "error" in done.json or done.json["verdict"] == "broken"


WRONG_LINES = {
    ("restore",): "Не указано: FILE.",
    ("forget",): "Не указано: CHAT|EMAIL.",
    ("bakup",): "Команды bakup нет. Возможно, имелось в виду: backup",
    ("backup", "b.zip", "--replce"): "Ключа --replce нет. Возможно, имелось в виду: --replace",
    ("purge", "--days", "-1"): "--days – целое число от 1 до 36500.",
    ("purge", "--days", "nine"): "--days – целое число от 1 до 36500.",
    ("purge", "--days"): "После --days не указано значение.",
    ("purge", "--dry-run=1"): "У ключа --dry-run не бывает значения.",
    ("doctor", "--lang", "de"): "--lang может быть одним из: en, ru.",
    ("serve", "-p", "70000"): "--port – целое число от 1 до 65535.",
    ("backup", ""): "Не указано: FILE.",
    ("import-tutorial", ""): "Не указано: DIR.",
    ("serve", "here", "--there"): "Лишнее в команде: here --there.",
}


@pytest.mark.parametrize("line", WRONG_LINES)
def test_a_wrong_line_is_explained_in_the_language_of_the_answer(
    site: Site, line: tuple[str, ...]
) -> None:
    told, asked = WRONG_LINES[line], ("--json", *line[1:])
    answers = [site.run(*line, language="ru_RU.UTF-8")]
    if "--lang" not in line:
        answers.append(site.run(line[0], "--lang=ru", *line[1:]))
        answers.append(site.run(line[0], "--lang", "ru", *line[1:]))

    for done in answers:
        assert (done.code, done.error.splitlines()[-1]) == (2, told)
        assert "Usage" not in done.error
        assert "Error" not in done.error
    machine = site.run(line[0], *asked, language="ru_RU.UTF-8")
    assert (machine.code, machine.json) == (2, {"error": "usage", "text": told})


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_what_nobody_expected_is_json_too(site: Site, name: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of order")

    site.patch.setattr(commands.commands[name], "make_context", fail)

    assert site.run(name, "--json").json["text"] == "RuntimeError: out of order"
    assert "sitechat: RuntimeError: out of order" in site.run(name).error


@pytest.mark.parametrize(
    ("number", "arguments", "at"),
    [
        (signal.SIGTERM, ["backup", "made/b.zip"], ("operations.backup", "_add_file")),
        (signal.SIGHUP, ["export", "made/e.jsonl"], ("operations.transfer", "_contents")),
        (signal.SIGINT, ["backup", "made/b.zip", "--json"], ("operations.backup", "files_in")),
    ],
)
def test_a_signal_leaves_nothing_half_made(
    site: Site, number: signal.Signals, arguments: list[str], at: tuple[str, str]
) -> None:
    fill(site)
    made, begun = site.folder / "made", site.folder / "begun"
    made.mkdir()
    script = SLOW.format(module=at[0], name=at[1])
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=site.folder, env=environment(site) | {"BEGUN": str(begun)},
        stdout=-1, stderr=-1, text=True,
    )  # fmt: skip
    with process:
        try:
            wait_until(begun.exists, 20)
            assert list(made.iterdir()) != []
            process.send_signal(number)
            output, error = process.communicate(timeout=20)
        finally:
            process.kill()

    assert process.returncode == 128 + number
    assert list(made.iterdir()) == []
    assert number.name in (json.loads(output)["text"] if "--json" in arguments else error)
    assert "Traceback" not in error


def test_an_interrupt_while_all_is_imported_prints_nothing(tmp_path: Path) -> None:
    (tmp_path / "sitechat").write_text(MAIN)
    (tmp_path / "bbcode.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(10)\n"
    )
    env = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}

    done = subprocess.run(
        [sys.executable, str(tmp_path / "sitechat"), "block"],
        env=env, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize(
    ("arguments", "output", "code"),
    [
        ("doctor", ">&-", 2), ("doctor --json", ">/dev/full", 2), ("block", ">&-", 1),
        ("export -", ">/dev/full", 1), ("block --json", ">/dev/full", 1),
    ],
)  # fmt: skip
def test_an_output_that_takes_nothing_is_told(
    site: Site, arguments: str, output: str, code: int
) -> None:
    fill(site)
    script = f"{sys.executable} -c '{MAIN}' {arguments} {output}"

    done = subprocess.run(
        script, shell=True, cwd=ROOT, env=environment(site), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == code
    [said] = done.stderr.splitlines()
    assert said.startswith("sitechat: ")


def test_closed_files_are_not_taken_for_others(site: Site) -> None:
    """The next file that is opened has the lowest number that is free."""
    fill(site)
    script = f"{sys.executable} -c '{MAIN}'"

    for line in ("import - <&-", "backup b.zip <&- >&- 2>&-", "no-such-command 2>&-"):
        done = subprocess.run(
            f"{script} {line}", shell=True, cwd=site.folder, env=environment(site),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode in (1, 2)
        assert "Traceback" not in done.stderr
        assert "AttributeError" not in done.stderr


# -- the portal is gone


def test_an_uninstall_without_the_portal_says_what_can_be_done(site: Site) -> None:
    fill(site)
    site.patch.setenv("SITECHAT_BITRIX24__PORTAL", "http://127.0.0.1:1")
    site.patch.setenv("SITECHAT_BITRIX24__CLIENT_ID", "local.id")
    site.patch.setenv("SITECHAT_BITRIX24__CLIENT_SECRET", "a-secret")

    done = site.run("uninstall")

    assert done.code == 1
    assert "--offline" in done.error
    with site.store() as store:
        assert store.portal.find() is not None
        assert store.chats.find(CHAT) is not None

    done = site.run("uninstall", "--erase", "--json")

    assert done.code == 1
    assert done.json["error"] == "unreachable"
    with site.store() as store:
        assert store.portal.find() is not None
        assert store.chats.find(CHAT) is None, "erased in any case"

    done = site.run("uninstall", "--offline")

    assert (done.code, done.error) == (0, "")
    assert "Bitrix24 was not asked" in done.output
    assert "open line 7" in done.output
    with site.store() as store:
        assert store.portal.find() is None


def test_an_uninstall_that_erases_names_the_copies_that_still_hold_all(site: Site) -> None:
    fill(site)
    copies = [site.chats / "before-restore-1", site.chats / "before-schema-3.db"]
    copies[0].mkdir()
    copies[1].touch()

    site.patch.setenv("SITECHAT_BITRIX24__PORTAL", "http://127.0.0.1:1")
    site.patch.setenv("SITECHAT_BITRIX24__CLIENT_ID", "local.id")
    site.patch.setenv("SITECHAT_BITRIX24__CLIENT_SECRET", "a-secret")

    portal_gone = site.run("uninstall", "--erase")
    told = site.run("uninstall", "--erase", "--offline")
    machine = site.run("uninstall", "--erase", "--offline", "--json").json

    for said in (portal_gone.error, told.output):
        assert all(f"when you need it no more: {copy}" in said for copy in copies)
        assert "All conversations were erased here" not in said
    assert machine["copies"] == [*map(str, copies)]

    copies[0].rmdir()
    copies[1].unlink()
    assert "All conversations were erased here" in site.run("uninstall", "--erase").output
    assert site.run("uninstall", "--erase", "--json").json["copies"] == []


# -- while something else runs


@pytest.mark.parametrize("arguments", [["forget", CHAT], ["purge", "--days", "3"], ["import", "-"]])
def test_the_schema_is_not_changed_under_an_earlier_release_that_runs(
    site: Site, arguments: list[str]
) -> None:
    older = SQLite(site.chats / "chats.db", MIGRATIONS[:-1])
    older.open()
    line = json.dumps({"sitechat": {"format": 1, "schema": 1, "exported_at": 1, "program": "1"}})

    with closing(older), older.try_lock("sender"):
        done = site.run(*arguments, input=line)
        [version] = older.rows("pragma user_version")
    assert (done.code, version[0]) == (1, len(MIGRATIONS) - 1)  # type: ignore[index]
    assert "Restart the service" in done.error

    site.run(*arguments, input=line)
    with closing(older), pytest.raises(StoreNewer):
        older.open()


def test_two_restores_at_once_say_so(site: Site) -> None:
    fill(site)
    backup = site.folder / "backup.zip"
    assert site.run("backup", backup).code == 0

    with site.store() as store, store.database.try_lock("restore"):
        assert "Another restore" in site.run("restore", backup, "--replace").error
    with site.store() as store, store.database.try_lock("sender"):
        assert "The service is running" in site.run("restore", backup, "--replace").error
