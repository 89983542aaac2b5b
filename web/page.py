"""The chat page, which works without JavaScript too."""

import secrets
from typing import Any

from flask import g, redirect, request, url_for
from flask import render_template as render
from flask.typing import ResponseReturnValue

from bbcode import stored_html
from texts import all_texts, text
from web.asking import asked_language, language, services
from web.bubbles import HISTORY, chat_texts, chat_title
from web.history import last_messages
from web.seen import foreign_frame, saw_foreign_site
from web.submission import has_consented, message_id
from web.theme import theme_css, themes
from web.visitor import current_visitor, renew

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
) -> str:
    """The page with the last messages, or with those before the message `before`.

    Raises TooOften, unless it comes without history.
    """
    # In the loader's frame we do not know the visitor yet: static/embed.js asks for the history.
    embed = request.method == "GET" and "embed" in request.args
    settings = services().chat
    visitor = None if embed else current_visitor()
    history = last_messages(visitor if with_history else None, before, HISTORY)
    return render(
        "index.html",
        texts=chat_texts(),
        script_texts=all_texts(language())["chat"],
        lang=language(),
        title=chat_title(),
        name=name or (visitor.chat.name if visitor and visitor.chat else ""),
        messages_html=stored_html(history.html.decode()),
        older=history.before,
        before=before,
        error=error,
        message=message,
        limit=settings.message_limit,
        files=file_rules(),
        sites=[services().settings.origin, *settings.sites] if embed else None,
        settings=settings,
        ask_consent=settings.consent and not has_consented(visitor),
        deleting=deleting,
        asked_language=asked_language(),
        theme=page_theme(settings.accent),
    )


def page_theme(accent: str) -> dict[str, str] | None:
    """The page's colours if `chat.accent` is set; the nonce allows the page this inline style."""
    if not accent:
        return None
    g.style_nonce = secrets.token_urlsafe(16)
    light, dark = themes(accent)
    css = theme_css(accent)
    return {"css": css, "nonce": g.style_nonce, "light": light["bar"], "dark": dark["bar"]}


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
