"""Times in the visitor's own time zone, which their browser names, and in their language.

Pure functions; the zones are those of the system, else of the package tzdata.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from texts import Texts

ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,40}(?:/[A-Za-z][A-Za-z0-9_+-]{0,40}){0,2}")
OF_THE_SERVER = {"localtime", "posixrules", "Factory"}  # files beside the zones that are none
WRITTEN = re.compile(r'(<time datetime="([0-9TZ:-]{20})">)[^<]{0,40}')  # in a message's HTML


@dataclass(frozen=True)
class Clock:
    """A clock in one zone, whose offset may change: in summer, and by law."""

    name: str
    zone: tzinfo
    texts: Texts

    def at(self, seconds: float) -> datetime:
        return datetime.fromtimestamp(seconds, UTC).astimezone(self.zone)

    def shown(self, moment: datetime) -> str:
        """Such as "23 November 2026, 14:05"; each time of UTC says so, for few live there."""
        month = self.texts["months"].split()[moment.month - 1]
        time = f"{moment:%H:%M}" + (" UTC" if moment.tzname() == "UTC" else "")
        return self.texts["moment"].format(day=moment.day, month=month, year=moment.year, time=time)

    def offset(self, moment: datetime) -> str:
        """Such as "UTC+02:00, CEST"; many zones have no abbreviation."""
        offset, name = moment.strftime("%z"), moment.tzname() or ""
        if name == "UTC":
            return "UTC"
        offset = f"UTC{offset[:3]}:{offset[3:5]}"
        return f"{offset}, {name}" if name.isalpha() else offset

    def rewritten(self, html: str, beside: datetime) -> str:
        """A message's HTML with its times on this clock; `beside` is that of the message."""

        def time(written: re.Match[str]) -> str:
            moment = datetime.fromisoformat(written[2]).astimezone(self.zone)
            differs = moment.utcoffset() != beside.utcoffset()
            return (
                written[1] + self.shown(moment) + (f" ({self.offset(moment)})" if differs else "")
            )

        return WRITTEN.sub(time, html)


def clock_of(name: str, texts: Texts) -> Clock:
    """The clock of the zone that a browser names; that of UTC for any other name."""
    if ZONE.fullmatch(name) and name not in OF_THE_SERVER:
        try:
            return Clock(name, ZoneInfo(name), texts)
        except (OSError, ValueError, KeyError):  # a folder, no zone, an unknown one
            pass
    return Clock("UTC", UTC, texts)
