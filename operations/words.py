"""STUB until helper D's branch is merged: a finding in words."""

from collections.abc import Callable

from operations.findings import Finding, Moment
from texts import all_texts


def words(finding: Finding, language: str, moment: Callable[[Moment], str]) -> str:
    values = {
        name: moment(value) if isinstance(value, Moment) else value
        for name, value in finding.values.items()
    }
    stub = f"{finding.key} " + " ".join(str(value) for value in values.values())
    return all_texts(language).get("doctor", {}).get(finding.key, stub).format(**values)


def heading(finding: Finding, language: str) -> str:
    return all_texts(language).get("doctor", {}).get(f"check_{finding.check}", finding.check)
