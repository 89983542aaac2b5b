"""What this process has rendered, kept to be given again: of a bounded size, the newest of it.

A key names all that the value depends on, so nothing kept is ever out of date: what has changed has
another key, and what nobody asks for any more makes room for what is new.
"""

import threading
from collections.abc import Hashable
from typing import Generic, Self, TypeVar, cast

from flask import Flask

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Values by their keys; above `most` bytes the oldest go. Safe to share between threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0
        self._values: dict[K, tuple[V, int]] = {}  # the oldest is the first
        self._lock = threading.Lock()

    @classmethod
    def of_app(cls, app: Flask, name: str, most: int) -> Self:
        """What an application keeps under this name; made at its first use."""
        kept = app.extensions.get(f"sitechat.{name}")
        if kept is None:
            kept = app.extensions.setdefault(f"sitechat.{name}", cls(most))
        return cast(Self, kept)

    def get(self, key: K) -> V | None:
        found = self._values.get(key)
        return found[0] if found else None

    def put(self, key: K, value: V, size: int) -> None:
        """Keep a value that takes about `size` bytes; one that is larger than all room is not."""
        if size > self._most:
            return
        with self._lock:
            self._remove(key)
            self._values[key] = value, size
            self._bytes += size
            while self._bytes > self._most:
                self._remove(next(iter(self._values)))

    def _remove(self, key: K) -> None:
        self._bytes -= self._values.pop(key, (None, 0))[1]

    def __len__(self) -> int:
        return len(self._values)
