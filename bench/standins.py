"""The stand-ins for the vendor's tutorials, served as their readers would serve them.

PHP: php-fpm with PHP_CHILDREN processes behind nginx. Python: gunicorn with two of its plain
workers, because Flask's own server says itself that it is not for production. Their portal is
nginx with one fixed answer where calls take no time, so that what is measured is not the portal.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import requests
from stage import HOST, free_port, wait_until

from bench.contestants import (
    CLIENTS,
    Contestant,
    Up,
    Visitor,
    answers,
    chat_file,
    operators_answer,
)
from bench.facts import ROOT, find, find_php_fpm, first_line
from bench.portal import ANSWER
from bench.processes import running

HERE = Path(__file__).parent
PHP_CHILDREN = 16
NGINX = """
daemon off;
{user}
worker_processes {workers};
worker_rlimit_nofile 8192;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000;
    default_type text/html;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    fastcgi_buffers 64 16k;
    server {{
        listen {host}:{port} backlog=4096;
        {server}
    }}
}}
"""
PHP_SERVER = """
root {here}/php;
location = / {{ alias {folder}/page/; try_files page.html =404; }}
location ~ [.]php$ {{
    fastcgi_pass unix:{folder}/php.sock;
    fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
    fastcgi_param REQUEST_METHOD $request_method;
    fastcgi_param CONTENT_TYPE $content_type;
    fastcgi_param CONTENT_LENGTH $content_length;
    fastcgi_param QUERY_STRING $query_string;
    fastcgi_param BENCH_CHATS {folder}/chats;
    fastcgi_param BENCH_PORTAL {portal};
}}
"""
FPM = """
[global]
daemonize = no
error_log = /dev/stderr
[www]
{user}
listen = {folder}/php.sock
listen.backlog = 4096
pm = static
pm.max_children = {children}
php_admin_value[session.save_path] = {folder}/sessions
"""


@contextmanager
def nginx(folder: Path, port: int, server: str, workers: str) -> Iterator[int]:
    """An nginx that does what `server` says; gives its process."""
    folder.mkdir(exist_ok=True)
    program = find("nginx")
    assert program is not None
    given = {"folder": folder, "host": HOST, "port": port, "server": server, "workers": workers}
    text = NGINX.format(**given, user="user root;" if os.geteuid() == 0 else "")
    (folder / "nginx.conf").write_text(text, "utf-8")
    command = [program, "-p", str(folder), "-c", f"{folder}/nginx.conf", "-e", "stderr"]
    with running(command, folder) as pid:
        yield pid


@contextmanager
def portal(folder: Path, seconds: float, keeps: bool = False) -> Iterator[str]:
    """A portal whose calls take so long; gives its address. With `keeps` it tells what it has."""
    port = free_port()
    folder.mkdir(exist_ok=True)
    address = f"http://{HOST}:{port}"
    with ExitStack() as stack:
        if seconds or keeps or find("nginx") is None:
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            command = [sys.executable, "-m", "bench.portal", str(port), str(seconds)]
            stack.enter_context(running(command, folder, environment))
            wait_until(answers(f"{address}/texts"), 30, "the stand-ins' portal")
        else:
            kind, answer = "default_type application/json;", json.dumps(ANSWER)
            fixed = f"location / {{ {kind} return 200 '{answer}'; }}"
            stack.enter_context(nginx(folder, port, fixed, "1"))
            wait_until(answers(address), 30, "the stand-ins' portal")
        yield address


class StandIn(Contestant):
    """What both have in common: a folder with a file a chat, and a portal of ours."""

    roots: list[int]

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._kept: Path | None = None
        self._port = free_port()  # of what is read: PHP makes chats' names of the address, too

    def serve(self, folder: Path, port: int, portal: str) -> ExitStack:
        """Start the server; closing the stack ends it. Sets `roots`."""
        raise NotImplementedError

    def urls(self, port: int) -> tuple[str, str, str]:
        """Of the page, of its requests, and of the portal's events."""
        raise NotImplementedError

    @contextmanager
    def _up(self, folder: Path, port: int, seconds: float, keeps: bool = False) -> Iterator[Up]:
        page, ajax, handler = self.urls(port)
        with ExitStack() as stack:
            address = stack.enter_context(portal(folder / "portal", seconds, keeps))
            served = [self.serve(folder, port, address)]
            stack.callback(lambda: served.pop().close())

            def again() -> None:
                for root in self.roots:
                    with suppress(ProcessLookupError):
                        os.killpg(root, signal.SIGKILL)
                served[-1].close()
                served.append(self.serve(folder, port, address))
                up.roots = self.roots
                wait_until(answers(page), 30, self.name)

            def texts(_: str) -> list[str]:
                found: list[str] = requests.get(f"{address}/texts", timeout=30).json()
                return found

            def kept(visitor: Visitor) -> list[str] | None:
                try:
                    found = json.loads((folder / "chats" / f"{visitor.chat}.txt").read_text())
                except ValueError:
                    return None
                return [one["message"]["text"] for one in found.values()]

            up = Up(
                *(page, ajax, handler, self.roots),
                stored="SUCCESS",
                bubble=".operator .body",
                kept=kept,
                at_portal=texts,
                answer=lambda visitor, number: operators_answer(visitor.chat, 1, number),
                again=again,
            )
            wait_until(answers(page), 30, self.name)
            yield up

    @contextmanager
    def writing(self, seconds: float, keeps: bool = False) -> Iterator[Up]:
        folder = self._empty()
        with self._up(folder, free_port(), seconds, keeps) as up:
            yield up

    def _empty(self) -> Path:
        folder = self.new_folder()
        for name in ("chats", "sessions", "page"):
            (folder / name).mkdir()
        page = (HERE / "page.html").read_text("utf-8").replace("AJAX", "ajax.php")
        (folder / "page" / "page.html").write_text(page, "utf-8")
        return folder

    def fill(self, lengths: tuple[int, ...]) -> None:
        self._kept = self._empty()
        with self.reading() as up:
            for length in lengths:
                self.visitors[length] = up.send(CLIENTS)
                for one in self.visitors[length]:
                    file = self._kept / "chats" / f"{one.chat}.txt"
                    file.write_text(chat_file(one.chat, length), "utf-8")

    @contextmanager
    def reading(self) -> Iterator[Up]:
        assert self._kept is not None
        with self._up(self._kept, self._port, 0) as up:
            yield up


class Php(StandIn):
    name = "PHP tutorial"

    def missing(self) -> str:
        program = find_php_fpm()
        if program is None or find("nginx") is None:
            return "needs php-fpm and nginx: apt-get install php-fpm php-curl nginx"
        if not first_line([program, "-m"], r"\bcurl\b"):
            return "needs PHP's curl: apt-get install php-curl"
        return ""

    def urls(self, port: int) -> tuple[str, str, str]:
        root = f"http://{HOST}:{port}"
        return f"{root}/", f"{root}/ajax.php", f"{root}/handler.php"

    def serve(self, folder: Path, port: int, portal: str) -> ExitStack:
        program = find_php_fpm()
        assert program is not None
        is_root = os.geteuid() == 0
        user = "user = root\ngroup = root" if is_root else ""
        text = FPM.format(folder=folder, user=user, children=PHP_CHILDREN)
        (folder / "fpm.conf").write_text(text, "utf-8")
        command = [program, "-y", f"{folder}/fpm.conf", *(["-R"] if is_root else [])]
        server = PHP_SERVER.format(here=HERE, folder=folder, portal=portal)
        (folder / "php.sock").unlink(missing_ok=True)  # of one that was killed
        with ExitStack() as stack:
            fpm = stack.enter_context(running(command, folder))
            wait_until((folder / "php.sock").exists, 30, "php-fpm")
            self.roots = [fpm, stack.enter_context(nginx(folder, port, server, "auto"))]
            return stack.pop_all()


class FlaskPolling(StandIn):
    name = "Flask tutorial"

    def missing(self) -> str:
        return ""

    def urls(self, port: int) -> tuple[str, str, str]:
        root = f"http://{HOST}:{port}"
        return f"{root}/", f"{root}/ajax", f"{root}/handler"

    def serve(self, folder: Path, port: int, portal: str) -> ExitStack:
        own = {"BENCH_CHATS": f"{folder}/chats", "BENCH_PORTAL": portal}
        environment = os.environ | own | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "gunicorn", "-w", "2", "-b", f"{HOST}:{port}"]
        command += ["--backlog", "4096", "bench.flask_polling.app:app"]
        with ExitStack() as stack:
            self.roots = [stack.enter_context(running(command, folder, environment))]
            return stack.pop_all()
