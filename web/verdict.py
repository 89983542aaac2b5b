"""Findings as a page shows them: one verdict, the worst first, and times for the reader's zone."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from markupsafe import Markup

from operations.findings import HINTS, Finding, Level, Moment, worst, worst_first
from operations.words import heading, words
from texts import text
from web.asking import language, services

# What is the next step after a first install, and no fault. On the page of that install so is a
# line for what visitors have written before it.
NEXT_STEPS = frozenset({"line_first"})
NEXT_STEPS_OF_FIRST_INSTALL = NEXT_STEPS | {"line_none"}
# The number of a time within a text, until the text is made HTML.
TIME = re.compile("\ue000([0-9]{1,3})\ue001")


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


def verdict(findings: Iterable[Finding] | None = None, is_first: bool = False) -> Verdict:
    """The verdict as it is now, with all findings, in the language of the request.

    `is_first`: it is shown at the end of a first install.
    """
    found = worst_first(services().verdict() if findings is None else findings)
    troubles = [finding for finding in found if finding.level > Level.GOOD]
    next_steps = NEXT_STEPS_OF_FIRST_INSTALL if is_first else NEXT_STEPS
    is_well = all(finding.key in next_steps for finding in troubles)
    level = worst(found)
    title = "installed" if troubles and is_well else f"verdict_{level.name.lower()}"
    return Verdict(level, is_well, said(title), [shown(one, next_steps) for one in found])


def doubted(found: Verdict) -> Verdict:
    """The verdict where Bitrix24 did not answer in time: nobody knows that all is well."""
    if not found.is_well:
        return found
    return replace(found, level=Level.ATTENTION, is_well=False, title=said("verdict_attention"))


def shown(finding: Finding, next_steps: frozenset[str] = NEXT_STEPS) -> ShownFinding:
    times: list[Moment] = []

    def numbered(at: Moment) -> str:
        times.append(at)
        return f"\ue000{len(times) - 1}\ue001"

    sentence = words(finding, language(), numbered)
    is_next = finding.key in HINTS or (finding.key in next_steps and finding.level > Level.GOOD)
    level = "next" if is_next else finding.level.name.lower()
    return ShownFinding(
        finding.check, heading(finding, language()), level, with_times(sentence, times)
    )


def with_times(sentence: str, times: list[Moment]) -> Markup:
    """A text as HTML; its times are elements that the page's script writes in the reader's zone.

    What the portal says may hold anything, also what looks like the number of a time.
    """
    html = Markup("")
    for at, part in enumerate(TIME.split(sentence)):  # each second one is between two texts
        if at % 2 == 0:
            html += part
        elif int(part) < len(times):
            html += moment(times[int(part)].seconds)
    return html


def moment(seconds: float) -> Markup:
    """A time for a page: in UTC, until the page's script writes it in the reader's zone."""
    at = datetime.fromtimestamp(seconds, UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        at.isoformat(timespec="seconds"), f"{at:%Y-%m-%d %H:%M} UTC"
    )


def said(key: str, **values: object) -> str:
    """A text of the administrator's pages, in the language of the request."""
    return text(language(), f"application.{key}", **values)
