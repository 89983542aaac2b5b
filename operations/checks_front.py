"""Checks of what stands in front of us: the name, the certificate, the prefix, and the proxies.

This server may see its own address otherwise than the world does: a router or /etc/hosts leads it
astray or past the proxies. So whoever has reached us from outside is believed before that.
"""

from collections.abc import Iterator

from addresses import readable
from operations.checks_own import may_be_reached
from operations.facts import Facts, Kept
from operations.findings import Finding, Level, Moment
from operations.front import FrontReport
from portal.install_error import CERTIFICATES
from rest.errors import BitrixError, answered_nothing
from rest.own_address import NO_ANSWER, NOT_REACHED, NOT_RESOLVED
from store.records import Reached

UNTRIED = {NOT_REACHED, NO_ANSWER}  # a server behind NAT often cannot reach its own address
LATELY_SECONDS = 3600.0  # before a fault was met: it may be new, or of this server's way alone
KNOWN_SECONDS = 7 * 86_400.0  # for which a request from outside tells how we are reached
KEYS = {
    NOT_RESOLVED: "front_unresolved",
    "REDIRECT": "front_redirects",
    "OTHER": "front_other",
    "OTHER_STORE": "front_other_store",
    "OTHER_PATH": "front_other_path",
}

OUR_OWN = {"OTHER_STORE", "OTHER_PATH"}  # this program has said so, and no router


def may_be_tried(facts: Facts) -> bool:
    """Whether what stands in front can be judged: our address may be right.

    Else a finding of its own says so, and each answer of the address follows from that.
    """
    return isinstance(facts.kept, Kept) and may_be_reached(facts)


def _is_explained(facts: Facts, front: FrontReport) -> bool:
    """Whether another finding says all: a service that does not run answers nowhere.

    That another one answers in its place is news.
    """
    is_stopped = isinstance(facts.kept, Kept) and not facts.kept.worker_runs
    return not may_be_tried(facts) or (is_stopped and front.fault != "OTHER_STORE")


def check_front(facts: Facts) -> Iterator[Finding]:
    """Whether we answer at our own address, as far as that can be tried from here."""
    front, url = facts.front, readable(facts.settings.public_url)
    if front is None or _is_explained(facts, front):
        return
    if front.fault in UNTRIED or (front.fault == NOT_RESOLVED and _resolves_nothing(facts)):
        yield Finding("front", Level.GOOD, "front_untried", {"url": url})
        return
    if front.fault:
        yield _fault(facts, front)
        return
    found = list(_of_proxies(facts, front))
    yield from found
    if not found:
        yield Finding("front", Level.GOOD, "front_good", {"url": url})


def _resolves_nothing(facts: Facts) -> bool:
    """Whether the portal cannot be reached, either: then no name may be resolved here."""
    portal = facts.portal
    return isinstance(portal, BitrixError) and answered_nothing(portal.code)


def _fault(facts: Facts, front: FrontReport) -> Finding:
    """Something other than this chat answers, or nothing can be found: here, or for all."""
    url, reached = readable(facts.settings.public_url), _reached(facts)
    since = facts.now if front.since is None else front.since
    last = max((one.at for one in reached.values()), default=0.0)
    if front.fault not in OUR_OWN and last and last > since - LATELY_SECONDS:
        # An event that came since the fault was met has met none. A visitor can pass over a
        # certificate, and anybody can say to be one.
        portal = reached.get("portal")
        level = Level.GOOD if portal and portal.at > since else Level.ATTENTION
        return Finding("front", level, "front_differs", {
            "url": url, "code": _code(front), "at": Moment(last),
        })  # fmt: skip
    key = KEYS.get(front.fault, "front_" + CERTIFICATES.get(front.fault, "certificate_refused"))
    return Finding("front", Level.BROKEN, key, {
        "url": url, "status": front.status, "location": readable(front.location),
        "code": front.fault,
    })  # fmt: skip


def _code(front: FrontReport) -> str:
    return front.fault if not front.status else f"HTTP {front.status}"


def _reached(facts: Facts) -> dict[str, Reached]:
    """Who has reached us at `public_url` within days: it names what they used."""
    kept, url = facts.kept, facts.settings.public_url
    if not isinstance(kept, Kept):
        return {}
    return {
        who: one
        for who, one in kept.reached.items()
        if one.url == url and 0 <= facts.now - one.at < KNOWN_SECONDS
    }


def _of_proxies(facts: Facts, front: FrontReport) -> Iterator[Finding]:
    """What is not as it should be although we have answered."""
    settings = facts.settings
    if front.is_buffered:
        yield Finding("front", Level.ATTENTION, "front_buffers")
    if front.is_too_large:
        # A request is somewhat larger than the file in it.
        values = {"megabytes": settings.files.megabytes, "limit": settings.files.megabytes + 1}
        yield Finding("front", Level.ATTENTION, "front_too_large", values)
    found, setting = front.forwarded, settings.server.proxies
    if found is not None and found < setting:
        found = _fewest(facts, found)
    if found is not None and found != setting:
        key = "proxies_many" if found < setting else "proxies_few"
        yield Finding("front", Level.ATTENTION, key, {"found": found, "setting": setting})


def _fewest(facts: Facts, found: int) -> int:
    """How many proxies are sure to be in front, at most as many as are set.

    We ourselves may come past some of them, so that others must have shown it, too.
    """
    reached, setting = _reached(facts), facts.settings.server.proxies
    seen = reached.get("portal") or reached.get("visitors")
    return min(setting, max(found, seen.forwarded)) if seen else setting
