"""The chat page, which works without JavaScript too.

What is the same for many visitors is rendered once: the page has holes for what is a visitor's own.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from flask import current_app, g, redirect, request, url_for
from flask import render_template as render
from flask.typing import ResponseReturnValue
from markupsafe import Markup, escape

from texts import all_texts, text
from web.asking import asked_language, language, services
from web.bubbles import HISTORY, chat_texts, chat_title
from web.history import last_messages
from web.itself import itself
from web.kept import Kept
from web.seen import foreign_frame, saw_foreign_site
from web.submission import has_consented, message_id
from web.theme import theme_css, themes
from web.visitor import current_visitor, renew

KEPT_BYTES = 2 << 20  # of pages with holes: about 15 KB each
# A name that nobody outside can know, so that no text can pretend to be a hole.
HOLE = f"hole{secrets.token_hex(16)}"
HOLES = re.compile(f"({HOLE}[a-z]+)".encode())
PLAIN_FORMS = ("send_message", "upload_file", "save_conversation", "delete_conversation")


def index() -> ResponseReturnValue:
    """The chat page, with the conversation so far, so that it works without JavaScript."""
    if site := foreign_frame():
        saw_foreign_site(site)
        return refusing_page(), 403
    renew(None)
    return chat_page(before=message_id(request.args, "before"))


def refusing_page() -> str:
    """What a visitor sees in the frame of a site that may not show the chat.

    Anybody may frame this page, because it does nothing.
    """
    g.frame_ancestors = "*"
    return render(
        "refusing.html",
        lang=language(),
        title=text(language(), "chat.site_unknown"),
        link=text(language(), "page.open_own"),
    )


def chat_page(
    error: str | None = None,
    message: str = "",
    name: str = "",
    before: int | None = None,
    deleting: bool = False,
    with_history: bool = True,
) -> bytes:
    """The page with the last messages, or with those before the message `before`.

    Raises TooOften, unless it comes without history.
    """
    # In the loader's frame we do not know the visitor yet: static/embed.js asks for the history.
    here = itself(request)
    embed = here.method == "GET" and "embed" in here.args
    chat = services().chat
    visitor = None if embed else current_visitor()
    history = last_messages(visitor if with_history else None, before, HISTORY)
    name = name or (visitor.chat.name if visitor and visitor.chat else "")
    own = {
        "name": str(escape(name)).encode(),
        "older": str(history.before or 1).encode(),
        "messages": history.html,
        "nonce": style_nonce().encode() if chat.accent else b"",
    }
    look = Look(
        language=language(),
        asked_language=asked_language(),
        title=chat_title(),
        greeting=chat.greeting,
        consent=(chat.consent, chat.consent_link),
        ask_consent=bool(chat.consent) and not has_consented(visitor),
        accent=chat.accent,
        limit=chat.message_limit,
        sites=(services().settings.origin, *chat.sites) if embed else None,
        has_name=bool(name),
        has_messages=bool(history.count),
        has_older=history.before is not None,
        has_newer=before is not None,
        deleting=deleting,
    )
    return filled(page_with_holes(look, error, message), own)


class Look(NamedTuple):
    """All that the page depends on besides what fills its holes, an error and a text typed."""

    language: str
    asked_language: str | None
    title: str
    greeting: str
    consent: tuple[str, str]  # what is asked for, and the address that explains it
    ask_consent: bool
    accent: str
    limit: int
    sites: tuple[str, ...] | None  # in the loader's frame: those that may embed it
    has_name: bool
    has_messages: bool
    has_older: bool
    has_newer: bool
    deleting: bool


def page_with_holes(look: Look, error: str | None, message: str) -> list[bytes]:
    """The page's pieces, every second one a hole; kept, unless it is about one visitor's input."""
    kept: Kept[Look, list[bytes]] = Kept.of_app(itself(current_app), "pages", KEPT_BYTES)
    pieces = None if error or message else kept.get(look)
    if pieces is None:
        html = render(
            "index.html",
            look=look,
            texts=chat_texts(),
            script_texts=all_texts(look.language)["chat"],
            files=file_rules(),
            theme=page_theme(look.accent),
            error=error,
            message=message,
            name=hole("name") if look.has_name else "",
            older=hole("older"),
            messages_html=hole("messages"),
        )
        pieces = HOLES.split(html.encode())
        if not (error or message):
            kept.put(look, pieces, len(html.encode()))
    return pieces


def hole(name: str) -> Markup:
    return Markup(HOLE + name)  # noqa: S704


def filled(pieces: list[bytes], own: Mapping[str, bytes]) -> bytes:
    holes = {f"{HOLE}{name}".encode(): value for name, value in own.items()}
    return b"".join(holes.get(piece, piece) for piece in pieces)


def style_nonce() -> str:
    """A new one for each answer: it allows the page the inline style of its colours."""
    nonce = g.style_nonce = secrets.token_urlsafe(16)
    return nonce


def page_theme(accent: str) -> dict[str, str] | None:
    """The page's colours if `chat.accent` is set."""
    if not accent:
        return None
    light, dark = themes(accent)
    css = theme_css(accent)
    return {"css": css, "nonce": hole("nonce"), "light": light["bar"], "dark": dark["bar"]}


def file_rules() -> dict[str, Any] | None:
    """What the page says and checks before an upload; None if uploads are switched off."""
    rules = services().settings.files
    if not rules.enabled:
        return None
    values = {"megabytes": rules.megabytes, "types": ", ".join(rules.types)}
    accept = ",".join(f".{ending}" for ending in rules.types)
    return {
        # Where HEIC is not asked for, an iPhone makes a JPEG of it, which everybody can see.
        "accept": ",".join(part for part in accept.split(",") if part not in (".heic", ".heif")),
        "limits": text(language(), "page.file_limits", **values),
        "rules": {  # for the script
            "accept": accept,
            "bytes": rules.largest_bytes,
            "large": text(language(), "errors.file_large", **values),
            "type": text(language(), "errors.file_type", **values),
        },
    }


def back_to_page() -> ResponseReturnValue:
    return redirect(url_for("index", lang=asked_language()), 303)
