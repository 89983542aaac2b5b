"""The store of each test, and a second one on its file."""

from store_parts import second, store

__all__ = ["second", "store"]
