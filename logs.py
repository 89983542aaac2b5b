"""The log: lines that nobody outside can forge, and repeated lines counted instead of written.

One line an event: a sentence, then its facts as `name=value` (ids, codes, durations), at the end
the id of the request in which it happened. With the setting `logs.format` each line is one JSON
object instead, with the same names.

Anybody's request can make a log line, as often as they like. So the first lines of a kind are
written at once; further ones are counted, and once a minute the last of them is written with their
number. The kinds come from the code, not from the requests. Lines of what is limited elsewhere,
such as stored messages, are all written (`facts(always=True)`). Knows nothing of the application.
"""

import json
import logging
import re
import time
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

FIRST_LINES = 10  # of a kind, before counting begins
FIRST_TRACEBACKS = 2  # the same for errors with a traceback, which is long
MINUTE_SECONDS = 60.0
LOOK_SECONDS = 1.0  # between two looks whether a minute is over
MOST_KINDS = 500  # further kinds count as one
LONGEST_MESSAGE = 2_000  # characters
LONGEST_FACT = 300  # characters
# Control characters, what ends a line, and what changes the direction of the text after it.
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

# Begins what a server's line quotes of a request, or the query of its address.
QUOTED = re.compile("""['"?]""")

# A fact that can stand without quotation marks. With "=" it would look like another fact.
BARE = re.compile(r"[\w.:/@+,;()*-]+")

NUMBERS = (int, float)
NO_FACTS: dict[str, object] = {}

Kind = tuple[str, ...]
OTHER_KINDS: Kind = ()


@dataclass(frozen=True, slots=True)
class Request:
    """The request that is answered now."""

    id: str
    began: float  # by the monotonic clock


# Each greenlet, and each thread, has its own.
_request: ContextVar[Request | None] = ContextVar("request", default=None)
_reads_client: ContextVar[bool] = ContextVar("reads_client", default=False)


def begin_request(request_id: str) -> None:
    """From now on the lines of this greenlet have this id, until `end_request`."""
    _request.set(Request(request_id, time.monotonic()))


def end_request() -> None:
    _request.set(None)


def begin_connection() -> None:
    """From now on this greenlet reads what a client sends (`WithoutRequests`)."""
    _reads_client.set(True)


def request_ms() -> float | None:
    """Milliseconds since the request began; None outside of one."""
    request = _request.get()
    return round((time.monotonic() - request.began) * 1000, 1) if request else None


def facts(always: bool = False, **values: object) -> dict[str, Any]:
    """`extra` for a line: what it says besides its sentence; None is left out.

    `always`: the line is written however many of its kind there are. Only for what strangers cannot
    cause as often as they like.
    """
    return {"facts": values, "always": True} if always else {"facts": values}


def of_kind(kind: str) -> dict[str, Any]:
    """`extra` for a line that any stranger's request can make: the first of its kind is enough."""
    return {"kind": kind, "first_lines": 1}


class Lasting:
    """A fault that a job meets at each try: told when it begins, or is of another kind, and once
    when it is over."""

    def __init__(self, logger: logging.Logger, sentence: str = "the store cannot be used") -> None:
        self._logger = logger
        self._sentence = sentence
        self._told = ""

    def met(self, error: Exception) -> None:
        kind = type(error).__name__
        if self._told != kind:
            self._logger.error("%s: %s", self._sentence, error)
        self._told = kind

    def over(self) -> None:
        """A try has succeeded."""
        if self._told:
            self._logger.info("over: %s", self._sentence)
        self._told = ""


def visible(text: str) -> str:
    """The text with everything that could break or disguise a line spelled out."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def facts_of(record: logging.LogRecord) -> dict[str, Any]:
    """The facts of a line, with the id of its request; texts have an end."""
    found = {
        name: value if isinstance(value, NUMBERS) else str(value)[:LONGEST_FACT]
        for name, value in getattr(record, "facts", NO_FACTS).items()
        if value is not None
    }
    if request := getattr(record, "request", ""):
        found["request"] = request
    return found


def written(value: object) -> str:
    """A fact's value as text. One with other characters than BARE is quoted, and holds no "="."""
    text = str(value)
    if isinstance(value, NUMBERS):
        return text.lower() if isinstance(value, bool) else text
    if BARE.fullmatch(text):
        return text
    return json.dumps(visible(text), ensure_ascii=False).replace("=", "\\u003d")


def logger_of(record: logging.LogRecord) -> str:
    """The module that speaks; gunicorn calls the logger of all its lines `gunicorn.error`."""
    return record.name.removesuffix(".error") if record.name == "gunicorn.error" else record.name


class Line(logging.Formatter):
    """One line a message. A traceback's lines are indented, so that none looks like a message."""

    _second, _written = -1, ""  # the time of the last line, which most lines share

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        message = visible(record.message[:LONGEST_MESSAGE])
        for name, value in facts_of(record).items():
            message += f" {name}={written(value)}"
        record.message = message
        record.logger = logger_of(record)
        return super().formatMessage(record)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._written = time.strftime(
                datefmt or self.default_time_format, time.localtime(second)
            )
        return f"{self._written},{int(record.msecs):03d}"

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return "\n".join(f"  {visible(line)}" for line in super().formatException(ei).split("\n"))


class JsonLine(logging.Formatter):
    """One JSON object a line, in ASCII, so that nothing in it can end or disguise a line."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None)
        entry = {
            "time": f"{at.isoformat(timespec='milliseconds')}Z",
            "level": record.levelname,
            "logger": logger_of(record),
            "event": record.getMessage()[:LONGEST_MESSAGE],
            **facts_of(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


FORMATTERS = {"text": Line, "json": JsonLine}  # by the setting `logs.format`


# What no line shows is not looked up for each: together a quarter of a line's cost.
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def formatter(style: str) -> logging.Formatter:
    return FORMATTERS[style]("%(asctime)s %(levelname)s %(logger)s: %(message)s")


class WithoutRequests(logging.Filter):
    """Ends gunicorn's lines before what they quote of a request: a query or header may be secret.

    Its lines about anything else quote, too: those that no client has caused stay whole.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if _reads_client.get():
            message = QUOTED.split(record.getMessage(), maxsplit=1)[0]
            record.msg, record.args = message.removesuffix(" b").rstrip(" :") or "…", ()
        return True


# Of a line that is counted; a traceback would hold a request.
KEPT = ("name", "levelno", "levelname", "msg", "args", "facts", "request")


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
        if (request := _request.get()) is not None:
            record.request = request.id
        if getattr(record, "always", False):
            super().emit(record)
            return
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
        kept = {name: value for name, value in vars(record).items() if name in KEPT}
        minute.last = logging.makeLogRecord(kept)

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
