"""A systemd of the tests' own, as process 1 of a small world in which only our unit is known.

That world has its own processes, mounts and control groups; its `/etc` and `/proc/sys` cannot be
written, so that nothing of the machine changes. The service's folder and user exist there alone.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from stage import ROOT, wait_until

PROGRAMS = ("unshare", "nsenter", "systemctl", "mount")
SYSTEMD = Path("/lib/systemd/systemd")
UNIT = ROOT / "deploy" / "sitechat.service"
HOME = "/opt/sitechat"
USER, USER_ID = "sitechat", 61_999
PYTHONS = [(ROOT / ".venv").resolve(), Path(sys.base_prefix).resolve()]
# Those of the machine that our unit names, and the one that is begun; all without content.
TARGETS = ("sysinit", "basic", "shutdown", "network-online", "nothing")
GROUPS = Path("/sys/fs/cgroup")
WORLD = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /opt  # and so nothing is made on the machine
mkdir {home}
mount --bind {folder}/home {home}
mount --bind {venv} {home}/.venv
mount --bind {folder}/gunicorn {home}/.venv/bin/gunicorn
mount --bind {folder}/passwd /etc/passwd
mount --bind {folder}/group /etc/group
mount --rbind /etc /etc && mount -o remount,ro,bind /etc
mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
cp -r {folder}/units/. /run/systemd/system/
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
export container=other SYSTEMD_UNIT_PATH=/run/systemd/system
exec {systemd} --system --unit=nothing.target --log-target=console --show-status=no
"""


def why_not() -> str:
    """Why this machine cannot have it; "" if it can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "only root may"
    if not SYSTEMD.exists() or not all(map(shutil.which, PROGRAMS)):
        return "systemd is not there"
    if any(path.is_relative_to("/opt") for path in PYTHONS):
        return "its Python is where the service's folder has to be"
    if unified() is None:
        return "there are no control groups of version 2"
    tried = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount", "--cgroup", "true"], check=False
    )
    return "" if tried.returncode == 0 else "it has no namespaces"


def unified() -> Path | None:
    """The control groups of version 2 of this machine."""
    for folder in (GROUPS, GROUPS / "unified"):
        if (folder / "cgroup.procs").exists() and (folder / "cgroup.controllers").exists():
            return folder
    return None


class Systemd:
    """Use as a context."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.log = folder / "log"
        self._group = (unified() or GROUPS) / f"sitechat-test-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None
        units = folder / "units"
        (units / "sitechat.service.d").mkdir(parents=True)
        shutil.copy(UNIT, units)
        lines = [f"Environment='{key}={value}'\n" for key, value in environment.items()]
        own = "[Service]\nStandardOutput=append:/run/log\nStandardError=append:/run/log\n"
        if hidden := [path for path in PYTHONS if path.parts[1] in ("home", "root")]:
            own += "ProtectHome=tmpfs\n" + "".join(f"BindReadOnlyPaths={path}\n" for path in hidden)
        (units / "sitechat.service.d" / "own.conf").write_text(own + "".join(lines), "utf-8")
        for name in TARGETS:
            (units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n", "utf-8")
        for name, line in (
            ("passwd", f"{USER}:x:{USER_ID}:{USER_ID}::{HOME}:/usr/sbin/nologin\n"),
            ("group", f"{USER}:x:{USER_ID}:\n"),
        ):
            (folder / name).write_text(Path("/etc", name).read_text("utf-8") + line, "utf-8")
        self.copy_product(folder / "home")
        # As an install in that folder makes it: the unit does not see where the tests' own lies.
        script = (ROOT / ".venv" / "bin" / "gunicorn").read_text("utf-8")
        rest = script.partition("\n")[2]
        (folder / "gunicorn").write_text(f"#!{HOME}/.venv/bin/python\n{rest}", "utf-8")
        (folder / "gunicorn").chmod(0o755)

    def copy_product(self, home: Path) -> None:
        """What `git clone` and `make install` leave, with the user's own chats/."""
        left = shutil.ignore_patterns(".*", "tests", "build", "chats", "*.egg-info")
        shutil.copytree(ROOT, home, ignore=left)
        for name in (".venv", "chats"):
            (home / name).mkdir()
        os.chown(home / "chats", USER_ID, USER_ID)
        (home / "chats").chmod(0o700)

    def __enter__(self) -> Self:
        self._group.mkdir()
        script = WORLD.format(
            folder=self.folder, home=HOME, venv=(ROOT / ".venv").resolve(), systemd=SYSTEMD
        )
        command = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
        command += ["--uts", "--ipc", "--cgroup", "sh", "-c", script]
        enter = f'echo $$ > {self._group}/cgroup.procs; exec "$@"'
        with (self.folder / "systemd.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", enter, "sh", *command],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        try:
            wait_until(lambda: self.systemctl("is-active", "nothing.target") == "active", 30)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)  # and so the whole world, by --kill-child
        self._process.wait()
        for _attempt in range(50):  # the kernel takes a moment to end its processes
            folders = sorted(one for one in self._group.rglob("*") if one.is_dir())
            with contextlib.suppress(OSError):
                for path in [*reversed(folders), self._group]:
                    path.rmdir()
                return
            time.sleep(0.1)

    @property
    def inside(self) -> list[str]:
        """What a command begins with that runs in there."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        found = children.read_text("ascii").split()
        return ["nsenter", "--mount", "--pid", "--target", *found[:1], "--"]

    def systemctl(self, *command: str) -> str:
        return self.run("systemctl", *command)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [*self.inside, *command], capture_output=True, text=True, check=False, timeout=60
        )
        return (done.stdout + done.stderr).strip()
