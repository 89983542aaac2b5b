"""Findings that are broken for one and the same reason: only the one that names it stays broken.

A missing right is met by whoever reads the rights, and by each call that needs it. The
administrator is told of the right, once.
"""

from collections.abc import Iterable

from operations.findings import Finding, Level

_NO_CONNECTOR = {
    "connector.connector_unknown",
    "delivery.connector_unknown",
    "lines.line_dead",
    "lines.line_disconnected",
    "lines.line_none",  # none can be connected as long as the connector is not there to be chosen
}
_NO_RIGHT = _NO_CONNECTOR | {
    "delivery.method_refused",
    "delivery.setup_refused",
    "events.events_missing",
    "install.registration_refused",
}
_OTHER_APPLICATION = {
    "delivery.setup_refused",
    "delivery.token_refused",
    "portal.setup_refused",
    "portal.token_refused",
    "secret.grant_void",
    "secret.secret_wrong",
}
_WRONG_ADDRESS = {"front.front_other", "front.front_other_path", "front.front_redirects"}
# Each cause, and those that it explains. The more specific one says more of what is to be done.
EXPLAINS: dict[str, set[str]] = {
    "rights.right_imconnector": _NO_RIGHT,
    "rights.right_imopenlines": _NO_RIGHT,
    "install.registration_refused": _NO_CONNECTOR,
    "install.not_registered": _NO_CONNECTOR | {"events.events_missing"},
    "install.unfinished": {"events.events_missing"},
    "connector.connector_unknown": _NO_CONNECTOR - {"connector.connector_unknown"},
    "delivery.connector_unknown": {
        "lines.line_dead",
        "lines.line_disconnected",
        "lines.line_none",
    },
    "oauth.other_application": _OTHER_APPLICATION,
    "address.address_here": _WRONG_ADDRESS,
    "address.address_here_seen": _WRONG_ADDRESS,
    "store.store_full": {"disk.disk_full", "disk.disk_none"},
    "store.store_left_behind": {"install.not_installed"},
    "store.store_replaced": {"install.not_installed"},
}


def cause_of(finding: Finding) -> str:
    return f"{finding.check}.{finding.key}"


def without_consequences(found: Iterable[Finding]) -> list[Finding]:
    """The findings without those whose cause another one names; of lines these are shown still."""
    found = list(found)
    broken = {cause_of(one) for one in found if one.level is Level.BROKEN}
    explained = set().union(*(EXPLAINS.get(cause, set()) for cause in broken))
    kept = []
    for one in found:
        if one.level is Level.BROKEN and cause_of(one) in explained:
            if one.check == "lines":  # the page shows each connected line by its name
                kept.append(Finding(one.check, Level.ATTENTION, one.key, one.values))
        else:
            kept.append(one)
    return kept
