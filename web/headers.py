"""Security headers: what may run in our pages, and who may frame them."""

from urllib.parse import urlsplit, urlunsplit

from flask import Response, g, request

from settings import Settings, origin_of
from web.asking import services


def secure(response: Response) -> Response:
    """Add security headers; only the portal and the sites of the settings may frame our pages."""
    keep_here(response)
    settings = services().settings
    scripts, styles, ancestors = "'self'", "'self'", ""
    if request.endpoint in ("install", "handler"):
        portal = settings.bitrix24.portal
        ancestors = g.get("frame_ancestors") or (origin_of(portal) if portal else "'self'")
        if "nonce" in g:
            origin = g.script_origin
            scripts = f"'nonce-{g.nonce}'" + (f" {origin}" if origin else "")
    elif "style_nonce" in g:
        styles += f" 'nonce-{g.style_nonce}'"
    for name, value in strict_headers(settings, scripts, styles, ancestors).items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def keep_here(response: Response) -> None:
    """Let a redirect name a path alone: the framework's own name the host that a request names."""
    if response.location:
        leads = urlsplit(response.location)
        path = f"/{leads.path.lstrip('/')}"
        response.location = urlunsplit(("", "", path, leads.query, ""))


def strict_headers(
    settings: Settings, scripts: str = "'self'", styles: str = "'self'", ancestors: str = ""
) -> dict[str, str]:
    """The headers of every answer; by default only we and `chat.sites` may frame it."""
    ancestors = ancestors or " ".join(["'self'", *settings.chat.sites])
    # Operators' files come from the portal, which may use plain HTTP on this very machine.
    portal = origin_of(settings.bitrix24.portal) if settings.bitrix24.portal else ""
    headers = {
        "Content-Security-Policy": f"default-src 'none'; script-src {scripts}; style-src {styles};"
        f" img-src 'self' https: data: blob: {portal}; media-src 'self' https: {portal};"
        " connect-src 'self'; form-action 'self';"
        f" base-uri 'none'; frame-ancestors {ancestors}",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "strict-origin-when-cross-origin",
    }
    if settings.public_url.startswith("https:"):
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return headers
