"""The visitor's routes: the chat page, and what it asks at `/ajax`.

Every door checks first, stores second and works later. SQL, REST parameters and markup rules live
in the other modules.
"""

import os
import re
import secrets
import time
import uuid
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flask import (
    Response,
    abort,
    current_app,
    g,
    redirect,
    request,
    send_file,
    session,
    url_for,
)
from flask import render_template as render
from flask.typing import ResponseReturnValue
from markupsafe import Markup, escape
from werkzeug.datastructures import FileStorage

from bbcode import stored_html, to_html
from files import ending, files_html, media_type, safe_name
from portal import forms
from portal.forms import Form, text_of
from store.records import Chat, File, Limits, Message, TooMany, VisitorMessage
from texts import Texts, all_texts, text
from theme import theme_css, themes
from visitor import (
    EMAIL,
    Visitor,
    begin_session,
    check_origin,
    current_visitor,
    forget,
    identify,
    remember,
    renew,
)
from web import (
    Problem,
    address,
    asked_language,
    language,
    posted_form,
    services,
)

MAX_BODY_BYTES = 1 << 20
HISTORY = 50  # messages of one answer
SAVED_AT_ONCE = 500
SAVED_PICTURES_BYTES = 32 << 20  # in one saved conversation; pictures beyond stay where they are
VOTE = re.compile(r"\s*[01](\s|$)")  # what the portal takes for one when it has asked
NAME_LIMIT = 100
PLAIN_FORMS = ("send_message", "upload_file", "save_conversation", "delete_conversation")
PHONE = re.compile(r"\+?[0-9 ()./-]{3,30}")


def index() -> ResponseReturnValue:
    """The chat page, with the conversation so far, so that it works without JavaScript."""
    renew(None)
    return chat_page(before=message_id(request.args, "before"))


def chat_page(
    error: str | None = None,
    message: str = "",
    name: str = "",
    before: int | None = None,
    deleting: bool = False,
) -> str:
    """The page with the last messages, or with those before the message `before`."""
    # Framed by the loader, it cannot know its visitor yet: static/embed.js learns of it.
    embed = request.method == "GET" and "embed" in request.args
    settings = services().settings.chat
    visitor = None if embed else current_visitor()
    messages = (
        services().store.messages.latest(visitor.chat_id, before, HISTORY + 1) if visitor else []
    )
    shown_messages = messages[-HISTORY:]
    return render(
        "index.html",
        texts=chat_texts(),
        script_texts=all_texts(language())["chat"],
        lang=language(),
        title=settings.title,
        name=name or (visitor.chat.name if visitor and visitor.chat else ""),
        messages_html=bubbles(shown_messages),
        older=shown_messages[0].id if len(messages) > HISTORY else None,
        before=before,
        error=error,
        message=message,
        limit=settings.message_limit,
        files=told_file_rules(),
        sites=[services().settings.origin, *settings.sites] if embed else None,
        settings=settings,
        ask_consent=settings.consent and not has_consented(visitor),
        deleting=deleting,
        asked_language=asked_language(),
        theme=page_theme(settings.accent),
    )


def page_theme(accent: str) -> dict[str, str] | None:
    """The page's colours where the company has one; the style's nonce is its leave to stand."""
    if not accent:
        return None
    g.style_nonce = secrets.token_urlsafe(16)
    light, dark = themes(accent)
    css = theme_css(accent)
    return {"css": css, "nonce": g.style_nonce, "light": light["bar"], "dark": dark["bar"]}


def ajax() -> ResponseReturnValue:
    """What the chat page asks: its history, what is new, or to send a message."""
    if request.method != "POST":
        match request.args.get("type"):
            case "chat_stream":
                return chat_stream()
            case "file":
                return visitors_file(request.args.get("key", ""))
        abort(405)
    check_origin()
    form = chat_form()
    asked = {
        "chat_history": chat_history,
        "send_message": send_message,
        "upload_file": upload_file,
        "save_conversation": save_conversation,
        "delete_conversation": delete_conversation,
        "identify": identify,
        "forget": forget,
    }.get(str(form.get("type")))
    if asked is None:
        raise Problem("errors.unknown_type", 400)
    return asked(form)


def chat_history(form: Form) -> ResponseReturnValue:
    """The visitor's messages as an HTML fragment, oldest first; nobody else's, whoever asks."""
    before = message_id(form, "before")
    limit = min(forms.number_of(form, "limit"), HISTORY) if form.get("limit") else HISTORY
    visitor = current_visitor()
    renew(visitor)
    messages = services().store.messages.latest(visitor.chat_id, before, limit) if visitor else []
    return Response(bubbles(messages), mimetype="text/html")


def chat_stream() -> ResponseReturnValue:
    """What changes in the visitor's chat, as Server-Sent Events, each a message's HTML.

    `Last-Event-ID` is the revision after which to begin. With `once` the answer ends with what is
    there: so the same can be asked for where a proxy holds an endless answer back. A header names
    the chat: another than before means that that one was deleted.
    """
    check_origin()
    visitor = current_visitor()
    if visitor is None:
        return "", 204
    last_id = request.headers.get("Last-Event-ID", "")
    after = int(last_id) if re.fullmatch("[0-9]{1,18}", last_id) else None
    if request.args.get("once"):
        changes: Iterator[Message | None] = iter(
            services().store.messages.changed_after(visitor.chat_id, after or 0, HISTORY)
        )
    else:
        changes = services().live.follow(visitor.chat_id, after)
    response = Response(event_stream(changes), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store, no-transform"
    response.headers["X-Accel-Buffering"] = "no"
    response.headers["X-Chat-Id"] = visitor.chat_id
    return response


def event_stream(changes: Iterator[Message | None]) -> Iterator[str]:
    """Messages as Server-Sent Events, None as a heartbeat."""
    template, texts = current_app.jinja_env.get_template("messages.html"), chat_texts()
    store = services().store

    def event(message: Message | None) -> str:
        if message is None:
            return ":\n\n"
        before: list[Message] = []
        if message.author == "visitor" and VOTE.match(message.text):  # perhaps an answer
            before = store.messages.latest(message.chat_id, message.id, HISTORY)
        html = template.render(messages=told([*before, message], texts)[-1:], texts=texts)
        data = "".join(f"data: {line}\n" for line in html.split("\n"))
        return f"id: {message.revision}\n{data}\n"

    return (event(message) for message in changes)


def message_id(form: Mapping[str, Any], key: str) -> int | None:
    return forms.number_of(dict(form), key) if form.get(key) else None


def bubbles(messages: list[Message]) -> Markup:
    texts = chat_texts()
    return stored_html(render("messages.html", messages=told(messages, texts), texts=texts))


def told(messages: list[Message], texts: Texts) -> list[dict[str, Any]]:
    """As the template takes them. The first `1` or `0` after the portal asked for a vote is one."""
    asked, found = False, []
    for one in messages:
        asked = asked or one.asks_vote
        voted = asked and one.author == "visitor" and VOTE.match(one.text) is not None
        asked = asked and not voted
        found.append(shown(one, texts) | {"voted": voted})
    return found


def shown(message: Message, texts: Texts) -> dict[str, Any]:
    """A message as the fragment's template takes it."""
    return {
        **vars(message),
        "html": stored_html(message.html),
        "sent_at": datetime.fromtimestamp(message.sent_at, UTC),
        "initials": initials(message.name or texts["operator"]),
    }


def initials(name: str) -> str:
    """The first letters of the first and the last word: OP of Olga Petrova."""
    words = re.findall(r"\w+", name)
    return "".join(word[0] for word in words[:1] + words[1:][-1:]).upper()


def send_message(form: Form) -> ResponseReturnValue:
    """Accept one message. It is stored, and queued for Bitrix24, before we answer."""
    chat, message, client_id = read_message(form)
    written = VisitorMessage(chat, message, to_html(message), client_id)
    stored = services().store.messages.add_from_visitor(written, limits(), time.time())
    return accepted(chat, stored, form)


def accepted(chat: Chat, stored: Message, form: Form) -> ResponseReturnValue:
    services().sender.wake()
    if wants_page():
        return back_to_page()
    return {
        "chat": chat.id,
        "post": form,
        "result": {"id": stored.id, "state": stored.state},
    }


def upload_file(form: Form) -> ResponseReturnValue:
    """Accept one file as a message. Both are stored, and queued, before we answer."""
    upload = read_file()
    chat, message, client_id = read_message(form, with_file=True)
    file = keep_file(upload, chat)
    html = to_html(message) if message else ""
    written = VisitorMessage(chat, message, html, client_id, file, files_html((file,)))
    try:
        stored = services().store.messages.add_from_visitor(written, limits(), time.time())
    except TooMany:
        services().files.remove(chat.id, file.key)
        raise
    if file.key not in [one.key for one in stored.files]:
        services().files.remove(chat.id, file.key)  # the message was here before, with its file
    return accepted(chat, stored, form)


def keep_file(upload: FileStorage, chat: Chat) -> File:
    name = safe_name(upload.filename or "")
    size = upload.stream.seek(0, os.SEEK_END)
    upload.stream.seek(0)
    media = media_type(name, upload.stream.read(16))
    kind = media.partition("/")[0]
    kind = kind if kind in ("image", "video", "audio") else "file"
    key = services().files.keep(upload.stream, chat.id)
    address = f"{services().settings.public_url}/ajax?type=file&key={key}"
    return File(name, kind, address, size, key, media)


def read_file() -> FileStorage:
    """The file of an upload, checked by the rules of the settings."""
    rules = services().settings.files
    if not rules.enabled:
        raise Problem("errors.files_off", 403)
    file = request.files.get("file")
    if file is None or not file.filename:
        raise Problem("errors.file_missing", 400)
    if ending(safe_name(file.filename)) not in rules.types:
        raise Problem("errors.file_type", 415, types=", ".join(rules.types))
    size = file.stream.seek(0, os.SEEK_END)
    if size > rules.largest_bytes:
        raise Problem("errors.file_large", 413, megabytes=rules.megabytes)
    if size == 0:
        raise Problem("errors.file_empty", 400)
    return file


def chat_form() -> Form:
    """The posted fields. Uploads alone may be larger than all other requests."""
    rules = services().settings.files
    length = request.content_length or 0  # what does not say how long it is, is short
    if rules.enabled and length and request.mimetype == "multipart/form-data":
        request.max_content_length = rules.largest_bytes + MAX_BODY_BYTES
        if length > request.max_content_length:
            raise Problem("errors.file_large", 413, megabytes=rules.megabytes)
    form = posted_form()
    if form.get("type") != "upload_file" and length > MAX_BODY_BYTES:
        raise Problem("errors.too_large", 413)
    return form


def told_file_rules() -> dict[str, Any] | None:
    """What the page says and checks before an upload; None where no files are taken."""
    rules = services().settings.files
    if not rules.enabled:
        return None
    values = {"megabytes": rules.megabytes, "types": ", ".join(rules.types)}
    accept = ",".join(f".{one}" for one in rules.types)
    return {
        "accept": accept,
        "limits": text(language(), "page.file_limits", **values),
        "rules": {  # for the script
            "accept": accept,
            "bytes": rules.largest_bytes,
            "large": text(language(), "errors.file_large", **values),
            "type": text(language(), "errors.file_type", **values),
        },
    }


def visitors_file(key: str) -> ResponseReturnValue:
    """A visitor's file, for the portal and everybody else who was given its address."""
    message = services().store.messages.find_with_file(key)
    file = next(iter(message.files), None) if message else None
    if message is None or file is None:
        abort(404)
    try:
        answer = send_file(
            services().files.path(message.chat_id, key),
            mimetype=file.media_type,
            as_attachment=file.type != "image",
            download_name=file.name,
        )
    except FileNotFoundError:
        abort(404)
    answer.headers["Cache-Control"] = "private, max-age=86400"
    answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    # Whoever has the address may show it: a saved conversation does.
    answer.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return answer


def back_to_page() -> ResponseReturnValue:
    return redirect(url_for("index", lang=asked_language()), 303)


def save_conversation(_: Form) -> ResponseReturnValue:
    """The whole conversation as a file that opens without us."""
    visitor = current_visitor()
    messages = whole_history(visitor.chat_id) if visitor else []
    if not messages:
        raise Problem("errors.no_conversation", 404)
    texts = chat_texts()
    html = render(
        "saved.html",
        messages=told(messages, texts),
        texts=texts,
        lang=language(),
        title=services().settings.chat.title,
    )
    response = Response(with_pictures(html, messages), mimetype="text/html")
    name = f"conversation-{datetime.now(UTC):%Y-%m-%d}.html"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def with_pictures(html: str, messages: list[Message]) -> str:
    """A saved conversation with the visitor's own pictures in it; of many, the first."""
    own = {
        str(escape(file.link)): (services().files.path(one.chat_id, file.key), file)
        for one in messages
        for file in one.files
        if file.key and file.media_type.startswith("image/")
    }
    left = SAVED_PICTURES_BYTES

    def within(source: re.Match[str]) -> str:
        nonlocal left
        path, file = own.get(source[1], (None, File()))
        left -= file.size or 0
        if path is None or left < 0 or not path.exists():
            return source[0]
        return f'src="data:{file.media_type};base64,{b64encode(path.read_bytes()).decode()}"'

    return re.sub(r'src="([^"]*)"', within, html)


def whole_history(chat_id: str) -> list[Message]:
    pages: list[list[Message]] = []
    while page := services().store.messages.latest(
        chat_id, pages[-1][0].id if pages else None, SAVED_AT_ONCE
    ):
        pages.append(page)
    return [message for page in reversed(pages) for message in page]


def delete_conversation(form: Form) -> ResponseReturnValue:
    """Remove the conversation for good; a plain form without `sure` is asked first."""
    visitor = current_visitor()
    if wants_page() and form.get("sure") != "yes":
        return chat_page(deleting=visitor is not None)
    for part in services().store.chats.delete(visitor.chat_id, time.time()) if visitor else ():
        services().files.remove_chat(part)
    session.clear()
    if wants_page():
        return back_to_page()
    chat_id = visitor.chat_id if visitor else None
    return {"chat": chat_id, "post": form, "result": {"deleted": visitor is not None}}


def limits() -> Limits:
    limit = services().settings.limits
    return Limits(address(), limit.visitor_per_minute, limit.address_per_minute)


def read_message(form: Form, with_file: bool = False) -> tuple[Chat, str, str | None]:
    """The message of a form and the chat it belongs to, made where there is none yet."""
    limit = services().settings.chat.message_limit
    message = text_of(form, "message", "").replace("\r\n", "\n")
    if not message.strip() and not with_file:
        raise Problem("errors.message_missing", 400)
    if len(message) > limit:
        raise Problem("errors.message_long", 400, length=len(message), limit=limit)
    name = text_of(form, "name", "").strip()
    if len(name) > NAME_LIMIT:
        raise Problem("errors.name_long", 400, limit=NAME_LIMIT)
    client_id = text_of(form, "client_id", "")
    if client_id:
        client_id = canonical_uuid(client_id)
    email = matched(text_of(form, "email", ""), EMAIL, "errors.email")
    phone = matched(text_of(form, "phone", ""), PHONE, "errors.phone")
    now = time.time()
    visitor = current_visitor()
    consent = consent_of(form, visitor)
    visitor = visitor or begin_session(client_id)
    remember(visitor)
    chat = visitor.chat or Chat(
        visitor.chat_id, name, "", "", "", None, now, now, None, None, None, None
    )
    chat = replace(
        chat,
        name=name if "name" in form else chat.name,
        email=email or chat.email,
        phone=phone or chat.phone,
        page=page_of(form) or chat.page,
        consent=chat.consent or consent,
        consent_at=chat.consent_at or (now if consent else None),
    )
    return chat, message, client_id or None


def consent_of(form: Form, visitor: Visitor | None) -> str | None:
    """What the visitor agrees to with this message; None where there is nothing to ask."""
    settings = services().settings.chat
    if not settings.consent or has_consented(visitor):
        return None
    if form.get("consent") != "yes":
        raise Problem("errors.consent_missing", 400)
    return f"{settings.consent} {settings.consent_link}".strip()


def has_consented(visitor: Visitor | None) -> bool:
    return bool(visitor and visitor.chat and visitor.chat.consent)


def canonical_uuid(value: str) -> str:
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise Problem("errors.client_id", 400) from None


def matched(value: str, pattern: re.Pattern[str], fault: str) -> str:
    """The value, or a fault where it is there and wrong: the portal would refuse the message."""
    value = value.strip()
    if value and not pattern.fullmatch(value):
        raise Problem(fault, 400)
    return value


def page_of(form: Form) -> str:
    """The address of the page where the visitor writes, for the operator; "" when unknown."""
    page = text_of(form, "page", "") or request.referrer or ""
    return page if re.match(r"https?://", page) and len(page) <= 2000 else ""


def wants_page() -> bool:
    """Whether a plain HTML form asks, without our script."""
    best = request.accept_mimetypes.best_match(["application/json", "text/html"])
    return best == "text/html"


def chat_texts() -> Texts:
    """What the page says: what its scripts say, and what only the templates do."""
    texts = all_texts(language())
    return texts["chat"] | texts["page"]
