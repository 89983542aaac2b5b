"""Bitrix24's door: events, the connector's settings page, and the installation.

What comes is decoded and checked by `events`, proved by `connector`, stored, and only then
answered: Bitrix24 posts nothing twice.
"""

import contextlib
import json
import logging
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime

from flask import Response, g, make_response, request
from flask import render_template as render
from flask.typing import ResponseReturnValue

from portal import events
from portal.connector import Claim
from portal.faults import Fault
from portal.forms import BadRequest, Form, number_of, text_of
from portal.inbox import operator_message
from rest.replies import Grant, expiry
from settings import origin_of
from store.database import StoreUnavailable
from store.records import TooMany
from texts import text
from web import address, any_form, language, note_refusal, services

log = logging.getLogger(__name__)


def handler() -> ResponseReturnValue:
    """What Bitrix24 posts: an event, the connector's settings page, or the application's page."""
    form = any_form()
    if "event" in form:
        return receive_event(form)
    if form.get("PLACEMENT") == "SETTING_CONNECTOR":
        return connect(form)
    if form.get("PLACEMENT") == "DEFAULT":
        name = services().settings.connector.name
        return portal_page("title_app", [admin_text("app_page", name=name)], done=True)
    if "PLACEMENT" in form:
        raise BadRequest("placement")
    raise BadRequest("missing", field="event / PLACEMENT")


def receive_event(form: Form) -> ResponseReturnValue:
    """Store what an event says. There is no second try, so it is stored before we answer."""
    event = events.read_event(form)
    g.event = event.name  # lost, if we fail
    try:
        genuine = services().proof.is_from_portal(event)
    except Fault as fault:
        return Response(admin_text(fault.key, **fault.values), fault.status, mimetype="text/plain")
    if not genuine:
        raise BadRequest("token", 403)
    action = EVENTS.get(event.name)
    if action is None:
        raise BadRequest("unknown_event")
    action(event)
    services().sender.wake()
    return Response("ok", mimetype="text/plain")


def note_loss(response: Response) -> Response:
    """What we answer so, the portal does not post again: it may have been an operator's answer."""
    if request.endpoint == "handler" and (
        response.status_code >= 500 or response.status_code == 429
    ):
        note_refusal("reasons.answered", status=response.status_code)
        if "event" in g:
            services().lost.set()
    return response


def is_ours(event: events.Event, key: str = "CONNECTOR") -> bool:
    """Whether the event is of our connector; another one of the same application is not."""
    connector = text_of(events.fields_of(event), key)
    return connector.lower() == services().settings.connector.id


def on_message_add(event: events.Event) -> None:
    data = events.fields_of(event)
    line = number_of(data, "LINE")
    if is_ours(event):
        added = [operator_message(one, line) for one in events.read_messages(data)]
        services().store.messages.add_from_operators(added, time.time())


def on_message_update(event: events.Event) -> None:
    data = events.fields_of(event)
    line = number_of(data, "LINE")
    if is_ours(event):
        for one in events.read_changed_messages(data, with_text=True):
            edited = operator_message(one, line)
            services().store.messages.edit(edited, time.time(), event.queued_at)


def on_message_delete(event: events.Event) -> None:
    data = events.fields_of(event)
    line = number_of(data, "LINE")
    if is_ours(event):
        for one in events.read_changed_messages(data, with_text=False):
            services().store.messages.take_back(operator_message(one, line), time.time())


def on_dialog_start(event: events.Event) -> None:
    note_dialogs(event, closed_at=None)


def on_dialog_finish(event: events.Event) -> None:
    note_dialogs(event, closed_at=time.time())


def note_dialogs(event: events.Event, closed_at: float | None) -> None:
    data = events.fields_of(event)
    line = number_of(data, "LINE")
    for dialog in events.read_dialogs(data):
        if is_ours(event):
            services().store.chats.note_dialog(
                dialog.chat_id,
                line,
                dialog.portal_chat_id,
                dialog.portal_user_id,
                dialog.session_id,
                closed_at,
            )


def on_status_delete(event: events.Event) -> None:
    line = number_of(events.fields_of(event), "line")
    if is_ours(event, "connector"):
        services().store.portal.disconnect_line(line)


def on_line_delete(event: events.Event) -> None:
    services().store.portal.disconnect_line(number_of({"data": event.data}, "data"))


def on_uninstall(_: events.Event) -> None:
    services().store.portal.forget()


EVENTS: dict[str, Callable[[events.Event], None]] = {
    "ONIMCONNECTORMESSAGEADD": on_message_add,
    "ONIMCONNECTORMESSAGEUPDATE": on_message_update,
    "ONIMCONNECTORMESSAGEDELETE": on_message_delete,
    "ONIMCONNECTORDIALOGSTART": on_dialog_start,
    "ONIMCONNECTORDIALOGFINISH": on_dialog_finish,
    "ONIMCONNECTORSTATUSDELETE": on_status_delete,
    "ONIMCONNECTORLINEDELETE": on_line_delete,
    "ONAPPUNINSTALL": on_uninstall,
}


def connect(form: Form) -> ResponseReturnValue:
    """The settings page of the connector: switch it on for the line it was opened for."""
    try:
        placement = events.read_placement(form)
        take_install_hit()
        services().connector.connect(placement)
    except BadRequest as error:
        return fault_page("title_not_connected", Fault("form", 400, why=error.told(language())))
    except TooMany as error:
        return wait_page("title_not_connected", error)
    except Fault as fault:
        return fault_page("title_not_connected", fault)
    services().sender.wake()
    name = services().settings.connector.name
    key = "connected" if placement.active else "disconnected"
    lines = [admin_text(key, name=name, line=placement.line)]
    return portal_page(f"title_{key}", lines, done=True)


def install() -> ResponseReturnValue:
    """Install: the portal's install page, ONAPPINSTALL, or the admin's plain visit."""
    form = any_form()
    lines = reports()
    try:
        claim = read_claim(form)
        if claim is not None:
            take_install_hit()
        if claim is not None or needs_install():
            services().connector.install(claim)
    except BadRequest as error:
        return fault_page("title_failed", Fault("form", 400, why=error.told(language())))
    except TooMany as error:
        return wait_page("title_failed", error)
    except Fault as fault:
        return fault_page("title_failed", fault)
    services().sender.wake()
    if "event" in form:
        return Response("successfully", mimetype="text/plain")
    settings = services().settings
    name = settings.connector.name
    lines = [admin_text("installed", name=name), admin_text("next_connect", name=name), *lines]
    # BX24 exists only inside the portal's install page; a plain visit must not call it.
    finish = settings.bitrix24.js_api if claim is not None else None
    return portal_page("title_installed", lines, done=True, finish=finish)


def take_install_hit() -> None:
    """Count a claim, which costs calls to the portal; the install says if nothing can be stored."""
    per_minute = services().settings.limits.installs_per_minute
    with contextlib.suppress(StoreUnavailable):
        services().store.limits.count_hit(f"install {address()}", per_minute, time.time())


def needs_install() -> bool:
    """Whether a plain visit registers us at the portal: only where not everything is in order.

    Anybody can pay a visit, and each such work costs calls of the portal's limit: raises TooMany.
    """
    if services().store_is_new() or services().store.portal.find() is None:
        return True  # it ends before it calls the portal
    if services().connector.is_in_order():
        return False
    per_minute = services().settings.limits.visits_per_minute
    services().store.limits.count_hit("visits", per_minute, time.time())
    return True


def reports() -> list[str]:
    """What the admin should know of the running chat, a line each."""
    store = services().store
    lines: list[str] = []
    if services().store_is_new():
        return lines
    if fault := store.notes.fault.get():
        lines.append(
            admin_text("fault", method=fault.method, code=fault.code, waiting=store.queue.waiting())
        )
    dead_lines = store.notes.dead_lines.get() or {}
    lines += [
        admin_text("dead_line", line=line, code=dead_lines[line])
        for line in store.portal.active_lines()
        if line in dead_lines
    ]
    if store.notes.is_unfinished.get():
        lines.append(admin_text("unfinished"))
    if recovery := store.notes.recovery.get():
        lines.append(admin_text("recovery", **vars(recovery) | {"at": moment(recovery.at)}))
    lines += [
        admin_text(
            "refusals", reason=told_reason(one.reason), count=one.count, at=moment(one.last_at)
        )
        for one in store.limits.refusals()
    ]
    return lines


def told_reason(noted: str) -> str:
    """Why requests were turned away, as `note_refusal` keeps it, in the admin's words."""
    place, key, values = json.loads(noted)
    return f"{place}: {text(language(), key, **values).rstrip('.')}"


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def read_claim(form: Form) -> Claim | None:
    """The tokens that a request to /install hands over; None for a plain visit."""
    if "event" in form:
        event = events.read_event(form)
        if event.name != "ONAPPINSTALL":
            raise BadRequest("not_install")
        auth = event.auth.fields
        return Claim(
            Grant(
                text_of(auth, "access_token"),
                text_of(auth, "refresh_token"),
                expiry(auth.get("expires_in")),
            ),
            member_id=text_of(auth, "member_id"),
            application_token=event.auth.application_token,
        )
    if not any(key in form for key in ("PLACEMENT", "AUTH_ID", "REFRESH_ID")):
        return None
    return Claim(
        Grant(
            text_of(form, "AUTH_ID"), text_of(form, "REFRESH_ID"), expiry(form.get("AUTH_EXPIRES"))
        ),
        member_id=text_of(form, "member_id", ""),
        application_token=text_of(form, "APPLICATION_TOKEN", ""),
    )


def fault_page(title: str, fault: Fault) -> ResponseReturnValue:
    # The portal that framed us may not be the one of the settings, and its admin must see why.
    # The page does nothing, so others may frame it, too.
    g.frame_ancestors = "*"
    if fault.status in (400, 403):
        note_refusal(f"install.{fault.key}", **fault.values)
    lines = [admin_text(fault.key, **fault.values)]
    if request.path == "/install" and fault.key != "form":
        lines.append(admin_text("try_again"))
    return portal_page(title, lines, done=False), fault.status


def wait_page(title: str, error: TooMany) -> ResponseReturnValue:
    note_refusal("reasons.too_many")
    response = make_response(fault_page(title, Fault("wait", 429, seconds=error.seconds)))
    response.headers["Retry-After"] = str(error.seconds)
    return response


def portal_page(title: str, lines: list[str], done: bool, finish: str | None = None) -> str:
    """A small page for the portal's slider; `finish` is the address of the BX24 script."""
    g.nonce = secrets.token_urlsafe(16)
    g.script_origin = origin_of(finish) if finish else None
    return render(
        "portal_page.html",
        lang=language(),
        title=admin_text(title),
        lines=lines,
        done=done,
        finish=finish,
        nonce=g.nonce,
    )


def admin_text(key: str, **values: object) -> str:
    return text(language(), f"install.{key}", **values)
