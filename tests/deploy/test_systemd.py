"""The unit of deploy/: systemd takes it, knows how little it may, and really runs it."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import requests
import systemd
from stage import Stage
from systemd import HOME, UNIT, USER, Systemd

MOST_EXPOSED = 15  # tenths, by systemd's own count; 0 is best, 100 worst
analyzes = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd")


@analyzes
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    """Its program is the one thing that this machine has not where the unit says."""
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text("utf-8").replace(f"{HOME}/.venv/bin/gunicorn", "/bin/true"))

    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@analyzes
def test_the_service_may_do_little_on_its_machine() -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-400:]


def test_the_folder_stands_in_three_lines() -> None:
    lines = re.findall(r"^(\w+)=.*/opt/", UNIT.read_text("utf-8"), re.MULTILINE)

    assert lines == ["WorkingDirectory", "ReadWritePaths", "ExecStart"]


@pytest.mark.skipif(bool(systemd.why_not()), reason=systemd.why_not())
def test_systemd_runs_reloads_and_stops_the_service(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        stage.kill()  # only the portal stays
        environment = {
            key: value
            for key, value in stage.environment().items()
            if key.startswith("SITECHAT_") and "STORAGE" not in key
        }
        environment["GUNICORN_CMD_ARGS"] = f"--bind={stage.chat.removeprefix('http://')}"
        (tmp_path / "systemd").mkdir()
        with Systemd(tmp_path / "systemd", environment) as machine:
            said = machine.systemctl("start", "sitechat")
            assert said == "", machine.systemctl("status", "sitechat") + machine.run(
                "cat", "/run/log"
            )

            stage.install()
            visitor = stage.visitor()
            visitor.send("hello")
            visitor.wait_for('data-state="delivered"')
            former = machine.systemctl("show", "--value", "-p", "MainPID", "sitechat")
            said = machine.systemctl("reload", "sitechat")
            assert said == "", said
            visitor.send("still there")
            assert machine.systemctl("show", "--value", "-p", "MainPID", "sitechat") == former
            owner = machine.run("stat", "-c", "%U %a", f"{HOME}/chats/chats.db")
            assert owner == f"{USER} 600"
            began = time.monotonic()
            machine.systemctl("stop", "sitechat")
            assert time.monotonic() - began < 2.5  # with systemd's own share
            result = machine.systemctl("show", "--value", "-p", "Result", "sitechat")
            log = machine.run("cat", "/run/log")
        assert result == "success", log
        assert not re.search("Traceback|WARNING|ERROR", log), log
        with pytest.raises(requests.ConnectionError):
            requests.get(stage.chat, timeout=5)
