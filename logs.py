"""The log: lines that nobody outside can forge, and repeated lines counted instead of written.

Anybody's request can make a log line, as often as they like. So the first lines of a kind are
written at once; further ones are counted, and once a minute the last of them is written with their
number. The kinds come from the code, not from the requests. Knows nothing of the application.
"""

import logging
import re
import time
from dataclasses import dataclass
from typing import Any, TextIO

FIRST_LINES = 10  # of a kind, before counting begins
FIRST_TRACEBACKS = 2  # the same for errors with a traceback, which is long
MINUTE_SECONDS = 60.0
LOOK_SECONDS = 1.0  # between two looks whether a minute is over
MOST_KINDS = 500  # further kinds count as one
LONGEST_MESSAGE = 2_000  # characters
# Control characters, what ends a line, and what changes the direction of the text after it.
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

Kind = tuple[str, ...]
OTHER_KINDS: Kind = ()


def of_kind(kind: str) -> dict[str, Any]:
    """`extra` for a line that any stranger's request can make: the first of its kind is enough."""
    return {"kind": kind, "first_lines": 1}


def visible(text: str) -> str:
    """The text with everything that could break or disguise a line spelled out."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Line(logging.Formatter):
    """One line a message. A traceback's lines are indented, so that none looks like a message."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = visible(record.message[:LONGEST_MESSAGE])
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return "\n".join(f"  {visible(line)}" for line in super().formatException(ei).split("\n"))


@dataclass
class Minute:
    """The lines of one kind in one minute; `last` is the last one that was not written."""

    began: float
    written: int = 0
    left_out: int = 0
    last: logging.LogRecord | None = None


class Summing(logging.StreamHandler[TextIO]):
    """Writes the first lines of each kind to stderr, counts the others, and says their number."""

    def __init__(self) -> None:
        super().__init__()
        self._minutes: dict[Kind, Minute] = {}
        self._look_at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            self._tell(now)
        kind = kind_of(record)
        if kind not in self._minutes and len(self._minutes) >= MOST_KINDS:
            kind = OTHER_KINDS
        minute = self._minutes.setdefault(kind, Minute(now))
        first_lines = FIRST_TRACEBACKS if record.exc_info else FIRST_LINES
        if minute.written < getattr(record, "first_lines", first_lines):
            minute.written += 1
            super().emit(record)
            return
        minute.left_out += 1
        names = ("name", "levelno", "levelname", "msg", "args")  # a traceback would hold a request
        minute.last = logging.makeLogRecord({name: getattr(record, name) for name in names})

    def tell(self) -> None:
        """Say what was counted in minutes that are over; to be called now and then."""
        self.acquire()
        try:
            self._tell(time.monotonic())
        finally:
            self.release()

    def _tell(self, now: float) -> None:
        self._look_at = now + LOOK_SECONDS
        for kind, minute in list(self._minutes.items()):
            if now - minute.began < MINUTE_SECONDS:
                continue
            if minute.last is None:
                del self._minutes[kind]
                continue
            # While the kind goes on, only the sums are written.
            self._minutes[kind] = Minute(now, minute.written)
            super().emit(sum_of(minute.last, minute.left_out, now - minute.began))


def sum_of(last: logging.LogRecord, lines: int, seconds: float) -> logging.LogRecord:
    """A line that stands for so many."""
    try:
        text = last.getMessage()[:LONGEST_MESSAGE]
    except Exception:  # whatever the arguments' own conversion raises
        text = str(last.msg)
    last.msg, last.args = "%s (%d more such lines in %.0f s)", (text, lines, seconds)
    return last


def kind_of(record: logging.LogRecord) -> Kind:
    """What the line is about, without the values in it.

    gunicorn makes all lines of a level in one place, and puts the values in itself; the first words
    are its own.
    """
    if named := getattr(record, "kind", None):
        return record.name, str(named)
    words = str(record.msg).split(maxsplit=2)[:2]
    error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
    return record.name, record.levelname, str(record.lineno), *words, error
