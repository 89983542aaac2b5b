"""Notes what a request tells of how we are reached, for the administrator's page.

A browser names the address of the page that asks in headers that no page can change. Whoever is no
browser can write anything there, so nothing is believed of it (operations/sightings.py); except of
a request that a token of the portal's administrator has proved.
"""

from urllib.parse import urlsplit

from flask import request

from addresses import is_loopback, origin_of
from operations.sightings import valid_origin
from web.asking import address, services
from web.itself import itself


def saw_portal() -> None:
    """Note by which address the portal's administrator has opened our page.

    To be called for a request with a token that is proved an administrator's, and no other.
    """
    settings = services().settings
    named = [request.host, request.headers.get("X-Forwarded-Host", "").partition(",")[0].strip()]
    # A proxy that does not pass the visitor's Host names its own way to us instead.
    hosts = [
        host for host in named if host and not is_loopback(urlsplit(f"//{host}").hostname or "")
    ]
    public = urlsplit(settings.public_url)
    if hosts:
        proto = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
        scheme = public.scheme if hosts[0] == public.netloc else proto or "https"
        services().sightings.saw_administrator(f"{scheme}://{hosts[0]}")
        services().watch.forget()  # the verdict may be another one now


def saw_visitor() -> None:
    """Note by which address visitors see our own page, as their browser says it."""
    if request.headers.get("Sec-Fetch-Site") == "same-origin":
        origin, right = request.headers.get("Origin", ""), services().settings.origin
        services().sightings.saw_visitor(origin, address(), right)


def saw_foreign_site(origin: str) -> None:
    """Note the site of a page that wants to show the chat and may not, if a browser says so."""
    if "Sec-Fetch-Site" in request.headers or request.args.get("type") == "site":
        services().sightings.saw_site(origin, address())


def foreign_frame() -> str:
    """The site that shows our page in a frame and may not, as its browser names it; else "".

    A browser does not show such a page, and tells its visitor nothing that they would understand.
    """
    headers = itself(request).headers
    is_frame = headers.get("Sec-Fetch-Dest") in ("iframe", "frame", "embed", "object")
    if not is_frame or headers.get("Sec-Fetch-Site") not in ("cross-site", "same-site"):
        return ""
    site = valid_origin(origin_of(headers.get("Referer", "")))
    return "" if site == services().settings.origin or services().chat.lists(site) else site
