"""Facts with one fault each, and the finding that says it; facts that look odd and are no fault."""

import json
from pathlib import Path
from typing import Any

from doctor_parts import BOUND, DAY, INSTALLED, LINE, NOW, OTHER_LINE, URL, settings

from operations.facts import Disk
from operations.findings import Level
from operations.front import FrontReport
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
    LockHeld,
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
from store.postgresql_faults import REASONS, unusable
from store.records import Holder, LastRecovery, Moved, Named, Reached, Refusals, ReportedFault

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


def host_ahead(seconds: float, portal: float = 0.0) -> dict[str, Any]:
    """Of the clock of the database; how far that of the portal is ahead of the latter."""
    of_clocks = {"clock_ahead": seconds}
    return of_kept(**of_clocks) | of_portal(clock_seconds=portal - seconds) | {"on_server": True}


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
    ({"kept": LockHeld("held")}, BROKEN, "store", "store_busy"),
    ({"kept": StoreUnavailable("readonly")}, BROKEN, "store", "store_unavailable"),
    ({"kept": StoreGone("chats.db is gone")}, BROKEN, "store", "store_gone"),
    ({"kept": DiskFull("no room"), "on_server": True}, BROKEN, "store", "server_full"),
    ({"kept": StoreDamaged("of another"), "on_server": True}, BROKEN, "store", "server_foreign"),
    ({"kept": StoreNewer("a name"), "on_server": True}, BROKEN, "store", "server_newer"),
    ({"kept": StoreOlder("old"), "on_server": True}, BROKEN, "store", "server_older"),
    ({"kept": StoreGone("gone"), "on_server": True}, BROKEN, "store", "server_gone"),
    ({"kept": StoreMissing("none"), "on_server": True}, BROKEN, "store", "server_missing"),
    ({"kept": StoreUnavailable("away"), "on_server": True}, BROKEN, "store", "server_unavailable"),
    *(
        ({"kept": unusable(reason, "…"), "on_server": True}, BROKEN, "store", f"server_{reason}")
        for reason in REASONS
    ),
    (host_ahead(-9.0), ATTENTION, "store", "server_clock_ahead"),
    (host_ahead(70.0), ATTENTION, "store", "server_clock_behind"),
    (host_ahead(-2 * DAY), ATTENTION, "store", "server_clock_ahead"),
    (host_ahead(2 * DAY), ATTENTION, "store", "server_clock_behind"),
    ({"write_fault": StoreLocked("held"), "on_server": True}, BROKEN, "store", "server_locked"),
    ({"write_fault": StoreReadOnly("standby"), "on_server": True}, BROKEN, "store",
     "server_read_only"),
    ({"write_fault": StoreLocked("held")}, BROKEN, "store", "store_locked"),
    ({"write_fault": StoreReadOnly("readonly")}, BROKEN, "store", "store_read_only"),
    ({"write_fault": DiskFull("no room")}, BROKEN, "store", "store_full"),
    (front(takes_messages=False), BROKEN, "store", "store_refuses"),
    (front(takes_messages=False) | {"disks": (FULL,)}, BROKEN, "store", "store_full"),
    (front(fault="NO_ANSWER", status=503) | {"disks": (FULL,)}, BROKEN, "store", "store_full"),
    (of_kept(portal=None, active_lines=(), replaced_at=NOW - 60), BROKEN, "store",
     "store_replaced"),
    ({"left_behind": str(DB), "on_server": True}, BROKEN, "store", "store_left_behind"),
    ({"left_behind": str(DB), "on_server": True} | of_kept(portal=None, active_lines=()), BROKEN,
     "store", "store_left_behind"),
    ({"left_behind": str(DB), "on_server": True, "kept": StoreMissing("none")}, BROKEN, "store",
     "store_left_behind"),
    (of_kept(moved=Moved("PostgreSQL chat", NOW - 60), mended_at=NOW - 90), ATTENTION, "store",
     "store_moved"),
    ({"disks": (FULL,), "front": None}, BROKEN, "disk", "disk_none"),
    ({"log_bytes": 100 << 20}, ATTENTION, "store", "log_long"),
    (of_kept(worker_runs=False) | {"log_bytes": 1000, "front": None}, BROKEN, "service",
     "service_stopped"),
    (of_kept(worker_runs=False, worker_up_at=None), BROKEN, "service", "service_never"),
    ({"disks": (Disk("/var", 300 << 20, 40 << 30),)}, ATTENTION, "disk", "disk_low"),
    ({"disks": (Disk("/var", 900 << 20, 40 << 30),)}, ATTENTION, "disk", "disk_low"),
    ({"disks": (Disk("/var", 20 << 20, 40 << 30),)}, BROKEN, "disk", "disk_full"),
    ({"files_are_writable": False}, ATTENTION, "disk", "files_closed"),
    ({"lacks_files": True}, ATTENTION, "disk", "files_lost"),
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
    (host_ahead(4.0, portal=-90.0), ATTENTION, "clock", "store_clock_fast"),
    (host_ahead(4.0, portal=-3700.0), BROKEN, "clock", "store_clock_fast"),
    (host_ahead(4.0, portal=4 * DAY), ATTENTION, "clock", "store_clock_slow"),
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
    (of_kept(moved=Moved("PostgreSQL chat", NOW - 60), mended_at=NOW - 9), "store_good"),
    (of_kept(last=LastMessages(), last_event_at=None), "traffic_none"),
    (of_kept(sender=Holder("host-2", 17, "a clock", NOW - 60)) | {"on_server": True},
     "service_sender"),
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
