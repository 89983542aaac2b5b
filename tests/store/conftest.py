"""The store of each test, a second one on its file, and the folder of both."""

from copy_parts import folder
from store_parts import second, store

__all__ = ["folder", "second", "store"]
