"""The proxies' configurations of deploy/ do what the chat needs: both are really run."""

import os
import re
import signal
import socket
import socketserver
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import front
import pytest
import requests
from front import DEPLOY, DOMAIN, PREFIX, Front
from install_browser import find_caddy, find_nginx
from stage import HOST, Stage, Visitor, free_port, wait_until

from live import HEARTBEAT_SECONDS

FRONTS = {"nginx": (front.Nginx, find_nginx()), "Caddy": (front.Caddy, find_caddy())}
SOON_SECONDS = 3.0  # for an answer to arrive at a page that is open
MEGABYTE = 1 << 20


@pytest.fixture(scope="module", params=FRONTS)
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    kind, program = FRONTS[request.param]
    if program is None:
        pytest.skip(f"{request.param} is not on this machine")
    folder = tmp_path_factory.mktemp("front") / "proxy"
    with kind(folder, f"http://127.0.0.1:{free_port()}") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def behind(proxy: Front, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The application where the proxy expects it; the portal and visitors come through it."""
    folder = tmp_path_factory.mktemp("stage")
    stage = Stage(
        folder,
        SITECHAT_PUBLIC_URL=proxy.url,
        SITECHAT_SERVER__PROXIES="1",
        SITECHAT_LIMITS__VISITOR_PER_MINUTE="100000",
        SSL_CERT_FILE=proxy.authority,  # for the portal
    )
    stage.listens = stage.chat = f"http://{proxy.upstream}"
    with stage:
        stage.install()
        stage.trouble(limit=False)
        yield stage


def trust(visitor: Visitor, proxy: Front) -> None:
    visitor.http.verify = proxy.authority
    visitor.http.trust_env = False  # a machine may name other authorities in its environment


@pytest.fixture
def visitor(behind: Stage, proxy: Front) -> Iterator[Visitor]:
    visitor = Visitor(proxy.url)
    trust(visitor, proxy)
    yield visitor
    visitor.http.close()


def test_plain_http_and_the_bare_prefix_lead_to_the_chat(behind: Stage, proxy: Front) -> None:
    plain = f"http://{proxy.host}:{proxy.http_port}{PREFIX}/?lang=ru"
    answer = requests.get(plain, allow_redirects=False, timeout=30)
    assert answer.status_code in (301, 308)
    location = answer.headers["Location"].replace(f":{proxy.https_port}", "")
    assert location == f"https://{proxy.host}{PREFIX}/?lang=ru"

    answer = requests.get(proxy.url, allow_redirects=False, timeout=30, verify=proxy.authority)
    assert answer.status_code in (301, 302, 308)
    assert answer.headers["Location"] == f"{PREFIX}/"


def test_pages_are_compressed_and_scripts_kept_for_good(visitor: Visitor, proxy: Front) -> None:
    page = visitor.http.get(f"{proxy.url}/", timeout=30)
    assert page.headers["Content-Encoding"] == "gzip"
    script = re.search(r'src="([^"]+/start\.js)"', page.text)
    assert script
    answer = visitor.http.get(f"https://{proxy.host}:{proxy.https_port}{script[1]}", timeout=30)
    assert answer.headers["Content-Encoding"] in ("gzip", "br")
    assert "immutable" in answer.headers["Cache-Control"]


def test_an_answer_comes_at_once_through_the_proxy(
    behind: Stage, visitor: Visitor, proxy: Front
) -> None:
    chat = visitor.send("hello")["chat"]
    visitor.wait_for('data-state="delivered"')
    asked = {"Accept-Encoding": "gzip"}
    with visitor.http.get(
        f"{proxy.url}/ajax?type=chat_stream", headers=asked, stream=True, timeout=30
    ) as stream:
        said = ""
        chunks = stream.iter_content(None)
        next(chunks)  # its first heartbeat
        began = time.monotonic()
        behind.press("answer", external_chat_id=chat, text="at once")
        while "at once" not in said:
            said += next(chunks).decode()

        assert time.monotonic() - began < SOON_SECONDS


def test_the_largest_file_passes_and_a_larger_one_does_not(visitor: Visitor) -> None:
    url = f"{visitor.chat}/ajax"
    form = {"type": "upload_file"}
    file = {"file": ("large.txt", b"x" * (20 * MEGABYTE))}
    answer = visitor.http.post(url, form, files=file, timeout=60)
    assert answer.status_code == 200, answer.text

    file = {"file": ("large.txt", b"x" * (23 * MEGABYTE))}
    with suppress(requests.ConnectionError):  # Caddy does not wait until all has come
        answer = visitor.http.post(url, form, files=file, timeout=60)
        assert answer.status_code == 413, answer.text
    assert visitor.history().count("large.txt") == 1


def test_a_visitor_does_not_choose_the_own_address(behind: Stage, proxy: Front) -> None:
    """Else each message could come from another address, and no limit would hold."""

    def addresses() -> set[str]:
        with closing(sqlite3.connect(behind.folder / "chats" / "chats.db", timeout=10)) as db:
            return {who for (who,) in db.execute("select who from hits where length(who) = 32")}

    seen = set()
    for number in range(3):
        visitor = Visitor(proxy.url)
        trust(visitor, proxy)
        visitor.http.headers["X-Forwarded-For"] = f"203.0.113.{number}"
        visitor.http.headers["Forwarded"] = f"for=203.0.113.{number}"
        visitor.send("hello")
        visitor.http.close()
        seen |= addresses()

    assert len(seen) == 1


def test_nobody_reads_addresses_of_files_or_tokens_in_a_log(visitor: Visitor, proxy: Front) -> None:
    visitor.http.get(f"{proxy.url}/ajax?type=file&key=very-secret", timeout=30)
    visitor.http.get(f"{proxy.url}/", headers={"Referer": "https://a.example/?very-secret"})

    logs = "".join(path.read_text("utf-8") for path in proxy.folder.glob("*.log"))
    assert "very-secret" not in logs


def test_a_reload_of_the_service_is_not_seen_through_the_proxy(
    behind: Stage, visitor: Visitor
) -> None:
    assert behind.app is not None
    chat = visitor.send("0")["chat"]
    os.kill(behind.app.pid, signal.SIGHUP)
    until = time.monotonic() + 2.5
    count = 1
    while time.monotonic() < until:
        visitor.send(str(count))
        count += 1
        time.sleep(0.1)
    wait_until(lambda: behind.texts(chat) == [str(number) for number in range(count)])


def test_what_is_not_below_the_prefix_is_not_found(behind: Stage, proxy: Front) -> None:
    """Else a forgotten prefix looks like an answer of the chat, for one to Bitrix24's events."""
    root = proxy.url.removesuffix(PREFIX)
    for path in ("/handler", "/healthz", f"{PREFIX}s/"):
        answer = requests.post(f"{root}{path}", timeout=30, verify=proxy.authority)
        assert answer.status_code in (404, 405), path  # nginx: 405 for a POST to a file


class Echo(BaseHTTPRequestHandler):
    """Answers with the path that was asked for."""

    def do_GET(self) -> None:
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[str]:
    with ThreadingHTTPServer((HOST, 0), Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("name", FRONTS)
def test_the_readmes_line_makes_it_a_chat_at_the_root_of_its_domain(
    echo: str, name: str, tmp_path: Path
) -> None:
    kind, program = FRONTS[name]
    if program is None:
        pytest.skip(f"{name} is not on this machine")
    file = "nginx.conf" if name == "nginx" else "Caddyfile"
    readme = (DEPLOY.parent / "README.md").read_text("utf-8")
    script = re.search(rf"sed '([^'\n]+)' /opt/sitechat/deploy/{file} \| sudo tee", readme)
    assert script

    with kind(tmp_path / "proxy", echo, script[1]) as proxy:
        assert DOMAIN not in proxy.ours(file).replace("{$CHAT_HOST:", "")
        root = proxy.url.removesuffix(PREFIX)
        for path in ("/", "/healthz", "/static/loader.js?x=1"):
            answer = requests.get(f"{root}{path}", timeout=30, verify=proxy.authority)
            assert (answer.status_code, answer.text) == (200, path)
        assert PREFIX not in "".join(proxy.ours(file))


def test_what_nginx_conf_names_is_all_that_a_server_of_ones_own_needs(tmp_path: Path) -> None:
    """Its comment says which lines these are."""
    program = find_nginx()
    if program is None:
        pytest.skip("nginx is not on this machine")
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    comment = text[: text.index("\nlog_format")]
    named = comment[comment.index("For a server block of your own") :].partition(". ")[0]
    taken = re.findall(r"`(location|[a-z]+_[a-z_]+)`", named.partition(") ")[2])
    assert set(taken) == {"location", "log_format", "limit_conn_zone"}

    outside = [
        line for line in text.splitlines() if line.startswith(("log_format", "limit_conn_z"))
    ]
    location = re.search(r"^    location .*?^    \}$", text, re.MULTILINE | re.DOTALL)
    assert location
    own = f"listen 127.0.0.1:{free_port()}; location / {{ return 200 x; }}"
    whole = "\n".join([*outside, "server {", own, location[0], "}"])
    (tmp_path / "sitechat.conf").write_text(whole.replace("/var/log/nginx", str(tmp_path)), "utf-8")
    (tmp_path / "nginx.conf").write_text(front.AROUND.format(folder=tmp_path, user=""), "utf-8")

    command = [program, "-t", "-p", str(tmp_path), "-c", f"{tmp_path}/nginx.conf", "-e", "stderr"]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)

    assert ended.returncode == 0, ended.stderr
    assert "access_log" in location[0]  # whose format has no queries


@pytest.fixture
def dying() -> Iterator[str]:
    """A host that dies with each request: it has read it, and ends the connection."""

    class Dying(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)

    with socketserver.ThreadingTCPServer((HOST, 0), Dying) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"{HOST}:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("is_up", [True, False])
def test_with_the_lines_for_two_hosts_no_request_is_lost_with_one_of_them(
    echo: str, dying: str, is_up: bool, tmp_path: Path
) -> None:
    """A message that is under way to a host that dies, or is down, goes to the other one."""
    if find_nginx() is None:
        pytest.skip("nginx is not on this machine")
    first = dying if is_up else f"{HOST}:{free_port()}"
    script = front.script_for_two_hosts(first, echo[7:])

    with front.Nginx(tmp_path / "proxy", "unused", script) as proxy:
        for _ in range(4):
            answer = requests.post(f"{proxy.url}/ajax", timeout=30, verify=proxy.authority)
            assert (answer.status_code, answer.text) == (200, f"{PREFIX}/ajax")


def test_with_the_lines_for_two_hosts_one_that_hangs_is_given_up_soon(
    echo: str, tmp_path: Path
) -> None:
    """Only an install is waited for; here a second stands for the seconds of the guide."""
    if find_nginx() is None:
        pytest.skip("nginx is not on this machine")
    silence = re.search(
        r"^proxy_read_timeout (\d+)s;", front.lines_for_two_hosts()[1], re.MULTILINE
    )
    assert silence
    assert HEARTBEAT_SECONDS + 1 < int(silence[1]) <= 30

    with socket.create_server((HOST, 0)) as hanging:  # it takes connections, and says nothing
        script = front.script_for_two_hosts(f"{HOST}:{hanging.getsockname()[1]}", echo[7:])
        script = script.replace(f"proxy_read_timeout {silence[1]}s", "proxy_read_timeout 1s")
        with front.Nginx(tmp_path / "proxy", "unused", script) as proxy:

            def ask(path: str, patience: float) -> str:
                url = f"{proxy.url}{path}"
                return requests.post(url, timeout=patience, verify=proxy.authority).text

            with pytest.raises(requests.ReadTimeout):  # one of them asks the host that hangs
                _ = [ask("/install", 2) for _ in range(2)]
            for _ in range(4):
                assert ask("/ajax", 10) == f"{PREFIX}/ajax"


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_what_an_administrator_has_to_replace_is_the_domain(name: str) -> None:
    text = (DEPLOY / name).read_text("utf-8")
    assert DOMAIN in text
    assert PREFIX in text
    assert "127.0.0.1:8080" in text
