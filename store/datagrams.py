"""Hints between the processes of one machine, as datagrams: "read the store now"."""

import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

FOLDER_LIMIT = 64  # bytes of its path; the path of a socket in it may have 103 (macOS)
DESCRIPTORS = Path("/proc/self/fd")  # on Linux each open folder has a short path in here


class Datagrams:
    """Hints as datagrams: each process has a socket of its own in the store's folder."""

    def __init__(self, folder: Path, on_close: Callable[[], None]) -> None:
        self._on_close = on_close
        self._opened = contextlib.ExitStack()
        # Not named by the process id: in a container a restarted process often has the same id.
        self._path = Path(os.path.relpath(folder)) / f"live-{secrets.token_hex(8)}.sock"
        # Two sockets: while one greenlet waits for a datagram, no other may use that socket.
        self._receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender.setblocking(False)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path = short(folder, self._opened) / self._path.name
            self._receiver.bind(str(self._path))
        except OSError as error:
            log.warning("answers appear up to 1 s later: no socket at %s: %s", self._path, error)

    def wait(self, seconds: float) -> None:
        """Return at the next hint, or after `seconds`; hints that wait together count as one."""
        try:
            self._receiver.settimeout(seconds)
            self._receiver.recv(1)
            self._receiver.settimeout(0)
            while True:
                self._receiver.recv(1)
        except OSError:  # no hint came, or no further one waits
            return

    def wake(self) -> None:
        """Send a hint to this process alone."""
        with contextlib.suppress(OSError):  # there is no socket, or its buffer is full
            self._sender.sendto(b"!", str(self._path))

    def send(self) -> None:
        """Send a hint to every process, this one included."""
        try:
            paths = list(self._path.parent.glob("live-*.sock"))
        except OSError:
            return  # no descriptor is left: what was written is written, and is read a second later
        for path in paths:
            try:
                self._sender.sendto(b"!", str(path))
            except ConnectionRefusedError:  # the socket's process has died
                with contextlib.suppress(OSError):  # the folder may not be writable now
                    path.unlink(missing_ok=True)
            except OSError:
                continue  # the socket's buffer is full: its process has hints to read

    def close(self) -> None:
        self._on_close()
        self._receiver.close()
        self._sender.close()
        with contextlib.suppress(OSError):  # the folder may not be writable now
            self._path.unlink(missing_ok=True)
        self._opened.close()


def short(folder: Path, opened: contextlib.ExitStack) -> Path:
    """A path to the folder that a socket's may begin with, however deep the folder lies.

    It is good until `opened` is closed. Raises OSError where there is none.
    """
    path = Path(os.path.relpath(folder))
    if len(os.fsencode(path)) <= FOLDER_LIMIT:
        return path
    if not DESCRIPTORS.is_dir():
        raise OSError("the folder's path is too long")
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    opened.callback(os.close, number)
    return DESCRIPTORS / str(number)


def is_heard(folder: Path) -> bool:
    """Whether a process listens for hints in this folder; it gets one, which does no harm."""
    with (
        contextlib.ExitStack() as opened,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        sender.setblocking(False)
        for path in short(folder, opened).glob("live-*.sock"):
            try:
                sender.sendto(b"!", os.fspath(path))
            except BlockingIOError:
                return True  # it has hints to read
            except OSError:
                continue  # its process has died
            return True
    return False
