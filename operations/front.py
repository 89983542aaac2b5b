"""Tries our own address: certificate, prefix, and what the proxies in front do to our answers.

Only who knows the store's secret key gets more than a refusal, so nobody else can use it.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from itsdangerous import BadData

from portal.tickets import serializer
from rest.own_address import NO_ANSWER, FrontAnswer, FrontError, ask
from settings import Settings

SALT = "sitechat probe"
TICKET_SECONDS = 60
TICKET_HEADER = "X-Chat-Probe"
STREAM_PAUSE_SECONDS = 0.6  # between the two pieces of the answer that tells of buffering
BUFFERED_SECONDS = STREAM_PAUSE_SECONDS / 2  # they come closer together where a proxy holds back
ASK_SECONDS = 10.0
UPLOAD_SECONDS = 60.0
OVERHEAD_BYTES = 4 << 10  # of a form around a file
TOO_LARGE = 413
REFUSALS = {403: "OTHER_STORE", 404: "OTHER_PATH", 405: "OTHER_PATH"}


@dataclass(frozen=True)
class FrontReport:
    """What came of it; None where nothing tells.

    `fault` is "" where we have answered ourselves, else what stood in the way: NOT_RESOLVED,
    NOT_REACHED and NO_ANSWER, a code of a certificate, REDIRECT, OTHER (something else answers), or
    one of REFUSALS: this program answers, but not under this path, or with another store.
    """

    fault: str = ""
    status: int = 0
    location: str = ""
    forwarded: int | None = None  # entries of X-Forwarded-For that came with the request
    is_buffered: bool | None = None
    takes_messages: bool | None = None  # what the service itself says
    is_too_large: bool | None = None  # a file of the largest size does not come through
    since: float | None = None  # when this fault was first met


@dataclass(frozen=True)
class Key:
    """The store's secret key, and its clock: another host may answer, by a clock of its own."""

    secret: str
    now: Callable[[], float] = time.time


def ticket(key: Key) -> str:
    return str(serializer(key.secret, SALT, key.now).dumps("probe"))


def is_good_ticket(key: Key, given: str) -> bool:
    """Whether the doctor of this store has just made the ticket."""
    try:
        return bool(
            serializer(key.secret, SALT, key.now).loads(given, max_age=TICKET_SECONDS) == "probe"
        )
    except BadData:
        return False


def look(settings: Settings, key: Key, with_largest: bool = True) -> FrontReport:
    """Ask our own address for a slow answer; `with_largest` also with the largest body allowed."""
    url, ca_file = f"{settings.public_url}/ajax?type=probe", settings.bitrix24.ca_file
    try:
        answer = ask(url, {TICKET_HEADER: ticket(key)}, ASK_SECONDS, ca_file)
    except FrontError as error:
        return FrontReport(error.code)
    if not answer.is_ours:
        redirects = answer.location and 300 <= answer.status < 400
        fault = "REDIRECT" if redirects else "OTHER"
        return FrontReport(fault, answer.status, answer.location)
    said = _said(answer.body)
    if answer.status != 200 or said is None:
        return FrontReport(REFUSALS.get(answer.status, NO_ANSWER), answer.status)
    return FrontReport(
        status=answer.status,
        forwarded=said.get("forwarded"),
        takes_messages=said.get("takes_messages"),
        is_buffered=_is_buffered(answer) and _is_buffered_again(settings, url, key),
        is_too_large=_is_too_large(settings, url, key) if with_largest else None,
    )


def with_since(report: FrontReport, before: dict[str, Any], now: float) -> FrontReport:
    """The report with since when its fault lasts; `before` is the last one."""
    if not report.fault:
        return report
    lasts = before.get("fault") == report.fault and before.get("since")
    return replace(report, since=before["since"] if lasts else now)


def _is_buffered(answer: FrontAnswer) -> bool:
    return answer.seconds_between < BUFFERED_SECONDS


def _is_buffered_again(settings: Settings, url: str, key: Key) -> bool | None:
    """The same of another answer: a busy machine may be slow to take the first piece."""
    headers = {TICKET_HEADER: ticket(key)}
    try:
        return _is_buffered(ask(url, headers, ASK_SECONDS, settings.bitrix24.ca_file))
    except FrontError:
        return None


def _said(body: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(body)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _is_too_large(settings: Settings, url: str, key: Key) -> bool | None:
    """Whether something in front of us refuses the largest file that visitors may send."""
    if not settings.files.enabled:
        return None
    size = settings.files.largest_bytes + OVERHEAD_BYTES
    headers = {TICKET_HEADER: ticket(key)}
    try:
        answer = ask(url, headers, UPLOAD_SECONDS, settings.bitrix24.ca_file, size)
    except FrontError:
        return None
    return answer.status == TOO_LARGE and not answer.is_ours


def pieces(forwarded: int, takes_messages: bool) -> tuple[bytes, bytes]:
    """The two pieces of an answer, which together are JSON."""
    said = json.dumps({"takes_messages": takes_messages, "forwarded": forwarded}).encode()
    return said[:1], said[1:]


def pause() -> None:
    time.sleep(STREAM_PAUSE_SECONDS)
