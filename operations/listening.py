"""Whether the service can listen where it is told to: tried before gunicorn, which repeats itself.

What another program holds may be free in a moment: a service that is started anew may come a little
before its predecessor has gone.
"""

import errno
import socket
import time
from collections.abc import Iterable
from typing import Any

from texts import Wrong

PATIENCE_SECONDS = 3.0
LOOK_SECONDS = 0.1
CAUSES = {errno.EADDRINUSE: "port_taken", errno.EACCES: "port_denied"}


def address_of(bind: str) -> tuple[str, int] | None:
    """Host and port of `HOST:PORT`; None for other forms, which are left to gunicorn."""
    host, colon, port = bind.rpartition(":")
    if not colon or "/" in bind or not port.isdecimal() or host in ("unix", "fd"):
        return None
    return host.strip("[]"), int(port)


def why_not(addresses: Iterable[Any], patience: float = PATIENCE_SECONDS) -> Wrong | None:
    """What keeps us from listening at one of gunicorn's addresses; sockets have their own rules."""
    until = time.monotonic() + patience
    for host, port in (one for one in addresses if isinstance(one, tuple)):
        while wrong := _tried(host, port):
            if wrong.key != "commands.port_taken" or time.monotonic() > until:
                return wrong
            time.sleep(LOOK_SECONDS)
    return None


def _tried(host: str, port: int) -> Wrong | None:
    is_ipv6 = ":" in host
    shown = f"[{host}]:{port}" if is_ipv6 else f"{host}:{port}"
    try:
        with socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does
            one.bind((host, port))
    except (OSError, OverflowError, UnicodeError) as error:  # no port, and no host, is so long
        cause = CAUSES.get(getattr(error, "errno", None) or 0, "port_unusable")
        return Wrong(f"commands.{cause}", address=shown)
    return None
