"""Whether Bitrix24's events reach us: what came by another way although no event told of it.

Without events an operator's answer comes late, when a recovery reads the dialogs, and nothing else
tells of it: a firewall, a certificate that Bitrix24 does not trust, a proxy that answers for us.
"""

import json
from collections.abc import Iterator

from addresses import readable
from operations.facts import Facts, Kept
from operations.findings import Finding, Level, Moment, Value
from store.records import Portal

LATE_SECONDS = 30.0  # which an event may take; a recovery may find the answer before it comes
SLACK_SECONDS = 2.0  # between the time of an event and that of what it tells of
KNOWN_SECONDS = 7 * 86_400.0  # what is older tells nothing of the present
SEVERAL = 2  # a single event may get lost
WRONG_TOKEN = ["/handler", "reasons.token"]  # how such a request is noted that was turned away


def due_since(
    portal: Portal | None, last_event_at: float | None, excused_until: float | None, now: float
) -> float | None:
    """Since when every event should have come; None where that cannot be said.

    Those from before an install, from while we did not run, and from before the last event that
    has come tell nothing. A worker of an earlier release has not noted until when it did not run.
    """
    if portal is None or excused_until is None:
        return None
    last = (last_event_at or 0.0) + SLACK_SECONDS
    return max(portal.installed_at, last, excused_until, now - KNOWN_SECONDS)


def check_events_arrive(facts: Facts) -> Iterator[Finding]:
    """Whether what operators write comes by events, and not only by a look into the history."""
    kept = facts.installed
    if kept is None or kept.events_due_since is None:
        return
    found = kept.unannounced
    is_late = facts.now - found.first_at > LATE_SECONDS
    if found.answers + found.dialogs < SEVERAL or not is_late:
        return
    refused = _refused_at(kept, kept.events_due_since)
    values: dict[str, Value] = {
        "answers": found.answers,
        "dialogs": found.dialogs,
        "since": Moment(kept.last_event_at or kept.events_due_since),
        "url": readable(facts.settings.handler_url),
    }
    if refused is not None:
        yield Finding("arrival", Level.BROKEN, "events_refused", {
            **values, "refused": Moment(refused),
        })  # fmt: skip
    else:
        yield Finding("arrival", Level.BROKEN, "events_lost", values)


def _refused_at(kept: Kept, since: float) -> float | None:
    """When a request with another application token was last turned away; None if not since."""
    moments = [
        one.last_at
        for one in kept.turned_away
        if json.loads(one.reason)[:2] == WRONG_TOKEN and one.last_at >= since
    ]
    return max(moments, default=None)
