"""gunicorn's worker with gevent, whose connections cannot keep one another out."""

import errno
import resource
import signal
import socket
import sys
import time
from contextlib import suppress
from functools import partial
from typing import Any

import gevent  # type: ignore[import-untyped]
from gevent.event import Event  # type: ignore[import-untyped]
from gevent.pool import Pool  # type: ignore[import-untyped]
from gevent.server import StreamServer  # type: ignore[import-untyped]
from gunicorn.glogging import Logger  # type: ignore[import-untyped]
from gunicorn.sock import ssl_context  # type: ignore[import-untyped]
from gunicorn.workers.ggevent import GeventWorker  # type: ignore[import-untyped]

from logs import begin_connection, end_request
from web.connections import Connection, Connections
from web.ending import Ending, Readiness

CONNECTIONS = 11_000  # the most of one process, if the system allows as many descriptors
STREAMS = 10_000  # of them
UNREAD_SECONDS = 60  # the longest that a client may leave an answer unread
UNREAD_BYTES = 256 << 10  # of an answer that the system keeps for a client
ACCEPTED_AT_ONCE = 10  # new connections before those that are there go on
NOTIFY_SECONDS = 1.0  # between two signs of life for gunicorn's master
LOOK_SECONDS = 0.1  # at the end, between two looks whether requests are still under way
# How long requests under way may still take: if the whole service ends, and if another worker is
# there for new ones. Then a connection without a request stays open for its next one, so that this
# is answered, for QUIET_SECONDS.
STOP_SECONDS, REPLACED_SECONDS, QUIET_SECONDS = 0.4, 30.0, 2.0
CUT_SECONDS = 0.1  # for those that are cut
TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux


class Log(Logger):  # type: ignore[misc]
    """gunicorn's own, but for the line of each answer: without `accesslog` nobody reads it."""

    def access(self, *_: object) -> None:
        """Make nothing of it: to put the line together takes 20 µs."""


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


class Listener:
    """What gunicorn asks of the listening socket that a connection came from: its address.

    It asks as it begins to read, when the last connections find their socket closed at the end.
    """

    def __init__(self, listening: Any) -> None:
        self._address = listening.getsockname()

    def getsockname(self) -> Any:
        return self._address


class Worker(GeventWorker):  # type: ignore[misc]
    """Closes an old connection for a new one, where descriptors become few, and ends soon."""

    ending = Ending()  # gunicorn.conf.py gives the one that the master tells
    alive: bool  # until gunicorn's master says that it is enough
    ends_since = float("inf")  # by time.monotonic()

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.serves = Readiness()  # the master makes it, before the fork
        self.told = Event()  # that it has to end; only this needs no look again and again

    def init_process(self) -> None:
        signal.signal(signal.SIGTERM, self.handle_exit)  # until now it was the master's
        if self.ending.is_near:
            sys.exit(0)
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

    def handle_exit(self, *_: object) -> None:
        """The master says that it is enough; a worker that is only loading ends at once."""
        self._end()
        if not self.booted:
            sys.exit(0)

    def handle_quit(self, *arguments: Any) -> None:
        self._end()
        super().handle_quit(*arguments)

    def _end(self) -> None:
        self.alive = False
        self.told.set()

    def run(self) -> None:
        """Serve until the master says that it is enough, then end as `ending` wants it.

        gunicorn's own looks once a second, and waits as long for each of the others to end.
        """
        servers = [self._listen(listener) for listener in self.sockets]
        self.serves.tell()
        while self.alive and not self.ending.is_near:  # a signal that comes early is lost
            self.notify()
            self.told.wait(NOTIFY_SECONDS)
        self.ends_since = time.monotonic()
        self._end()
        for server in servers:
            server.close()
        self._finish([server.pool for server in servers])

    def _listen(self, listening: Any) -> Any:
        """A server that has begun to accept connections, as gunicorn begins its own."""
        secure = {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}
        places = Pool(self.worker_connections)
        handle = partial(self.handle, Listener(listening))
        server = StreamServer(listening, handle, spawn=places, **secure)
        if self.cfg.workers > 1:  # what one accepts, another one could answer sooner
            server.max_accept = 1
        server.start()
        return server

    def _finish(self, pools: list[Any]) -> None:
        """Let what is under way end, or end it."""
        while any(pools):
            passed = time.monotonic() - self.ends_since
            is_over = self.ending.is_near
            if is_over or passed > QUIET_SECONDS:
                self._held.close_idle()
            if passed > (STOP_SECONDS if is_over else REPLACED_SECONDS):
                break
            self.notify()
            gevent.sleep(LOOK_SECONDS)
        self._held.close_all()
        for pool in pools:
            pool.join(CUT_SECONDS)
            pool.kill(timeout=CUT_SECONDS)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        begin_connection()
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
        if not sock.head_bytes:  # it came together with the request before
            gevent.sleep(0)
        self._held.request_begins(sock)
        try:
            try:
                super().handle_request(listener_name, req, sock, addr)
            finally:
                sock.flush()
            if sock.is_stream:
                self._give_stream(req, sock)
        except TimeoutError:  # the client has left its answer unread
            raise ConnectionResetError(errno.ECONNRESET, "the answer was left unread") from None
        finally:
            sock.end_stream()
            end_request()
        if sock.is_last:
            raise StopIteration
        self._held.request_ended(sock)

    def _give_stream(self, req: Any, sock: Connection) -> None:
        """What follows the head of a stream, of whose request nothing is needed any more."""
        req.headers = []
        try:
            sock.give_stream()
        except OSError:  # the client has gone
            raise
        except (gevent.GreenletExit, SystemExit):  # the process ends
            pass
        except Exception:  # another page may not follow; gunicorn does the same
            self.log.exception("Error handling request")
            sock.hang_up()
