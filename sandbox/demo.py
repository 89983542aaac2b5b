"""`make demo`: the application and the sandbox portal, installed and connected.

Starts each as a process, does by HTTP what an administrator would do by hand,
and prints the addresses to open. Ctrl-C ends both.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import requests

ROOT = Path(__file__).parent.parent
HOST = "127.0.0.1"
START_SECONDS = 60  # a start takes so long on a busy machine
ANSWER_SECONDS = 10
CLIENT_ID = "local.sandbox"
CLIENT_SECRET = "sandbox-secret"
LINE = 1

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal closed


class CannotStart(Exception):
    """The demo cannot run; the text says why."""


def check_ports(chat_port: int, portal_port: int) -> None:
    """CannotStart says which port is not free, and names two ports that are."""
    if chat_port == portal_port:
        raise CannotStart(f"--chat-port and --portal-port are both {chat_port}; they must differ")
    faults = {port: fault for port in (chat_port, portal_port) if (fault := port_fault(port))}
    if faults:
        free = (port for port in range(8180, 65_000) if not port_fault(port))
        reasons = "; ".join(f"port {port} of {HOST}: {fault}" for port, fault in faults.items())
        raise CannotStart(
            f"{reasons}. Choose others:"
            f" make demo ARGS='--chat-port {next(free)} --portal-port {next(free)}'"
        )


def port_fault(port: int) -> str | None:
    """Why nothing can listen at a port; None if something can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OverflowError:
            return "a port is a number up to 65535"
        except OSError as error:
            return os.strerror(error.errno or 0)
    return None


def environment(chat: str, portal: str, oauth: str, folder: Path) -> dict[str, str]:
    """The application's settings for the demo; it uses no settings or data of the developer."""
    others = {key: value for key, value in os.environ.items() if not key.startswith("SITECHAT_")}
    return others | {
        "SITECHAT_PUBLIC_URL": chat,
        "SITECHAT_BITRIX24__PORTAL": portal,
        "SITECHAT_BITRIX24__OAUTH_SERVER": oauth,
        "SITECHAT_BITRIX24__JS_API": f"{portal}/api/v1",
        "SITECHAT_BITRIX24__CLIENT_ID": CLIENT_ID,
        "SITECHAT_BITRIX24__CLIENT_SECRET": CLIENT_SECRET,
        "SITECHAT_CHAT__SITES": f'["{portal}"]',
        "SITECHAT_CONFIG": os.devnull,
        "SITECHAT_STORAGE__URL": f"sqlite:///{folder}/chats.db",
        "SITECHAT_STORAGE__FILES": f"{folder}/files",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "WARNING"),
    }


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until `url` answers; CannotStart when its process ends instead."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise CannotStart(f"the process behind {url} ended by itself (see above)")
        try:
            requests.get(url, timeout=ANSWER_SECONDS)
            return
        except (requests.ConnectionError, requests.Timeout):
            time.sleep(0.1)
    raise CannotStart(f"{url} did not answer within {START_SECONDS} seconds")


def oauth_address(sandbox: subprocess.Popen[bytes]) -> str:
    """The address of the OAuth server, which the sandbox prints; CannotStart if it ended."""
    assert sandbox.stdout is not None
    lines = [sandbox.stdout.readline().decode().split() for _ in range(2)]
    if not lines[1]:
        raise CannotStart("the sandbox ended by itself (see above)")
    return lines[1][-1]


def press(portal: str, button: str, **values: object) -> None:
    """Do what an administrator does in the portal, and make sure that it succeeded."""
    answer = requests.post(f"{portal}/sandbox/{button}", json=values, timeout=30).json()
    if answer.get("status") != 200 or "successfully" not in str(answer.get("body")):
        raise CannotStart(f"{button} failed: {answer}")


def run(chat_port: int, portal_port: int) -> None:
    chat, portal = f"http://{HOST}:{chat_port}", f"http://{HOST}:{portal_port}"
    check_ports(chat_port, portal_port)
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="sitechat-demo-") as folder:
        try:
            sandbox = [sys.executable, "-m", "sandbox", "--port", str(portal_port), "--app", chat]
            sandbox += ["--client-id", CLIENT_ID, "--client-secret", CLIENT_SECRET]
            sandbox += ["--oauth-port", "0"]
            processes.append(
                subprocess.Popen(sandbox, cwd=ROOT, stdout=subprocess.PIPE, process_group=0)
            )
            oauth = oauth_address(processes[0])
            wait_for(f"{portal}/sandbox/state", processes[0])
            gunicorn = [sys.executable, "-m", "gunicorn", "-b", f"{HOST}:{chat_port}"]
            processes.append(
                subprocess.Popen(
                    gunicorn,
                    cwd=ROOT,
                    env=environment(chat, portal, oauth, Path(folder)),
                    process_group=0,
                )
            )
            wait_for(f"{chat}/", processes[1])
            press(portal, "install")
            press(portal, "connect", line=LINE)
            print(f"\n  Visitor and operator, side by side:  {portal}/demo\n")
            print(f"  The chat embedded in a shop's page:   {portal}/shop\n")
            print("  Ctrl-C ends the demo.", flush=True)
            while all(process.poll() is None for process in processes):
                time.sleep(0.5)
            raise CannotStart("one of the two servers ended by itself (see above)")
        finally:
            # make and the terminal may send the signal again while the processes are being ended.
            for number in END_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            for process in processes:
                process.terminate()
            for process in processes:
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--chat-port", type=int, default=8080)
    parser.add_argument("--portal-port", type=int, default=8081)
    options = parser.parse_args()

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in END_SIGNALS:
        signal.signal(number, end)
    # All three processes talk only to each other, so none may use the developer's proxy.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = HOST
    try:
        run(options.chat_port, options.portal_port)
    except CannotStart as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        print("\nThe demo has ended.")


if __name__ == "__main__":
    main()
