"""Checks of what stands in front of us: the certificate, the prefix, and the proxies."""

from collections.abc import Iterator

from addresses import readable
from operations.checks_own import may_be_reached
from operations.facts import Facts, Kept
from operations.findings import Finding, Level
from operations.front import FrontReport
from portal.install_error import CERTIFICATES
from rest.own_address import NO_ANSWER, NOT_REACHED
from settings import Settings

UNTRIED = {NOT_REACHED, NO_ANSWER}  # a server behind NAT often cannot reach its own address


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
    if front.fault in UNTRIED:
        yield Finding("front", Level.GOOD, "front_untried", {"url": url})
        return
    if front.fault:
        key = {
            "REDIRECT": "front_redirects",
            "OTHER": "front_other",
            "OTHER_STORE": "front_other_store",
            "OTHER_PATH": "front_other_path",
        }.get(front.fault, "front_" + CERTIFICATES.get(front.fault, "certificate_refused"))
        yield Finding("front", Level.BROKEN, key, {
            "url": url, "status": front.status, "location": readable(front.location),
            "code": front.fault,
        })  # fmt: skip
        return
    found = list(_of_proxies(front, facts.settings))
    yield from found
    if not found:
        yield Finding("front", Level.GOOD, "front_good", {"url": url})


def _of_proxies(front: FrontReport, settings: Settings) -> Iterator[Finding]:
    """What is not as it should be although we have answered."""
    if front.is_buffered:
        yield Finding("front", Level.ATTENTION, "front_buffers")
    if front.is_too_large:
        # A request is somewhat larger than the file in it.
        values = {"megabytes": settings.files.megabytes, "limit": settings.files.megabytes + 1}
        yield Finding("front", Level.ATTENTION, "front_too_large", values)
    if front.forwarded is not None and front.forwarded != settings.server.proxies:
        many = front.forwarded < settings.server.proxies
        values = {"found": front.forwarded, "setting": settings.server.proxies}
        key = "proxies_many" if many else "proxies_few"
        yield Finding("front", Level.ATTENTION, key, values)
