"""Which release this is: as the folder of the program says, also after `git pull` alone."""

import tomllib
from functools import cache
from importlib import metadata

from settings import ROOT


@cache
def version() -> str:
    """The release's number; "" where nothing says it."""
    try:
        return str(
            tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
        )
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        pass
    try:
        return metadata.version("sitechat")
    except metadata.PackageNotFoundError:
        return ""
