"""Starts the application, the portal, commands and code as forks of a process that has imported.

    python tests/starter.py app FOLDER

The tests start each some hundred times, and most of a start is importing. One line of JSON on
stdin asks for a process or for what became of one, and one line on stdout answers. The FOLDER is
for what the forks compile; that in COMPILED of the environment, if any, serves all of a run.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

ROOT = Path(__file__).parent.parent
POLL_SECONDS = 0.01
COMPILED = "SITETEST_COMPILED"

_fork, _waitpid = os.fork, os.waitpid  # gevent's, which replace them, want its loop to run


# -- the process that forks


def import_application() -> None:
    """Import in gunicorn's order: a part before gevent replaces the library's, a part after."""
    import gunicorn.app.wsgiapp  # type: ignore[import-untyped]  # noqa: F401
    from gevent import monkey  # type: ignore[import-untyped]

    import web.worker  # noqa: F401

    monkey.patch_all()
    import app  # noqa: F401
    from web.static_files import release

    work_out_at_once()
    len(release().files)  # which are compressed then


def work_out_at_once() -> None:
    """What each process works out once, from the source and from the environment's names."""
    from new_stores import make_by_one_script

    from settings.explain import unknown_variables
    from texts import all_texts, languages

    make_by_one_script()
    unknown_variables(os.environ, None)
    for language in languages():
        all_texts(language)


def import_portal() -> None:
    import sandbox.server  # noqa: F401


def import_commands() -> None:
    import encodings.cp437  # noqa: F401  # another user may not be able to read this Python

    import commands  # noqa: F401

    work_out_at_once()


def import_store() -> None:
    from gevent import monkey

    monkey.patch_all()
    from new_stores import make_by_one_script

    import storage  # noqa: F401

    make_by_one_script()


def run_module(name: str) -> None:
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def run_command() -> None:
    from commands import main

    main()


def run_code() -> None:
    """As `python -c CODE` would, but for what is imported already."""
    exec(sys.argv.pop(1), {"__name__": "__main__"})


PARTS: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
    "app": (import_application, partial(run_module, "gunicorn")),
    "portal": (import_portal, partial(run_module, "sandbox")),
    "command": (import_commands, run_command),
    "store": (import_store, run_code),
}


def keep_templates(folder: str) -> None:
    """Let each application of this process take the templates as another one has compiled them."""
    from flask import Flask
    from jinja2 import FileSystemBytecodeCache

    Flask.jinja_options = Flask.jinja_options | {"bytecode_cache": FileSystemBytecodeCache(folder)}


def serve(program: Callable[[], None]) -> None:
    """Answer until stdin ends. A fork leaves this function as the program."""
    codes: dict[int, int | None] = {}
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        if (pid := order.get("pid")) is None:
            pid = _fork()
            if pid == 0:
                become(order)
                sys.argv = ["-c", *order["arguments"]]
                program()
                return
            codes[pid] = None
        elif codes[pid] is None:
            ended, status = _waitpid(pid, os.WNOHANG)
            codes[pid] = os.waitstatus_to_exitcode(status) if ended else None
        print(json.dumps({"pid": pid, "code": codes[pid]}), flush=True)


def ahead(former: Any, value: float) -> Any:
    """What takes the place of a constant; a clock such as `time.time` goes ahead by the value."""
    return (lambda: former() + value) if callable(former) else value


def become(order: dict[str, Any]) -> None:
    """Make this process what `subprocess.Popen` would have made: group, files, environment."""
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    for name, target in ((order["output"], 1), (order["log"], 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), target)
    os.environ.clear()
    os.environ.update(order["environment"])
    for name, value in order["constants"].items():  # of modules that all have imported by now
        module, _, constant = name.rpartition(".")
        former = getattr(importlib.import_module(module), constant)
        setattr(importlib.import_module(module), constant, ahead(former, value))
    if order["user"]:
        os.setgid(order["user"])
        os.setuid(order["user"])


# -- the tests' side


class Process:
    """A fork, with as much of `subprocess.Popen` as the tests use."""

    def __init__(self, starter: "Starter", pid: int) -> None:
        self._starter = starter
        self.pid = pid

    def poll(self) -> int | None:
        code: int | None = self._starter.ask(pid=self.pid)["code"]
        return code

    def wait(self, timeout: float = 60) -> int:
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(POLL_SECONDS)
        return code

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)


class Starter:
    """Forks one of PARTS; ends with this process."""

    def __init__(self, part: str) -> None:
        environment = dict(os.environ)
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._own = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, __file__, part, os.environ.get(COMPILED, self._own.name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment,
            text=True,
            process_group=0,
        )
        self._one_asks = threading.Lock()

    def ask(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._one_asks:
            print(json.dumps(order), file=self._process.stdin, flush=True)
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def start(
        self,
        arguments: list[str],
        environment: dict[str, str],
        log: Path,
        constants: Mapping[str, float] = MappingProxyType({}),
        output: Path = Path(os.devnull),
        user: int = 0,
    ) -> Process:
        """`constants`: what modules of the fork have in place of theirs, by "module.NAME".

        By as many seconds as `time.time` has there the fork's clock is ahead of this one.

        `user`: the number of a user and a group that it gives itself up to, as root alone can.
        """
        order = {"arguments": arguments, "environment": environment, "user": user}
        files = {"log": str(log), "output": str(output)}
        return Process(self, self.ask(**order, **files, constants=dict(constants))["pid"])

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # which ends it
        self._process.stdout.close()
        self._process.wait()
        self._own.cleanup()


starters: dict[str, Starter] = {}
one_begins = threading.Lock()


def starter(part: str) -> Starter:
    with one_begins:
        if part not in starters:
            starters[part] = Starter(part)
        return starters[part]


def end_starters() -> None:
    while starters:
        starters.popitem()[1].end()


def sitechat(
    *arguments: object, environment: dict[str, str], user: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run this command in a process with this environment and no other, and wait for its end."""
    with tempfile.TemporaryDirectory() as folder:
        output, error = Path(folder, "output"), Path(folder, "error")
        line = [str(one) for one in arguments]
        fork = starter("command").start(line, environment, error, output=output, user=user)
        try:
            code = fork.wait()
        except subprocess.TimeoutExpired:
            os.kill(fork.pid, signal.SIGKILL)
            raise
        said = [file.read_text("utf-8") for file in (output, error)]
    return subprocess.CompletedProcess(line, code, *said)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    load, program = PARTS[sys.argv[1]]
    load()
    if "flask" in sys.modules:
        keep_templates(sys.argv[2])
    gc.collect()
    gc.freeze()  # a fork's own collections need not look through what was there before
    serve(program)
