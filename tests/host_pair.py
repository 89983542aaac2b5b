"""Two hosts of one service: each its own gunicorn and folder, one PostgreSQL, nginx before both.

nginx sends each request to either, without sticky sessions.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import front
from soak import QUICK, PatientStage
from stage import Visitor

from storage import Store

PREFIX = front.PREFIX
LOGS = {"SITECHAT_LOGS__FORMAT": "json"}
# Each second, as in other tests, such looks would take the few calls that the portal leaves us.
RECOVERY = {"SITECHAT_RECOVERY__SECONDS": "15"}
DELIVERS = "this process delivers from now on"
# As `deploy/nginx.conf` with the lines of docs/deployment.md for two hosts; without a certificate.
SOCKET = ".s.PGSQL.5432"
RELAY = Path(__file__).with_name("relay.py")
NO_TLS = """s/443 ssl http2/443/
/ssl_/d
"""


class Balancer(front.Nginx):
    """An nginx that gives each request to the next of its hosts."""

    def __init__(self, folder: Path, hosts: list[str]) -> None:
        # A host that has failed is tried again sooner than by nginx's own 10 seconds.
        first, second = (f"{host.removeprefix('http://')} fail_timeout=5s" for host in hosts)
        super().__init__(folder, "unused", front.script_for_two_hosts(first, second) + NO_TLS)
        self.url = f"http://{self.host}:{self.https_port}{PREFIX}"


class Link:
    """One host's way to the database, which can be cut."""

    def __init__(self, url: str) -> None:
        """`url`: of a server with a Unix socket, and maybe of others behind it."""
        first = url.partition("?host=")[2].partition("&")[0].partition(",")[0]
        self._folder = tempfile.TemporaryDirectory(prefix="sitetest-link-")
        self.url = url.replace(first, self._folder.name, 1)
        self._process = subprocess.Popen(
            [sys.executable, RELAY, f"{self._folder.name}/{SOCKET}", f"{first}/{SOCKET}"],
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"listens\n"

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Nothing comes through, and neither side is told."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self._process.kill()
        with self._process:
            self._folder.cleanup()


class Host(PatientStage):
    """The application on one host. Its portal and its public address are those of the pair."""

    behind = None
    link: Link | None = None  # its way to the database, if that can be cut

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        super().start()

    def end(self) -> None:
        if self.app is not None and self.app.poll() is None:
            self.kill()

    @property
    def direct(self) -> str:
        """The chat's address without nginx."""
        return f"{self.listens}{PREFIX}"

    def delivering(self) -> set[int]:
        """Which of its processes began to deliver."""
        lines = [json.loads(line) for line in self.logged().splitlines() if DELIVERS in line]
        return {line["pid"] for line in lines}

    @contextmanager
    def stopped(self, pid: int = 0) -> Iterator[None]:
        """SIGSTOP for all processes, or for one of them; SIGCONT at the end."""
        assert self.app is not None
        pids = [pid] if pid else [self.app.pid, *children_of(self.app.pid)]
        for one in pids:
            os.kill(one, signal.SIGSTOP)
        try:
            yield
        finally:
            for one in pids:
                with suppress(ProcessLookupError):  # gunicorn has replaced a worker that hung
                    os.kill(one, signal.SIGCONT)


class Pair(PatientStage):
    """Use as a context: two hosts that begin at once, maybe with a database that is empty."""

    behind = None
    retried = (429, 502, 503, 504)  # what a visitor's page answers by asking again
    has_links = False

    def __init__(
        self,
        folder: Path,
        url: str,
        workers: int = 2,
        constants: dict[str, float] | None = None,
        **settings: str,
    ) -> None:
        self.url = url
        shared = {"SITECHAT_STORAGE__URL": url, "SITECHAT_SERVER__PROXIES": "1"}
        settings = QUICK | LOGS | RECOVERY | shared | settings
        super().__init__(folder, workers, **settings)
        self.hosts = []
        for name in ("a", "b"):
            link = Link(url) if self.has_links else None
            own = {"SITECHAT_STORAGE__URL": link.url} if link else {}
            host = Host(folder / name, workers, **settings | own)
            host.link = link
            self.hosts.append(host)
        self.balancer = Balancer(folder / "front", [host.listens for host in self.hosts])
        self.chat = self.balancer.url
        for host in self.hosts:
            host.chat, host.portal, host.oauth = self.chat, self.portal, self.oauth
            host.constants = constants or {}

    def start(self) -> None:
        self.balancer.__enter__()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(Host.start, self.hosts))

    def __exit__(self, *_: object) -> None:
        for host in self.hosts:
            host.end()
            if host.link is not None:
                host.link.close()
        self.balancer.__exit__()
        super().__exit__()

    def logged(self) -> str:
        return "".join(host.logged() for host in self.hosts)

    def sender(self) -> tuple[Host, int]:
        """The host that began last to deliver, and its process."""
        with closing(Store(self.url, self.folder, 1, read_only=True)) as store:
            sender = store.notes.sender.get()
        assert sender is not None
        (host,) = (one for one in self.hosts if sender.pid in one.delivering())
        return host, sender.pid

    def other(self, host: Host) -> Host:
        return self.hosts[1 - self.hosts.index(host)]

    def visitor_at(self, host: Host) -> Visitor:
        """One whose requests go to this host alone."""
        return Visitor(host.direct)


class LinkedPair(Pair):
    """Each host has a way to the database that can be cut."""

    has_links = True


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
