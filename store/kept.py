"""A visitor's file that is open to be read, from wherever it is kept."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True)
class KeptFile:
    """Whoever has opened it closes `file`."""

    file: IO[bytes]
    size: int
    kept_at: float  # Unix seconds
    is_gone: Callable[[], bool] = lambda: False  # whether it was deleted since
