"""Checks of what comes and goes: what waits, what was refused, when something last arrived."""

import json
from collections.abc import Iterator

from operations.facts import Facts, Kept
from operations.findings import Finding, Level, Moment, Phrase, Value

SHORT_SECONDS, LONG_SECONDS = 60.0, 300.0  # a message that waits for so long
DAY_SECONDS = 86_400.0
REFUSED_DAYS = 7  # for which a refused message is told of
MOST_REASONS = 5  # of requests that were turned away; the latest
COUNTED = 10_000  # waiting messages; of more nobody needs the number


def check_waiting(facts: Facts) -> Iterator[Finding]:
    """Visitors' messages that Bitrix24 has not taken yet."""
    kept = facts.kept
    if not isinstance(kept, Kept):
        return
    if kept.waiting is None:
        yield Finding("waiting", Level.GOOD, "waiting_none")
        return
    values: dict[str, Value] = {"count": kept.waiting.count, "since": Moment(kept.waiting.since)}
    seconds = facts.now - kept.waiting.since
    if seconds < SHORT_SECONDS:
        yield Finding("waiting", Level.GOOD, "waiting_now", values)
    elif seconds < LONG_SECONDS:
        yield Finding("waiting", Level.ATTENTION, "waiting", values)
    else:
        yield Finding("waiting", Level.BROKEN, "waiting_long", values)


def explained(found: list[Finding]) -> list[Finding]:
    """What waits is no fault of its own where another finding says why it does."""
    if all(one.check == "waiting" for one in found if one.level is Level.BROKEN):
        return found
    return [
        Finding("waiting", Level.ATTENTION, "waiting", one.values)
        if one.key == "waiting_long"
        else one
        for one in found
    ]


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
    yield Finding("refused", level, key, {
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
