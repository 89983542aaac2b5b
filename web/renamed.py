"""The application's own page where the portal cannot be asked: it was renamed, or is not safe.

Who opens the page cannot be proved at the portal's old address. So only somebody who knows the
portal's id is told anything, and only an administrator, proved at the new one, is offered more.
"""

from flask import g
from flask.typing import ResponseReturnValue

from addresses import both_forms, origin_of, policy_source
from portal.forms import Form, text_of
from portal.install_error import InstallError
from rest.errors import PORTAL_RENAMED, is_of_the_way
from web.asking import services
from web.portal_page import admin_text, install_error_page, portal_page


def concerns(fault: InstallError, form: Form) -> bool:
    """Whether a failed proof says something that whoever opened the page should read."""
    code, member_id = str(fault.values.get("code")), text_of(form, "member_id", "")
    return is_of_the_way(code) and services().proof.names_our_portal(member_id)


def way_page(form: Form, fault: InstallError) -> ResponseReturnValue:
    """What is wrong, and for the administrator of a renamed portal a button that mends it."""
    if fault.values["code"] != PORTAL_RENAMED:
        return told("title_fails", fault)
    address = str(fault.values["new_portal"])
    try:
        ticket = services().rename.ticket(address, text_of(form, "AUTH_ID"))
    except InstallError as why:
        return told("title_renamed", fault, why)
    g.frame_ancestors = policy_source(origin_of(address))
    lines = [admin_text("rename_offer", **fault.values)]
    return portal_page(admin_text("title_renamed"), lines, "broken", ticket=ticket)


def told(title: str, *faults: InstallError) -> str:
    g.frame_ancestors = "*"  # the portal that frames the page may have another address by now
    lines = [admin_text(one.key, **one.values) for one in faults]
    return portal_page(admin_text(title), lines, "broken")


def agree(form: Form) -> ResponseReturnValue:
    """The administrator has pressed the button."""
    try:
        address = services().rename.agree(text_of(form, "rename"))
    except InstallError as fault:
        return install_error_page("title_renamed", fault)
    services().worker.wake()
    lines = [admin_text("rename_done", address=both_forms(address))]
    return portal_page(admin_text("title_app"), lines, "good", is_well=True)
