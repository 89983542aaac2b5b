"""Notes what a request tells of how we are reached, for the administrator's page.

A browser names the address of the page that asks in headers that no page can change. Whoever is no
browser can write anything there, so nothing is believed of it (operations/sightings.py).
"""

from urllib.parse import urlsplit

from flask import request

from addresses import is_loopback, origin_of
from operations.sightings import valid_origin
from web.asking import address, services


def saw_portal() -> None:
    """Note by which address the portal has reached us, after a request that is proved its own."""
    settings = services().settings
    named = [request.host, request.headers.get("X-Forwarded-Host", "").partition(",")[0].strip()]
    # A proxy that does not pass the visitor's Host names its own way to us instead.
    hosts = [host for host in named if host and not is_loopback(urlsplit(f"//{host}").hostname or "")]
    public = urlsplit(settings.public_url)
    if hosts:
        proto = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
        scheme = public.scheme if hosts[0] == public.netloc else proto or "https"
        services().sightings.saw_address("portal", f"{scheme}://{hosts[0]}")


def saw_visitor() -> None:
    """Note by which address visitors see our own page, as their browser says it."""
    if request.headers.get("Sec-Fetch-Site") == "same-origin":
        services().sightings.saw_address("visitors", request.headers.get("Origin", ""))


def saw_foreign_site(origin: str) -> None:
    """Note the site of a page that wants to show the chat and may not."""
    services().sightings.saw_site(origin, address())


def framing_site() -> str:
    """The other site whose page shows ours in a frame, as far as the browser says so; else ""."""
    if request.headers.get("Sec-Fetch-Dest") not in ("iframe", "frame", "embed", "object"):
        return ""
    site = valid_origin(origin_of(request.headers.get("Referer", "")))
    return "" if site == services().settings.origin else site
