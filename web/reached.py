"""Notes that a request came from outside at the address that `public_url` names."""

from urllib.parse import urlsplit

from flask import request

from operations.reached import Who
from store.records import Reached
from web.asking import services


def portal_reached_us() -> None:
    """To be called for an event that is proved the portal's.

    Behind a proxy that does not pass the Host nothing tells where the portal has posted it.
    """
    forwarded_host = request.headers.get("X-Forwarded-Host", "").partition(",")[0].strip()
    host = urlsplit(services().settings.public_url).netloc
    if host in (request.host.lower(), forwarded_host.lower()):
        _note("portal")


def visitor_reached_us() -> None:
    """To be called for a request of our own page; its browser says where it sees us."""
    headers, origin = request.headers, services().settings.origin
    if headers.get("Sec-Fetch-Site") == "same-origin" and headers.get("Origin") == origin:
        _note("visitors")


def _note(who: Who) -> None:
    url, now = services().settings.public_url, services().store.now()
    services().sightings.reached.saw(who, Reached(url, now, forwarded_entries()))


def forwarded_entries() -> int:
    """How many addresses the proxies in front have named, with what the client has claimed."""
    entries = request.headers.get("X-Forwarded-For")  # of several headers the server makes one
    return sum(bool(entry.strip()) for entry in entries.split(",")) if entries else 0
