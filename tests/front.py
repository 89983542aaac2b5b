"""The proxies of deploy/, each started with the configuration that stands there.

Only names, ports and paths are others: those of this machine.
"""

import os
import re
import socket
import subprocess
from functools import cache
from pathlib import Path
from typing import Self

import stage
import trustme
from install_browser import find_caddy, find_nginx

HAS_IPV6 = os.path.exists("/proc/net/if_inet6")
DEPLOY = stage.ROOT / "deploy"
PREFIX = "/myconnector"
DOMAIN = "site.example"  # in the configurations
# What Debian's own nginx.conf has around a site's file, as far as it matters.
AROUND = """
daemon off;
master_process off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    sendfile on;
    default_type application/octet-stream;
    types {{ text/html html; }}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    access_log {folder}/access.log;
    gzip on;
    include {folder}/sitechat.conf;
}}
"""
# Of Caddy for all sites; the first line of what includes ours has to be this.
GLOBAL = """
{{
    admin off
    http_port {http_port}
    https_port {https_port}
    default_bind {host}
    local_certs
    skip_install_trust
    storage file_system {folder}/storage
}}
import {folder}/ours.caddy
"""


def lines_for_two_hosts() -> tuple[str, str]:
    """What docs/deployment.md has two hosts behind nginx need: outside, and in `location`."""
    guide = (stage.ROOT / "docs" / "deployment.md").read_text("utf-8")
    lines = re.search(r"```nginx\n(upstream .*?\n})\n# in `location`\n(.*?)\n```", guide, re.DOTALL)
    assert lines
    return lines[1], lines[2]


def script_for_two_hosts(first: str, second: str) -> str:
    """sed's, which puts these lines in place of those of the same names.

    Each host as it stands in `server`, maybe with parameters.
    """
    outside, inside = lines_for_two_hosts()
    outside = outside.replace("10.0.0.11:8080", first).replace("10.0.0.12:8080", second)
    names = re.findall(r"^proxy_\w+", inside, re.MULTILINE)
    return "\n".join([
        f"1i {' '.join(outside.split())}",
        f"/proxy_pass/c {' '.join(inside.split())}",
        *(f"/ {name} /d" for name in names if name != "proxy_pass"),
        "",
    ])  # fmt: skip


class Front:
    """Use as a context: a proxy with HTTPS in front of the application at `upstream`.

    `script`: one of sed's, which makes the configuration another one, as the README has it.
    """

    def __init__(self, folder: Path, upstream: str, script: str = "") -> None:
        self.folder = folder
        self.script = script
        self.upstream = upstream.removeprefix("http://")
        self.http_port, self.https_port = stage.free_port(), stage.free_port()
        self.url = f"https://{self.host}:{self.https_port}{PREFIX}"
        self.authority = str(folder / "authority.pem")  # of its certificate
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(exist_ok=True)

    host = stage.HOST

    def command(self) -> list[str]:
        """What starts it, once its files are written."""
        raise NotImplementedError

    def ours(self, name: str) -> str:
        """What stands in a file of deploy/, as an administrator changes it."""
        command = ["sed", self.script, str(DEPLOY / name)]
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout

    def __enter__(self) -> Self:
        with (self.folder / "output.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stderr=log, stdout=log, env=self.environment()
            )
        try:
            stage.wait_until(self.is_up, 30, f"{type(self).__name__} listens")
        except AssertionError:
            self.__exit__()
            raise AssertionError((self.folder / "output.log").read_text("utf-8")) from None
        return self

    def environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.folder)}

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None
        with socket.socket() as probe:
            return probe.connect_ex((stage.HOST, self.https_port)) == 0


class Nginx(Front):
    def command(self) -> list[str]:
        ours = self.ours("nginx.conf")
        for port, own in ((80, self.http_port), (443, self.https_port)):
            ours = ours.replace(f"listen {port}", f"listen {stage.HOST}:{own}")
            ours = ours.replace(f"listen [::]:{port}", f"listen [::1]:{own}")
        if not HAS_IPV6:
            ours = re.sub(r"listen \[::1\].*", "", ours)
        ours = re.sub("/etc/letsencrypt/live/[^/]+", str(self.folder), ours)
        ours = ours.replace("/var/log/nginx", str(self.folder))
        ours = re.sub("server_name [^;]+", f"server_name {stage.HOST}", ours)
        ours = ours.replace("127.0.0.1:8080", self.upstream)
        (self.folder / "sitechat.conf").write_text(ours, "utf-8")
        user = "user root;" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
        around = AROUND.format(folder=self.folder, user=user)
        (self.folder / "nginx.conf").write_text(around, "utf-8")
        certificate, key = pair()
        (self.folder / "fullchain.pem").write_bytes(certificate)
        (self.folder / "privkey.pem").write_bytes(key)
        authority().cert_pem.write_to_path(self.authority)
        program = find_nginx()
        assert program is not None
        return [program, "-p", str(self.folder), "-c", f"{self.folder}/nginx.conf", "-e", "stderr"]


class Caddy(Front):
    host = "localhost"  # for an address it would have to be told in which name to answer

    def command(self) -> list[str]:
        text = GLOBAL.format(**vars(self), host=stage.HOST)
        (self.folder / "ours.caddy").write_text(self.ours("Caddyfile"), "utf-8")
        (self.folder / "Caddyfile").write_text(text.lstrip(), "utf-8")
        self.authority = f"{self.folder}/storage/pki/authorities/local/root.crt"
        program = find_caddy()
        assert program is not None
        return [program, "run", "--adapter", "caddyfile", "--config", f"{self.folder}/Caddyfile"]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "CHAT_HOST": self.host, "CHAT_UPSTREAM": self.upstream}

    def is_up(self) -> bool:
        return super().is_up() and os.path.exists(self.authority)


def trust_authority(folder: Path) -> None:
    """Let this process and those it starts trust the certificates of its proxies."""
    path = str(folder / "authority.pem")
    authority().cert_pem.write_to_path(path)
    os.environ["REQUESTS_CA_BUNDLE"] = os.environ["SSL_CERT_FILE"] = path


@cache
def authority() -> trustme.CA:
    """One for all proxies of a test process."""
    return trustme.CA()


def authority_in_base64() -> str:
    """Its certificate without the lines around it."""
    return "".join(authority().cert_pem.bytes().decode("ascii").split("\n")[1:-2])


@cache
def pair() -> tuple[bytes, bytes]:
    """A certificate for this machine with its chain, and its key."""
    made = authority().issue_cert(stage.HOST, "::1", "localhost")
    chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
    return chain, made.private_key_pem.bytes()
