"""What a check has found, and the verdict that follows from all findings.

The page in the portal, `/install`, `sitechat doctor`, the log and the note to the administrator all
say what these objects hold, each in its reader's language.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

LATEST = 4e9  # the latest time that is shown, in Unix seconds


class Level(IntEnum):
    """How bad a finding is. The numbers are also the exit codes of `sitechat doctor`."""

    GOOD = 0
    ATTENTION = 1  # the chat works, but somebody should look at this
    BROKEN = 2  # messages or answers do not arrive, or soon will not


# What visitors' browsers merely say, and so anybody can: it is shown, and raises no verdict.
HINTS = frozenset({"sites_tried", "address_of_visitors"})


@dataclass(frozen=True)
class Moment:
    """A time among the values of a finding: each reader sees it in a zone of their own."""

    seconds: float  # Unix seconds; of before 1970 and after 2096 the nearest, which can be shown

    def __post_init__(self) -> None:
        shown = min(max(self.seconds, 0.0), LATEST) if self.seconds == self.seconds else 0.0
        object.__setattr__(self, "seconds", shown)


@dataclass(frozen=True)
class Phrase:
    """A text of `locales/` among the values of a finding, by its section and key."""

    key: str
    values: Mapping[str, str] = field(default_factory=dict)


Value = str | int | float | Moment | Phrase


@dataclass(frozen=True)
class Finding:
    """One thing that a check has found.

    `key` names a text of the section [doctor] of `locales/`, which says what is so and, unless the
    level is GOOD, what to do about it; `values` fill it. The same cause always has the same `check`
    and `key`: the log says it once for as long as it lasts.
    """

    check: str  # what was looked at: "secret", "lines"; a text `check_...` is its heading
    level: Level
    key: str
    values: Mapping[str, Value] = field(default_factory=dict)


def worst(findings: Iterable[Finding]) -> Level:
    """The verdict: the level of the worst finding."""
    return max((finding.level for finding in findings), default=Level.GOOD)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """The findings as they are shown; those of one level keep the order of the checks."""
    return sorted(findings, key=lambda finding: -finding.level)


def each_once(findings: Iterable[Finding]) -> list[Finding]:
    """Each thing that is said once: of those that say the same of the same server the worst."""
    found: dict[str, Finding] = {}
    for finding in findings:
        about = finding.values.get("server") or sorted(finding.values.items())
        said = repr((finding.key, about))
        if said not in found or finding.level > found[said].level:
            found[said] = finding
    return list(found.values())


def as_plain(finding: Finding) -> dict[str, Any]:
    """The finding as JSON can keep it."""
    return {
        "check": finding.check,
        "level": int(finding.level),
        "key": finding.key,
        "values": {name: _plain(value) for name, value in finding.values.items()},
    }


def from_plain(kept: dict[str, Any]) -> Finding:
    """The finding that `as_plain` has made plain."""
    values = {name: _value(plain) for name, plain in kept["values"].items()}
    return Finding(kept["check"], Level(kept["level"]), kept["key"], values)


def _plain(value: Value) -> Any:
    if isinstance(value, Moment):
        return {"seconds": value.seconds}
    if isinstance(value, Phrase):
        return {"phrase": value.key, "values": value.values}
    return value


def _value(plain: Any) -> Value:
    if not isinstance(plain, dict):
        return plain  # type: ignore[no-any-return]
    if "seconds" in plain:
        return Moment(plain["seconds"])
    return Phrase(plain["phrase"], plain["values"])


def duration(seconds: int) -> Phrase:
    """A duration in the largest unit that it fills twice."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return Phrase(f"doctor.{unit}", {"count": str(seconds // length)})
    return Phrase("doctor.seconds", {"count": str(seconds)})
