"""Answers Bitrix24's requests to `/handler`: events, and the connector's settings page.

A request is decoded, checked, proved and stored before it is answered, because Bitrix24 posts
nothing twice.
"""

import contextlib
import logging
from collections.abc import Callable

from flask import Response, g, request
from flask.typing import ResponseReturnValue

import way
from logs import facts, request_ms
from operations.findings import Level
from portal import events
from portal.forms import BadRequest, Form, number_of, text_of
from portal.inbox import operator_message
from portal.install_error import InstallError
from rest.deadline import within
from store.records import Message, TooMany
from web.admin_page import admin_page
from web.application import application_page
from web.asking import any_form, language, note_refusal, services
from web.install import LOOK_SECONDS, look, take_install_hit
from web.itself import itself
from web.portal_page import admin_text, install_error_page, portal_page, wait_page
from web.reached import portal_reached_us
from web.verdict import Notice, said, verdict

log = logging.getLogger(__name__)


def handler() -> ResponseReturnValue:
    """What Bitrix24 posts: an event, the connector's settings page, or the application's page."""
    form = any_form()
    if "event" in form:
        return receive_event(form)
    if form.get("PLACEMENT") == "SETTING_CONNECTOR":
        return connect(form)
    if form.get("PLACEMENT") == "DEFAULT":
        return application_page(form)
    if "PLACEMENT" in form:
        raise BadRequest("placement")
    raise BadRequest("missing", field="event / PLACEMENT")


def receive_event(form: Form) -> ResponseReturnValue:
    """Store what an event says before we answer, because the portal posts it only once."""
    event = events.read_event(form)
    g.event = event.name  # tells `note_loss` that the request is an event
    try:
        genuine = services().proof.is_from_portal(event)
    except InstallError as fault:
        return Response(admin_text(fault.key, **fault.values), fault.status, mimetype="text/plain")
    if not genuine:
        raise BadRequest("token", 403)
    services().sightings.saw_event(services().store.now())
    portal_reached_us()
    action = EVENTS.get(event.name)
    if action is None:
        raise BadRequest("unknown_event")
    action(event)
    services().worker.wake()
    return Response("ok", mimetype="text/plain")


def note_loss(response: Response) -> Response:
    """Note a request that we answer with 429 or 5xx, because the portal does not post it again.

    If it is an event, it may be an operator's answer: a recovery looks for it.
    """
    is_refused = response.status_code >= 500 or response.status_code == 429
    if is_refused and itself(request).endpoint == "handler":
        note_refusal("reasons.answered", status=response.status_code)
        if "event" in g:
            services().turned_away.lost.set()
    return response


def is_ours(event: events.Event, key: str = "CONNECTOR") -> bool:
    """Whether the event is of our connector, not of another one of the same application."""
    connector = text_of(events.fields_of(event), key)
    return connector.lower() == services().settings.connector.id


def tell(event: events.Event, what: str, message: Message | None, line: int) -> None:
    """Write a step of an operator's message to the log, with how long the event was on its way."""
    if message is None:
        return
    way.step(
        what,
        message.id,
        message.chat_id,
        author=message.author,
        line=line,
        portal_message=message.im_message_id,
        queued_s=round(services().store.now() - event.queued_at) if event.queued_at else None,
        ms=request_ms(),
    )


def on_message_add(event: events.Event) -> None:
    data = events.fields_of(event)
    line = number_of(data, "LINE")
    if is_ours(event):
        added = [operator_message(incoming, line) for incoming in events.read_messages(data)]
        for message in services().store.messages.add_from_operators(added, services().store.now()):
            tell(event, "taken", message, line)


def on_message_update(event: events.Event) -> None:
    data = events.fields_of(event)
    line = number_of(data, "LINE")
    if is_ours(event):
        for incoming in events.read_changed_messages(data, with_text=True):
            edited = operator_message(incoming, line)
            messages = services().store.messages
            if messages.edit(edited, services().store.now(), event.queued_at):
                tell(event, "edited", messages.find_changed(edited), line)


def on_message_delete(event: events.Event) -> None:
    data = events.fields_of(event)
    line = number_of(data, "LINE")
    if is_ours(event):
        for incoming in events.read_changed_messages(data, with_text=False):
            deleted = operator_message(incoming, line)
            messages = services().store.messages
            if messages.take_back(deleted, services().store.now()):
                tell(event, "deleted", messages.find_changed(deleted), line)


def on_dialog_start(event: events.Event) -> None:
    note_dialogs(event, closed_at=None)


def on_dialog_finish(event: events.Event) -> None:
    note_dialogs(event, closed_at=services().store.now())


def note_dialogs(event: events.Event, closed_at: float | None) -> None:
    data = events.fields_of(event)
    line = number_of(data, "LINE")
    for dialog in events.read_dialogs(data):
        if is_ours(event):
            services().store.dialogs.note_dialog(
                dialog.chat_id,
                line,
                dialog.portal_chat_id,
                dialog.portal_user_id,
                dialog.session_id,
                closed_at,
            )
            what = "begun at the portal" if closed_at is None else "closed by an operator"
            way.chat_step(what, dialog.chat_id, line=line, session=dialog.session_id)


def on_status_delete(event: events.Event) -> None:
    line = number_of(events.fields_of(event), "line")
    if is_ours(event, "connector"):
        services().store.portal.disconnect_line(line)
        log.warning("the connector was switched off at the portal", extra=facts(line=line))


def on_line_delete(event: events.Event) -> None:
    line = number_of({"data": event.data}, "data")
    services().store.portal.disconnect_line(line)
    log.warning("a line was deleted at the portal", extra=facts(line=line))


def on_uninstall(_: events.Event) -> None:
    services().store.portal.forget()
    log.warning("the application was removed at the portal: nothing is sent any more")


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
        take_install_hit(placement.member_id)
        services().connector.connect(placement)
    except BadRequest as error:
        return install_error_page(
            "title_not_connected", InstallError("form", 400, why=error.explanation(language()))
        )
    except TooMany as error:
        return wait_page("title_not_connected", error)
    except InstallError as fault:
        return install_error_page("title_not_connected", fault)
    services().watch.forget()
    services().worker.wake()
    return connect_page(placement)


def connect_page(placement: events.Placement) -> ResponseReturnValue:
    """What was done, and the one verdict: a connected line is of no use to a chat that is broken.

    The page is an employee's who may connect lines; the reasons are the administrator's.
    """
    key = "connected" if placement.active else "disconnected"
    name = services().settings.connector.name
    done = admin_text(key, name=name, line=placement.line)
    if placement.active:
        look()
        if verdict().level is Level.BROKEN:
            return broken_page(placement, done)
    return portal_page(admin_text(f"title_{key}"), [done], "good", is_well=True)


def broken_page(placement: events.Placement, done: str) -> ResponseReturnValue:
    """A line was connected, and the chat does not work all the same."""
    with contextlib.suppress(InstallError, TooMany):
        token, member_id = placement.access_token, placement.member_id
        with within(LOOK_SECONDS):
            user_id = services().administrators.proved(token, member_id)
        if user_id is not None:
            return admin_page(services().administrators.ticket(user_id), Notice("verdict", done))
    return portal_page(said("connected_but"), [done, said("administrator_sees_why")], "broken")
