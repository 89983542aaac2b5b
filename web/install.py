"""Answers `/install`: the portal's install page, ONAPPINSTALL, and a plain visit.

A plain visit is a request without tokens, as when an administrator opens the page in a browser.
"""

import contextlib
import json
import time
from datetime import UTC, datetime

from flask import Response
from flask.typing import ResponseReturnValue

from portal import events
from portal.connector import Claim
from portal.forms import BadRequest, Form, text_of
from portal.install_error import InstallError, fault_key
from rest.replies import Grant, expiry
from store.database import StoreUnavailable
from store.records import TooMany
from texts import text
from web.asking import address, any_form, language, services
from web.portal_page import admin_text, install_error_page, portal_page, wait_page


def install() -> ResponseReturnValue:
    """Install with the tokens of the request, or repeat the registration for a plain visit."""
    form = any_form()
    lines = reports()
    try:
        claim = read_claim(form)
        if claim is not None:
            take_install_hit()
        if claim is not None or needs_install():
            services().connector.install(claim)
    except BadRequest as error:
        return install_error_page(
            "title_failed", InstallError("form", 400, why=error.explanation(language()))
        )
    except TooMany as error:
        return wait_page("title_failed", error)
    except InstallError as fault:
        return install_error_page("title_failed", fault)
    services().worker.wake()
    if "event" in form:
        return Response("successfully", mimetype="text/plain")
    settings = services().settings
    name = settings.connector.name
    lines = [admin_text("installed", name=name), admin_text("next_connect", name=name), *lines]
    # BX24 exists only inside the portal's install page; a plain visit must not call it.
    finish = settings.bitrix24.js_api if claim is not None else None
    return portal_page("title_installed", lines, done=True, finish=finish)


def take_install_hit() -> None:
    """Count an install or connect, which costs calls; raises TooMany.

    If the store fails here, the install itself says so.
    """
    per_minute = services().settings.limits.installs_per_minute
    with contextlib.suppress(StoreUnavailable):
        services().store.limits.count_hit(f"install {address()}", per_minute, time.time())


def needs_install() -> bool:
    """Whether a plain visit has to register us at the portal: not if everything is in order.

    Anybody can visit, and each registration costs calls to the portal: raises TooMany.
    """
    if services().store_cannot_be_opened() or services().store.portal.find() is None:
        return True  # the install fails before it calls the portal, and says why
    if services().connector.is_in_order():
        return False
    per_minute = services().settings.limits.visits_per_minute
    services().store.limits.count_hit("visits", per_minute, time.time())
    return True


def reports() -> list[str]:
    """What the admin should know of the running chat, a line each."""
    store = services().store
    lines: list[str] = []
    if services().store_cannot_be_opened():
        return lines
    if fault := store.notes.fault.get():
        lines.append(
            admin_text(
                fault_key(fault.code),
                method=fault.method,
                code=fault.code,
                waiting=store.queue.waiting(),
            )
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
            "refusals",
            reason=reason_text(refusals.reason),
            count=refusals.count,
            at=moment(refusals.last_at),
        )
        for refusals in store.limits.refusals()
    ]
    return lines


def reason_text(noted: str) -> str:
    """The admin's text for a reason that `note_refusal` has noted."""
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
