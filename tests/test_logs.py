"""The log's lines: which are written, which are counted, and that none can be forged."""

import io
import json
import logging
import sys
import time
from collections.abc import Iterator
from datetime import datetime

import pytest

import logs
import way
from logs import (
    FIRST_LINES,
    FIRST_TRACEBACKS,
    MINUTE_SECONDS,
    MOST_KINDS,
    JsonLine,
    Line,
    Summing,
    begin_request,
    end_request,
    facts,
    of_kind,
)

FAKE = "2026-01-01 00:00:00,000 ERROR store: all is lost"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _no_request() -> Iterator[None]:
    end_request()
    yield
    end_request()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(logs, "time", clock)
    return clock


class Log:
    """A logger of its own, whose handler writes into memory."""

    def __init__(self, name: str, style: str = "text") -> None:
        self.handler = Summing()
        text = Line("%(levelname)s %(logger)s: %(message)s")
        self.handler.setFormatter(text if style == "text" else JsonLine())
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


# -- facts, requests and the two formats


def test_a_line_ends_with_its_facts_and_the_id_of_its_request(log: Log) -> None:
    begin_request("7f3a")
    log.logger.warning("no line", extra=facts(line=7, code="NOT ACTIVE", ms=2.5, chat=None))
    end_request()
    log.logger.warning("no line", extra=facts(line=8))

    assert log.lines == [
        'WARNING web: no line line=7 code="NOT ACTIVE" ms=2.5 request=7f3a',
        "WARNING web: no line line=8",
    ]


def test_the_same_line_as_json(clock: Clock) -> None:
    log = Log("web", "json")
    begin_request("7f3a")
    before = time.time()
    log.logger.warning("no line, %s", "нет", extra=facts(line=7, code="NOT ACTIVE", chat=None))

    entry = json.loads(log.lines[0])
    assert abs(datetime.fromisoformat(entry.pop("time")).timestamp() - before) < 5
    assert entry == {
        "level": "WARNING",
        "logger": "web",
        "event": "no line, нет",
        "line": 7,
        "code": "NOT ACTIVE",
        "request": "7f3a",
    }


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize("sign", ["\n", "\x1b[2J", "\x85", "\u2028", "\u202e", '"', "\ud800"])
def test_no_fact_breaks_disguises_or_forges_a_line(clock: Clock, style: str, sign: str) -> None:
    log = Log("web", style)
    log.logger.warning("refused", extra=facts(code=f"x{sign} message=5", last="y" * 1_000_000))

    (line,) = log.lines
    assert "message=5" not in line or style == "json"
    assert len(line) < 2_100
    assert sign in '"\ud800' or sign not in line


def test_a_traceback_is_in_the_same_json_line(clock: Clock) -> None:
    log = Log("web", "json")
    try:
        raise ValueError(f"{FAKE}\n{FAKE}")
    except ValueError:
        log.logger.exception("it failed")

    (line,) = log.lines
    assert "ValueError" in json.loads(line)["traceback"]


def test_a_counted_line_keeps_its_facts(log: Log, clock: Clock) -> None:
    for number in range(3):
        begin_request(f"r{number}")
        log.logger.warning("refused", extra=of_kind("token") | facts(code=number))
    end_request()
    clock.now += MINUTE_SECONDS
    log.handler.tell()

    assert log.lines == [
        "WARNING web: refused code=0 request=r0",
        "WARNING web: refused (2 more such lines in 60 s) code=2 request=r2",
    ]


def test_the_way_of_every_message_is_written_however_many_there_are(
    log: Log, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way, "log", log.logger)
    chat_id = f"chat{'1' * 64}"
    for number in range(100):
        way.step("taken", number, chat_id, ms=1.5)

    assert len(log.lines) == 100
    assert log.lines[42] == (
        f"INFO web: message taken message=42 chat={way.chat_digest(chat_id)} ms=1.5"
    )
    assert "1" * 20 not in log.written.getvalue()  # whoever has the id can write into the chat


def test_lines_of_gunicorn_name_it(clock: Clock) -> None:
    log = Log("gunicorn.error")
    log.logger.info("Listening at: http://127.0.0.1:8080")

    assert log.lines == ["INFO gunicorn: Listening at: http://127.0.0.1:8080"]
