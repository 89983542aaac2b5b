"""The installation of each test."""

from command_parts import site

__all__ = ["site"]
