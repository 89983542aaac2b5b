"""What a finding says to people: the texts of the section [doctor] of `locales/`."""

from collections.abc import Callable

from operations.findings import Finding, Level, Moment, Phrase, Value
from texts import text


def words(finding: Finding, language: str, moment: Callable[[Moment], str]) -> str:
    """What is so, and for a fault what to do about it; `moment` writes a time for its reader."""
    values = {name: _shown(value, language, moment) for name, value in finding.values.items()}
    return text(language, f"doctor.{finding.key}", **values)


def heading(finding: Finding, language: str) -> str:
    """What was looked at, in one or two words."""
    return text(language, f"doctor.check_{finding.check}")


def verdict_words(level: Level, language: str) -> str:
    """The verdict: works; works, but; does not work."""
    return text(language, f"doctor.verdict_{level.name.lower()}")


def _shown(value: Value, language: str, moment: Callable[[Moment], str]) -> object:
    if isinstance(value, Moment):
        return moment(value)
    if isinstance(value, Phrase):
        try:
            return text(language, value.key, **value.values).rstrip(".")
        except KeyError:  # a reason that an earlier release has noted
            return value.key
    return value
