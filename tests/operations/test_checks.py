"""Every fault that a check knows: how bad it is called, and that both languages have words."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doctor_parts import BOUND, DAY, HANDLER, INSTALLED, LINE, NOW, OTHER_LINE, URL, facts, settings
from doctor_parts import OAUTH as OAUTH_SERVER

from cli.doctor import iso_time, local_time
from delivery.lookup import CLOCKS_DIFFER_SECONDS
from operations import checks_portal
from operations.doctor import ALL, findings
from operations.facts import Disk
from operations.findings import Finding, Level, Moment, Phrase, as_plain, from_plain, worst
from operations.front import FrontReport
from operations.roots import EXPLAINS, cause_of
from operations.telling import utc
from operations.words import heading, verdict_words, words
from rest.errors import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_NOT_YET_VALID,
    CERTIFICATE_OF_ANOTHER_HOST,
    CERTIFICATE_REFUSED,
    CERTIFICATE_SELF_SIGNED,
    CERTIFICATE_UNKNOWN,
    OAUTH,
    OAUTH_APP_INFO,
    PORTAL_RENAMED,
    RENEWAL_LOST,
    OutcomeUnknown,
    Refused,
    SetupFault,
    TryLater,
)
from rest.examination import Line
from rest.replies import TokenHome
from store.database import (
    DiskFull,
    StoreGone,
    StoreLocked,
    StoreMissing,
    StoreNewer,
    StoreNoFile,
    StoreOlder,
    StoreReadOnly,
    StoreUnavailable,
)
from store.log import StoreDamaged, StoreForeign, StoreMixed
from store.overview import LastMessages, RefusedMessages, Unannounced, Waiting
from store.records import LastRecovery, Named, Reached, Refusals, ReportedFault
from texts import all_texts, languages

GOOD, ATTENTION, BROKEN = Level.GOOD, Level.ATTENTION, Level.BROKEN
SEND = "imconnector.send.messages"
WAITS = Waiting(3, NOW - 7200)
CERTIFICATES = {
    CERTIFICATE_UNKNOWN: "certificate_unknown",
    CERTIFICATE_SELF_SIGNED: "certificate_self_signed",
    CERTIFICATE_EXPIRED: "certificate_expired",
    CERTIFICATE_NOT_YET_VALID: "certificate_not_yet_valid",
    CERTIFICATE_OF_ANOTHER_HOST: "certificate_of_another_host",
    CERTIFICATE_REFUSED: "certificate_refused",
}


def of_portal(**values: Any) -> dict[str, Any]:
    return {"of_portal": values}


def of_kept(**values: Any) -> dict[str, Any]:
    return {"of_kept": values}


def fault(code: str, method: str = SEND, address: str = "") -> dict[str, Any]:
    return of_kept(fault=ReportedFault(method, code, address))


def front(**values: Any) -> dict[str, Any]:
    healthy = {"status": 200, "forwarded": 0, "is_buffered": False, "is_too_large": False}
    return {"front": FrontReport(**healthy | values)}


def with_settings(**values: Any) -> dict[str, Any]:
    return {"settings": settings(**values)}


def visited(askers: int, at: float = NOW) -> Named:
    """Said by so many addresses."""
    return Named(at, at, 9, {f"asker {number}": at for number in range(askers)})


OTHER = "https://www.chat.example"


def by_outside(url: str = URL, **moments: float) -> dict[str, Any]:
    return of_kept(reached={who: Reached(url, at, 0) for who, at in moments.items()})


def no_events(found: Unannounced, **others: Any) -> dict[str, Any]:
    return of_kept(unannounced=found, events_due_since=NOW - 7200, last_event_at=None, **others)


# What is said of the last error of what waits.
WHY = {
    "": "no fault is known",
    "HTTP_502": "error of its own (HTTP_502)",
    "STRANGE_ANSWER": "error of its own (STRANGE_ANSWER)",
    "QUERY_LIMIT_EXCEEDED": "no more calls for now (QUERY_LIMIT_EXCEEDED)",
    "NO_REPLY": "gives no answer to imconnector.send.messages (NO_REPLY)",
    "NOT_CONNECTED": "gives no answer to imconnector.send.messages (NOT_CONNECTED)",
    "HTTP_403": "with HTTP_403",
}
DB = Path("/var/lib/sitechat/chats/chats.db")
FULL = Disk(str(DB.parent), 0, 40 << 30)
B24 = {"portal": "https://b24.example", "client_id": "local.client", "client_secret": "s"}
HERE = "http://127.0.0.1:8080"
# What was changed, and what is said of it first.
FAULTS: list[tuple[dict[str, Any], Level, str, str]] = [
    # Settings and addresses.
    (with_settings(bitrix24={"portal": "https://b24.example"}), BROKEN, "settings",
     "settings_incomplete"),
    (with_settings(storage={"url": "sqlite:////var/chats.db"}), ATTENTION, "settings",
     "settings_doubt"),
    (with_settings(public_url=HERE) | front(fault="NOT_REACHED") | of_portal(bindings=tuple(
        (event, f"{HERE}/handler") for event, _ in BOUND)), BROKEN, "address", "address_here"),
    (with_settings(public_url=HERE) | of_portal(bindings=tuple(
        (event, f"{HERE}/handler") for event, _ in BOUND))
     | of_kept(seen_addresses={"portal": "https://chat.example"}),
     BROKEN, "address", "address_here_seen"),
    (of_kept(seen_addresses={"portal": "https://old.example"}), ATTENTION, "address",
     "address_of_portal"),
    (with_settings(public_url="https://192.168.1.5") | of_portal(bindings=tuple(
        (event, "https://192.168.1.5/handler") for event, _ in BOUND)), ATTENTION, "address",
     "address_private"),
    # Store, disk and service.
    ({"kept": DiskFull("no room")}, BROKEN, "store", "store_full"),
    ({"kept": StoreDamaged("chats.db is damaged")}, BROKEN, "store", "store_damaged"),
    ({"kept": StoreMixed(DB)}, BROKEN, "store", "store_mixed"),
    ({"kept": StoreForeign(DB)}, BROKEN, "store", "store_foreign"),
    ({"kept": StoreNoFile("chats.db is no ordinary file")}, BROKEN, "store", "store_no_file"),
    ({"kept": StoreNewer("chats.db")}, BROKEN, "store", "store_newer"),
    ({"kept": StoreOlder("old")}, BROKEN, "store", "store_older"),
    ({"kept": StoreOlder("old"), "former_runs": True}, ATTENTION, "store", "store_older_runs"),
    ({"kept": StoreMissing("none")}, BROKEN, "store", "store_missing"),
    ({"kept": StoreUnavailable("readonly")}, BROKEN, "store", "store_unavailable"),
    ({"kept": StoreGone("chats.db is gone")}, BROKEN, "store", "store_gone"),
    ({"write_fault": StoreLocked("held")}, BROKEN, "store", "store_locked"),
    ({"write_fault": StoreReadOnly("readonly")}, BROKEN, "store", "store_read_only"),
    ({"write_fault": DiskFull("no room")}, BROKEN, "store", "store_full"),
    (front(takes_messages=False), BROKEN, "store", "store_refuses"),
    (front(takes_messages=False) | {"disks": (FULL,)}, BROKEN, "store", "store_full"),
    (front(fault="NO_ANSWER", status=503) | {"disks": (FULL,)}, BROKEN, "store", "store_full"),
    (of_kept(portal=None, active_lines=(), replaced_at=NOW - 60), BROKEN, "store",
     "store_replaced"),
    ({"disks": (FULL,), "front": None}, BROKEN, "disk", "disk_none"),
    ({"log_bytes": 100 << 20}, ATTENTION, "store", "log_long"),
    (of_kept(worker_runs=False) | {"log_bytes": 1000, "front": None}, BROKEN, "service",
     "service_stopped"),
    (of_kept(worker_runs=False, worker_up_at=None), BROKEN, "service", "service_never"),
    ({"disks": (Disk("/var", 300 << 20, 40 << 30),)}, ATTENTION, "disk", "disk_low"),
    ({"disks": (Disk("/var", 900 << 20, 40 << 30),)}, ATTENTION, "disk", "disk_low"),
    ({"disks": (Disk("/var", 20 << 20, 40 << 30),)}, BROKEN, "disk", "disk_full"),
    ({"files_are_writable": False}, ATTENTION, "disk", "files_closed"),
    # The installation.
    (of_kept(portal=None, active_lines=()), BROKEN, "install", "not_installed"),
    (of_kept(refused_registration=ReportedFault("imconnector.register", "ID_TAKEN")), BROKEN,
     "install", "registration_refused"),
    (of_kept(is_registered=False), BROKEN, "install", "not_registered"),
    (of_portal(installed=False), BROKEN, "install", "unfinished"),
    (of_kept(is_unfinished=True) | {"portal": None}, BROKEN, "install", "unfinished"),
    # Lines.
    (of_kept(active_lines=(), known_lines=()), ATTENTION, "lines", "line_first"),
    (of_kept(active_lines=()), BROKEN, "lines", "line_none"),
    (of_kept(active_lines=(), known_lines=(), waiting=WAITS), BROKEN, "lines", "line_none"),
    (of_portal(lines={LINE: None}), BROKEN, "lines", "line_deleted"),
    (of_portal(lines={LINE: Line("Sales", False)}), BROKEN, "lines", "line_off"),
    (of_portal(statuses={LINE: False}), BROKEN, "lines", "line_disconnected"),
    (of_kept(dead_lines={LINE: "NOT_ACTIVE_LINE"}), BROKEN, "lines", "line_dead"),
    (of_kept(active_lines=(LINE, OTHER_LINE))
     | of_portal(lines={LINE: None, OTHER_LINE: Line("", True)}), ATTENTION, "lines",
     "line_deleted"),
    (of_kept(active_lines=(LINE, OTHER_LINE), waiting_lines=frozenset({LINE}))
     | of_portal(lines={LINE: Line("Sales", False), OTHER_LINE: Line("", True)}), ATTENTION,
     "lines", "line_off"),
    (of_kept(active_lines=(LINE, OTHER_LINE), dead_lines={LINE: "HTTP_403"}), ATTENTION, "lines",
     "line_dead"),
    (of_kept(active_lines=(LINE, OTHER_LINE)) | of_portal(
        lines={LINE: Line("Sales", False), OTHER_LINE: Line("", False)}), BROKEN, "lines",
     "line_off"),
    # The secret and the tokens.
    (fault("INVALID_CLIENT", OAUTH), BROKEN, "secret", "secret_wrong"),
    (fault("WRONG_CLIENT", OAUTH), BROKEN, "secret", "secret_wrong"),
    (of_kept(secret_is_proved=False, refused_renewal=ReportedFault(OAUTH, "INVALID_CLIENT")),
     BROKEN, "secret", "secret_wrong"),
    (fault("INVALID_GRANT", OAUTH), BROKEN, "secret", "grant_void"),
    (fault(RENEWAL_LOST, OAUTH), BROKEN, "secret", "renewal_lost"),
    ({"oauth": TokenHome("local.other", "member", "https://b24.example")}, BROKEN, "oauth",
     "other_application"),
    # Servers that do not answer, each by its name.
    ({"portal": TryLater("NOT_CONNECTED", "batch")}, BROKEN, "portal", "server_unreachable"),
    ({"portal": OutcomeUnknown("CONNECTION_LOST", "batch")}, BROKEN, "portal",
     "server_unreachable"),
    # It was reached: neither the internet nor a firewall is to blame.
    *(({"portal": OutcomeUnknown(code, "batch")}, BROKEN, "portal", "server_error")
      for code in ("HTTP_502", "HTTP_500", "HTTP_200", "STRANGE_ANSWER", "INTERNAL_ERROR")),
    ({"oauth": OutcomeUnknown("HTTP_503", OAUTH_APP_INFO)}, ATTENTION, "oauth", "server_error"),
    ({"portal": OutcomeUnknown("NO_REPLY", "batch")}, BROKEN, "portal", "server_slow"),
    ({"portal": Refused("HTTP_404", "batch")}, BROKEN, "portal", "not_a_portal"),
    ({"portal": TryLater("QUERY_LIMIT_EXCEEDED", "batch")}, ATTENTION, "portal", "server_busy"),
    ({"portal": SetupFault("OVERLOAD_LIMIT", "batch")}, BROKEN, "portal", "portal_blocked"),
    ({"portal": SetupFault("PAYMENT_REQUIRED", "batch")}, BROKEN, "portal", "portal_ended"),
    ({"portal": SetupFault("INVALID_TOKEN", "batch")}, BROKEN, "portal", "token_refused"),
    ({"portal": SetupFault("NOT_INSTALLED", "batch")}, BROKEN, "portal", "setup_refused"),
    ({"portal": SetupFault(PORTAL_RENAMED, "batch", address="https://new.example")}, BROKEN,
     "portal", "portal_renamed"),
    ({"oauth": TryLater("NOT_CONNECTED", OAUTH_APP_INFO)}, ATTENTION, "oauth",
     "server_unreachable"),
    ({"oauth": TryLater("NOT_CONNECTED", OAUTH_APP_INFO),
      **of_kept(portal=INSTALLED.__class__(**vars(INSTALLED) | {"expires_at": NOW - 5}))},
     BROKEN, "oauth", "server_unreachable"),
    *(({"portal": TryLater(code, "batch")}, BROKEN, "portal", key)
      for code, key in CERTIFICATES.items()),
    *(({"oauth": TryLater(code, OAUTH_APP_INFO)}, ATTENTION, "oauth", key)
      for code, key in CERTIFICATES.items()),
    (of_kept(portal_address="https://new.example"), ATTENTION, "portal", "rename_kept"),
    # Delivery.
    (fault("ACCESS_DENIED"), BROKEN, "delivery", "method_refused"),
    (fault("SOMETHING_NEW"), BROKEN, "delivery", "setup_refused"),
    (fault("IMCONNECTOR_NOT_SPECIFIED_CORRECT_CONNECTOR"), BROKEN, "delivery",
     "connector_unknown"),
    (fault(PORTAL_RENAMED, SEND, "https://new.example"), BROKEN, "delivery", "portal_renamed"),
    # Rights, events, connector, clock.
    *((of_portal(rights=frozenset({"imopenlines", "imconnector", "im", "user_brief", "placement"})
                 - {right}), level, "rights", f"right_{right}")
      for right, level in (("imopenlines", BROKEN), ("imconnector", BROKEN), ("im", ATTENTION),
                           ("placement", ATTENTION), ("user_brief", ATTENTION))),
    (of_portal(bindings=()), BROKEN, "events", "events_missing"),
    (of_portal(bindings=BOUND[1:]), BROKEN, "events", "events_missing"),
    (of_portal(bindings=BOUND[:-1]), ATTENTION, "events", "events_missing"),
    (of_portal(bindings=(*BOUND, (BOUND[0][0], "https://old.example/handler"))), ATTENTION,
     "events", "events_elsewhere"),
    (of_portal(bindings=(*BOUND, BOUND[0])), ATTENTION, "events", "events_twice"),
    (of_portal(connectors=frozenset({"livechat"})), BROKEN, "connector", "connector_unknown"),
    (of_portal(clock_seconds=4 * DAY), BROKEN, "clock", "clock_slow"),
    (of_portal(clock_seconds=-4 * DAY), BROKEN, "clock", "clock_fast"),
    (of_portal(clock_seconds=-7500), BROKEN, "clock", "clock_fast"),
    (of_portal(clock_seconds=-3700), BROKEN, "clock", "clock_fast"),
    # Everything works still: it is not called broken.
    (of_portal(clock_seconds=-3500), ATTENTION, "clock", "clock_fast"),
    (of_portal(clock_seconds=7500), ATTENTION, "clock", "clock_slow"),
    (of_portal(clock_seconds=200.0), ATTENTION, "clock", "clock_slow"),
    (of_portal(clock_seconds=-90.0), ATTENTION, "clock", "clock_fast"),
    # What stands in front of us.
    (front(fault="REDIRECT", status=301, location="https://www.chat.example/"), BROKEN, "front",
     "front_redirects"),
    (front(fault="OTHER", status=404), BROKEN, "front", "front_other"),
    (front(fault="OTHER_PATH", status=404), BROKEN, "front", "front_other_path"),
    (front(fault="OTHER_STORE", status=403), BROKEN, "front", "front_other_store"),
    *((front(fault=code), BROKEN, "front", f"front_{key}") for code, key in CERTIFICATES.items()),
    (front(is_buffered=True), ATTENTION, "front", "front_buffers"),
    (front(is_too_large=True), ATTENTION, "front", "front_too_large"),
    (front(forwarded=2), ATTENTION, "front", "proxies_few"),
    (with_settings(server={"proxies": 1}) | by_outside(portal=NOW - 9), ATTENTION, "front",
     "proxies_many"),
    # A visitor can claim more proxies, and no event does.
    (with_settings(server={"proxies": 1}) | of_kept(reached={
        "portal": Reached(URL, NOW - 9, 0), "visitors": Reached(URL, NOW - 9, 4)}), ATTENTION,
     "front", "proxies_many"),
    (front(fault="NOT_RESOLVED"), BROKEN, "front", "front_unresolved"),
    # Somebody came by another address, or long before.
    (front(fault="NOT_RESOLVED") | by_outside("https://chat.example", portal=NOW - 9), BROKEN,
     "front", "front_unresolved"),
    (front(fault="NOT_RESOLVED", since=NOW - DAY) | by_outside(portal=NOW - 2 * DAY), BROKEN,
     "front", "front_unresolved"),
    (front(fault=CERTIFICATE_EXPIRED, since=NOW - 60) | by_outside(portal=NOW - 7200), BROKEN,
     "front", "front_certificate_expired"),
    (front(fault="OTHER_STORE", status=403, since=NOW - 600) | by_outside(portal=NOW - 60), BROKEN,
     "front", "front_other_store"),
    # It may be this server's way alone, or have begun just now.
    (front(fault="OTHER", status=200, since=NOW - 60) | by_outside(portal=NOW - 600), ATTENTION,
     "front", "front_differs"),
    # A visitor can have passed over the browser's warning, and anybody can say to be one.
    (front(fault="OTHER", status=200, since=NOW - DAY) | by_outside(visitors=NOW - 5), ATTENTION,
     "front", "front_differs"),
    (front(fault=CERTIFICATE_SELF_SIGNED, since=NOW - 60) | by_outside(visitors=NOW - 5),
     ATTENTION, "front", "front_differs"),
    # Messages.
    (of_kept(waiting=Waiting(3, NOW - 120)), ATTENTION, "waiting", "waiting"),
    (of_kept(waiting=WAITS), BROKEN, "waiting", "waiting_long"),
    (of_kept(refused=RefusedMessages(2, NOW - 60, "Text is empty"), refusal_to_tell=77), ATTENTION,
     "refused", "refused"),
    *((of_kept(waiting=Waiting(3, NOW - 400, code)), BROKEN, "waiting", "waiting_long")
      for code in WHY),
    (of_kept(waiting=Waiting(3, NOW - 120, "HTTP_502")), ATTENTION, "waiting", "waiting_why"),
    (of_kept(refused=RefusedMessages(3, NOW - 3 * DAY, "WRONG", 3)), BROKEN, "refused",
     "refused_all"),
    (of_kept(recovery=LastRecovery(0, 3, 2, NOW)), ATTENTION, "recovery", "recovery_unread"),
    # Events.
    (no_events(Unannounced(2, 0, NOW - 60)), BROKEN, "arrival", "events_lost"),
    (no_events(Unannounced(1, 1, NOW - 60)), BROKEN, "arrival", "events_lost"),
    (no_events(Unannounced(0, 2, NOW - 60)), BROKEN, "arrival", "events_lost"),
    (no_events(Unannounced(2, 0, NOW - 60), turned_away=(
        Refusals(json.dumps(["/handler", "reasons.token", {}]), 4, NOW - 60),)), BROKEN,
     "arrival", "events_refused"),
    (no_events(Unannounced(2, 0, NOW - 60), turned_away=(
        Refusals(json.dumps(["/handler", "reasons.token", {}]), 4, NOW - DAY),)), BROKEN,
     "arrival", "events_lost"),
]  # fmt: skip
# What is said although nothing is wrong, besides what a healthy chat says.
HARMLESS: list[tuple[dict[str, Any], str]] = [
    (with_settings(chat={}), "sites_none"),
    (of_kept(waiting=Waiting(1, NOW - 5)), "waiting_now"),
    (of_kept(last=LastMessages(), last_event_at=None), "traffic_none"),
    (of_kept(refused=RefusedMessages(2, NOW - 3 * DAY, "")), "refused_over"),
    (of_kept(turned_away=(
        Refusals(json.dumps(["/handler", "reasons.token", {}]), 4, NOW - 60),)), "turned_away"),
    (of_kept(active_lines=(LINE, OTHER_LINE)) | of_portal(
        lines={LINE: Line("Sales", True), OTHER_LINE: Line("Support", True)}), "line_good"),
    ({"portal": SetupFault("EXPIRED_TOKEN", OAUTH)}, "token_expired"),
    ({"oauth": SetupFault("EXPIRED_TOKEN", OAUTH_APP_INFO)}, "oauth_good"),
    (of_portal(rights=SetupFault("ERROR_METHOD_NOT_FOUND", "scope")), "not_asked"),
    (of_portal(connectors=SetupFault("ERROR_METHOD_NOT_FOUND", "imconnector.list")), "not_asked"),
    (of_portal(bindings=SetupFault("ACCESS_DENIED", "event.get")), "not_asked"),
    (of_portal(installed=SetupFault("ACCESS_DENIED", "app.info")), "installed"),
    (of_portal(lines={LINE: Refused("ACCESS_DENIED", "imopenlines.config.get")}), "line_newest"),
    (of_portal(statuses={LINE: Refused("ACCESS_DENIED", "imconnector.status")}), "line_newest"),
    (of_portal(rights=frozenset({"imopenlines", "imconnector", "im", "user_basic", "placement"})),
     "rights_good"),
    (of_portal(clock_seconds=None), "portal_good"),
    (of_kept(secret_is_proved=False), "secret_untried"),
    (of_kept(secret_proved_at=None), "secret_good_once"),
    # Of several lines one is switched off on purpose.
    (of_kept(active_lines=(LINE, OTHER_LINE)) | of_portal(
        lines={LINE: Line("Sales", False), OTHER_LINE: Line("", True)}), "line_spare"),
    (of_kept(active_lines=(LINE, OTHER_LINE)) | of_portal(
        statuses={LINE: True, OTHER_LINE: False}), "line_spare"),
    (of_kept(active_lines=(LINE, OTHER_LINE), dead_lines={LINE: "NOT_ACTIVE_LINE"}), "line_spare"),
    # A single event may be lost, a chat be quiet, and events be on their way.
    (no_events(Unannounced(3, 1, NOW - 20)), "events_good"),
    (no_events(Unannounced(1, 0, NOW - 60)), "events_good"),
    (no_events(Unannounced(0, 1, NOW - 60)), "events_good"),
    (of_kept(last_event_at=None, unannounced=Unannounced(9, 9, NOW - 60)), "events_good"),
    (of_kept(refused=RefusedMessages(5, NOW - 3 * DAY, "WRONG", 2)), "refused_over"),
    # Only this server sees its own address so.
    *((front(fault=code, since=NOW - 600) | by_outside(portal=NOW - 60), "front_differs")
      for code in ("NOT_RESOLVED", "REDIRECT", "OTHER", CERTIFICATE_EXPIRED)),
    # Only this server comes past the proxies; and nobody has shown anything else.
    (with_settings(server={"proxies": 2}) | of_kept(reached={
        "portal": Reached(URL, NOW - 9, 2)}), "front_good"),
    (with_settings(server={"proxies": 2}) | of_kept(reached={
        "visitors": Reached(URL, NOW - 9, 3)}), "front_good"),
    (with_settings(server={"proxies": 1}), "front_good"),
    (front(fault="NOT_REACHED"), "front_untried"),
    (front(fault="NO_ANSWER"), "front_untried"),
    (front(is_buffered=None, is_too_large=None, forwarded=None), "front_good"),
    (with_settings(public_url="https://chat.office.lan", bitrix24=B24 | {
        "portal": "https://b24.office.lan"}) | of_kept(portal_address="https://b24.office.lan")
     | of_portal(bindings=tuple((event, "https://chat.office.lan/handler") for event, _ in BOUND)),
     "address_unseen"),
    # Only what is proved to be of the portal shows that it finds us.
    (by_outside(portal=NOW - 9), "address_good"),
    (of_kept(seen_addresses={"portal": "https://chat.example"}), "address_good"),
    (by_outside(visitors=NOW - 9), "address_unseen"),
    (by_outside("https://former.example", portal=NOW - 9), "address_unseen"),
    # BX24.installFinish() comes after our page.
    (of_kept(portal=INSTALLED.__class__(**vars(INSTALLED) | {"installed_at": NOW - 5}))
     | of_portal(installed=False), "installed"),
    (of_kept(tried_sites={"https://shop.example": Named(NOW, NOW, 1), "https://chat.example":
                          Named(NOW, NOW, 1)}), "sites_good"),
    # What visitors' browsers merely say.
    (of_kept(tried_sites={"https://other.example": Named(NOW - DAY, NOW - 5, 3)}), "sites_tried"),
    (of_kept(visited_addresses={OTHER: visited(3)}), "address_of_visitors"),
    (of_kept(visited_addresses={OTHER: visited(3)}), "address_unseen"),
    (with_settings(public_url=HERE, bitrix24=B24 | {"portal": "http://localhost:9000"})
     | of_kept(portal_address="http://localhost:9000") | of_portal(bindings=tuple(
         (event, f"{HERE}/handler") for event, _ in BOUND)), "address_unseen"),
]  # fmt: skip
NAMES_A_SETTING = {
    *("settings_incomplete", "registration_refused", "portal_renamed", "rename_kept"),
    *("secret_wrong", "other_application", "certificate_unknown", "certificate_self_signed"),
    *("address_here", "address_here_seen", "address_of_portal", "proxies_few", "proxies_many"),
    *("front_redirects", "front_other", "front_other_path", "front_unresolved", "sites_tried"),
    *("server_unreachable", "not_a_portal", "setup_refused", "certificate_of_another_host"),
    *("address_private", "front_certificate_of_another_host", "front_too_large"),
}
# The same, of the pages of an install.
INSTALL_NAMES_A_SETTING = {
    *("no_settings", "unreachable", "not_a_portal", "wrong_portal", "wrong_application", "refused"),
    *("wrong_secret", "certificate_unknown", "certificate_self_signed"),
    *("renamed", "rename_done", "rename_not_confirmed"),
}
SAID_BY_OTHERS = {"note", "settings_wrong", "doctor_failed", "verdict_good"} | {
    *(
        "settings_unread",
        "settings_changed_wrong",
        "settings_of_environment",
    ),  # operations/running.py
    *("service_older",),
}


def moment(of: Moment) -> str:
    return f"[{of.seconds:.0f}]"


def told(finding: Finding) -> list[str]:
    return [words(finding, language, moment) for language in ("en", "ru")]


def told_all(of: Any) -> list[str]:
    return [text for finding in findings(of, ALL) for text in told(finding)]


def every(rows: Iterable[tuple[Any, ...]]) -> list[Finding]:
    return [one for changes, *_ in rows for one in findings(facts(**changes), ALL)]


@pytest.mark.parametrize(
    ("changes", "level", "check", "key"), FAULTS, ids=[f"{row[3]}-{row[1].name}" for row in FAULTS]
)
def test_a_fault_is_said_first_with_its_cure_in_both_languages(
    changes: dict[str, Any], level: Level, check: str, key: str
) -> None:
    found = findings(facts(**changes), ALL)

    assert (found[0].check, found[0].level, found[0].key) == (check, level, key)
    english, russian = told(found[0])
    assert english != russian
    for text in (english, russian):
        assert "{" not in text


@pytest.mark.parametrize(
    ("changes", "key"), HARMLESS, ids=[f"{place}-{row[1]}" for place, row in enumerate(HARMLESS)]
)
def test_what_is_no_fault_is_not_called_one(changes: dict[str, Any], key: str) -> None:
    found = findings(facts(**changes), ALL)

    assert worst(found) is GOOD, [one for one in found if one.level]
    assert key in {one.key for one in found}


def test_a_healthy_chat_is_called_so() -> None:
    found = findings(facts(), ALL)

    assert worst(found) is GOOD
    assert {verdict_words(worst(found), "en"), verdict_words(worst(found), "ru")} == {
        "The chat works", "Чат работает"
    }  # fmt: skip


def test_the_doctor_has_no_text_that_it_never_says() -> None:
    said = {one.key for one in every([*FAULTS, *HARMLESS, ({},)])} | SAID_BY_OTHERS
    checks = {f"check_{one.check}" for one in every([*FAULTS, *HARMLESS])}
    units = {"days", "hours", "minutes", "seconds", "not_listed"}
    units |= {"why_unknown", "why_error", "why_busy", "why_no_answer", "why_refused"}
    verdicts = {f"verdict_{level.name.lower()}" for level in Level}

    assert all_texts("en")["doctor"].keys() == said | checks | units | verdicts


def test_every_finding_has_a_heading_and_words_and_goes_through_json() -> None:
    for finding in every([*FAULTS, *HARMLESS, ({},)]):
        for language in languages():
            assert heading(finding, language)
            assert words(finding, language, moment)
        assert from_plain(json.loads(json.dumps(as_plain(finding)))) == finding


@pytest.mark.parametrize("at", [math.inf, -math.inf, math.nan, 1e300, -1e18])
def test_a_time_that_no_calendar_has_does_not_end_the_doctor(at: float) -> None:
    refused = RefusedMessages(1, at, "X")
    found = findings(facts(of_kept={"last": LastMessages(at, at, at), "refused": refused}), ALL)

    assert all(one.check != "doctor" for one in found)
    for finding in found:
        for written in (local_time, iso_time, utc):
            assert words(finding, "en", written)
        json.dumps(as_plain(finding), allow_nan=False)


def test_a_fault_that_two_checks_meet_is_said_once() -> None:
    found = findings(
        facts(portal=TryLater("NOT_CONNECTED", "batch"), **fault("NOT_CONNECTED")), ALL
    )

    assert [one.key for one in found if one.level is BROKEN] == ["server_unreachable"]


def test_messages_that_wait_for_a_known_reason_are_no_second_fault() -> None:
    found = findings(facts(**of_kept(active_lines=(), waiting=WAITS)), ALL)

    assert [one.key for one in found if one.level is BROKEN] == ["line_none"]
    assert "wait: 3" in told(found[0])[0]


def test_messages_that_wait_for_a_portal_that_is_down_are_no_second_fault() -> None:
    found = findings(
        facts(portal=TryLater("NOT_CONNECTED", "batch"), **of_kept(waiting=WAITS)), ALL
    )

    assert [one.key for one in found if one.level is BROKEN] == ["server_unreachable"]
    assert "waiting" in {one.key for one in found if one.level is ATTENTION}


@pytest.mark.parametrize(
    ("installed", "waits", "code", "level", "key"),
    [
        (5, 900, "", GOOD, "waiting_now"),  # it may have been mended, and is being sent
        (5, 900, "HTTP_502", ATTENTION, "waiting_why"),
        (5, 30, "HTTP_502", GOOD, "waiting_now"),
        (90, 900, "", ATTENTION, "waiting"),
        (90, 900, "HTTP_502", ATTENTION, "waiting_why"),
        (301, 900, "", BROKEN, "waiting_long"),
    ],
)
def test_what_waited_before_an_install_is_judged_by_the_time_since_then(
    installed: int, waits: int, code: str, level: Level, key: str
) -> None:
    portal = replace(INSTALLED, installed_at=NOW - installed)
    found = findings(facts(**of_kept(portal=portal, waiting=Waiting(3, NOW - waits, code))), ALL)

    assert [(one.level, one.key) for one in found if one.check == "waiting"] == [(level, key)]


@pytest.mark.parametrize("code", WHY)
def test_what_waits_names_the_last_error_and_what_helps(code: str) -> None:
    [first, *_] = findings(facts(**of_kept(waiting=Waiting(3, NOW - 400, code))), ALL)

    assert WHY[code] in told(first)[0]
    assert code in told(first)[1]


def test_that_no_event_comes_is_no_second_fault_beside_its_cause() -> None:
    lost = no_events(Unannounced(2, 0, NOW - 60))

    for cause in (of_portal(bindings=()), front(fault="OTHER", status=404)):
        found = findings(facts(**lost | cause), ALL)

        assert [one.check for one in found if one.level is BROKEN] in (["events"], ["front"])
        assert ("events_lost", ATTENTION) in {(one.key, one.level) for one in found}


@pytest.mark.parametrize("code", ["HTTP_502", "NO_REPLY"])
def test_a_portal_that_was_reached_sends_nobody_to_the_firewall(code: str) -> None:
    found = findings(
        facts(portal=OutcomeUnknown(code, "batch"), **front(fault="NOT_RESOLVED")), ALL
    )

    assert {one.check for one in found if one.level is BROKEN} == {"portal", "front"}
    for text in told(next(one for one in found if one.check == "portal")):
        assert code in text
        assert not any(word in text for word in ("firewall", "экран", "internet", "интернет"))


def test_a_portal_that_is_not_reached_either_may_mean_that_no_name_is_resolved_here() -> None:
    found = findings(
        facts(
            portal=TryLater("NOT_CONNECTED", "batch"),
            front=FrontReport("NOT_RESOLVED"),
        ),
        ALL,
    )

    assert [one.check for one in found if one.level is BROKEN] == ["portal"]


@pytest.mark.parametrize("up_at", [NOW - DAY, None])
def test_what_stands_in_front_is_not_judged_while_the_service_does_not_run(
    up_at: float | None,
) -> None:
    others = of_kept(worker_runs=False, worker_up_at=up_at)
    for report in (front(fault="OTHER", status=502), front(is_too_large=True, forwarded=2)):
        found = findings(facts(**others, **report), ALL)

        assert found[0].check == "service"
        assert "front" not in {one.check for one in found}


@pytest.mark.parametrize("seen", [{}, {"portal": "https://chat.example"}])
def test_what_stands_in_front_is_not_judged_at_an_address_of_this_machine(
    seen: dict[str, str],
) -> None:
    wrong = with_settings(public_url=HERE) | of_kept(seen_addresses=seen)

    found = findings(facts(**wrong, **front(is_too_large=True, forwarded=1)), ALL)

    assert found[0].key in ("address_here", "address_here_seen")
    assert "front" not in {one.check for one in found}


def test_the_cure_for_the_body_limit_is_large_enough_for_a_file_and_its_request() -> None:
    [finding] = [one for one in findings(facts(**front(is_too_large=True)), ALL) if one.level]

    assert all("20" in text and "client_max_body_size 21m" in text for text in told(finding))


def test_a_refused_message_is_named_as_the_log_names_it() -> None:
    refused = RefusedMessages(2, NOW - 60, "Text is empty")
    [finding] = [
        one
        for one in findings(facts(**of_kept(refused=refused, refusal_to_tell=77)), ALL)
        if one.level
    ]

    assert all("grep -w message=77" in text for text in told(finding))


def test_a_cure_names_the_command_and_the_form_of_both_files() -> None:
    """Who is told to change a setting is told how to write it, and what makes it count."""
    by_key = {one.key: told(one) for one in every([*FAULTS, *HARMLESS])}
    for key in ("address_here", "address_here_seen", "address_of_portal"):
        assert all("SITECHAT_PUBLIC_URL=http" in text for text in by_key[key]), key
        assert all('public_url = "http' in text for text in by_key[key]), key
    for key in ("proxies_few", "proxies_many"):
        assert all("SITECHAT_SERVER__PROXIES=" in text for text in by_key[key]), key
        assert all("[server]" in text for text in by_key[key]), key
    assert all("SITECHAT_BITRIX24__CLIENT_SECRET" in text for text in by_key["secret_wrong"])
    assert by_key.keys() >= NAMES_A_SETTING
    of_install = {
        f"install.{key}": [all_texts(language)["install"][key] for language in ("en", "ru")]
        for key in INSTALL_NAMES_A_SETTING
    }
    named = {key: by_key[key] for key in NAMES_A_SETTING}
    for key, texts in {**named, **of_install}.items():
        assert all("sudo systemctl reload sitechat" in text for text in texts), key
        assert all("SITECHAT_" in text for text in texts), key


def test_the_page_of_an_install_has_the_cure_of_the_doctor() -> None:
    for language in ("en", "ru"):
        of_install, of_doctor = (all_texts(language)[one] for one in ("install", "doctor"))
        for there, here in (("renamed", "portal_renamed"), *(
            (key, key) for key in CERTIFICATES.values()
        )):  # fmt: skip
            said = of_install[there].replace("{method}: {code}", "{code}")
            also = of_doctor[here].replace("{method}: {code}", "{code}")
            assert said == also.replace("{server}", "{portal}"), (language, there)


@pytest.mark.parametrize("count", [0, 1, 2, 21])
def test_a_sentence_is_right_with_any_number(count: int) -> None:
    for changes in (
        of_kept(waiting=Waiting(count, NOW - 5)),
        of_kept(waiting=Waiting(count, NOW - 120)),
        of_kept(waiting=Waiting(count, NOW - 7200)),
        of_kept(active_lines=(), waiting=Waiting(count, NOW - 120)),
        of_kept(refused=RefusedMessages(count, NOW - 60, "X"), refusal_to_tell=7),
        of_kept(refused=RefusedMessages(3, NOW - 60, "X", 3)),
        of_kept(recovery=LastRecovery(0, count, count or 1, NOW)),
        of_portal(connectors=frozenset()),
    ):
        for text in told_all(facts(**changes)):
            assert not re.search(rf"\b{count} (waiting|messages|dialogs|сообщ)", text), text
            assert ": -" not in text


def test_how_systemd_starts_the_service_comes_before_how_it_is_started_by_hand() -> None:
    found = every([({"kept": StoreMissing("none")},), (of_kept(worker_runs=False),),
                   (of_kept(worker_runs=False, worker_up_at=None),)])  # fmt: skip
    texts = [text for one in found if one.level is BROKEN for text in told(one)]
    assert len(texts) == 6
    for text in texts:
        assert text.index("sudo systemctl start sitechat") < text.index("make serve")


def test_a_reason_of_an_earlier_release_is_shown_by_its_name() -> None:
    finding = Finding("turned_away", GOOD, "turned_away", {
        "place": "/", "reason": Phrase("reasons.of_long_ago"), "count": 1, "last": Moment(NOW),
    })  # fmt: skip

    assert all("reasons.of_long_ago" in text for text in told(finding))


def test_a_full_disk_of_the_files_alone_is_found() -> None:
    disks = (Disk("/var/chats", 20 << 30, 40 << 30), Disk("/srv/files", 10 << 20, 40 << 30))

    [first, *_] = findings(facts(disks=disks), ALL)

    assert first.key == "disk_full"
    assert "/srv/files" in told(first)[0]


STORE_IS_AT_FAULT: list[dict[str, Any]] = [
    front(takes_messages=False) | {"disks": (FULL,)},
    front(takes_messages=False) | {"write_fault": StoreReadOnly("may only be read")},
    front(takes_messages=False) | {"write_fault": StoreLocked("held")},
    front(takes_messages=False),
    front(fault="NO_ANSWER", status=503) | {"write_fault": StoreReadOnly("may only be read")},
    {"front": None, "is_service": True, "write_fault": DiskFull("no room"), "disks": (FULL,)},
]


@pytest.mark.parametrize("up_at", [NOW - 3600, None])
@pytest.mark.parametrize("changes", STORE_IS_AT_FAULT)
def test_a_service_that_answers_is_not_to_be_started_because_its_store_is_at_fault(
    changes: dict[str, Any], up_at: float | None
) -> None:
    stopped = of_kept(worker_runs=False, worker_up_at=up_at)
    found = findings(facts(**changes, **stopped, log_bytes=1000), ALL)

    assert [one.check for one in found if one.level is BROKEN] == ["store"]
    assert "log_left" not in {one.key for one in found}
    assert "service" not in {one.check for one in found}


@pytest.mark.parametrize(
    "report", [front(fault="NOT_REACHED"), front(fault="OTHER", status=502), {"front": None}]
)
def test_a_service_that_does_not_answer_is_said_to_be_stopped_whatever_else_is_wrong(
    report: dict[str, Any],
) -> None:
    changes = of_kept(worker_runs=False) | {"write_fault": StoreReadOnly("may only be read")}

    found = findings(facts(**changes, **report), ALL)

    assert [one.key for one in found if one.level is BROKEN] == [
        "store_read_only",
        "service_stopped",
    ]


def test_a_full_disk_is_said_in_the_present_unless_the_service_still_takes_messages() -> None:
    for report, key in (({"front": None}, "disk_none"), (front(takes_messages=True), "disk_full")):
        [first, *_] = findings(facts(disks=(FULL,), **report), ALL)
        assert first.key == key


COMMAND = re.compile(
    r"sudo (?:systemctl (?:start|restart) sitechat|journalctl -u sitechat|sitechat restore)"
    "|make serve"
)
FAULTS_OF_STORES = [
    StoreDamaged("chats.db is damaged (file is not a database): put", "file is not a database"),
    StoreDamaged("chats.db is damaged (messages are missing): put a backup in its place"),
    StoreMixed(DB),
    StoreForeign(DB),
    StoreNoFile("chats.db is no ordinary file"),
    StoreNewer("chats.db"),
    StoreOlder("chats.db was written by an earlier release"),
    StoreReadOnly("chats.db may only be read"),
    StoreReadOnly("OSError: [Errno 30] Read-only file system: 's'", "Read-only file system"),
    StoreUnavailable("OperationalError: disk I/O error", "disk I/O error"),
    StoreUnavailable("the lock sender is held by another process"),
]


@pytest.mark.parametrize("fault", FAULTS_OF_STORES, ids=lambda one: str(one)[:40])
def test_a_fault_of_the_store_is_told_in_the_language_of_the_reader(
    fault: StoreUnavailable,
) -> None:
    """What SQLite or the system says stands in brackets; nothing else is of another language."""
    [first, *_] = findings(facts(kept=fault), ALL)
    russian = told(first)[1]

    assert (f" ({fault.said})" in russian) == bool(fault.said and first.key != "store_older")
    assert str(fault) not in russian
    without = russian.replace(f" ({fault.said})", "")
    assert not re.findall(r"[A-Za-z]+ [A-Za-z]+ [A-Za-z]+", COMMAND.sub("", without)), russian


def test_before_an_install_the_servers_are_tried_apart() -> None:
    found = findings(
        facts(
            portal=TryLater(CERTIFICATE_EXPIRED, "app.info"),
            oauth=SetupFault("INVALID_TOKEN", OAUTH_APP_INFO),
            **of_kept(portal=None, active_lines=()),
        ),
        ALL,
    )

    broken = [one.key for one in found if one.level is BROKEN]
    assert broken == ["not_installed", "certificate_expired"]
    assert "oauth_good" in {one.key for one in found}


def test_a_clock_that_is_called_broken_hinders_what_it_says() -> None:
    assert checks_portal.CLOCK_FAST_SECONDS == CLOCKS_DIFFER_SECONDS
    for seconds, english, russian in ((-400, "is sent twice", "дважды"),
                                      (400, "certificates", "сертификаты")):  # fmt: skip
        [first, *_] = findings(facts(**of_portal(clock_seconds=seconds)), ALL)
        assert english in told(first)[0]
        assert russian in told(first)[1]


def test_each_missing_right_is_named() -> None:
    found = findings(facts(**of_portal(rights=frozenset({"app"}))), ALL)

    missing = [one for one in found if one.check == "rights"]
    assert len(missing) == 5
    for finding, right in zip(
        missing, ("imopenlines", "imconnector", "im", "placement", "user_brief"), strict=True
    ):
        assert all(f" {right} " in text for text in told(finding))
        assert all("app" in text for text in told(finding)), "what is granted"


def test_the_page_that_a_portal_has_opened_elsewhere_names_what_to_set() -> None:
    [first, *_] = findings(
        facts(
            **with_settings(public_url="http://127.0.0.1:8080/live"),
            **of_kept(seen_addresses={"portal": "https://chat.example"}),
        ),
        ALL,
    )

    assert all('public_url = "https://chat.example/live"' in text for text in told(first))


@pytest.mark.parametrize(
    "said",
    [
        {"visitors": OTHER},  # as an earlier release has noted it
        visited(2),
        visited(5, NOW - DAY - 1),
        Named(NOW, NOW, 99, {"a": NOW, "b": NOW, "c": NOW - DAY}),
    ],
)
def test_an_address_that_few_visitors_name_lately_is_not_told(said: Any) -> None:
    """And however many do, where `public_url` cannot be right nothing of theirs is to be pasted."""
    is_of_one = isinstance(said, dict)
    noted = {"seen_addresses": said} if is_of_one else {"visited_addresses": {OTHER: said}}
    assert "www." not in " ".join(told_all(facts(**of_kept(**noted))))

    many = {OTHER: visited(9)}
    [first, *_] = findings(
        facts(**with_settings(public_url=HERE), **of_kept(visited_addresses=many)), ALL
    )
    assert (first.level, first.key) == (BROKEN, "address_here")
    assert not any("www." in text for text in told(first))


def test_the_sites_of_most_visitors_are_named_first_in_the_form_that_cannot_deceive() -> None:
    tried = {f"https://{number}.example": Named(NOW, NOW, 99, {"one": NOW}) for number in range(9)}
    tried["https://xn--80avem4d.xn--p1ai"] = Named(NOW, NOW - 60, 1, {"another": NOW})
    [finding] = [one for one in findings(facts(**of_kept(tried_sites=tried)), ALL)
                 if one.check == "sites"]  # fmt: skip

    assert finding.level is GOOD
    assert ": https://xn--80avem4d.xn--p1ai (https://лампы.рф), https" in told(finding)[0]


def test_no_finding_has_a_secret() -> None:
    for finding in every([*FAULTS, *HARMLESS]):
        shown = " ".join([*told(finding), json.dumps(as_plain(finding))])
        assert "refresh" not in shown
        assert '"access"' not in shown


def test_a_handler_of_ours_is_named_where_events_are_missing() -> None:
    [first, *_] = findings(facts(**of_portal(bindings=())), ALL)

    assert HANDLER in told(first)[0]
    assert HANDLER.startswith(URL)


DOWN = {"oauth": TryLater("CONNECTION_LOST", OAUTH_APP_INFO)}


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        (  # the token is over, and no other one can be had: of the portal nobody knows anything
            {"portal": TryLater("CONNECTION_LOST", OAUTH), **DOWN,
             **of_kept(portal=replace(INSTALLED, expires_at=NOW - 1))},
            "oauth.server_unreachable",
        ),
        (  # the portal has ended it before its time
            {"portal": TryLater("CONNECTION_LOST", OAUTH), **DOWN},
            "oauth.server_unreachable",
        ),
        (
            {"portal": SetupFault("EXPIRED_TOKEN", OAUTH), **DOWN},
            "oauth.server_unreachable",
        ),
        (
            {"portal": SetupFault("INVALID_CLIENT", OAUTH), **of_kept(
                fault=ReportedFault(OAUTH, "INVALID_CLIENT"), secret_is_proved=False,
                refused_renewal=ReportedFault(OAUTH, "INVALID_CLIENT"))},
            "secret.secret_wrong",
        ),
        (
            {"portal": SetupFault(CERTIFICATE_EXPIRED, OAUTH)},
            "oauth.certificate_expired",
        ),
    ],
)  # fmt: skip
def test_a_fault_of_the_oauth_server_is_not_called_one_of_the_portal(
    changes: dict[str, Any], broken: str
) -> None:
    found = findings(facts(**changes), ALL)

    [one] = [one for one in found if one.level is BROKEN]
    assert cause_of(one) == broken
    assert one.values["server"] == OAUTH_SERVER


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        (
            {**fault("INSUFFICIENT_SCOPE"), **of_portal(rights=frozenset({"imopenlines", "im"}))},
            "rights.right_imconnector",
        ),
        (
            {**fault("IMCONNECTOR_NOT_SPECIFIED_CORRECT_CONNECTOR"),
             **of_portal(connectors=frozenset({"livechat"}), statuses={LINE: False})},
            "connector.connector_unknown",
        ),
        (  # there is nothing to choose in the Contact Center
            {**of_kept(active_lines=(), waiting=WAITS),
             **of_portal(connectors=frozenset({"livechat"}))},
            "connector.connector_unknown",
        ),
        (
            {**of_kept(active_lines=(), is_registered=False)},
            "install.not_registered",
        ),
        (
            {**of_kept(dead_lines={LINE: "-"},
                       refused_registration=ReportedFault("imconnector.register", "REFUSED")),
             **of_portal(connectors=frozenset({"livechat"}), statuses={LINE: False})},
            "install.registration_refused",
        ),
        (
            {**of_kept(fault=ReportedFault(OAUTH, "INVALID_CLIENT")),
             "oauth": TokenHome("local.another", "member", "https://b24.example")},
            "oauth.other_application",
        ),
    ],
)  # fmt: skip
def test_of_findings_with_one_root_only_the_most_specific_is_broken(
    changes: dict[str, Any], broken: str
) -> None:
    found = findings(facts(**changes), ALL)

    assert [cause_of(one) for one in found if one.level is BROKEN] == [broken]


def test_a_fault_of_another_root_stays() -> None:
    found = findings(
        facts(**fault("ACCESS_DENIED"), **of_portal(connectors=frozenset({"livechat"}))), ALL
    )

    assert {cause_of(one) for one in found if one.level is BROKEN} == {
        "delivery.method_refused", "connector.connector_unknown"
    }  # fmt: skip


def test_each_cause_that_explains_another_is_one_that_the_doctor_names() -> None:
    named = all_texts("en")["doctor"]

    for cause in EXPLAINS.keys() | set().union(*EXPLAINS.values()):
        check, _, key = cause.partition(".")
        assert {f"check_{check}", key} <= named.keys(), cause
