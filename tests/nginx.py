"""A real nginx in front of the application, set up as strict and as busy as real ones are."""

import os
import socket
import subprocess
from pathlib import Path
from typing import Self

import requests
from install_browser import find_nginx
from stage import free_port, wait_until

HAS_IPV6 = os.path.exists("/proc/net/if_inet6")
HOST = "[::1]" if HAS_IPV6 else "127.0.0.1"
ROOT_USER = "user root;" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
# What a firewall or the sign-in page of a network says in place of the server.
CHALLENGE = (
    "<!doctype html><title>Just a moment</title><script>1</script>"
    '<article class="message operator" data-id="1"><div class="body">No message</div></article>'
)
COMMON = """
daemon off;
master_process off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    gzip on;
    gzip_min_length 1;
    gzip_proxied any;
    gzip_types text/event-stream text/javascript text/css application/json;
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    # It strips the prefix. Browsers speak HTTP/2 with it.
    server {{
        listen {host}:{port} ssl http2;
        ssl_certificate {folder}/cert.pem;
        ssl_certificate_key {folder}/key.pem;
        client_max_body_size {body_limit};
        location /chat/static/ {{
            proxy_pass {app}/static/;
            expires 30d;
        }}
        location /chat/ {{
            proxy_pass {app}/;
            {more}
        }}
        {wall}
    }}
    # It leaves the prefix, and holds every answer back until it is complete.
    server {{
        listen 127.0.0.1:{plain_port};
        proxy_ignore_headers X-Accel-Buffering;
        proxy_buffering on;
        location / {{ proxy_pass {app}; }}
    }}
}}
"""
TLS = [
    *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
    *("-days", "2", "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"),
    *("-addext", "subjectAltName=IP:::1,IP:127.0.0.1"),
]


class Nginx:
    """Use as a context; `restart` gives it another body limit, or a wall in front of `/ajax`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.plain_port = free_port(), free_port()
        self.url = f"https://{HOST}:{self.port}/chat"
        self.plain = f"http://127.0.0.1:{self.plain_port}"
        self.cert = str(folder / "cert.pem")
        self.app = ""  # the application's address
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        subprocess.run(["openssl", *TLS], cwd=folder, capture_output=True, check=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def start(self, body_limit: str = "21m", wall: str = "", more: str = "") -> None:
        """Start anew. `wall`: what is said in place of `/ajax`, as nginx's `return` takes it."""
        self.stop()
        if wall:
            wall = f"location = /chat/ajax {{ default_type text/html; {wall} }}"
        config = COMMON.format(
            **vars(self), host=HOST, user=ROOT_USER, body_limit=body_limit, wall=wall, more=more
        )
        path = self.folder / "nginx.conf"
        path.write_text(config, "utf-8")
        program = find_nginx()
        assert program is not None
        with (self.folder / "nginx.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-p", str(self.folder), "-c", str(path), "-e", "stderr"], stderr=log
            )
        wait_until(self._listens, 20, (self.folder / "nginx.log").read_text())

    def _listens(self) -> bool:
        with socket.socket(socket.AF_INET6 if HAS_IPV6 else socket.AF_INET) as probe:
            return probe.connect_ex((HOST.strip("[]"), self.port)) == 0

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(f"{self.url}{path}", headers=headers, verify=self.cert, timeout=30)
