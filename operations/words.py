"""STUB until helper D's branch is merged: a finding in words."""

from collections.abc import Callable

from operations.findings import Finding, Moment
from texts import all_texts, text


def words(finding: Finding, language: str, moment: Callable[[float], str]) -> str:
    values = {
        name: moment(value.seconds) if isinstance(value, Moment) else value
        for name, value in finding.values.items()
    }
    return text(language, f"doctor.{finding.key}", **values)


def heading(finding: Finding, language: str) -> str:
    return all_texts(language)["doctor"].get(f"check_{finding.check}", finding.check)
