"""`make demo` as a developer runs it: it touches nothing of theirs, and ends with all it began."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from stage import ROOT, free_port, wait_until

LONG_AGO = time.time() - 3 * 86_400


@pytest.fixture
def anothers_file() -> object:
    """A file of a visitor of the developer's own chat, in the default folder."""
    folder = ROOT / "chats" / "files" / f"chat{os.getpid():064x}"
    folder.mkdir(parents=True)
    file = folder / "0123456789abcdef"
    file.write_text("a visitor's")
    os.utime(file, (LONG_AGO, LONG_AGO))
    yield file
    file.unlink(missing_ok=True)
    folder.rmdir()


def test_the_demo_runs_apart_from_everything_and_ends_whole(anothers_file: Path) -> None:
    chat, portal = free_port(), free_port()
    command = [sys.executable, "-m", "sandbox.demo"]
    command += ["--chat-port", str(chat), "--portal-port", str(portal)]
    own = os.environ | {"SITECHAT_CONFIG": "/nowhere.toml", "SITECHAT_CHAT__LANGUAGE": "ru"}
    own |= {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    with subprocess.Popen(command, cwd=ROOT, env=own, stdout=subprocess.PIPE, text=True) as demo:
        try:
            assert demo.stdout is not None
            assert any("Ctrl-C" in line for line in demo.stdout)
            page = requests.get(f"http://127.0.0.1:{chat}/", timeout=30)
            assert '<html lang="en">' in page.text

            for number in (signal.SIGINT, signal.SIGTERM):  # make passes on what a terminal sends
                demo.send_signal(number)
                time.sleep(0.05)

            assert "has ended" in demo.stdout.read()
            assert demo.wait(30) == 0
        finally:
            demo.terminate()
    for port in (chat, portal):
        wait_until(lambda port=port: not answers(port), why="the end of both servers")  # type: ignore[misc]
    assert anothers_file.exists()


def test_ports_that_cannot_be_had_are_said_with_two_that_can() -> None:
    with socket.socket() as first, socket.socket() as second:
        taken = []
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
            one.listen()
            taken.append(str(one.getsockname()[1]))
        command = [sys.executable, "-m", "sandbox.demo"]
        for ports in (taken, ["70000", taken[0]], [taken[0], taken[0]]):
            options = ["--chat-port", ports[0], "--portal-port", ports[1]]
            said = subprocess.run(command + options, cwd=ROOT, capture_output=True, text=True)  # noqa: PLW1510
            assert said.returncode == 1
            assert ports[0] in said.stderr
            assert "Traceback" not in said.stderr
            advice = re.search(r"--chat-port (\d+) --portal-port (\d+)", said.stderr)
            assert advice is None or not {*advice.groups()} & {*taken}


def answers(port: int) -> bool:
    try:
        requests.get(f"http://127.0.0.1:{port}/", timeout=5)
    except requests.ConnectionError:
        return False
    return True
