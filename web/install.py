"""Answers `/install`: the portal's install page, ONAPPINSTALL, and a plain visit.

A plain visit is a request without tokens, as when somebody opens the page in a browser.
"""

import contextlib

from flask import Response
from flask.typing import ResponseReturnValue

from operations.findings import Level
from portal import events
from portal.connector import Claim
from portal.forms import BadRequest, Form, text_of
from portal.install_error import InstallError
from rest.errors import PORTAL_RENAMED
from rest.replies import Grant, expiry
from store.database import StoreUnavailable
from store.records import TooMany
from web.admin_page import admin_page
from web.asking import address, any_form, language, services
from web.portal_page import install_error_page, portal_page, wait_page
from web.seen import saw_portal
from web.verdict import Verdict, said, verdict

LOOK_SECONDS = 8.0  # the longest wait for what the portal says of us
INSTALLED_LOOK_SECONDS = 4.0  # the same after an install, whose own calls have taken their time


def install() -> ResponseReturnValue:
    """Install with the tokens of the request; without tokens, say whether the chat works."""
    form = any_form()
    try:
        claim = read_claim(form)
        if claim is None:
            services().connector.check_installed()
            found = verdict()
            return verdict_alone(found), 503 if found.level is Level.BROKEN else 200
        take_install_hit(claim.member_id)
        is_first = install_claim(claim)
    except BadRequest as error:
        return install_error_page(
            "title_failed", InstallError("form", 400, why=error.explanation(language()))
        )
    except TooMany as error:
        return wait_page("title_failed", error)
    except InstallError as fault:
        return install_error_page("title_failed", fault)
    saw_portal()
    services().worker.wake()
    if "event" in form:
        return Response("successfully", mimetype="text/plain")
    look(INSTALLED_LOOK_SECONDS)
    finish = services().settings.bitrix24.js_api
    return admin_page(installers_ticket(), finish=finish, is_first=is_first)


def install_claim(claim: Claim) -> bool:
    """Install, and say whether that was the first time.

    Where a renamed portal lives now is told to nobody who does not name its id.
    """
    try:
        return services().connector.install(claim)
    except InstallError as fault:
        is_renamed = fault.values.get("code") == PORTAL_RENAMED
        if not is_renamed or services().proof.may_know(claim.member_id):
            raise
        raise InstallError("renamed_untold", fault.status, portal=fault.values["portal"]) from None
    finally:
        services().watch.forget()


def look(seconds: float = LOOK_SECONDS, tries_front: bool = False) -> bool:
    """Ask the portal what it has of us, so that the page says the truth of this moment.

    Returns whether it has answered, or failed, within so many seconds; the page then says what was
    known before.
    """
    return services().look(seconds, tries_front)


def installers_ticket() -> str:
    """The ticket of the administrator who has just installed."""
    portal = services().store.portal.find()
    return services().administrators.ticket(portal.user_id if portal else 0)


def verdict_alone(found: Verdict, *lines: str, where: str = "administrator_sees_why") -> str:
    """What anybody may know, however often they ask; the reasons are the administrator's.

    `where` names the text that says who else says them.
    """
    if not found.is_well:
        lines = (*lines, said(where))
    return portal_page(found.title, [*lines], found.tone, found.is_well)


def take_install_hit(member_id: str) -> None:
    """Count an install or connect, which costs calls; raises TooMany.

    Behind a proxy that names no visitors all share an address: those who name our portal are
    counted apart from strangers. If the store fails here, the install itself says so.
    """
    per_minute = services().settings.limits.installs_per_minute
    with contextlib.suppress(StoreUnavailable):
        kind = "own install" if services().proof.names_our_portal(member_id) else "install"
        services().store.limits.count_hit(f"{kind} {address()}", per_minute, services().store.now())


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
