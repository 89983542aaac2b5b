"""The texts people read, in every language we have: `locales/*.toml`, all with the same keys."""

import os
import tomllib
from collections.abc import Mapping
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


def text(language: str, key: str, /, **values: object) -> str:
    """The text `section.name` with its {placeholders} filled in."""
    section, _, name = key.partition(".")
    return all_texts(language)[section][name].format(**values)


def language_of_system(variables: Mapping[str, str] = os.environ) -> str:
    """The language of whoever runs a command, by the rules of POSIX; the default if we lack it."""
    given = [variables.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG")]
    language = next(filter(None, given), "")[:2].lower()
    return language if language in languages() else DEFAULT


class Wrong(ValueError):
    """What somebody has given cannot be used. It can say why in every language."""

    def __init__(self, key: str, /, **values: object) -> None:
        """`key` names a text, `values` fill it; one of them may be another Wrong."""
        super().__init__(text(DEFAULT, key, **values))
        self.key = key
        self.values = values

    def told(self, language: str) -> str:
        values = {
            name: value.told(language) if isinstance(value, Wrong) else value
            for name, value in self.values.items()
        }
        return text(language, self.key, **values)
