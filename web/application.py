"""The application's page in the portal's menu: the verdict, and what its buttons do.

Reasons and buttons are the administrator's only. Who that is the portal says when the page is
opened; each form carries a ticket of that (portal/administrators.py), because the frame has no
cookies.
"""

import contextlib
import logging
import time
from collections.abc import Callable

from flask.typing import ResponseReturnValue
from markupsafe import Markup

from addresses import both_forms
from operations import test_message
from operations.findings import Level
from operations.pulse import PATIENCE_SECONDS
from portal.forms import BadRequest, Form, number_of, text_of
from portal.install_error import InstallError
from portal.tickets import TicketExpired, TicketRefused
from rest.deadline import within
from store.database import StoreUnavailable
from store.records import TooMany
from web import renamed
from web.admin_page import admin_page, moment_of_check
from web.asking import language, note_refusal, services
from web.install import look, take_install_hit, verdict_alone
from web.page_settings import allow_site, save_settings, typed_values
from web.portal_page import install_error_page, portal_page
from web.seen import saw_portal
from web.verdict import Notice, doubted, said, verdict

log = logging.getLogger(__name__)

PAGE_SECONDS = 8.0  # the longest wait for all that the portal is asked, before the page is shown
FRESH_SECONDS = 5.0  # so long the portal is not asked anew by each opening of the page
FRESH_FAULT_SECONDS = 1.0  # the same where something was wrong, which may be mended now
TEST_SECONDS = 4.0  # the longest wait for a test message to arrive, before the page is shown
LOOK_SECONDS = 0.1  # between two looks whether it has


def application_page(form: Form) -> ResponseReturnValue:
    """The verdict, for an administrator with its reasons and what can be done about them."""
    try:
        # Another program may hold the store: then the page says so, and nobody waits long for it.
        with services().store.database.briefly(PATIENCE_SECONDS):
            return act(form) if "ticket" in form else opened_page(form)
    except InstallError as fault:  # nothing has been installed here
        return install_error_page("title_failed", fault)


def opened_page(form: Form) -> ResponseReturnValue:
    """The page as the portal opens it, with the token of whoever has clicked."""
    until = time.monotonic() + PAGE_SECONDS
    try:
        if "rename" in form:
            return renamed.agree(form)
        services().connector.check_installed()
        with contextlib.suppress(BadRequest, TooMany):
            with within(PAGE_SECONDS):
                user_id = administrator(form)
            if user_id is not None:
                return administrators_page(user_id, until)
    except StoreUnavailable:
        return verdict_alone(verdict(), where="store_unusable")
    except InstallError as fault:
        with contextlib.suppress(BadRequest, TooMany, StoreUnavailable):
            if renamed.concerns(fault, form):
                return renamed.way_page(form, fault)
        if fault.key in ("not_installed", "no_settings", "no_store", "store_lost", "disk_full"):
            raise
        return unproved_page(fault)
    return verdict_alone(verdict())


def administrators_page(user_id: int, until: float) -> ResponseReturnValue:
    """The page with reasons; with those that were known, if the portal says no others in time."""
    notice = None
    is_good = all(one.level is Level.GOOD for one in services().verdict())
    seconds = FRESH_SECONDS if is_good else FRESH_FAULT_SECONDS
    if not services().watch.is_fresh(seconds) and not look(until - time.monotonic()):
        notice = Notice("verdict", said("answers_slowly"), is_error=True)
    return admin_page(services().administrators.ticket(user_id), notice)


def unproved_page(fault: InstallError) -> ResponseReturnValue:
    """The verdict as it was last known; the portal did not say that an administrator asks."""
    if fault.key == "store_away":  # nobody knows whether it was installed
        return verdict_alone(verdict(), where="store_unusable")
    if fault.key == "wrong_application":  # of our portal, which has the application's page
        return verdict_alone(verdict(), said("not_recognised"), where="server_says_why")
    if fault.status < 500:  # anybody can bring a token
        return verdict_alone(verdict())
    key = "not_answering" if fault.key in ("unreachable", "server_slow") else "not_proved"
    lines = [said(key)]
    with contextlib.suppress(StoreUnavailable):
        if asked := moment_of_check():
            lines.append(Markup("{} {}").format(said("checked_at"), asked))
    return verdict_alone(doubted(verdict()), *lines, where="server_says_why")


def administrator(form: Form) -> int | None:
    """The id of the administrator who has opened the page; None for anybody else of the portal.

    Raises BadRequest, InstallError, TooMany and StoreUnavailable.
    """
    token, member_id = text_of(form, "AUTH_ID"), text_of(form, "member_id", "")
    take_install_hit(member_id)
    user_id = services().administrators.proved(token, member_id)
    if user_id is not None:
        saw_portal()
    return user_id


# -- what the buttons do


def act(form: Form) -> ResponseReturnValue:
    """Do what the button of an administrator's page says, and show the page again."""
    ticket = text_of(form, "ticket")
    try:
        user_id = services().administrators.of_ticket(ticket)
    except TicketExpired:  # whoever typed this was an administrator; what they typed is kept
        return ticket_page("ticket_over", typed_values(form))
    except TicketRefused:
        note_refusal("reasons.ticket")
        return ticket_page("ticket_refused", {})
    do = text_of(form, "do")
    if do not in ACTIONS:
        raise BadRequest("action")
    log.info("user %d of the portal, an administrator: %s", user_id, do)
    return ACTIONS[do](form, ticket)


def ticket_page(key: str, typed: dict[str, str]) -> ResponseReturnValue:
    page = portal_page(
        said("nothing_changed"), [said(key)], "attention", typed=typed, typed_title=said("typed")
    )
    return page, 403


def check_again(_: Form, ticket: str) -> ResponseReturnValue:
    """Make all checks now, that of our own address too."""
    if look(PAGE_SECONDS, tries_front=True):
        return admin_page(ticket, Notice("verdict", said("checked_now")))
    return admin_page(ticket, Notice("verdict", said("answers_slowly"), is_error=True))


def allow(form: Form, ticket: str) -> ResponseReturnValue:
    """Let a site show the chat that has tried to; no other can be named by this button."""
    site = text_of(form, "site")
    if site not in (services().store.notes.tried_sites.get() or {}):
        wrong = said("site_unknown", site=site[:200])
    else:
        wrong = allow_site(site)
    if wrong:
        return admin_page(ticket, Notice("sites", wrong, is_error=True), status=400)
    services().sightings.forget_site(site)
    return admin_page(ticket, Notice("sites", said("site_allowed", site=both_forms(site))))


def send_test(_: Form, ticket: str) -> ResponseReturnValue:
    """Send a message as a visitor would, and say what has become of it."""
    store, settings = services().store, services().settings
    try:
        message_id = test_message.send(store, settings, services().store.now(), language())
    except TooMany as error:
        notice = Notice("test", said("wait", seconds=error.seconds), is_error=True)
        return admin_page(ticket, notice, status=429)
    services().worker.wake()
    return shown_test(message_id, ticket)


def look_at_test(form: Form, ticket: str) -> ResponseReturnValue:
    """What has become of a test message meanwhile."""
    return shown_test(number_of(form, "message"), ticket)


def shown_test(message_id: int, ticket: str) -> ResponseReturnValue:
    """The page with the state of a test message, once that is known or takes long."""
    until = time.monotonic() + TEST_SECONDS
    while time.monotonic() < until:
        state = test_message.state(services().store, message_id)
        if state is None or state.state != "stored":
            break
        time.sleep(LOOK_SECONDS)
    return admin_page(ticket, test=message_id)


def change_settings(form: Form, ticket: str) -> ResponseReturnValue:
    """Keep the texts and sites of the form; what is wrong stands beside what was typed."""
    typed = typed_values(form)
    errors = save_settings(typed)
    if not errors:
        return admin_page(ticket, Notice("settings", said("settings_saved")))
    notice = Notice("settings", said("settings_wrong"), is_error=True)
    return admin_page(ticket, notice, typed=typed, errors=errors, status=400)


ACTIONS: dict[str, Callable[[Form, str], ResponseReturnValue]] = {
    "check": check_again,
    "allow": allow,
    "test": send_test,
    "look": look_at_test,
    "settings": change_settings,
}
