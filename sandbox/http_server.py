"""A threaded HTTP/1.1 server for a WSGI application; connections stay open between requests.

Werkzeug's own server closes the connection after each answer and waits a
moment before it does. The tests call this portal hundreds of times a second.
"""

import io
import socket
import sys
import traceback
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from types import TracebackType
from typing import Any
from urllib.parse import unquote
from wsgiref.types import WSGIApplication, WSGIEnvironment

BACKLOG = 1024
SOCKET = "sandbox.socket"  # the key of the caller's connection in the WSGI environment


class Server(ThreadingMixIn, TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = BACKLOG
    companion: "Server | None" = None  # another server, which ends together with this one

    def __init__(self, host: str, port: int) -> None:
        """Listen at the port; OSError when it is not free. Port 0 takes a free one."""
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), Handler)
        self.app: WSGIApplication | None = None

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def shutdown(self) -> None:
        super().shutdown()
        if self.companion:
            self.companion.shutdown()

    def server_close(self) -> None:
        super().server_close()
        if self.companion:
            self.companion.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            traceback.print_exc()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def _answer(self) -> None:
        """Answer one request; the application gets its whole body at once."""
        assert self.server.app is not None
        answer = _Answer(self)
        chunks = self.server.app(self._environ(), answer.start)
        try:
            answer.send(chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close:
                close()

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = _answer  # noqa: N815

    def _environ(self) -> WSGIEnvironment:
        path, _, query = self.path.partition("?")
        environ: WSGIEnvironment = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(path, "latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": str(self.server.server_address[0]),
            "SERVER_PORT": str(self.server.port),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": str(self.client_address[0]),
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            SOCKET: self.connection,
        }
        body = self._body()
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        for name, value in self.headers.items():
            key = "HTTP_" + name.upper().replace("-", "_")
            environ[key] = f"{environ[key]},{value}" if key in environ else value
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        return environ

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


class _Answer:
    """Writes the application's answer; in chunks when the application does not state its length."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._status = ""
        self._headers: list[tuple[str, str]] = []

    def start(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: tuple[type[BaseException], BaseException, TracebackType]
        | tuple[None, None, None]
        | None = None,
    ) -> Any:
        self._status, self._headers = status, headers
        return self._write

    def send(self, chunks: Iterable[bytes]) -> None:
        handler = self._handler
        code, _, reason = self._status.partition(" ")
        names = {name.lower() for name, _ in self._headers}
        without_body = handler.command == "HEAD" or code in ("204", "304")
        chunked = "content-length" not in names and not without_body
        handler.send_response(int(code), reason)
        for name, value in self._headers:
            handler.send_header(name, value)
        if chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for chunk in chunks:
            if chunk and not without_body:
                size = f"{len(chunk):x}\r\n".encode()
                self._write(size + chunk + b"\r\n" if chunked else chunk)
        if chunked:
            self._write(b"0\r\n\r\n")

    def _write(self, data: bytes) -> None:
        self._handler.wfile.write(data)
        self._handler.wfile.flush()
