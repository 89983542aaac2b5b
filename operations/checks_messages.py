"""Checks of what comes and goes: what waits, what was refused, when something last arrived."""

import json
from collections.abc import Iterator

from addresses import readable
from operations.facts import Facts, Kept
from operations.findings import Finding, Level, Moment, Phrase, Value
from rest.errors import CONNECTION_LOST, DIED, LOCK_LOST, MEANINGS, STRANGE_ANSWER, Cause

SHORT_SECONDS, LONG_SECONDS = 60.0, 300.0  # a message that waits for so long
DAY_SECONDS = 86_400.0
REFUSED_DAYS = 7  # for which a refused message is told of
MOST_REASONS = 5  # of requests that were turned away; the latest
COUNTED = 10_000  # waiting messages; of more nobody needs the number
SEVERAL = 3  # messages refused, and none taken since: it is not the messages
NO_EVENTS = {"install", "events", "connector", "address", "front"}  # faults that keep events away
SEND = "imconnector.send.messages"
NO_ANSWER = {"NO_REPLY", CONNECTION_LOST, DIED}
ODD = {STRANGE_ANSWER}


def check_waiting(facts: Facts) -> Iterator[Finding]:
    """Visitors' messages that Bitrix24 has not taken yet.

    An install may have mended why they wait: what waited before is judged by the time since then.
    """
    kept = facts.kept
    if not isinstance(kept, Kept):
        return
    if kept.waiting is None:
        yield Finding("waiting", Level.GOOD, "waiting_none")
        return
    values: dict[str, Value] = {"count": kept.waiting.count, "since": Moment(kept.waiting.since)}
    installed_at = kept.portal.installed_at if kept.portal else 0.0
    seconds = facts.now - max(kept.waiting.since, installed_at)
    is_old = facts.now - kept.waiting.since >= SHORT_SECONDS
    if seconds < SHORT_SECONDS and not (is_old and kept.waiting.error):
        yield Finding("waiting", Level.GOOD, "waiting_now", values)
    elif seconds < LONG_SECONDS and not kept.waiting.error:
        yield Finding("waiting", Level.ATTENTION, "waiting", values)
    else:
        values["why"] = _why_it_waits(kept)
        is_long = seconds >= LONG_SECONDS
        level, key = (Level.BROKEN, "waiting_long") if is_long else (Level.ATTENTION, "waiting_why")
        yield Finding("waiting", level, key, values)


def _why_it_waits(kept: Kept) -> Phrase:
    """What the last call with one of these messages came to, and what helps."""
    code = kept.waiting.error if kept.waiting else ""
    if code in ("", LOCK_LOST):  # it was our own: the next try says why
        return Phrase("doctor.why_unknown")
    meaning = MEANINGS.get(code)
    if meaning and meaning.cause is Cause.BUSY:
        key = "why_busy"
    elif code in NO_ANSWER or (meaning and meaning.cause is Cause.UNREACHABLE):
        key = "why_no_answer"
    elif code.startswith("HTTP_5") or code in ODD:
        key = "why_error"
    else:
        key = "why_refused"
    values = {"code": code, "server": readable(kept.portal_address), "method": SEND}
    return Phrase(f"doctor.{key}", values)


def explained(found: list[Finding]) -> list[Finding]:
    """What follows from another fault is none of its own: that messages wait, that no event comes.

    Neither explains the other.
    """
    causes = {one.check for one in found if one.level is Level.BROKEN}
    is_explained = {
        "waiting": bool(causes - {"waiting", "arrival", "refused"}),
        "arrival": bool(causes & NO_EVENTS),
    }
    return [
        _as_consequence(one)
        if one.level is Level.BROKEN and is_explained.get(one.check, False)
        else one
        for one in found
    ]


def _as_consequence(finding: Finding) -> Finding:
    key = "waiting" if finding.check == "waiting" else finding.key
    return Finding(finding.check, Level.ATTENTION, key, finding.values)


def check_refused(facts: Facts) -> Iterator[Finding]:
    """Visitors' messages that Bitrix24 did not take, and nobody has sent again."""
    kept = facts.kept
    if not isinstance(kept, Kept):
        return
    if kept.refused is None:
        yield Finding("refused", Level.GOOD, "refused_none", {"days": REFUSED_DAYS})
        return
    message = kept.refusal_to_tell
    level, key = (Level.GOOD, "refused_over") if message is None else (Level.ATTENTION, "refused")
    if kept.refused.in_a_row >= SEVERAL:
        level, key = Level.BROKEN, "refused_all"
    yield Finding("refused", level, key, {
        "in_a_row": kept.refused.in_a_row,
        "message": message or 0,
        "count": kept.refused.count,
        "days": REFUSED_DAYS,
        "last": Moment(kept.refused.last_at),
        "reason": kept.refused.last_reason or "?",
    })  # fmt: skip


def check_traffic(facts: Facts) -> Iterator[Finding]:
    """When a message last came from a visitor, was taken, came from an operator; the last event."""
    kept = facts.installed
    if kept is None:
        return
    moments = {
        "last_from_visitor": kept.last.from_visitor,
        "last_delivered": kept.last.delivered,
        "last_from_operator": kept.last.from_operator,
        "last_event": kept.last_event_at,
    }
    for key, seconds in moments.items():
        if seconds is not None:
            yield Finding("traffic", Level.GOOD, key, {"at": Moment(seconds)})
    if not any(moments.values()):
        yield Finding("traffic", Level.GOOD, "traffic_none")


def check_recovery(facts: Facts) -> Iterator[Finding]:
    """Operators' answers whose events were lost."""
    kept = facts.installed
    if kept is None or kept.recovery is None:
        return
    found = kept.recovery
    at = Moment(found.at)
    if found.failed:
        values: dict[str, Value] = {"failed": found.failed, "at": at}
        yield Finding("recovery", Level.ATTENTION, "recovery_unread", values)
    else:
        values = {"recovered": found.recovered, "dialogs": found.dialogs, "at": at}
        yield Finding("recovery", Level.GOOD, "recovery", values)


def check_turned_away(facts: Facts) -> Iterator[Finding]:
    """Requests that were turned away within a day: anybody can make such requests."""
    if not isinstance(facts.kept, Kept):
        return
    lately = [one for one in facts.kept.turned_away if facts.now - one.last_at < DAY_SECONDS]
    for one in sorted(lately, key=lambda one: -one.last_at)[:MOST_REASONS]:
        place, key, values = json.loads(one.reason)
        yield Finding("turned_away", Level.GOOD, "turned_away", {
            "place": place or "?",
            "reason": Phrase(key, values),
            "count": one.count,
            "last": Moment(one.last_at),
        })  # fmt: skip
