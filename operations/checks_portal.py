"""Checks of the installation: what Bitrix24 has of us, and whether it is what we need."""

from collections.abc import Iterator

from addresses import both_forms, readable
from operations.facts import Facts, Kept
from operations.faults import SECRET_KEYS, finding_of, finding_of_fault
from operations.findings import Finding, Level, Moment, Phrase, Value, duration
from portal.place import asked
from portal.presence import EVENTS
from rest.errors import MEANINGS, OF_OAUTH_SERVER, BitrixError, Cause
from rest.examination import Examination, Line

FINISH_SECONDS = 60.0  # within which the page of an install tells the portal that it is finished
TOKEN_SECONDS = 300.0  # so long an access token must be good, that a silent OAuth server harms none
CLOCK_SECONDS = 60.0  # between the portal's clock and ours; less is not told
# Delivery looks for a message in the portal's history among those since an hour before it was sent
# (delivery/lookup.py). If our clock, or that of the database that all hosts go by, is fast by more,
# it finds none, and sends it once more.
CLOCK_FAST_SECONDS = 3600.0
# If it is slow nothing of ours fails; but a certificate that was renewed within so long is refused.
CLOCK_SLOW_SECONDS = 86_400.0
# The right, how bad it is to lack it, and others of which each will do instead.
RIGHTS: list[tuple[str, Level, frozenset[str]]] = [
    ("imopenlines", Level.BROKEN, frozenset()),
    ("imconnector", Level.BROKEN, frozenset()),
    ("im", Level.ATTENTION, frozenset()),
    ("placement", Level.ATTENTION, frozenset()),
    ("user_brief", Level.ATTENTION, frozenset({"user_basic", "user"})),
]
MESSAGES = EVENTS[0].upper()  # the event without which no answer of an operator arrives


def check_install(facts: Facts) -> Iterator[Finding]:
    """Whether an administrator has installed the application, to its end."""
    kept = facts.kept
    if not isinstance(kept, Kept):
        return
    if kept.portal is None:
        if facts.settings.bitrix24.complete:  # else the settings come first
            url = facts.settings.public_url
            yield Finding("install", Level.BROKEN, "not_installed", {
                "install_url": both_forms(f"{url}/install"),
                "handler_url": both_forms(facts.settings.handler_url),
            })  # fmt: skip
        return
    refused = kept.refused_registration
    if refused is not None:
        values = {"method": refused.method, "code": refused.code}
        yield Finding("install", Level.BROKEN, "registration_refused", values)
    elif not kept.is_registered:
        yield Finding("install", Level.BROKEN, "not_registered")
    elif _is_unfinished(facts, kept, kept.portal.installed_at):
        yield Finding("install", Level.BROKEN, "unfinished")
    else:
        values = {"portal": readable(kept.portal_address)}
        at = Moment(kept.portal.installed_at)
        yield Finding("install", Level.GOOD, "installed", {**values, "at": at})


def _is_unfinished(facts: Facts, kept: Kept, installed_at: float) -> bool:
    """Whether the portal says so now, or said so at its last check."""
    if facts.now - installed_at < FINISH_SECONDS:
        return False
    if isinstance(facts.portal, Examination) and not isinstance(
        facts.portal.installed, BitrixError
    ):
        return not facts.portal.installed
    return kept.is_unfinished


def check_delivery(facts: Facts) -> Iterator[Finding]:
    """What keeps deliveries from going on, as the last call said."""
    kept = facts.installed
    if kept is None or kept.fault is None:
        return
    server = asked(facts.settings.bitrix24, kept.portal_address, kept.fault.method)
    yield finding_of_fault(kept.fault, "delivery", server)


def check_secret(facts: Facts) -> Iterator[Finding]:
    """Whether the OAuth server has renewed our tokens with the present secret, or refused to."""
    kept, server = facts.installed, facts.settings.bitrix24.oauth_server
    if kept is None:
        return
    refused = kept.refused_renewal
    found = refused and finding_of_fault(refused, "secret", server)
    if kept.secret_is_proved and kept.secret_proved_at is not None:
        at = Moment(kept.secret_proved_at)
        yield Finding("secret", Level.GOOD, "secret_good", {"server": readable(server), "at": at})
    elif kept.secret_is_proved:
        yield Finding("secret", Level.GOOD, "secret_good_once", {"server": readable(server)})
    elif found and found.key in SECRET_KEYS:
        yield found
    else:
        yield Finding("secret", Level.GOOD, "secret_untried", {"server": readable(server)})


def check_address_of_portal(facts: Facts) -> Iterator[Finding]:
    """Whether a renamed portal is still named by its old address in the settings."""
    kept, setting = facts.installed, facts.settings.bitrix24.portal
    if kept is not None and kept.portal_address != setting:
        values = {"address": both_forms(kept.portal_address), "setting": readable(setting)}
        yield Finding("portal", Level.ATTENTION, "rename_kept", values)


def check_portal(facts: Facts) -> Iterator[Finding]:
    """Whether the portal answers us. With no token that is good it is not even asked."""
    kept = facts.kept
    if not isinstance(kept, Kept) or facts.portal is None:
        return
    values = {"server": readable(kept.portal_address)}
    error = facts.portal if isinstance(facts.portal, BitrixError) else None
    if error is None or (kept.portal is None and error.cause is Cause.TOKEN):  # we have none yet
        yield Finding("portal", Level.GOOD, "portal_good", values)
    elif error.code == "EXPIRED_TOKEN":  # who only looks renews no token
        yield Finding("portal", Level.GOOD, "token_expired", values)
    else:
        check = "oauth" if error.method in OF_OAUTH_SERVER else "portal"
        server = asked(facts.settings.bitrix24, kept.portal_address, error.method)
        yield finding_of(error, check, server)


def check_oauth(facts: Facts) -> Iterator[Finding]:
    """Whether the OAuth server answers, and knows our token as one of this application."""
    kept, server = facts.kept, facts.settings.bitrix24.oauth_server
    if not isinstance(kept, Kept) or facts.oauth is None:
        return
    values = {"server": readable(server)}
    if isinstance(facts.oauth, BitrixError):
        if facts.oauth.cause is Cause.TOKEN:  # it has answered; the token is the portal's matter
            yield Finding("oauth", Level.GOOD, "oauth_good", values)
            return
        if facts.oauth.is_of_the_method:  # whether it renews tokens, each renewal tells
            yield _not_asked("oauth", facts.oauth)
            return
        found = finding_of(facts.oauth, "oauth", server)
        is_good = kept.portal is not None and kept.portal.expires_at > facts.now + TOKEN_SECONDS
        if isinstance(facts.portal, BitrixError) and facts.portal.wants_a_new_token:
            is_good = False  # the portal has ended it before its time
        level = Level.ATTENTION if is_good else found.level
        yield Finding(found.check, level, found.key, found.values)
    elif facts.oauth.client_id != facts.settings.bitrix24.client_id:
        yield Finding("oauth", Level.BROKEN, "other_application", values)
    else:
        yield Finding("oauth", Level.GOOD, "oauth_good", values)


def check_rights(facts: Facts) -> Iterator[Finding]:
    """Rights needed beside rights granted, each missing one by its name."""
    if not isinstance(facts.portal, Examination):
        return
    granted = facts.portal.rights
    if isinstance(granted, BitrixError):
        yield _not_asked("rights", granted)
        return
    missing = [
        (right, level)
        for right, level, others in RIGHTS
        if right not in granted and not others & granted
    ]
    for right, level in missing:
        values = {"right": right, "granted": ", ".join(sorted(granted))}
        yield Finding("rights", level, f"right_{right}", values)
    if not missing:
        values = {"granted": ", ".join(sorted(granted))}
        yield Finding("rights", Level.GOOD, "rights_good", values)


def check_events(facts: Facts) -> Iterator[Finding]:
    """Whether each event is posted to this address, once, and to no other one."""
    if not isinstance(facts.portal, Examination):
        return
    bound, handler = facts.portal.bindings, facts.settings.handler_url
    if isinstance(bound, BitrixError):
        yield _not_asked("events", bound)
        return
    needed = {event.upper(): event for event in EVENTS}
    here = [event for event, url in bound if url == handler and event in needed]
    missing = [name for event, name in needed.items() if event not in here]
    elsewhere = sorted({url for event, url in bound if event in needed and url != handler})
    url = readable(handler)
    if missing:
        level = Level.BROKEN if MESSAGES not in here else Level.ATTENTION
        yield Finding("events", level, "events_missing", {
            "events": ", ".join(missing), "url": url,
        })  # fmt: skip
    if elsewhere:
        others = ", ".join(readable(other) for other in elsewhere)
        yield Finding("events", Level.ATTENTION, "events_elsewhere", {"others": others, "url": url})
    if len(here) > len(set(here)):
        yield Finding("events", Level.ATTENTION, "events_twice", {"url": url})
    if not missing and not elsewhere and len(here) == len(set(here)):
        yield Finding("events", Level.GOOD, "events_good", {"url": url})


def check_connector(facts: Facts) -> Iterator[Finding]:
    """Whether the portal lists our connector."""
    if not isinstance(facts.portal, Examination):
        return
    known, connector = facts.portal.connectors, facts.settings.connector
    values = {"id": connector.id, "name": connector.name}
    if isinstance(known, BitrixError):
        yield _not_asked("connector", known)
    elif connector.id not in known:
        yield Finding("connector", Level.BROKEN, "connector_unknown", {
            **values, "method": "imconnector.list", "code": Phrase("doctor.not_listed"),
        })  # fmt: skip
    else:
        yield Finding("connector", Level.GOOD, "connector_good", values)


def check_lines(facts: Facts) -> Iterator[Finding]:
    """Whether visitors' messages have a line to go to, and how each connected line does."""
    kept = facts.installed
    if kept is None:
        return
    name = facts.settings.connector.name
    if not kept.active_lines:
        if not kept.known_lines and kept.waiting is None:
            yield Finding("lines", Level.ATTENTION, "line_first", {"name": name})
        else:
            waiting = kept.waiting.count if kept.waiting else 0
            yield Finding("lines", Level.BROKEN, "line_none", {"name": name, "waiting": waiting})
        return
    faults = {line: _fault_of_line(facts, kept, line) for line in kept.active_lines}
    all_fail = all(faults.values())
    newest = next((line for line in kept.active_lines if not faults[line]), None)
    for line, fault in faults.items():
        values: dict[str, Value] = {
            "line": line, "line_name": _line_name(facts, line), "name": name
        }  # fmt: skip
        code = kept.dead_lines.get(line, "-")
        if fault and not all_fail and _is_spare(kept, line, fault):
            yield Finding("lines", Level.GOOD, "line_spare", values)
        elif fault:
            level = Level.BROKEN if all_fail else Level.ATTENTION
            yield Finding("lines", level, fault, {**values, "code": code})
        else:
            key = "line_newest" if line == newest else "line_good"
            yield Finding("lines", Level.GOOD, key, values)


def _fault_of_line(facts: Facts, kept: Kept, line: int) -> str:
    """The text that says why a line takes no messages; "" as far as is known."""
    if isinstance(facts.portal, Examination):
        if line in facts.portal.lines and facts.portal.lines[line] is None:
            return "line_deleted"
        found = facts.portal.lines.get(line)
        if isinstance(found, Line) and not found.active:
            return "line_off"
        if facts.portal.statuses.get(line) is False:
            return "line_disconnected"
    return "line_dead" if line in kept.dead_lines else ""


def _is_spare(kept: Kept, line: int, fault: str) -> bool:
    """Whether the line may be switched off on purpose: then nothing waits for it."""
    meaning = MEANINGS.get(kept.dead_lines.get(line, ""))
    is_off = fault in ("line_off", "line_disconnected") or (
        fault == "line_dead" and meaning is not None and meaning.cause is Cause.LINE_NOT_ACTIVE
    )
    return is_off and line not in kept.waiting_lines


def _line_name(facts: Facts, line: int) -> str:
    found = facts.portal.lines.get(line) if isinstance(facts.portal, Examination) else None
    return found.name if isinstance(found, Line) and found.name else str(line)


def check_clock(facts: Facts) -> Iterator[Finding]:
    """The portal's clock beside that of the store, which is ours where the store is a file."""
    if not isinstance(facts.portal, Examination) or facts.portal.clock_seconds is None:
        return
    whose, ahead = "clock", 0.0
    if facts.on_server and isinstance(facts.kept, Kept):
        whose, ahead = "store_clock", facts.kept.clock_ahead
    seconds = round(facts.portal.clock_seconds + ahead)  # above 0: ours is slow
    values: dict[str, Value] = {"place": facts.place}
    if abs(seconds) <= CLOCK_SECONDS:
        yield Finding("clock", Level.GOOD, f"{whose}_good", values | {"seconds": abs(seconds)})
        return
    values |= {
        "difference": duration(abs(seconds)),
        "ours": Moment(facts.now),
        "theirs": Moment(facts.now + seconds),
    }
    # Certificates are compared with this machine's clock, not with that of a database's server.
    fails = seconds < -CLOCK_FAST_SECONDS or (seconds > CLOCK_SLOW_SECONDS and not facts.on_server)
    level = Level.BROKEN if fails else Level.ATTENTION
    yield Finding("clock", level, f"{whose}_slow" if seconds > 0 else f"{whose}_fast", values)


def _not_asked(check: str, error: BitrixError) -> Finding:
    """The portal did not let us ask; that alone is no fault."""
    return Finding(check, Level.GOOD, "not_asked", {"method": error.method, "code": error.code})
