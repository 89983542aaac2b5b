"""The log's lines: which are written, which are counted, and that none can be forged."""

import io
import logging
import sys

import pytest

import logs
from logs import FIRST_LINES, FIRST_TRACEBACKS, MINUTE_SECONDS, MOST_KINDS, Line, Summing, of_kind

FAKE = "2026-01-01 00:00:00,000 ERROR store: all is lost"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(logs, "time", clock)
    return clock


class Log:
    """A logger of its own, whose handler writes into memory."""

    def __init__(self, name: str) -> None:
        self.handler = Summing()
        self.handler.setFormatter(Line("%(levelname)s %(name)s: %(message)s"))
        self.written = self.handler.stream = io.StringIO()
        self.logger = logging.Logger(name)
        self.logger.addHandler(self.handler)

    @property
    def lines(self) -> list[str]:
        return self.written.getvalue().splitlines()


@pytest.fixture
def log(clock: Clock) -> Log:
    return Log("web")


def forge(log: Log, times: int, reason: str = "token") -> None:
    for number in range(times):
        log.logger.warning("refused: %s %d", reason, number, extra=of_kind(reason))


def test_of_refusals_the_first_is_written_at_once_and_then_their_number_a_minute(
    log: Log, clock: Clock
) -> None:
    forge(log, 1000)
    forge(log, 500, "form")
    assert log.lines == ["WARNING web: refused: token 0", "WARNING web: refused: form 0"]

    clock.now += MINUTE_SECONDS
    log.handler.tell()
    forge(log, 10)
    clock.now += MINUTE_SECONDS
    log.handler.tell()
    log.handler.tell()

    assert log.lines[2:] == [
        "WARNING web: refused: token 999 (999 more such lines in 60 s)",
        "WARNING web: refused: form 499 (499 more such lines in 60 s)",
        "WARNING web: refused: token 9 (10 more such lines in 60 s)",
    ]


def test_after_a_quiet_minute_the_first_of_a_kind_is_written_again(log: Log, clock: Clock) -> None:
    forge(log, 1)
    clock.now += MINUTE_SECONDS
    forge(log, 1)

    assert log.lines == ["WARNING web: refused: token 0"] * 2


def test_a_minute_ends_also_where_nobody_asks(log: Log, clock: Clock) -> None:
    forge(log, 3)
    clock.now += MINUTE_SECONDS
    log.logger.error("another line")

    assert log.lines[1:] == [
        "WARNING web: refused: token 2 (2 more such lines in 60 s)",
        "ERROR web: another line",
    ]


def test_ordinary_lines_of_one_kind_are_counted_from_the_eleventh_on(
    log: Log, clock: Clock
) -> None:
    for number in range(50):
        log.logger.info("message %d had arrived", number)
        log.logger.info("another line")
    clock.now += MINUTE_SECONDS
    log.handler.tell()

    assert len(log.lines) == 2 * FIRST_LINES + 2
    assert log.lines[-2:] == [
        "INFO web: message 49 had arrived (40 more such lines in 60 s)",
        "INFO web: another line (40 more such lines in 60 s)",
    ]


def test_lines_with_their_values_put_in_are_one_kind(clock: Clock) -> None:
    """gunicorn does so, and what strangers send stands in them."""
    log = Log("gunicorn.error")
    for number in range(100):
        log.logger.warning(f"Invalid request from ip=192.0.2.1: '{number}'")

    assert len(log.lines) == FIRST_LINES


def test_the_kinds_of_a_minute_are_bounded(log: Log) -> None:
    for number in range(10 * MOST_KINDS):
        log.logger.warning("refused", extra=of_kind(f"made by a stranger {number}"))

    assert len(log.lines) == MOST_KINDS + 1


def test_a_traceback_is_written_twice_and_its_lines_look_like_no_message(log: Log) -> None:
    for _ in range(20):
        try:
            raise ValueError(f"{FAKE}\n{FAKE}\x1b[2J")
        except ValueError:
            log.logger.exception("it failed")

    lines = log.lines
    assert lines.count("ERROR web: it failed") == FIRST_TRACEBACKS
    assert not any(line.startswith("2026") for line in lines)
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_nothing_breaks_a_line(log: Log, end: str) -> None:
    log.logger.warning("refused: %s", f"x{end}{FAKE}")

    assert len(log.lines) == 1


@pytest.mark.parametrize("sign", ["\x1b[2J", "\x00", "\x7f", "\x9b2J", "\u202e", "\u2066"])
def test_nothing_disguises_a_line(log: Log, sign: str) -> None:
    log.logger.warning(f"refused: {sign} naïve, по-русски")

    assert sign not in log.lines[0]
    assert log.lines[0].endswith("naïve, по-русски")


def test_a_line_has_an_end(log: Log) -> None:
    log.logger.warning("refused: %s", "x" * 1_000_000)

    assert len(log.lines[0]) < 2_100


def test_a_line_that_cannot_be_put_together_breaks_nothing(
    log: Log, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    for _ in range(FIRST_LINES + 2):
        log.logger.warning("%d wrong", "text")
    clock.now += MINUTE_SECONDS
    log.handler.tell()

    assert log.lines == ["WARNING web: %d wrong (2 more such lines in 60 s)"]


def test_lines_go_to_the_standard_error_stream() -> None:
    assert Summing().stream is sys.stderr
