"""The connections of one process, and which of them are closed when too many are open.

A connection that waits for its client is closed before the server refuses a new one: while it
idles, while its headers or its body come, or while its answer is not read. The one that has waited
longest goes first, so nobody can keep others out by holding connections. Streams stay: their number
is limited where they begin. Knows nothing of the chat.
"""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import gevent  # type: ignore[import-untyped]
from gevent.socket import socket as GeventSocket  # type: ignore[import-untyped]  # noqa: N812
from gunicorn.http.errors import LimitRequestHeaders  # type: ignore[import-untyped]
from gunicorn.workers.base_async import ALREADY_HANDLED  # type: ignore[import-untyped]

# Of one request, with what of its body comes in the same piece. gunicorn's time to read a head
# grows with the square of its length, and all others wait meanwhile.
HEAD_BYTES = 64 << 10
GIVEN_LATER = ALREADY_HANDLED  # in place of an answer's body: gunicorn asks no more of it
TURN_BYTES = 256 << 10  # after so many an answer that is read quickly lets others go on


class Connections:
    """All connections of a process; above `most` descriptors a new one closes an old one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: set[Connection] = set()
        self._files: set[Connection] = set()  # those whose answer is a file, a second descriptor
        self._waiting: dict[Connection, None] = {}  # whoever has waited longest is the first

    def opened(self, connection: "Connection") -> None:
        self._open.add(connection)
        self._make_room(connection)
        self.waits(connection)

    def opens_file(self, connection: "Connection") -> None:
        """The connection's answer is a file, which stays open until the request ends."""
        self._files.add(connection)
        self._make_room(connection)

    def _make_room(self, connection: "Connection") -> None:
        """Close whoever has waited longest if, with this connection, too many are open."""
        in_use = len(self._open) + len(self._files)
        # The system gives the lowest free number: a high one tells that others are in use, too.
        crowded = in_use > self._most or connection.fileno() >= self._most
        if crowded and self._waiting:
            oldest = next(iter(self._waiting))
            self.closed(oldest)
            oldest.hang_up()

    def request_begins(self, connection: "Connection") -> None:
        connection.is_idle = False
        connection.holds_head = True
        self.goes_on(connection)

    def request_ended(self, connection: "Connection") -> None:
        connection.is_idle = connection.is_kept = True
        connection.head_bytes = 0
        self._files.discard(connection)
        self.waits(connection)

    def close_idle(self) -> None:
        """Close the connections on which no request is under way or has come: the process ends."""
        for connection in list(self._waiting):
            if connection.is_idle and not connection.has_received():
                connection.hang_up()

    def close_all(self) -> None:
        """Close all, whatever is under way on them."""
        for connection in list(self._open):
            connection.hang_up()

    def closed(self, connection: "Connection") -> None:
        self._open.discard(connection)
        self._files.discard(connection)
        self._waiting.pop(connection, None)

    def waits(self, connection: "Connection") -> None:
        """The connection waits for its client from now on."""
        if connection in self._open and not connection.is_stream:
            self._waiting[connection] = None

    def goes_on(self, connection: "Connection") -> None:
        """The client has done what the connection waited for."""
        self._waiting.pop(connection, None)


class Connection(GeventSocket):  # type: ignore[misc]
    """The socket of one client."""

    __slots__ = (
        *("connections", "head", "head_bytes", "holds_head", "is_idle", "is_kept", "is_last"),
        *("is_chunked", "is_stream", "leave", "sent_in_turn", "stream"),
    )

    def __init__(self, accepted: Any, connections: Connections) -> None:
        """Takes the place of an accepted socket."""
        family, kind, protocol = accepted.family, accepted.type, accepted.proto
        super().__init__(family, kind, protocol, fileno=accepted.detach())
        self.connections = connections
        self.is_idle = True  # whether it waits for its next request
        self.is_kept = False  # whether a request was answered on it before
        self.head_bytes = 0  # received of its next request
        self.is_stream = False  # whether its answer is a stream, which lasts
        self.is_chunked = False  # whether each piece of the stream tells its length
        self.stream: Iterator[bytes] = iter(())  # what follows the head of a stream
        self.leave: Callable[[], None] | None = None  # called when the stream ends
        self.is_last = False  # whether it is closed after this request
        self.sent_in_turn = 0  # bytes
        self.holds_head = False  # whether what is sent next is the head of an answer
        self.head = b""  # of an answer, until the first piece of its body comes

    def begin_stream(
        self, stream: Iterator[bytes], leave: Callable[[], None], is_chunked: bool
    ) -> None:
        """`give_stream` has to give this, which may last; the connection is closed after it."""
        self.is_stream = self.is_last = True
        self.stream, self.leave, self.is_chunked = stream, leave, is_chunked

    def give_stream(self) -> None:
        for piece in self.stream:
            self.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if self.is_chunked else piece)
            del piece  # it may be long until the next one comes
        if self.is_chunked:
            self.sendall(b"0\r\n\r\n")

    def end_stream(self) -> None:
        self.stream, leave, self.leave = iter(()), self.leave, None
        if leave is not None:
            leave()

    def recv(self, *values: Any) -> bytes:
        """gunicorn answers 431 to the error that ends a long head."""
        if self.is_kept and self.is_idle and not self.head_bytes:
            self.wait_in_line()
        received: bytes = super().recv(*values)
        if self.is_idle:
            self.head_bytes += len(received)
            if self.head_bytes > HEAD_BYTES:
                raise LimitRequestHeaders(f"a head of more than {HEAD_BYTES} bytes")
        return received

    def wait_in_line(self) -> None:
        """Let all others whose requests have come be served before this one's next request.

        A client whose next request is there already would be served again and again otherwise.
        The system is asked once for all connections; most clients are waited for anyway.
        """
        self._wait(self._read_event)

    def sendall(self, data: bytes, flags: int = 0) -> None:
        """The head of an answer goes with the first piece of its body: one packet in place of two.

        That of a stream goes at once, because its first piece may come much later.
        """
        if self.holds_head and not self.is_stream:
            self.holds_head, self.head = False, data
            return
        self.holds_head = False
        head, self.head = self.head, b""
        super().sendall(head + data if head else data, flags)

    def flush(self) -> None:
        """Send the head of an answer that has no body."""
        if self.head:
            self.sendall(b"")

    def send(self, *values: Any, **named: Any) -> int:
        """All that is sent goes through this method, which waits while the client does not read."""
        self.flush()  # before the first piece of a file
        self.connections.waits(self)
        sent: int = super().send(*values, **named)
        self.connections.goes_on(self)
        self.sent_in_turn += sent
        if self.sent_in_turn >= TURN_BYTES:
            self.sent_in_turn = 0
            gevent.sleep(0)
        return sent

    def has_received(self) -> bool:
        """Whether something of a next request is there, which nobody has read yet."""
        with suppress(OSError):  # none is, or the connection is broken
            return bool(self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        return False

    def hang_up(self) -> None:
        """Close the connection for both sides: whoever reads from it or writes to it stops."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # gevent's own would raise EBADF in the reader


def connection_of(environ: Mapping[str, Any]) -> Connection | None:
    """The connection of a request; None where another server or a test serves it."""
    connection = environ.get("gunicorn.socket")
    return connection if isinstance(connection, Connection) else None
