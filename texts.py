"""The texts people read, in every language we have: `locales/*.toml`, all with the same keys."""

import tomllib
from functools import cache
from pathlib import Path

LOCALES = Path(__file__).parent / "locales"
DEFAULT = "en"

Texts = dict[str, str]


@cache
def languages() -> list[str]:
    return sorted(path.stem for path in LOCALES.glob("*.toml"))


@cache
def all_texts(language: str) -> dict[str, Texts]:
    """Section → key → text; of the default language where we do not have the one asked for."""
    if language not in languages():
        language = DEFAULT
    return tomllib.loads((LOCALES / f"{language}.toml").read_text("utf-8"))


def text(language: str, key: str, **values: object) -> str:
    """The text `section.name` with its {placeholders} filled in."""
    section, _, name = key.partition(".")
    return all_texts(language)[section][name].format(**values)
