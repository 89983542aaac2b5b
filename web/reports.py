"""What a proven administrator reads about the running chat; nobody else may see it."""

import json
from datetime import UTC, datetime

from addresses import both_forms, readable
from portal.install_error import cures, fault_key
from portal.place import portal_address
from store.records import ReportedFault
from texts import text
from web.asking import language, services
from web.portal_page import admin_text


def reports() -> list[str]:
    """What stands in the way of the chat, what was turned away and looked for; a line each."""
    store = services().store
    lines: list[str] = []
    if fault := store.notes.fault.get():
        key, waiting = fault_key(fault.code), store.queue.waiting()
        lines.append(admin_text(key, method=fault.method, code=fault.code, waiting=waiting))
        lines += cure(fault) if key != "fault_renewal" else []
    if agreed := agreed_address():
        lines.append(admin_text("rename_kept", **agreed))
    dead_lines = store.notes.dead_lines.get() or {}
    lines += [
        admin_text("dead_line", line=line, code=dead_lines[line])
        for line in store.portal.active_lines()
        if line in dead_lines
    ]
    if refused := store.notes.refused_registration.get():
        lines.append(admin_text("refused_registration", method=refused.method, code=refused.code))
    elif store.notes.registered.get() is None:
        lines.append(admin_text("not_registered"))
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


def cure(fault: ReportedFault) -> list[str]:
    """What the administrator can do about a fault of the set-up, as an install would say it."""
    return [
        admin_text(key, **values)
        for key, values in cures(services().settings.bitrix24, services().store, fault)
    ]


def agreed_address() -> dict[str, str] | None:
    """The renamed portal's address, and the setting that still names the old one."""
    setting = services().settings.bitrix24.portal
    address = portal_address(services().settings.bitrix24, services().store)
    if address == setting:
        return None
    return {"address": both_forms(address), "setting": readable(setting)}


def reason_text(noted: str) -> str:
    """The admin's text for a reason that `note_refusal` has noted."""
    place, key, values = json.loads(noted)
    reason = text(language(), key, **values).rstrip(".")
    return f"{place}: {reason}" if place else reason


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
