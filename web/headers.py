"""Security headers: what may run in our pages, and who may frame them."""

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from flask import Response, g, request

from addresses import origin_of, policy_source
from portal.place import portal_address
from settings import ChatSettings, Settings
from store.database import StoreUnavailable
from web.asking import services
from web.itself import itself

# Conversations go through as they are: what stands between rewrites e-mail addresses in pages.
UNCHANGED = "no-store, no-transform"
ADDED = "sitechat.headers"  # where in a request's environment `Secured` finds its answer's headers


def secure(response: Response) -> Response:
    """Choose security headers; only the portal and the sites of the settings may frame us."""
    keep_here(response)
    settings, here, kept = services().settings, itself(request), itself(g)
    scripts, styles, ancestors = "'self'", "'self'", kept.get("frame_ancestors", "")
    if here.endpoint in ("install", "handler"):
        portal = address_of_portal()
        framed_by = policy_source(origin_of(portal)) if portal else "'self'"
        ancestors = ancestors or framed_by
        if "nonce" in kept:
            origin = kept.script_origin
            scripts = f"'nonce-{kept.nonce}'" + (f" {origin}" if origin else "")
    elif "style_nonce" in kept:
        styles += f" 'nonce-{kept.style_nonce}'"
    if here.endpoint == "index" and "embed" in here.args:
        response.headers.update(isolation_headers())
    headers = strict_headers(settings, services().chat, scripts, styles, ancestors)
    headers["Cache-Control"] = UNCHANGED
    here.environ[ADDED] = headers
    return response


class Secured:
    """The WSGI layer that adds what `secure` has chosen, except what the answer has already.

    Flask would check each header twice, and copy it, which takes 3 µs for each.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            there = {name.lower() for name, _ in headers}
            added = environ.get(ADDED, {}).items()
            new = [one for one in added if one[0].lower() not in there]
            return start_response(status, [*headers, *new], *error)

        return self._app(environ, start)


def isolation_headers() -> dict[str, str]:
    """What lets a page with a Cross-Origin-Embedder-Policy show our frame: one of the frame's own.

    `credentialless` lets operators' pictures come from the portal, without cookies. The loader asks
    for `require-corp` from browsers that do not know `credentialless`, on such pages only: there
    these pictures become links.
    """
    embedder = "require-corp" if "isolated" in request.args else "credentialless"
    return {
        "Cross-Origin-Embedder-Policy": embedder,
        "Cross-Origin-Resource-Policy": "cross-origin",
    }


def address_of_portal() -> str:
    """Where the portal lives that may frame its pages."""
    settings = services().settings.bitrix24
    try:
        return portal_address(settings, services().store)
    except StoreUnavailable:
        return settings.portal


def keep_here(response: Response) -> None:
    """Let a redirect name a path alone: the framework's own name the host that a request names."""
    if response.location:
        leads = urlsplit(response.location)
        path = f"/{leads.path.lstrip('/')}"
        response.location = urlunsplit(("", "", path, leads.query, ""))


def strict_headers(
    settings: Settings,
    chat: ChatSettings,
    scripts: str = "'self'",
    styles: str = "'self'",
    ancestors: str = "",
) -> dict[str, str]:
    """The headers of every answer; by default only we and `chat.sites` may frame it."""
    ancestors = ancestors or " ".join(["'self'", *chat.sites])
    # Operators' files come from the portal, which may use plain HTTP on this very machine.
    portal = settings.bitrix24.portal and policy_source(origin_of(settings.bitrix24.portal))
    headers = {
        "Content-Security-Policy": f"default-src 'none'; script-src {scripts}; style-src {styles};"
        f" img-src 'self' https: data: blob: {portal}; media-src 'self' https: {portal};"
        " connect-src 'self'; form-action 'self';"
        f" base-uri 'none'; frame-ancestors {ancestors}",
        "X-Content-Type-Options": "nosniff",
        "X-Chat-Server": "sitechat",  # by which the page tells our answers from others' (api.js)
        "Referrer-Policy": "strict-origin-when-cross-origin",
    }
    if settings.public_url.startswith("https:"):
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return headers
