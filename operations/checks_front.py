"""Checks of what stands in front of us: the certificate, the prefix, and the proxies."""

from collections.abc import Iterator

from addresses import readable
from operations.facts import Facts
from operations.findings import Finding, Level
from operations.front import FrontReport
from portal.install_error import CERTIFICATES
from rest.own_address import NO_ANSWER, NOT_REACHED
from settings import Settings

UNTRIED = {NOT_REACHED, NO_ANSWER}  # a server behind NAT often cannot reach its own address


def check_front(facts: Facts) -> Iterator[Finding]:
    """Whether we answer at our own address, as far as that can be tried from here."""
    front, url = facts.front, readable(facts.settings.public_url)
    if front is None:
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
        values = {"megabytes": settings.files.megabytes}
        yield Finding("front", Level.ATTENTION, "front_too_large", values)
    if front.forwarded is not None and front.forwarded != settings.server.proxies:
        many = front.forwarded < settings.server.proxies
        values = {"found": front.forwarded, "setting": settings.server.proxies}
        key = "proxies_many" if many else "proxies_few"
        yield Finding("front", Level.ATTENTION, key, values)
