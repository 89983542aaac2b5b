"""Findings as a page shows them: one verdict, the worst first, and times for the reader's zone."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from operations.findings import Finding, Level, worst, worst_first
from operations.words import heading, words
from texts import text
from web.asking import language, services

# The only thing to look at after a first install: it is the next step, and no fault.
NEXT_STEPS = frozenset({"line_first"})
# A time within a text, until the text is made HTML. Texts hold no such characters.
TIME = re.compile("\ue000(-?[0-9.]+)\ue001")


@dataclass(frozen=True)
class Notice:
    """What a button has done, told in the section of the page that the button is in."""

    section: str  # "verdict", "sites", "test" or "settings"
    text: str
    is_error: bool = False


@dataclass(frozen=True)
class ShownFinding:
    check: str
    heading: str
    level: str  # "good", "next", "attention" or "broken"
    text: Markup


@dataclass(frozen=True)
class Verdict:
    level: Level
    is_well: bool  # all is well: the page says "successfully"
    title: str
    findings: list[ShownFinding]

    @property
    def tone(self) -> str:
        """How the page looks: "good", "attention" or "broken"."""
        return "good" if self.is_well else self.level.name.lower()

    @property
    def troubles(self) -> list[ShownFinding]:
        return [one for one in self.findings if one.level != "good"]

    @property
    def good(self) -> list[ShownFinding]:
        return [one for one in self.findings if one.level == "good"]


def verdict(findings: Iterable[Finding] | None = None) -> Verdict:
    """The verdict as it is now, with all findings, in the language of the request."""
    found = worst_first(services().verdict() if findings is None else findings)
    level = worst(found)
    troubles = [finding for finding in found if finding.level > Level.GOOD]
    is_next_step = bool(troubles) and all(finding.key in NEXT_STEPS for finding in troubles)
    is_well = level is Level.GOOD or (is_next_step and level is Level.ATTENTION)
    title = "installed" if is_next_step and is_well else f"verdict_{level.name.lower()}"
    return Verdict(level, is_well, said(title), [shown(finding) for finding in found])


def shown(finding: Finding) -> ShownFinding:
    sentence = words(finding, language(), lambda at: f"\ue000{at.seconds}\ue001")
    is_next = finding.key in NEXT_STEPS and finding.level is Level.ATTENTION
    level = "next" if is_next else finding.level.name.lower()
    return ShownFinding(finding.check, heading(finding, language()), level, with_times(sentence))


def with_times(sentence: str) -> Markup:
    """A text as HTML; its times are elements that the page's script writes in the reader's zone."""
    parts = enumerate(TIME.split(sentence))  # each second one is the time between two texts
    return Markup("").join(moment(float(part)) if at % 2 else part for at, part in parts)


def moment(seconds: float) -> Markup:
    """A time for a page: in UTC, until the page's script writes it in the reader's zone."""
    at = datetime.fromtimestamp(seconds, UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        at.isoformat(timespec="seconds"), f"{at:%Y-%m-%d %H:%M} UTC"
    )


def said(key: str, **values: object) -> str:
    """A text of the administrator's pages, in the language of the request."""
    return text(language(), f"application.{key}", **values)
