"""gunicorn's worker with gevent, whose connections cannot keep one another out."""

import errno
import resource
import socket
from contextlib import suppress
from typing import Any

from gevent.server import StreamServer  # type: ignore[import-untyped]
from gunicorn.workers.ggevent import GeventWorker  # type: ignore[import-untyped]

from logs import end_request
from web.connections import Connection, Connections

CONNECTIONS = 11_000  # the most of one process, if the system allows as many descriptors
STREAMS = 10_000  # of them
UNREAD_SECONDS = 60  # the longest that a client may leave an answer unread
UNREAD_BYTES = 256 << 10  # of an answer that the system keeps for a client
ACCEPTED_AT_ONCE = 10  # new connections before those that are there go on
TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux


class Limits:
    """How many of the system's descriptors one process uses, and for what."""

    def __init__(self, descriptors: int) -> None:
        # For the store, uploads, files that are read, and connections to the portal.
        reserve = min(descriptors // 8, 128)
        self.connections = min(CONNECTIONS, descriptors - reserve)
        # Several connections may be accepted before the first of them closes an old one.
        self.crowded = self.connections - min(self.connections // 8, 128)
        # Sends always find a connection beside the streams.
        self.streams = min(STREAMS, self.crowded - min(self.crowded // 4, 256))


def raise_descriptor_limit() -> Limits:
    """Let this process and its children open as many files as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        for wanted in (hard, 2 * CONNECTIONS):  # macOS refuses an unlimited number
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                break
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Limits(2 * CONNECTIONS if soft == resource.RLIM_INFINITY else soft)


class Worker(GeventWorker):  # type: ignore[misc]
    """Closes an old connection for a new one, where descriptors become few."""

    def init_process(self) -> None:
        self.limits = raise_descriptor_limit()
        self._held = Connections(self.limits.crowded)
        StreamServer.max_accept = ACCEPTED_AT_ONCE
        for listener in self.sockets:  # accepted sockets inherit these options
            listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD_BYTES)
            if TCP_USER_TIMEOUT and listener.FAMILY != socket.AF_UNIX:
                listener.sock.setsockopt(
                    socket.IPPROTO_TCP, TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000
                )
        super().init_process()

    def close_idle(self) -> None:
        """Close the connections without a request: gunicorn would wait for them at the end."""
        self._held.close_idle()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        if self.cfg.is_ssl:
            super().handle(listener, client, addr)
            return
        connection = Connection(client, self._held)
        try:
            self._held.opened(connection)
            super().handle(listener, connection, addr)
        finally:
            self._held.closed(connection)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        if not isinstance(sock, Connection):
            super().handle_request(listener_name, req, sock, addr)
            return
        self._held.request_begins(sock)
        try:
            super().handle_request(listener_name, req, sock, addr)
        except TimeoutError:  # the client has left its answer unread
            raise ConnectionResetError(errno.ECONNRESET, "the answer was left unread") from None
        finally:
            end_request()
        if sock.is_last:
            raise StopIteration
        self._held.request_ended(sock)
