"""What the chat page asks at `/ajax`."""

from flask import Response, abort, request
from flask.typing import ResponseReturnValue

from portal import forms
from portal.forms import Form
from web.asking import MAX_BODY_BYTES, Problem, embedding_site, posted_form, services
from web.bubbles import HISTORY
from web.conversation import delete_conversation
from web.files import upload_file, visitors_file
from web.history import last_messages
from web.itself import itself
from web.messages import retry_message, send_message
from web.probe import probe
from web.saving import save_conversation
from web.seen import saw_foreign_site
from web.stream import chat_stream
from web.submission import message_id
from web.visitor import check_origin, current_visitor, forget, identify, renew


def ajax() -> ResponseReturnValue:
    """What the chat page asks: its history, what is new, or to send a message."""
    here = itself(request)
    if here.method != "POST":
        match here.args.get("type"):
            case "chat_stream":
                return chat_stream()
            case "file":
                return visitors_file(here.args.get("key", ""))
            case "site":
                return whether_site_is_listed()
        abort(405)
    if here.args.get("type") == "probe":
        return probe()
    check_origin()
    form = chat_form()
    action = {
        "chat_history": chat_history,
        "send_message": send_message,
        "retry_message": retry_message,
        "upload_file": upload_file,
        "save_conversation": save_conversation,
        "delete_conversation": delete_conversation,
        "identify": identify,
        "forget": forget,
    }.get(str(form.get("type")))
    if action is None:
        raise Problem("errors.unknown_type", 400)
    return action(form)


def whether_site_is_listed() -> Response:
    """Whether the site that asks may embed the chat: its page imports it as a module.

    A browser tells a page nothing of a frame that it does not show, and a site's policy may allow
    nothing but scripts of ours. So `static/panel.js` learns what to tell the visitor.
    """
    asks = request.headers.get("Origin", "")
    is_listed = asks in ("", services().settings.origin) or bool(embedding_site())
    if not is_listed:
        saw_foreign_site(asks)
    answer = Response(f"export default {str(is_listed).lower()}", mimetype="text/javascript")
    answer.headers["Access-Control-Allow-Origin"] = "*"
    return answer


def chat_history(form: Form) -> ResponseReturnValue:
    """The messages of the visitor who asks, as an HTML fragment, oldest first."""
    before = message_id(form, "before")
    limit = min(forms.number_of(form, "limit"), HISTORY) if form.get("limit") else HISTORY
    visitor = current_visitor()
    renew(visitor)
    history = last_messages(visitor, before, limit)
    answer = Response(history.html, mimetype="text/html")
    answer.headers["X-Chat-Messages"] = history.count  # by which the page knows that it has all
    return answer


def chat_form() -> Form:
    """The posted fields. Only an upload may be larger than MAX_BODY_BYTES."""
    here, rules = itself(request), services().settings.files
    length = here.content_length or 0  # without Content-Length the limit stays as it is
    if rules.enabled and length and here.mimetype == "multipart/form-data":
        here.max_content_length = rules.largest_bytes + MAX_BODY_BYTES
        if length > here.max_content_length:
            raise Problem("errors.file_large", 413, megabytes=rules.megabytes)
    form = posted_form()
    if form.get("type") != "upload_file" and length > MAX_BODY_BYTES:
        raise Problem("errors.too_large", 413)
    return form
